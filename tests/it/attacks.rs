//! What hostile callers try: none of it reaches the application, and none of it keeps others from
//! being served.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use http::Method;
use hyper::body::Frame;
use serde_json::json;
use tokio::net::TcpStream;

use crate::world::World;
use crate::world::app::{channel, data, whole};
use crate::world::client::{Http, Raw, get, request, with_headers};
use crate::world::hostile::{Shown, crafted, h2, heard_by, issued, issued_at, turned_away};
use crate::world::stranger::Stranger;
use crate::world::wait::{holds, until, within};

const SHOP: &str = "spiffe://example.org/prod/shop";
const GOOD: &str = "GET /orders/7 HTTP/1.1\r\nhost: a\r\n\r\n";
const HOUR: Duration = Duration::from_secs(3_600);
/// Well above the limits that the tests set, well below those that hold by default.
const SOON: Duration = Duration::from_secs(5);
const MINUTE: Duration = Duration::from_secs(60);

/// `orders` with these limits, and `shop`, who may ask it anything.
async fn orders(limits: serde_json::Value) -> World {
    World::new()
        .service("orders", |it| {
            it.limits(limits).route("GET", "/**", "orders:read").route("POST", "/**", "orders:read")
        })
        .service("shop", |it| it.scopes(["orders:read"]).open())
        .start()
        .await
}

fn shop(world: &World) -> Stranger {
    world.as_peer(SHOP, "orders")
}

async fn is_served(world: &World) {
    assert_eq!(shop(world).http1().await.get("/orders/7").await.status(), 200);
}

/// Each of these requests, on a connection of its own, is malformed for this cause.
async fn malformed<const N: usize>(requests: [(&str, &str); N]) {
    let world = orders(json!({})).await;
    for (number, (request, cause)) in (1..).zip(requests) {
        let mut raw = shop(&world).raw().await;
        raw.send(request).await;
        assert_eq!(raw.answer().await, (400, "bad_request".to_owned()), "{request}");
        let line = world.audit("orders").nth("bad_request", number).await;
        assert_eq!(line.decision, "deny");
        assert!(line.detail.as_ref().unwrap().contains(cause), "{request}: {line:?}");
        assert_eq!(line.source.spiffe_id.as_deref(), Some(SHOP));
    }
    assert_eq!(world.app("orders").requests(), 0);
    is_served(&world).await;
}

// Identity

const SPOOFED: [&str; 17] = [
    "X-Sidegate-Subject",
    "x-sidegate-tenant",
    "X-SIDEGATE-SCOPES",
    "x-sidegate-method",
    "x-sidegate-anything",
    "x_sidegate_subject",
    "X_Sidegate_Tenant",
    "x-sidegate_scopes",
    "X_SIDEGATE-METHOD",
    "X-Forwarded-Client-Cert",
    "x_forwarded_client_cert",
    "x-forwarded_client-cert",
    "X-Forwarded-For",
    "x_forwarded_for",
    "X-Real-IP",
    "Forwarded",
    "X-Request_Id",
];

#[tokio::test]
async fn what_a_caller_says_of_its_own_identity_never_arrives_in_any_spelling() {
    let world = orders(json!({})).await;
    let spoofed: String =
        SPOOFED.iter().map(|name| format!("{name}: evil\r\n{name}: evil too\r\n")).collect();
    let mut raw = shop(&world).raw().await;
    raw.send(format!("GET /orders/7 HTTP/1.1\r\nhost: a\r\n{spoofed}\r\n")).await;
    assert_eq!(raw.answer().await.0, 200);
    assert_only_the_truth(&world);

    let names: Vec<_> = SPOOFED.iter().map(|name| (*name, "evil")).collect();
    let mut http2 = shop(&world).http2().await;
    assert_eq!(http2.send(with_headers(get("/orders/7"), &names)).await.status(), 200);
    assert_only_the_truth(&world);
}

