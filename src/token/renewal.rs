//! Keeps a token at hand: renews it well before it runs out, one attempt at a time, and takes it
//! back when it no longer holds.

use std::pin::pin;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, error, info, warn};

use super::bearer;
use super::credential::{Credential, Tokens, TokensState, TokensStatus};
use super::failure::Failure;
use super::pace::{Backoff, MARGIN, Random, due, glance, renew_in, retry_in};
use crate::live::{Publisher, live};
use crate::secret::Secret;

/// No attempt takes longer, whatever hangs.
const ATTEMPT_MOST: Duration = Duration::from_secs(45);
/// Between a failure and an attempt because something changed.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// What a token can be had from, over and over.
pub(super) trait Obtain: Send + 'static {
    fn obtain(&mut self) -> impl Future<Output = Result<Obtained, Failure>> + Send;

    /// Resolves when what a token is made from may have changed. Cancel safe.
    fn changed(&mut self) -> impl Future<Output = ()> + Send;

    fn plan(&self) -> Plan;
}

/// When to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// It is what it is.
    Never,
    /// Somebody else renews it: when it changes, and after a failure.
    OnChange,
    /// We renew it.
    AheadOfEnd,
}

/// A token as it came.
#[derive(Debug)]
pub(super) struct Obtained {
    pub(super) token: Secret,
    pub(super) expires: Option<SystemTime>,
}

/// Wall clock and chance, as they are outside tests.
#[derive(Debug, Clone, Copy)]
pub(super) struct World {
    pub(super) now: fn() -> SystemTime,
    pub(super) random: Random,
}

impl World {
    pub(super) const REAL: Self = Self { now: SystemTime::now, random: fastrand::f64 };
}

/// The task that keeps the token.
#[derive(Debug)]
pub(super) struct Renewal<O> {
    from: O,
    hand: Hand,
    backoff: Backoff,
    next: Option<Instant>,
    /// Changes may come in storms; attempts do not.
    not_before: Instant,
    failing: bool,
}

/// The token in hand, and what is told of it.
#[derive(Debug)]
struct Hand {
    /// Where it comes from, for people.
    source: String,
    world: World,
    current: Publisher<Option<Credential>>,
    statuses: Publisher<TokensStatus>,
    status: TokensStatus,
    held: Option<Obtained>,
}

impl<O: Obtain> Renewal<O> {
    pub(super) fn new(source: String, from: O, world: World) -> (Self, Tokens) {
        let status = TokensStatus {
            state: TokensState::Starting,
            since: (world.now)(),
            expires: None,
            last_error: None,
            renewals: 0,
            failures: 0,
        };
        let (current, seen_current) = live(None);
        let (statuses, seen) = live(status.clone());
        let hand = Hand { source, world, current, statuses, status, held: None };
        let renewal = Self {
            from,
            hand,
            backoff: Backoff::new(),
            next: None,
            not_before: Instant::now(),
            failing: false,
        };
        (renewal, Tokens { current: seen_current, status: seen })
    }

    pub(super) async fn run(mut self) {
        loop {
            self.attempt().await;
            self.wait().await;
        }
    }

    async fn attempt(&mut self) {
        let outcome = self.obtain().await.and_then(|obtained| self.hand.take(obtained));
        self.failing = outcome.is_err();
        let plan = self.from.plan();
        let random = (self.hand.world.random)();
        let pause = match outcome {
            Ok(life) => {
                self.backoff.reset();
                life.filter(|_| plan == Plan::AheadOfEnd).map(|life| renew_in(life, random))
            }
            Err(failure) => {
                let delay = self.backoff.delay(random, failure.retry_after);
                self.hand.fail(failure);
                (plan != Plan::Never).then(|| retry_in(delay, self.hand.left()))
            }
        };
        let now = Instant::now();
        self.next = pause.map(|pause| now + pause);
        self.not_before = now + LEAST_PAUSE;
    }

