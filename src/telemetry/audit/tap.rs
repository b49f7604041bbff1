//! A second reader of the audit log's lines: bounded, and never in anybody's way. Lines that it does
//! not fetch in time are lost to it, and counted; the log itself loses none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::mpsc;

/// Where the writer leaves copies.
#[derive(Debug, Clone)]
pub(super) struct Tap {
    batches: mpsc::UnboundedSender<Batch>,
    shared: Arc<Shared>,
}

/// Where copies are fetched.
#[derive(Debug)]
pub struct Tapped {
    batches: mpsc::UnboundedReceiver<Batch>,
    shared: Arc<Shared>,
}

/// Whole lines, as the log has them.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Bytes that may lie here unfetched.
    limit: usize,
    waiting: AtomicUsize,
    lost: AtomicU64,
}

/// A tap that holds `limit` bytes at most.
pub(super) fn tap(limit: usize) -> (Tap, Tapped) {
    let (sender, batches) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared { limit, waiting: AtomicUsize::new(0), lost: AtomicU64::new(0) });
    (Tap { batches: sender, shared: Arc::clone(&shared) }, Tapped { batches, shared })
}

impl Tap {
    /// Never waits.
    pub(super) fn offer(&self, bytes: &[u8], lines: u64) {
        let fits =
            self.shared.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, |waiting| {
                waiting.checked_add(bytes.len()).filter(|sum| *sum <= self.shared.limit)
            });
        let taken = fits.is_ok()
            && self
                .batches
                .send(Batch { bytes: bytes.to_vec(), shared: Arc::clone(&self.shared) })
                .is_ok();
        if !taken {
            self.shared.lost.fetch_add(lines, Ordering::Relaxed);
        }
    }
}

impl Tapped {
    /// Waits for the next lines; `None` once the log is closed.
    pub async fn next(&mut self) -> Option<Batch> {
        self.batches.recv().await
    }

    /// How many lines were not fetched in time.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }
}

impl Batch {
    /// Without their newlines.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.shared.waiting.fetch_sub(self.bytes.len(), Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_does_not_fit_is_counted_and_what_was_fetched_makes_room() {
        let (tap, mut tapped) = tap(8);
        tap.offer(b"one\n", 1);
        tap.offer(b"two\n", 1);
        tap.offer(b"three\nfour\n", 2);
        assert_eq!(tapped.lost(), 2);
        let batch = tapped.next().await.unwrap();
        assert_eq!(batch.lines().collect::<Vec<_>>(), [b"one"]);
        drop(batch);
        tap.offer(b"six\n", 1);
        assert_eq!(tapped.lost(), 2);
        drop(tap);
        tapped.next().await.unwrap();
        tapped.next().await.unwrap();
        assert!(tapped.next().await.is_none());
    }

    #[tokio::test]
    async fn a_reader_that_has_gone_is_no_hindrance() {
        let (tap, tapped) = tap(1024);
        drop(tapped);
        tap.offer(b"line\n", 1);
        assert_eq!(tap.shared.lost.load(Ordering::Relaxed), 1);
    }
}
