//! Signatures of every kind that is believed, and of those that are not.

use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, SHA384, SHA512};
use serde_json::{Value, json};

use super::super::settings::SignerKeys;
use super::*;
use crate::dev::TokenIssuer;
use crate::tls::RootsFrom;
use crate::token::{KeysFrom, SignedError, TokenError};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(text: &str) -> String {
    hex(digest::digest(&SHA256, text.as_bytes()).as_ref())
}

fn by_set() -> Signer {
    let keys = SignerKeys::Jwks { from: KeysFrom::File("/x".into()), roots: RootsFrom::System };
    Signer { keys, algorithm: None, key_id: None, scope: None }
}

struct World {
    issuer: TokenIssuer,
    files: Files,
    listed: Value,
    header: Value,
    more: Value,
    signer: Signer,
}

impl World {
    fn new() -> Self {
        let issuer = TokenIssuer::new("bundles").unwrap();
        let texts = [("a.rego", "package a"), ("data.json", "{\"b\": 1, \"a\": 2}")];
        let files = texts.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
        Self {
            header: json!({"alg": "ES256", "typ": "JWT", "kid": issuer.kid()}),
            issuer,
            files: files.into(),
            listed: json!([
                {"name": "a.rego", "hash": sha256("package a"), "algorithm": "SHA-256"},
                {"name": "data.json", "hash": sha256("{\"a\":2,\"b\":1}"), "algorithm": "SHA-256"},
            ]),
            more: json!({}),
            signer: by_set(),
        }
    }

    fn token(&self) -> String {
        let mut payload = json!({"files": self.listed});
        payload.as_object_mut().unwrap().extend(self.more.as_object().unwrap().clone());
        self.issuer.signed_with(&self.header, &payload).unwrap().expose().to_owned()
    }

    fn judged(&self) -> Result<(), BundleError> {
        self.judged_with(json!({"signatures": [self.token()]}))
    }

    fn judged_with(&self, signatures: Value) -> Result<(), BundleError> {
        let mut files = self.files.clone();
        files.insert(SIGNATURES.to_owned(), signatures.to_string().into_bytes());
        let keys = KeySet::of_issuer(self.issuer.jwks().as_bytes()).unwrap();
        verify(&mut files, &self.signer, &keys)?;
        assert_eq!(files, self.files, "only the signature is taken off");
        Ok(())
    }
}

#[test]
fn a_bundle_whose_every_file_is_signed_is_believed() {
    let mut world = World::new();
    world.judged().unwrap();
    world.more = json!({"iat": 1, "iss": "ci", "keyid": world.issuer.kid(), "extra": []});
    world.judged().unwrap();
    world.listed[0]["name"] = json!("/a.rego");
    world.listed[0]["hash"] = json!(sha256("package a").to_uppercase());
    world.judged().unwrap();
}

#[test]
fn digests_may_be_of_three_lengths_and_of_no_weaker_kind() {
    let mut world = World::new();
    for (name, algorithm) in [("SHA-256", &SHA256), ("SHA-384", &SHA384), ("SHA-512", &SHA512)] {
        let hash = hex(digest::digest(algorithm, b"package a").as_ref());
        world.listed[0] = json!({"name": "a.rego", "hash": hash, "algorithm": name});
        world.judged().unwrap();
    }
    for name in ["MD5", "SHA-1", "SHA-224", "SHA-512-256", "", "sha-256"] {
        world.listed[0]["algorithm"] = json!(name);
        assert!(matches!(world.judged(), Err(BundleError::Signatures(_))), "{name}");
    }
}

#[test]
fn a_file_that_was_changed_added_or_taken_away_is_found() {
    let mut world = World::new();
    world.files.insert("a.rego".to_owned(), b"package b".to_vec());
    assert!(matches!(world.judged(), Err(BundleError::Digest(name)) if name == "`a.rego`"));

    let mut world = World::new();
    world.files.insert("data.json".to_owned(), b"{\"a\":2,\"b\":2}".to_vec());
    assert!(matches!(world.judged(), Err(BundleError::Digest(name)) if name == "`data.json`"));

    let mut world = World::new();
    world.files.insert("b.rego".to_owned(), b"package b".to_vec());
    assert!(matches!(world.judged(), Err(BundleError::NotSigned(name)) if name == "`b.rego`"));

    let mut world = World::new();
    world.files.remove("a.rego");
    assert!(matches!(world.judged(), Err(BundleError::Missing(name)) if name == "`a.rego`"));
}

#[test]
fn data_that_says_a_name_twice_is_not_what_was_signed() {
    let mut world = World::new();
    world.files.insert("data.json".to_owned(), b"{\"a\":9,\"a\":2,\"b\":1}".to_vec());
    assert!(matches!(world.judged(), Err(BundleError::Digest(_))));
}

#[test]
fn yaml_counts_by_what_it_says() {
    let mut world = World::new();
    world.files.remove("data.json");
    world.files.insert("data.yaml".to_owned(), b"b: 1\na: 2 # comment\n".to_vec());
    world.listed[1]["name"] = json!("data.yaml");
    world.judged().unwrap();
    world.files.insert("data.yaml".to_owned(), b"b: 1\na: 3\n".to_vec());
    assert!(matches!(world.judged(), Err(BundleError::Digest(_))));
}

