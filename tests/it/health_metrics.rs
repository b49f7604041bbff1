//! The side doors: probes and metrics, as a cluster and a Prometheus meet them.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::world::World;
use crate::world::client::{Http, request};
use crate::world::issuer::write_private;
use crate::world::more::{chat, is_shut_out, whole_chat};
use crate::world::policy::PolicyFolder;
use crate::world::side::{self, Metrics};
use crate::world::stranger::Stranger;
use crate::world::wait::until;

const SHOP: &str = "spiffe://example.org/prod/shop";
const DESK: &str = "spiffe://example.org/prod/desk";
const GUEST: &str = "spiffe://example.org/prod/guest";
const REQUESTS: &str = "sidegate_requests_total";

/// `shop` may do everything, `desk` nothing, and `guest` is of another tenant.
async fn world() -> World {
    World::new()
        .service("orders", |it| {
            it.route("GET", "/orders/{id}", "orders:read")
                .route("GET", "/broken/{how}", "orders:read")
                .tcp("ledger:write")
        })
        .service("shop", |it| {
            it.scopes(["orders:read", "ledger:write"]).calls("orders").calls_tcp("orders").open()
        })
        .service("desk", |it| it.open())
        .service("guest", |it| it.tenant("globex").scopes(["orders:read"]).open())
        .start()
        .await
}

/// How often requests to `orders` have ended this way so far.
async fn outcomes(world: &World, outcome: &str) -> f64 {
    let labels = [("direction", "inbound"), ("outcome", outcome)];
    world.metrics("orders").await.sum(REQUESTS, &labels)
}

