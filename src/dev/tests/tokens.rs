//! JWT-SVIDs, machine tokens and server certificates as a stranger meets them.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use serde_json::{Value, json};
use tonic::{Code, Response};

use super::*;
use crate::dev::{DEV_KEY_PREFIX, TokenIssuer, WebAuthority};
use crate::workload_api::pb::google::protobuf::value::Kind;
use crate::workload_api::pb::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use crate::workload_api::pb::{
    JwtBundlesRequest, Jwtsvid, JwtsvidRequest, ValidateJwtsvidRequest, ValidateJwtsvidResponse,
};

async fn caller(path: &Path) -> SpiffeWorkloadApiClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("unix://{}", path.display())).unwrap();
    SpiffeWorkloadApiClient::new(endpoint.connect().await.unwrap())
}

async fn svids(path: &Path, audience: &[&str], only: &str) -> Result<Vec<Jwtsvid>, Code> {
    let audience = audience.iter().copied().map(str::to_owned).collect();
    let request = JwtsvidRequest { audience, spiffe_id: only.to_owned() };
    let answer = caller(path).await.fetch_jwtsvid(asked(request, Some("true"))).await;
    answer.map(|it| it.into_inner().svids).map_err(|status| status.code())
}

async fn judged(path: &Path, audience: &str, svid: &str) -> Result<ValidateJwtsvidResponse, Code> {
    let request = ValidateJwtsvidRequest { audience: audience.to_owned(), svid: svid.to_owned() };
    let answer = caller(path).await.validate_jwtsvid(asked(request, Some("true"))).await;
    answer.map(Response::into_inner).map_err(|status| status.code())
}

fn part(token: &str, position: usize) -> Value {
    let text = token.split('.').nth(position).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

/// As anybody would who has nothing but the set.
fn verifies(jwks: &str, token: &str) -> bool {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let set: Value = serde_json::from_str(jwks).unwrap();
    set["keys"].as_array().unwrap().iter().any(|key| {
        let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
        let point = [vec![4], coordinate("x"), coordinate("y")].concat();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        key["kid"] == part(token, 0)["kid"] && public.verify(signed.as_bytes(), &signature).is_ok()
    })
}

#[tokio::test]
async fn a_jwt_svid_is_to_the_letter_of_the_standard() {
    let folder = tempfile::tempdir().unwrap();
    let api = WorkloadApi::new(authority("example.org"));
    let socket = api.serve(folder.path().join("s"), orders()).unwrap();
    let svids = svids(socket.path(), &["billing", "ledger"], "").await.unwrap();
    assert_eq!((svids.len(), svids[0].spiffe_id.as_str()), (1, "spiffe://example.org/orders"));

    let token = &svids[0].svid;
    let header = part(token, 0);
    let kid = header["kid"].as_str().unwrap();
    assert!(kid.starts_with(DEV_KEY_PREFIX));
    assert_eq!(header, json!({ "alg": "ES256", "kid": kid, "typ": "JWT" }));
    let claims = part(token, 1);
    assert_eq!(claims["sub"], "spiffe://example.org/orders");
    assert_eq!(claims["aud"], json!(["billing", "ledger"]));
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 300);
    assert_eq!(claims["jti"].as_str().unwrap().len(), 32);

    let bundle = api.authority().jwt_bundle();
    assert!(verifies(&bundle, token));
    let key = &serde_json::from_str::<Value>(&bundle).unwrap()["keys"][0];
    assert_eq!(
        (&key["use"], &key["kty"], &key["crv"]),
        (&json!("jwt-svid"), &json!("EC"), &json!("P-256"))
    );
    assert!(key.get("d").is_none(), "a public key");
}

#[tokio::test]
async fn a_jwt_svid_lives_no_longer_than_the_svids_of_its_workload() {
    let folder = tempfile::tempdir().unwrap();
    let api = WorkloadApi::new(authority("example.org"));
    let socket = api.serve(folder.path().join("s"), orders()).unwrap();
    socket.set_ttl(Duration::from_secs(20));
    let claims = part(&svids(socket.path(), &["billing"], "").await.unwrap()[0].svid, 1);
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 20);
}

