//! What stands in the way of traffic, and what is only worth knowing.
//!
//! A listener that can do without an SVID for a while is no reason to send traffic elsewhere: that
//! its calls go by token is then a note.

use std::time::SystemTime;

use super::outside::{Outside, WayIn};
use super::policies::Policies;
use super::switches::word;
use crate::admin::Reason;
use crate::config::Accept;
use crate::identity::{AgentState, AgentStatus};
use crate::policy::PolicyStatus;
use crate::tls::Context;
use crate::token::{KeysState, TokensState, TokensStatus};

/// Of why a policy was refused. The log has all of it.
const ERROR_CHARS_MAX: usize = 1000;

/// Both kinds, as they are now.
#[derive(Debug, Default)]
pub(super) struct Notices {
    /// No traffic should be sent here.
    pub(super) reasons: Vec<Reason>,
    pub(super) notes: Vec<Reason>,
}

impl Notices {
    pub(super) fn of(
        identity: &AgentStatus,
        context: &Context,
        outside: &Outside,
        policies: &Policies,
        now: SystemTime,
    ) -> Self {
        let mut notices = Self::default();
        notices.policies(policies);
        let svid = context.own().is_some_and(|own| now < own.not_after);
        let mut depends_on_svid = false;
        for way in &outside.inbound {
            depends_on_svid |= !svid
                && match way.accept {
                    Accept::Spiffe => true,
                    Accept::SpiffeOrJwt => !way.has_certificate(now) || !outside.has_keys(),
                    // Where it is keys that it lacks, those are named below.
                    Accept::Jwt => !way.has_certificate(now),
                };
            notices.certificate(way, svid, now);
            notices.refused_callers(way, svid, now);
        }
        for ways in &outside.outbound {
            let way = ways.now(context, now);
            let by_token = ways.by_token.as_ref().map(|it| it.status.snapshot());
            let at_hand = ways.by_token.as_ref().is_some_and(|it| it.is_at_hand(now));
            if way.is_none() {
                depends_on_svid |= ways.by_svid;
                // Beside SPIFFE, one that is there is held back for the agent's first word.
                let held = |it: &&TokensStatus| {
                    ways.by_svid && matches!(it.state, TokensState::Valid | TokensState::Stale)
                };
                let lacking = by_token.as_deref().filter(|it| !held(it));
                notices.token(&ways.name, lacking, true);
            } else if at_hand {
                notices.stale_token(&ways.name, by_token.as_deref());
            } else {
                notices.token(&ways.name, by_token.as_deref(), false);
            }
            if ways.by_token.is_some() && ways.by_svid && word(way) == "jwt" {
                let message = format!("calls of `{}` go out by machine token", ways.name);
                notices.notes.push(Reason { code: "fallback_in_use", message, since: None });
            }
        }
        notices.identity(identity, svid, depends_on_svid);
        notices.keys(outside);
        notices
    }

    fn policies(&mut self, policies: &Policies) {
        let enforced = policies.enforced.load();
        if enforced.revision.is_none() {
            let message = "no policy has been received yet, so nobody is let in".to_owned();
            self.add(true, Reason { code: "policy_missing", message, since: None });
        }
        self.refused_policy("policy_refused", &enforced);
        if let Some(shadow) = &policies.shadow {
            self.refused_policy("shadow_policy_refused", &shadow.load());
        }
    }

    /// The one before holds, so traffic may come.
    fn refused_policy(&mut self, code: &'static str, status: &PolicyStatus) {
        let Some(error) = &status.last_error else { return };
        let in_force = status.revision.as_deref().unwrap_or("none");
        let candidate = status.candidate.as_deref().unwrap_or("none");
        let error: String = error.chars().take(ERROR_CHARS_MAX).collect();
        let message = format!("revision {in_force} stays, candidate {candidate}: {error}");
        self.add(false, Reason { code, message, since: Some(status.last_attempt) });
    }

    fn identity(&mut self, status: &AgentStatus, svid: bool, depends: bool) {
        let reason = match status.state {
            AgentState::Absent => return,
            // With a stale agent the SVID still holds: traffic goes on, metrics and log warn.
            AgentState::Fresh | AgentState::Stale if svid => return,
            AgentState::Fresh | AgentState::Stale => Reason {
                code: "identity_unusable",
                message: "the SVID has not been taken into use".to_owned(),
                since: Some(status.since),
            },
            AgentState::Starting | AgentState::Denied | AgentState::Expired => {
                identity_reason(status)
            }
        };
        self.add(depends, reason);
    }

