//! The JWT profile against the real development agent, over a real socket.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use spiffe::TrustDomain;
use tokio::net::UnixListener;
use tokio::time::timeout;

use super::super::{AgentState, Identity, JwtBundles, JwtSvid, JwtSvidError, Settings};
use super::{HASTY, LIMIT, LONG, World, domain, id, until_state};
use crate::dev::{Authority, Workload};
use crate::identity::channel::Timing;
use crate::identity::source::start_with;

fn following(world: &World) -> Settings {
    Settings { jwt_bundles: true, ..world.settings() }
}

async fn until_bundles(
    identity: &Identity,
    wanted: impl Fn(&JwtBundles) -> bool,
) -> Arc<JwtBundles> {
    let wait = async {
        let mut changes = identity.jwt_bundles.changes();
        while !wanted(&identity.jwt_bundles.load()) {
            changes.changed().await;
        }
    };
    let waited = timeout(LIMIT, wait).await;
    let now = identity.jwt_bundles.snapshot();
    assert!(waited.is_ok(), "still waiting at {:?}", names(&now));
    now
}

fn names(bundles: &JwtBundles) -> Vec<&str> {
    bundles.keys().map(TrustDomain::as_str).collect()
}

fn keys(jwks: &[u8]) -> usize {
    let set: Value = serde_json::from_slice(jwks).unwrap();
    set["keys"].as_array().unwrap().len()
}

fn claims(svid: &JwtSvid) -> Value {
    let payload = svid.token.expose().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// An agent that answers every call with this gRPC status and nothing else.
fn mute(world: &World, status: &'static str) {
    let listener = UnixListener::bind(world.path()).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = service_fn(move |_: http::Request<Incoming>| async move {
                let response = http::Response::builder()
                    .header("content-type", "application/grpc")
                    .header("grpc-status", status)
                    .body(Empty::<Bytes>::new());
                Ok::<_, Infallible>(response.unwrap())
            });
            let served = http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), answer);
            tokio::spawn(served);
        }
    });
}

#[tokio::test]
async fn jwt_bundles_come_change_and_are_withdrawn() {
    let world = World::new();
    let [partner, stranger] =
        ["partner.example", "stranger.example"].map(|name| Authority::new(domain(name)).unwrap());
    world.api.federate(&partner);
    world.api.federate(&stranger);
    let _socket = world.serve(LONG);
    let federates_with = vec![domain("partner.example"), domain("absent.example")];
    let settings = Settings { federates_with, ..following(&world) };
    let identity = start_with(settings, HASTY).unwrap();

    let bundles = until_bundles(&identity, |it| it.len() == 2).await;
    assert_eq!(names(&bundles), ["example.org", "partner.example"]);
    let own = &bundles[&domain("example.org")];
    assert_eq!(**own, *world.api.authority().jwt_bundle().as_bytes());
    assert_eq!(keys(own), 1);

    let own = domain("example.org");
    world.api.authority().rotate().unwrap();
    until_bundles(&identity, |it| keys(&it[&own]) == 2).await;
    world.api.authority().forget_old();
    until_bundles(&identity, |it| keys(&it[&own]) == 1).await;
    world.api.defederate(&domain("partner.example"));
    let bundles = until_bundles(&identity, |it| it.len() == 1).await;
    assert_eq!(names(&bundles), ["example.org"]);
}

#[tokio::test]
async fn jwt_bundles_are_followed_only_on_request() {
    let world = World::new();
    let _socket = world.serve(LONG);
    let without = world.start();
    until_state(&without, AgentState::Fresh).await;
    let with = start_with(following(&world), HASTY).unwrap();
    until_bundles(&with, |it| it.len() == 1).await;
    assert!(without.jwt_bundles.load().is_empty());
}

#[tokio::test]
async fn while_nobody_knows_who_we_are_only_partners_by_name_are_taken() {
    let world = World::new();
    world.api.federate(&Authority::new(domain("partner.example")).unwrap());
    let _socket = world.serve(LONG);
    let settings = Settings {
        hint: Some("nobody".to_owned()),
        federates_with: vec![domain("partner.example")],
        ..following(&world)
    };
    let identity = start_with(settings, HASTY).unwrap();
    let bundles = until_bundles(&identity, |it| !it.is_empty()).await;
    assert_eq!(names(&bundles), ["partner.example"]);
}

