//! Threads with room enough to parse, check and try policies.

use std::thread;

use super::error::{LoadError, Problem};

/// Blocks for as long as the work takes.
pub(super) fn on_big_stack<T: Send>(
    work: impl FnOnce() -> Result<T, LoadError> + Send,
) -> Result<T, LoadError> {
    thread::scope(|scope| {
        let working = thread::Builder::new()
            .name("policy-compiler".to_owned())
            .stack_size(super::COMPILER_STACK_BYTES)
            .spawn_scoped(scope, work)
            .map_err(|source| LoadError::Thread { source })?;
        working.join().unwrap_or_else(|_| {
            let message = "the interpreter gave up on this policy".to_owned();
            Err(Problem::in_file("policy", message).into())
        })
    })
}
