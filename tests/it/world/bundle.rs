//! Bundles as `opa build` makes them, and as it never would.

use std::io::Write;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sidegate::dev::TokenIssuer;
use tar::{Builder, EntryType, Header};

use super::policy::GLOBAL;

/// The files of a bundle to be.
#[derive(Clone)]
pub struct Bundle {
    pub files: Vec<(String, Vec<u8>)>,
}

impl Bundle {
    /// Grants one identity these scopes, and others nothing.
    pub fn granting(id: &str, scopes: &[&str]) -> Self {
        let grant = json!({"tenant": "acme", "roles": [], "scopes": scopes});
        let data = json!({"identities": {id: grant}, "blocked": {}});
        Self { files: Vec::new() }
            .file("/sidegate/global.rego", GLOBAL)
            .file("/data.json", &data.to_string())
    }

    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.files.retain(|(known, _)| known != name);
        self.files.push((name.to_owned(), text.as_bytes().to_vec()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.files.retain(|(known, _)| known != name);
        self
    }

    pub fn manifest(self, manifest: Value) -> Self {
        self.file("/.manifest", &manifest.to_string())
    }

    pub fn revision(self, revision: &str) -> Self {
        self.manifest(json!({"revision": revision}))
    }

    /// Adds what `opa sign` would: the JSON here is written in the one way that it is signed.
    pub fn signed(self, by: &TokenIssuer) -> Self {
        let header = json!({"alg": "ES256", "kid": by.kid(), "typ": "JWT"});
        self.signed_with(by, &header)
    }

    pub fn signed_with(self, by: &TokenIssuer, header: &Value) -> Self {
        let listed: Vec<Value> = self
            .files
            .iter()
            .map(|(name, bytes)| {
                let structured = name.ends_with("data.json") || name.ends_with(".manifest");
                let canonical = structured.then(|| canonical(bytes));
                let hash = digest(&SHA256, canonical.as_deref().unwrap_or(bytes));
                let hash: String = hash.as_ref().iter().map(|it| format!("{it:02x}")).collect();
                json!({"name": name.trim_start_matches('/'), "hash": hash, "algorithm": "SHA-256"})
            })
            .collect();
        let payload = json!({"files": listed, "iat": 1_700_000_000});
        let token = by.signed_with(header, &payload).unwrap();
        let signatures = json!({"signatures": [token.expose()]}).to_string();
        self.file("/.signatures.json", &signatures)
    }

    pub fn packed(&self) -> Vec<u8> {
        let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
        for (name, bytes) in &self.files {
            let mut header = Header::new_ustar();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(EntryType::Regular);
            header.set_size(bytes.len() as u64);
            header.set_mode(0o600);
            header.set_cksum();
            builder.append(&header, bytes.as_slice()).unwrap();
        }
        let mut gzip = builder.into_inner().unwrap();
        gzip.flush().unwrap();
        gzip.finish().unwrap()
    }

    /// In one step, as deployment tools do it.
    pub fn write(&self, path: &Path) {
        let aside = path.with_extension("new");
        std::fs::write(&aside, self.packed()).unwrap();
        std::fs::rename(aside, path).unwrap();
    }
}

/// Names sorted, no white space: enough for what stands in these tests.
fn canonical(bytes: &[u8]) -> Vec<u8> {
    fn sorted(value: Value) -> Value {
        match value {
            Value::Object(members) => {
                let mut members: Vec<_> = members.into_iter().collect();
                members.sort_by(|one, other| one.0.cmp(&other.0));
                members.into_iter().map(|(name, value)| (name, sorted(value))).collect()
            }
            Value::Array(items) => items.into_iter().map(sorted).collect(),
            other => other,
        }
    }
    sorted(serde_json::from_slice(bytes).unwrap()).to_string().into_bytes()
}

/// The current key as a `PUBLIC KEY` in PEM.
pub fn public_pem(of: &TokenIssuer) -> String {
    const P256: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE";
    let jwks: Value = serde_json::from_str(&of.jwks()).unwrap();
    let coordinate =
        |name: &str| URL_SAFE_NO_PAD.decode(jwks["keys"][0][name].as_str().unwrap()).unwrap();
    let mut der = STANDARD.decode(P256).unwrap();
    der.extend(coordinate("x"));
    der.extend(coordinate("y"));
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}
