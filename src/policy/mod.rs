//! Rego: reads policies, refuses the harmful ones, and asks the rest. Knows nothing of requests,
//! tenants or scopes beyond their names.

mod contract;
mod error;
mod question;
mod answer;
mod input;
mod source;
mod scan;
mod builtins;
mod syntax;
mod names;
mod walk;
mod reads;
mod roles;
mod revocations;
mod engine;
mod reload;

pub use answer::{Ceiling, DenyReason, EvalError, GrantAnswer, IdentityAnswer, Limit};
pub use engine::Policy;
pub use error::{LoadError, Problem};
pub use question::{
    Direction, IdentityQuestion, Local, RequestQuestion, Subject, Workload, minute_end,
};
pub use reload::{PolicyStatus, watch};
pub use revocations::Revocations;
#[cfg(test)]
pub(crate) use roles::is_scope_pattern;

use std::path::PathBuf;
use std::thread;

/// The interpreter's parser and our checks descend by recursion; both are bounded well below this.
const COMPILER_STACK_BYTES: usize = 8 * 1024 * 1024;

/// Where the policy is.
#[derive(Debug, Clone)]
pub struct Settings {
    /// A folder as OPA would mount it, or a single `.rego` file.
    pub path: PathBuf,
}

/// Reads, checks and compiles a policy. Blocks for as long as that takes.
pub fn load(settings: &Settings) -> Result<Policy, LoadError> {
    let source = source::read(&settings.path)?;
    compile(source)
}

fn compile(source: source::Source) -> Result<Policy, LoadError> {
    thread::Builder::new()
        .name("policy-compiler".to_owned())
        .stack_size(COMPILER_STACK_BYTES)
        .spawn(move || engine::compile(&source))
        .map_err(|source| LoadError::Thread { source })?
        .join()
        .unwrap_or_else(|_| {
            let message = "the compiler gave up on this policy".to_owned();
            Err(Problem::in_file("policy", message).into())
        })
}

#[cfg(test)]
mod tests;