    /// The token in hand may run out while another is waited for.
    async fn obtain(&mut self) -> Result<Obtained, Failure> {
        let mut flight = pin!(timeout(ATTEMPT_MOST, self.from.obtain()));
        loop {
            tokio::select! {
                obtained = &mut flight => {
                    let late = |_late| Failure::new("the attempt took too long");
                    return obtained.map_err(late).flatten();
                }
                () = self.hand.older() => drop(self.hand.lapse()),
            }
        }
    }

    async fn wait(&mut self) {
        let plan = self.from.plan();
        let heeds = plan == Plan::OnChange || (plan == Plan::AheadOfEnd && self.failing);
        loop {
            tokio::select! {
                () = due(self.next) => return,
                () = self.from.changed(), if heeds => {
                    if plan == Plan::AheadOfEnd {
                        sleep_until(self.not_before).await;
                    }
                    return;
                }
                () = self.hand.older() => {
                    // The clock jumped past the time to renew.
                    if self.hand.lapse() && plan == Plan::AheadOfEnd {
                        return;
                    }
                }
            }
        }
    }
}

impl Hand {
    /// How long the token may be used, if there is an end to that.
    fn take(&mut self, obtained: Obtained) -> Result<Option<Duration>, Failure> {
        let now = (self.world.now)();
        let life = obtained.expires.map(|it| it.duration_since(now).unwrap_or_default());
        if life.is_some_and(|life| life <= MARGIN) {
            return Err(Failure::new("the token has run out, or is about to"));
        }
        let header = bearer::header(&obtained.token)?;
        let same = self
            .held
            .as_ref()
            .is_some_and(|held| held.token == obtained.token && held.expires == obtained.expires);
        if !same {
            self.status.renewals += 1;
            self.status.expires = obtained.expires;
            self.current.publish(Some(Credential { header, expires: obtained.expires }));
            self.held = Some(obtained);
            debug!(source = %self.source, "another machine token is in hand");
        }
        self.status.last_error = None;
        if self.status.state != TokensState::Valid {
            info!(source = %self.source, "a machine token is at hand");
        }
        self.tell(TokensState::Valid);
        Ok(life)
    }

    fn fail(&mut self, failure: Failure) {
        let source = &self.source;
        let Failure { cause, .. } = failure;
        self.status.failures += 1;
        let state = match self.status.state {
            TokensState::Valid => {
                warn!(%source, "the machine token cannot be renewed, the one in hand serves: {cause}");
                TokensState::Stale
            }
            TokensState::Starting => {
                error!(%source, "there is no machine token: {cause}");
                TokensState::Absent
            }
            same @ (TokensState::Stale | TokensState::Absent) => same,
        };
        self.status.last_error = Some(cause);
        self.tell(state);
    }

    /// Resolves when [`Self::lapse`] should be asked. Cancel safe.
    async fn older(&self) {
        glance(self.left()).await;
    }

    /// How long the token in hand may still be given out.
    fn left(&self) -> Option<Duration> {
        let end = self.held.as_ref()?.expires?;
        let left = end.duration_since((self.world.now)()).unwrap_or_default();
        Some(left.saturating_sub(MARGIN))
    }

    /// Takes the token back if it no longer holds, and says whether it did.
    fn lapse(&mut self) -> bool {
        if !self.left().is_some_and(|left| left.is_zero()) {
            return false;
        }
        self.held = None;
        self.current.publish(None);
        self.status.expires = None;
        let cause = self.status.last_error.as_deref().unwrap_or("it ran out and was not renewed");
        error!(source = %self.source, "there is no machine token any more: {cause}");
        self.tell(TokensState::Absent);
        true
    }

    fn tell(&mut self, state: TokensState) {
        if self.status.state != state {
            self.status.state = state;
            self.status.since = (self.world.now)();
        }
        self.statuses.publish(self.status.clone());
    }
}

#[cfg(test)]
mod tests;
