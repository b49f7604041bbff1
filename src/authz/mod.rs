//! May they? Everything here is pure: the answer depends on the arguments alone.
//!
//! Mints [`Claims`], the rights of a verified identity, and [`Permit`], leave to forward one
//! request. No clock, no files, no waiting: `now` is an argument.

mod scopes;
mod tenant;
mod target;
mod required;
mod matcher;
mod routes;
mod claims;
mod rights;
mod grant;
mod request;
mod verdict;
mod guard;
mod whatif;
mod shadow;

#[doc(hidden)]
pub use grant::bench::Pretender;

pub use claims::{Claims, Method, Refusal};
pub use grant::Grants;
pub use guard::{Beside, Guard};
pub use request::{HttpFacts, Standpoint};
pub use required::{Alternatives, Required};
pub use routes::{Route, RouteError, RouteMatch, RouteSpec, RouteTable};
pub use scopes::{PATTERNS_MAX, Scope, ScopeError, ScopePattern, ScopeSet};
pub use shadow::{Agreement, Decided, Differs, ProvenCaller, SecondOpinion};
pub use target::{TARGET_MAX, Target, TargetError};
pub use tenant::{Tenant, TenantError};
pub use verdict::{Denial, DeniedRoute, Permit, Reason};
pub use whatif::{
    Asked, Assumed, Brought, Layer, Outcome, Standing, Supposed, decide, outline, question,
    standing,
};
