//! The two answers of a judgement.

use std::sync::Arc;

use crate::policy::KeptRequest;

use super::request::Head;
use super::required::challenge;
use super::routes::Route;

/// Says that another token would do, and nothing of what is wrong with this one.
const INVALID_TOKEN: &str = "Bearer error=\"invalid_token\"";

/// Leave to forward one request or stream, and the terms.
///
/// Not `Clone`, and made only by the guard: one judgement, one forward.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    route: Arc<Route>,
    cross_tenant: bool,
    subject: PermitFor,
}

/// What may go on.
#[derive(Debug)]
pub(super) enum PermitFor {
    /// All that comes on it.
    Stream,
    /// One request that the policy was asked about.
    Request(KeptRequest),
    /// One request that no policy was asked about, or why none could be.
    Unasked(Result<Head, String>),
}

/// A refusal. This is an answer, not an error: no error type converts from it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Denial {
    pub reason: Reason,
    /// `None` when it was refused before its route was looked at.
    pub route: Option<DeniedRoute>,
    /// For the audit line only; the caller never sees it.
    pub detail: String,
}

/// The route on which a request was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeniedRoute {
    pub index: usize,
    pub name: Arc<str>,
    /// The required scopes, separated by spaces; alternatives of several by ` | `.
    pub required: Arc<str>,
}

/// Why a request is refused. The codes are a contract (design section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    InsufficientScope,
    NoRoute,
    PolicyDenied,
    PolicyError,
    TenantMismatch,
    Revoked,
    /// The token that let them in has run out since: they are nobody any more.
    TokenExpired,
}

impl Permit {
    pub(super) fn new(route: &Arc<Route>, cross_tenant: bool) -> Self {
        Self { route: Arc::clone(route), cross_tenant, subject: PermitFor::Stream }
    }

    pub(super) fn to(self, subject: PermitFor) -> Self {
        Self { subject, ..self }
    }

    pub(super) fn subject(&self) -> &PermitFor {
        &self.subject
    }

    pub fn route(&self) -> &Arc<str> {
        self.route.name()
    }

    pub(super) fn declared(&self) -> &Route {
        &self.route
    }

    /// Dense within one table: for metrics.
    pub fn route_index(&self) -> usize {
        self.route.index()
    }

    /// The scopes that were asked for, separated by spaces.
    pub fn required(&self) -> &Arc<str> {
        self.route.required_text()
    }

    /// The caller belongs to another tenant and was let in for its special right: always audited.
    pub fn cross_tenant(&self) -> bool {
        self.cross_tenant
    }
}

impl Denial {
    pub(super) fn at_the_door(reason: Reason, detail: String) -> Self {
        Self { reason, route: None, detail }
    }

    pub(super) fn on(route: &Route, reason: Reason, detail: String) -> Self {
        let route = DeniedRoute {
            index: route.index(),
            name: Arc::clone(route.name()),
            required: Arc::clone(route.required_text()),
        };
        Self { reason, route: Some(route), detail }
    }

    /// The scopes that were asked for, separated by spaces; empty if it did not come to that.
    pub fn required(&self) -> &str {
        self.route.as_ref().map_or("", |route| &route.required)
    }

    /// The value of `WWW-Authenticate`, where the answer has one (RFC 6750 section 3).
    pub fn challenge(&self) -> Option<String> {
        match self.reason {
            Reason::InsufficientScope => Some(challenge(self.required())),
            Reason::TokenExpired => Some(INVALID_TOKEN.to_owned()),
            _ => None,
        }
    }
}

impl Reason {
    /// Every reason, for tests that must meet each.
    pub const ALL: [Self; 7] = [
        Self::TokenExpired,
        Self::Revoked,
        Self::InsufficientScope,
        Self::NoRoute,
        Self::PolicyDenied,
        Self::PolicyError,
        Self::TenantMismatch,
    ];

    pub fn code(self) -> &'static str {
        match self {
            Self::InsufficientScope => "insufficient_scope",
            Self::NoRoute => "no_route",
            Self::PolicyDenied => "policy_denied",
            Self::PolicyError => "policy_error",
            Self::TenantMismatch => "tenant_mismatch",
            Self::Revoked => "revoked",
            Self::TokenExpired => "invalid_token",
        }
    }
}
