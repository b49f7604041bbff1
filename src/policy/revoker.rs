//! Revocations made while the sidecar runs (AZ-11): in force at once, lapsing by themselves where they
//! have an end, and kept across restarts where there is a file for that.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use thiserror::Error;
use tokio::sync::Notify;
use tracing::{error, info, warn};

use super::kept::{self, HELD_MAX, Held, KeptError, Terms};
use super::revocations::{RevocationEntry, Revocations};
use super::rules::Desk;
use crate::files::FileError;

/// A clock that is set back must not keep us from looking at it for long.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(30);

/// Everything of one sidecar that is revoked beside its policy's data. Cheap to clone; changes block
/// for as long as the file takes.
#[derive(Clone)]
pub struct Revoker(Arc<Shared>);

struct Shared {
    desk: Desk,
    keep: Option<PathBuf>,
    held: Mutex<Held>,
    changed: Notify,
}

/// Why a change is not what was asked for.
#[derive(Debug, Error)]
pub enum RevokeError {
    #[error("more than {HELD_MAX} entries at run time, put them into the policy's data")]
    TooMany,
    #[error("too long for the file that keeps them, put them into the policy's data")]
    TooLong,
    /// It is in force nevertheless.
    #[error("in force, but not kept for the next start")]
    NotKept(#[from] FileError),
}

impl Revoker {
    /// Puts in force what was kept in the file, if it is there, and proves that it can be written:
    /// it is no use to learn that in an emergency. Blocks.
    pub fn open(desk: Desk, keep: Option<PathBuf>) -> Result<Self, KeptError> {
        let mut held = match &keep {
            Some(path) => kept::read(path)?,
            None => Held::new(),
        };
        drop_lapsed(&mut held, SystemTime::now());
        if let Some(path) = &keep {
            kept::write(path, &held)?;
        }
        if !held.is_empty() {
            info!(entries = held.len(), "revocations of earlier are in force");
            desk.revoke(Arc::new(held.keys().collect()));
        }
        let changed = Notify::new();
        Ok(Self(Arc::new(Shared { desk, keep, held: Mutex::new(held), changed })))
    }

    /// Whether `open` would take what is in the file. Changes nothing.
    pub fn check(keep: &Path) -> Result<(), KeptError> {
        kept::read(keep).map(drop)
    }

    /// In force when this returns, whatever it returns but [`RevokeError::TooMany`] and
    /// [`RevokeError::TooLong`]. What is revoked already has the new terms from now on.
    pub fn revoke(&self, entries: &[RevocationEntry], terms: &Terms) -> Result<(), RevokeError> {
        let mut held = self.held();
        let mut next = held.clone();
        next.extend(entries.iter().map(|entry| (entry.clone(), terms.clone())));
        if next.len() > HELD_MAX {
            return Err(RevokeError::TooMany);
        }
        // A file that cannot be read again would stop the next start.
        if !kept::fits(&next) {
            return Err(RevokeError::TooLong);
        }
        *held = next;
        for entry in entries {
            let (list, text, reason) = (entry.list().name(), entry.text(), &terms.reason);
            let seconds = terms.until.map(|it| it.duration_since(terms.since).unwrap_or_default());
            warn!(list, entry = ?text, by = terms.by, ?reason, lasts = ?seconds, "revoked");
        }
        self.settle(&held)
    }

    /// Which of the entries were revoked at run time; they are so no longer.
    pub fn lift(
        &self,
        entries: &[RevocationEntry],
        by: &str,
    ) -> Result<Vec<RevocationEntry>, RevokeError> {
        let mut held = self.held();
        let known: Vec<_> =
            entries.iter().filter(|entry| held.remove(*entry).is_some()).cloned().collect();
        for entry in &known {
            warn!(list = entry.list().name(), entry = ?entry.text(), by, "revocation lifted");
        }
        if !known.is_empty() {
            self.settle(&held)?;
        }
        Ok(known)
    }

    /// All that is revoked at run time, in the order of lists and entries.
    pub fn list(&self) -> Vec<(RevocationEntry, Terms)> {
        self.held().iter().map(|(entry, terms)| (entry.clone(), terms.clone())).collect()
    }

    pub fn count(&self) -> usize {
        self.held().len()
    }

    /// Lifts what has come to its end, for as long as it is polled.
    pub async fn lapse(self) {
        loop {
            let next = self.held().values().filter_map(|terms| terms.until).min();
            let left = next.map(|it| it.duration_since(SystemTime::now()).unwrap_or_default());
            let pause = left.unwrap_or(LOOK_AT_LEAST_EVERY).min(LOOK_AT_LEAST_EVERY);
            tokio::select! {
                () = self.0.changed.notified() => continue,
                () = tokio::time::sleep(pause) => {}
            }
            let this = self.clone();
            let lapsed = tokio::task::spawn_blocking(move || this.drop_lapsed(SystemTime::now()));
            if let Ok(Err(error)) = lapsed.await {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                error!(%error, cause, "lapsed revocations");
            }
        }
    }

    fn drop_lapsed(&self, now: SystemTime) -> Result<(), RevokeError> {
        let mut held = self.held();
        let lapsed = drop_lapsed(&mut held, now);
        for entry in &lapsed {
            info!(list = entry.list().name(), entry = ?entry.text(), "revocation has lapsed");
        }
        if lapsed.is_empty() { Ok(()) } else { self.settle(&held) }
    }

    /// First in force, then on the disk: a full disk must not keep anybody in.
    fn settle(&self, held: &Held) -> Result<(), RevokeError> {
        self.0.desk.revoke(Arc::new(held.keys().collect::<Revocations>()));
        self.0.changed.notify_one();
        match &self.0.keep {
            Some(path) => Ok(kept::write(path, held)?),
            None => Ok(()),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn drop_lapsed(held: &mut Held, now: SystemTime) -> Vec<RevocationEntry> {
    let over = |terms: &Terms| terms.until.is_some_and(|until| until <= now);
    let lapsed = held.iter().filter(|(_, terms)| over(terms)).map(|(entry, _)| entry.clone());
    let lapsed: Vec<_> = lapsed.collect();
    held.retain(|_, terms| !over(terms));
    lapsed
}

impl fmt::Debug for Revoker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revoker").field("entries", &self.count()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
