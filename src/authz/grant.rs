//! From a verified identity to its claims, by way of the policy. The arithmetic on scopes is here.
//!
//! `effective = (scopes ∪ scopes of roles) ∩ team ∩ resource ∩ tenant`. Whatever goes wrong on the
//! way leaves an identity with nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::policy::{
    IdentityAnswer, IdentityQuestion, Local, Policy, Subject, Workload, minute_end,
};
use crate::tls::Peer;

use super::claims::{Claims, Method, Refusal, Rights};
use super::scopes::{ScopeError, ScopePattern, ScopeSet};
use super::tenant::Tenant;

/// How long a policy that failed to answer is not asked again for the same identity.
const RETRY_AFTER_ERROR: Duration = Duration::from_secs(1);
/// Answers that one worker keeps: at most twice as many.
const GENERATION_MAX: usize = 8 * 1024;
/// A right to reach into other tenants has to be given anew at least this often (AZ-8).
const CROSS_TENANT_TTL_MAX: Duration = Duration::from_secs(3600);

/// One worker's way to claims, with the answers it has had. Cheap to clone within the worker.
#[derive(Debug, Clone, Default)]
pub struct Grants(Rc<RefCell<Cache>>);

/// Two generations: when the younger is full the older is forgotten, and what is still asked for
/// moves to the younger. So it is bounded without bookkeeping on each use.
#[derive(Debug, Default)]
struct Cache {
    // INVARIANT: everything here was answered by policy `revision` to `local`.
    revision: Option<Arc<str>>,
    local: Option<Local>,
    young: HashMap<Key, Arc<Claims>>,
    old: HashMap<Key, Arc<Claims>>,
    evaluations: u64,
}

/// The identity, and the address if the policy looks at it.
type Key = (Arc<str>, Option<IpAddr>);

impl Grants {
    pub fn new() -> Self {
        Self::default()
    }

    /// The claims of a peer, as `policy` sees it now. Answers again without evaluation and without
    /// allocation for as long as the answer holds.
    pub fn claims(
        &self,
        policy: &Policy,
        peer: &Peer,
        local: &Local,
        address: Option<IpAddr>,
        now: SystemTime,
    ) -> Arc<Claims> {
        let caller = || Subject::spiffe(Workload::with_uri(peer.id(), peer.shared_uri()));
        self.of(policy, peer.shared_uri(), local, address, now, caller)
    }

    /// How often a policy was evaluated, for metrics.
    pub fn evaluations(&self) -> u64 {
        self.0.borrow().evaluations
    }

    fn of(
        &self,
        policy: &Policy,
        uri: Arc<str>,
        local: &Local,
        address: Option<IpAddr>,
        now: SystemTime,
        caller: impl FnOnce() -> Subject,
    ) -> Arc<Claims> {
        let mut cache = self.0.borrow_mut();
        cache.keep_for(policy, local);
        let key = (uri, address.filter(|_| policy.reads_address()));
        if let Some(claims) = cache.get(&key).filter(|claims| claims.holds_at(now)) {
            return claims;
        }
        let claims = Arc::new(evaluate(policy, Arc::new(caller()), local, address, now));
        cache.evaluations += 1;
        cache.put(key, &claims);
        claims
    }
}

impl Cache {
    fn keep_for(&mut self, policy: &Policy, local: &Local) {
        let same = self.revision.as_deref() == Some(&**policy.revision())
            && self.local.as_ref() == Some(local);
        if !same {
            self.young.clear();
            self.old.clear();
            self.revision = Some(Arc::clone(policy.revision()));
            self.local = Some(local.clone());
        }
    }

    fn get(&mut self, key: &Key) -> Option<Arc<Claims>> {
        if let Some(claims) = self.young.get(key) {
            return Some(Arc::clone(claims));
        }
        let claims = self.old.remove(key)?;
        self.put(key.clone(), &claims);
        Some(claims)
    }

    fn put(&mut self, key: Key, claims: &Arc<Claims>) {
        if self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, Arc::clone(claims));
    }
}

fn evaluate(
    policy: &Policy,
    subject: Arc<Subject>,
    local: &Local,
    address: Option<IpAddr>,
    now: SystemTime,
) -> Claims {
    let question = IdentityQuestion { subject: &subject, address, local, now };
    let rights = match policy.identity(&question) {
        Ok(answer) => rights(policy, &answer, now)
            .unwrap_or_else(|message| Rights::refused(Refusal::Error(message))),
        Err(error) => Rights::refused(Refusal::Error(error.to_string())),
    };
    // An answer that failed may have failed for the moment only: it is asked for again soon.
    let rights = match rights.refusal {
        Some(Refusal::Error(_)) => Rights { expires: Some(now + RETRY_AFTER_ERROR), ..rights },
        _ => rights,
    };
    let expires = if policy.reads_time() {
        Some(rights.expires.map_or(minute_end(now), |expires| expires.min(minute_end(now))))
    } else {
        rights.expires
    };
    let rights = Rights { expires, ..rights };
    Claims::new(subject, Method::Spiffe, now, Arc::clone(policy.revision()), rights)
}

/// An error is a sentence for the audit line; it leaves nothing of the answer standing.
fn rights(policy: &Policy, answer: &IdentityAnswer, now: SystemTime) -> Result<Rights, String> {
    let grant = &answer.grant;
    if grant.cross_tenant && grant.ttl.is_none_or(|ttl| ttl > CROSS_TENANT_TTL_MAX) {
        let most = CROSS_TENANT_TTL_MAX.as_secs();
        return Err(format!("`cross_tenant` needs `ttl_seconds` of at most {most}"));
    }
    let said = |error: ScopeError| error.to_string();
    let mut granted = parsed(&grant.scopes).map_err(said)?;
    for role in &grant.roles {
        let scopes = policy.role(role).ok_or_else(|| format!("role `{role}` is not defined"))?;
        granted.extend(parsed(scopes).map_err(said)?);
    }
    let mut scopes = ScopeSet::new(granted).map_err(said)?;
    for limit in &answer.limits {
        let patterns = parsed(&limit.patterns).map_err(said)?;
        scopes = scopes.meet(&ScopeSet::new(patterns).map_err(said)?).map_err(said)?;
    }
    let tenant = grant.tenant.as_deref().map(Tenant::parse).transpose();
    let shared = |names: &[String]| names.iter().map(|name| Arc::from(name.as_str())).collect();
    Ok(Rights {
        tenant: tenant.map_err(|error| error.to_string())?,
        scopes,
        teams: shared(&grant.teams),
        roles: shared(&grant.roles),
        cross_tenant: grant.cross_tenant,
        expires: grant.ttl.map(|ttl| now + ttl),
        refusal: (!answer.denials.is_empty()).then(|| Refusal::Policy(answer.denials.clone())),
    })
}

fn parsed(patterns: &[String]) -> Result<Vec<ScopePattern>, ScopeError> {
    patterns.iter().map(|pattern| ScopePattern::parse(pattern)).collect()
}

#[cfg(test)]
mod tests;
