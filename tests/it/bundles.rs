//! Policies that come in OPA bundles: from a server, from what was kept of it, from a file.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sidegate::dev::TokenIssuer;

use crate::world::World;
use crate::world::bundle::{Bundle, public_pem};
use crate::world::bundle_server::BundleServer;
use crate::world::client::Http;
use crate::world::issuer::write_private;
use crate::world::secrets;
use crate::world::side::ask;
use crate::world::wait::{holds, until};

const SHOP: &str = "spiffe://example.org/prod/shop";
const READ: &[&str] = &["orders:read"];
const DOWNLOADS: &str = "sidegate_bundle_downloads_total";
const TOKEN: &str = "a-token-for-the-bundle-server-2026";

/// `bundle`, signed by the server's signer and asked for every second.
fn bundle(server: &BundleServer, more: Value) -> Value {
    let mut bundle = json!({
        "url": server.url(),
        "ca": server.ca(),
        "signed_by": {"key": server.key(), "algorithm": "ES256"},
        "poll": {"every": "1s"},
    });
    bundle.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "bundle": bundle })
}

async fn orders(policy: Value) -> World {
    let world = World::new()
        .service("orders", |it| it.route("GET", "/**", "orders:read").policy_by(policy));
    world.start().await
}

/// The same before there is a policy.
async fn orders_without_policy(policy: Value) -> World {
    let world = World::new().service("orders", |it| {
        it.route("GET", "/**", "orders:read").policy_by(policy).policy_is_away()
    });
    world.start().await
}

async fn shop(world: &World) -> Http {
    world.as_peer(SHOP, "orders").http1().await
}

async fn status(world: &World) -> u16 {
    shop(world).await.get("/orders/7").await.status()
}

async fn answers(connection: &mut Http, status: u16) -> Duration {
    let began = Instant::now();
    until(&format!("the answer {status}"), async || {
        (connection.get("/orders/7").await.status() == status).then_some(())
    })
    .await;
    began.elapsed()
}

async fn downloads(world: &World, result: &str) -> f64 {
    world.metrics("orders").await.sum(DOWNLOADS, &[("bundle", "policy"), ("result", result)])
}

async fn downloaded(world: &World, result: &str, times: f64) {
    let what = format!("{times} downloads to be {result}");
    until(&what, async || (downloads(world, result).await >= times).then_some(())).await;
}

/// What the probe says, reasons and notes.
async fn ready(world: &World) -> String {
    ask(world.service("orders").health(), "/ready").await.text().to_owned()
}

#[tokio::test]
async fn a_signed_bundle_is_in_force_and_a_newer_one_with_the_next_poll() {
    let server = BundleServer::start().await;
    let one = Bundle::granting(SHOP, READ).revision("v1").signed(&server.signer);
    server.publish(one.packed(), "one");
    let world = orders(bundle(&server, json!({}))).await;
    let mut connection = shop(&world).await;
    assert_eq!(connection.get("/orders/7").await.status(), 200);
    let before = world.metrics("orders").await.revision();

    server.answers(304, 2).await;
    assert_eq!(server.answered(200), 1, "it is fetched once: {:?}", server.asked());
    assert_eq!(server.asked().last().unwrap().known.as_deref(), Some("\"one\""));
    assert_eq!(server.asked()[0].prefer.as_deref(), Some("modes=snapshot"));

    let two = Bundle::granting(SHOP, &[]).revision("v2").signed(&server.signer);
    server.publish(two.packed(), "two");
    let took = answers(&mut connection, 403).await;
    assert!(took < Duration::from_millis(2_500), "a poll and a second: {took:?}");
    let metrics = world.metrics("orders").await;
    assert_ne!(metrics.revision(), before);
    assert_eq!(downloads(&world, "activated").await, 2.0);
    assert!(metrics.has("sidegate_bundle_last_success_timestamp_seconds"));
    assert!(metrics.has("sidegate_bundle_activated_timestamp_seconds"));
}

