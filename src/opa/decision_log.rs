//! The decision log: what the audit log holds, told to a collector in OPA's format (OPS-6).
//!
//! It never stands in the way of traffic. Its lines are copies; what cannot be told in time is
//! counted and given up, oldest first. The audit log itself loses nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;

use super::chunks::{Chunk, Chunks};
use super::event::{Event, Revisions};
use super::reporter::{NotTaken, Reporter};
use super::settings::LogSettings;
use crate::live::{Live, Publisher, live};
use crate::policy::Rules;
use crate::telemetry::audit::{Batch, Tapped};
use crate::tls::RootsError;
use crate::token::Backoff;

/// How long the last events may take when the process ends.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// Batches that are being turned into events.
const BATCHES: usize = 4;

/// How the log fares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogStatus {
    /// Why nothing can be uploaded; `None` while it can.
    pub error: Option<String>,
    /// The status that the collector answered with, if it did.
    pub http_code: Option<u16>,
}

/// Events by what became of them.
#[derive(Debug, Default)]
pub struct LogCounts {
    pub uploaded: AtomicU64,
    /// Given up for want of space, or because one alone was too large.
    pub lost: AtomicU64,
    /// `data.system.log.drop` said so.
    pub dropped: AtomicU64,
    /// The policy's mask or drop failed, so they must not leave.
    pub unmasked: AtomicU64,
}

/// The running log.
#[derive(Debug)]
pub struct DecisionLog {
    pub status: Live<LogStatus>,
    pub counts: Arc<LogCounts>,
    ended: mpsc::Receiver<()>,
}

impl DecisionLog {
    /// Runs on the current tokio runtime until the audit log is closed.
    pub fn start(
        settings: LogSettings,
        tapped: Tapped,
        rules: Live<Rules>,
    ) -> Result<Self, RootsError> {
        let reporter = Reporter::new(&settings.to)?;
        let (statuses, status) = live(LogStatus::default());
        let counts = Arc::new(LogCounts::default());
        let (alive, ended) = mpsc::channel();
        let shelf = Arc::new(Shelf {
            chunks: std::sync::Mutex::new(Chunks::new(settings.upload_max, settings.buffer_max)),
            full: Notify::new(),
            counts: Arc::clone(&counts),
        });
        let packer = Packer {
            labels: Arc::new(labelled(settings.labels)),
            rules,
            revisions: Revisions::default(),
            shelf: Arc::clone(&shelf),
            lost_before: 0,
        };
        let closed = CancellationToken::new();
        drop(tokio::spawn(packer.run(tapped, closed.clone().drop_guard())));
        let uploader =
            Uploader { reporter, shelf, statuses, every: settings.every, backoff: Backoff::new() };
        drop(tokio::spawn(async move {
            uploader.run(closed).await;
            drop::<mpsc::Sender<()>>(alive);
        }));
        Ok(Self { status, counts, ended })
    }

    /// Blocks until the last events are out, or have been given up. Only after the audit log has
    /// been closed.
    pub fn ended(self, limit: Duration) {
        // Nothing is ever sent: the other end goes away.
        self.ended.recv_timeout(limit).ok();
    }
}

/// Every event says which process told it.
pub(super) fn labelled(mut labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels.entry("id".to_owned()).or_insert_with(instance);
    labels.entry("version".to_owned()).or_insert_with(|| env!("CARGO_PKG_VERSION").to_owned());
    labels
}

/// A name for this process, the same in all its reports.
fn instance() -> String {
    static INSTANCE: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| format!("{:032x}", fastrand::u128(..)));
    INSTANCE.clone()
}

/// What the two halves share.
struct Shelf {
    chunks: std::sync::Mutex<Chunks>,
    full: Notify,
    counts: Arc<LogCounts>,
}

impl Shelf {
    fn with<T>(&self, work: impl FnOnce(&mut Chunks) -> T) -> T {
        let mut chunks = self.chunks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = chunks.counts();
        let done = work(&mut chunks);
        let after = chunks.counts();
        let lost = after.overflowed + after.too_large - before.overflowed - before.too_large;
        if lost > 0 {
            self.counts.lost.fetch_add(lost, Ordering::Relaxed);
        }
        done
    }
}

/// Turns lines into events.
struct Packer {
    labels: Arc<BTreeMap<String, String>>,
    rules: Live<Rules>,
    revisions: Revisions,
    shelf: Arc<Shelf>,
    lost_before: u64,
}

impl Packer {
    /// When it ends, so does the other half.
    async fn run(mut self, mut tapped: Tapped, _closing: DropGuard) {
        let mut number = 0_u64;
        while let Some(first) = tapped.next().await {
            let mut batches = vec![first];
            while batches.len() < BATCHES
                && let Ok(Some(batch)) = timeout_at(Instant::now(), tapped.next()).await
            {
                batches.push(batch);
            }
            let rules = self.rules.snapshot();
            self.revisions.learn(rules.policy.revision(), rules.policy.bundle_revision());
            let (labels, shelf) = (Arc::clone(&self.labels), Arc::clone(&self.shelf));
            let revisions = self.revisions.clone();
            // A mask may take its time, and compression does.
            let lines = lines(&batches);
            let unsettled = settled(lines, move |settled| {
                let about = About { labels: &labels, revisions: &revisions };
                pack(&batches, number, about, &rules, &shelf, settled);
            });
            let unsettled = unsettled.await;
            number += lines;
            let lost = tapped.lost();
            let new = lost - self.lost_before + unsettled;
            self.shelf.counts.lost.fetch_add(new, Ordering::Relaxed);
            self.lost_before = lost;
            if self.shelf.with(|chunks| chunks.has_full()) {
                self.shelf.full.notify_one();
            }
        }
    }
}

