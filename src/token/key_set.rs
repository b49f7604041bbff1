//! A JWK set (RFC 7517) as far as it can verify signatures.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    self, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
    VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use thiserror::Error;

use super::json::{Json, Object};
use super::settings::Algorithm;
use crate::tls;

/// Keys of one set, usable or not.
const KEYS_MAX: usize = 256;
/// Bytes of a `kid`.
pub(super) const KID_MAX: usize = 256;
/// What only the holder of a private or symmetric key may know (RFC 7518 section 6).
const PRIVATE: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

/// The public keys of one issuer or trust domain. Never pooled.
#[derive(Default)]
pub struct KeySet {
    keys: Vec<Key>,
    left_out: usize,
}

/// Why a document is no key set.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct KeySetError(pub &'static str);

/// Why no key of a set vouches for a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyFault {
    /// None has this `kid`; or there is no `kid` and not exactly one fits.
    Unknown,
    /// The named key is not for this algorithm.
    Algorithm,
    Signature,
}

/// Which key vouched for a signature, and how. Tells whether another set still has that key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SignedWith {
    thumbprint: Thumbprint,
    algorithm: Algorithm,
}

/// SHA-256 of a public key and its `kid`.
type Thumbprint = [u8; 32];

/// One public key, with what it may verify. Parsed once.
struct Key {
    kid: Option<String>,
    thumbprint: Thumbprint,
    // INVARIANT: not empty; no two keys of a set share both a `kid` and an algorithm.
    verifiers: Vec<(Algorithm, ParsedPublicKey)>,
}

/// By whose rules a set is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Issuer,
    TrustDomain,
}

impl KeySetError {
    const MALFORMED: Self = Self("the document is not a JWK set in strict JSON");
    const TOO_MANY: Self = Self("the set has more than 256 keys");
    const PRIVATE: Self = Self("the set holds a private or symmetric key");
    const NOTHING_LEFT: Self = Self("the set has no key that can verify a token");
}

impl KeySet {
    /// Keys that cannot verify with what we allow are left out and counted; a set of which nothing
    /// is left is an error. So is one with private members: whoever published it gave its keys away,
    /// and nothing that they sign means anything.
    pub fn of_issuer(jwks: &[u8]) -> Result<Self, KeySetError> {
        Self::read(jwks, Owner::Issuer)
    }

    /// Of a trust domain: keys with `use` of `jwt-svid`, or without any. The Workload API's JWT
    /// bundles are plain JWK sets, and agents of SPIRE send their keys without `use`; in bundle
    /// documents, which hold X.509 authorities, too, it is what tells the keys apart.
    pub fn of_trust_domain(jwks: &[u8]) -> Result<Self, KeySetError> {
        Self::read(jwks, Owner::TrustDomain)
    }

    /// The one public key of a PEM file, for whatever algorithms it fits. It has no name.
    pub fn of_pem(pem: &[u8]) -> Result<Self, KeySetError> {
        let [key] = tls::public_keys_of_pem(pem).unwrap_or_default().try_into().map_err(
            |_none_or_several| KeySetError("the file does not hold one `PUBLIC KEY` in PEM"),
        )?;
        let key: Vec<u8> = key;
        let verifiers = verifiers_of_der(&key);
        if verifiers.is_empty() {
            return Err(KeySetError("the key is of no kind that can verify a signature here"));
        }
        let digest = digest::digest(&digest::SHA256, &key);
        let thumbprint = Thumbprint::try_from(digest.as_ref())
            .map_err(|_length| KeySetError("the key has no digest"))?;
        Ok(Self { keys: vec![Key { kid: None, thumbprint, verifiers }], left_out: 0 })
    }

    /// Keys that can verify.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Keys of the document that cannot.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    fn read(jwks: &[u8], owner: Owner) -> Result<Self, KeySetError> {
        let document = Object::read(jwks).map_err(|_malformed| KeySetError::MALFORMED)?;
        let listed = document.get("keys").and_then(Json::as_array).ok_or(KeySetError::MALFORMED)?;
        if listed.len() > KEYS_MAX {
            return Err(KeySetError::TOO_MANY);
        }
        let objects = || listed.iter().filter_map(Json::as_object);
        if objects().any(|jwk| PRIVATE.iter().any(|name| jwk.has(name))) {
            return Err(KeySetError::PRIVATE);
        }
        let mut keys: Vec<Key> = objects().filter_map(|jwk| Key::read(jwk, owner)).collect();
        drop_ambiguous(&mut keys);
        if keys.is_empty() {
            return Err(KeySetError::NOTHING_LEFT);
        }
        let left_out = listed.len() - keys.len();
        Ok(Self { keys, left_out })
    }

    /// Whether `signature` is one of `message` by the key that `kid` names, or without `kid` by the
    /// only one that fits. Keys are not tried one after another.
    pub(super) fn verify(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<SignedWith, KeyFault> {
        let named = |key: &&Key| kid.is_none_or(|kid| key.kid.as_deref() == Some(kid));
        let mut fitting = self
            .keys
            .iter()
            .filter(named)
            .filter_map(|key| Some((key.thumbprint, key.verifier(algorithm)?)))
            .fuse();
        match (fitting.next(), fitting.next()) {
            (Some((thumbprint, key)), None) => {
                let verdict = key.verify_sig(message, signature);
                verdict.map_err(|_unspecified| KeyFault::Signature)?;
                Ok(SignedWith { thumbprint, algorithm })
            }
            (None, _) if kid.is_some() && self.keys.iter().any(|key| named(&key)) => {
                Err(KeyFault::Algorithm)
            }
            _ => Err(KeyFault::Unknown),
        }
    }

    /// Whether that key is one of these, and may still be used in that way.
    pub(super) fn has(&self, with: &SignedWith) -> bool {
        let same = |key: &Key| key.thumbprint == with.thumbprint;
        self.keys.iter().any(|key| same(key) && key.verifier(with.algorithm).is_some())
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kids: Vec<_> = self.keys.iter().map(|key| key.kid.as_deref()).collect();
        f.debug_struct("KeySet").field("kids", &kids).field("left_out", &self.left_out).finish()
    }
}

