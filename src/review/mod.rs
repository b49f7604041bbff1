//! What a policy means and what a change of it would do, for those who review it (POL-1, POL-2).
//! Pure: policies, routes and identities in, findings out. Nothing here lets anybody in.

mod identities;
mod standing;
mod steps;
mod explain;
mod check;

pub use check::{Callee, Declared, check, standings};
mod cores;
mod patience;
mod matrix;
mod why;
mod changes;
mod diff;
mod facts;
mod line;
mod log;
mod sites;
mod recorded;
mod judge;
mod replay;
mod report;
mod report_diff;
mod report_replay;

pub use changes::{Change, Diff, Group, Lists, Named, Placed, RouteName, Wholesale};
pub use diff::{Side, diff};
pub use explain::{Case, Explanation, explain};
pub use identities::{Extra, KNOWN_MAX, Known, known};
pub use log::Span;
pub use matrix::{Door, Place, Right, State};
pub use replay::{Move, Moved, Replay, Replayed, Verdict, callers};
pub use report::Style;
pub use sites::{Served, Site, SiteRoutes};
pub use standing::{Asker, Removed, Shown, ShownDenial, ShownLayer, removed, shown, texts};
pub use steps::{Note, Passing, Step};
