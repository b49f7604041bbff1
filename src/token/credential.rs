//! The token that we present, and how it stands with it.

use std::time::SystemTime;

use http::HeaderValue;

use crate::live::Live;

/// A token to present, and for how long.
#[derive(Clone)]
pub struct Credential {
    pub(super) header: HeaderValue,
    pub(super) expires: Option<SystemTime>,
}

/// Our token as it is now.
#[derive(Debug, Clone)]
pub struct Tokens {
    pub current: Live<Option<Credential>>,
    pub status: Live<TokensStatus>,
}

/// How it stands with our token.
#[derive(Debug, Clone)]
pub struct TokensStatus {
    pub state: TokensState,
    pub since: SystemTime,
    pub expires: Option<SystemTime>,
    /// Why the last attempt failed; `None` if it did not.
    pub last_error: Option<String>,
    pub renewals: u64,
    pub failures: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokensState {
    Starting,
    Valid,
    /// The last attempt to renew failed; the token still holds.
    Stale,
    /// There is none that holds.
    Absent,
}

impl Credential {
    /// `Bearer …`, marked as sensitive; `None` once it has run out.
    pub fn at(&self, now: SystemTime) -> Option<&HeaderValue> {
        self.expires.is_none_or(|expires| now < expires).then_some(&self.header)
    }
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential").field("expires", &self.expires).finish_non_exhaustive()
    }
}