#[tokio::test]
async fn the_program_itself_examines_bundles_and_those_that_pass_come_into_force() {
    let server = BundleServer::start().await;
    let one = Bundle::granting(SHOP, READ).revision("v1").signed(&server.signer);
    server.publish(one.packed(), "one");
    let policy = bundle(&server, json!({}));
    let world = World::new().service("orders", |it| {
        it.route("GET", "/**", "orders:read").policy_by(policy).examined_apart()
    });
    let world = world.start().await;
    let mut connection = shop(&world).await;
    assert_eq!(connection.get("/orders/7").await.status(), 200);

    // Its own test fails, so it is not in force.
    let failing = "package sidegate.global_test\n\ntest_nothing if {\n\t1 == 2\n}\n";
    let bad = Bundle::granting(SHOP, &[]).file("/global_test.rego", failing);
    server.publish(bad.signed(&server.signer).packed(), "bad");
    downloaded(&world, "refused", 1.0).await;
    assert_eq!(connection.get("/orders/7").await.status(), 200);

    let two = Bundle::granting(SHOP, &[]).revision("v2").signed(&server.signer);
    server.publish(two.packed(), "two");
    answers(&mut connection, 403).await;
}

#[tokio::test]
async fn a_server_that_can_wait_tells_news_at_once() {
    let server = BundleServer::start().await;
    server.can_wait();
    let one = Bundle::granting(SHOP, READ).signed(&server.signer);
    server.publish(one.packed(), "one");
    let policy = bundle(&server, json!({"long_poll": "60s", "poll": {"every": "24h"}}));
    let world = orders(policy).await;
    let mut connection = shop(&world).await;
    assert_eq!(connection.get("/orders/7").await.status(), 200);
    assert_eq!(server.asked()[0].prefer.as_deref(), Some("modes=snapshot;wait=60"));

    let two = Bundle::granting(SHOP, &[]).signed(&server.signer);
    server.publish(two.packed(), "two");
    // Twice, so that one of them met a request that was waiting.
    answers(&mut connection, 403).await;
    server.publish(one.packed(), "three");
    let took = answers(&mut connection, 200).await;
    assert!(took < Duration::from_millis(2_500), "a second at most before it waits: {took:?}");
    assert_eq!(server.answered(304), 0);
}

/// Everything that may be wrong with an archive, each with a word of why.
fn hostile(signer: &TokenIssuer) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let good = || Bundle::granting(SHOP, &[]);
    let signed = || good().signed(signer);
    let stranger = TokenIssuer::new("bundles").unwrap();
    let truncated = {
        let packed = signed().packed();
        packed[..packed.len() / 2].to_vec()
    };
    let symmetric = json!({"alg": "HS256", "typ": "JWT"});
    let none = json!({"alg": "none"});
    let filler = "0".repeat(64 * 1024 * 1024);
    vec![
        ("unsigned", good().packed(), "not signed"),
        ("another key", good().signed(&stranger).packed(), "signature does not hold"),
        ("HS256", good().signed_with(signer, &symmetric).packed(), "algorithm"),
        ("none", good().signed_with(signer, &none).packed(), "algorithm"),
        (
            "tampered",
            signed().file("/data.json", "{\"identities\": {}}").packed(),
            "`data.json` is not what was signed",
        ),
        (
            "one more file",
            signed().file("/sidegate/more.rego", "package sidegate.more").packed(),
            "`sidegate/more.rego` is not covered",
        ),
        ("one file less", signed().without("/data.json").packed(), "`data.json` is covered"),
        ("cut short", truncated, "broken or cut short"),
        ("a way out", good().file("../../x.rego", "").signed(signer).packed(), "`../../x.rego`"),
        ("a bomb", good().file("filler", &filler).packed(), "out of all proportion"),
        (
            "outside its roots",
            good().manifest(json!({"roots": ["sidegate"]})).signed(signer).packed(),
            "outside the roots",
        ),
        (
            "broken Rego",
            good()
                .file("/sidegate/global.rego", "package sidegate.global\n\ngrant := {")
                .signed(signer)
                .packed(),
            "sidegate/global.rego",
        ),
    ]
}

