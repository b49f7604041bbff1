//! What can break once a request was permitted, or before it could be asked for.

use std::io;

use super::arrived::Broken;
use super::headers::ConnectionNamesIdentity;
use crate::tls::HandshakeError;

/// A failure that is nobody's refusal: the network, the application, or the far sidecar.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("the request is malformed or ambiguous ({0})")]
    BadRequest(&'static str),

    #[error("we have no valid identity now")]
    IdentityUnavailable,

    #[error("the audit log takes no lines")]
    AuditUnavailable,

    #[error("the keys of `{issuer}` could not be had")]
    KeysUnavailable { issuer: String },

    #[error("the server is `{presented}`, which is not expected there")]
    UpstreamIdentity { presented: String },

    #[error("the server could not be verified ({0})")]
    UpstreamUnverified(String),

    #[error("the server refused us ({0})")]
    UpstreamRefused(String),

    #[error("no connection to the server")]
    Unreachable(#[source] io::Error),

    #[error("the server broke off before it answered")]
    BrokenOff(Broken),

    #[error("the server switched to another protocol than it was asked for")]
    WrongProtocol,

    #[error("no {0} within the time limit")]
    Timeout(Waited),
}

/// What was waited for in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    Connection,
    Handshake,
    Response,
}

impl Fault {
    /// What a handshake that failed says of the server.
    pub(super) fn handshake(error: &HandshakeError) -> Self {
        match error {
            HandshakeError::NoIdentity => Self::IdentityUnavailable,
            HandshakeError::Expectation { presented } => {
                Self::UpstreamIdentity { presented: presented.to_string() }
            }
            HandshakeError::Alert(alert) => Self::UpstreamRefused(alert.clone()),
            HandshakeError::Io(error) => Self::Unreachable(error.kind().into()),
            other => Self::UpstreamUnverified(format!("{other}: {}", other.code())),
        }
    }

    /// The same fault for a request that waited for this one's connection.
    pub(super) fn shared(&self) -> Self {
        match self {
            Self::BadRequest(code) => Self::BadRequest(code),
            Self::IdentityUnavailable => Self::IdentityUnavailable,
            Self::AuditUnavailable => Self::AuditUnavailable,
            Self::KeysUnavailable { issuer } => Self::KeysUnavailable { issuer: issuer.clone() },
            Self::UpstreamIdentity { presented } => {
                Self::UpstreamIdentity { presented: presented.clone() }
            }
            Self::UpstreamUnverified(why) => Self::UpstreamUnverified(why.clone()),
            Self::UpstreamRefused(why) => Self::UpstreamRefused(why.clone()),
            Self::Unreachable(error) => Self::Unreachable(error.kind().into()),
            Self::BrokenOff(_) => Self::Unreachable(io::ErrorKind::ConnectionAborted.into()),
            Self::WrongProtocol => Self::WrongProtocol,
            Self::Timeout(waited) => Self::Timeout(*waited),
        }
    }

    /// It is the other end that is in trouble, or the way there: nobody was refused.
    pub(super) fn is_trouble(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_) | Self::BrokenOff(_) | Self::WrongProtocol | Self::Timeout(_)
        )
    }

    /// What the system or the protocol says of it, for the operator's log alone.
    pub(super) fn cause(&self) -> Option<String> {
        match self {
            Self::Unreachable(error) => Some(error.to_string()),
            Self::BrokenOff(error) => {
                let cause = std::error::Error::source(error).map(|it| format!(": {it}"));
                Some(format!("{error}{}", cause.unwrap_or_default()))
            }
            _ => None,
        }
    }

    /// The stable code of design section 7: in the body, the metrics and the audit line.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::IdentityUnavailable => "identity_unavailable",
            Self::AuditUnavailable => "audit_unavailable",
            Self::KeysUnavailable { .. } => "keys_unavailable",
            Self::UpstreamIdentity { .. } | Self::UpstreamUnverified(_) => "upstream_identity",
            Self::UpstreamRefused(_) => "upstream_refused",
            Self::BrokenOff(_) | Self::WrongProtocol => "upstream_broken",
            Self::Unreachable(_) => "upstream_unreachable",
            Self::Timeout(_) => "upstream_timeout",
        }
    }
}

impl From<ConnectionNamesIdentity> for Fault {
    fn from(_: ConnectionNamesIdentity) -> Self {
        Self::BadRequest("connection_names_identity")
    }
}

impl std::fmt::Display for Waited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connection => "connection",
            Self::Handshake => "handshake",
            Self::Response => "response",
        })
    }
}
