//! A second opinion: how a decision would be under a policy that is asked and never obeyed (AZ-10).
//!
//! No [`Permit`] leaves this file: what the shadow policy would let in is only told.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use crate::policy::{Local, Policy, Rules};
use crate::tls::Peer;
use crate::token::Verified;

use super::claims::Claims;
use super::grant::{self, Caller, Grants};
use super::guard::Guard;
use super::verdict::{Denial, Permit, Reason};
use super::whatif::Asked;

/// Somebody who proved to be there, to be asked about at another time or in another thread.
#[derive(Debug, Clone)]
pub struct ProvenCaller(Proof);

#[derive(Debug, Clone)]
enum Proof {
    Certificate(Peer, Arc<str>),
    Token(Arc<Verified>),
}

/// How a decision that was made compares with what the shadow policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Agreement {
    Same,
    /// Refused, and the shadow policy would allow it.
    WouldAllow,
    /// Allowed, and the shadow policy would refuse it.
    WouldDeny,
    /// The shadow policy has no answer that could be relied on.
    Error,
}

/// What the shadow policy says, beside a decision that was made.
#[derive(Debug, Clone)]
pub struct SecondOpinion {
    pub agreement: Agreement,
    /// By index, of the decision or else of the second opinion.
    pub route: Option<usize>,
    /// Given where it goes the other way.
    pub differs: Option<Differs>,
}

/// The other way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differs {
    pub allows: bool,
    /// Stable code: `allowed`, or why not.
    pub reason: &'static str,
    /// For people.
    pub detail: Option<String>,
    /// Of the shadow policy.
    pub revision: Arc<str>,
}

/// What has been decided, as far as a second opinion is compared with it.
#[derive(Debug, Clone, Copy)]
pub struct Decided {
    allowed: bool,
    route: Option<usize>,
}

impl ProvenCaller {
    pub fn by_certificate(peer: &Peer) -> Self {
        Self(Proof::Certificate(peer.clone(), peer.shared_uri()))
    }

    pub fn by_token(token: &Arc<Verified>) -> Self {
        Self(Proof::Token(Arc::clone(token)))
    }

    /// Their claims as `policy` sees them now. Always asks the policy.
    pub fn claims(
        &self,
        policy: &Policy,
        local: &Local,
        address: Option<IpAddr>,
        now: SystemTime,
    ) -> Arc<Claims> {
        Arc::new(grant::ask(policy, self.caller(), local, address, now))
    }

    /// The claims that take no evaluation: those that `grants` has had before, and those that the
    /// policy knew when it went live.
    pub fn claims_at_hand(
        &self,
        grants: &Grants,
        policy: &Policy,
        local: &Local,
        address: Option<IpAddr>,
        now: SystemTime,
    ) -> Option<Arc<Claims>> {
        grants.at_hand(policy, self.caller(), local, address, now)
    }

    /// Keeps what [`ProvenCaller::claims`] gave, for the next time.
    pub fn keep_in(
        &self,
        grants: &Grants,
        policy: &Policy,
        local: &Local,
        address: Option<IpAddr>,
        claims: &Arc<Claims>,
    ) {
        grants.keep(policy, self.caller(), local, address, claims);
    }

    fn caller(&self) -> Caller<'_> {
        match &self.0 {
            Proof::Certificate(peer, uri) => Caller::Peer(peer.id(), uri),
            Proof::Token(token) => Caller::Token(token),
        }
    }
}

impl Decided {
    pub fn of(verdict: &Result<Permit, Denial>) -> Self {
        Self { allowed: verdict.is_ok(), route: route_of(verdict) }
    }

    /// By index, of the route that it fell under.
    pub fn route(self) -> Option<usize> {
        self.route
    }

    /// The shadow policy cannot be asked about it.
    pub fn unanswered(self) -> SecondOpinion {
        SecondOpinion { agreement: Agreement::Error, route: self.route, differs: None }
    }