fn assert_only_the_truth(world: &World) {
    let seen = world.app("orders").last();
    assert!(!format!("{seen:?}").contains("evil"), "{seen:?}");
    assert_eq!(seen.header("x-sidegate-subject"), Some(SHOP));
    assert_eq!(seen.header("x-sidegate-tenant"), Some("acme"));
    assert_eq!(seen.header("x-sidegate-scopes"), Some("orders:read"));
    assert_eq!(seen.header("x-sidegate-method"), Some("spiffe"));
    let certificate = seen.header("x-forwarded-client-cert").unwrap();
    assert!(certificate.ends_with(&format!(";URI={SHOP}")), "{certificate}");
    let own = format!("By={};Hash=", world.id("orders"));
    assert!(certificate.starts_with(&own), "{certificate}");
}

#[tokio::test]
async fn a_connection_header_cannot_strip_what_we_vouch_for() {
    let cause = "connection_names_identity";
    malformed([
        ("GET / HTTP/1.1\r\nhost: a\r\nconnection: x-sidegate-tenant\r\n\r\n", cause),
        ("GET / HTTP/1.1\r\nhost: a\r\nconnection: close, X-Sidegate-Scopes\r\n\r\n", cause),
        ("GET / HTTP/1.1\r\nhost: a\r\nconnection: X-Forwarded-Client-Cert\r\n\r\n", cause),
        ("GET / HTTP/1.1\r\nhost: a\r\nConnection: te\r\nConnection: x-request-id\r\n\r\n", cause),
    ])
    .await;
}

// Handshakes

/// The one line of the handshake that was just refused.
async fn unauthenticated(world: &World, code: &str) {
    let line = world.refused("orders", "unauthenticated", 0).await;
    assert!(line.detail.as_ref().unwrap().contains(&format!("({code})")), "{line:?}");
    assert_eq!(line.protocol, "tls");
    assert_eq!(line.source.spiffe_id, None, "nothing was proven");
    assert!(line.source.address.unwrap().starts_with("127.0.0.1:"));
    is_served(world).await;
}

async fn refused_certificate(code: &str, shown: impl FnOnce(&World) -> Shown) {
    let world = orders(json!({})).await;
    assert_eq!(turned_away(world.address("orders"), shown(&world)).await, "");
    unauthenticated(&world, code).await;
}

#[tokio::test]
async fn a_caller_of_a_trust_domain_that_we_do_not_federate_with_is_refused() {
    let world = World::new()
        .service("orders", |it| it.route("GET", "/**", "orders:read"))
        .service("shop", |it| it.scopes(["orders:read"]).open())
        .service("spy", |it| it.trust_domain("evil.test").scopes(["orders:read"]).open())
        .start()
        .await;
    let authority = world.agent_of("evil.test").authority();
    let shown = issued(authority, "spiffe://evil.test/prod/shop", Duration::ZERO, HOUR);
    assert_eq!(turned_away(world.address("orders"), shown).await, "");
    unauthenticated(&world, "unknown_trust_domain").await;
}

#[tokio::test]
async fn a_caller_whose_certificate_another_authority_signed_is_refused() {
    refused_certificate("unknown_authority", |_| crafted(&[SHOP], false)).await;
}

#[tokio::test]
async fn a_caller_without_a_certificate_is_refused() {
    let world = orders(json!({})).await;
    let nobody = Stranger::new(world.address("orders"), None);
    if let Ok(stream) = nobody.connect(&["http/1.1"]).await {
        assert_eq!(heard_by(Raw::new(stream)).await, "");
    }
    unauthenticated(&world, "no_certificate").await;
}

#[tokio::test]
async fn a_caller_in_plaintext_is_refused() {
    let world = orders(json!({})).await;
    let heard = heard_by(plain(world.address("orders")).await).await;
    assert!(!heard.contains("HTTP"), "{heard:?}");
    unauthenticated(&world, "not_tls").await;
}

async fn plain(address: SocketAddr) -> Raw {
    Raw::new(TcpStream::connect(address).await.unwrap())
}

#[tokio::test]
async fn a_caller_whose_svid_has_expired_is_refused() {
    refused_certificate("expired", |world| {
        issued(world.agent_of("example.org").authority(), SHOP, HOUR, MINUTE)
    })
    .await;
}

