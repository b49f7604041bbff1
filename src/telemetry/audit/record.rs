//! What one audit line says. It borrows everything, and holds no token, key or body.

use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use super::super::Direction;

/// One decision. The order of the fields is that in the line.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    pub time: SystemTime,
    pub request_id: &'a str,
    pub direction: Direction,
    pub listener: &'a str,
    pub protocol: Protocol,
    pub decision: Decision,
    /// Stable code: `allowed`, or why not.
    pub reason: &'a str,
    /// For people; may change between versions.
    pub detail: Option<&'a str>,
    pub source: Source<'a>,
    /// On the way out, the identity that the server has proven, or presented in vain.
    pub destination: Option<&'a str>,
    /// Our own SPIFFE ID at the time.
    pub local: Option<&'a str>,
    /// The caller's tenant.
    pub tenant: Option<&'a str>,
    /// An identity with rights across tenants used them (AZ-8).
    pub cross_tenant: bool,
    pub route: Option<&'a str>,
    /// What the route asks for, as text: `billing:write`, or several with spaces between.
    pub required_scopes: Option<&'a str>,
    /// What the caller holds, with spaces between.
    pub held_scopes: Option<&'a str>,
    /// By name, for whoever reads the log: what authorizes is a scope (AZ-2).
    pub roles: &'a [Arc<str>],
    pub method: Option<&'a str>,
    /// Normalised, without the query: queries carry secrets.
    pub path: Option<&'a str>,
    pub policy_revision: Option<&'a str>,
    /// It ends what was let in before, and is no answer to a request of its own.
    pub again: bool,
    /// Only where the shadow policy would have decided in another way (AZ-10).
    pub shadow: Option<Shadow<'a>>,
}

/// What the policy says that is asked and not obeyed.
#[derive(Debug, Clone, Copy)]
pub struct Shadow<'a> {
    pub decision: Decision,
    /// As in the line itself.
    pub reason: &'a str,
    pub detail: Option<&'a str>,
    pub policy_revision: &'a str,
    /// The line repeats one that was written before this was known.
    pub late: bool,
}

/// Who asked, as far as it is proven.
#[derive(Debug, Clone, Copy, Default)]
pub struct Source<'a> {
    pub spiffe_id: Option<&'a str>,
    pub trust_domain: Option<&'a str>,
    /// How it was proven: `spiffe`, `jwt` or `jwt-svid`.
    pub method: Option<&'a str>,
    /// Whom a machine token names, and who issued it.
    pub subject: Option<&'a str>,
    pub issuer: Option<&'a str>,
    /// The token's fingerprint, by which it can be revoked. Never the token.
    pub token: Option<&'a str>,
    pub address: Option<&'a str>,
    /// Of the leaf certificate, in hex.
    pub serial: Option<&'a str>,
}

/// What was spoken on the connection that the decision is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Http,
    Grpc,
    Websocket,
    Tcp,
    /// The handshake failed before anything was spoken.
    Tls,
}

/// Which way the decision went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    Allow,
    Deny,
}

impl Protocol {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::Websocket => "websocket",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

impl Decision {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
