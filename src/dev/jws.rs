//! Signs JSON as ES256 (RFC 7515, RFC 7518): the one kind of key behind all tokens made here.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::error::DevError;
use crate::secret::Secret;

/// Of one coordinate of a point on P-256.
const COORDINATE: usize = 32;

/// A private key with the name that tokens call it by.
pub(super) struct SigningKey {
    public: PublicKey,
    pair: EcdsaKeyPair,
}

/// What verifies the signatures of a [`SigningKey`].
#[derive(Clone)]
pub(super) struct PublicKey {
    kid: String,
    /// SEC 1, uncompressed.
    point: Vec<u8>,
}

/// A token's parts, before anybody believes them.
pub(super) struct Unverified<'a> {
    kid: String,
    signed: &'a str,
    signature: Vec<u8>,
    pub(super) claims: Map<String, Value>,
}

impl SigningKey {
    /// The name is `prefix` and something random: keys of different runs are never mixed up.
    pub(super) fn generate(prefix: &str) -> Result<Self, DevError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        let kid = format!("{prefix}{:016x}", fastrand::u64(..));
        let point = pair.public_key().as_ref().to_vec();
        Ok(Self { public: PublicKey { kid, point }, pair })
    }

    pub(super) fn kid(&self) -> &str {
        &self.public.kid
    }

    pub(super) fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Compact serialization of exactly these texts, whatever they say.
    pub(super) fn sign(&self, header: &str, payload: &str) -> Result<Secret, DevError> {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let mut token = format!("{}.{}", encode(header), encode(payload));
        let signature = self.pair.sign(&SystemRandom::new(), token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        Ok(Secret::new(token))
    }
}

impl PublicKey {
    /// As RFC 7517 has it, without what it is for.
    pub(super) fn jwk(&self) -> Map<String, Value> {
        let xy = self.point.split_first().map(|(_, xy)| xy).unwrap_or_default();
        let (x, y) = xy.split_at_checked(COORDINATE).unwrap_or_default();
        let members = [
            ("kty", "EC".to_owned()),
            ("kid", self.kid.clone()),
            ("crv", "P-256".to_owned()),
            ("x", URL_SAFE_NO_PAD.encode(x)),
            ("y", URL_SAFE_NO_PAD.encode(y)),
        ];
        members.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
    }

    pub(super) fn signed(&self, token: &Unverified<'_>) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.point);
        self.kid == token.kid && key.verify(token.signed.as_bytes(), &token.signature).is_ok()
    }
}

/// A set of these keys, each with `more` members.
pub(super) fn jwks<'a>(keys: impl Iterator<Item = &'a PublicKey>, more: &[(&str, &str)]) -> String {
    let keys: Vec<_> = keys
        .map(|key| {
            let mut jwk = key.jwk();
            jwk.extend(more.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))));
            jwk
        })
        .collect();
    json!({ "keys": keys }).to_string()
}

impl<'a> Unverified<'a> {
    /// `None` for all that is not an ES256 token with a `kid`.
    pub(super) fn parse(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header = object(header)?;
        if header.get("alg").and_then(Value::as_str) != Some("ES256") {
            return None;
        }
        Some(Self {
            kid: header.get("kid")?.as_str()?.to_owned(),
            signed,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
            claims: object(claims)?,
        })
    }
}

fn object(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid()).finish_non_exhaustive()
    }
}
