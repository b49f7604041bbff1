//! Follows the policy on disk. The new whole is checked and compiled aside, then swapped in; a
//! candidate that is refused changes nothing, and is told once.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};

use super::engine::Policy;
use super::error::LoadError;
use super::source::{self, Source};
use super::{Settings, compile};
use crate::live::{Live, Publisher, live};

/// Changes come in bursts: several files, or a rename after a write.
/// How often a folder that keeps changing is read again before it is taken as it is.
const SETTLE_TRIES: usize = 10;
const DEBOUNCE: Duration = Duration::from_millis(50);
/// For file systems that tell nothing. With the time to compile, a change is live within a second.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
const FINGERPRINT_ENTRIES_MAX: usize = 10_000;
const FINGERPRINT_DEPTH_MAX: usize = 16;

/// How it stands with the policy on disk.
#[derive(Debug, Clone)]
pub struct PolicyStatus {
    /// Of the policy in force.
    pub revision: Arc<str>,
    pub loaded_at: SystemTime,
    /// Why what is on disk is not in force; `None` if it is.
    pub last_error: Option<String>,
    /// When something else than before was last found on disk.
    pub last_attempt: SystemTime,
}

/// Follows the policy from now on, starting from `first`. Runs on the current tokio runtime.
pub fn watch(settings: Settings, first: Policy) -> (Live<Policy>, Live<PolicyStatus>) {
    let (follower, policy, status) = Follower::new(settings, first);
    drop(tokio::spawn(follower.run()));
    (policy, status)
}

struct Follower {
    path: PathBuf,
    status: PolicyStatus,
    policies: Publisher<Policy>,
    statuses: Publisher<PolicyStatus>,
    tried: Tried,
}

/// What was found at the last attempt, so that it is neither compiled nor told again.
#[derive(Debug, PartialEq, Eq)]
enum Tried {
    /// What is in force.
    Live,
    /// A candidate of this revision, which was refused.
    Refused(Arc<str>),
    /// Something that could not even be read.
    Unreadable(String),
}

/// Enough to notice that something changed, without reading it.
type Fingerprint = Vec<(PathBuf, Option<SystemTime>, u64, u64)>;

impl Follower {
    fn new(settings: Settings, first: Policy) -> (Self, Live<Policy>, Live<PolicyStatus>) {
        let now = SystemTime::now();
        let status = PolicyStatus {
            revision: Arc::clone(first.revision()),
            loaded_at: now,
            last_error: None,
            last_attempt: now,
        };
        let (policies, policy) = live(first);
        let (statuses, seen) = live(status.clone());
        let path = settings.path;
        (Self { path, status, policies, statuses, tried: Tried::Live }, policy, seen)
    }

