//! Tokens that hold and tokens that do not: every rule has at least one that breaks it alone.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::refetch::{Refetch, refetch};
use super::super::settings::{Algorithm, Issuer, KeysFrom, Svids};
use super::super::tests::{NOW, Signer, at, base64, jwks, now};
use super::super::verified::Kind;
use super::*;
use crate::live::{Publisher, live};
use crate::tls::RootsFrom;

const HOME: &str = "https://auth.example.com";
const OTHER: &str = "https://other.example.com";

/// Two issuers and two trust domains, each with one P-256 key; the issuers' bear the same name.
struct Court {
    verifier: Verifier,
    home: Signer,
    other: Signer,
    domain: Signer,
    federated: Signer,
    home_keys: Publisher<Option<KeySet>>,
    domain_keys: Publisher<BTreeMap<TrustDomain, KeySet>>,
}

fn settings(issuer: &str) -> Issuer {
    Issuer {
        issuer: issuer.to_owned(),
        audience: vec!["orders".to_owned(), "https://orders.example.com".to_owned()],
        keys: KeysFrom::Discovery,
        roots: RootsFrom::System,
        algorithms: Algorithm::ALL.to_vec(),
        max_lifetime: Duration::from_secs(3600),
        keys_max_age: Duration::from_secs(86_400),
        tenants: None,
        cross_tenant_max_lifetime: None,
    }
}

fn keys_of(signer: &Signer) -> KeySet {
    KeySet::of_issuer(&jwks(&[signer.jwk("k1")])).unwrap()
}

fn bundles(of: &[(&str, &Signer)]) -> BTreeMap<TrustDomain, KeySet> {
    let set = |signer: &Signer| {
        let mut jwk = signer.jwk("k1");
        jwk["use"] = "jwt-svid".into();
        KeySet::of_trust_domain(&jwks(&[jwk])).unwrap()
    };
    of.iter().map(|(name, signer)| (TrustDomain::new(name).unwrap(), set(signer))).collect()
}

impl Court {
    fn new() -> Self {
        Self::with(|_| {})
    }

    /// `change` what holds for the first issuer.
    fn with(change: impl FnOnce(&mut Issuer)) -> Self {
        Self::asking(change, Refetch::vain())
    }

    fn asking(change: impl FnOnce(&mut Issuer), refetch: Refetch) -> Self {
        let [home, other, domain, federated] = [(); 4].map(|()| Signer::p256());
        let mut first = settings(HOME);
        change(&mut first);
        let (home_keys, seen) = live(Some(keys_of(&home)));
        let issuers = [
            TrustedIssuer { settings: first, keys: seen, refetch },
            TrustedIssuer {
                settings: settings(OTHER),
                keys: Live::fixed(Some(keys_of(&other))),
                refetch: Refetch::vain(),
            },
        ];
        let (domain_keys, seen) =
            live(bundles(&[("example.org", &domain), ("partner.example", &federated)]));
        let max_lifetime = Duration::from_secs(3600);
        let svids = Svids { audience: vec!["orders".to_owned()], max_lifetime };
        let svids = Some(Arc::new(TrustedSvids { settings: svids, keys: seen }));
        let verifier = Verifier::new(Trusted { issuers: Arc::new(issuers), svids });
        Self { verifier, home, other, domain, federated, home_keys, domain_keys }
    }

    fn judge_at(&self, token: &str, now: SystemTime) -> Result<Arc<Verified>, TokenError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(self.verifier.verify(token, now))
    }

    fn judge(&self, token: &str) -> Result<Arc<Verified>, TokenError> {
        self.judge_at(token, now())
    }

    /// The verdict on a token of the first issuer with these claims changed; `null` takes one away.
    fn on(&self, changes: Value) -> Result<Arc<Verified>, TokenError> {
        self.judge(&self.home.token("k1", &changed(claims(), changes)))
    }

    fn on_svid(&self, changes: Value) -> Result<Arc<Verified>, TokenError> {
        self.judge(&self.domain.token("k1", &changed(svid_claims(), changes)))
    }
}

fn claims() -> Value {
    json!({
        "iss": HOME, "sub": "billing", "aud": "orders", "iat": NOW - 60, "exp": NOW + 600,
        "scope": "orders:read orders:write", "tenant": "acme",
    })
}

fn svid_claims() -> Value {
    json!({"sub": "spiffe://example.org/prod/billing", "aud": ["orders"], "exp": NOW + 300})
}

