//! The keys of an issuer: found, followed, asked for with restraint, and kept while it is away
//! (JWT-1).

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sidegate::dev::{TokenIssuer, WebAuthority};

use crate::world::client::{Http, Reply, with_headers};
use crate::world::issuer::write_private;
use crate::world::side::{self, notes};
use crate::world::spec::Spec;
use crate::world::tokens::get_with;
use crate::world::wait::until;
use crate::world::{World, secrets};

const OTHER: &str = "https://other-issuer.example";
/// An issuer is asked out of turn no sooner than this after the last time.
const QUIET: Duration = Duration::from_secs(10);

async fn orders(say: impl FnOnce(Spec) -> Spec) -> World {
    World::new()
        .service("orders", |it| {
            say(it.route("GET", "/orders/{id}", "orders:read").grpc("test.Echo/*", "echo:call"))
        })
        .start()
        .await
}

/// By the web, where the authority of the kit vouches for the issuer.
fn by_web(it: Spec, keys: Value) -> Spec {
    it.accepts(["spiffe", "jwt"]).issuer(json!({"keys": keys, "ca": "../ca.pem"}))
}

async fn ask(connection: &mut Http, token: &str) -> Reply {
    connection.send(get_with(token, "/orders/7")).await
}

/// Waits until this token is let in.
async fn let_in(connection: &mut Http, token: &str) {
    until("the token to be let in", async || {
        (ask(connection, token).await.status() == 200).then_some(())
    })
    .await;
}

/// A token by a key that nobody has.
fn by_an_unknown_key(world: &World) -> String {
    let kid = format!("unknown-{}", fastrand::u64(..));
    let header = json!({"typ": "at+jwt", "alg": "ES256", "kid": kid});
    world.signed_with(&header, &world.all_claims("orders", "orders:read"))
}

async fn state(world: &World) -> String {
    let metrics = world.metrics("orders").await;
    let states = ["starting", "fresh", "stale", "expired"];
    let at = |state: &&&str| metrics.sum("sidegate_issuer_keys_state", &[("state", state)]) == 1.0;
    states.iter().filter(at).copied().collect()
}

#[tokio::test]
async fn keys_are_found_by_discovery() {
    let world = orders(|it| by_web(it, json!("discovery"))).await;
    let mut connection = world.without_svid("orders").http1().await;
    let_in(&mut connection, &world.token("orders", "orders:read")).await;
    assert_eq!(world.issuer().asked("/.well-known/openid-configuration"), 1);
    assert_eq!(world.issuer().asked("/jwks"), 1);
    assert_eq!(state(&world).await, "fresh");
    assert!(notes(world.service("orders").health()).await.is_empty());
}

#[tokio::test]
async fn keys_are_found_by_their_address_alone() {
    let world = orders(|it| by_web(it, json!({"url": "{issuer}/jwks"}))).await;
    let mut connection = world.without_svid("orders").http1().await;
    let_in(&mut connection, &world.token("orders", "orders:read")).await;
    assert_eq!(world.issuer().asked("/.well-known/openid-configuration"), 0);
    assert_eq!(world.issuer().asked("/jwks"), 1);
}

/// The keys come from whoever proves to be the issuer, or from nobody.
#[tokio::test]
async fn an_issuer_whose_server_is_not_vouched_for_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("another-ca.pem");
    std::fs::write(&ca, WebAuthority::new().unwrap().certificate_pem()).unwrap();
    let issuer = json!({"keys": "discovery", "ca": ca});
    let world = orders(|it| it.accepts(["spiffe", "jwt"]).issuer(issuer)).await;
    let mut connection = world.without_svid("orders").http1().await;
    let health = world.service("orders").health();
    until("the attempt to fail", async || {
        let told = side::ask(health, "/ready").await;
        told.text().contains("is not the server that it should be").then_some(())
    })
    .await;
    let reply = ask(&mut connection, &world.token("orders", "orders:read")).await;
    assert_eq!(reply.refusal(), (503, "keys_unavailable".to_owned()));
    assert_eq!(world.issuer().asked("/.well-known/openid-configuration"), 0);
    assert_eq!(world.app("orders").requests(), 0);
}

