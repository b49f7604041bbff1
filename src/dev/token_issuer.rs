//! A throw-away issuer of machine tokens: keys and signatures, no HTTP.

use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::authority::lock;
use super::error::DevError;
use super::jws::{PublicKey, SigningKey, jwks};
use super::jwt_svids::{seconds, token_id};
use crate::secret::Secret;

const KEY_PREFIX: &str = "dev-";

/// Signs whatever it is told to, in ES256. Its keys end with it.
pub struct TokenIssuer {
    issuer: String,
    keys: Mutex<Keys>,
}

struct Keys {
    current: SigningKey,
    old: Vec<PublicKey>,
}

impl TokenIssuer {
    pub fn new(issuer: &str) -> Result<Self, DevError> {
        let keys = Keys { current: SigningKey::generate(KEY_PREFIX)?, old: Vec::new() };
        Ok(Self { issuer: issuer.to_owned(), keys: Mutex::new(keys) })
    }

    /// The `iss` of its tokens.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The name of the key that signs now.
    pub fn kid(&self) -> String {
        self.keys().current.kid().to_owned()
    }

    /// The public keys as a JWK set, the current one first.
    pub fn jwks(&self) -> String {
        let keys = self.keys();
        let all = std::iter::once(keys.current.public()).chain(&keys.old);
        jwks(all, &[("use", "sig"), ("alg", "ES256")])
    }

    /// An access token (RFC 9068) with these claims; `iss`, `iat` and `jti` are added where they are
    /// missing. When it expires is for the caller to say.
    pub fn mint(&self, claims: Value) -> Result<Secret, DevError> {
        let Value::Object(given) = claims else {
            return Err(DevError::Claims);
        };
        let mut claims = Map::new();
        claims.insert("iss".to_owned(), Value::from(self.issuer.as_str()));
        claims.insert("iat".to_owned(), Value::from(seconds(SystemTime::now())));
        claims.insert("jti".to_owned(), Value::from(token_id()));
        claims.extend(given);
        let keys = self.keys();
        let header = json!({ "typ": "at+jwt", "alg": "ES256", "kid": keys.current.kid() });
        keys.current.sign(&header.to_string(), &Value::from(claims).to_string())
    }

    /// Exactly this header and these claims under a signature that holds, for tokens that lie.
    pub fn signed_with(&self, header: &Value, claims: &Value) -> Result<Secret, DevError> {
        self.signed_texts(&header.to_string(), &claims.to_string())
    }

    /// The same for what no [`Value`] can say, such as a claim given twice.
    pub fn signed_texts(&self, header: &str, claims: &str) -> Result<Secret, DevError> {
        self.keys().current.sign(header, claims)
    }

    /// Signs with a new key from now on. The old one stays in the set until
    /// [`TokenIssuer::forget_old`].
    pub fn rotate(&self) -> Result<(), DevError> {
        let mut keys = self.keys();
        let old = std::mem::replace(&mut keys.current, SigningKey::generate(KEY_PREFIX)?);
        keys.old.push(old.public().clone());
        Ok(())
    }

    /// Takes all but the current key out of the set.
    pub fn forget_old(&self) {
        self.keys().old.clear();
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        lock(&self.keys)
    }
}

impl fmt::Debug for TokenIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenIssuer").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}
