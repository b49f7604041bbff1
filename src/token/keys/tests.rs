//! Issuers over real TLS, and files, as the verifiers see their keys.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::*;
use crate::dev::TokenIssuer;
use crate::token::kit::{Asked, Log, Said, Server, until};
use crate::token::{Algorithm, KeysFrom, KeysState, Verifier};

const WELL_KNOWN: &str = "/.well-known/openid-configuration";

fn settings(issuer: &str, keys: KeysFrom, roots: RootsFrom) -> Issuer {
    Issuer {
        issuer: issuer.to_owned(),
        audience: vec!["orders".to_owned()],
        keys,
        roots,
        algorithms: Algorithm::ALL.to_vec(),
        max_lifetime: Duration::from_secs(3600),
        keys_max_age: Duration::from_secs(24 * 3600),
        tenants: None,
        cross_tenant_max_lifetime: None,
    }
}

/// One issuer's keys, followed.
struct Followed {
    trusted: Trusted,
    status: Live<KeysStatus>,
}

fn follow(settings: Issuer) -> Followed {
    let (trusted, mut statuses) = trust(vec![settings], None, &Identity::absent()).unwrap();
    Followed { trusted, status: statuses.remove(0) }
}

impl Followed {
    fn issuer(&self) -> &TrustedIssuer {
        &self.trusted.issuers[0]
    }

    fn count(&self) -> usize {
        (**self.issuer().keys.load()).as_ref().map_or(0, KeySet::len)
    }

    async fn until(&self, state: KeysState) -> Arc<KeysStatus> {
        until(&self.status, |it| it.state == state).await
    }

    async fn error(&self) -> String {
        let status = until(&self.status, |it| it.last_error.is_some()).await;
        status.last_error.clone().unwrap()
    }
}

fn issuer() -> TokenIssuer {
    TokenIssuer::new("https://auth.example.com").unwrap()
}