#[tokio::test]
async fn the_configured_identity_tells_our_trust_domain_without_an_svid() {
    let world = World::new();
    let _socket = world.serve(LONG);
    let settings = Settings { spiffe_id: Some(id("/not/offered")), ..following(&world) };
    let identity = start_with(settings, HASTY).unwrap();
    until_bundles(&identity, |it| names(it) == ["example.org"]).await;
    assert!(identity.material.load().svid.is_none());
}

#[tokio::test]
async fn a_denied_workload_loses_its_jwt_bundles_and_gets_them_back() {
    let world = World::new();
    let socket = world.serve(LONG);
    let identity = start_with(following(&world), HASTY).unwrap();
    until_bundles(&identity, |it| it.len() == 1).await;
    socket.deny();
    until_bundles(&identity, JwtBundles::is_empty).await;
    socket.allow();
    until_bundles(&identity, |it| it.len() == 1).await;
}

#[tokio::test]
async fn a_denial_of_jwt_bundles_that_the_agent_takes_back_at_once_costs_nothing() {
    let world = World::new();
    let socket = world.serve(LONG);
    let patient = Timing { second_word: LIMIT, backoff_most: LIMIT, ..HASTY };
    let identity = start_with(following(&world), patient).unwrap();
    let before = until_bundles(&identity, |it| it.len() == 1).await;
    until_state(&identity, AgentState::Fresh).await;

    socket.deny_open();
    socket.until_streams(|count| count == 0).await;
    socket.allow();
    socket.until_streams(|count| count == 2).await;
    assert!(Arc::ptr_eq(&before, &identity.jwt_bundles.snapshot()), "they were there all the time");
}

#[tokio::test]
async fn jwt_bundles_outlast_their_agent_and_follow_the_next_one() {
    let world = World::new();
    let socket = world.serve(LONG);
    let identity = start_with(following(&world), HASTY).unwrap();
    let before = until_bundles(&identity, |it| it.len() == 1).await;

    socket.stop().await;
    until_state(&identity, AgentState::Stale).await;
    assert!(Arc::ptr_eq(&before, &identity.jwt_bundles.snapshot()));

    world.api.authority().rotate().unwrap();
    socket.start().unwrap();
    until_bundles(&identity, |it| keys(&it[&domain("example.org")]) == 2).await;
}

#[tokio::test]
async fn jwt_bundles_of_an_agent_that_is_gone_for_good_are_given_up() {
    let world = World::new();
    let socket = world.serve(LONG);
    let timing = Timing { bundles_max_age: Duration::from_millis(500), ..HASTY };
    let identity = start_with(following(&world), timing).unwrap();
    until_bundles(&identity, |it| it.len() == 1).await;
    socket.stop().await;
    until_bundles(&identity, JwtBundles::is_empty).await;
    socket.start().unwrap();
    until_bundles(&identity, |it| it.len() == 1).await;
}

#[tokio::test]
async fn an_agent_that_hangs_is_asked_again_for_jwt_bundles() {
    let world = World::new();
    let socket = world.serve(LONG);
    socket.hang();
    let identity = start_with(following(&world), HASTY).unwrap();
    super::until(&identity, |status, _| status.detail.is_some()).await;
    socket.allow();
    until_bundles(&identity, |it| it.len() == 1).await;
}

#[tokio::test]
async fn an_agent_without_the_jwt_profile_leaves_no_jwt_bundles() {
    for status in ["3", "12"] {
        let world = World::new();
        let socket = world.serve(LONG);
        let identity = start_with(following(&world), HASTY).unwrap();
        until_bundles(&identity, |it| it.len() == 1).await;
        socket.stop().await;
        mute(&world, status);
        until_bundles(&identity, JwtBundles::is_empty).await;

        let refused = identity.jwt_svids.fetch("billing").await.unwrap_err();
        assert!(matches!(refused, JwtSvidError::Agent(_)), "{refused}");
    }
}

#[tokio::test]
async fn a_jwt_svid_is_for_one_audience_and_new_each_time() {
    let world = World::new();
    let _socket = world.serve(LONG);
    let identity = world.start();
    let svid = identity.jwt_svids.fetch("https://billing.example").await.unwrap();
    let said = claims(&svid);
    assert_eq!(said["sub"], "spiffe://example.org/prod/orders");
    assert_eq!(said["aud"], serde_json::json!(["https://billing.example"]));
    let left = svid.expires.unwrap().duration_since(SystemTime::now()).unwrap();
    assert!((Duration::from_secs(290)..=Duration::from_secs(300)).contains(&left), "{left:?}");

    let other = identity.jwt_svids.fetch("https://billing.example").await.unwrap();
    assert_ne!(claims(&other)["jti"], said["jti"]);
    assert!(!format!("{svid:?} {:?}", identity.jwt_svids).contains(svid.token.expose()));
    assert!(identity.jwt_svids.fetch("").await.is_err());
}

