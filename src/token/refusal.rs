//! Why a token is refused.

use thiserror::Error;

use super::json::JsonError;
use super::key_set::KeyFault;

/// Characters of an issuer's name that a message repeats.
const SHOWN_MAX: usize = 128;

/// Why a token is refused. The code stands in the audit log; the caller learns none of it.
///
/// Names of claims are ours. Of the token itself at most the issuer is repeated, cut and cleaned.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenError {
    #[error("the token is not a signed JWT in compact form")]
    Malformed,
    #[error("the token is larger than 16 KiB, or its header than 1 KiB")]
    TooLarge,
    #[error("a name stands twice in one JSON object of the token")]
    DuplicateMember,
    #[error("the header has a parameter that may not be there, or one that is not what it must be")]
    Header,
    #[error("the token is of another type than the rules for it allow")]
    Type,
    #[error("the algorithm is not one that the issuer and the key allow")]
    Algorithm,
    #[error("no configured issuer and no known trust domain answers for `{issuer}`")]
    UnknownIssuer { issuer: String },
    #[error("the issuer has no key by the name that the token gives, or none that fits it alone")]
    UnknownKey,
    /// The issuer is known and its keys are not: nobody's fault but ours.
    #[error("the keys of `{issuer}` could not be had")]
    NoKeys { issuer: String },
    #[error("the signature does not hold")]
    Signature,
    #[error("the claim `{name}` is missing")]
    ClaimMissing { name: &'static str },
    #[error("the claim `{name}` is of another type than it has to be, or out of bounds")]
    ClaimType { name: &'static str },
    #[error("the token is for another audience")]
    Audience,
    #[error("the token has expired")]
    Expired,
    #[error("the token does not hold yet")]
    NotYetValid,
    #[error("the token was issued in the future")]
    IssuedInFuture,
    #[error("the token lives longer than it may, or less than no time")]
    Lifetime,
    #[error("the subject is not one that the rules for the token allow")]
    Subject,
    #[error("the issuer does not speak for that tenant")]
    Tenant,
    #[error("the issuer may not give the right to cross tenants, or not for so long")]
    CrossTenant,
    #[error("the token is bound to a key, and this connection does not prove to hold it")]
    BoundToken,
}

impl TokenError {
    /// Every code there is.
    pub const ALL_CODES: [&'static str; 21] = [
        "malformed",
        "too_large",
        "duplicate_member",
        "header",
        "type",
        "algorithm",
        "unknown_issuer",
        "unknown_key",
        "no_keys",
        "signature",
        "claim_missing",
        "claim_type",
        "audience",
        "expired",
        "not_yet_valid",
        "issued_in_future",
        "lifetime",
        "subject",
        "tenant",
        "cross_tenant",
        "bound_token",
    ];

    /// Stable; never reused for another reason.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::DuplicateMember => "duplicate_member",
            Self::Header => "header",
            Self::Type => "type",
            Self::Algorithm => "algorithm",
            Self::UnknownIssuer { .. } => "unknown_issuer",
            Self::UnknownKey => "unknown_key",
            Self::NoKeys { .. } => "no_keys",
            Self::Signature => "signature",
            Self::ClaimMissing { .. } => "claim_missing",
            Self::ClaimType { .. } => "claim_type",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::IssuedInFuture => "issued_in_future",
            Self::Lifetime => "lifetime",
            Self::Subject => "subject",
            Self::Tenant => "tenant",
            Self::CrossTenant => "cross_tenant",
            Self::BoundToken => "bound_token",
        }
    }

    /// The token may well be good: it is we who cannot tell now. All else is the caller's fault.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::NoKeys { .. })
    }

    /// `issuer` is whatever an unverified token says.
    pub(super) fn unknown_issuer(issuer: &str) -> Self {
        Self::UnknownIssuer { issuer: clean(issuer) }
    }
}

/// What an unverified token says, fit to be shown.
pub(super) fn clean(text: &str) -> String {
    let clean = |it: char| if it.is_ascii_graphic() && it != '`' { it } else { '?' };
    text.chars().take(SHOWN_MAX).map(clean).collect()
}

impl From<JsonError> for TokenError {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Malformed => Self::Malformed,
            JsonError::DuplicateMember => Self::DuplicateMember,
        }
    }
}

impl From<KeyFault> for TokenError {
    fn from(fault: KeyFault) -> Self {
        match fault {
            KeyFault::Unknown => Self::UnknownKey,
            KeyFault::Algorithm => Self::Algorithm,
            KeyFault::Signature => Self::Signature,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stranger_calls_itself_is_cut_and_cleaned() {
        let error = TokenError::unknown_issuer("https://a.example/`\n\u{202e}é");
        assert_eq!(error, TokenError::UnknownIssuer { issuer: "https://a.example/????".into() });
        let TokenError::UnknownIssuer { issuer } = TokenError::unknown_issuer(&"a".repeat(9999))
        else {
            panic!("another error");
        };
        assert_eq!(issuer.len(), SHOWN_MAX);
    }

    #[test]
    fn codes_are_words_and_differ() {
        let mut codes = TokenError::ALL_CODES.to_vec();
        assert!(codes.iter().all(|it| it.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), TokenError::ALL_CODES.len());
    }

    #[test]
    fn the_list_of_codes_is_whole() {
        let issuer = String::new;
        let all = [
            TokenError::Malformed,
            TokenError::TooLarge,
            TokenError::DuplicateMember,
            TokenError::Header,
            TokenError::Type,
            TokenError::Algorithm,
            TokenError::UnknownIssuer { issuer: issuer() },
            TokenError::UnknownKey,
            TokenError::NoKeys { issuer: issuer() },
            TokenError::Signature,
            TokenError::ClaimMissing { name: "a" },
            TokenError::ClaimType { name: "a" },
            TokenError::Audience,
            TokenError::Expired,
            TokenError::NotYetValid,
            TokenError::IssuedInFuture,
            TokenError::Lifetime,
            TokenError::Subject,
            TokenError::Tenant,
            TokenError::CrossTenant,
            TokenError::BoundToken,
        ];
        assert_eq!(all.map(|error| error.code()), TokenError::ALL_CODES);
    }

    #[test]
    fn only_missing_keys_are_our_own_fault() {
        let issuer = "https://a.example".to_owned();
        assert!(TokenError::NoKeys { issuer: issuer.clone() }.is_ours());
        assert!(!TokenError::UnknownIssuer { issuer }.is_ours());
        assert!(!TokenError::UnknownKey.is_ours());
    }
}