/// An issuer whose document and keys are what they should be.
fn good(base: &str, jwks: String) -> impl FnMut(&Asked) -> Said + Send + use<> {
    let document = format!(r#"{{"issuer":"{base}","jwks_uri":"{base}/keys","more":["x"]}}"#);
    move |asked| match asked.path.as_str() {
        WELL_KNOWN => Said::ok(document.clone()),
        "/keys" => Said::ok(jwks.clone()),
        _ => Said::status(404),
    }
}

fn paths(server: &Server) -> Vec<String> {
    server.asked().into_iter().map(|it| it.path).collect()
}

#[tokio::test]
async fn keys_are_found_by_discovery_and_a_strangers_key_costs_one_request() {
    let keys = issuer();
    let server = Server::start(|base| good(&base, keys.jwks())).await;
    let followed = follow(settings(&server.base, KeysFrom::Discovery, server.roots.clone()));
    let status = followed.until(KeysState::Fresh).await;
    assert_eq!((status.issuer.as_str(), followed.count()), (server.base.as_str(), 1));
    assert_eq!(paths(&server), [WELL_KNOWN, "/keys"]);
    for _ in 0..50 {
        followed.issuer().refetch.now().await;
    }
    assert_eq!(paths(&server).len(), 2, "they were fetched just now");
}

#[tokio::test]
async fn a_new_key_is_fetched_for_the_first_token_that_names_it_and_once_for_all() {
    let server = Server::start(|_base| |_asked: &Asked| Said::status(404)).await;
    let keys = TokenIssuer::new(&server.base).unwrap();
    let stranger = TokenIssuer::new(&server.base).unwrap();
    server.play(good(&server.base, keys.jwks()));
    let followed = follow(settings(&server.base, KeysFrom::Discovery, server.roots.clone()));
    followed.until(KeysState::Fresh).await;
    let verifier = Verifier::new(followed.trusted.clone());
    let now = SystemTime::now();
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({
        "sub": "batch", "aud": "orders", "exp": seconds + 600, "scope": "users:read", "tenant": "acme",
    });

    keys.rotate().unwrap();
    server.play(good(&server.base, keys.jwks()));
    let token = keys.mint(claims.clone()).unwrap();
    verifier.verify(token.expose(), now).await.unwrap_err();
    assert_eq!(paths(&server), [WELL_KNOWN, "/keys"], "they were fetched just now");

    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    tokio::time::resume();
    let strange = stranger.mint(claims).unwrap();
    let (own, strange, again) = tokio::join!(
        verifier.verify(token.expose(), now),
        verifier.verify(strange.expose(), now),
        verifier.verify(token.expose(), now),
    );
    assert_eq!(own.unwrap().subject().as_ref(), "batch");
    assert!(strange.is_err() && again.is_ok());
    assert_eq!(paths(&server), [WELL_KNOWN, "/keys", "/keys"]);
}

#[tokio::test]
async fn the_keys_may_be_on_another_host_and_the_issuer_may_have_a_path() {
    let keys = issuer();
    let jwks = keys.jwks();
    let elsewhere = Server::start(|_base| move |_asked: &Asked| Said::ok(jwks.clone())).await;
    // One file of authorities for both.
    let server = Server::start(|_base| |_asked: &Asked| Said::status(404)).await;
    let both = server.file("both.pem");
    let pem = |roots: &RootsFrom| match roots {
        RootsFrom::File(path) => fs::read_to_string(path).unwrap(),
        RootsFrom::System => panic!(),
    };
    fs::write(&both, pem(&server.roots) + &pem(&elsewhere.roots)).unwrap();
    let name = format!("{}/tenant/", server.base);
    let document = format!(r#"{{"issuer":"{name}","jwks_uri":"{}"}}"#, elsewhere.url("/jwks?v=1"));
    server.play(move |asked| match asked.path.as_str() {
        "/tenant/.well-known/openid-configuration" => Said::ok(document.clone()),
        _ => Said::status(404),
    });
    let followed = follow(settings(&name, KeysFrom::Discovery, RootsFrom::File(both)));
    followed.until(KeysState::Fresh).await;
    assert_eq!(paths(&elsewhere), ["/jwks?v=1"]);
}

#[tokio::test]
async fn a_document_of_another_issuer_or_with_plain_http_brings_no_keys() {
    let keys = issuer();
    let server = Server::start(|base| good(&base, keys.jwks())).await;
    let base = server.base.clone();
    let plain = base.replace("https", "http");
    let cases = [
        (format!(r#"{{"issuer":"{base}/","jwks_uri":"{base}/keys"}}"#), "another issuer"),
        (
            format!(r#"{{"issuer":"https://evil.example","jwks_uri":"{base}/keys"}}"#),
            "evil.example",
        ),
        (format!(r#"{{"issuer":"{base}","jwks_uri":"{plain}/keys"}}"#), "`https://`"),
        (format!(r#"{{"issuer":"{base}"}}"#), "no `jwks_uri`"),
        ("x".repeat(300 * 1024), "larger than"),
    ];
    for (document, wanted) in cases {
        server.play(move |_| Said::ok(document.clone()));
        let followed = follow(settings(&base, KeysFrom::Discovery, server.roots.clone()));
        let error = followed.error().await;
        assert!(error.contains(wanted), "{error}");
        assert!(error.len() < 400, "{error}");
        assert_eq!((followed.status.load().state, followed.count()), (KeysState::Starting, 0));
    }
    assert!(paths(&server).iter().all(|it| it == WELL_KNOWN), "{:?}", paths(&server));
}

#[tokio::test]
async fn a_redirect_a_refusal_and_too_much_bring_no_keys() {
    let keys = issuer();
    let server = Server::start(|_base| |_asked: &Asked| Said::status(500)).await;
    let to = server.url("/keys").to_string();
    let jwks = keys.jwks();
    let redirect = move |asked: &Asked| match asked.path.as_str() {
        "/keys" => Said::ok(jwks.clone()),
        _ => Said::status(302).with("location", to.clone()),
    };
    let followed = |server: &Server| {
        let url = KeysFrom::Url(server.url("/moved"));
        follow(settings("https://auth.example.com", url, server.roots.clone()))
    };
    assert!(followed(&server).error().await.contains("status 500"));
    server.play(redirect);
    assert!(followed(&server).error().await.contains("redirects are not followed"));
    let padded = format!("{}{}", " ".repeat(257 * 1024), keys.jwks());
    server.play(move |_| Said::ok(padded.clone()));
    assert!(followed(&server).error().await.contains("larger than 262144 bytes"));
    assert!(!paths(&server).contains(&"/keys".to_owned()));
}

#[tokio::test]
async fn a_server_that_cannot_prove_its_name_brings_no_keys() {
    let keys = issuer();
    let server = Server::start(|base| good(&base, keys.jwks())).await;
    let other = Server::start(|_base| |_asked: &Asked| Said::status(404)).await;
    let followed = follow(settings(&server.base, KeysFrom::Discovery, other.roots.clone()));
    let error = followed.error().await;
    assert!(error.contains("is not the server"), "{error}");
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn an_outage_over_the_wire_is_lived_through_and_ends_in_no_keys() {
    let log = Log::listen();
    let keys = issuer();
    let server = Server::start(|base| good(&base, keys.jwks())).await;
    let mut settings = settings(&server.base, KeysFrom::Discovery, server.roots.clone());
    settings.keys_max_age = Duration::from_secs(4);
    let followed = follow(settings);
    followed.until(KeysState::Fresh).await;
    server.play(|_| Said::status(503));
    let stale = followed.until(KeysState::Stale).await;
    assert!(stale.last_error.as_deref().unwrap().contains("status 503"), "{stale:?}");
    assert_eq!(followed.count(), 1);
    followed.until(KeysState::Expired).await;
    assert_eq!(followed.count(), 0);
    keys.rotate().unwrap();
    server.play(good(&server.base, keys.jwks()));
    followed.until(KeysState::Fresh).await;
    assert_eq!(followed.count(), 2);
    let counts = (log.count("INFO"), log.count("WARN"), log.count("ERROR"));
    assert_eq!(counts, (2, 1, 1), "{}", log.text());
}

#[tokio::test]
async fn a_file_of_keys_is_followed_through_the_swap_of_its_volume() {
    let folder = tempfile::tempdir().unwrap();
    let keys = issuer();
    let mount = |version: &str, jwks: &str| {
        let data = folder.path().join(version);
        fs::create_dir(&data).unwrap();
        fs::write(data.join("jwks.json"), jwks).unwrap();
        let next = folder.path().join("..data_tmp");
        symlink(version, &next).unwrap();
        fs::rename(next, folder.path().join("..data")).unwrap();
    };
    mount("..1", &keys.jwks());
    let path = folder.path().join("jwks.json");
    symlink("..data/jwks.json", &path).unwrap();
    // Nobody is asked, so no authorities are needed.
    let roots = RootsFrom::File("/nowhere/ca.pem".into());
    let followed = follow(settings("machines", KeysFrom::File(path.clone()), roots));
    followed.until(KeysState::Fresh).await;
    assert_eq!(followed.count(), 1);

    keys.rotate().unwrap();
    mount("..2", &keys.jwks());
    until(&followed.issuer().keys, |it| it.as_ref().is_some_and(|it| it.len() == 2)).await;

    mount("..3", "{}");
    let stale = followed.until(KeysState::Stale).await;
    assert!(stale.last_error.is_some());
    fs::remove_file(&path).unwrap();
    let gone = |it: &KeysStatus| it.last_error.as_ref().is_some_and(|it| it.contains("be read"));
    until(&followed.status, gone).await;
    assert_eq!(followed.count(), 2, "the last good ones serve");
}

#[tokio::test]
async fn each_issuer_has_its_own_keys_and_state() {
    let (one, two) = (issuer(), issuer());
    two.rotate().unwrap();
    let first = Server::start(|base| good(&base, one.jwks())).await;
    let second = Server::start(|base| good(&base, two.jwks())).await;
    let third = Server::start(|_base| |_asked: &Asked| Said::status(500)).await;
    let all = [&first, &second, &third]
        .map(|it| settings(&it.base, KeysFrom::Discovery, it.roots.clone()));
    let (trusted, statuses) = trust(all.to_vec(), None, &Identity::absent()).unwrap();
    until(&statuses[0], |it| it.state == KeysState::Fresh).await;
    until(&statuses[1], |it| it.state == KeysState::Fresh).await;
    until(&statuses[2], |it| it.failures > 0).await;
    let counts: Vec<_> =
        trusted.issuers.iter().map(|it| (**it.keys.load()).as_ref().map(KeySet::len)).collect();
    assert_eq!(counts, [Some(1), Some(2), None]);
    assert!(trusted.svids.is_none());
}

#[tokio::test]
async fn authorities_that_cannot_be_read_are_an_error_at_once() {
    let roots = RootsFrom::File("/nowhere/ca.pem".into());
    let settings = settings("https://auth.example.com", KeysFrom::Discovery, roots);
    let refused = trust(vec![settings], None, &Identity::absent());
    assert!(refused.unwrap_err().to_string().contains("/nowhere/ca.pem"));
}
