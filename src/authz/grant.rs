//! From a verified identity to its claims, by way of the policy: asked once, kept for as long as the
//! answer holds. Whatever goes wrong on the way leaves an identity with nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use spiffe::SpiffeId;
use tokio::sync::Notify;

use crate::policy::{Aside, Budget, IdentityQuestion, Local, Policy, Subject, Workload};
use crate::tls::Peer;
use crate::token::{Kind, Verified};

use super::claims::{Claims, Method, Refusal, Rights};
pub(super) use super::rights::{Brings, rights};
use super::rights::{Cut, RETRY_AFTER_ERROR, evaluate};
pub(super) use at_hand::ask;

/// Answers that one worker keeps: at most twice as many.
const GENERATION_MAX: usize = 8 * 1024;

/// One worker's way to claims, with the answers it has had. Cheap to clone within the worker.
#[derive(Debug, Clone, Default)]
pub struct Grants(Rc<RefCell<Cache>>);

/// Two generations: when the younger is full the older is forgotten, and what is still asked for
/// moves to the younger. So it is bounded without bookkeeping on each use.
#[derive(Debug, Default)]
struct Cache {
    // INVARIANT: everything here was answered by the policy of that digest to `local`.
    digest: Option<Arc<str>>,
    local: Option<Local>,
    young: HashMap<Key, Arc<Claims>>,
    old: HashMap<Key, Arc<Claims>>,
    /// Who is being asked about aside: whoever else wants to know waits for that answer.
    asked: HashMap<Key, Rc<Notify>>,
    evaluations: u64,
}

/// The question about one caller is on its way. However it ends, others need not wait for it then.
struct OnItsWay<'g> {
    grants: &'g Grants,
    key: Key,
}

/// A question to the policy, to be asked on another thread.
struct Inquiry {
    policy: Arc<Policy>,
    subject: Arc<Subject>,
    token: Option<Arc<Verified>>,
    local: Local,
    address: Option<IpAddr>,
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
pub(super) enum Caller<'a> {
    Peer(&'a SpiffeId, &'a Arc<str>),
    Token(&'a Arc<Verified>),
}

impl Grants {
    pub fn new() -> Self {
        Self::default()
    }

    /// The claims of a peer, as `policy` sees it now. Answers again without evaluation and without
    /// allocation for as long as the answer holds. `None`: the policy is too slow to be asked where
    /// others wait, see [`Self::claims_aside`].
    pub fn claims(
        &self,
        policy: &Policy,
        peer: &Peer,
        local: &Local,
        address: Option<IpAddr>,
        now: SystemTime,
    ) -> Option<Arc<Claims>> {
        let uri = peer.shared_uri();
        self.at_once(policy, Caller::Peer(peer.id(), &uri), local, address, now)
    }

    /// The claims of whoever presented `token`. A machine token brings its own scopes and tenant, of
    /// which the policy's limits and denials leave some or none; a JWT-SVID is granted what the same
    /// SPIFFE ID is by X.509-SVID. Nothing holds for longer than the token. `None` as above.
    pub fn claims_of_token(
        &self,
        policy: &Policy,
        token: &Arc<Verified>,
        local: &Local,
        address: Option<IpAddr>,
        now: SystemTime,
    ) -> Option<Arc<Claims>> {
        self.at_once(policy, Caller::Token(token), local, address, now)
    }

    /// [`Self::claims`], asked where nobody else waits. A policy that is too slow for that as well, or
    /// too many questions at once, leave the peer with nothing.
    pub async fn claims_aside(
        &self,
        aside: &Aside,
        policy: &Arc<Policy>,
        peer: &Peer,
        local: &Local,
        address: Option<IpAddr>,
        now: SystemTime,
    ) -> Arc<Claims> {
        let uri = peer.shared_uri();
        self.asked_aside(aside, policy, Caller::Peer(peer.id(), &uri), local, address, now).await
    }

    /// [`Self::claims_of_token`] in the same way.
    pub async fn claims_of_token_aside(
        &self,
        aside: &Aside,
        policy: &Arc<Policy>,
        token: &Arc<Verified>,
        local: &Local,
        address: Option<IpAddr>,
        now: SystemTime,
    ) -> Arc<Claims> {
        self.asked_aside(aside, policy, Caller::Token(token), local, address, now).await
    }

    /// How often a policy was evaluated, for metrics.
    pub fn evaluations(&self) -> u64 {
        self.0.borrow().evaluations
    }

    fn at_once(
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
        if policy.pace().is_slow() {
            return None;
        }
        let subject = Arc::new(caller.subject());
        let question = IdentityQuestion { subject: &subject, address, local, now };
        let token = caller.token();
        let rights = evaluate(policy, token, &question, Budget::on_worker());
        let Ok(rights) = rights else {
            policy.pace().cut();
            return None;
        };
        let claims = Arc::new(caller.claims(policy, subject, rights, now));
        cache.evaluations += 1;
        cache.put(key, &claims);
        Some(claims)
    }