fn changed(mut claims: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn missing(name: &'static str) -> TokenError {
    TokenError::ClaimMissing { name }
}

fn mistyped(name: &'static str) -> TokenError {
    TokenError::ClaimType { name }
}

fn texts(of: &[Arc<str>]) -> Vec<&str> {
    of.iter().map(|it| &**it).collect()
}

#[test]
fn a_good_machine_token_is_told_in_full() {
    let verified = Court::with(|it| it.cross_tenant_max_lifetime = Some(Duration::from_secs(660)))
        .on(json!({
            "nbf": NOW - 60, "teams": ["a", "b"], "roles": ["admin"], "cross_tenant": true,
            "jti": "x", "client_id": "c", "anything": {"else": []},
        }))
        .unwrap();
    assert_eq!(verified.kind(), &Kind::Machine);
    assert_eq!(&**verified.subject(), "billing");
    assert_eq!(verified.issuer().map(|it| &**it), Some(HOME));
    assert_eq!(texts(verified.scopes()), ["orders:read", "orders:write"]);
    assert_eq!(verified.tenant().map(|it| &**it), Some("acme"));
    assert_eq!((texts(verified.teams()), texts(verified.roles())), (vec!["a", "b"], vec!["admin"]));
    assert!(verified.cross_tenant());
    assert_eq!((verified.issued(), verified.expires()), (Some(at(NOW - 60)), at(NOW + 600)));
    assert_eq!(verified.id().map(|it| &**it), Some("x"));
    // SHA-256 of "x".
    assert_eq!(&**verified.fingerprint(), "2d711642b726b04401627ca9fbac32f5");
}

#[test]
fn a_good_jwt_svid_proves_its_id_and_nothing_else() {
    let court = Court::new();
    // Claims that would mean something in a machine token mean nothing here.
    let more = json!({"scope": "*:*", "tenant": "acme", "roles": ["admin"], "cross_tenant": true});
    for changes in [json!({}), json!({"iat": NOW, "iss": "https://whoever.example"}), more] {
        let verified = court.on_svid(changes).unwrap();
        let id = "spiffe://example.org/prod/billing";
        assert_eq!(verified.kind(), &Kind::Svid(SpiffeId::new(id).unwrap()));
        assert_eq!(&**verified.subject(), id);
        assert!(verified.issuer().is_none() && verified.tenant().is_none());
        assert!(verified.scopes().is_empty() && verified.roles().is_empty());
        assert!(!verified.cross_tenant());
        assert_eq!(verified.fingerprint().len(), 32);
    }
}

/// The other signature that an ECDSA one on P-256 implies: `n - s` for `s`.
fn turned(token: &str) -> String {
    const N: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut borrow = 0;
    for (s, n) in signature[32..].iter_mut().zip(N).rev() {
        let less = i16::from(n) - i16::from(*s) - borrow;
        borrow = i16::from(less < 0);
        *s = u8::try_from(less.rem_euclid(256)).unwrap();
    }
    format!("{signed}.{}", base64(signature))
}

#[test]
fn the_other_form_of_a_signature_does_not_change_the_fingerprint() {
    let court = Court::new();
    let svid = changed(svid_claims(), json!({"jti": null}));
    for token in [court.home.token("k1", &claims()), court.domain.token("k1", &svid)] {
        let other = turned(&token);
        assert_ne!(token, other);
        let [one, two] = [&token, &other].map(|it| court.judge(it).unwrap());
        assert_eq!(one.fingerprint(), two.fingerprint());
        assert!(one.id().is_none() && one.fingerprint().len() == 32);
    }
    // Another token has another fingerprint.
    let [one, two] = [0, 1].map(|more| court.on(json!({"exp": NOW + 600 + more})).unwrap());
    assert_ne!(one.fingerprint(), two.fingerprint());
}

#[test]
fn each_mandatory_claim_is_missed_and_each_mistyped_one_is_seen() {
    let court = Court::new();
    for name in ["iss", "sub", "aud", "iat", "exp", "scope", "tenant"] {
        assert_eq!(court.on(json!({name: null})).unwrap_err(), missing(name));
        for value in [json!({}), json!(true), json!([1]), json!([[]])] {
            assert_eq!(court.on(json!({name: value})).unwrap_err(), mistyped(name), "{value}");
        }
    }
    for name in ["teams", "roles", "jti", "nbf", "cross_tenant"] {
        for value in [json!({}), json!("\u{0}"), json!([1]), json!(-1), json!([""])] {
            assert_eq!(court.on(json!({name: value})).unwrap_err(), mistyped(name), "{value}");
        }
        let nothing = changed(claims(), json!({name: 0})).to_string();
        let nothing = nothing.replace(&format!("\"{name}\":0"), &format!("\"{name}\":null"));
        let token = court.home.token_of(r#"{"alg":"ES256","kid":"k1"}"#, &nothing);
        assert_eq!(court.judge(&token).unwrap_err(), mistyped(name));
    }
    for name in ["sub", "aud", "exp"] {
        let expected = if name == "sub" { missing("iss") } else { missing(name) };
        assert_eq!(court.on_svid(json!({name: null})).unwrap_err(), expected);
    }
    for (name, value) in [("iat", json!("1")), ("nbf", json!("1")), ("jti", json!(1))] {
        assert_eq!(court.on_svid(json!({name: value})).unwrap_err(), mistyped(name));
    }
}

#[test]
fn claims_are_bounded() {
    let court = Court::new();
    let long = |length: usize| Value::from("x".repeat(length));
    let many = |count: usize| Value::from(vec!["x"; count]);
    for (name, most) in [("sub", 512), ("tenant", 63), ("jti", 256), ("scope", 256)] {
        assert!(court.on(json!({name: long(most)})).is_ok(), "{name}");
        assert_eq!(court.on(json!({name: long(most + 1)})).unwrap_err(), mistyped(name));
    }
    for (name, most) in [("teams", 64), ("roles", 64), ("scope", 256)] {
        assert!(court.on(json!({name: many(most)})).is_ok(), "{name}");
        assert_eq!(court.on(json!({name: many(most + 1)})).unwrap_err(), mistyped(name));
        assert_eq!(court.on(json!({name: [long(257)]})).unwrap_err(), mistyped(name));
    }
    let words = vec!["x"; 257].join(" ");
    assert_eq!(court.on(json!({"scope": words})).unwrap_err(), mistyped("scope"));
    for name in ["sub", "tenant", "jti"] {
        for bad in ["", "a\nb", "a\u{0}", "a\u{85}"] {
            assert_eq!(court.on(json!({name: bad})).unwrap_err(), mistyped(name), "{bad:?}");
        }
    }
}

#[test]
fn only_tokens_for_our_audience_are_taken() {
    let court = Court::new();
    let mut many = vec!["x"; 31];
    many.push("orders");
    for aud in [json!("orders"), json!(["x", "https://orders.example.com"]), json!(many)] {
        assert!(court.on(json!({"aud": aud})).is_ok(), "{aud}");
    }
    for aud in [json!("Orders"), json!(""), json!([]), json!(["x"]), json!("orders billing")] {
        assert_eq!(court.on(json!({"aud": aud})).unwrap_err(), TokenError::Audience, "{aud}");
        assert_eq!(court.on_svid(json!({"aud": aud})).unwrap_err(), TokenError::Audience, "{aud}");
    }
    many.push("orders");
    assert_eq!(court.on(json!({"aud": many})).unwrap_err(), mistyped("aud"));
    assert_eq!(court.on(json!({"aud": ["orders", 1]})).unwrap_err(), mistyped("aud"));
}

#[test]
fn times_are_kept_to_the_second() {
    let court = Court::new();
    let good = [
        json!({"exp": NOW + 1}),
        json!({"nbf": NOW + 30}),
        json!({"iat": NOW + 30}),
        json!({"exp": (NOW + 1) as f64 + 0.9}),
        json!({"iat": NOW - 60, "exp": NOW - 60 + 3600}),
        json!({"iat": 1.8e9}),
    ];
    for changes in good {
        assert!(court.on(changes.clone()).is_ok(), "{changes}");
    }
    let bad = [
        (json!({"exp": NOW}), TokenError::Expired),
        (json!({"exp": NOW as f64 + 0.9}), TokenError::Expired),
        (json!({"exp": 0}), TokenError::Expired),
        (json!({"nbf": NOW + 31}), TokenError::NotYetValid),
        (json!({"iat": NOW + 31}), TokenError::IssuedInFuture),
        (json!({"iat": NOW - 60, "exp": NOW - 60 + 3601}), TokenError::Lifetime),
        (json!({"iat": 0}), TokenError::Lifetime),
        (json!({"iat": NOW + 10, "exp": NOW + 10}), TokenError::Lifetime),
        (json!({"iat": NOW + 20, "exp": NOW + 10}), TokenError::Lifetime),
        (json!({"exp": 253_402_300_799_u64}), TokenError::Lifetime),
    ];
    for (changes, fault) in bad {
        assert_eq!(court.on(changes.clone()).unwrap_err(), fault, "{changes}");
    }
    let never = [
        json!("1800000600"),
        json!(-1),
        json!(253_402_300_800_u64),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e300),
        json!(-1e300),
    ];
    for name in ["exp", "nbf", "iat"] {
        for value in &never {
            assert_eq!(court.on(json!({name: value})).unwrap_err(), mistyped(name), "{value}");
        }
        let endless = changed(claims(), json!({name: 7})).to_string();
        let endless = endless.replace(&format!("\"{name}\":7"), &format!("\"{name}\":1e400"));
        let token = court.home.token_of(r#"{"alg":"ES256","kid":"k1"}"#, &endless);
        assert_eq!(court.judge(&token).unwrap_err(), TokenError::Malformed);
    }
}

#[test]
fn a_shorter_life_than_an_hour_can_be_asked_for_and_a_longer_cannot() {
    let short = Court::with(|it| it.max_lifetime = Duration::from_secs(600));
    assert!(short.on(json!({"iat": NOW, "exp": NOW + 600})).is_ok());
    let fault = short.on(json!({"iat": NOW, "exp": NOW + 601})).unwrap_err();
    assert_eq!(fault, TokenError::Lifetime);
    let long = Court::with(|it| it.max_lifetime = Duration::from_secs(86_400));
    let fault = long.on(json!({"iat": NOW, "exp": NOW + 3601})).unwrap_err();
    assert_eq!(fault, TokenError::Lifetime);
}

#[test]
fn a_jwt_svid_lives_no_longer_either() {
    let court = Court::new();
    for (changes, fault) in [
        (json!({"exp": NOW + 3601}), TokenError::Lifetime),
        (json!({"iat": NOW - 10, "exp": NOW + 3591}), TokenError::Lifetime),
        (json!({"iat": NOW + 31}), TokenError::IssuedInFuture),
        (json!({"nbf": NOW + 31}), TokenError::NotYetValid),
        (json!({"exp": NOW}), TokenError::Expired),
        (json!({"cnf": {"jkt": "x"}}), TokenError::BoundToken),
    ] {
        assert_eq!(court.on_svid(changes.clone()).unwrap_err(), fault, "{changes}");
    }
    assert!(court.on_svid(json!({"exp": NOW + 3600})).is_ok());
}

#[test]
fn a_machine_may_not_pose_as_a_workload() {
    let court = Court::new();
    for sub in [
        "spiffe://example.org/prod/billing",
        "SPIFFE://example.org/prod/billing",
        "spiffe:",
        " spiffe://example.org/prod/billing",
        " billing",
        "billing\u{a0}",
    ] {
        assert_eq!(court.on(json!({"sub": sub})).unwrap_err(), TokenError::Subject, "{sub}");
    }
    assert!(court.on(json!({"sub": "spiffeling é"})).is_ok());
}

#[test]
fn subjects_of_jwt_svids_are_canonical_ids_of_workloads() {
    let court = Court::new();
    for sub in [
        "spiffe://example.org",
        "spiffe://example.org/",
        "spiffe://Example.org/a",
        "SPIFFE://example.org/a",
        "spiffe://example.org/a/",
        "spiffe://example.org/../a",
        "spiffe://example.org//a",
        "spiffe://example.org/a?b",
        "spiffe://example.org/a%20",
        "spiffe://example.org:1/a",
        " spiffe://example.org/a",
        "spiffe:example.org/a",
    ] {
        assert_eq!(court.on_svid(json!({"sub": sub})).unwrap_err(), TokenError::Subject, "{sub}");
    }
    let long = format!("spiffe://example.org/{}", "a".repeat(2048));
    assert_eq!(court.on_svid(json!({"sub": long})).unwrap_err(), TokenError::Subject);
}

#[test]
fn scopes_are_words() {
    let court = Court::new();
    for (scope, words) in [
        (json!(""), vec![]),
        (json!([]), vec![]),
        (json!(" a  b "), vec!["a", "b"]),
        (json!(["a", "b:c/*~!"]), vec!["a", "b:c/*~!"]),
    ] {
        let verified = court.on(json!({"scope": scope})).unwrap();
        assert_eq!(texts(verified.scopes()), words, "{scope}");
    }
    for scope in [
        json!("a\tb"),
        json!("a\"b"),
        json!("a\\b"),
        json!("é"),
        json!(["a b"]),
        json!([""]),
        json!(["a", null]),
        json!("a\u{7f}"),
    ] {
        assert_eq!(court.on(json!({"scope": scope})).unwrap_err(), mistyped("scope"), "{scope}");
    }
}

#[test]
fn an_issuer_speaks_for_its_tenants_only() {
    let court = Court::with(|it| it.tenants = Some(vec!["acme".to_owned()]));
    assert!(court.on(json!({})).is_ok());
    for tenant in ["Acme", "globex", "acme "] {
        assert_eq!(court.on(json!({"tenant": tenant})).unwrap_err(), TokenError::Tenant);
    }
    let nobody = Court::with(|it| it.tenants = Some(Vec::new()));
    assert_eq!(nobody.on(json!({})).unwrap_err(), TokenError::Tenant);
}

#[test]
fn crossing_tenants_is_for_short_tokens_of_issuers_that_may_give_it() {
    let never = Court::new();
    assert_eq!(never.on(json!({"cross_tenant": true})).unwrap_err(), TokenError::CrossTenant);
    assert!(!never.on(json!({"cross_tenant": false})).unwrap().cross_tenant());
    let may = Court::with(|it| it.cross_tenant_max_lifetime = Some(Duration::from_secs(900)));
    let lives =
        |seconds: u64| may.on(json!({"cross_tenant": true, "iat": NOW, "exp": NOW + seconds}));
    assert!(lives(900).unwrap().cross_tenant());
    assert_eq!(lives(901).unwrap_err(), TokenError::CrossTenant);
    assert!(!may.on(json!({})).unwrap().cross_tenant());
    for value in [json!(1), json!("true")] {
        let fault = may.on(json!({"cross_tenant": value})).unwrap_err();
        assert_eq!(fault, mistyped("cross_tenant"));
    }
}

#[test]
fn tokens_that_are_bound_to_a_key_are_refused() {
    let court = Court::new();
    for cnf in [json!({"x5t#S256": "x"}), json!({}), json!(false)] {
        assert_eq!(court.on(json!({"cnf": cnf})).unwrap_err(), TokenError::BoundToken);
    }
}

#[test]
fn a_signature_counts_by_the_keys_of_its_own_issuer_alone() {
    let court = Court::new();
    let of = |signer: &Signer, claims: Value| court.judge(&signer.token("k1", &claims));
    let svid =
        |domain: &str| changed(svid_claims(), json!({"sub": format!("spiffe://{domain}/a")}));
    assert!(of(&court.home, claims()).is_ok());
    assert!(of(&court.other, changed(claims(), json!({"iss": OTHER}))).is_ok());
    assert!(of(&court.domain, svid("example.org")).is_ok());
    assert!(of(&court.federated, svid("partner.example")).is_ok());
    // The same `kid` in every set helps nobody.
    for signer in [&court.other, &court.domain, &court.federated, &Signer::p256()] {
        assert_eq!(of(signer, claims()).unwrap_err(), TokenError::Signature);
    }
    for signer in [&court.home, &court.other, &court.federated] {
        assert_eq!(of(signer, svid("example.org")).unwrap_err(), TokenError::Signature);
    }
    // A configured issuer judges by its own rules even where the subject is a SPIFFE ID.
    let both = changed(svid_claims(), json!({"iss": HOME}));
    assert_eq!(of(&court.domain, both).unwrap_err(), TokenError::Signature);
}

#[test]
fn strangers_are_told_apart_from_missing_keys() {
    let court = Court::new();
    for iss in ["https://auth.example.com/", "HTTPS://auth.example.com", "", "https://evil.example"]
    {
        let fault = court.on(json!({"iss": iss})).unwrap_err();
        assert_eq!(fault, TokenError::UnknownIssuer { issuer: iss.to_owned() });
    }
    let foreign = court.on_svid(json!({"sub": "spiffe://evil.example/a"})).unwrap_err();
    assert_eq!(foreign, TokenError::UnknownIssuer { issuer: "evil.example".to_owned() });

    court.home_keys.publish(None);
    assert_eq!(court.on(json!({})).unwrap_err(), TokenError::NoKeys { issuer: HOME.to_owned() });
    court.domain_keys.publish(BTreeMap::new());
    let fault = court.on_svid(json!({})).unwrap_err();
    assert_eq!(fault, TokenError::NoKeys { issuer: "example.org".to_owned() });
}

#[test]
fn jwt_svids_are_taken_only_where_that_is_said() {
    let court = Court::new();
    let issuers = Arc::clone(&court.verifier.0.trusted.issuers);
    let without = Court { verifier: Verifier::new(Trusted { issuers, svids: None }), ..court };
    assert_eq!(without.on_svid(json!({})).unwrap_err(), missing("iss"));
    let named = without.on_svid(json!({"iss": "https://spire.example"})).unwrap_err();
    assert_eq!(named.code(), "unknown_issuer");
    assert!(without.on(json!({})).is_ok());
}

#[test]
fn algorithms_are_the_issuers_and_the_keys() {
    let court = Court::with(|it| it.algorithms = vec![Algorithm::Rs256]);
    assert_eq!(court.on(json!({})).unwrap_err(), TokenError::Algorithm);

    // The classic: a public RSA key taken for the secret of a MAC.
    let court = Court::new();
    let rsa = Signer::rsa();
    court.home_keys.publish(Some(keys_of(&rsa)));
    assert!(court.judge(&rsa.token("k1", &claims())).is_ok());
    let public = rsa.jwk("k1")["n"].as_str().unwrap().to_owned();
    for alg in ["HS256", "none", "RS1"] {
        let head = format!(r#"{{"alg":"{alg}","kid":"k1"}}"#);
        let signed = format!("{}.{}", base64(head), base64(claims().to_string()));
        let key = hmac::Key::new(hmac::HMAC_SHA256, public.as_bytes());
        for signature in [base64(hmac::sign(&key, signed.as_bytes())), String::new()] {
            let fault = court.judge(&format!("{signed}.{signature}")).unwrap_err();
            assert_eq!(fault, TokenError::Algorithm);
        }
    }
    let curve = court.judge(&court.home.token("k1", &claims())).unwrap_err();
    assert_eq!(curve, TokenError::Algorithm, "an ES256 token by the name of an RSA key");
}

#[test]
fn headers_of_signed_tokens_are_judged_by_the_rules_of_their_kind() {
    let court = Court::new();
    let machine = |more: &str| {
        let header = format!(r#"{{"alg":"ES256","kid":"k1"{more}}}"#);
        court.judge(&court.home.token_of(&header, &claims().to_string())).map(|_| ())
    };
    let svid = |more: &str| {
        let header = format!(r#"{{"alg":"ES256","kid":"k1"{more}}}"#);
        court.judge(&court.domain.token_of(&header, &svid_claims().to_string())).map(|_| ())
    };
    let jwk = format!(r#","jwk":{}"#, court.home.jwk("k1"));
    for more in [&jwk, r#","jku":"https://evil.example""#, r#","crit":["exp"],"exp":1"#] {
        assert_eq!(machine(more), Err(TokenError::Header));
        assert_eq!(svid(more), Err(TokenError::Header));
    }
    assert_eq!(
        (machine(r#","x5t":"a""#), svid(r#","x5t":"a""#)),
        (Ok(()), Err(TokenError::Header))
    );
    let typ = r#","typ":"at+jwt""#;
    assert_eq!((machine(typ), svid(typ)), (Ok(()), Err(TokenError::Type)));
    // Without a `kid` the only key that fits is meant.
    let header = r#"{"alg":"ES256"}"#;
    assert!(court.judge(&court.home.token_of(header, &claims().to_string())).is_ok());
}

#[test]
fn payloads_are_one_strict_object() {
    let court = Court::new();
    let of = |payload: &str| {
        court.judge(&court.home.token_of(r#"{"alg":"ES256","kid":"k1"}"#, payload)).unwrap_err()
    };
    let good = claims().to_string();
    let twice = |more: &str| format!("{},{more}}}", good.strip_suffix('}').unwrap());
    for more in [r#""sub":"admin""#, r#""su\u0062":"admin""#, r#""x":{"a":1,"a":1}"#] {
        assert_eq!(of(&twice(more)), TokenError::DuplicateMember, "{more}");
    }
    let deep = twice(&format!(r#""x":{}{}"#, "[".repeat(8), "]".repeat(8)));
    for payload in
        ["", "[]", "null", good.strip_prefix('{').unwrap(), &format!("{good}{good}"), &deep]
    {
        assert_eq!(of(payload), TokenError::Malformed, "{payload}");
    }
    let huge = twice(&format!(r#""x":"{}""#, "x".repeat(16 * 1024)));
    assert_eq!(of(&huge), TokenError::TooLarge);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_kid_has_the_keys_fetched_once_and_looks_again() {
    let (turn, refetch) = refetch();
    let court = Court::asking(|_| {}, refetch);
    let next = Signer::p256();
    let token = next.token("k2", &claims());
    let both = jwks(&[court.home.jwk("k1"), next.jwk("k2")]);
    let fetch = async {
        turn.wanted().await;
        turn.begin();
        court.home_keys.publish(Some(KeySet::of_issuer(&both).unwrap()));
        turn.end(None);
    };
    let (verdict, ()) = tokio::join!(court.verifier.verify(&token, now()), fetch);
    assert!(verdict.is_ok());
    // One that is not there either is refused, at once while the issuer is left in peace.
    let stranger = next.token("k3", &claims());
    let verdict = court.verifier.verify(&stranger, now()).await;
    assert_eq!(verdict.unwrap_err(), TokenError::UnknownKey);
}

#[tokio::test(start_paused = true)]
async fn a_bad_signature_or_another_algorithm_has_nothing_fetched() {
    let (turn, refetch) = refetch();
    let court = Court::asking(|_| {}, refetch);
    let wanted = async {
        turn.wanted().await;
        panic!("keys were asked for");
    };
    let verdicts = async {
        for token in [Signer::p256().token("k1", &claims()), Signer::p384().token("k1", &claims())]
        {
            let fault = court.verifier.verify(&token, now()).await.unwrap_err();
            assert!(matches!(fault, TokenError::Signature | TokenError::Algorithm));
        }
        court.home_keys.publish(None);
        let fault = court.verifier.verify(&court.home.token("k9", &claims()), now()).await;
        assert!(fault.unwrap_err().is_ours());
    };
    tokio::select! { biased; () = verdicts => {}, () = wanted => {} }
}

#[test]
fn a_token_that_held_is_remembered_until_its_time_or_its_keys_end() {
    let court = Court::new();
    let token = court.home.token("k1", &changed(claims(), json!({"nbf": NOW - 30})));
    let first = court.judge(&token).unwrap();
    let again = court.judge_at(&token, at(NOW + 599)).unwrap();
    assert!(Arc::ptr_eq(&first, &again), "found again");

    assert_eq!(court.judge_at(&token, at(NOW + 600)).unwrap_err(), TokenError::Expired);
    assert_eq!(court.judge_at(&token, at(NOW - 61)).unwrap_err(), TokenError::NotYetValid);
    let anew = court.judge(&token).unwrap();
    assert!(!Arc::ptr_eq(&first, &anew), "judged anew");

    court.home_keys.publish(Some(keys_of(&Signer::p256())));
    assert_eq!(court.judge(&token).unwrap_err(), TokenError::Signature);
    court.home_keys.publish(None);
    assert!(court.judge(&token).unwrap_err().is_ours());
    court.home_keys.publish(Some(keys_of(&court.home)));
    assert!(court.judge(&token).is_ok());
}

#[test]
fn a_jwt_svid_is_remembered_by_the_keys_of_its_domain() {
    let court = Court::new();
    let token = court.domain.token("k1", &svid_claims());
    let first = court.judge(&token).unwrap();
    assert!(Arc::ptr_eq(&first, &court.judge(&token).unwrap()));
    // Without `iat` it is judged by what is left of its life.
    let early = court.judge_at(&token, at(NOW + 300 - 3601)).unwrap_err();
    assert_eq!(early, TokenError::Lifetime);
    court.domain_keys.publish(bundles(&[("partner.example", &court.federated)]));
    assert_eq!(court.judge(&token).unwrap_err().code(), "unknown_issuer");
}

#[test]
fn a_token_holds_on_for_as_long_as_its_key_is_among_its_issuers() {
    let court = Court::new();
    let verified = court.on(json!({})).unwrap();
    let holds = || court.verifier.still_holds(&verified);
    assert!(holds());
    let set = |keys: &[Value]| Some(KeySet::of_issuer(&jwks(keys)).unwrap());
    let ours = court.home.jwk("k1");
    let next = Signer::p256();
    court.home_keys.publish(set(&[next.jwk("k0"), ours.clone()]));
    assert!(holds(), "a rotation that keeps the old key");
    let mut described = ours.clone();
    described["use"] = "sig".into();
    described["alg"] = "ES256".into();
    court.home_keys.publish(set(&[described]));
    assert!(holds(), "the same key with more said of it");
    court.home_keys.publish(set(&[next.jwk("k0")]));
    assert!(!holds(), "the key is gone");
    court.home_keys.publish(set(&[next.jwk("k1")]));
    assert!(!holds(), "another key by the same name");
    court.home_keys.publish(set(&[court.home.jwk("k2")]));
    assert!(!holds(), "no token could name it so any more");
    court.home_keys.publish(None);
    assert!(!holds(), "the keys have grown too old");
    court.home_keys.publish(set(&[ours]));
    assert!(holds(), "it is back");
}

#[test]
fn a_key_that_may_no_longer_be_used_so_vouches_for_nothing() {
    let court = Court::new();
    let rsa = Signer::rsa();
    court.home_keys.publish(Some(keys_of(&rsa)));
    let verified = court.judge(&rsa.token("k1", &claims())).unwrap();
    assert!(court.verifier.still_holds(&verified));
    let mut bound = rsa.jwk("k1");
    bound["alg"] = "PS256".into();
    court.home_keys.publish(Some(KeySet::of_issuer(&jwks(&[bound])).unwrap()));
    assert!(!court.verifier.still_holds(&verified));
}

#[test]
fn the_keys_of_others_neither_keep_a_token_nor_end_it() {
    let court = Court::new();
    let machine = court.on(json!({})).unwrap();
    let workload = court.on_svid(json!({})).unwrap();
    let holds = || [&machine, &workload].map(|it| court.verifier.still_holds(it));
    assert_eq!(holds(), [true, true]);
    court.domain_keys.publish(bundles(&[("example.org", &court.domain)]));
    assert_eq!(holds(), [true, true], "the partner's bundle is withdrawn");
    court.domain_keys.publish(bundles(&[("partner.example", &court.domain)]));
    assert_eq!(holds(), [true, false], "its own is, whoever else has that key");
    court.domain_keys.publish(bundles(&[("example.org", &court.federated)]));
    assert_eq!(holds(), [true, false], "another key");
    court.domain_keys.publish(BTreeMap::new());
    court.home_keys.publish(None);
    assert_eq!(holds(), [false, false]);

    let issuers = Arc::clone(&court.verifier.0.trusted.issuers);
    let without = Verifier::new(Trusted { issuers, svids: None });
    assert!(!without.still_holds(&workload));
    let nobodys = Verified::unproven(Kind::Machine, &claims());
    assert!(!Court::new().verifier.still_holds(&nobodys));
}

/// Whether it wakes at once.
fn woken(changes: &mut KeyChanges) -> bool {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    std::pin::pin!(changes.changed()).poll(&mut context).is_ready()
}

#[test]
fn whoever_watches_the_keys_is_woken_by_any_that_are_published_anew() {
    let court = Court::new();
    let mut changes = court.verifier.key_changes();
    assert!(!woken(&mut changes));
    court.home_keys.publish(Some(keys_of(&court.home)));
    assert!(woken(&mut changes) && !woken(&mut changes), "once");
    court.domain_keys.publish(BTreeMap::new());
    assert!(woken(&mut changes) && !woken(&mut changes), "once");
    court.home_keys.publish(None);
    court.domain_keys.publish(BTreeMap::new());
    while woken(&mut changes) {}
    let mut later = court.verifier.key_changes();
    assert!(!woken(&mut later), "what was before is known");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_was_cancelled_misses_nothing_and_one_of_nobody_never_wakes() {
    let court = Court::new();
    let mut changes = court.verifier.key_changes();
    let moment = Duration::from_secs(1);
    assert!(tokio::time::timeout(moment, changes.changed()).await.is_err());
    court.domain_keys.publish(BTreeMap::new());
    assert!(tokio::time::timeout(moment, changes.changed()).await.is_ok());
    let publish = async {
        tokio::time::sleep(moment / 2).await;
        court.home_keys.publish(None);
    };
    let (woken, ()) = tokio::join!(tokio::time::timeout(moment, changes.changed()), publish);
    assert!(woken.is_ok(), "while it waits");

    let nobody = Verifier::new(Trusted { issuers: Arc::new([]), svids: None });
    let mut changes = nobody.key_changes();
    assert!(tokio::time::timeout(Duration::from_secs(86_400), changes.changed()).await.is_err());
}

#[test]
fn expiry_is_read_from_any_jwt_and_from_nothing_else() {
    let of = |payload: &str| expiry_of(&format!("e30.{}.", base64(payload)));
    assert_eq!(of(r#"{"exp":1800000000}"#), Some(now()));
    assert_eq!(of(r#"{"exp":1800000000.5,"x":1}"#), Some(now()));
    for payload in [r#"{"exp":"1"}"#, r#"{"exp":-1}"#, "{}", "[]", r#"{"exp":1,"exp":1}"#] {
        assert_eq!(of(payload), None, "{payload}");
    }
    for token in ["", "opaque", "a.b", "e30.e30", "e30.eyJleHAiOjF9.a.b"] {
        assert_eq!(expiry_of(token), None, "{token}");
    }
}

#[test]
fn neither_verdicts_nor_faults_show_the_token() {
    let court = Court::new();
    let token = court.home.token("k1", &changed(claims(), json!({"jti": "very-secret-id"})));
    let verified = court.judge(&token).unwrap();
    assert!(!format!("{:?}", court.verifier).contains(token.rsplit('.').next().unwrap()));
    assert!(!format!("{verified:?}").contains(token.rsplit('.').next().unwrap()));
    for changes in [json!({"aud": "secretive"}), json!({"sub": "spiffe:secretive"})] {
        let fault = court.on(changes).unwrap_err();
        assert!(!format!("{fault} {fault:?}").contains("secretive"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_token_that_was_changed_anywhere_is_refused(place in any::<prop::sample::Index>(), byte in 0x20_u8..0x7f) {
        let court = Court::new();
        let token = court.home.token("k1", &claims());
        let mut bytes = token.into_bytes();
        let place = place.index(bytes.len());
        prop_assume!(bytes[place] != byte);
        bytes[place] = byte;
        prop_assert!(court.judge(&String::from_utf8(bytes).unwrap()).is_err());
    }

    #[test]
    fn scopes_mean_the_same_as_words_and_as_a_list(words in proptest::collection::vec("[!#-\\[\\]-~]{1,8}", 0..8)) {
        let court = Court::new();
        let listed = court.on(json!({"scope": words})).unwrap();
        let joined = court.on(json!({"scope": words.join(" ")})).unwrap();
        prop_assert_eq!(listed.scopes(), joined.scopes());
        prop_assert_eq!(texts(listed.scopes()), words);
    }

    #[test]
    fn no_number_for_a_time_is_too_much(exp in any::<f64>(), iat in any::<f64>(), nbf in any::<i64>()) {
        let court = Court::new();
        // Not finite becomes `null`, which `changed` takes away.
        let verdict = court.on(json!({"exp": exp, "iat": iat, "nbf": nbf}));
        if let Ok(verified) = verdict {
            prop_assert!(verified.expires() > now());
        }
    }

    #[test]
    fn no_text_is_too_much(text in any::<String>()) {
        prop_assert!(Court::new().judge(&text).is_err());
        let _ = expiry_of(&text);
    }
}
