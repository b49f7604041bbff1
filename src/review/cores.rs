//! The same work on many things, on all cores.

use std::panic::resume_unwind;
use std::thread::{self, Builder};

/// As for compiling: policies are evaluated by recursion.
const STACK_BYTES: usize = 8 * 1024 * 1024;

/// What `work` makes of each part, in order; a part goes to one thread.
pub(super) fn on_all_cores<I: Sync, O: Send>(
    items: &[I],
    work: impl Fn(&[I]) -> Vec<O> + Sync,
) -> Vec<O> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let part = items.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let work = &work;
        let mut running = Vec::new();
        for items in items.chunks(part) {
            let started = Builder::new()
                .name("policy-review".to_owned())
                .stack_size(STACK_BYTES)
                .spawn_scoped(scope, move || work(items));
            // Without another thread it is done on this one.
            running.push(started.ok().ok_or(items));
        }
        let done = running.into_iter().flat_map(|started| match started {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(items) => work(items),
        });
        done.collect()
    })
}
