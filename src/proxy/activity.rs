//! What runs on one HTTP connection, and since when nothing does.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use crate::http2::InUse;

/// How long a caller without a certificate may take to send a token that holds.
const UNPROVEN_FOR: Duration = Duration::from_secs(30);
/// Requests of such a caller, before its connection ends.
const MOST_FAILURES: u32 = 8;

/// Requests that run on one connection, and since when none does.
#[derive(Debug)]
pub(super) struct Activity {
    running: Cell<usize>,
    idle_since: Cell<Instant>,
    retired: Cell<bool>,
    /// Whoever is on the other end has proven who it is.
    proven: Cell<bool>,
    failures: Cell<u32>,
    enough: Notify,
    /// Bodies of requests that are still on their way to where they go.
    uploads: Rc<Cell<usize>>,
}

/// Counts one request as running until dropped.
#[derive(Debug)]
pub(super) struct Running(Rc<Activity>);

impl Activity {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            running: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            retired: Cell::new(false),
            proven: Cell::new(false),
            failures: Cell::new(0),
            enough: Notify::new(),
            uploads: Rc::default(),
        })
    }

    pub(super) fn begin(self: &Rc<Self>) -> Running {
        self.running.set(self.running.get() + 1);
        Running(Rc::clone(self))
    }

    /// Counts the body of a request for as long as the result lives. The answer may be over before.
    pub(super) fn upload(&self) -> InUse {
        InUse::new(&self.uploads)
    }

    pub(super) fn is_uploading(&self) -> bool {
        self.uploads.get() > 0
    }

    /// From now on the connection takes nothing new.
    pub(super) fn retire(&self) {
        self.retired.set(true);
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.get()
    }

    /// It is known who is on the other end, by its certificate or by the token of a request.
    pub(super) fn prove(&self) {
        self.proven.set(true);
    }

    /// A request has not proven who sent it. Nobody needs many attempts at that on one connection,
    /// and somebody without any proof must not keep a place from those who have one. A connection
    /// that many share, some with a proof, is left alone.
    pub(super) fn fail_to_prove(&self) {
        self.failures.set(self.failures.get() + 1);
        if self.failures.get() >= MOST_FAILURES && !self.proven.get() {
            self.enough.notify_one();
        }
    }

    /// Resolves when a connection has been taken up for long enough by somebody unknown.
    pub(super) async fn unproven(&self) {
        let late = async {
            sleep(UNPROVEN_FOR).await;
            if self.proven.get() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = self.enough.notified() => {}
            () = late => {}
        }
    }

    pub(super) fn is_idle_for(&self, time: Duration) -> bool {
        self.running.get() == 0 && self.idle_since.get().elapsed() >= time
    }

    pub(super) async fn idle_for(&self, limit: Duration) {
        loop {
            let since = self.idle_since.get();
            sleep_until(since + limit).await;
            if self.is_idle_for(limit) {
                return;
            }
            if self.running.get() > 0 {
                sleep(limit).await;
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let activity = &self.0;
        let left = activity.running.get().saturating_sub(1);
        activity.running.set(left);
        if left == 0 {
            activity.idle_since.set(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn somebody_unknown_keeps_a_connection_for_half_a_minute() {
        let activity = Activity::new();
        let began = Instant::now();
        activity.unproven().await;
        assert_eq!(began.elapsed(), UNPROVEN_FOR);
    }

    #[tokio::test(start_paused = true)]
    async fn somebody_known_keeps_it() {
        let activity = Activity::new();
        activity.prove();
        assert!(timeout(UNPROVEN_FOR * 10, activity.unproven()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn many_failures_end_it_unless_somebody_on_it_is_known() {
        let activity = Activity::new();
        for _ in 0..MOST_FAILURES {
            activity.fail_to_prove();
        }
        let began = Instant::now();
        activity.unproven().await;
        assert_eq!(began.elapsed(), Duration::ZERO);

        let activity = Activity::new();
        activity.prove();
        for _ in 0..MOST_FAILURES {
            activity.fail_to_prove();
        }
        assert!(timeout(UNPROVEN_FOR * 10, activity.unproven()).await.is_err());
    }
}