#[test]
fn yaml_that_would_unfold_or_nest_without_end_is_refused_at_once() {
    let mut unfolding = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for at in 1..20 {
        let below = vec![format!("*a{}", at - 1); 9].join(", ");
        unfolding += &format!("a{at}: &a{at} [{below}]\n");
    }
    for text in [unfolding, "[".repeat(200_000)] {
        let mut world = World::new();
        world.files.remove("data.json");
        world.files.insert("data.yaml".to_owned(), text.into_bytes());
        world.listed[1]["name"] = json!("data.yaml");
        let began = Instant::now();
        assert!(matches!(world.judged(), Err(BundleError::Digest(_))));
        assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    }
}

#[test]
fn a_signature_that_gives_two_names_of_its_key_is_refused() {
    let mut world = World::new();
    world.more = json!({"keyid": "another"});
    assert!(matches!(world.judged(), Err(BundleError::KeyId)));
    world.signer.key_id = Some(world.issuer.kid());
    assert!(matches!(world.judged(), Err(BundleError::KeyId)));
    world.more = json!({"keyid": world.issuer.kid()});
    world.judged().unwrap();
}

#[test]
fn only_keys_that_are_known_and_asymmetric_are_believed() {
    let mut world = World::new();
    world.header["kid"] = json!("another");
    assert!(matches!(world.judged(), Err(BundleError::Signer(SignedError::UnknownKey))));

    // Without a name, the only key of the set; and by the name that older tools write elsewhere.
    world.header = json!({"alg": "ES256", "kid": ""});
    world.judged().unwrap();
    world.more = json!({"keyid": world.issuer.kid()});
    world.judged().unwrap();
    world.more = json!({"keyid": "another"});
    assert!(matches!(world.judged(), Err(BundleError::Signer(SignedError::UnknownKey))));

    for algorithm in ["HS256", "HS512", "none", "ES256K", ""] {
        let mut world = World::new();
        world.header["alg"] = json!(algorithm);
        assert!(matches!(world.judged(), Err(BundleError::Token(TokenError::Algorithm))));
    }
    let mut world = World::new();
    world.header["alg"] = json!("EdDSA");
    assert!(matches!(world.judged(), Err(BundleError::Algorithm("EdDSA"))));
    world.header["alg"] = json!("RS256");
    assert!(matches!(world.judged(), Err(BundleError::Signer(SignedError::Algorithm))));
}

#[test]
fn a_signature_of_another_text_does_not_hold() {
    let world = World::new();
    let mut other = World::new();
    other.listed[0]["hash"] = json!("00");
    let (token, other) = (world.token(), other.token());
    let signed = token.rsplit_once('.').unwrap().0;
    let signature = other.rsplit_once('.').unwrap().1;
    let swapped = json!({"signatures": [format!("{signed}.{signature}")]});
    let judged = world.judged_with(swapped);
    assert!(matches!(judged, Err(BundleError::Signer(SignedError::Signature))));
}

#[test]
fn the_configured_algorithm_name_and_scope_are_held() {
    let mut world = World::new();
    world.signer.algorithm = Some(Algorithm::Rs256);
    assert!(matches!(world.judged(), Err(BundleError::Algorithm("ES256"))));
    world.signer.algorithm = Some(Algorithm::Es256);
    world.judged().unwrap();

    world.signer.key_id = Some("another".to_owned());
    assert!(matches!(world.judged(), Err(BundleError::KeyId)));
    world.signer.key_id = Some(world.issuer.kid());
    world.judged().unwrap();

    world.more = json!({"scope": "staging"});
    assert!(matches!(world.judged(), Err(BundleError::Scope)), "none is wanted");
    world.signer.scope = Some("production".to_owned());
    assert!(matches!(world.judged(), Err(BundleError::Scope)));
    world.more = json!({"scope": "production"});
    world.judged().unwrap();
}

#[test]
fn one_signature_that_can_be_read_has_to_be_there() {
    let world = World::new();
    let token = world.token();
    for signatures in [
        json!({}),
        json!({"signatures": []}),
        json!({"signatures": [token, token]}),
        json!({"signatures": token}),
        json!({"signatures": [token], "plugin": "mine"}),
        json!([]),
    ] {
        let judged = world.judged_with(signatures.clone());
        assert!(matches!(judged, Err(BundleError::Signatures(_))), "{signatures}");
    }
    world.judged_with(json!({"signatures": [token], "plugin": "_default"})).unwrap();
    let keys = KeySet::of_issuer(world.issuer.jwks().as_bytes()).unwrap();
    let judged = verify(&mut world.files.clone(), &world.signer, &keys);
    assert!(matches!(judged, Err(BundleError::Unsigned)));

    let mut world = World::new();
    world.listed[1] = world.listed[0].clone();
    assert!(matches!(world.judged(), Err(BundleError::Signatures(_))), "listed twice");
}