#[tokio::test]
async fn keys_in_a_file_are_followed_and_old_ones_forgotten() {
    let world = orders(|it| it.accepts(["spiffe", "jwt"])).await;
    let mut connection = world.without_svid("orders").http1().await;
    let old = world.token("orders", "orders:read");
    assert_eq!(ask(&mut connection, &old).await.status(), 200);

    world.issuer().tokens().rotate().unwrap();
    let new = world.token("orders", "orders:read");
    assert_eq!(ask(&mut connection, &new).await.status(), 401, "nobody knows the key yet");
    world.publish_keys();
    let_in(&mut connection, &new).await;
    assert_eq!(ask(&mut connection, &old).await.status(), 200);

    world.issuer().tokens().forget_old();
    world.publish_keys();
    let reply = until("the old key to be gone", async || {
        let reply = ask(&mut connection, &old).await;
        (reply.status() == 401).then_some(reply)
    })
    .await;
    let line = world.audit("orders").of(&reply).await;
    assert!(line.detail.unwrap().contains("(unknown_key)"));
    assert_eq!(ask(&mut connection, &new).await.status(), 200);
}

#[tokio::test]
async fn a_file_of_keys_that_is_none_leaves_the_last_good_ones() {
    let world = orders(|it| it.accepts(["spiffe", "jwt"])).await;
    let health = world.service("orders").health();
    let mut connection = world.without_svid("orders").http1().await;
    let with_private = {
        let mut set: Value = serde_json::from_str(&world.issuer().tokens().jwks()).unwrap();
        set["keys"][0]["d"] = json!("AQ");
        set.to_string()
    };
    for broken in ["", "{\"keys\":[]}", &with_private] {
        write_private(&world.path("jwks.json"), broken);
        until("the note", async || (notes(health).await == ["keys_stale"]).then_some(())).await;
        assert!(world.not_ready("orders").await.is_empty());
        assert_eq!(state(&world).await, "stale");
        let token = world.token("orders", "orders:read");
        assert_eq!(ask(&mut connection, &token).await.status(), 200, "{broken:?}");
        world.publish_keys();
        until("the note to go", async || notes(health).await.is_empty().then_some(())).await;
        assert_eq!(state(&world).await, "fresh");
    }
}

#[tokio::test]
async fn an_unknown_key_is_asked_for_once_however_many_name_one() {
    let began = Instant::now();
    let world = orders(|it| by_web(it, json!("discovery"))).await;
    // The first time at the start, and then one for each quiet time that has passed.
    let most = || 1 + usize::try_from(began.elapsed().as_secs() / QUIET.as_secs()).unwrap();
    let mut connection = world.without_svid("orders").http2().await;
    let_in(&mut connection, &world.token("orders", "orders:read")).await;
    assert_eq!(world.issuer().asked("/jwks"), 1);

    let flood = async || {
        let mut asking = Vec::new();
        for _ in 0..50 {
            let (token, mut connection) = (by_an_unknown_key(&world), connection.share());
            asking.push(tokio::spawn(async move { ask(&mut connection, &token).await }));
        }
        for asked in asking {
            assert_eq!(asked.await.unwrap().refusal(), (401, "invalid_token".to_owned()));
        }
    };
    flood().await;
    assert!(world.issuer().asked("/jwks") <= most());

    // Whoever has a key that is new gets in by the one question.
    world.issuer().tokens().rotate().unwrap();
    let new = world.token("orders", "orders:read");
    let_in(&mut connection.share(), &new).await;
    let asked = world.issuer().asked("/jwks");
    assert!((2..=most()).contains(&asked), "{asked} times in {:?}", began.elapsed());
    flood().await;
    assert!(world.issuer().asked("/jwks") <= most());
    assert_eq!(world.issuer().asked("/.well-known/openid-configuration"), 1);
}

#[tokio::test]
async fn the_last_good_keys_serve_while_the_issuer_is_away() {
    let world = orders(|it| by_web(it, json!("discovery"))).await;
    let health = world.service("orders").health();
    let mut connection = world.without_svid("orders").http1().await;
    let_in(&mut connection, &world.token("orders", "orders:read")).await;
    world.issuer().stop();
    // A token by a new key makes the sidecar ask, and find nobody.
    until("the issuer to be missed", async || {
        let reply = ask(&mut connection, &by_an_unknown_key(&world)).await;
        assert_eq!(reply.refusal(), (401, "invalid_token".to_owned()));
        (notes(health).await == ["keys_stale"]).then_some(())
    })
    .await;
    assert!(world.not_ready("orders").await.is_empty());
    assert_eq!(state(&world).await, "stale");
    let token = world.token("orders", "orders:read");
    assert_eq!(ask(&mut connection, &token).await.status(), 200);

    world.issuer().tokens().rotate().unwrap();
    world.issuer().back().await;
    let_in(&mut connection, &world.token("orders", "orders:read")).await;
    until("the note to go", async || notes(health).await.is_empty().then_some(())).await;
}

