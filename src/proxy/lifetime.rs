//! How long a connection may live, and what ends it early (design section 8).
//!
//! A connection first retires (it finishes what runs and takes nothing new) and is later cut.
//! The side that dialled retires earlier than the side that accepted, so that healthy traffic
//! has moved on to a new connection before the old one is closed under it.

use std::time::{Duration, SystemTime};

use spiffe::TrustDomain;
use tokio::time::{Instant, sleep_until};

use crate::live::{Changes, Live};
use crate::tls::{Context, OwnTerms, Peer};

/// The last part of an SVID's life that the accepting side spends draining, and its bound.
const ACCEPT_MARGIN: (u32, Duration) = (10, Duration::from_secs(30));
/// The same for the side that dialled; always more than the other's.
const DIAL_MARGIN: (u32, Duration) = (5, Duration::from_secs(60));
/// How long something that is no longer allowed may still take to end in order.
const WITHDRAWN_GRACE: Duration = Duration::from_secs(1);

/// Which end of the connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Accepted,
    Dialled,
}

/// Why a connection takes nothing new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retired {
    /// It is old enough, or an SVID is close to its end: orderly, nobody notices.
    Due,
    /// Our side has a newer SVID: the next connection shall use it.
    Renewed,
    /// Our identity or the peer's trust domain is gone: no longer allowed.
    Withdrawn,
}

/// The life of one verified connection.
#[derive(Debug, Clone)]
pub(super) struct Lifetime {
    side: Side,
    retire_at: Instant,
    cut_at: Instant,
    generation: u64,
    trust_domain: TrustDomain,
    contexts: Live<Context>,
    changes: Changes,
}

impl Lifetime {
    pub(super) fn new(
        side: Side,
        peer: &Peer,
        own: &OwnTerms,
        age: Duration,
        contexts: &Live<Context>,
        now: SystemTime,
    ) -> Self {
        let start = Instant::now();
        let peer_span = (peer.not_before(), peer.not_after());
        let own_span = (own.not_before, own.not_after);
        let retire =
            age.min(until_margin(side, peer_span, now)).min(until_margin(side, own_span, now));
        let cut = remaining(peer.not_after(), now).min(remaining(own.not_after, now));
        // Subscribed before the first look, so that no change falls in between.
        let changes = contexts.changes();
        Self {
            side,
            retire_at: start + retire,
            cut_at: start + cut,
            generation: own.generation,
            trust_domain: peer.trust_domain().clone(),
            contexts: contexts.clone(),
            changes,
        }
    }

    /// When no new request may be put on it, if nothing happens before.
    pub(super) fn retire_at(&self) -> Instant {
        self.retire_at
    }

    /// The generation of our own SVID that the connection was made with.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Resolves when the connection shall take nothing new.
    pub(super) async fn retired(&mut self) -> Retired {
        loop {
            if let Some(retired) = self.judged_by_context() {
                return retired;
            }
            tokio::select! {
                () = sleep_until(self.retire_at) => return Retired::Due,
                () = self.changes.changed() => {}
            }
        }
    }

    /// Resolves when the connection has to end, whatever still runs.
    pub(super) async fn cut(&mut self, retired: Retired) {
        if retired == Retired::Withdrawn {
            return sleep_until(self.cut_at.min(Instant::now() + WITHDRAWN_GRACE)).await;
        }
        loop {
            tokio::select! {
                () = sleep_until(self.cut_at) => return,
                () = self.changes.changed() => {
                    if self.judged_by_context() == Some(Retired::Withdrawn) {
                        return sleep_until(
                            self.cut_at.min(Instant::now() + WITHDRAWN_GRACE)).await;
                    }
                }
            }
        }
    }

    fn judged_by_context(&self) -> Option<Retired> {
        let context = self.contexts.load();
        if context.own().is_none() || !context.trusts(&self.trust_domain) {
            return Some(Retired::Withdrawn);
        }
        (self.side == Side::Dialled && context.generation() != self.generation)
            .then_some(Retired::Renewed)
    }
}

fn until_margin(
    side: Side,
    (not_before, not_after): (SystemTime, SystemTime),
    now: SystemTime,
) -> Duration {
    let (part, most) = match side {
        Side::Accepted => ACCEPT_MARGIN,
        Side::Dialled => DIAL_MARGIN,
    };
    let life = not_after.duration_since(not_before).unwrap_or_default();
    remaining(not_after, now).saturating_sub((life / part).min(most))
}

fn remaining(end: SystemTime, now: SystemTime) -> Duration {
    // Bounded, because a certificate may claim to be valid for longer than a clock can count.
    end.duration_since(now).unwrap_or_default().min(Duration::from_secs(86_400 * 365))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dialling_side_always_retires_first() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for life in [4, 20, 60, 3_600, 86_400] {
            let span = (now, now + Duration::from_secs(life));
            let dialled = until_margin(Side::Dialled, span, now);
            let accepted = until_margin(Side::Accepted, span, now);
            assert!(dialled < accepted, "{life} s");
            assert!(accepted < Duration::from_secs(life), "{life} s");
        }
    }

    #[test]
    fn what_has_expired_has_nothing_left() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let span = (now - Duration::from_secs(20), now - Duration::from_secs(1));
        assert_eq!(until_margin(Side::Accepted, span, now), Duration::ZERO);
    }
}