#[tokio::test]
async fn a_caller_whose_svid_is_not_valid_yet_is_refused() {
    refused_certificate("not_yet_valid", |world| {
        let later = SystemTime::now() + HOUR;
        issued_at(world.agent_of("example.org").authority(), SHOP, later, HOUR)
    })
    .await;
}

#[tokio::test]
async fn a_certificate_with_two_identities_is_refused() {
    refused_certificate("several_uris", |_| {
        crafted(&[SHOP, "spiffe://example.org/prod/admin"], false)
    })
    .await;
}

#[tokio::test]
async fn the_certificate_of_an_authority_is_nobodys_identity() {
    refused_certificate("leaf_is_ca", |_| crafted(&[SHOP], true)).await;
}

// Framing

const TWO_LENGTHS: [&str; 3] = [
    "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nCONTENT-LENGTH: 0\r\n\r\n0\r\n\r\n",
];
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test]
async fn a_request_with_two_lengths_is_refused_and_ends_its_connection() {
    let world = orders(json!({})).await;
    for (number, request) in (1..).zip(TWO_LENGTHS) {
        let mut raw = shop(&world).raw().await;
        raw.send(format!("{request}{SMUGGLED}")).await;
        assert_eq!(raw.answer().await, (400, "bad_request".to_owned()), "{request}");
        assert_eq!(raw.last_words().await, "", "nothing more is answered: {request}");
        let line = world.audit("orders").nth("bad_request", number).await;
        assert!(line.detail.unwrap().contains("two_lengths"));
    }
    assert_eq!(world.app("orders").requests(), 0);
    is_served(&world).await;
}

#[tokio::test]
async fn a_request_with_two_lengths_is_refused_behind_a_good_one_too() {
    let world = orders(json!({})).await;
    for request in TWO_LENGTHS {
        // In one piece, so that both are read at once.
        let mut raw = shop(&world).raw().await;
        raw.send(format!("{GOOD}{request}{SMUGGLED}")).await;
        assert!(raw.last_words().await.contains("HTTP/1.1 400 "));
        // And after the good one was answered.
        let before = world.app("orders").requests();
        let mut raw = shop(&world).raw().await;
        raw.send(GOOD).await;
        assert_eq!(raw.answer().await.0, 200);
        raw.send(format!("{request}{SMUGGLED}")).await;
        assert_eq!(raw.answer().await, (400, "bad_request".to_owned()), "{request}");
        assert_eq!(raw.last_words().await, "", "nothing more is answered: {request}");
        assert_eq!(world.app("orders").requests(), before + 1);
        assert_eq!(world.app("orders").last().target, "/orders/7");
    }
    let lines = world.audit("orders").lines();
    assert!(lines.iter().all(|line| line.path.as_deref() != Some("/smuggled")), "{lines:#?}");
}

#[tokio::test]
async fn a_request_with_two_lengths_is_refused_behind_a_switch_that_did_not_happen() {
    let world = orders(json!({})).await;
    let wish = "GET /orders/7 HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    let connect = "CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n";
    for (first, status) in [(wish, 200), (connect, 400)] {
        for request in TWO_LENGTHS {
            let mut raw = shop(&world).raw().await;
            raw.send(first).await;
            assert_eq!(raw.answer().await.0, status);
            raw.send(format!("{request}{SMUGGLED}")).await;
            assert_eq!(raw.answer().await, (400, "bad_request".to_owned()), "{first} {request}");
            assert_eq!(raw.last_words().await, "", "nothing more is answered: {request}");
        }
    }
    let lines = world.audit("orders").lines();
    let mut let_in = lines.iter().filter(|line| line.decision == "allow");
    assert!(let_in.all(|line| line.path.as_deref() == Some("/orders/7")), "{lines:#?}");
}

#[tokio::test]
async fn a_head_that_stalls_behind_a_switch_that_did_not_happen_is_cut() {
    let world = orders(json!({ "header_read": "300ms" })).await;
    let mut raw = shop(&world).raw().await;
    raw.send("GET /orders/7 HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")
        .await;
    assert_eq!(raw.answer().await.0, 200);
    raw.send("GET /orders/7 HTTP/1.1\r\nhos").await;
    within("the connection to be cut", raw.last_words()).await;
}