#[tokio::test]
async fn without_any_keys_it_is_we_who_are_not_able_until_the_issuer_comes() {
    let world = orders(|it| by_web(it, json!("discovery")).issuer_is_away()).await;
    let health = world.service("orders").health();
    assert!(world.not_ready("orders").await.is_empty(), "peers with an SVID are served");
    assert_eq!(notes(health).await, ["keys_unavailable"]);
    let token = world.token("orders", "orders:read echo:call");
    let mut connection = world.without_svid("orders").http1().await;
    let reply = ask(&mut connection, &token).await;
    assert_eq!(reply.refusal(), (503, "keys_unavailable".to_owned()));
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(reply.header("www-authenticate"), None, "the token may well be good");
    let line = world.refused("orders", "keys_unavailable", 0).await;
    let detail = format!("the keys of `{}` could not be had", world.issuer().url);
    assert_eq!(line.detail, Some(detail));
    assert_eq!(line.source.subject, None);

    let call =
        with_headers(get_with(&token, "/test.Echo/Unary"), &[("content-type", "application/grpc")]);
    let reply = world.without_svid("orders").http2().await.send(call).await;
    assert_eq!((reply.status(), reply.header("grpc-status")), (200, Some("14")));
    assert_eq!(reply.header("grpc-message"), Some("keys_unavailable"));
    let metrics = world.metrics("orders").await;
    let outcome = [("outcome", "keys_unavailable")];
    assert_eq!(metrics.sum("sidegate_requests_total", &outcome), 2.0);

    world.issuer().back().await;
    let_in(&mut connection, &token).await;
    assert!(notes(health).await.is_empty());
    assert_eq!(state(&world).await, "fresh");
}

#[tokio::test]
async fn a_service_for_tokens_alone_is_not_ready_without_keys() {
    let keys = json!({"keys": "discovery", "ca": "../ca.pem"});
    let world = orders(|it| {
        // What does not become ready is not waited for.
        it.accepts(["jwt"]).issuer(keys).issuer_is_away().agent_is_down()
    })
    .await;
    until("the reason", async || {
        (world.not_ready("orders").await == ["keys_unavailable"]).then_some(())
    })
    .await;
    world.issuer().back().await;
    world.ready("orders").await;
    let mut connection = world.without_svid("orders").http1().await;
    assert_eq!(ask(&mut connection, &world.token("orders", "orders:read")).await.status(), 200);
}

/// Keys are an issuer's own, whatever they are called.
#[tokio::test]
async fn two_issuers_with_one_kid_never_speak_for_each_other() {
    let world = orders(|it| it.accepts(["spiffe", "jwt"]).also_believes(OTHER, "other.json")).await;
    let first = world.issuer().tokens();
    let second = TokenIssuer::new(OTHER).unwrap();
    let kid = first.kid();
    let jwks = second.jwks().replace(&second.kid(), &kid);
    write_private(&world.path("orders").join("other.json"), &jwks);

    let header = json!({"typ": "at+jwt", "alg": "ES256", "kid": kid});
    let token = |signer: &TokenIssuer, name: &str| {
        let mut all = world.all_claims("orders", "orders:read");
        all["iss"] = json!(name);
        secrets::keep("a machine token", &signer.signed_with(&header, &all).unwrap())
    };
    let url = world.issuer().url.clone();
    let mut connection = world.without_svid("orders").http1().await;
    for (signer, name) in [(first, &*url), (&second, OTHER)] {
        let good = token(signer, name);
        let_in(&mut connection, &good).await;
        let seen = world.app("orders").last();
        assert_eq!(seen.header("x-sidegate-issuer"), Some(name));
    }
    for (signer, name) in [(first, OTHER), (&second, &*url)] {
        let reply = ask(&mut connection, &token(signer, name)).await;
        assert_eq!(reply.refusal(), (401, "invalid_token".to_owned()), "{name}");
        let line = world.audit("orders").of(&reply).await;
        assert!(line.detail.unwrap().contains("(signature)"));
    }
}