    /// Compares with how it would be decided with `claims` under `rules`, those of the shadow policy.
    pub fn beside(
        self,
        guard: &Guard,
        rules: &Rules,
        claims: &Claims,
        asked: Asked<'_>,
        serial: Option<&str>,
        now: SystemTime,
    ) -> SecondOpinion {
        let verdict = match asked {
            Asked::Http(routes, facts) => guard.judge_http(rules, claims, routes, facts),
            Asked::Stream(route) => guard.judge_tcp(rules, claims, serial, route, now),
        };
        self.compared(&verdict, rules.policy.revision())
    }

    fn compared(self, shadow: &Result<Permit, Denial>, revision: &Arc<str>) -> SecondOpinion {
        let agreement = match shadow {
            Err(denial) if denial.reason == Reason::PolicyError => Agreement::Error,
            Ok(_) if !self.allowed => Agreement::WouldAllow,
            Err(_) if self.allowed => Agreement::WouldDeny,
            Ok(_) | Err(_) => Agreement::Same,
        };
        let differs = (shadow.is_ok() != self.allowed).then(|| {
            let (reason, detail) = match shadow {
                Ok(_) => ("allowed", None),
                Err(denial) => (denial.reason.code(), Some(denial.detail.clone())),
            };
            Differs { allows: shadow.is_ok(), reason, detail, revision: Arc::clone(revision) }
        });
        SecondOpinion { agreement, route: self.route.or_else(|| route_of(shadow)), differs }
    }
}

fn route_of(verdict: &Result<Permit, Denial>) -> Option<usize> {
    match verdict {
        Ok(permit) => Some(permit.route_index()),
        Err(denial) => denial.route.as_ref().map(|route| route.index),
    }
}

impl Agreement {
    pub const ALL: [Self; 4] = [Self::Same, Self::WouldAllow, Self::WouldDeny, Self::Error];

    /// As in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::WouldAllow => "would_allow",
            Self::WouldDeny => "would_deny",
            Self::Error => "error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::{Required, Route};

    fn route() -> Route {
        Route::new("charges", Required::DangerNoScope).unwrap()
    }

    fn permit() -> Result<Permit, Denial> {
        Ok(Permit::new(&Arc::new(route()), false))
    }

    fn denial(reason: Reason) -> Result<Permit, Denial> {
        Err(Denial::on(&route(), reason, "for a reason".to_owned()))
    }

    #[test]
    fn what_goes_the_other_way_is_told_with_its_reason() {
        let revision: Arc<str> = "r1".into();
        let opinion =
            Decided::of(&permit()).compared(&denial(Reason::InsufficientScope), &revision);
        assert_eq!((opinion.agreement, opinion.route), (Agreement::WouldDeny, Some(0)));
        let differs = opinion.differs.unwrap();
        assert_eq!((differs.allows, differs.reason), (false, "insufficient_scope"));
        assert_eq!(differs.detail.as_deref(), Some("for a reason"));

        let decided = Decided::of(&denial(Reason::InsufficientScope));
        let opinion = decided.compared(&permit(), &revision);
        assert_eq!(opinion.agreement, Agreement::WouldAllow);
        let differs = opinion.differs.unwrap();
        assert_eq!((differs.allows, differs.reason, differs.detail), (true, "allowed", None));
    }

    #[test]
    fn another_reason_for_the_same_decision_is_the_same() {
        let decided = Decided::of(&denial(Reason::InsufficientScope));
        let opinion = decided.compared(&denial(Reason::TenantMismatch), &"r1".into());
        assert_eq!((opinion.agreement, opinion.differs), (Agreement::Same, None));
    }

    #[test]
    fn a_policy_that_cannot_answer_is_an_error_and_would_refuse() {
        let failed = || denial(Reason::PolicyError);
        let opinion = Decided::of(&permit()).compared(&failed(), &"r1".into());
        assert_eq!(opinion.agreement, Agreement::Error);
        assert!(!opinion.differs.unwrap().allows);
        let opinion = Decided::of(&denial(Reason::NoRoute)).compared(&failed(), &"r1".into());
        assert_eq!((opinion.agreement, opinion.differs), (Agreement::Error, None));
    }
}
