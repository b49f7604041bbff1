//! What the policy in force says of a caller, and the headers that tell the application.

use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, HeaderValue};

use super::headers;
use crate::authz::{Claims, Tenant};
use crate::policy::Policy;
use crate::token::Verified;

/// Made once for many requests: see [`Rights::hold`].
#[derive(Debug)]
pub(super) struct Rights {
    policy: Arc<Policy>,
    pub(super) claims: Arc<Claims>,
    subject: Option<HeaderValue>,
    issuer: Option<HeaderValue>,
    tenant: Option<HeaderValue>,
    scopes: Option<HeaderValue>,
}

impl Rights {
    /// `claims` as `policy` gave them.
    pub(super) fn new(policy: &Arc<Policy>, claims: Arc<Claims>) -> Self {
        let value = |text: &str| HeaderValue::from_str(text).ok();
        Self {
            policy: Arc::clone(policy),
            subject: value(claims.subject()),
            issuer: claims.issuer().and_then(|issuer| value(issuer)),
            tenant: claims.tenant().map(Tenant::as_str).and_then(value),
            scopes: value(claims.scopes().text()),
            claims,
        }
    }

    /// That gave them.
    pub(super) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether they are still those of whoever presents `token`, or of the connection's certificate
    /// without one.
    pub(super) fn hold(
        &self,
        policy: &Arc<Policy>,
        token: Option<&Arc<Verified>>,
        now: SystemTime,
    ) -> bool {
        let same = match (self.claims.token(), token) {
            (None, None) => true,
            (Some(kept), Some(token)) => Arc::ptr_eq(kept, token),
            _ => false,
        };
        same && Arc::ptr_eq(&self.policy, policy) && self.claims.holds_at(now)
    }

    /// Says who was verified. What the caller said of that has been removed before.
    pub(super) fn vouch(&self, headers: &mut HeaderMap) {
        let method = HeaderValue::from_static(self.claims.method().as_str());
        headers.insert(headers::METHOD, method);
        for (name, value) in [
            (headers::SUBJECT, &self.subject),
            (headers::ISSUER, &self.issuer),
            (headers::TENANT, &self.tenant),
            (headers::SCOPES, &self.scopes),
        ] {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        }
    }
}
