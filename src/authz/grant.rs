//! From a verified identity to its claims, by way of the policy. The arithmetic on scopes is here.
//!
//! `effective = brought ∩ global ∩ team ∩ resource ∩ tenant`. What a workload brings is what the
//! policy grants it, roles included; what a machine token brings stands in it. Whatever goes wrong
//! on the way leaves an identity with nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use spiffe::SpiffeId;

use crate::policy::{
    IdentityAnswer, IdentityQuestion, Limit, Local, Policy, Subject, Workload, minute_end,
};
use crate::tls::Peer;
use crate::token::{Kind, Verified};

use super::claims::{Claims, Method, Refusal, Rights};
use super::scopes::{ScopeError, ScopePattern, ScopeSet};
use super::tenant::Tenant;

/// How long a policy that failed to answer is not asked again for the same identity.
const RETRY_AFTER_ERROR: Duration = Duration::from_secs(1);
/// Answers that one worker keeps: at most twice as many.
const GENERATION_MAX: usize = 8 * 1024;
/// A right to reach into other tenants has to be given anew at least this often (AZ-8). That of a
/// token lives no longer than its issuer's settings allow, by default as long.
const CROSS_TENANT_TTL_MAX: Duration = Duration::from_secs(15 * 60);

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

/// Who, and the address if the policy looks at it.
type Key = (Who, Option<IpAddr>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    /// By SPIFFE ID.
    Workload(Arc<str>),
    /// By fingerprint, which two tokens may share: see [`Caller::is`].
    Token(Arc<str>),
}

/// Who proved to be there, and how.
#[derive(Debug, Clone, Copy)]
enum Caller<'a> {
    Peer(&'a SpiffeId, &'a Arc<str>),
    Token(&'a Arc<Verified>),
}

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
        let uri = peer.shared_uri();
        self.of(policy, Caller::Peer(peer.id(), &uri), local, address, now)
    }

    /// The claims of whoever presented `token`. A machine token brings its own scopes and tenant, of
    /// which the policy's limits and denials leave some or none; a JWT-SVID is granted what the same
    /// SPIFFE ID is by X.509-SVID. Nothing holds for longer than the token.
    pub fn claims_of_token(
        &self,
        policy: &Policy,
        token: &Arc<Verified>,
        local: &Local,
        address: Option<IpAddr>,
        now: SystemTime,
    ) -> Arc<Claims> {
        self.of(policy, Caller::Token(token), local, address, now)
    }

    /// How often a policy was evaluated, for metrics.
    pub fn evaluations(&self) -> u64 {
        self.0.borrow().evaluations
    }

    fn of(
        &self,
        policy: &Policy,
        caller: Caller<'_>,
        local: &Local,
        address: Option<IpAddr>,
        now: SystemTime,
    ) -> Arc<Claims> {
        let mut cache = self.0.borrow_mut();
        cache.keep_for(policy, local);
        let key = (caller.who(), address.filter(|_| policy.reads_address()));
        if let Some(claims) = cache.get(&key).filter(|claims| caller.is(claims))
            // A token that has run out stays so: there is nothing to ask about it.
            && (claims.holds_at(now) || claims.token_has_run_out_at(now))
        {
            return claims;
        }
        let claims = Arc::new(evaluate(policy, caller, local, address, now));
        cache.evaluations += 1;
        cache.put(key, &claims);
        claims
    }
}

impl Caller<'_> {
    fn who(self) -> Who {
        match self {
            Self::Peer(_, uri) => Who::Workload(Arc::clone(uri)),
            Self::Token(token) => Who::Token(Arc::clone(token.fingerprint())),
        }
    }

    /// Whether these claims were made from the same proof. A fingerprint is made from `jti`, which
    /// two issuers may both give out and a careless one twice.
    fn is(self, claims: &Claims) -> bool {
        match self {
            Self::Peer(..) => claims.token().is_none(),
            Self::Token(token) => claims.token().is_some_and(|known| says_the_same(known, token)),
        }
    }

    fn method(self) -> Method {
        match self {
            Self::Peer(..) => Method::Spiffe,
            Self::Token(token) => match token.kind() {
                Kind::Machine => Method::Jwt,
                Kind::Svid(_) => Method::JwtSvid,
            },
        }
    }

    fn subject(self) -> Subject {
        let token = match self {
            Self::Peer(id, uri) => return Subject::spiffe(Workload::with_uri(id, Arc::clone(uri))),
            Self::Token(token) => token,
        };
        match token.kind() {
            Kind::Svid(id) => Subject::jwt_svid(Workload::new(id)),
            Kind::Machine => {
                // Every machine token has an issuer; what has none is refused below.
                let issuer = token.issuer().map(Arc::clone).unwrap_or_default();
                Subject::jwt(Arc::clone(token.subject()), issuer)
            }
        }
    }

    fn token(self) -> Option<Arc<Verified>> {
        match self {
            Self::Peer(..) => None,
            Self::Token(token) => Some(Arc::clone(token)),
        }
    }
}