#[tokio::test]
async fn a_bundle_that_is_refused_changes_nothing_and_is_not_fetched_again() {
    let server = BundleServer::start().await;
    let one = Bundle::granting(SHOP, READ).signed(&server.signer);
    server.publish(one.packed(), "one");
    let world = orders(bundle(&server, json!({}))).await;
    let mut connection = shop(&world).await;
    let before = world.metrics("orders").await.revision();
    for (count, (what, packed, why)) in hostile(&server.signer).into_iter().enumerate() {
        server.publish(packed, what);
        downloaded(&world, "refused", (count + 1) as f64).await;
        assert_eq!(connection.get("/orders/7").await.status(), 200, "{what}");
        assert_eq!(world.metrics("orders").await.revision(), before, "{what}");
        assert_eq!(world.not_ready("orders").await, [""; 0], "{what}: the old one is as good");
        let said = ready(&world).await;
        assert!(said.contains(why), "{what}: {said}");
    }
    // It is known by its tag from now on.
    let fetched = server.answered(200);
    server.answers(304, 2).await;
    assert_eq!(server.answered(200), fetched);

    let two = Bundle::granting(SHOP, &[]).signed(&server.signer);
    server.publish(two.packed(), "two");
    answers(&mut connection, 403).await;
}

#[tokio::test]
async fn a_bundle_that_comes_back_is_in_force_again() {
    let server = BundleServer::start().await;
    let one = Bundle::granting(SHOP, READ).signed(&server.signer);
    server.publish(one.packed(), "one");
    let world = orders(bundle(&server, json!({}))).await;
    server.publish(Bundle::granting(SHOP, &[]).packed(), "unsigned");
    downloaded(&world, "refused", 1.0).await;
    server.publish(one.packed(), "one again");
    downloaded(&world, "activated", 2.0).await;
    assert_eq!(status(&world).await, 200);
}

#[tokio::test]
async fn a_download_that_breaks_off_or_is_too_large_changes_nothing() {
    let server = BundleServer::start().await;
    let one = Bundle::granting(SHOP, READ).signed(&server.signer);
    server.publish(one.packed(), "one");
    let world = orders(bundle(&server, json!({}))).await;

    server.breaks_off();
    downloaded(&world, "failed", 1.0).await;
    server.publish(vec![0; 32 * 1024 * 1024 + 1], "too large");
    downloaded(&world, "failed", 2.0).await;
    for (count, code) in [(3.0, 302), (4.0, 500)] {
        server.answers_with(Some(code));
        downloaded(&world, "failed", count).await;
    }
    assert_eq!(status(&world).await, 200);
    assert_eq!(world.not_ready("orders").await, [""; 0]);

    server.publish(Bundle::granting(SHOP, &[]).signed(&server.signer).packed(), "two");
    answers(&mut shop(&world).await, 403).await;
}

#[tokio::test]
async fn without_server_and_kept_bundle_everybody_is_refused_until_the_server_is_there() {
    let server = BundleServer::start().await;
    server.stop();
    let keep = server.path("keep");
    std::fs::create_dir(&keep).unwrap();
    let world = orders_without_policy(bundle(&server, json!({"keep": keep}))).await;
    until("the missing policy to be told", async || {
        let reasons = world.not_ready("orders").await;
        (reasons == ["policy_missing"]).then_some(())
    })
    .await;
    let mut connection = shop(&world).await;
    assert_eq!(connection.get("/orders/7").await.refusal(), (403, "policy_error".to_owned()));

    let one = Bundle::granting(SHOP, READ).signed(&server.signer);
    server.publish(one.packed(), "one");
    server.back().await;
    answers(&mut connection, 200).await;
    world.ready("orders").await;
}

