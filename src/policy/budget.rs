//! How long a policy may take, and whether it has been slow of late.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// On a worker's own thread, where others wait meanwhile. An answer takes microseconds.
const ON_WORKER: Duration = Duration::from_millis(4);
/// Where nobody else waits. A backstop against loops, not a target.
pub(super) const ASIDE: Duration = Duration::from_millis(100);
/// A machine that is this busy may still have a policy answer.
const PATIENCE: u32 = 3;
/// Quick enough to be asked on the worker again.
const QUICK: Duration = Duration::from_millis(2);
/// Quick answers in a row, before one that was slow is asked on the worker again.
const PROBATION: u32 = 16;

/// How much time there is for questions that belong together.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    until: Until,
    limit: Duration,
}

#[derive(Debug, Clone, Copy)]
enum Until {
    /// Others wait, whoever has the processor.
    Moment(Instant),
    /// Nobody waits: what counts is what this thread has had of a processor, so that a policy is
    /// not called slow because its machine is busy.
    Worked(Duration),
}

/// Whether a policy is slow. There is nothing to write while it is not.
#[derive(Debug, Default)]
pub struct Pace(AtomicU32);

impl Budget {
    /// For a thread on which others wait: what is cut here has to be asked [`Aside`](super::Aside).
    pub fn on_worker() -> Self {
        Self { until: Until::Moment(Instant::now() + ON_WORKER), limit: ON_WORKER }
    }

    /// All the time that a policy is given. Of the thread that makes it.
    pub fn whole() -> Self {
        Self { until: Until::Worked(worked() + ASIDE), limit: ASIDE }
    }

    /// Nothing once it is used up.
    pub(super) fn left(self) -> Option<Duration> {
        let left = match self.until {
            Until::Moment(until) => until.saturating_duration_since(Instant::now()),
            Until::Worked(until) => until.saturating_sub(worked()),
        };
        (!left.is_zero()).then_some(left)
    }

    /// For how long to try again what has been cut by the clock: the thread was kept from working
    /// for most of that time. `None` where it was not, or others wait.
    pub(super) fn once_more(self, cut_after: Duration) -> Option<Duration> {
        let Until::Worked(_) = self.until else { return None };
        let left = self.left()?;
        (left > cut_after / 2).then_some(left * PATIENCE)
    }

    /// Of the thread that has made it, like all that it says.
    pub fn used(self) -> Duration {
        self.limit.saturating_sub(self.left().unwrap_or_default())
    }
}

impl Pace {
    pub fn is_slow(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// It was cut on a worker.
    pub fn cut(&self) {
        self.0.store(PROBATION, Ordering::Relaxed);
    }

    /// It has answered aside, in this time.
    pub fn answered(&self, used: Duration) {
        if used > QUICK {
            return self.cut();
        }
        let one_less = |left: u32| left.checked_sub(1);
        // Nothing is left to count down where it is quick already.
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).ok();
    }
}

/// What this thread has had of a processor.
fn worked() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_slow_is_so_until_it_was_quick_for_a_while() {
        let pace = Pace::default();
        assert!(!pace.is_slow());
        pace.cut();
        for _ in 1..PROBATION {
            pace.answered(Duration::ZERO);
            assert!(pace.is_slow());
        }
        pace.answered(Duration::ZERO);
        assert!(!pace.is_slow());
        pace.answered(Duration::ZERO);
        assert!(!pace.is_slow());
    }

    #[test]
    fn a_slow_answer_in_between_begins_it_anew() {
        let pace = Pace::default();
        pace.cut();
        for _ in 1..PROBATION {
            pace.answered(Duration::ZERO);
        }
        let late = Budget { until: Until::Moment(Instant::now()), limit: ASIDE };
        assert_eq!(late.left(), None);
        pace.answered(late.used());
        pace.answered(Duration::ZERO);
        assert!(pace.is_slow());
    }
}
