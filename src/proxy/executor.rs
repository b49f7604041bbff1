//! Lets hyper spawn its tasks on the worker that owns the connection.

/// Spawns on the current `LocalSet`; nothing it runs needs to be `Send`.
#[derive(Debug, Clone, Copy)]
pub(super) struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