#[tokio::test]
async fn a_jwt_svid_needs_an_audience_and_an_identity_of_the_workload() {
    let folder = tempfile::tempdir().unwrap();
    let api = WorkloadApi::new(authority("example.org"));
    let ids = ["a", "b"].map(|name| (id(&format!("spiffe://example.org/{name}")), None));
    let workload = Workload { ids: ids.into(), ttl: TTL };
    let socket = api.serve(folder.path().join("s"), workload).unwrap();
    let path = socket.path();
    let refused = [
        (&[][..], "", Code::InvalidArgument),
        (&["x", ""], "", Code::InvalidArgument),
        (&["x"], "spiffe://example.org/c", Code::PermissionDenied),
    ];
    for (audience, only, code) in refused {
        assert_eq!(svids(path, audience, only).await.err(), Some(code), "{audience:?} {only}");
    }
    assert_eq!(svids(path, &["x"], "").await.unwrap().len(), 2);
    let b = svids(path, &["x"], "spiffe://example.org/b").await.unwrap();
    assert_eq!((b.len(), b[0].spiffe_id.as_str()), (1, "spiffe://example.org/b"));

    socket.deny();
    assert_eq!(svids(path, &["x"], "").await.err(), Some(Code::PermissionDenied));
    assert_eq!(judged(path, "x", &b[0].svid).await.unwrap_err(), Code::PermissionDenied);
}

#[tokio::test]
async fn jwt_bundles_are_streamed_by_trust_domain() {
    let folder = tempfile::tempdir().unwrap();
    let api = WorkloadApi::new(authority("example.org"));
    let partner = authority("partner.example");
    api.federate(&partner);
    let socket = api.serve(folder.path().join("s"), orders()).unwrap();
    let token = svids(socket.path(), &["x"], "").await.unwrap().remove(0).svid;

    let request = asked(JwtBundlesRequest {}, Some("true"));
    let mut client = caller(socket.path()).await;
    let mut stream = client.fetch_jwt_bundles(request).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap().bundles;
    let names: Vec<_> = first.keys().map(String::as_str).collect();
    assert_eq!(names, ["spiffe://example.org", "spiffe://partner.example"]);
    assert_eq!(first["spiffe://partner.example"], partner.jwt_bundle().into_bytes());

    let mut next = async || {
        let mut bundles = stream.message().await.unwrap().unwrap().bundles;
        String::from_utf8(bundles.remove("spiffe://example.org").unwrap()).unwrap()
    };
    api.authority().rotate().unwrap();
    assert!(verifies(&next().await, &token), "the old key stays");
    api.authority().forget_old();
    assert!(!verifies(&next().await, &token), "until it is forgotten");

    socket.deny();
    assert_eq!(stream.message().await.unwrap_err().code(), Code::PermissionDenied);
}

#[tokio::test]
async fn the_agent_judges_tokens_by_the_bundle_of_their_trust_domain() {
    let folder = tempfile::tempdir().unwrap();
    let api = WorkloadApi::new(authority("example.org"));
    let [partner, stranger] = ["partner.example", "stranger.example"].map(authority);
    api.federate(&partner);
    let socket = api.serve(folder.path().join("s"), orders()).unwrap();
    let path = socket.path();
    let now = SystemTime::now();
    let issue = |by: &Authority, now| {
        let workload = id(&format!("spiffe://{}/a", by.trust_domain()));
        by.issue_jwt(&workload, &["x".to_owned()], now, TTL).unwrap()
    };
    for by in [api.authority(), &partner] {
        let answer = judged(path, "x", issue(by, now).expose()).await.unwrap();
        assert_eq!(answer.spiffe_id, format!("spiffe://{}/a", by.trust_domain()));
        let claims = answer.claims.unwrap().fields;
        let sub = Kind::StringValue(answer.spiffe_id);
        assert_eq!(claims["sub"].kind, Some(sub));
        assert!(matches!(claims["exp"].kind, Some(Kind::NumberValue(exp)) if exp > 1.7e9));
        assert!(matches!(&claims["aud"].kind, Some(Kind::ListValue(it)) if it.values.len() == 1));
    }

    let good = issue(api.authority(), now);
    let (signed, signature) = good.expose().rsplit_once('.').unwrap();
    let other = issue(api.authority(), now);
    let other = other.expose().rsplit_once('.').unwrap().0;
    let past = issue(api.authority(), now - Duration::from_secs(301));
    let foreign = issue(&stranger, now);
    let refused = [
        ("y", good.expose()),
        ("", good.expose()),
        ("x", signed),
        ("x", &format!("{other}.{signature}")),
        ("x", past.expose()),
        ("x", foreign.expose()),
        ("x", ""),
    ];
    for (audience, token) in refused {
        let code = judged(path, audience, token).await.unwrap_err();
        assert_eq!(code, Code::InvalidArgument, "{audience}");
    }
}