    fn certificate(&mut self, way: &WayIn, svid: bool, now: SystemTime) {
        let Some((certificate, status)) = &way.certificate else { return };
        let (not_after, status) = (certificate.load().not_after, status.load());
        let name = &way.name;
        if now >= not_after {
            let message = format!("the certificate of `{name}` from files has run out");
            let reason = Reason { code: "certificate_expired", message, since: Some(not_after) };
            self.add(!svid, reason);
        } else if let Some(error) = &status.last_error {
            let message = format!("the newer certificate of `{name}` is not in use: {error}");
            self.add(false, Reason { code: "certificate_unusable", message, since: None });
        }
    }

    /// Others cannot tell us from somebody who poses as us.
    fn refused_callers(&mut self, way: &WayIn, svid: bool, now: SystemTime) {
        if svid || way.accept != Accept::SpiffeOrJwt || !way.has_certificate(now) {
            return;
        }
        let name = &way.name;
        let message = format!("callers with an SVID cannot verify `{name}` while it has no SVID");
        self.add(false, Reason { code: "callers_with_svid_refused", message, since: None });
    }

    fn token(&mut self, name: &str, status: Option<&TokensStatus>, stands_in_the_way: bool) {
        let Some(status) = status else { return };
        let why = status.last_error.as_deref().map(|it| format!(": {it}")).unwrap_or_default();
        let message = format!("`{name}` has no machine token{why}");
        let since = Some(status.since);
        self.add(stands_in_the_way, Reason { code: "token_unavailable", message, since });
    }

    fn stale_token(&mut self, name: &str, status: Option<&TokensStatus>) {
        let Some(status) = status.filter(|status| status.state == TokensState::Stale) else {
            return;
        };
        let why = status.last_error.as_deref().map(|it| format!(": {it}")).unwrap_or_default();
        let message = format!("the machine token of `{name}` could not be renewed{why}");
        let since = Some(status.since);
        self.notes.push(Reason { code: "token_stale", message, since });
    }

    fn keys(&mut self, outside: &Outside) {
        let only_tokens = outside.inbound.iter().any(|way| way.accept == Accept::Jwt);
        for keys in &outside.keys {
            let status = keys.load();
            let (code, plain) = match status.state {
                KeysState::Fresh => continue,
                KeysState::Stale => ("keys_stale", "could not be refreshed"),
                KeysState::Starting => ("keys_unavailable", "have not been had yet"),
                KeysState::Expired => ("keys_unavailable", "have grown too old"),
            };
            let why = status.last_error.as_deref().map(|it| format!(": {it}")).unwrap_or_default();
            let message = format!("the keys of `{}` {plain}{why}", status.issuer);
            let stands_in_the_way = only_tokens && !outside.has_keys();
            self.add(stands_in_the_way, Reason { code, message, since: status.fetched });
        }
        if outside.lacks_bundles() {
            let message = "no JWT bundle has been received".to_owned();
            let reason = Reason { code: "keys_unavailable", message, since: None };
            self.add(only_tokens && !outside.has_keys(), reason);
        }
    }

    fn add(&mut self, stands_in_the_way: bool, reason: Reason) {
        let list = if stands_in_the_way { &mut self.reasons } else { &mut self.notes };
        list.push(reason);
    }
}

fn identity_reason(status: &AgentStatus) -> Reason {
    let (code, plain) = match status.state {
        AgentState::Starting => ("identity_starting", "no SVID has been received yet"),
        AgentState::Denied => ("identity_denied", "the agent gives this workload no identity"),
        AgentState::Expired => ("identity_expired", "the SVID has run out"),
        AgentState::Stale => ("identity_stale", "the agent is silent, the SVID still holds"),
        AgentState::Fresh => ("identity_fresh", "the SVID is fresh"),
        AgentState::Absent => ("identity_absent", "no Workload API is configured"),
    };
    let message = match &status.detail {
        Some(detail) => format!("{plain}: {detail}"),
        None => plain.to_owned(),
    };
    Reason {
        code,
        message,
        since: Some(status.since).filter(|since| *since > SystemTime::UNIX_EPOCH),
    }
}
