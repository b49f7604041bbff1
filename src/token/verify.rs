//! From a token's text to the proof that it holds.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use aws_lc_rs::digest;
use spiffe::{SpiffeId, TrustDomain};

use super::claims::{self, Judged};
use super::json::{Json, Object};
use super::jws::{self, Jws, Rules};
use super::key_set::{KeySet, SignedWith};
use super::keys::{KeyChanges, Trusted, TrustedIssuer, TrustedSvids};
use super::memory::{Key, Memory};
use super::refusal::{TokenError, clean};
use super::verified::{Signer, Verified};
use crate::live::Live;

/// One worker's judge of tokens, with a memory of those that hold. Cheap to clone within it.
#[derive(Clone)]
pub struct Verifier(Rc<Judge>);

struct Judge {
    trusted: Trusted,
    memory: RefCell<Memory<Verdict>>,
}

/// A token that held, and all that this depends on. Failures are not remembered: there is no end to
/// tokens that fail.
#[derive(Clone)]
struct Verdict {
    verified: Arc<Verified>,
    holds_from: SystemTime,
    by: By,
}

/// Whose keys a signature was verified with. Weak: it tells one set from the next even where memory
/// is used again, and keeps no key that was withdrawn.
#[derive(Clone)]
enum By {
    /// The issuer at this place.
    Issuer(usize, Weak<Option<KeySet>>),
    Svids(Weak<BTreeMap<TrustDomain, KeySet>>),
}

/// A token, read and not yet believed.
struct Opened<'a> {
    jws: Jws<'a>,
    claims: Object,
}

impl Verifier {
    pub fn new(trusted: Trusted) -> Self {
        Self(Rc::new(Judge { trusted, memory: RefCell::default() }))
    }

    /// Waits only for keys that are not known yet. A token that was judged before is found again
    /// without looking at its signature, for as long as its keys stay and it has not expired.
    pub async fn verify(&self, token: &str, now: SystemTime) -> Result<Arc<Verified>, TokenError> {
        if token.len() > jws::TOKEN_MAX {
            return Err(TokenError::TooLarge);
        }
        let key = key(token)?;
        if let Some(verified) = self.0.remembered(&key, now) {
            return Ok(verified);
        }
        let opened = Opened::read(token)?;
        let (judged, by) = self.0.judge(&opened, now).await?;
        let verified = Arc::new(judged.verified);
        let verdict =
            Verdict { verified: Arc::clone(&verified), holds_from: judged.holds_from, by };
        self.0.memory.borrow_mut().put(key, verdict);
        Ok(verified)
    }

    /// Whether the key that vouched for this token is still one of its issuer's or trust domain's.
    /// Other keys may have come and gone. Says nothing of the time: see [`Verified::expires`].
    pub fn still_holds(&self, token: &Verified) -> bool {
        let trusted = &self.0.trusted;
        match &token.signer {
            Some(Signer::Issuer(place, with)) => {
                let issuer = trusted.issuers.get(*place);
                issuer.is_some_and(|it| (**it.keys.load()).as_ref().is_some_and(|it| it.has(with)))
            }
            Some(Signer::TrustDomain(name, with)) => {
                let svids = trusted.svids.as_ref();
                svids.is_some_and(|it| it.keys.load().get(name).is_some_and(|it| it.has(with)))
            }
            None => false,
        }
    }

    /// From now on: when it wakes, what [`Self::still_holds`] says of a token may be another.
    pub fn key_changes(&self) -> KeyChanges {
        self.0.trusted.changes()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Verifier").field(&self.0.trusted).finish()
    }
}

impl Judge {
    fn remembered(&self, key: &Key, now: SystemTime) -> Option<Arc<Verified>> {
        let holds = |verdict: &Verdict| {
            verdict.holds_from <= now && now < verdict.verified.expires && self.current(&verdict.by)
        };
        self.memory.borrow_mut().get(key, holds).map(|verdict| verdict.verified)
    }

    /// Whether those keys are the ones in force.
    fn current(&self, by: &By) -> bool {
        match by {
            By::Issuer(place, keys) => {
                let issuer = self.trusted.issuers.get(*place);
                issuer.is_some_and(|issuer| same(keys, &issuer.keys))
            }
            By::Svids(keys) => {
                self.trusted.svids.as_ref().is_some_and(|svids| same(keys, &svids.keys))
            }
        }
    }

