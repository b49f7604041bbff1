//! A value that the control plane replaces and the hot path reads.
//!
//! Whoever refreshes it holds the [`Publisher`]; everyone else holds a [`Live`]. The new whole is
//! built aside and swapped in once, so a reader meets the old value or the new one, never a
//! mixture. Take one snapshot for one decision. A refresh that fails publishes nothing: the last
//! good value stays.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

/// The reading side: cheap to clone, and to read without a lock shared between cores.
pub struct Live<T>(Arc<Shared<T>>);

/// The writing side. There is one for each value.
pub struct Publisher<T>(Arc<Shared<T>>);

/// Wakes when a newer value than the last one seen has been published.
#[derive(Clone)]
pub struct Changes {
    revision: watch::Receiver<u64>,
}

struct Shared<T> {
    value: ArcSwap<T>,
    published: AtomicU64,
    revision: watch::Sender<u64>,
}

/// There is always a first value, so readers never meet an empty one.
pub fn live<T>(first: T) -> (Publisher<T>, Live<T>) {
    let shared = Arc::new(Shared {
        value: ArcSwap::from_pointee(first),
        published: AtomicU64::new(0),
        revision: watch::Sender::new(0),
    });
    (Publisher(Arc::clone(&shared)), Live(shared))
}

impl<T> Live<T> {
    /// A value that never changes.
    pub fn fixed(value: T) -> Self {
        live(value).1
    }

    /// A short borrow for the hot path; do not hold it across an await.
    pub fn load(&self) -> Guard<Arc<T>> {
        self.0.value.load()
    }

    /// The value as it is now, to keep for as long as one decision or connection lasts.
    pub fn snapshot(&self) -> Arc<T> {
        self.0.value.load_full()
    }

    /// Counts what was published. Read before the value, and the same later on: whoever waits for
    /// changes has not been woken for anything newer than that value until then.
    pub fn revision(&self) -> u64 {
        self.0.published.load(Ordering::Acquire)
    }

    /// Changes from now on: what is published after this call wakes the result.
    pub fn changes(&self) -> Changes {
        Changes { revision: self.0.revision.subscribe() }
    }
}

impl<T> Publisher<T> {
    /// Swaps the new value in, then wakes whoever waits for changes.
    pub fn publish(&self, value: T) {
        self.0.value.store(Arc::new(value));
        self.0.published.fetch_add(1, Ordering::AcqRel);
        self.0.revision.send_modify(|revision| *revision = revision.wrapping_add(1));
    }

    /// Another reader of the same value.
    pub fn live(&self) -> Live<T> {
        Live(Arc::clone(&self.0))
    }
}

impl Changes {
    /// Resolves once something newer has been published. When the publisher is gone nothing ever
    /// changes again, and this never resolves.
    pub async fn changed(&mut self) {
        if self.revision.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: fmt::Debug> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Live").field(&self.load()).finish()
    }
}

impl<T> fmt::Debug for Publisher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_sees_the_new_value_and_is_woken_once() {
        let (publisher, live) = live(1);
        let mut changes = live.changes();
        publisher.publish(2);
        changes.changed().await;
        assert_eq!(*live.snapshot(), 2);
        assert!(!changes.revision.has_changed().unwrap());
    }

    #[test]
    fn a_snapshot_outlives_what_replaced_it() {
        let (publisher, live) = live("old");
        let held = live.snapshot();
        publisher.publish("new");
        assert_eq!((*held, *live.snapshot()), ("old", "new"));
    }

    #[test]
    fn what_is_published_counts() {
        let (publisher, live) = live(1);
        let before = live.revision();
        assert_eq!(live.revision(), before);
        publisher.publish(1);
        assert_ne!(live.revision(), before);
    }
}