fn says_the_same(one: &Arc<Verified>, other: &Arc<Verified>) -> bool {
    Arc::ptr_eq(one, other)
        || one.kind() == other.kind()
            && one.subject() == other.subject()
            && one.issuer() == other.issuer()
            && one.scopes() == other.scopes()
            && one.tenant() == other.tenant()
            && one.teams() == other.teams()
            && one.roles() == other.roles()
            && one.cross_tenant() == other.cross_tenant()
            && one.expires() == other.expires()
            && one.id() == other.id()
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
    caller: Caller<'_>,
    local: &Local,
    address: Option<IpAddr>,
    now: SystemTime,
) -> Claims {
    let subject = Arc::new(caller.subject());
    let question = IdentityQuestion { subject: &subject, address, local, now };
    let rights = match caller {
        Caller::Token(token) if *token.kind() == Kind::Machine => brought(policy, token, &question),
        Caller::Peer(..) | Caller::Token(_) => granted(policy, &question),
    };
    let rights = rights.unwrap_or_else(|message| Rights {
        // It may have failed for the moment only, so it is asked for again soon.
        expires: Some(now + RETRY_AFTER_ERROR),
        ..Rights::refused(Refusal::Error(message))
    });
    let minute = policy.reads_time().then(|| minute_end(now));
    let token = caller.token();
    let until = token.as_ref().map(|token| token.expires());
    let expires = [rights.expires, minute, until].into_iter().flatten().min();
    let rights = Rights { expires, ..rights };
    let revision = Arc::clone(policy.revision());
    Claims::new(subject, caller.method(), now, revision, rights).with_token(token)
}

/// What the policy grants a workload. An error is a sentence for the audit line; it leaves nothing
/// of the answer standing.
fn granted(policy: &Policy, question: &IdentityQuestion<'_>) -> Result<Rights, String> {
    let answer = policy.identity(question).map_err(|error| error.to_string())?;
    let IdentityAnswer { grant, limits, denials } = answer;
    if grant.cross_tenant && grant.ttl.is_none_or(|ttl| ttl > CROSS_TENANT_TTL_MAX) {
        let most = CROSS_TENANT_TTL_MAX.as_secs();
        return Err(format!("`cross_tenant` needs `ttl_seconds` of at most {most}"));
    }
    let mut scopes = parsed(&grant.scopes)?;
    for role in &grant.roles {
        let of_role = policy.role(role).ok_or_else(|| format!("role `{role}` is not defined"))?;
        scopes.extend(parsed(of_role)?);
    }
    Ok(Rights {
        tenant: tenant(grant.tenant.as_deref())?,
        scopes: under(scopes, &limits)?,
        teams: shared(&grant.teams),
        roles: shared(&grant.roles),
        cross_tenant: grant.cross_tenant,
        expires: grant.ttl.map(|ttl| question.now + ttl),
        refusal: (!denials.is_empty()).then_some(Refusal::Policy(denials)),
    })
}

/// What the policy leaves of what a machine token brings.
fn brought(
    policy: &Policy,
    token: &Verified,
    question: &IdentityQuestion<'_>,
) -> Result<Rights, String> {
    if token.issuer().is_none() {
        return Err("the token names no issuer, by whom it could be limited".to_owned());
    }
    let ceiling = policy.ceiling(question).map_err(|error| error.to_string())?;
    // Others, such as `openid`, are no scopes of ours: no route can ask for them.
    let scopes = token.scopes().iter().filter_map(|scope| ScopePattern::parse(scope).ok());
    let scopes = scopes.collect();
    Ok(Rights {
        tenant: tenant(token.tenant().map(|it| &**it))?,
        scopes: under(scopes, &ceiling.limits)?,
        teams: token.teams().to_vec(),
        roles: token.roles().to_vec(),
        cross_tenant: token.cross_tenant(),
        expires: None,
        refusal: (!ceiling.denials.is_empty()).then_some(Refusal::Policy(ceiling.denials)),
    })
}

/// Narrower layers are met, never merged: what is left was brought, and stands in every limit.
fn under(brought: Vec<ScopePattern>, limits: &[Limit]) -> Result<ScopeSet, String> {
    let said = |error: ScopeError| error.to_string();
    let mut scopes = ScopeSet::new(brought).map_err(said)?;
    for limit in limits {
        let limit = ScopeSet::new(parsed(&limit.patterns)?).map_err(said)?;
        scopes = scopes.meet(&limit).map_err(said)?;
    }
    Ok(scopes)
}

fn parsed(patterns: &[String]) -> Result<Vec<ScopePattern>, String> {
    let parsed = patterns.iter().map(|pattern| ScopePattern::parse(pattern));
    parsed.collect::<Result<_, _>>().map_err(|error| error.to_string())
}

fn tenant(name: Option<&str>) -> Result<Option<Tenant>, String> {
    name.map(Tenant::parse).transpose().map_err(|error| error.to_string())
}

fn shared(names: &[String]) -> Vec<Arc<str>> {
    names.iter().map(|name| Arc::from(name.as_str())).collect()
}

#[cfg(test)]
mod tests;