#[tokio::test]
async fn of_several_jwt_svids_ours_is_chosen_as_for_certificates() {
    let world = World::new();
    let hinted = |path, hint: &str| (id(path), Some(hint.to_owned()));
    let ids = vec![(id("/a"), None), hinted("/b", "external"), hinted("/c", "external")];
    let _socket = world.api.serve(world.path(), Workload { ids, ttl: LONG }).unwrap();
    let cases = [
        (None, None, Some("/a")),
        (None, Some("external"), Some("/b")),
        (Some("/c"), Some("internal"), Some("/c")),
        (Some("/d"), None, None),
        (None, Some("internal"), None),
    ];
    for (wanted, hint, ours) in cases {
        let settings = Settings {
            spiffe_id: wanted.map(id),
            hint: hint.map(str::to_owned),
            ..world.settings()
        };
        let identity = start_with(settings, HASTY).unwrap();
        let fetched = identity.jwt_svids.fetch("billing").await.ok();
        let sub = fetched.map(|svid| claims(&svid)["sub"].as_str().unwrap().to_owned());
        assert_eq!(sub, ours.map(|path| id(path).to_string()), "{wanted:?} {hint:?}");
    }
}

#[tokio::test]
async fn a_kept_connection_is_made_anew_when_the_agent_was_restarted() {
    let world = World::new();
    let socket = world.serve(LONG);
    let identity = world.start();
    identity.jwt_svids.fetch("billing").await.unwrap();

    socket.stop().await;
    let gone = identity.jwt_svids.fetch("billing").await.unwrap_err().to_string();
    assert!(gone.starts_with("the agent gave no JWT-SVID: cannot connect to `unix:///"), "{gone}");
    socket.start().unwrap();
    identity.jwt_svids.fetch("billing").await.unwrap();

    socket.stop().await;
    socket.start().unwrap();
    identity.jwt_svids.fetch("billing").await.unwrap();
}

#[tokio::test]
async fn an_agent_that_denies_gives_no_jwt_svid_until_it_allows() {
    let world = World::new();
    let socket = world.serve(LONG);
    let identity = world.start();
    identity.jwt_svids.fetch("billing").await.unwrap();
    socket.deny();
    let refused = identity.jwt_svids.fetch("billing").await.unwrap_err();
    let why = "the agent denies permission: no identity issued";
    assert_eq!(refused.to_string(), format!("the agent gave no JWT-SVID: {why}"));
    socket.allow();
    identity.jwt_svids.fetch("billing").await.unwrap();
}

#[tokio::test]
async fn an_agent_that_hangs_is_not_waited_for_forever_by_a_fetch() {
    let world = World::new();
    let socket = world.serve(LONG);
    socket.hang();
    let timing = Timing { call: Duration::from_millis(300), ..HASTY };
    let identity = start_with(world.settings(), timing).unwrap();
    let refused = identity.jwt_svids.fetch("billing").await.unwrap_err();
    let why = "the agent gave no answer within 0.3 s";
    assert_eq!(refused.to_string(), format!("the agent gave no JWT-SVID: {why}"));
}

#[tokio::test]
async fn tokens_of_a_development_agent_are_refused_unless_accepted_by_name() {
    let world = World::new();
    let _socket = world.serve(LONG);
    let settings = Settings { danger_accept_dev_agent: false, ..world.settings() };
    let identity = start_with(settings, HASTY).unwrap();
    let refused = identity.jwt_svids.fetch("billing").await.unwrap_err().to_string();
    assert!(refused.ends_with("set identity.danger_accept_dev_agent"), "{refused}");
}

#[tokio::test]
async fn outside_spiffe_nobody_is_asked() {
    let identity = Identity::absent();
    assert_eq!(identity.status.load().state, AgentState::Absent);
    assert!(identity.jwt_bundles.load().is_empty() && identity.material.load().svid.is_none());
    let refused = identity.jwt_svids.fetch("billing").await.unwrap_err();
    assert!(matches!(refused, JwtSvidError::Absent));
}