fn lines(batches: &[Batch]) -> u64 {
    batches.iter().map(|batch| u64::try_from(batch.lines().count()).unwrap_or(u64::MAX)).sum()
}

/// Of so many lines, how many `work` left unsettled because it ended before its time. It counts
/// those that it is done with. Blocks aside.
async fn settled(lines: u64, work: impl FnOnce(&AtomicU64) + Send + 'static) -> u64 {
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    let Err(error) = tokio::task::spawn_blocking(move || work(&counted)).await else { return 0 };
    let unsettled = lines.saturating_sub(count.load(Ordering::Relaxed));
    warn!(%error, events = unsettled, "events are lost to the decision log: they cannot be made");
    unsettled
}

/// What events say beside their lines.
#[derive(Clone, Copy)]
struct About<'a> {
    labels: &'a BTreeMap<String, String>,
    revisions: &'a Revisions,
}

/// Events are numbered on from `number`, as many as there are lines.
fn pack(
    batches: &[Batch],
    number: u64,
    about: About<'_>,
    rules: &Rules,
    shelf: &Shelf,
    settled: &AtomicU64,
) {
    let instance = instance();
    for (number, line) in (number + 1..).zip(batches.iter().flat_map(Batch::lines)) {
        let id = format!("{instance}-{number}");
        pack_line(line, id, about, rules, shelf);
        settled.fetch_add(1, Ordering::Relaxed);
    }
}

fn pack_line(line: &[u8], id: String, about: About<'_>, rules: &Rules, shelf: &Shelf) {
    let Some(mut event) = Event::of(line, id, about.labels, about.revisions) else { return };
    if rules.policy.asks_log_events() {
        let verdict = serde_json::to_value(&event)
            .map_err(|error| error.to_string())
            .and_then(|it| rules.policy.log_verdict(&it).map_err(|error| error.to_string()));
        match verdict {
            Ok(verdict) if verdict.drop => {
                shelf.counts.dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Ok(verdict) => verdict.masks.iter().for_each(|mask| event.hide(mask)),
            Err(error) => {
                if shelf.counts.unmasked.fetch_add(1, Ordering::Relaxed) == 0 {
                    warn!(%error, "an event is kept back from the decision log: its mask fails");
                }
                return;
            }
        }
    }
    match serde_json::to_vec(&event) {
        Ok(event) => shelf.with(|chunks| chunks.push(event)),
        Err(error) => warn!(%error, "an event has no JSON form"),
    }
}

/// Sends chunks, one after the other.
struct Uploader {
    reporter: Reporter,
    shelf: Arc<Shelf>,
    statuses: Publisher<LogStatus>,
    every: Duration,
    backoff: Backoff,
}

impl Uploader {
    async fn run(mut self, closed: CancellationToken) {
        let shelf = Arc::clone(&self.shelf);
        let over = {
            let closed = closed.clone();
            async move {
                closed.cancelled().await;
                sleep(LAST_WORDS).await;
            }
        };
        let in_time = tokio::select! {
            () = self.work(&closed) => true,
            () = over => false,
        };
        if !in_time || !shelf.with(|it| it.is_empty()) {
            warn!("the last events of the decision log could not be uploaded");
        }
    }

    /// Until the log is closed, and everything has been tried once more.
    async fn work(&mut self, closed: &CancellationToken) {
        loop {
            // Never all sidecars in the same second.
            let pause = self.every.mul_f64(0.75 + 0.25 * fastrand::f64());
            tokio::select! {
                () = self.shelf.full.notified() => {}
                () = sleep(pause) => {}
                () = closed.cancelled() => {}
            }
            let last = closed.is_cancelled();
            while let Some(chunk) = self.shelf.with(Chunks::take) {
                let Err(error) = self.send(chunk).await else { continue };
                if last {
                    return;
                }
                let delay = self.backoff.delay(fastrand::f64(), error.retry_after);
                tokio::select! {
                    () = sleep(delay) => {}
                    () = closed.cancelled() => break,
                }
            }
            if last {
                return;
            }
        }
    }

    async fn send(&mut self, chunk: Chunk) -> Result<(), NotTaken> {
        match self.reporter.post(chunk.body.clone(), Some("gzip")).await {
            Ok(()) => {
                self.shelf.counts.uploaded.fetch_add(chunk.events, Ordering::Relaxed);
                self.backoff.reset();
                self.tell(LogStatus::default());
                Ok(())
            }
            Err(error) => {
                let status =
                    LogStatus { error: Some(error.message.clone()), http_code: error.status };
                self.tell(status);
                self.shelf.with(|chunks| chunks.put_back(chunk));
                Err(error)
            }
        }
    }

    fn tell(&self, status: LogStatus) {
        if *self.statuses.live().load().as_ref() != status {
            if let Some(error) = &status.error {
                warn!(%error, "the decision log cannot be uploaded; its events wait");
            }
            self.statuses.publish(status);
        }
    }
}

#[cfg(test)]
mod tests;