#[tokio::test]
async fn a_malformed_body_is_the_fault_of_its_caller() {
    let world = orders(json!({})).await;
    for body in ["g\r\n", "0x5\r\nhello\r\n", "5\r\nhello!\r\n0\r\n\r\n", "5;a\nhello\r\n0\r\n\r\n"]
    {
        // On a connection to the application that is new, and on one that has been used.
        for _ in 0..2 {
            let mut raw = shop(&world).raw().await;
            let head = "POST /orders/7 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
            raw.send(format!("{head}{body}{SMUGGLED}")).await;
            assert_eq!(raw.answer().await, (400, "bad_request".to_owned()), "{body:?}");
            assert_eq!(raw.last_words().await, "", "nothing more is answered: {body:?}");
            is_served(&world).await;
        }
    }
}

#[tokio::test]
async fn a_request_says_its_host_once() {
    malformed([
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", "duplicate_host"),
        ("GET / HTTP/1.1\r\nhost: a\r\nHost: b\r\n\r\n", "duplicate_host"),
        ("GET / HTTP/1.1\r\naccept: */*\r\n\r\n", "missing_host"),
        ("GET http://a/ HTTP/1.1\r\nhost: b\r\n\r\n", "host_mismatch"),
        ("GET http://a:80/ HTTP/1.1\r\nhost: a:81\r\n\r\n", "host_mismatch"),
        ("GET / HTTP/1.1\r\nhost: user@a\r\n\r\n", "malformed_host"),
        ("GET / HTTP/1.1\r\nhost: a:b\r\n\r\n", "malformed_host"),
        ("GET / HTTP/1.1\r\nhost: a:65536\r\n\r\n", "malformed_host"),
        ("GET http://a:b/ HTTP/1.1\r\nhost: a:b\r\n\r\n", "malformed_host"),
    ])
    .await;
}

#[tokio::test]
async fn a_path_that_two_readers_could_read_differently_is_refused() {
    malformed([
        ("GET /a/../b HTTP/1.1\r\nhost: a\r\n\r\n", "target_dot_segment"),
        ("GET /.. HTTP/1.1\r\nhost: a\r\n\r\n", "target_dot_segment"),
        ("GET /a/./b HTTP/1.1\r\nhost: a\r\n\r\n", "target_dot_segment"),
        ("GET /a/%2e%2e/b HTTP/1.1\r\nhost: a\r\n\r\n", "target_dot_segment"),
        ("GET /a/.%2E/b HTTP/1.1\r\nhost: a\r\n\r\n", "target_dot_segment"),
        ("GET /a%2fb HTTP/1.1\r\nhost: a\r\n\r\n", "target_encoded_slash"),
        ("GET /a//b HTTP/1.1\r\nhost: a\r\n\r\n", "target_empty_segment"),
        ("GET //b HTTP/1.1\r\nhost: a\r\n\r\n", "target_empty_segment"),
        ("GET /a%00 HTTP/1.1\r\nhost: a\r\n\r\n", "target_control"),
        ("GET /a%0d%0ab HTTP/1.1\r\nhost: a\r\n\r\n", "target_control"),
        ("GET /a\\b HTTP/1.1\r\nhost: a\r\n\r\n", "target_backslash"),
        ("GET /a%5cb HTTP/1.1\r\nhost: a\r\n\r\n", "target_backslash"),
        ("GET /a;b=c HTTP/1.1\r\nhost: a\r\n\r\n", "target_path_parameters"),
        ("GET /a%3Bb HTTP/1.1\r\nhost: a\r\n\r\n", "target_path_parameters"),
        ("GET /a%zz HTTP/1.1\r\nhost: a\r\n\r\n", "target_percent_encoding"),
    ])
    .await;
}

#[tokio::test]
async fn nobody_connects_through_us_to_elsewhere() {
    malformed([
        ("CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n", "connect"),
        ("CONNECT 127.0.0.1:22 HTTP/1.1\r\nhost: 127.0.0.1:22\r\n\r\n", "connect"),
    ])
    .await;
}