#[tokio::test]
async fn a_start_without_the_server_uses_the_bundle_that_was_kept() {
    let server = BundleServer::start().await;
    let keep = server.path("keep");
    std::fs::create_dir(&keep).unwrap();
    let policy = bundle(&server, json!({"keep": keep}));
    let one = Bundle::granting(SHOP, READ).signed(&server.signer);
    server.publish(one.packed(), "one");
    let world = orders(policy.clone()).await;
    let kept = keep.join("policy.tar.gz");
    holds("the bundle to be kept", || kept.exists()).await;
    // What is refused is not kept.
    server.publish(Bundle::granting(SHOP, &[]).packed(), "unsigned");
    downloaded(&world, "refused", 1.0).await;
    drop(world);
    assert_eq!(std::fs::read(&kept).unwrap(), one.packed());
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);

    server.stop();
    let world = orders(policy.clone()).await;
    assert_eq!(status(&world).await, 200);
    drop(world);

    // It is believed no more than what comes from the server.
    std::fs::write(&kept, Bundle::granting(SHOP, READ).packed()).unwrap();
    let world = orders_without_policy(policy).await;
    downloaded(&world, "failed", 1.0).await;
    assert_eq!(status(&world).await, 403);
    assert_eq!(world.not_ready("orders").await, ["policy_missing"]);
}

#[tokio::test]
async fn the_token_is_shown_to_the_bundle_server_and_to_nobody_who_only_says_so() {
    let server = BundleServer::start().await;
    let token = server.path("token");
    let text =
        secrets::keep("a bundle server's token", &sidegate::secret::Secret::new(TOKEN.into()));
    write_private(&token, &text);
    let one = Bundle::granting(SHOP, READ).signed(&server.signer);
    server.publish(one.packed(), "one");

    let stranger = BundleServer::start().await;
    let policy = bundle(&server, json!({"token_file": token, "ca": stranger.ca()}));
    let world = orders_without_policy(policy).await;
    downloaded(&world, "failed", 1.0).await;
    assert!(server.asked().is_empty(), "nothing was sent: {:?}", server.asked());
    drop(world);

    let world = orders(bundle(&server, json!({"token_file": token}))).await;
    let shown = server.asked()[0].authorization.clone();
    assert_eq!(shown, Some(format!("Bearer {TOKEN}")));
    std::fs::remove_file(&token).unwrap();
    downloaded(&world, "failed", 1.0).await;
    assert_eq!(status(&world).await, 200);
}

#[tokio::test]
async fn keys_from_a_set_over_https_may_change() {
    let server = BundleServer::start().await;
    server.publish(Bundle::granting(SHOP, READ).signed(&server.signer).packed(), "one");
    let by_set = json!({"jwks": server.keys_url(), "ca": server.ca()});
    let world = orders(bundle(&server, json!({"signed_by": by_set}))).await;
    assert_eq!(status(&world).await, 200);

    server.signer.rotate().unwrap();
    server.signer.forget_old();
    server.publish(Bundle::granting(SHOP, &[]).signed(&server.signer).packed(), "two");
    downloaded(&world, "refused", 1.0).await;
    assert_eq!(status(&world).await, 200, "nobody knows the new key yet");
    server.publish_keys(&server.signer.jwks());
    answers(&mut shop(&world).await, 403).await;
}

#[tokio::test]
async fn a_key_file_that_changes_lets_in_what_was_refused() {
    let server = BundleServer::start().await;
    server.publish(Bundle::granting(SHOP, READ).signed(&server.signer).packed(), "one");
    let world = orders(bundle(&server, json!({}))).await;
    let next = TokenIssuer::new("next").unwrap();
    server.publish(Bundle::granting(SHOP, &[]).signed(&next).packed(), "two");
    downloaded(&world, "refused", 1.0).await;
    assert_eq!(status(&world).await, 200);

    std::fs::write(server.key(), public_pem(&next)).unwrap();
    answers(&mut shop(&world).await, 403).await;
}