    async fn run(mut self) {
        // One place: more than "something happened" need not be remembered.
        let (told, mut happened) = mpsc::channel(1);
        let mut watcher = follow(&self.path, &told);
        let mut poll = tokio::time::interval(POLL_INTERVAL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Nothing yet, so that a change since the first load is noticed at once.
        let mut seen = Fingerprint::new();
        loop {
            let by_event = tokio::select! {
                event = happened.recv() => event.is_some(),
                _ = poll.tick() => false,
            };
            if by_event {
                tokio::time::sleep(DEBOUNCE).await;
                while happened.try_recv().is_ok() {}
            }
            let path = self.path.clone();
            let Ok(now) = tokio::task::spawn_blocking(move || fingerprint(&path)).await else {
                continue;
            };
            if now == seen && !by_event {
                continue;
            }
            self.attempt().await;
            if now != seen {
                // The folder may be another one now, which the old watch does not reach.
                drop(std::mem::replace(&mut watcher, follow(&self.path, &told)));
                seen = now;
            }
        }
    }

    async fn attempt(&mut self) {
        let path = self.path.clone();
        let known = match &self.tried {
            Tried::Refused(revision) => Some(Arc::clone(revision)),
            Tried::Live | Tried::Unreadable(_) => None,
        };
        let in_force = Arc::clone(&self.status.revision);
        let candidate =
            tokio::task::spawn_blocking(move || Candidate::read(&path, &in_force, known.as_ref()))
                .await
                .unwrap_or_else(|panic| Candidate::Unreadable(panic.to_string()));
        let unchanged = match &candidate {
            Candidate::Known => true,
            Candidate::InForce => self.tried == Tried::Live,
            Candidate::Unreadable(message) => self.tried == Tried::Unreadable(message.clone()),
            Candidate::Good(_) | Candidate::Refused(..) => false,
        };
        if unchanged {
            return;
        }
        self.status.last_attempt = SystemTime::now();
        match candidate {
            Candidate::Known => {}
            Candidate::InForce => {
                self.tried = Tried::Live;
                self.status.last_error = None;
            }
            Candidate::Good(policy) => {
                info!(revision = %policy.revision(), "policy in force");
                self.tried = Tried::Live;
                self.status.revision = Arc::clone(policy.revision());
                self.status.loaded_at = self.status.last_attempt;
                self.status.last_error = None;
                self.policies.publish(*policy);
            }
            Candidate::Refused(revision, message) => {
                self.refuse(Tried::Refused(revision), message);
            }
            Candidate::Unreadable(message) => {
                self.refuse(Tried::Unreadable(message.clone()), message);
            }
        }
        self.statuses.publish(self.status.clone());
    }

    fn refuse(&mut self, tried: Tried, message: String) {
        let in_force = &self.status.revision;
        error!(%in_force, "policy on disk refused, the old one stays: {message}");
        self.tried = tried;
        self.status.last_error = Some(message);
    }
}

/// What was found on disk.
enum Candidate {
    /// The same that was refused before.
    Known,
    InForce,
    Good(Box<Policy>),
    Refused(Arc<str>, String),
    Unreadable(String),
}

impl Candidate {
    fn read(path: &Path, in_force: &Arc<str>, refused: Option<&Arc<str>>) -> Self {
        let source: Source = match source::read(path) {
            Ok(source) => source,
            Err(error) => return Self::Unreadable(error.full()),
        };
        let revision = Arc::clone(&source.revision);
        if revision == *in_force {
            return Self::InForce;
        }
        if refused == Some(&revision) {
            return Self::Known;
        }
        // A set that is still being written may well compile without the half that is to come.
        let mut source = source;
        for _ in 0..SETTLE_TRIES {
            thread::sleep(DEBOUNCE);
            match source::read(path) {
                Ok(again) if again.revision == source.revision => break,
                Ok(again) => source = again,
                Err(error) => return Self::Unreadable(error.full()),
            }
        }
        let revision = Arc::clone(&source.revision);
        match compile(source) {
            Ok(policy) => Self::Good(Box::new(policy)),
            // Says nothing about the candidate, so it is not remembered as refused.
            Err(error @ LoadError::Thread { .. }) => Self::Unreadable(error.full()),
            Err(error) => Self::Refused(revision, error.full()),
        }
    }
}

/// `None` when the system cannot tell; then only polling is left.
fn follow(path: &Path, told: &mpsc::Sender<()>) -> Option<RecommendedWatcher> {
    let told = told.clone();
    let tell = move |event: notify::Result<Event>| {
        // Reading counts as access, and we read ourselves.
        if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
            // Full is fine: one is waiting already.
            let _ = told.try_send(());
        }
    };
    let made = notify::recommended_watcher(tell).and_then(|mut watcher| {
        watcher.watch(path, RecursiveMode::Recursive)?;
        Ok(watcher)
    });
    match made {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            warn!("changes of the policy are noticed by polling only: {error}");
            None
        }
    }
}

/// What cannot be listed or looked at is left out; it comes up as an error when it is read.
fn fingerprint(path: &Path) -> Fingerprint {
    let mut found = Fingerprint::new();
    let mut folders = vec![(path.to_owned(), 0)];
    note(path, &mut found);
    while let Some((folder, depth)) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            if found.len() >= FINGERPRINT_ENTRIES_MAX {
                break;
            }
            let path = entry.path();
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            if !hidden && note(&path, &mut found) && depth < FINGERPRINT_DEPTH_MAX {
                folders.push((path, depth + 1));
            }
        }
    }
    found.sort();
    found
}

/// Whether it is a folder.
fn note(path: &Path, found: &mut Fingerprint) -> bool {
    let Ok(metadata) = fs::metadata(path) else {
        found.push((path.to_owned(), None, 0, 0));
        return false;
    };
    found.push((path.to_owned(), metadata.modified().ok(), metadata.len(), inode(&metadata)));
    metadata.is_dir()
}

#[cfg(unix)]
fn inode(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_metadata: &fs::Metadata) -> u64 {
    0
}

#[cfg(test)]
mod tests;
