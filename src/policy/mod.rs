//! Rego: reads policies, refuses the harmful ones, and asks the rest. Knows nothing of requests,
//! tenants or scopes beyond their names.

mod contract;
mod budget;
mod aside;
mod error;
mod stack;
mod question;
mod answer;
mod input;
mod source;
mod scan;
mod builtins;
mod syntax;
mod names;
mod walk;
mod holds;
mod reads;
mod roles;
mod revocations;
mod met;
mod imports;
mod patterns;
mod negation;
mod differences;
mod memory;
mod roots;
mod growth;
mod yaml;
mod prepare;
mod entry;
mod engine;
mod log_rules;
mod warm;
mod compare;
mod rules;
mod kept;
mod revoker;
mod study;
mod terms;
mod mentions;
mod inquiry;
mod lint;
mod trace;
mod coverage;
mod cases;
mod unit;
mod trial;
mod inspect;
mod parcel;
mod sandbox;
mod examine;
mod intake;
mod reload;

pub use answer::{Ceiling, DenyReason, EvalError, GrantAnswer, IdentityAnswer, Limit};
pub use aside::{Aside, Busy};
pub use budget::{Budget, Pace};
pub use compare::request_rules_differ;
pub use coverage::Coverage;
pub use engine::{Asking, Policy};
pub use error::{LoadError, Problem};
pub use examine::{Examined, Examiner};
pub use holds::EntryReads;
pub use input::KeptRequest;
pub use inquiry::{Answer, Given, QueryError, query};
pub use intake::{Intake, Lane, Offered, PolicyStatus};
pub use kept::{KeptError, Terms};
pub use lint::{Finding, Level, lint};
pub use log_rules::{LogVerdict, Mask};
pub use mentions::{Mention, mentions};
pub use question::{
    AskedFor, Direction, IdentityQuestion, Local, RequestQuestion, Subject, Workload, minute_end,
};
pub use reload::follow;
pub use revocations::{RevocationEntry, Revocations, RevokedBy};
pub use revoker::{RevokeError, Revoker};
#[cfg(test)]
pub(crate) use roles::is_scope_pattern;
pub use rules::{Desk, Rules, rules};
pub use sandbox::examine_as_child;
pub use source::Source;
pub use trace::{Event, Kind, Tracer};
pub use unit::{Case, Outcome, Part, Report, TestOptions, run_tests};

use std::path::Path;
use std::sync::Arc;

/// The interpreter's parser and our checks descend by recursion; both are bounded well below this.
const COMPILER_STACK_BYTES: usize = 8 * 1024 * 1024;

/// Reads, checks and compiles a policy from a folder or a file. Blocks for as long as that takes.
/// Its own tests are not run: see [`Examiner`].
pub fn load(path: &Path) -> Result<Policy, LoadError> {
    compile(Source::read(path)?)
}

/// A YAML document as JSON, as policies would read it. The text may be a stranger's.
pub fn yaml_as_json(text: &str) -> Option<String> {
    yaml::read(text).ok()?.to_json_str().ok()
}

/// Checks and compiles what was read. Blocks for as long as that takes.
pub fn compile(source: impl Into<Arc<Source>>) -> Result<Policy, LoadError> {
    let source = source.into();
    stack::on_big_stack(move || engine::compile(&source))
}

#[cfg(test)]
mod tests;
