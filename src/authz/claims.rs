//! The rights of a verified identity.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use crate::policy::{DenyReason, Subject, Workload};
use crate::token::Verified;

use super::scopes::ScopeSet;
use super::tenant::Tenant;

/// The rights of a verified identity, as one policy revision sees them.
///
/// Made in this floor only: from a verified peer or token by [`Grants`](super::Grants). A refused identity
/// has claims too, which hold nothing, so that its requests are judged and audited like all others.
#[derive(Debug)]
pub struct Claims {
    subject: Arc<Subject>,
    method: Method,
    tenant: Option<Tenant>,
    scopes: ScopeSet,
    teams: Vec<Arc<str>>,
    roles: Vec<Arc<str>>,
    cross_tenant: bool,
    issued: SystemTime,
    expires: Option<SystemTime>,
    token: Option<Arc<Verified>>,
    revision: Arc<str>,
    // INVARIANT: with a refusal, `scopes` is empty and `cross_tenant` is false.
    refusal: Option<Refusal>,
}

/// How the identity was proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    Jwt,
    JwtSvid,
    Spiffe,
}

/// Why an identity holds nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The policy names reasons.
    Policy(Vec<DenyReason>),
    /// The policy has no answer that can be relied on.
    Error(String),
}

/// What a maker of claims has found out.
#[derive(Debug)]
pub(crate) struct Rights {
    pub tenant: Option<Tenant>,
    pub scopes: ScopeSet,
    pub teams: Vec<Arc<str>>,
    pub roles: Vec<Arc<str>>,
    pub cross_tenant: bool,
    pub expires: Option<SystemTime>,
    pub refusal: Option<Refusal>,
}

impl Claims {
    pub(super) fn new(
        subject: Arc<Subject>,
        method: Method,
        issued: SystemTime,
        revision: Arc<str>,
        rights: Rights,
    ) -> Self {
        let refused = rights.refusal.is_some();
        Self {
            subject,
            method,
            tenant: rights.tenant,
            scopes: if refused { ScopeSet::empty() } else { rights.scopes },
            teams: rights.teams,
            roles: rights.roles,
            cross_tenant: rights.cross_tenant && !refused,
            issued,
            expires: rights.expires,
            token: None,
            revision,
            refusal: rights.refusal,
        }
    }

    /// The token that they came by, if it was one.
    pub(super) fn with_token(self, token: Option<Arc<Verified>>) -> Self {
        Self { token, ..self }
    }

    /// The SPIFFE ID, or what the token names.
    pub fn subject(&self) -> &Arc<str> {
        &self.subject.subject
    }

    /// Who issued the token, if it was a machine token.
    pub fn issuer(&self) -> Option<&Arc<str>> {
        self.subject.issuer.as_ref()
    }

    /// The SPIFFE ID, where one is proven.
    pub fn spiffe_id(&self) -> Option<&Arc<str>> {
        self.subject.workload.as_ref().map(Workload::uri)
    }

    /// The token that these rights came by.
    pub fn token(&self) -> Option<&Arc<Verified>> {
        self.token.as_ref()
    }

    pub fn method(&self) -> Method {
        self.method
    }

    pub fn tenant(&self) -> Option<&Tenant> {
        self.tenant.as_ref()
    }

    /// What is left after every layer.
    pub fn scopes(&self) -> &ScopeSet {
        &self.scopes
    }

    pub fn teams(&self) -> &[Arc<str>] {
        &self.teams
    }

    /// For the audit line only: what authorizes is a scope.
    pub fn roles(&self) -> &[Arc<str>] {
        &self.roles
    }

    pub fn cross_tenant(&self) -> bool {
        self.cross_tenant
    }

    /// From then on the policy has to be asked again; `None` while its revision stays.
    pub fn expires(&self) -> Option<SystemTime> {
        self.expires
    }

    /// Whether the policy has to be asked again.
    pub fn holds_at(&self, now: SystemTime) -> bool {
        // A clock that was set back must not stretch a short-lived right.
        self.expires.is_none_or(|expires| now < expires && self.issued <= now)
    }

    /// Whether the token behind them is nothing any more. No policy can give it back.
    pub fn token_has_run_out_at(&self, now: SystemTime) -> bool {
        self.token.as_ref().is_some_and(|token| token.expires() <= now)
    }

    /// Of the policy that gave these rights.
    pub fn revision(&self) -> &Arc<str> {
        &self.revision
    }

    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    pub(super) fn facts(&self) -> &Arc<Subject> {
        &self.subject
    }
}

impl Rights {
    /// Holds nothing.
    pub(crate) fn refused(refusal: Refusal) -> Self {
        Self {
            tenant: None,
            scopes: ScopeSet::empty(),
            teams: Vec::new(),
            roles: Vec::new(),
            cross_tenant: false,
            expires: None,
            refusal: Some(refusal),
        }
    }
}

impl Method {
    /// As in headers, audit lines and policy input.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::JwtSvid => "jwt-svid",
            Self::Spiffe => "spiffe",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(message) => f.write_str(message),
            Self::Policy(reasons) => f.write_str(&told(reasons)),
        }
    }
}

/// `layer: code: message`, for the audit line.
pub(super) fn told(reasons: &[DenyReason]) -> String {
    let one = |reason: &DenyReason| match &reason.code {
        Some(code) => format!("{}: {code}: {}", reason.layer, reason.message),
        None => format!("{}: {}", reason.layer, reason.message),
    };
    reasons.iter().map(one).collect::<Vec<_>>().join("; ")
}