impl Key {
    /// `None` for a key that is not for us, or is broken (RFC 7517 section 5: ignored).
    fn read(jwk: &Object, owner: Owner) -> Option<Self> {
        let wanted = match owner {
            Owner::Issuer => "sig",
            Owner::TrustDomain => "jwt-svid",
        };
        let usable = jwk.get("use").is_none_or(|value| value.as_text() == Some(wanted));
        let may_verify = jwk.get("key_ops").is_none_or(|operations| {
            let operations = operations.as_array().unwrap_or_default();
            operations.iter().any(|operation| operation.as_text() == Some("verify"))
        });
        if !usable || !may_verify {
            return None;
        }
        let kid = optional(jwk, "kid")?;
        if kid.is_some_and(|kid| kid.is_empty() || kid.len() > KID_MAX) {
            return None;
        }
        let bound = match optional(jwk, "alg")? {
            Some(name) => Some(Algorithm::parse(name)?),
            None => None,
        };
        let mut verifiers = verifiers(jwk)?;
        verifiers.retain(|(algorithm, _)| bound.is_none_or(|bound| bound == *algorithm));
        let thumbprint = thumbprint(jwk)?;
        (!verifiers.is_empty()).then(|| Self { kid: kid.map(str::to_owned), thumbprint, verifiers })
    }

    fn verifier(&self, algorithm: Algorithm) -> Option<&ParsedPublicKey> {
        self.verifiers.iter().find(|(known, _)| *known == algorithm).map(|(_, key)| key)
    }
}

/// Where two keys share a `kid` nobody can tell which of them a token means, so for the algorithms
/// that both fit neither is used. Keys of different kinds may share one (RFC 7517 section 4.5): the
/// token's `alg` tells them apart.
fn drop_ambiguous(keys: &mut Vec<Key>) {
    let mut seen = std::collections::HashMap::new();
    for key in keys.iter() {
        for (algorithm, _) in &key.verifiers {
            if let Some(kid) = &key.kid {
                *seen.entry((kid.clone(), *algorithm)).or_insert(0_usize) += 1;
            }
        }
    }
    for key in keys.iter_mut() {
        let Some(kid) = key.kid.clone() else { continue };
        key.verifiers.retain(|(algorithm, _)| seen.get(&(kid.clone(), *algorithm)) == Some(&1));
    }
    keys.retain(|key| !key.verifiers.is_empty());
}

/// The members that say which key it is, of all kinds that we know. What else is said of a key, and
/// in which order, makes no other key of it; and its numbers have one spelling (the decoder takes
/// neither padding nor bits that stand for nothing).
fn thumbprint(jwk: &Object) -> Option<Thumbprint> {
    let mut context = digest::Context::new(&digest::SHA256);
    for name in ["kty", "crv", "n", "e", "x", "y", "kid"] {
        let text = jwk.get(name).and_then(Json::as_text);
        // No text has this length.
        let length = text.map_or(u64::MAX, |text| text.len() as u64);
        context.update(&length.to_be_bytes());
        context.update(text.unwrap_or_default().as_bytes());
    }
    Thumbprint::try_from(context.finish().as_ref()).ok()
}

/// Every algorithm that the key material fits. `None` if it is broken or unknown.
fn verifiers(jwk: &Object) -> Option<Vec<(Algorithm, ParsedPublicKey)>> {
    let text = |name| jwk.get(name).and_then(Json::as_text);
    match (text("kty")?, text("crv")) {
        ("RSA", _) => rsa(&bytes(jwk, "n")?, &bytes(jwk, "e")?),
        ("EC", Some("P-256")) => {
            elliptic(jwk, 32, Algorithm::Es256, &signature::ECDSA_P256_SHA256_FIXED)
        }
        ("EC", Some("P-384")) => {
            elliptic(jwk, 48, Algorithm::Es384, &signature::ECDSA_P384_SHA384_FIXED)
        }
        ("EC", Some("P-521")) => {
            elliptic(jwk, 66, Algorithm::Es512, &signature::ECDSA_P521_SHA512_FIXED)
        }
        ("OKP", Some("Ed25519")) => {
            let x = bytes(jwk, "x").filter(|x| x.len() == 32)?;
            one(Algorithm::EdDsa, &signature::ED25519, &x)
        }
        _ => None,
    }
}

