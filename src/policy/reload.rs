//! Follows the policy on disk. The new whole is checked and compiled aside, then swapped in; a
//! candidate that is refused changes nothing, and is told once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use tracing::{error, info};

use super::engine::Policy;
use super::error::LoadError;
use super::source::{self, Source};
use super::{Settings, compile};
use crate::files::Follow;
use crate::live::{Live, Publisher, live};

/// How often a folder that keeps changing is read again before it is taken as it is.
const SETTLE_TRIES: usize = 10;
/// Between two of these readings.
const SETTLE_PAUSE: Duration = Duration::from_millis(50);

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
        // The first change is told at once: it may have come since the first load.
        let mut follow = Follow::tree(self.path.clone());
        loop {
            follow.changed().await;
            self.attempt().await;
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
            thread::sleep(SETTLE_PAUSE);
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

#[cfg(test)]
mod tests;
