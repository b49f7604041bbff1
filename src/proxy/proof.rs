//! How a caller proves who it is: by the certificate of its connection, or by a token with each
//! request. A connection with a certificate is judged by that alone; a token on it is an end
//! user's, and none of our business.

use std::sync::Arc;
use std::time::SystemTime;

use http::HeaderMap;

use super::bearer::{Bearer, Malformed};
use super::fault::Fault;
use crate::tls::Peer;
use crate::token::{KeyChanges, TokenError, Verified, Verifier, claimed_by};

/// What a request of one connection is judged by.
#[derive(Debug)]
pub(super) enum Proof {
    Certificate(Peer),
    Tokens(Verifier),
}

/// What was found in one request's head, before anything of it is believed.
#[derive(Debug)]
pub(super) enum Shown {
    Certificate,
    Token(Result<Option<Bearer>, Malformed>),
}

/// Why it is not known who asks.
#[derive(Debug)]
pub(super) enum Unproven {
    Missing,
    Malformed,
    Refused {
        error: TokenError,
        /// Whom the token claims to be, proven by nothing.
        claimed: Option<String>,
    },
}

impl Proof {
    pub(super) fn peer(&self) -> Option<&Peer> {
        match self {
            Self::Certificate(peer) => Some(peer),
            Self::Tokens(_) => None,
        }
    }

    /// Whether the key by which a token was believed has been withdrawn since.
    pub(super) fn is_withdrawn(&self, token: &Verified) -> bool {
        match self {
            Self::Certificate(_) => false,
            Self::Tokens(verifier) => !verifier.still_holds(token),
        }
    }

    /// When [`Self::is_withdrawn`] should be asked again; `None`: never.
    pub(super) fn key_changes(&self) -> Option<KeyChanges> {
        match self {
            Self::Certificate(_) => None,
            Self::Tokens(verifier) => Some(verifier.key_changes()),
        }
    }

    /// Takes the token out of a request, if that is how this caller proves itself.
    pub(super) fn shown(&self, headers: &mut HeaderMap) -> Shown {
        match self {
            Self::Certificate(_) => Shown::Certificate,
            Self::Tokens(_) => Shown::Token(Bearer::take(headers)),
        }
    }

    /// The token of this request, if it is by tokens that this caller proves itself.
    pub(super) async fn token(
        &self,
        shown: Shown,
        now: SystemTime,
    ) -> Result<Option<Arc<Verified>>, Result<Unproven, Fault>> {
        let (Self::Tokens(verifier), Shown::Token(taken)) = (self, shown) else {
            return Ok(None);
        };
        let bearer = match taken {
            Ok(Some(bearer)) => bearer,
            Ok(None) => return Err(Ok(Unproven::Missing)),
            Err(Malformed) => return Err(Ok(Unproven::Malformed)),
        };
        // Apart: a caller with a certificate has no use for the room that this takes.
        match Box::pin(verifier.verify(bearer.token(), now)).await {
            Ok(token) => Ok(Some(token)),
            // Not the caller's fault: it should come again, and keep its token.
            Err(TokenError::NoKeys { issuer }) => Err(Err(Fault::KeysUnavailable { issuer })),
            Err(error) => {
                let claimed = claimed_by(bearer.token());
                Err(Ok(Unproven::Refused { error, claimed }))
            }
        }
    }
}

impl Unproven {
    /// The stable code of design section 7.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Missing => "unauthenticated",
            Self::Malformed | Self::Refused { .. } => "invalid_token",
        }
    }

    /// The value of `WWW-Authenticate` (RFC 6750 section 3). Why a token is refused, it does not say.
    pub(super) fn challenge(&self) -> &'static str {
        match self {
            Self::Missing => "Bearer",
            Self::Malformed | Self::Refused { .. } => INVALID_TOKEN,
        }
    }

    /// For the audit line.
    pub(super) fn detail(&self) -> String {
        match self {
            Self::Missing => "no certificate and no bearer token".to_owned(),
            Self::Malformed => "the credentials are malformed, or there are several".to_owned(),
            Self::Refused { error, claimed: None } => format!("{error} ({})", error.code()),
            Self::Refused { error, claimed: Some(claimed) } => {
                format!("{error} ({}); it claims to be {claimed}", error.code())
            }
        }
    }
}

pub(super) const INVALID_TOKEN: &str = "Bearer error=\"invalid_token\"";
