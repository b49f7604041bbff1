//! What runs on one HTTP connection, and since when nothing does.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

/// Requests that run on one connection, and since when none does.
#[derive(Debug)]
pub(super) struct Activity {
    running: Cell<usize>,
    idle_since: Cell<Instant>,
    retired: Cell<bool>,
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
        })
    }

    pub(super) fn begin(self: &Rc<Self>) -> Running {
        self.running.set(self.running.get() + 1);
        Running(Rc::clone(self))
    }

    /// From now on the connection takes nothing new.
    pub(super) fn retire(&self) {
        self.retired.set(true);
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.get()
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
        activity.running.set(activity.running.get().saturating_sub(1));
        activity.idle_since.set(Instant::now());
    }
}