#[tokio::test]
async fn what_is_malformed_in_http1_is_malformed_in_http2() {
    let world = orders(json!({})).await;
    let mut http2 = shop(&world).http2().await;
    let connect = http::Request::connect("example.com:443").body(whole("")).unwrap();
    for (number, (request, cause)) in (1..).zip([
        (with_headers(get("/orders/7"), &[("host", "elsewhere")]), "host_mismatch"),
        (with_headers(get("/"), &[("host", "service.test"), ("host", "b")]), "duplicate_host"),
        (get("/a/%2e%2e/b"), "target_dot_segment"),
        (get("/a%2fb"), "target_encoded_slash"),
        (get("//b"), "target_empty_segment"),
        (connect, "connect"),
    ]) {
        let refusal = http2.send(request).await.refusal();
        assert_eq!(refusal, (400, "bad_request".to_owned()), "{cause}");
        let line = world.audit("orders").nth("bad_request", number).await;
        assert!(line.detail.as_ref().unwrap().contains(cause), "{cause}: {line:?}");
    }
    assert_eq!(world.app("orders").requests(), 0);
    assert_eq!(http2.get("/orders/7").await.status(), 200);
}

#[tokio::test]
async fn garbage_ends_its_connection_and_no_other() {
    let world = orders(json!({})).await;
    let mut other = shop(&world).http1().await;
    for garbage in [
        "\0\0\0\0\0\0\0\0\r\n\r\n",
        "SSH-2.0-OpenSSH_9.9\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\nhost a\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nx: a\0b\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, nonsense\r\n\r\n",
    ] {
        let mut raw = shop(&world).raw().await;
        raw.send(garbage).await;
        let heard = raw.last_words().await;
        assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 400 "), "{garbage:?}: {heard}");
    }
    assert_eq!(world.app("orders").requests(), 0);
    assert_eq!(other.get("/orders/7").await.status(), 200);
}

// Limits

#[tokio::test]
async fn a_head_beyond_its_limits_is_refused() {
    let world = orders(json!({"headers": "8KiB", "header_count": 20})).await;
    let long = format!("x-long: {}\r\n", "a".repeat(20_000));
    let unending = "a".repeat(20_000);
    let many: String = (0..30).map(|number| format!("x-{number}: 1\r\n")).collect();
    for lines in [long.as_str(), &many] {
        let mut raw = shop(&world).raw().await;
        raw.try_send(format!("GET / HTTP/1.1\r\nhost: a\r\n{lines}\r\n")).await.ok();
        let heard = raw.last_words().await;
        assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 431 "), "{heard}");
    }
    let mut raw = shop(&world).raw().await;
    raw.try_send(format!("GET /{unending}")).await.ok();
    let heard = raw.last_words().await;
    assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 4"), "{heard}");

    let mut http2 = shop(&world).http2().await;
    let value = "a".repeat(20_000);
    let sent = http2.try_send(with_headers(get("/"), &[("x-long", &value)])).await;
    assert!(sent.as_ref().is_err() || sent.as_ref().is_ok_and(|it| it.status() == 431), "{sent:?}");
    assert_eq!(world.app("orders").requests(), 0);
    is_served(&world).await;
}

#[tokio::test]
async fn a_caller_that_stalls_in_the_handshake_is_cut_and_others_are_served_meanwhile() {
    let world = orders(json!({"handshake": "300ms"})).await;
    let began = Instant::now();
    let mut silent = plain(world.address("orders")).await;
    let mut halting = plain(world.address("orders")).await;
    // The beginning of a ClientHello that never goes on.
    halting.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await;
    is_served(&world).await;
    assert_eq!(silent.last_words().await, "");
    assert_eq!(halting.last_words().await, "");
    assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());
    until("both to be counted", async || {
        let metrics = world.metrics("orders").await;
        let failed = metrics.sum("sidegate_handshake_failures_total", &[("code", "timeout")]);
        (failed == 2.0).then_some(())
    })
    .await;
    assert_eq!(world.app("orders").requests(), 1);
}