    async fn asked_aside(
        &self,
        aside: &Aside,
        policy: &Arc<Policy>,
        caller: Caller<'_>,
        local: &Local,
        address: Option<IpAddr>,
        now: SystemTime,
    ) -> Arc<Claims> {
        let key = caller.key(policy, address);
        let began = Instant::now();
        let _on_its_way = loop {
            // What somebody else was told while we waited holds from then on, and not before.
            match self.first_to_ask(policy, &key, caller, local, now + began.elapsed()) {
                Ok(Ok(first)) => break first,
                Ok(Err(claims)) => return claims,
                Err(other) => other.notified().await,
            }
        };
        let inquiry = Inquiry {
            policy: Arc::clone(policy),
            subject: Arc::new(caller.subject()),
            token: caller.token().map(Arc::clone),
            local: local.clone(),
            address,
        };
        let subject = Arc::clone(&inquiry.subject);
        let answer = aside.ask(move |budget| {
            // Its turn may have come late.
            let now = now + began.elapsed();
            (inquiry.ask(now, budget), now)
        });
        let answer = answer.await;
        let asked = answer.is_ok();
        let refused = |message: String, until| Rights {
            expires: Some(until),
            ..Rights::refused(Refusal::Error(message))
        };
        let (rights, now) = match answer {
            Ok((Ok(rights), now)) => (rights, now),
            Ok((Err(Cut(message)), now)) => (refused(message, now + RETRY_AFTER_ERROR), now),
            // Next time there may be room.
            Err(busy) => (refused(busy.to_string(), now), now),
        };
        let claims = Arc::new(caller.claims(policy, subject, rights, now));
        let mut cache = self.0.borrow_mut();
        cache.evaluations += 1;
        // Meanwhile a newer policy may have begun to fill it.
        if asked && cache.is_for(policy, local) {
            cache.put(key, &claims);
        }
        claims
    }

    /// Whether to ask: `Err` if somebody else does, whose answer is to be waited for.
    fn first_to_ask(
        &self,
        policy: &Policy,
        key: &Key,
        caller: Caller<'_>,
        local: &Local,
        now: SystemTime,
    ) -> Result<Result<OnItsWay<'_>, Arc<Claims>>, Rc<Notify>> {
        let mut cache = self.0.borrow_mut();
        if cache.is_for(policy, local)
            && let Some(claims) = cache.holding(key, caller, now)
        {
            return Ok(Err(claims));
        }
        if let Some(other) = cache.asked.get(key) {
            return Err(Rc::clone(other));
        }
        cache.asked.insert(key.clone(), Rc::default());
        Ok(Ok(OnItsWay { grants: self, key: key.clone() }))
    }
}

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        let asked = self.grants.0.borrow_mut().asked.remove(&self.key);
        if let Some(asked) = asked {
            asked.notify_waiters();
        }
    }
}

impl Inquiry {
    fn ask(&self, now: SystemTime, budget: Budget) -> Result<Rights, Cut> {
        let Self { policy, subject, token, local, address } = self;
        let question = IdentityQuestion { subject, address: *address, local, now };
        let rights = evaluate(policy, token.as_ref(), &question, budget);
        policy.pace().answered(budget.used());
        rights
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

    fn key(self, policy: &Policy, address: Option<IpAddr>) -> Key {
        (self.who(), address.filter(|_| policy.reads_address()))
    }

    fn claims(
        self,
        policy: &Policy,
        subject: Arc<Subject>,
        rights: Rights,
        now: SystemTime,
    ) -> Claims {
        let token = self.token().map(Arc::clone);
        let until = token.as_ref().map(|token| token.expires());
        let expires = [rights.expires, until].into_iter().flatten().min();
        let rights = Rights { expires, ..rights };
        let revision = Arc::clone(policy.revision());
        Claims::new(subject, self.method(), now, revision, rights).with_token(token)
    }
}

impl<'a> Caller<'a> {
    fn token(self) -> Option<&'a Arc<Verified>> {
        match self {
            Self::Peer(..) => None,
            Self::Token(token) => Some(token),
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
    fn is_for(&self, policy: &Policy, local: &Local) -> bool {
        self.digest.as_deref() == Some(&**policy.digest()) && self.local.as_ref() == Some(local)
    }

    fn keep_for(&mut self, policy: &Policy, local: &Local) {
        if !self.is_for(policy, local) {
            self.young.clear();
            self.old.clear();
            self.digest = Some(Arc::clone(policy.digest()));
            self.local = Some(local.clone());
        }
    }

    /// What is known of the caller and still holds.
    fn holding(&mut self, key: &Key, caller: Caller<'_>, now: SystemTime) -> Option<Arc<Claims>> {
        // A token that has run out stays so: there is nothing to ask about it.
        let holds = |it: &Claims| it.holds_at(now) || it.token_has_run_out_at(now);
        self.get(key).filter(|claims| caller.is(claims) && holds(claims))
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

mod at_hand;
pub(super) mod bench;
#[cfg(test)]
mod tests;
