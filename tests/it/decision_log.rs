//! Decisions and status told to collectors in OPA's formats, and never at the cost of traffic (OPS-6).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::world::World;
use crate::world::bundle::Bundle;
use crate::world::bundle_server::BundleServer;
use crate::world::collector::{Collector, Post};
use crate::world::issuer::write_private;
use crate::world::more::chat;
use crate::world::side;
use crate::world::spec::Spec;
use crate::world::wait::until;

const SHOP: &str = "spiffe://example.org/prod/shop";
const DESK: &str = "spiffe://example.org/prod/desk";
const TOKEN: &str = "a-token-for-the-collector-2026";
const EVENTS: &str = "sidegate_decision_log_events_total";
const FAILING: &str = "sidegate_decision_log_failing";

/// `shop` may read and open streams, `desk` nothing.
async fn orders(say: impl FnOnce(Spec) -> Spec) -> World {
    World::new()
        .service("orders", |it| {
            say(it).route("GET", "/orders/**", "orders:read").tcp("ledger:write")
        })
        .service("shop", |it| it.scopes(["orders:read", "ledger:write"]).open())
        .service("desk", Spec::open)
        .start()
        .await
}

fn log(collector: &Collector, more: Value) -> Value {
    collector.takes("decision_log", more)
}

/// A collector to which `orders` tells what it decides, about every second.
async fn told() -> (Collector, World) {
    let collector = Collector::start().await;
    let world = orders(|it| it.with(log(&collector, json!({"every": "1s"})))).await;
    (collector, world)
}

/// So many requests that are let in, one after the other.
async fn ask(world: &World, count: usize) {
    let mut shop = world.as_peer(SHOP, "orders").http1().await;
    for _ in 0..count {
        assert_eq!(shop.get("/orders/7").await.status(), 200);
    }
}

async fn events(world: &World, result: &str) -> f64 {
    world.metrics("orders").await.sum(EVENTS, &[("result", result)])
}

async fn failing(world: &World) {
    until("the decision log to fail", async || {
        (world.metrics("orders").await.sum(FAILING, &[]) == 1.0).then_some(())
    })
    .await;
}

async fn mended(world: &World) {
    until("the decision log to be mended", async || {
        (world.metrics("orders").await.sum(FAILING, &[]) == 0.0).then_some(())
    })
    .await;
}

fn request_id(event: &Value) -> String {
    event["custom"]["request_id"].as_str().unwrap().to_owned()
}