#[tokio::test]
async fn a_server_without_tags_is_asked_again_and_changes_are_noticed() {
    let server = BundleServer::start().await;
    server.publish(Bundle::granting(SHOP, READ).signed(&server.signer).packed(), "one");
    server.has_no_tags();
    let world = orders(bundle(&server, json!({}))).await;
    downloaded(&world, "unchanged", 2.0).await;
    assert_eq!(downloads(&world, "activated").await, 1.0);
    server.publish(Bundle::granting(SHOP, &[]).signed(&server.signer).packed(), "two");
    answers(&mut shop(&world).await, 403).await;
}

#[tokio::test]
async fn a_bundle_on_disk_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.tar.gz");
    Bundle::granting(SHOP, READ).write(&path);
    let world = orders(json!({"policy": path})).await;
    let mut connection = shop(&world).await;
    assert_eq!(connection.get("/orders/7").await.status(), 200);

    std::fs::write(&path, b"half").unwrap();
    downloaded(&world, "refused", 1.0).await;
    assert_eq!(connection.get("/orders/7").await.status(), 200);
    Bundle::granting(SHOP, &[]).write(&path);
    answers(&mut connection, 403).await;
}

#[tokio::test]
async fn a_signed_bundle_on_disk_is_believed_by_its_signature_alone() {
    let server = BundleServer::start().await;
    let path = server.path("orders.tar.gz");
    Bundle::granting(SHOP, READ).signed(&server.signer).write(&path);
    let by_key = json!({"file": path, "signed_by": {"key": server.key()}});
    let world = orders(json!({"bundle": by_key})).await;
    assert_eq!(status(&world).await, 200);
    Bundle::granting(SHOP, &[]).write(&path);
    downloaded(&world, "refused", 1.0).await;
    assert_eq!(status(&world).await, 200);
    Bundle::granting(SHOP, &[]).signed(&server.signer).write(&path);
    answers(&mut shop(&world).await, 403).await;
}

#[tokio::test]
async fn an_unsigned_bundle_is_taken_where_that_is_said() {
    let server = BundleServer::start().await;
    server.publish(Bundle::granting(SHOP, READ).packed(), "one");
    let policy = json!({"bundle": {
        "url": server.url(), "ca": server.ca(), "danger_accept_unsigned": true,
    }});
    let world = orders(policy).await;
    assert_eq!(status(&world).await, 200);
}

#[tokio::test]
async fn a_bundle_in_the_shadow_decides_nothing() {
    let server = BundleServer::start().await;
    server.publish(Bundle::granting(SHOP, READ).signed(&server.signer).packed(), "one");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.tar.gz");
    Bundle::granting(SHOP, &[]).write(&path);
    let world = orders(json!({"policy": path, "shadow": bundle(&server, json!({}))})).await;
    until("the shadow to be there", async || {
        let labels = [("bundle", "shadow"), ("result", "activated")];
        let metrics = world.metrics("orders").await;
        (metrics.sum(DOWNLOADS, &labels) == 1.0).then_some(())
    })
    .await;
    assert_eq!(status(&world).await, 403);
}

#[tokio::test]
async fn a_server_that_fails_for_a_while_is_asked_again() {
    let server = BundleServer::start().await;
    server.publish(Bundle::granting(SHOP, READ).signed(&server.signer).packed(), "one");
    let world = orders(bundle(&server, json!({}))).await;
    server.answers_with(Some(503));
    downloaded(&world, "failed", 1.0).await;
    assert!(ready(&world).await.contains("answered with status 503"));
    assert_eq!(world.not_ready("orders").await, [""; 0]);
    server.answers_with(None);
    downloaded(&world, "unchanged", 1.0).await;
    until("the trouble to be over", async || {
        (!ready(&world).await.contains("bundle_unavailable")).then_some(())
    })
    .await;
}
