//! Why an archive is no bundle that could be put in force.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use thiserror::Error;

use super::limits::{COMPRESSED_MAX, ENTRIES_MAX, UNPACKED_MAX};
use crate::files::FileError;
use crate::policy::LoadError;
use crate::token::{SignedError, TokenError};

/// Characters of a name that a message repeats.
const SHOWN_MAX: usize = 120;

/// Why an archive is no bundle that could be put in force.
#[derive(Debug, Error)]
pub enum BundleError {
    #[error("the archive cannot be read: {0}")]
    File(#[from] FileError),
    #[error("the archive is larger than {COMPRESSED_MAX} bytes")]
    TooLarge,
    #[error("the archive unpacks to more than {UNPACKED_MAX} bytes, or out of all proportion")]
    Bomb,
    #[error("the archive has more than {ENTRIES_MAX} entries")]
    TooMany,
    #[error("the archive is broken or cut short: {0}")]
    Broken(String),
    #[error("the entry {0} has a name that would lead out of the archive, or is no plain one")]
    Name(String),
    #[error("the entry {0} is neither a file nor a folder")]
    Kind(String),
    #[error("the file {0} stands twice in the archive")]
    Twice(String),
    #[error("the file {name} cannot be part of a bundle here: {why}")]
    Unsupported { name: String, why: &'static str },
    #[error("it is a delta bundle, and only whole ones are taken")]
    Delta,
    #[error("`.manifest` is not usable: {0}")]
    Manifest(String),
    #[error("the bundle is not signed, and it has to be")]
    Unsigned,
    #[error("`.signatures.json` is not usable: {0}")]
    Signatures(String),
    #[error("the signature is not usable: {0}")]
    Token(#[from] TokenError),
    #[error("nobody vouches for the signature: {0}")]
    Signer(#[from] SignedError),
    #[error("the signature is by `{}`, which is not allowed here", .0)]
    Algorithm(&'static str),
    #[error("the signature is for another scope")]
    Scope,
    #[error("the signature names another key")]
    KeyId,
    #[error("the keys that bundles are signed by are not at hand: {0}")]
    NoKeys(String),
    #[error("the file {0} is not covered by the signature")]
    NotSigned(String),
    #[error("the file {0} is covered by the signature, and is not there")]
    Missing(String),
    #[error("the file {0} is not what was signed")]
    Digest(String),
    #[error("{}", .0.full())]
    Policy(#[from] LoadError),
}

impl BundleError {
    /// Whether the same archive may be good a moment later.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::NoKeys(_) | Self::Signer(SignedError::UnknownKey) | Self::File(_))
    }
}

/// A name out of an archive or a signature, fit to be shown: one bounded line in backticks.
pub(super) fn shown(name: &str) -> String {
    let mut shown = String::from("`");
    for (at, character) in name.chars().enumerate() {
        if at == SHOWN_MAX {
            shown.push('…');
            break;
        }
        match character {
            '`' => shown.extend(character.escape_unicode()),
            ' '..='~' => shown.push(character),
            _ if character.is_alphanumeric() => shown.push(character),
            _ => shown.extend(character.escape_unicode()),
        }
    }
    shown.push('`');
    shown
}

/// A JSON object; a list of its values would do for the reader below.
pub(super) fn object<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err("it is no JSON object".to_owned());
    }
    serde_json::from_slice(bytes).map_err(|error| shown(&error.to_string()))
}

/// Why a bundle could not be followed at all.
#[derive(Debug, Error)]
#[error("the folder `{}`: {source}", path.display())]
pub(super) struct KeepError {
    path: PathBuf,
    source: std::io::Error,
}

impl KeepError {
    pub(super) fn of(path: &Path) -> impl Fn(std::io::Error) -> Self {
        move |source| Self { path: path.to_owned(), source }
    }
}
