//! A thread for work that nobody waits for, on a budget: when it has had its share of the machine,
//! what comes is turned away.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// One part in so many of one core.
const SHARE: u32 = 20;
/// How far the budget may be overdrawn: so much of the clock, of which the share is worked.
const AHEAD: Duration = Duration::from_secs(2);
/// Work that waits at most.
const QUEUE: usize = 256;

type Work = Box<dyn FnOnce() + Send>;

/// The way to the thread. Cheap to clone; the thread ends with the last one.
#[derive(Debug, Clone)]
pub(super) struct Aside {
    queue: SyncSender<Work>,
    budget: Arc<Budget>,
}

/// How much has been used, as the time by which it will be paid for.
#[derive(Debug)]
struct Budget {
    start: Instant,
    paid_at_micros: AtomicU64,
}

impl Aside {
    pub(super) fn start() -> std::io::Result<Self> {
        let (queue, work) = sync_channel(QUEUE);
        let budget = Arc::new(Budget { start: Instant::now(), paid_at_micros: AtomicU64::new(0) });
        let own = Arc::clone(&budget);
        let thread = thread::Builder::new().name("shadow".to_owned());
        thread.spawn(move || run(&work, &own)).map(drop)?;
        Ok(Self { queue, budget })
    }

    pub(super) fn has_room(&self) -> bool {
        self.budget.has_room()
    }

    /// The result comes later, or never: when the budget is used up by then, or the work has
    /// panicked. `None`: there is no room for it now.
    pub(super) fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<oneshot::Receiver<T>> {
        if !self.budget.has_room() {
            return None;
        }
        let (done, result) = oneshot::channel();
        let work = Box::new(move || drop(done.send(work())));
        self.queue.try_send(work).ok().map(|()| result)
    }
}

fn run(queue: &Receiver<Work>, budget: &Budget) {
    while let Ok(work) = queue.recv() {
        // What waited while the budget was used up is dropped, and whoever asked is told by that.
        if !budget.has_room() {
            continue;
        }
        let began = Instant::now();
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            tracing::error!("the shadow policy's evaluation has panicked");
        }
        budget.spend(began.elapsed());
    }
}

impl Budget {
    fn has_room(&self) -> bool {
        let ahead = micros(self.start.elapsed().saturating_add(AHEAD));
        self.paid_at_micros.load(Ordering::Relaxed) < ahead
    }

    /// Only the thread itself calls this.
    fn spend(&self, took: Duration) {
        let paid = self.paid_at_micros.load(Ordering::Relaxed).max(micros(self.start.elapsed()));
        let paid = paid.saturating_add(micros(took.saturating_mul(SHARE)));
        self.paid_at_micros.store(paid, Ordering::Relaxed);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_and_its_result_comes() {
        let aside = Aside::start().unwrap();
        assert_eq!(aside.submit(|| 6 * 7).unwrap().await, Ok(42));
    }

    #[tokio::test]
    async fn work_that_panics_ends_only_itself() {
        let aside = Aside::start().unwrap();
        let broken = aside.submit(|| -> u8 { panic!("on purpose") }).unwrap();
        assert!(broken.await.is_err());
        assert_eq!(aside.submit(|| 1).unwrap().await, Ok(1));
    }

    #[test]
    fn a_budget_that_is_used_up_comes_back_with_time() {
        let budget = |ago: Duration| Budget {
            start: Instant::now().checked_sub(ago).unwrap(),
            paid_at_micros: AtomicU64::new(0),
        };
        let fresh = budget(Duration::ZERO);
        assert!(fresh.has_room());
        fresh.spend(Duration::from_millis(90));
        assert!(fresh.has_room(), "a short peak is fine");
        fresh.spend(Duration::from_millis(90));
        assert!(!fresh.has_room());

        let used = fresh.paid_at_micros.load(Ordering::Relaxed);
        let later = budget(Duration::from_secs(2));
        later.paid_at_micros.store(used, Ordering::Relaxed);
        assert!(later.has_room(), "180 ms are paid for after 3.6 s, of which 2 may be owed");
    }

    #[tokio::test]
    async fn work_over_the_budget_is_turned_away() {
        let aside = Aside::start().unwrap();
        let long = || thread::sleep(Duration::from_millis(110));
        aside.submit(long).unwrap().await.unwrap();
        // The budget is settled after the result is given.
        while aside.budget.has_room() {
            thread::yield_now();
        }
        assert!(aside.submit(|| ()).is_none());
    }
}