#[test]
fn a_token_issuer_adds_what_is_missing_and_no_more() {
    let issuer = TokenIssuer::new("https://auth.test").unwrap();
    let token = issuer.mint(json!({ "sub": "a", "exp": 7 })).unwrap();
    let header = json!({ "typ": "at+jwt", "alg": "ES256", "kid": issuer.kid() });
    assert_eq!(part(token.expose(), 0), header);
    let claims = part(token.expose(), 1);
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!("https://auth.test"), &json!("a")));
    assert!(claims["iat"].is_u64() && claims["jti"].is_string());
    assert_eq!(claims["exp"], 7);

    let given = json!({ "iss": "other", "iat": 1, "jti": null });
    assert_eq!(part(issuer.mint(given.clone()).unwrap().expose(), 1), given);
    assert!(matches!(issuer.mint(json!([])), Err(DevError::Claims)));
    let jtis = [1, 2].map(|_| part(issuer.mint(json!({})).unwrap().expose(), 1)["jti"].clone());
    assert_ne!(jtis[0], jtis[1]);
}

#[test]
fn a_token_issuer_signs_lies_as_they_are() {
    let issuer = TokenIssuer::new("https://auth.test").unwrap();
    let (header, claims) = (json!({ "alg": "none", "kid": issuer.kid() }), json!(["x"]));
    let token = issuer.signed_with(&header, &claims).unwrap();
    assert_eq!((part(token.expose(), 0), part(token.expose(), 1)), (header, claims));
    assert!(verifies(&issuer.jwks(), token.expose()));
    let twice = issuer.signed_texts("{}", r#"{"a":1,"a":2}"#).unwrap();
    let payload = twice.expose().split('.').nth(1).unwrap();
    assert_eq!(URL_SAFE_NO_PAD.decode(payload).unwrap(), br#"{"a":1,"a":2}"#);
}

#[test]
fn keys_of_a_token_issuer_change_and_old_ones_stay_until_forgotten() {
    let issuer = TokenIssuer::new("https://auth.test").unwrap();
    let old = issuer.mint(json!({})).unwrap();
    assert!(verifies(&issuer.jwks(), old.expose()));
    assert!(!verifies(&TokenIssuer::new("https://auth.test").unwrap().jwks(), old.expose()));
    issuer.rotate().unwrap();
    let new = issuer.mint(json!({})).unwrap();
    assert_ne!(part(old.expose(), 0)["kid"], part(new.expose(), 0)["kid"]);
    assert!(verifies(&issuer.jwks(), old.expose()) && verifies(&issuer.jwks(), new.expose()));
    issuer.forget_old();
    assert!(!verifies(&issuer.jwks(), old.expose()) && verifies(&issuer.jwks(), new.expose()));
    assert_eq!(format!("{issuer:?}"), r#"TokenIssuer { issuer: "https://auth.test", .. }"#);
}

#[test]
fn a_web_certificate_is_for_its_names_and_for_servers_only() {
    let authority = WebAuthority::new().unwrap();
    let (chain, key) = authority.issue(&["billing.test", "127.0.0.1"], TTL).unwrap();
    let leaf = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
    let root = CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).unwrap();
    PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).unwrap();

    let leaf = webpki::EndEntityCert::try_from(&leaf).unwrap();
    let anchors = [webpki::anchor_from_trusted_cert(&root).unwrap()];
    let now =
        |later| UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs()) + later);
    let holds = |usage: webpki::KeyUsage, at| {
        let algorithms = webpki::ALL_VERIFICATION_ALGS;
        leaf.verify_for_usage(algorithms, &anchors, &[], at, usage, None, None).is_ok()
    };
    assert!(holds(webpki::KeyUsage::server_auth(), now(Duration::ZERO)));
    assert!(!holds(webpki::KeyUsage::client_auth(), now(Duration::ZERO)));
    assert!(!holds(webpki::KeyUsage::server_auth(), now(TTL + Duration::from_secs(2))));
    for (name, wanted) in [("billing.test", true), ("127.0.0.1", true), ("other.test", false)] {
        let name = ServerName::try_from(name).unwrap();
        assert_eq!(leaf.verify_is_valid_for_subject_name(&name).is_ok(), wanted, "{name:?}");
    }
    assert!(authority.issue(&["not a name\u{e9}"], TTL).is_err());
    assert!(!format!("{authority:?}").contains("key"));
}
