//! The proof that a token holds.

use std::sync::Arc;
use std::time::SystemTime;

use spiffe::{SpiffeId, TrustDomain};

use super::key_set::SignedWith;

/// A token whose signature, issuer, audience and times were checked. Made only in this room.
///
/// What it claims is well-formed as text; what a scope or a tenant means is for others to say. It
/// does not say that the token still holds: see [`Verified::expires`], and
/// [`Verifier::still_holds`](super::Verifier::still_holds) for the keys.
#[derive(Debug)]
pub struct Verified {
    pub(super) kind: Kind,
    pub(super) subject: Arc<str>,
    pub(super) issuer: Option<Arc<str>>,
    /// Empty for a JWT-SVID: what it may do is for the policy to say.
    pub(super) scopes: Vec<Arc<str>>,
    pub(super) tenant: Option<Arc<str>>,
    pub(super) teams: Vec<Arc<str>>,
    pub(super) roles: Vec<Arc<str>>,
    pub(super) cross_tenant: bool,
    pub(super) issued: Option<SystemTime>,
    pub(super) expires: SystemTime,
    pub(super) id: Option<Arc<str>>,
    pub(super) fingerprint: Arc<str>,
    /// `None` only while nobody vouches for it.
    pub(super) signer: Option<Signer>,
}

/// Whose key vouched for the signature.
#[derive(Debug)]
pub(super) enum Signer {
    /// That of the issuer at this place.
    Issuer(usize, SignedWith),
    TrustDomain(TrustDomain, SignedWith),
}

/// Which rules a token was judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Of a configured issuer: it brings its own scopes and tenant.
    Machine,
    /// Of a trust domain: it proves a SPIFFE ID and nothing else.
    Svid(SpiffeId),
}

impl Verified {
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// `sub`, as it is written.
    pub fn subject(&self) -> &Arc<str> {
        &self.subject
    }

    /// `iss` of a machine token; that of a JWT-SVID means nothing and is left out.
    pub fn issuer(&self) -> Option<&Arc<str>> {
        self.issuer.as_ref()
    }

    /// What the token asks for itself, in its own words.
    pub fn scopes(&self) -> &[Arc<str>] {
        &self.scopes
    }

    pub fn tenant(&self) -> Option<&Arc<str>> {
        self.tenant.as_ref()
    }

    pub fn teams(&self) -> &[Arc<str>] {
        &self.teams
    }

    /// For the audit log alone.
    pub fn roles(&self) -> &[Arc<str>] {
        &self.roles
    }

    /// It may act in other tenants, its issuer may say so, and it lives no longer than that allows.
    pub fn cross_tenant(&self) -> bool {
        self.cross_tenant
    }

    pub fn issued(&self) -> Option<SystemTime> {
        self.issued
    }

    /// From then on it is nothing.
    pub fn expires(&self) -> SystemTime {
        self.expires
    }

    /// `jti`, by which it can be revoked.
    pub fn id(&self) -> Option<&Arc<str>> {
        self.id.as_ref()
    }

    /// 32 hexadecimal digits of the SHA-256 of `jti`, or of header and payload, as they are written,
    /// if it has none: names the token in the audit log and in a list of revocations without giving
    /// it away.
    pub fn fingerprint(&self) -> &Arc<str> {
        &self.fingerprint
    }
}

#[cfg(test)]
impl Verified {
    /// What a token with these claims comes to, for tests of what others make of it.
    pub(crate) fn unproven(kind: Kind, claims: &serde_json::Value) -> Arc<Self> {
        let text = |name: &str| claims[name].as_str().map(Arc::from);
        let texts = |name: &str| {
            let items = claims[name].as_array().into_iter().flatten();
            items.filter_map(|it| it.as_str()).map(Arc::from).collect()
        };
        let expires = claims["exp"].as_u64().unwrap_or_default();
        Arc::new(Self {
            kind,
            subject: text("sub").unwrap_or_default(),
            issuer: text("iss"),
            scopes: texts("scope"),
            tenant: text("tenant"),
            teams: texts("teams"),
            roles: texts("roles"),
            cross_tenant: claims["cross_tenant"] == true,
            issued: None,
            expires: SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(expires),
            id: text("jti"),
            fingerprint: text("fingerprint").or_else(|| text("jti")).unwrap_or_default(),
            signer: None,
        })
    }
}
