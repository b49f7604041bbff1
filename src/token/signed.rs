//! Texts that others signed and that are no tokens: a signature by a key that we know, and nothing
//! said of what the text means.

use thiserror::Error;

use super::jws::Jws;
use super::key_set::{KeyFault, KeySet};
use super::refusal::TokenError;
use super::settings::Algorithm;

/// A JSON Web Signature in compact form; nothing in it is verified.
#[derive(Debug)]
pub struct Signed<'a>(Jws<'a>);

/// Why nobody vouches for a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SignedError {
    #[error("no key has the name that the signature gives, or none fits it alone")]
    UnknownKey,
    #[error("the algorithm is not one that the key fits")]
    Algorithm,
    #[error("the signature does not hold")]
    Signature,
}

impl<'a> Signed<'a> {
    /// The algorithms and the headers that a token may have; `most` bytes.
    pub fn read(text: &'a str, most: usize) -> Result<Self, TokenError> {
        Jws::read_within(text, most).map(Self)
    }

    pub fn algorithm(&self) -> Algorithm {
        self.0.algorithm()
    }

    /// The name of the key, if the header gives one.
    pub fn kid(&self) -> Option<&str> {
        self.0.kid()
    }

    /// Not to be believed before [`Self::verify`].
    pub fn payload(&self) -> &[u8] {
        self.0.payload()
    }

    /// By the key of that name; without one, by the only key that fits.
    pub fn verify(&self, kid: Option<&str>, keys: &KeySet) -> Result<(), SignedError> {
        match self.0.verify_as(kid, keys) {
            Ok(_with) => Ok(()),
            Err(KeyFault::Unknown) => Err(SignedError::UnknownKey),
            Err(KeyFault::Algorithm) => Err(SignedError::Algorithm),
            Err(KeyFault::Signature) => Err(SignedError::Signature),
        }
    }
}