#[tokio::test]
async fn probes_of_a_service_at_work_say_yes() {
    let world = world().await;
    let health = world.service("orders").health();
    for probe in ["/startup", "/live", "/ready"] {
        assert_eq!(side::reasons(health, probe).await, [""; 0], "{probe}");
        let reply = side::ask(health, probe).await;
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
    assert_eq!(side::ask(health, "/metrics").await.status(), 404);
    assert_eq!(side::ask(health, "/").await.status(), 404);
    let stream = TcpStream::connect(health).await.unwrap();
    let mut http = Http::http1(stream).await.unwrap();
    let reply = http.send(request(http::Method::POST, "/ready", "")).await;
    assert_eq!(reply.status(), 405);
    assert_eq!(reply.header("allow"), Some("GET, HEAD"));
}

#[tokio::test]
async fn a_probe_that_says_no_says_why_and_since_when() {
    let world = world().await;
    world.agent("orders").deny();
    world.agent_is("orders", "denied").await;
    let health = world.service("orders").health();

    let reply = side::ask(health, "/ready").await;

    assert_eq!(reply.status(), 503);
    let body = reply.json();
    assert_eq!(body["ready"], false);
    let [reason] = body["reasons"].as_array().unwrap().as_slice() else { panic!("{body}") };
    assert_eq!(reason["code"], "identity_denied");
    assert!(reason["message"].as_str().unwrap().contains("no identity"), "{body}");
    assert!(reason["since"].as_str().unwrap().ends_with('Z'), "{body}");
    assert_eq!(side::reasons(health, "/live").await, [""; 0], "a restart would not mend it");
    assert_eq!(side::reasons(health, "/startup").await, [""; 0], "it had started before");
}

#[tokio::test]
async fn who_takes_only_tokens_and_has_nothing_to_show_for_itself_is_not_ready() {
    let world = World::new()
        .service("orders", |it| {
            it.route("GET", "/orders/{id}", "orders:read").accepts(["jwt"]).without_certificate()
        })
        .start()
        .await;
    world.ready("orders").await;
    world.agent("orders").deny();
    until("a reason", async || {
        let reasons = world.not_ready("orders").await;
        (reasons == ["identity_denied"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_takes_only_jwt_svids_is_not_ready_before_the_first_jwt_bundle() {
    let world = World::new().start().await;
    let folder = world.hand();
    world.certify_as("orders.example.com", &folder);
    write_private(&folder.join("token"), "a-token-of-another-kind");
    PolicyFolder::new(folder.join("policies"), json!({}));
    let top = json!({
        "identity": {"workload_api": "unix:///nowhere/api.sock"},
        "jwt": {"svid": {"audience": "orders"}},
        "policy": folder.join("policies"),
        "inbound": [{
            "listen": "127.0.0.1:0",
            "forward_to": "127.0.0.1:9",
            "accept": ["jwt"],
            "certificate": {"chain": folder.join("tls.crt"), "key": folder.join("tls.key")},
            "routes": [{"path": "/**", "methods": ["GET"], "scopes": ["orders:read"]}],
        }],
    });
    let say = json!({"connect_to": "orders.test:9", "present": {"file": folder.join("token")}});
    let aside = world.aside_in(say, top, &[]);
    aside.lacks("keys_unavailable").await;
    let said = aside.says().await;
    assert_eq!(said["reasons"][0]["message"], "no JWT bundle has been received");
}

#[tokio::test]
async fn every_metric_that_is_promised_is_there_after_traffic() {
    let world = world().await;
    assert_eq!(world.from("shop").get("orders", "/orders/7").await.status(), 200);
    whole_chat(world.from("shop").tcp("orders").await, "ping").await.unwrap();

    for service in ["orders", "shop"] {
        let metrics = world.metrics(service).await;
        for name in [
            "sidegate_requests_total",
            "sidegate_request_duration_seconds_bucket",
            "sidegate_request_duration_seconds_count",
            "sidegate_decision_duration_seconds_bucket",
            "sidegate_grant_cache_hits_total",
            "sidegate_grant_cache_misses_total",
            "sidegate_connections_open",
            "sidegate_connections_total",
            "sidegate_handshake_failures_total",
            "sidegate_bytes_total",
            "sidegate_upstream_connections_total",
            "sidegate_upstream_connections_open",
            "sidegate_audit_lines_total",
            "sidegate_audit_write_errors_total",
            "sidegate_policy_reloads_total",
            "sidegate_policy_info",
            "sidegate_svid_not_after_timestamp_seconds",
            "sidegate_svid_rotations_total",
            "sidegate_agent_state",
            "sidegate_agent_disconnects_total",
            "sidegate_build_info",
            "process_start_time_seconds",
            "process_resident_memory_bytes",
            "process_open_fds",
        ] {
            assert!(metrics.has(name), "{service} has no {name}:\n{}", metrics.0);
        }
        assert!(metrics.0.ends_with("# EOF\n"), "whole");
        assert_eq!(metrics.failures(), "");
    }
    let orders = world.metrics("orders").await;
    assert_eq!(orders.sum("sidegate_request_duration_seconds_count", &[("listener", "http")]), 1.0);
    assert_eq!(
        orders.sum("sidegate_bytes_total", &[("listener", "tcp"), ("flow", "received")]),
        4.0
    );
    assert_eq!(orders.sum("sidegate_bytes_total", &[("listener", "tcp"), ("flow", "sent")]), 11.0);
}

#[tokio::test]
async fn each_way_a_request_may_end_is_counted_by_its_name() {
    let world = world().await;
    let mut shop = world.as_peer(SHOP, "orders").http1().await;
    let mut desk = world.as_peer(DESK, "orders").http1().await;
    let mut guest = world.as_peer(GUEST, "orders").http1().await;
    let mut counted = 0.0;
    for (outcome, caller, path, status) in [
        ("allowed", "shop", "/orders/7", 200),
        ("no_route", "shop", "/elsewhere", 403),
        ("bad_request", "shop", "/orders/%zz", 400),
        ("insufficient_scope", "desk", "/orders/7", 403),
        ("tenant_mismatch", "guest", "/orders/7", 403),
        ("upstream_broken", "shop", "/broken/close-early", 502),
    ] {
        let before = outcomes(&world, outcome).await;
        let connection = match caller {
            "shop" => &mut shop,
            "desk" => &mut desk,
            _ => &mut guest,
        };
        assert_eq!(connection.get(path).await.status(), status, "{outcome}");
        assert_eq!(outcomes(&world, outcome).await, before + 1.0, "{outcome}");
        counted += 1.0;
    }
    world.app("orders").stop().await;
    assert_eq!(shop.get("/orders/7").await.status(), 503);
    assert_eq!(outcomes(&world, "upstream_unreachable").await, 1.0);
    let all = world.metrics("orders").await.sum(REQUESTS, &[]);
    assert_eq!(all, counted + 1.0, "each request counts once");
}

#[tokio::test]
async fn raw_streams_are_counted_too() {
    let world = world().await;
    whole_chat(world.from("shop").tcp("orders").await, "ping").await.unwrap();
    let mut refused = world.as_tcp_peer(DESK, "orders").stream().await;
    assert_eq!(refused.last_words().await, "");
    let metrics = world.metrics("orders").await;
    let tcp = |outcome| metrics.sum(REQUESTS, &[("listener", "tcp"), ("outcome", outcome)]);
    assert_eq!(tcp("allowed"), 1.0);
    assert_eq!(tcp("insufficient_scope"), 1.0);
}

#[tokio::test]
async fn a_thousand_different_paths_make_no_new_series() {
    let world = world().await;
    let mut connection = world.as_peer(SHOP, "orders").http1().await;
    let mut desk = world.as_peer(DESK, "orders").http1().await;
    assert_eq!(connection.get("/orders/first").await.status(), 200);
    assert_eq!(connection.get("/elsewhere").await.status(), 403);
    assert_eq!(desk.get("/orders/first").await.status(), 403);
    let before = world.metrics("orders").await;

    for number in 0..500 {
        assert_eq!(connection.get(&format!("/orders/no-{number}")).await.status(), 200);
        assert_eq!(connection.get(&format!("/elsewhere/{number}?q={number}")).await.status(), 403);
    }

    let after = world.metrics("orders").await;
    assert_eq!(series(&after), series(&before));
    assert_eq!(outcomes(&world, "allowed").await, 501.0);
    assert_eq!(outcomes(&world, "no_route").await, 501.0);
    assert!(!after.0.contains("spiffe://"), "identities are no labels either");
}

fn series(metrics: &Metrics) -> Vec<(&str, &str)> {
    metrics.samples().map(|(name, labels, _)| (name, labels)).collect()
}

#[tokio::test]
async fn handshakes_that_fail_are_counted_by_their_cause() {
    let world = world().await;
    let address = world.address("orders");
    let failed = async |code: &str| {
        let metrics = world.metrics("orders").await;
        metrics.sum("sidegate_handshake_failures_total", &[("listener", "http"), ("code", code)])
    };

    let nobody = Stranger::new(address, None);
    assert!(is_shut_out(&nobody).await);
    world.handshakes_failed("orders", "no_certificate").await;
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: orders\r\n\r\n").await.unwrap();
    world.handshakes_failed("orders", "not_tls").await;
    let forger = forger();
    let stranger = Stranger::new(address, Some((&forger, SHOP, Duration::from_secs(60))));
    assert!(is_shut_out(&stranger).await);
    // The forged authority has the name of the real one, so it is the signature that tells.
    world.handshakes_failed("orders", "bad_signature").await;

    for code in ["no_certificate", "not_tls", "bad_signature"] {
        assert_eq!(failed(code).await, 1.0, "{code}");
    }
    let metrics = world.metrics("orders").await;
    let connections = |result| metrics.sum("sidegate_connections_total", &[("result", result)]);
    assert_eq!(connections("handshake_failed"), 3.0);
    assert_eq!(connections("accepted"), 0.0);
    world.audit("orders").nth("unauthenticated", 3).await;
}

/// Another authority that calls itself by the same trust domain.
fn forger() -> sidegate::dev::Authority {
    let trust_domain = spiffe::TrustDomain::new("example.org").unwrap();
    sidegate::dev::Authority::new(trust_domain).unwrap()
}

#[tokio::test]
async fn audit_lines_are_counted_when_they_are_written() {
    let world = world().await;
    let mut connection = world.as_peer(SHOP, "orders").http1().await;
    for path in ["/orders/7", "/orders/8", "/elsewhere"] {
        connection.get(path).await;
    }

    until("three lines to be counted", async || {
        let metrics = world.metrics("orders").await;
        (metrics.sum("sidegate_audit_lines_total", &[]) == 3.0).then_some(())
    })
    .await;

    assert_eq!(world.audit("orders").lines().len(), 3);
    let metrics = world.metrics("orders").await;
    assert_eq!(metrics.sum("sidegate_audit_write_errors_total", &[]), 0.0);
}

#[tokio::test]
async fn open_connections_are_counted_while_they_are_open() {
    let world = world().await;
    let open = async || {
        let metrics = world.metrics("orders").await;
        metrics.sum("sidegate_connections_open", &[("listener", "tcp")])
    };
    assert_eq!(open().await, 0.0);
    let mut one = world.as_tcp_peer(SHOP, "orders").stream().await;
    chat(&mut one, "one").await;
    let mut other = world.as_tcp_peer(SHOP, "orders").stream().await;
    chat(&mut other, "other").await;
    assert_eq!(open().await, 2.0);

    drop(one);
    until("one to be gone", async || (open().await == 1.0).then_some(())).await;
    chat(&mut other, "still").await;
}

#[tokio::test]
async fn identity_and_agent_show_in_the_metrics() {
    let world = world().await;
    let now = std::time::SystemTime::now();
    let expiry = world.svid_not_after("orders").await;
    let left = expiry.duration_since(now).unwrap();
    assert!(left > Duration::from_secs(3_500) && left < Duration::from_secs(3_610), "{left:?}");
    assert_eq!(world.rotations("orders").await, 0.0, "the first is no rotation");

    world.next_svid("orders", || world.agent("orders").rotate()).await;
    assert_eq!(world.rotations("orders").await, 1.0);

    world.agent("orders").stop().await;
    world.agent_is("orders", "stale").await;
    let metrics = world.metrics("orders").await;
    assert_eq!(metrics.sum("sidegate_agent_state", &[]), 1.0, "one state at a time");
    assert_eq!(metrics.sum("sidegate_agent_disconnects_total", &[]), 1.0);
}

#[tokio::test]
async fn repeated_requests_take_their_rights_from_memory() {
    let world = world().await;
    let mut connection = world.as_peer(SHOP, "orders").http1().await;
    for number in 0..20 {
        assert_eq!(connection.get(&format!("/orders/{number}")).await.status(), 200);
    }
    let metrics = world.metrics("orders").await;
    assert_eq!(metrics.sum("sidegate_grant_cache_misses_total", &[]), 1.0);
    assert_eq!(metrics.sum("sidegate_grant_cache_hits_total", &[]), 19.0);
}