    /// One set of rules, settled by what the token says of its origin and by nothing else: a
    /// configured issuer judges what bears its name, a trust domain what bears one of its IDs.
    /// A token that fails by these is not tried by others (RFC 8725 section 3.12).
    async fn judge(
        &self,
        opened: &Opened<'_>,
        now: SystemTime,
    ) -> Result<(Judged, By), TokenError> {
        let said = match opened.claims.get("iss") {
            None => None,
            Some(Json::Text(issuer)) => Some(issuer.as_str()),
            Some(_) => return Err(TokenError::ClaimType { name: "iss" }),
        };
        let mut issuers = self.trusted.issuers.iter().enumerate();
        if let Some((place, issuer)) =
            issuers.find(|(_, issuer)| said == Some(&*issuer.settings.issuer))
        {
            return opened.by_issuer(place, issuer, now).await;
        }
        match (&self.trusted.svids, claims::spiffe_id(&opened.claims)) {
            (Some(svids), Some(id)) => opened.by_trust_domain(svids, id?, now),
            _ => {
                Err(said
                    .map_or(TokenError::ClaimMissing { name: "iss" }, TokenError::unknown_issuer))
            }
        }
    }
}

impl<'a> Opened<'a> {
    fn read(text: &'a str) -> Result<Self, TokenError> {
        let jws = Jws::read(text)?;
        let claims = Object::read(jws.payload())?;
        Ok(Self { jws, claims })
    }

    async fn by_issuer(
        &self,
        place: usize,
        issuer: &TrustedIssuer,
        now: SystemTime,
    ) -> Result<(Judged, By), TokenError> {
        let settings = &issuer.settings;
        self.jws.keep(Rules::Machine)?;
        if !settings.algorithms.contains(&self.jws.algorithm()) {
            return Err(TokenError::Algorithm);
        }
        let refetch = issuer.refetch.now();
        let (keys, with) = signed(&self.jws, &settings.issuer, &issuer.keys, refetch).await?;
        let mut judged = claims::machine(&self.claims, self.jws.signed(), settings, now)?;
        judged.verified.signer = Some(Signer::Issuer(place, with));
        Ok((judged, By::Issuer(place, Arc::downgrade(&keys))))
    }

    /// Nothing is fetched here: the agent tells of new keys by itself.
    fn by_trust_domain(
        &self,
        svids: &TrustedSvids,
        id: SpiffeId,
        now: SystemTime,
    ) -> Result<(Judged, By), TokenError> {
        self.jws.keep(Rules::Svid)?;
        let all = svids.keys.snapshot();
        let name = id.trust_domain_name();
        // Without any keys it is we who know nothing; with some, it is a stranger's domain.
        let keys = match all.get(id.trust_domain()) {
            Some(keys) => keys,
            None if all.is_empty() => return Err(TokenError::NoKeys { issuer: name.to_owned() }),
            None => return Err(TokenError::unknown_issuer(name)),
        };
        let with = self.jws.verify(keys)?;
        let signer = Signer::TrustDomain(id.trust_domain().clone(), with);
        let mut judged = claims::svid(&self.claims, self.jws.signed(), id, &svids.settings, now)?;
        judged.verified.signer = Some(signer);
        Ok((judged, By::Svids(Arc::downgrade(&all))))
    }
}

/// The keys by which the signature holds, and the one that does it. Where none is known by the name that the token gives,
/// they are had anew, once.
async fn signed(
    jws: &Jws<'_>,
    issuer: &str,
    keys: &Live<Option<KeySet>>,
    refetch: impl Future<Output = ()>,
) -> Result<(Arc<Option<KeySet>>, SignedWith), TokenError> {
    let verdict = || {
        let keys = keys.snapshot();
        match &*keys {
            Some(known) => {
                let with = jws.verify(known).map_err(TokenError::from)?;
                Ok((keys, with))
            }
            None => Err(TokenError::NoKeys { issuer: issuer.to_owned() }),
        }
    };
    match verdict() {
        Err(TokenError::UnknownKey) => {}
        verdict => return verdict,
    }
    refetch.await;
    verdict()
}

/// `exp` of a token that nobody has verified: for planning when to renew one of our own.
pub fn expiry_of(token: &str) -> Option<SystemTime> {
    claims::expiry(&Object::read(&jws::payload_of(token)?).ok()?)
}

/// Whom a token that was refused claims to be, and by whom it claims to be issued: proven by
/// nothing, for the audit log's explanations alone.
pub fn claimed_by(token: &str) -> Option<String> {
    let claims = Object::read(&jws::payload_of(token)?).ok()?;
    let said = |name| claims.get(name).and_then(Json::as_text).map(clean);
    match (said("sub"), said("iss")) {
        (Some(subject), Some(issuer)) => Some(format!("`{subject}` of `{issuer}`")),
        (Some(subject), None) => Some(format!("`{subject}`")),
        (None, _) => None,
    }
}

fn key(token: &str) -> Result<Key, TokenError> {
    let digest = digest::digest(&digest::SHA256, token.as_bytes());
    Key::try_from(digest.as_ref()).map_err(|_never| TokenError::Malformed)
}

fn same<T>(then: &Weak<T>, now: &Live<T>) -> bool {
    std::ptr::eq(then.as_ptr(), Arc::as_ptr(&now.load()))
}

#[cfg(test)]
mod tests;
