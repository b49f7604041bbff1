//! How long a connection may live, and what ends it early (design section 8).
//!
//! A connection first retires (it finishes what runs and takes nothing new) and is later cut.
//! The side that dialled retires earlier than the side that accepted, so that healthy traffic
//! has moved on to a new connection before the old one is closed under it.

use std::time::{Duration, SystemTime};

use spiffe::TrustDomain;
use tokio::time::{Instant, sleep_until};

use crate::live::{Changes, Live};
use crate::tls::{Context, OwnTerms, Peer, Presented};

/// The last part of an SVID's life that the accepting side spends draining, and its bound.
const ACCEPT_MARGIN: (u32, Duration) = (10, Duration::from_secs(30));
/// The same for the side that dialled; always more than the other's.
const DIAL_MARGIN: (u32, Duration) = (5, Duration::from_secs(60));
/// How long something that is no longer allowed may still take to end in order.
const WITHDRAWN_GRACE: Duration = Duration::from_secs(1);

/// A certificate may claim to be valid for longer than a clock can count.
const LONGEST: Duration = Duration::from_secs(86_400 * 365);

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
    /// Our side has a newer SVID, or has one again: the next connection shall use it.
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
    bounds: Bounds,
    contexts: Live<Context>,
    changes: Changes,
}

/// What a connection may not outlive: the certificates that it was made with, and the trust that
/// was put in them.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    spans: [Option<Span>; 2],
    /// Of our context at that time.
    generation: u64,
    by_svid: bool,
    /// The peer's.
    trust_domain: Option<TrustDomain>,
}

/// Begin and end of a certificate's validity.
type Span = (SystemTime, SystemTime);

impl Bounds {
    /// A caller without a certificate is judged with each of its requests.
    pub(super) fn accepted(peer: Option<&Peer>, own: &Presented) -> Self {
        let bounds = match own {
            Presented::Svid(own) => Self::of_svid(own),
            Presented::Files { not_before, not_after } => Self {
                spans: [Some((*not_before, *not_after)), None],
                generation: 0,
                by_svid: false,
                trust_domain: None,
            },
        };
        match peer {
            Some(peer) => bounds.with_peer(peer),
            None => bounds,
        }
    }

    pub(super) fn dialled(peer: &Peer, own: &OwnTerms) -> Self {
        Self::of_svid(own).with_peer(peer)
    }

    /// A server that has proven its name, and has seen nothing of us: made in the time of
    /// `generation`, when there was no SVID.
    pub(super) fn named(server: Span, generation: u64) -> Self {
        Self { spans: [Some(server), None], generation, by_svid: false, trust_domain: None }
    }

    fn of_svid(own: &OwnTerms) -> Self {
        Self {
            spans: [Some((own.not_before, own.not_after)), None],
            generation: own.generation,
            by_svid: true,
            trust_domain: None,
        }
    }

    fn with_peer(self, peer: &Peer) -> Self {
        let [own, _] = self.spans;
        Self {
            spans: [own, Some((peer.not_before(), peer.not_after()))],
            trust_domain: Some(peer.trust_domain().clone()),
            ..self
        }
    }
}

/// Whether our SVID is so close to its end that nothing made with it would be kept for a second
/// request. Where there is another way to prove ourselves, it is taken from then on: else each
/// request would make a connection of its own, and be cut off with the SVID.
pub(super) fn is_nearly_over(
    not_before: SystemTime,
    not_after: SystemTime,
    now: SystemTime,
) -> bool {
    until_margin(Side::Dialled, (not_before, not_after), now).is_zero()
}

impl Lifetime {
    pub(super) fn new(
        side: Side,
        bounds: Bounds,
        age: Duration,
        contexts: &Live<Context>,
        now: SystemTime,
    ) -> Self {
        let start = Instant::now();
        let spans = || bounds.spans.iter().flatten();
        let retire = spans().map(|span| until_retired(side, *span, now)).fold(age, Duration::min);
        let cut = spans().map(|(_, end)| remaining(*end, now)).fold(LONGEST, Duration::min);
        // Subscribed before the first look, so that no change falls in between.
        let changes = contexts.changes();
        Self {
            side,
            retire_at: start + retire,
            cut_at: start + cut,
            bounds,
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
        self.bounds.generation
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
        let Bounds { generation, by_svid, trust_domain, .. } = &self.bounds;
        let untrusted = trust_domain.as_ref().is_some_and(|it| !context.trusts(it));
        if untrusted || (*by_svid && context.own().is_none()) {
            return Some(Retired::Withdrawn);
        }
        (self.side == Side::Dialled && context.generation() != *generation)
            .then_some(Retired::Renewed)
    }
}

/// What is accepted so late that its time to drain has come is not turned away for that: whoever
/// dialled has nothing better, and HTTP/2 would lose the request that is on its way.
fn until_retired(side: Side, span: Span, now: SystemTime) -> Duration {
    let retire = until_margin(side, span, now);
    match side {
        Side::Accepted => retire.max(remaining(span.1, now) / 2),
        Side::Dialled => retire,
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
    end.duration_since(now).unwrap_or_default().min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dialling_side_always_retires_first() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for life in [4, 20, 60, 3_600, 86_400] {
            let span = (now, now + Duration::from_secs(life));
            for later in [0.0, 0.5, 0.79, 0.81, 0.89, 0.91, 0.99] {
                let now = now + Duration::from_secs(life).mul_f64(later);
                let dialled = until_retired(Side::Dialled, span, now);
                let accepted = until_retired(Side::Accepted, span, now);
                assert!(dialled < accepted, "{life} s, {later}");
                assert!(accepted < remaining(span.1, now), "{life} s, {later}");
            }
        }
    }

    #[test]
    fn what_has_expired_has_nothing_left() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let span = (now - Duration::from_secs(20), now - Duration::from_secs(1));
        assert_eq!(until_retired(Side::Accepted, span, now), Duration::ZERO);
    }
}
