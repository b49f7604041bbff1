//! Keeps the keys of one issuer: refreshes them ahead of time, lives through the issuer's outage
//! with the last good ones, and gives those up when they have grown too old.

use std::pin::pin;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

use super::failure::Failure;
use super::key_set::KeySet;
use super::key_source::{Fetch, Fetched};
use super::pace::{Backoff, Random, due, glance, refresh_in};
use super::refetch::{Refetch, Turn, refetch};
use crate::live::{Live, Publisher, live};

/// No attempt takes longer, whatever hangs.
const ATTEMPT_MOST: Duration = Duration::from_secs(30);

/// How it stands with an issuer's keys.
#[derive(Debug, Clone)]
pub struct KeysStatus {
    pub issuer: String,
    pub state: KeysState,
    /// When keys were last had.
    pub fetched: Option<SystemTime>,
    /// Why the last attempt failed; `None` if it did not.
    pub last_error: Option<String>,
    /// Attempts that brought keys, new or the same.
    pub refreshes: u64,
    /// Attempts that did not.
    pub failures: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeysState {
    /// None have been had yet.
    Starting,
    Fresh,
    /// The issuer cannot be reached; the last good keys serve.
    Stale,
    /// They have grown too old and are used no more.
    Expired,
}

/// What the rest sees of one issuer's keys.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) keys: Live<Option<KeySet>>,
    pub(super) status: Live<KeysStatus>,
    pub(super) refetch: Refetch,
}

/// The task that keeps them.
#[derive(Debug)]
pub(super) struct Keeper<S> {
    source: S,
    turn: Turn,
    keeping: Keeping,
    backoff: Backoff,
    random: Random,
    next: Option<Instant>,
}

/// The keys in force, and what is told of them.
#[derive(Debug)]
struct Keeping {
    keys: Publisher<Option<KeySet>>,
    statuses: Publisher<KeysStatus>,
    status: KeysStatus,
    max_age: Duration,
    /// What the keys in force were read from; `None` if there are none.
    bytes: Option<Vec<u8>>,
    /// When the keys in force were last known to be right; `None` while they are known to be, as
    /// those of a file are.
    right_at: Option<(Instant, SystemTime)>,
    /// A failure before the first success was told.
    told: bool,
}

impl<S: Fetch> Keeper<S> {
    pub(super) fn new(
        issuer: String,
        max_age: Duration,
        source: S,
        random: Random,
    ) -> (Self, Kept) {
        let status = KeysStatus {
            issuer,
            state: KeysState::Starting,
            fetched: None,
            last_error: None,
            refreshes: 0,
            failures: 0,
        };
        let (keys, seen_keys) = live(None);
        let (statuses, seen) = live(status.clone());
        let (turn, refetch) = refetch();
        let keeping =
            Keeping { keys, statuses, status, max_age, bytes: None, right_at: None, told: false };
        let keeper = Self { source, turn, keeping, backoff: Backoff::new(), random, next: None };
        (keeper, Kept { keys: seen_keys, status: seen, refetch })
    }

    pub(super) async fn run(mut self) {
        loop {
            self.attempt().await;
            self.wait().await;
        }
    }

    async fn attempt(&mut self) {
        self.turn.begin();
        let fetched = self.fetch().await;
        let outcome = fetched.and_then(|it| {
            let Fetched { bytes, fresh_for } = it;
            self.keeping.take(bytes, fresh_for.is_none())?;
            Ok(fresh_for)
        });
        let random = (self.random)();
        let mut retry_after = None;
        let pause = match outcome {
            Ok(fresh_for) => {
                self.backoff.reset();
                // Keys that may serve for less than an answer is fresh must not run out.
                fresh_for.map(|fresh| refresh_in(fresh.min(self.keeping.max_age), random))
            }
            Err(failure) => {
                retry_after = failure.retry_after;
                self.keeping.fail(failure);
                Some(self.backoff.delay(random, retry_after))
            }
        };
        self.next = pause.map(|pause| Instant::now() + pause);
        // Whoever waits for the attempt must find what it brought.
        self.turn.end(retry_after);
    }

    /// Keys grow old also while an answer is waited for.
    async fn fetch(&mut self) -> Result<Fetched, Failure> {
        let mut flight = pin!(timeout(ATTEMPT_MOST, self.source.fetch()));
        loop {
            tokio::select! {
                fetched = &mut flight => {
                    let late = |_late| Failure::new("the attempt took too long");
                    return fetched.map_err(late).flatten();
                }
                () = self.keeping.older() => self.keeping.age(),
            }
        }
    }

    async fn wait(&mut self) {
        loop {
            tokio::select! {
                () = due(self.next) => return,
                () = self.source.changed() => return,
                () = self.turn.wanted() => return,
                () = self.keeping.older() => self.keeping.age(),
            }
        }
    }
}

impl Keeping {
    /// `lasting`: right until we hear otherwise. Bytes that we know leave the keys as they are, with
    /// all that others remember by them.
    fn take(&mut self, bytes: Vec<u8>, lasting: bool) -> Result<(), Failure> {
        if self.bytes.as_ref() != Some(&bytes) {
            let keys =
                KeySet::of_issuer(&bytes).map_err(|error| Failure::new(error.to_string()))?;
            self.keys.publish(Some(keys));
            self.bytes = Some(bytes);
        }
        let now = (Instant::now(), SystemTime::now());
        self.right_at = (!lasting).then_some(now);
        self.status.refreshes += 1;
        self.status.fetched = Some(now.1);
        self.status.last_error = None;
        if self.status.state != KeysState::Fresh {
            info!(issuer = %self.status.issuer, "keys of the issuer are at hand");
        }
        self.told = false;
        self.tell(KeysState::Fresh);
        Ok(())
    }

    fn fail(&mut self, failure: Failure) {
        let Failure { cause, .. } = failure;
        self.status.failures += 1;
        // What a file said was right until now.
        if self.bytes.is_some() && self.right_at.is_none() {
            self.right_at = Some((Instant::now(), SystemTime::now()));
        }
        let issuer = &self.status.issuer;
        let state = match self.status.state {
            KeysState::Fresh => {
                warn!(%issuer, "keys cannot be refreshed, the last good ones serve: {cause}");
                KeysState::Stale
            }
            KeysState::Starting if !self.told => {
                warn!(%issuer, "keys cannot be had yet, so no token of the issuer is accepted: {cause}");
                self.told = true;
                KeysState::Starting
            }
            same => same,
        };
        self.status.last_error = Some(cause);
        self.tell(state);
    }

    /// Resolves when [`Self::age`] should be asked. Cancel safe.
    async fn older(&self) {
        glance(self.left()).await;
    }

    /// How long the keys in force may still serve, if there is an end to that.
    fn left(&self) -> Option<Duration> {
        let (then, wall) = self.right_at?;
        // A machine that slept has a wall clock that tells.
        let slept = SystemTime::now().duration_since(wall).unwrap_or_default();
        Some(self.max_age.saturating_sub(then.elapsed().max(slept)))
    }

    fn age(&mut self) {
        if !self.left().is_some_and(|left| left.is_zero()) {
            return;
        }
        self.keys.publish(None);
        self.bytes = None;
        self.right_at = None;
        let cause = self.status.last_error.as_deref().unwrap_or("they were not refreshed in time");
        let issuer = &self.status.issuer;
        error!(%issuer, "keys have grown too old, so no token of the issuer is accepted: {cause}");
        self.tell(KeysState::Expired);
    }

    fn tell(&mut self, state: KeysState) {
        self.status.state = state;
        self.statuses.publish(self.status.clone());
    }
}

#[cfg(test)]
mod tests;
