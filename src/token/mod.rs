//! Machine tokens: judged on the way in ([`Verified`] is the proof), got and renewed on the way out.
//!
//! Knows nothing of requests and policy. Which rules hold for a token is settled by its issuer, who
//! is named in the configuration: nothing in a token chooses a key source or an algorithm (RFC 8725).

mod settings;
mod json;
mod key_set;
mod verified;
mod refusal;
mod jws;
mod claims;
mod memory;
mod failure;
mod pace;
mod discovery;
mod key_source;
mod refetch;
mod keeper;
mod bundles;
mod keys;
mod signed;
mod signers;
mod verify;
mod inspect;
mod bearer;
mod credential;
mod renewal;
mod endpoint;
mod source;

pub use bearer::is_b64token;
pub use claims::fingerprint_of_id;
pub use credential::{Credential, Tokens, TokensState, TokensStatus};
#[doc(hidden)]
pub use inspect::{inspect_jwks, inspect_jws, inspect_token};
pub use keeper::{KeysState, KeysStatus};
pub use key_set::{KeySet, KeySetError};
pub use keys::{KeyChanges, Trusted, trust};
pub(crate) use pace::Backoff;
pub use refusal::TokenError;
pub use settings::{
    Algorithm, ClientAuth, Endpoint, EndpointAt, Grant, Issuer, KeysFrom, Present, Proof, Svids,
};
pub use signed::{Signed, SignedError};
pub use signers::{Signers, signers};
pub use source::tokens;
pub use verified::{Kind, Verified};
pub use verify::{Verifier, claimed_by, expiry_of};

#[cfg(test)]
mod tests;
#[cfg(test)]
#[path = "tests/kit.rs"]
mod kit;
