//! Asking for keys out of turn, when a token names one that is not known: rarely, and once for all
//! who ask.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use super::pace::quiet_for;

/// Tokens of strangers must not make us a burden to an issuer: it is asked out of turn no sooner
/// than this after the last attempt, and no sooner than it has asked for.
pub(super) const QUIET: Duration = Duration::from_secs(10);
/// A request waits no longer than this for keys.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Asks for keys that are not there yet.
#[derive(Debug, Clone)]
pub(super) struct Refetch {
    asked: Arc<Notify>,
    attempts: watch::Receiver<Attempts>,
}

/// The side of the one who fetches.
#[derive(Debug)]
pub(super) struct Turn {
    asked: Arc<Notify>,
    attempts: watch::Sender<Attempts>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Attempts {
    ended: u64,
    running: bool,
    quiet_until: Option<Instant>,
}

impl Attempts {
    fn quiet(&self) -> bool {
        self.quiet_until.is_some_and(|until| Instant::now() < until)
    }
}

pub(super) fn refetch() -> (Turn, Refetch) {
    let asked = Arc::new(Notify::new());
    let (sender, receiver) = watch::channel(Attempts::default());
    (Turn { asked: Arc::clone(&asked), attempts: sender }, Refetch { asked, attempts: receiver })
}

impl Refetch {
    /// Has keys fetched anew, unless that was done just now; resolves when the attempt is over, or
    /// after two seconds. Any number of callers share one attempt.
    pub(super) async fn now(&self) {
        let mut attempts = self.attempts.clone();
        let before = *attempts.borrow_and_update();
        if !before.running {
            if before.quiet() {
                return;
            }
            self.asked.notify_one();
        }
        let over = attempts.wait_for(|now| now.ended != before.ended);
        // Too slow, or nobody fetches any more: what is known must do.
        drop(timeout(PATIENCE, over).await);
    }

    /// Nobody fetches: what is known is all there will be.
    #[cfg(test)]
    pub(super) fn vain() -> Self {
        refetch().1
    }
}

impl Turn {
    /// Resolves when somebody wants keys out of turn and may. Cancel safe.
    pub(super) async fn wanted(&self) {
        loop {
            self.asked.notified().await;
            // They may have asked while an attempt was under way, which then was theirs.
            if !self.attempts.borrow().quiet() {
                return;
            }
        }
    }

    pub(super) fn begin(&self) {
        self.attempts.send_modify(|it| it.running = true);
    }

    pub(super) fn end(&self, retry_after: Option<Duration>) {
        self.attempts.send_modify(|it| {
            it.running = false;
            it.ended = it.ended.wrapping_add(1);
            it.quiet_until = Some(Instant::now() + quiet_for(QUIET, retry_after));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Answers every wish after `takes`.
    fn fetcher(turn: Turn, takes: Duration, retry_after: Option<Duration>) -> Arc<AtomicUsize> {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        tokio::spawn(async move {
            loop {
                turn.wanted().await;
                turn.begin();
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(takes).await;
                turn.end(retry_after);
            }
        });
        count
    }

    #[tokio::test(start_paused = true)]
    async fn any_number_of_callers_share_one_attempt_and_the_next_is_ten_seconds_later() {
        let (turn, refetch) = refetch();
        let count = fetcher(turn, Duration::from_millis(500), None);
        let began = Instant::now();
        let callers: Vec<_> = (0..100)
            .map(|_| {
                let refetch = refetch.clone();
                tokio::spawn(async move { refetch.now().await })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
        assert_eq!(began.elapsed(), Duration::from_millis(500));
        assert_eq!(count.load(Ordering::SeqCst), 1);

        let again = Instant::now();
        refetch.now().await;
        assert_eq!(again.elapsed(), Duration::ZERO, "an attempt was made just now");
        tokio::time::advance(Duration::from_millis(9_900)).await;
        refetch.now().await;
        assert_eq!(count.load(Ordering::SeqCst), 1);
        tokio::time::advance(Duration::from_millis(200)).await;
        refetch.now().await;
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_two_seconds() {
        let (turn, refetch) = refetch();
        let _count = fetcher(turn, Duration::from_secs(30), None);
        for _ in 0..2 {
            let began = Instant::now();
            refetch.now().await;
            assert_eq!(began.elapsed(), PATIENCE);
        }
        let began = Instant::now();
        Refetch::vain().now().await;
        assert_eq!(began.elapsed(), Duration::ZERO, "nobody fetches");
    }

    #[tokio::test(start_paused = true)]
    async fn an_issuer_that_wants_peace_gets_it() {
        let (turn, refetch) = refetch();
        let count = fetcher(turn, Duration::ZERO, Some(Duration::from_secs(60)));
        refetch.now().await;
        tokio::time::advance(Duration::from_secs(59)).await;
        refetch.now().await;
        assert_eq!(count.load(Ordering::SeqCst), 1);
        tokio::time::advance(Duration::from_secs(2)).await;
        refetch.now().await;
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }
}