#[tokio::test]
async fn a_caller_that_stalls_in_a_head_is_cut_and_others_are_served_meanwhile() {
    let world = orders(json!({"header_read": "300ms"})).await;
    let began = Instant::now();
    let mut first = shop(&world).raw().await;
    first.send("GET /orders/7 HTTP/1.1\r\nhos").await;
    let mut second = shop(&world).raw().await;
    second.send(GOOD).await;
    assert_eq!(second.answer().await.0, 200);
    second.send("G").await;
    is_served(&world).await;
    first.last_words().await;
    second.last_words().await;
    assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());
    assert_eq!(world.app("orders").requests(), 2);
}

#[tokio::test]
async fn a_caller_that_sends_its_head_drop_by_drop_is_cut_all_the_same() {
    let world = orders(json!({"header_read": "300ms"})).await;
    let mut raw = shop(&world).raw().await;
    raw.send("GET /orders/7 HTTP/1.1\r\nhost: a\r\nx-drops: ").await;
    let dripping = async {
        while raw.try_send("x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let began = Instant::now();
    within("the slow caller to be cut", dripping).await;
    assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());
    assert_eq!(world.app("orders").requests(), 0);
}

#[tokio::test]
async fn a_caller_that_stalls_in_a_body_is_cut_and_others_are_served_meanwhile() {
    let world = orders(json!({"idle": "500ms"})).await;
    let mut raw = shop(&world).raw().await;
    raw.send("POST /orders HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf").await;
    world.app("orders").reached(1).await;
    is_served(&world).await;
    let heard = raw.last_words().await;
    assert!(!heard.starts_with("HTTP/1.1 2"), "{heard}");
    holds("the application to be rid of it", || world.app("orders").open_connections() == 0).await;
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_and_are_served_once_one_ends() {
    let world = orders(json!({"connections": 2})).await;
    let mut first = shop(&world).http1().await;
    let mut second = shop(&world).http1().await;
    assert_eq!(first.get("/orders/7").await.status(), 200);
    assert_eq!(second.get("/orders/7").await.status(), 200);

    let third = shop(&world);
    let mut connecting = Box::pin(third.connect(&["http/1.1"]));
    let early = tokio::time::timeout(Duration::from_millis(100), connecting.as_mut()).await;
    assert!(early.is_err(), "more connections than allowed");
    assert_eq!(first.get("/orders/7").await.status(), 200, "the others go on");

    drop(second);
    let stream = within("a place", connecting).await.unwrap();
    let mut third = Http::http1(stream).await.unwrap();
    assert_eq!(third.get("/orders/7").await.status(), 200);
}

#[tokio::test]
async fn hundreds_of_streams_that_are_reset_at_once_end_their_connection_and_no_other() {
    const STREAMS: usize = 500;
    let world = orders(json!({})).await;
    let mut other = shop(&world).http2().await;
    assert_eq!(other.get("/orders/7").await.status(), 200);

    let mut raw = Raw::new(shop(&world).connect(&["h2"]).await.unwrap());
    let mut bytes = h2::hello();
    for number in 0..STREAMS {
        let stream = u32::try_from(2 * number + 1).unwrap();
        bytes.extend(h2::get(stream, "/held-head"));
        bytes.extend(h2::reset(stream));
    }
    raw.try_send(bytes).await.ok();
    assert_eq!(other.get("/orders/7").await.status(), 200);
    let heard = raw.last_words().await;
    assert!(heard.contains("too_many_resets"), "it ended for another cause: {heard:?}");

    let reached = world.app("orders").requests();
    assert!(reached < STREAMS / 2, "the application had to bear {reached}");
    is_served(&world).await;
    assert_eq!(other.get("/orders/7").await.status(), 200);
}

#[tokio::test]
async fn more_streams_than_the_limit_are_not_served_at_once() {
    let world = orders(json!({"streams": 2})).await;
    let mut raw = Raw::new(shop(&world).connect(&["h2"]).await.unwrap());
    // Without having read how many we allow.
    let bytes = [h2::hello(), h2::get(1, "/held-head"), h2::get(3, "/held-head")];
    raw.send(bytes.concat()).await;
    world.app("orders").reached(2).await;
    raw.send(h2::get(5, "/held-head")).await;
    assert_eq!(h2::reset_seen(&mut raw).await, (5, h2::REFUSED_STREAM));
    assert_eq!(world.app("orders").requests(), 2);

    // One who has read it waits, and is served in the end.
    let mut one = shop(&world).http2().await;
    assert_eq!(one.get("/orders/7").await.status(), 200);
    let (mut a, mut b, mut c) = (one.share(), one.share(), one.share());
    let release = async {
        world.app("orders").reached(5).await;
        world.app("orders").release();
    };
    let (a, b, c, ()) =
        tokio::join!(a.get("/held-head"), b.get("/held-head"), c.get("/held-head"), release);
    assert_eq!([a.status(), b.status(), c.status()], [200; 3]);
}

#[tokio::test]
async fn a_refused_request_does_not_poison_the_next_on_its_connection() {
    let world = orders(json!({})).await;
    let http1 = shop(&world).http1().await;
    let http2 = shop(&world).http2().await;
    for (number, mut connection) in (1..).zip([http1, http2]) {
        let denied = get("/a;b").map(|_| whole("a body that nobody reads"));
        assert_eq!(connection.send(denied).await.refusal(), (400, "bad_request".to_owned()));
        let delete = request(Method::DELETE, "/orders/7", "another body");
        let refused = connection.send(delete).await;
        assert_eq!(refused.refusal(), (403, "no_route".to_owned()));
        let reply = connection.get("/orders/7").await;
        assert_eq!((reply.status(), reply.json()["length"].as_u64()), (200, Some(0)));
        assert_eq!(world.app("orders").requests(), number);
        world.audit("orders").nth("bad_request", number).await;
        world.audit("orders").nth("no_route", number).await;
    }
}

#[tokio::test]
async fn identity_in_trailers_does_not_arrive() {
    let world = orders(json!({})).await;
    for mut http in [shop(&world).http1().await, shop(&world).http2().await] {
        let (sender, body) = channel();
        let names = "x-sidegate-tenant, x_sidegate_scopes, x-forwarded-client-cert, x-checksum";
        let asked = request(Method::POST, "/orders", "").map(|_| body);
        let asked = with_headers(asked, &[("trailer", names)]);
        tokio::spawn(async move {
            sender.send(data("a book")).await.unwrap();
            let trailers = names
                .split(", ")
                .map(|name| (name.parse().unwrap(), http::HeaderValue::from_static("umbrella")));
            sender.send(Ok(Frame::trailers(trailers.collect()))).await.unwrap();
        });
        let said = http.send(asked).await.json();
        assert_eq!(said["trailer_names"], json!(["x-checksum"]));
    }
}

#[tokio::test]
async fn nobody_switches_to_an_http_of_which_each_request_is_not_judged() {
    let world = orders(json!({})).await;
    for protocol in ["h2c", "H2C", "HTTP/2.0", "TLS/1.2", "websocket, h2c"] {
        let mut raw = shop(&world).raw().await;
        raw.send(format!(
            "GET /orders/7 HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\n\
             upgrade: {protocol}\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n"
        ))
        .await;
        assert_eq!(raw.answer().await.0, 200, "{protocol}");
        let seen = world.app("orders").last();
        assert_eq!((seen.header("upgrade"), seen.header("http2-settings")), (None, None));
    }
}

#[tokio::test]
async fn one_who_does_not_read_stops_nobody_else_on_a_shared_connection() {
    let world = World::new()
        .service("orders", |it| it.route("GET", "/**", "orders:read"))
        .service("shop", |it| it.scopes(["orders:read"]).calls("orders"))
        .start()
        .await;
    let mut idler = world.from("shop").http2("orders").await;
    let mut unread = Vec::new();
    for _ in 0..8 {
        unread.push(idler.begin(get("/source?20000000")).await.unwrap());
    }
    let mut reader = world.from("shop").http2("orders").await;
    let reply = within("an answer beside others that nobody reads", reader.get("/orders/7")).await;
    assert_eq!(reply.status(), 200);
    drop(unread);
}
