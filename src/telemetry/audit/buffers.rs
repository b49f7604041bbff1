//! Where lines wait: one buffer a worker, a bound over all of them, and a bell for the writer.
//!
//! A worker locks only its own buffer, and meets the writer there only for the moment of a swap.
//! Space is taken from the common bound in chunks, so workers seldom touch what they share.

use std::mem;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::Notify;

use super::record::Record;

/// Why a line was not taken. Whoever gets this must not act on the decision.
#[derive(Debug, Error)]
pub enum WriteError {
    #[error("the audit log is full: its destination does not keep up")]
    Full,
    #[error("the audit log is closed")]
    Closed,
    #[error("the audit record has no JSON form")]
    Encode(#[source] serde_json::Error),
}

/// What is shared by all workers and the writer.
#[derive(Debug)]
pub(super) struct Buffers {
    /// Bytes that all buffers together may hold, what is being written included.
    limit: usize,
    reserved: AtomicUsize,
    /// Lines that the writer has taken and not yet written.
    in_hand: AtomicU64,
    workers: Mutex<Vec<Arc<Worker>>>,
    bell: Mutex<Bell>,
    rung: Condvar,
    space: Notify,
}

/// One worker's lines.
#[derive(Debug, Default)]
pub(super) struct Worker(Mutex<Lines>);

/// Whole lines, and how much of the common bound they occupy.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) bytes: Vec<u8>,
    pub(super) count: u64,
    // INVARIANT: bytes.len() <= reserved, outside of `Buffers::write`.
    pub(super) reserved: usize,
    closed: bool,
}

/// What the writer is asked to do.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Bell {
    /// There is a line somewhere.
    pub(super) dirty: bool,
    /// A buffer is long enough to be written without waiting for more.
    pub(super) urgent: bool,
    pub(super) reopen: bool,
    pub(super) close: bool,
}

/// A buffer this long is written at once.
const BATCH: usize = 32 * 1024;
/// What a worker takes from the common bound at a time.
const CHUNK: usize = 32 * 1024;
/// A buffer that once grew beyond this gives the memory back.
const KEEP_CAPACITY: usize = 4 * BATCH;