/// The same for a key in DER; how long a key of RSA has to be is seen to when it verifies.
fn verifiers_of_der(key: &[u8]) -> Vec<(Algorithm, ParsedPublicKey)> {
    const ALL: [(Algorithm, &dyn VerificationAlgorithm); 10] = [
        (Algorithm::Rs256, &signature::RSA_PKCS1_2048_8192_SHA256),
        (Algorithm::Rs384, &signature::RSA_PKCS1_2048_8192_SHA384),
        (Algorithm::Rs512, &signature::RSA_PKCS1_2048_8192_SHA512),
        (Algorithm::Ps256, &signature::RSA_PSS_2048_8192_SHA256),
        (Algorithm::Ps384, &signature::RSA_PSS_2048_8192_SHA384),
        (Algorithm::Ps512, &signature::RSA_PSS_2048_8192_SHA512),
        (Algorithm::Es256, &signature::ECDSA_P256_SHA256_FIXED),
        (Algorithm::Es384, &signature::ECDSA_P384_SHA384_FIXED),
        (Algorithm::Es512, &signature::ECDSA_P521_SHA512_FIXED),
        (Algorithm::EdDsa, &signature::ED25519),
    ];
    ALL.into_iter()
        .filter_map(|(algorithm, verifier)| {
            Some((algorithm, UnparsedPublicKey::new(verifier, key).parse().ok()?))
        })
        .collect()
}

/// 2048 to 8192 bits (RFC 7518 section 3.3); an odd exponent of at least 3 and at most 33 bits,
/// which is what the verifier takes.
fn rsa(n: &[u8], e: &[u8]) -> Option<Vec<(Algorithm, ParsedPublicKey)>> {
    const ALL: [(Algorithm, &RsaParameters); 6] = [
        (Algorithm::Rs256, &signature::RSA_PKCS1_2048_8192_SHA256),
        (Algorithm::Rs384, &signature::RSA_PKCS1_2048_8192_SHA384),
        (Algorithm::Rs512, &signature::RSA_PKCS1_2048_8192_SHA512),
        (Algorithm::Ps256, &signature::RSA_PSS_2048_8192_SHA256),
        (Algorithm::Ps384, &signature::RSA_PSS_2048_8192_SHA384),
        (Algorithm::Ps512, &signature::RSA_PSS_2048_8192_SHA512),
    ];
    let first = n.first().filter(|first| **first != 0)?;
    let bits = (n.len() * 8).checked_sub(usize::try_from(first.leading_zeros()).ok()?)?;
    let odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
    let exponent = e.iter().try_fold(0_u64, |sum, byte| {
        sum.checked_mul(256).and_then(|sum| sum.checked_add(u64::from(*byte)))
    })?;
    let sane = (2048..=8192).contains(&bits)
        && odd(n)
        && odd(e)
        && e.first() != Some(&0)
        && (3..1 << 33).contains(&exponent);
    if !sane {
        return None;
    }
    let key = RsaPublicKeyComponents { n, e };
    ALL.into_iter()
        .map(|(algorithm, params)| Some((algorithm, key.to_parsed_public_key(params).ok()?)))
        .collect()
}

/// Coordinates of exactly the curve's length (RFC 7518 section 6.2.1), of a point on the curve.
fn elliptic(
    jwk: &Object,
    length: usize,
    algorithm: Algorithm,
    verifier: &'static dyn VerificationAlgorithm,
) -> Option<Vec<(Algorithm, ParsedPublicKey)>> {
    let x = bytes(jwk, "x").filter(|x| x.len() == length)?;
    let y = bytes(jwk, "y").filter(|y| y.len() == length)?;
    one(algorithm, verifier, &[&[4], &*x, &*y].concat())
}

fn one(
    algorithm: Algorithm,
    verifier: &'static dyn VerificationAlgorithm,
    key: &[u8],
) -> Option<Vec<(Algorithm, ParsedPublicKey)>> {
    let key = UnparsedPublicKey::new(verifier, key).parse().ok()?;
    Some(vec![(algorithm, key)])
}

fn bytes(jwk: &Object, name: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(jwk.get(name)?.as_text()?).ok()
}

/// The outer `None` is a member that is not text.
fn optional<'a>(jwk: &'a Object, name: &str) -> Option<Option<&'a str>> {
    match jwk.get(name) {
        None => Some(None),
        Some(value) => value.as_text().map(Some),
    }
}

#[cfg(test)]
mod tests;
