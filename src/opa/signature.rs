//! Whether an archive is what somebody signed (OPA's `.signatures.json`): all of it, and no more.

use std::collections::BTreeMap;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{self, Context};
use serde::Deserialize;

use super::archive::Files;
use super::canonical;
use super::error::{BundleError, object, shown};
use super::limits::ENTRIES_MAX;
use super::settings::{Signer, SignerKeys};
use crate::policy;
use crate::token::{Algorithm, KeySet, Signed};

pub(super) const SIGNATURES: &str = ".signatures.json";
/// A line for each file, twice in base64.
const SIGNATURES_BYTES_MAX: usize = 4 * 1024 * 1024;
const LISTED_MAX: usize = 2 * ENTRIES_MAX;
/// YAML is read by a reader that builds what it reads.
const YAML_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Files whose content counts, not their bytes.
const STRUCTURED: [&str; 4] = ["data.json", "data.yaml", "signatures.json", ".manifest"];

#[derive(Deserialize)]
struct Signatures {
    #[serde(default)]
    signatures: Vec<String>,
    #[serde(default)]
    plugin: String,
}

/// What a signature says.
#[derive(Deserialize)]
struct Payload {
    files: Vec<Listed>,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    keyid: String,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    hash: String,
    #[serde(default)]
    algorithm: String,
}

/// Takes the signature off, and fails unless it is by one of `keys` and of exactly these files.
pub(super) fn verify(files: &mut Files, signer: &Signer, keys: &KeySet) -> Result<(), BundleError> {
    let bytes = files.remove(SIGNATURES).ok_or(BundleError::Unsigned)?;
    let token = token(&bytes)?;
    let signed = Signed::read(&token, SIGNATURES_BYTES_MAX)?;
    allowed(signed.algorithm(), signer)?;
    let payload: Payload = object(signed.payload()).map_err(BundleError::Signatures)?;
    // Neither name is verified yet: they only choose among keys that are all believed.
    let given = |name: &&str| !name.is_empty();
    let by_header = signed.kid().filter(given);
    let by_payload = Some(payload.keyid.as_str()).filter(given);
    if by_header.zip(by_payload).is_some_and(|(header, payload)| header != payload) {
        return Err(BundleError::KeyId);
    }
    let named = by_header.or(by_payload);
    if named.is_some_and(|name| signer.key_id.as_deref().is_some_and(|known| known != name)) {
        return Err(BundleError::KeyId);
    }
    let kid = match &signer.keys {
        // The one key of a file has no name of its own.
        SignerKeys::Pem(_) => None,
        SignerKeys::Jwks { .. } => signer.key_id.as_deref().or(named),
    };
    signed.verify(kid, keys)?;
    if payload.scope != signer.scope.as_deref().unwrap_or_default() {
        return Err(BundleError::Scope);
    }
    compare(files, payload.files)
}

fn token(bytes: &[u8]) -> Result<String, BundleError> {
    let wrong = |why: &str| BundleError::Signatures(why.to_owned());
    if bytes.len() > SIGNATURES_BYTES_MAX {
        return Err(wrong("it is larger than 4 MiB"));
    }
    let read: Signatures = object(bytes).map_err(BundleError::Signatures)?;
    if !matches!(read.plugin.as_str(), "" | "_default") {
        return Err(wrong("it is to be verified by a plugin, and there is none"));
    }
    let [token] = <[String; 1]>::try_from(read.signatures)
        .map_err(|_count| wrong("it has to hold one signature, and no more"))?;
    Ok(token)
}

/// What OPA signs by, as far as it is asymmetric.
fn allowed(algorithm: Algorithm, signer: &Signer) -> Result<(), BundleError> {
    let known = match signer.algorithm {
        Some(known) => algorithm == known,
        None => algorithm != Algorithm::EdDsa,
    };
    if known { Ok(()) } else { Err(BundleError::Algorithm(algorithm.as_str())) }
}

fn compare(files: &Files, listed: Vec<Listed>) -> Result<(), BundleError> {
    if listed.len() > LISTED_MAX {
        return Err(BundleError::Signatures("it lists too many files".to_owned()));
    }
    let mut signed = BTreeMap::new();
    for file in listed {
        let name = file.name.trim_start_matches('/').to_owned();
        if let Some(before) = signed.insert(name, file) {
            let name = shown(&before.name);
            return Err(BundleError::Signatures(format!("{name} is listed twice")));
        }
    }
    for (name, bytes) in files {
        let file = signed.remove(name).ok_or_else(|| BundleError::NotSigned(shown(name)))?;
        if !is_signed(name, bytes, &file)? {
            return Err(BundleError::Digest(shown(name)));
        }
    }
    match signed.into_keys().next() {
        Some(name) => Err(BundleError::Missing(shown(&name))),
        None => Ok(()),
    }
}

fn is_signed(name: &str, bytes: &[u8], file: &Listed) -> Result<bool, BundleError> {
    let algorithm = match file.algorithm.as_str() {
        "SHA-256" => &digest::SHA256,
        "SHA-384" => &digest::SHA384,
        "SHA-512" => &digest::SHA512,
        other => {
            let (other, name) = (shown(other), shown(name));
            let why = format!("the digest of {name} is by {other}, which is not allowed");
            return Err(BundleError::Signatures(why));
        }
    };
    let mut context = Context::new(algorithm);
    let base = name.rsplit('/').next().unwrap_or(name);
    if STRUCTURED.contains(&base) {
        let json = structured(base, bytes);
        let json = json.ok_or_else(|| BundleError::Digest(shown(name)))?;
        canonical::digest(&json, &mut context);
    } else {
        context.update(bytes);
    }
    let Some(hash) = from_hex(&file.hash) else { return Ok(false) };
    Ok(verify_slices_are_equal(context.finish().as_ref(), &hash).is_ok())
}

fn structured(base: &str, bytes: &[u8]) -> Option<canonical::Json> {
    let text = std::str::from_utf8(bytes).ok()?;
    match canonical::parse(text) {
        None if base == "data.yaml" && bytes.len() <= YAML_BYTES_MAX => {
            canonical::parse(&policy::yaml_as_json(text)?)
        }
        json => json,
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let bytes = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    bytes.collect()
}

#[cfg(test)]
mod tests;
