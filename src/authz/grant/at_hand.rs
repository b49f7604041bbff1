//! Claims without asking a policy, and claims that were made elsewhere: for the second opinion.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use super::{Caller, Grants, evaluate};
use crate::authz::claims::{Claims, Refusal, Rights};
use crate::authz::rights::Cut;
use crate::policy::{Budget, IdentityQuestion, Local, Policy};
use crate::token::Kind;

impl Grants {
    /// The claims that take no evaluation: those had before, and those that the policy knew when
    /// it went live.
    pub(in crate::authz) fn at_hand(
        &self,
        policy: &Policy,
        caller: Caller<'_>,
        local: &Local,
        address: Option<IpAddr>,
        now: SystemTime,
    ) -> Option<Arc<Claims>> {
        let mut cache = self.0.borrow_mut();
        cache.keep_for(policy, local);
        let key = caller.key(policy, address);
        if let Some(claims) = cache.holding(&key, caller, now) {
            return Some(claims);
        }
        let brings = matches!(caller, Caller::Token(token) if *token.kind() == Kind::Machine);
        let subject = caller.subject();
        let question = IdentityQuestion { subject: &subject, address, local, now };
        policy.knows(&question, brings).then(|| {
            let claims = Arc::new(ask(policy, caller, local, address, now));
            cache.put(key, &claims);
            claims
        })
    }

    /// Keeps claims that were made elsewhere, by the same policy for the same caller.
    pub(in crate::authz) fn keep(
        &self,
        policy: &Policy,
        caller: Caller<'_>,
        local: &Local,
        address: Option<IpAddr>,
        claims: &Arc<Claims>,
    ) {
        let mut cache = self.0.borrow_mut();
        if cache.is_for(policy, local) {
            cache.put(caller.key(policy, address), claims);
        }
    }
}

/// Asks the policy with all the time that there is: for second opinions, never for a decision.
pub(in crate::authz) fn ask(
    policy: &Policy,
    caller: Caller<'_>,
    local: &Local,
    address: Option<IpAddr>,
    now: SystemTime,
) -> Claims {
    let subject = Arc::new(caller.subject());
    let question = IdentityQuestion { subject: &subject, address, local, now };
    let rights = evaluate(policy, caller.token(), &question, Budget::whole())
        .unwrap_or_else(|Cut(message)| Rights::refused(Refusal::Error(message)));
    caller.claims(policy, subject, rights, now)
}