/// The events are those of the audit log, each once.
fn same_as_audit(world: &World, events: &[Value]) {
    let ids: BTreeSet<&str> = events.iter().map(|it| it["decision_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), events.len(), "an id is there twice: {events:#?}");
    let lines = world.audit("orders").lines().into_iter();
    let own = lines.filter(|line| !line.shadow.as_ref().is_some_and(|it| it.late));
    let mut expected: Vec<_> = own.map(|line| (line.request_id, line.reason)).collect();
    let told = |it: &Value| (request_id(it), it["result"]["reason"].as_str().unwrap().to_owned());
    let mut told: Vec<_> = events.iter().map(told).collect();
    expected.sort();
    told.sort();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn every_decision_arrives_once_in_the_form_of_opa() {
    let collector = Collector::start().await;
    let keys = log(&collector, json!({"every": "1s", "labels": ["app=orders"]}));
    let world = orders(|it| it.with(keys)).await;
    let mut shop = world.as_peer(SHOP, "orders").http2().await;
    let allowed = shop.get("/orders/7?secret=1").await;
    assert_eq!(allowed.status(), 200);
    assert_eq!(shop.get("/nowhere").await.status(), 403);
    let mut desk = world.as_peer(DESK, "orders").http1().await;
    let denied = desk.get("/orders/8").await;
    assert_eq!(denied.status(), 403);
    chat(&mut world.as_tcp_peer(SHOP, "orders").stream().await, "hello").await;

    let events = collector.has(4).await;
    same_as_audit(&world, &events);
    let of = |reply: &crate::world::client::Reply| {
        let id = reply.header("x-request-id").unwrap();
        events.iter().find(|it| request_id(it) == id).unwrap().clone()
    };
    let line = world.audit("orders").of(&denied).await;
    let event = of(&denied);
    let revision = line.policy_revision.clone().unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let id = event["labels"]["id"].as_str().unwrap();
    assert_eq!(event["labels"], json!({"app": "orders", "id": id, "version": version}));
    assert_eq!(event["bundles"], json!({"sidegate": {"revision": revision}}));
    assert_eq!(event["path"], "sidegate/decision");
    assert_eq!(event["timestamp"], json!(line.time));
    assert_eq!(event["requested_by"], json!(line.source.address));
    let input = &event["input"];
    assert_eq!((&input["direction"], &input["listener"]), (&json!("inbound"), &json!("http")));
    assert_eq!(input["peer"]["spiffe_id"], DESK);
    assert_eq!(input["local"]["spiffe_id"], json!(world.id("orders")));
    let request = json!({
        "protocol": "http", "method": "GET", "path": "/orders/8", "route": "GET /orders/**",
        "scopes_required": ["orders:read"],
    });
    assert_eq!(input["request"], request);
    let result = json!({
        "allowed": false, "reason": "insufficient_scope", "detail": line.detail, "tenant": "acme",
        "cross_tenant": false, "scopes": [], "roles": [],
    });
    assert_eq!(event["result"], result);

    let event = of(&allowed);
    assert_eq!(event["result"]["allowed"], true);
    assert_eq!(event["input"]["request"]["path"], "/orders/7", "queries carry secrets");
    let tcp = events.iter().find(|it| it["input"]["request"]["protocol"] == "tcp").unwrap();
    assert_eq!(tcp["result"]["reason"], "allowed");
    let uploaded = async || (self::events(&world, "uploaded").await == 4.0).then_some(());
    until("the metric", uploaded).await;
}

#[tokio::test]
async fn the_token_is_shown_to_the_collector_that_has_proven_its_name_and_to_nobody_else() {
    let (collector, stranger) = (Collector::start().await, Collector::start().await);
    let file = collector.path("token");
    write_private(&file, &format!("{TOKEN}\n"));
    let keys =
        |of: &Collector| log(of, json!({"every": "1s", "token_file": file, "ca": collector.ca()}));
    let world = orders(|it| it.with(keys(&collector))).await;
    ask(&world, 1).await;
    collector.has(1).await;
    let bearer = |token: &str| Some(format!("Bearer {token}"));
    assert_eq!(collector.posts()[0].authorization, bearer(TOKEN));

    write_private(&file, "another-token");
    ask(&world, 1).await;
    collector.has(2).await;
    assert_eq!(collector.posts()[1].authorization, bearer("another-token"));

    let world = orders(|it| it.with(keys(&stranger))).await;
    ask(&world, 1).await;
    failing(&world).await;
    assert!(stranger.posts().is_empty(), "it sees neither the token nor a decision");
    let notes = side::notes(world.service("orders").health()).await;
    assert!(notes.iter().any(|it| it == "decision_log_failing"), "{notes:?}");
    assert_eq!(world.not_ready("orders").await, [""; 0], "traffic may come all the same");
}

const MASKS: &str = r#"package system.log

mask contains "/input/peer/address"

mask contains {"op": "upsert", "path": "/input/request/path", "value": "**"} if {
	startswith(input.input.request.path, "/orders/secret")
}

mask contains 5 if input.input.request.path == "/orders/broken"

drop if input.input.request.path == "/orders/health"
"#;

#[tokio::test]
async fn the_policy_says_what_is_hidden_and_what_cannot_be_hidden_stays() {
    let (collector, world) = told().await;
    let before = world.metrics("orders").await.revision();
    world.service("orders").policy.write("log.rego", MASKS);
    until("the masks to be in force", async || {
        (world.metrics("orders").await.revision() != before).then_some(())
    })
    .await;
    let mut shop = world.as_peer(SHOP, "orders").http1().await;
    for path in ["broken", "health", "secret/17", "7"] {
        assert_eq!(shop.get(&format!("/orders/{path}")).await.status(), 200);
    }
    let events = collector.has(2).await;
    let paths: Vec<_> = events.iter().map(|it| it["input"]["request"]["path"].clone()).collect();
    assert_eq!(paths, ["**", "/orders/7"], "the others do not leave");
    assert_eq!(events[0]["masked"], json!(["/input/request/path"]));
    for event in &events {
        assert_eq!(event["erased"], json!(["/input/peer/address"]));
        assert_eq!(event["input"]["peer"].get("address"), None);
        assert_eq!(event.get("requested_by"), None, "the same address by another name");
    }
    assert_eq!(self::events(&world, "unmasked").await, 1.0);
    assert_eq!(self::events(&world, "dropped").await, 1.0);
    assert_eq!(world.audit("orders").count("allowed"), 4, "the audit log has them all");
}

#[tokio::test]
async fn while_the_collector_is_away_traffic_goes_on_and_events_wait() {
    let (collector, world) = told().await;
    ask(&world, 1).await;
    collector.has(1).await;
    collector.stop();

    let began = Instant::now();
    ask(&world, 50).await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    failing(&world).await;
    ask(&world, 50).await;
    collector.back().await;

    let events = collector.has(101).await;
    same_as_audit(&world, &events);
    mended(&world).await;
    assert_eq!(self::events(&world, "lost").await, 0.0);
}

#[tokio::test]
async fn what_the_buffer_cannot_hold_is_given_up_oldest_first_and_counted() {
    let collector = Collector::start().await;
    collector.stop();
    let keys = json!({"every": "1s", "upload": "4KiB", "buffer": "64KiB"});
    let world = orders(|it| it.with(log(&collector, keys))).await;
    let mut shop = world.as_peer(SHOP, "orders").http1().await;
    for n in 0..100 {
        // Each is like no other, so that they do not compress.
        let noise: String = (0..1_800).map(|_| fastrand::alphanumeric()).collect();
        let path = format!("/orders/{n}/{noise}");
        assert_eq!(shop.get(&path).await.status(), 200);
    }
    until("events to be lost", async || (events(&world, "lost").await > 10.0).then_some(())).await;
    collector.back().await;
    until("the rest to be uploaded", async || {
        let all = events(&world, "uploaded").await + events(&world, "lost").await;
        (all == 100.0).then_some(())
    })
    .await;

    let events = collector.events();
    let number = |event: &Value| {
        let path = event["input"]["request"]["path"].as_str().unwrap();
        path.split('/').nth(2).unwrap().parse::<usize>().unwrap()
    };
    let numbers: Vec<_> = events.iter().map(number).collect();
    let newest: Vec<_> = (100 - numbers.len()..100).collect();
    assert_eq!(numbers, newest, "the oldest are gone");
    assert!(collector.posts().iter().all(|post| post.bytes <= 4_096));
    assert_eq!(world.audit("orders").count("allowed"), 100);
}

#[tokio::test]
async fn what_is_not_taken_is_sent_again_when_the_collector_says() {
    let (collector, world) = told().await;
    collector.answers([(401, None), (500, None), (429, Some(3))]);
    ask(&world, 3).await;
    let events = collector.has(3).await;
    same_as_audit(&world, &events);
    let posts = collector.posts();
    let answers: Vec<u16> = posts.iter().map(|it| it.answer).collect();
    assert_eq!(answers[..3], [401, 500, 429]);
    let asked: Post = posts[2].clone();
    assert!(posts[3].at - asked.at >= Duration::from_secs(3), "`retry-after` is obeyed");
    assert_eq!(posts[0].body, posts[3].body, "the same chunk");
    mended(&world).await;
}

#[tokio::test]
async fn the_last_events_are_uploaded_when_the_sidecar_stops() {
    let collector = Collector::start().await;
    let keys = log(&collector, json!({"every": "1h"}));
    let mut world = orders(|it| it.with(keys)).await;
    ask(&world, 20).await;
    assert!(collector.posts().is_empty());
    world.drain("orders");
    world.drained("orders").await;
    same_as_audit(&world, &collector.events());
    assert_eq!(collector.events().len(), 20);
}

#[tokio::test]
async fn a_collector_that_never_answers_does_not_hold_up_the_end() {
    let (collector, mut world) = told().await;
    collector.falls_silent();
    ask(&world, 5).await;
    until("an upload to be stuck", async || collector.posts().first().map(|_| ())).await;
    ask(&world, 5).await;
    world.drain("orders");
    let began = Instant::now();
    world.drained("orders").await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(6), "{took:?}");
}

#[tokio::test]
async fn what_the_shadow_policy_says_late_is_no_second_decision() {
    let collector = Collector::start().await;
    let nothing = json!({"tenant": "acme", "roles": [], "scopes": []});
    let keys = log(&collector, json!({"every": "1s"}));
    let mut world = orders(|it| it.with(keys).shadow(json!({SHOP: nothing}))).await;
    until("the shadow policy to be asked", async || {
        world.metrics("orders").await.has("sidegate_shadow_policy").then_some(())
    })
    .await;
    ask(&world, 1).await;
    until("a late line", async || {
        let lines = world.audit("orders").lines();
        lines.iter().any(|it| it.shadow.as_ref().is_some_and(|it| it.late)).then_some(())
    })
    .await;
    ask(&world, 1).await;
    world.drain("orders");
    world.drained("orders").await;

    let events = collector.events();
    same_as_audit(&world, &events);
    assert_eq!(events.len(), 2);
    let shadow = &events[1]["result"]["shadow"];
    assert_eq!(
        (&shadow["decision"], &shadow["reason"]),
        (&json!("deny"), &json!("insufficient_scope"))
    );
}

/// The bundle of that name in a report.
fn reported<'a>(report: &'a Value, name: &str) -> &'a Value {
    assert_eq!(report["bundles"][name]["name"], name, "{report:#}");
    &report["bundles"][name]
}

#[tokio::test]
async fn status_is_told_at_the_start_and_with_every_change() {
    let collector = Collector::start().await;
    let keys = collector.takes("status", json!({"every": "1h", "labels": ["app=orders"]}));
    let world = orders(|it| it.with(keys)).await;
    let revision = world.metrics("orders").await.revision();
    let first = collector.report("the first report", |_| true).await;
    let bundle = reported(&first, "sidegate");
    assert_eq!(bundle["active_revision"], json!(revision));
    assert_eq!((&bundle["type"], bundle.get("code")), (&json!("snapshot"), None));
    assert_eq!(first["labels"]["app"], "orders");
    let plugins = json!({"bundle": {"state": "OK"}, "status": {"state": "OK"}});
    assert_eq!(first["plugins"], plugins);
    assert_eq!(first.get("decision_logs"), None);

    let folder = &world.service("orders").policy;
    folder.write("more.rego", "package more\n\nbroken :=\n");
    let refused = |it: &Value| it["bundles"]["sidegate"]["code"] == "bundle_error";
    let report = collector.report("the refused policy", refused).await;
    let bundle = reported(&report, "sidegate");
    assert_eq!(bundle["active_revision"], json!(revision), "the old one is in force");
    assert!(bundle["message"].as_str().unwrap().contains("more.rego:"), "{bundle}");

    folder.write("more.rego", "package more\n\nmended := 1\n");
    let mended = |it: &Value| it["bundles"]["sidegate"]["active_revision"] != json!(revision);
    let report = collector.report("the next policy", mended).await;
    assert_eq!(reported(&report, "sidegate").get("code"), None);
    assert_eq!(
        reported(&report, "sidegate")["active_revision"],
        json!(world.metrics("orders").await.revision())
    );
    assert!(collector.posts().len() <= 5, "changes are told, and nothing else");
}

#[tokio::test]
async fn status_says_that_the_decision_log_fails_and_why() {
    let (logs, collector) = (Collector::start().await, Collector::start().await);
    let keys = log(&logs, json!({"every": "1s"}));
    let status = collector.takes("status", json!({"every": "1h"}));
    let world = orders(|it| it.with(keys).with(status)).await;
    logs.answers([(503, None)]);
    ask(&world, 1).await;
    let failing = |it: &Value| it["decision_logs"]["code"] == "decision_log_error";
    let report = collector.report("the failing log", failing).await;
    assert_eq!(report["decision_logs"]["http_code"], 503);
    let posts = collector.posts().len();
    logs.has(1).await;
    until("the log to be well again", async || {
        let posts = collector.posts();
        posts[posts.len().min(1)..]
            .iter()
            .any(|it| it.body["decision_logs"] == json!({}))
            .then_some(())
    })
    .await;
    assert!(collector.posts().len() > posts);
}

#[tokio::test]
async fn bundles_go_by_the_names_of_their_makers_and_are_reported_as_opa_does() {
    let server = BundleServer::start().await;
    let collector = Collector::start().await;
    let granting = |revision: &str| Bundle::granting(SHOP, &["orders:read"]).revision(revision);
    let packed = granting("v1").signed(&server.signer).packed();
    server.publish(packed.clone(), "one");
    let bundle = json!({"bundle": {
        "url": server.url(), "ca": server.ca(), "poll": {"every": "1s"},
        "signed_by": {"key": server.key(), "algorithm": "ES256"},
    }});
    let keys = log(&collector, json!({"every": "1s"}));
    let status = collector.takes("status", json!({"every": "1h"}));
    let world = World::new()
        .service("orders", |it| {
            it.route("GET", "/orders/**", "orders:read").policy_by(bundle).with(keys).with(status)
        })
        .start()
        .await;
    let active = |revision: &'static str| {
        move |it: &Value| it["bundles"]["sidegate"]["active_revision"] == revision
    };
    let report = collector.report("the first bundle", active("v1")).await;
    let told = reported(&report, "sidegate");
    assert_eq!(told["size"], packed.len());
    let times: BTreeMap<&str, &str> =
        ["request", "successful_request", "successful_download", "successful_activation"]
            .map(|it| (it, told[format!("last_{it}")].as_str().unwrap()))
            .into();
    assert!(times.values().all(|it| it.starts_with("20")), "{times:?}");
    ask(&world, 1).await;
    let event = collector.has(1).await.remove(0);
    assert_eq!(event["bundles"], json!({"sidegate": {"revision": "v1"}}));
    let line = world.audit("orders").only("allowed").await;
    assert_eq!(event["custom"]["policy_revision"], json!(line.policy_revision));

    server.answers(304, 3).await;
    let reports = collector.posts().iter().filter(|it| it.path == "/status").count();
    assert!(reports <= 3, "a look without news is none: {reports}");

    server.answers_with(Some(500));
    let failed = |it: &Value| it["bundles"]["sidegate"]["http_code"] == 500;
    let report = collector.report("the failing server", failed).await;
    assert_eq!(reported(&report, "sidegate")["code"], "bundle_error");
    assert_eq!(reported(&report, "sidegate")["active_revision"], "v1");

    server.publish(granting("v2").signed(&server.signer).packed(), "two");
    let report = collector.report("the second bundle", active("v2")).await;
    assert_eq!(reported(&report, "sidegate").get("code"), None);
}