impl Buffers {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            reserved: AtomicUsize::new(0),
            in_hand: AtomicU64::new(0),
            workers: Mutex::default(),
            bell: Mutex::default(),
            rung: Condvar::new(),
            space: Notify::new(),
        }
    }

    /// A buffer for one more worker. It is forgotten once the worker is gone and it is empty.
    pub(super) fn worker(&self) -> Arc<Worker> {
        // Locked before the bell is read: who comes after the last collection finds it closed.
        let mut workers = lock(&self.workers);
        let worker = Arc::new(Worker(Mutex::new(Lines {
            bytes: Vec::with_capacity(2 * BATCH),
            closed: lock(&self.bell).close,
            ..Lines::default()
        })));
        workers.push(Arc::clone(&worker));
        worker
    }

    pub(super) fn write(&self, worker: &Worker, record: &Record<'_>) -> Result<(), WriteError> {
        let mut lines = lock(&worker.0);
        if lines.closed {
            return Err(WriteError::Closed);
        }
        let before = lines.bytes.len();
        record.append_to(&mut lines.bytes).map_err(WriteError::Encode)?;
        let missing = lines.bytes.len().saturating_sub(lines.reserved);
        if missing > 0 {
            let Some(chunk) = self.reserve(missing) else {
                lines.bytes.truncate(before);
                return Err(WriteError::Full);
            };
            lines.reserved += chunk;
        }
        lines.count += 1;
        let full = before < BATCH && lines.bytes.len() >= BATCH;
        drop(lines);

        if before == 0 || full {
            self.ring(|bell| {
                bell.dirty = true;
                bell.urgent |= full;
            });
        }
        Ok(())
    }

    /// Takes the line as soon as there is space for it.
    pub(super) async fn write_when_ready(
        &self,
        worker: &Worker,
        record: &Record<'_>,
    ) -> Result<(), WriteError> {
        let mut answer = self.write(worker, record);
        while matches!(answer, Err(WriteError::Full)) {
            // Listening begins before the attempt, so no space is freed unheard in between.
            let mut freed = std::pin::pin!(self.space.notified());
            freed.as_mut().enable();
            answer = self.write(worker, record);
            if matches!(answer, Err(WriteError::Full)) {
                freed.await;
            }
        }
        answer
    }

    /// Resolves once a line of usual length would be taken.
    pub(super) async fn ready(&self) {
        loop {
            let mut freed = std::pin::pin!(self.space.notified());
            freed.as_mut().enable();
            if self.reserved.load(Ordering::Acquire).saturating_add(CHUNK) <= self.limit {
                return;
            }
            freed.await;
        }
    }

    pub(super) fn ring(&self, ask: impl FnOnce(&mut Bell)) {
        ask(&mut lock(&self.bell));
        self.rung.notify_one();
    }

    /// Blocks until asked for something; a first line waits up to `linger` for company. Without
    /// lines there is no time limit, so an idle process does not wake.
    pub(super) fn wait(&self, linger: Duration) -> Bell {
        let bell = lock(&self.bell);
        let bell = self
            .rung
            .wait_while(bell, |bell| !(bell.dirty || bell.urgent || bell.reopen || bell.close))
            .unwrap_or_else(PoisonError::into_inner);
        let (mut bell, _) = self
            .rung
            .wait_timeout_while(bell, linger, |bell| !(bell.urgent || bell.reopen || bell.close))
            .unwrap_or_else(PoisonError::into_inner);
        let asked = *bell;
        // `close` stays: once said, it holds.
        *bell = Bell { close: asked.close, ..Bell::default() };
        asked
    }

    /// Sleeps before another attempt; being asked to reopen or close ends the sleep.
    pub(super) fn pause(&self, at_most: Duration) {
        let until = Instant::now() + at_most;
        let mut bell = lock(&self.bell);
        let closing = bell.close;
        while !bell.reopen && bell.close == closing {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            bell = self.rung.wait_timeout(bell, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        bell.reopen = false;
    }

    /// Swaps each worker's lines with `spare` and hands them to `write`, which empties them.
    /// With `closing`, no line is taken after this.
    pub(super) fn collect(
        &self,
        closing: bool,
        spare: &mut Lines,
        mut write: impl FnMut(&mut Lines),
    ) {
        let workers = lock(&self.workers).clone();
        for worker in &workers {
            {
                let mut lines = lock(&worker.0);
                lines.closed |= closing;
                if lines.count == 0 {
                    continue;
                }
                spare.closed = lines.closed;
                self.in_hand.store(lines.count, Ordering::Release);
                mem::swap(&mut *lines, spare);
            }
            write(spare);
            self.in_hand.store(0, Ordering::Release);
            self.release(spare);
        }
        drop(workers);
        lock(&self.workers)
            .retain(|worker| Arc::strong_count(worker) > 1 || lock(&worker.0).count > 0);
    }

    /// Lines not written yet. While the writer moves, some may be counted twice, none is left out.
    pub(super) fn waiting(&self) -> u64 {
        let lying: u64 = lock(&self.workers).iter().map(|worker| lock(&worker.0).count).sum();
        lying + self.in_hand.load(Ordering::Acquire)
    }

    fn reserve(&self, missing: usize) -> Option<usize> {
        let chunk = missing.max(CHUNK);
        let taken = self.reserved.fetch_update(Ordering::AcqRel, Ordering::Acquire, |reserved| {
            reserved.checked_add(chunk).filter(|sum| *sum <= self.limit)
        });
        taken.is_ok().then_some(chunk)
    }

    fn release(&self, lines: &mut Lines) {
        lines.bytes.clear();
        lines.bytes.shrink_to(KEEP_CAPACITY);
        lines.count = 0;
        self.reserved.fetch_sub(mem::take(&mut lines.reserved), Ordering::AcqRel);
        self.space.notify_waiters();
    }
}

/// A panic elsewhere leaves whole lines behind, so a poisoned lock is as good as a sound one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
