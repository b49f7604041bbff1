//! Policies that are edited while the sidecar runs.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::world::World;
use crate::world::app::channel;
use crate::world::client::{Http, Raw};
use crate::world::grpc::message;
use crate::world::more::{chat, ends};
use crate::world::wait::{until, within};

const SHOP: &str = "spiffe://example.org/prod/shop";
const DESK: &str = "spiffe://example.org/prod/desk";
/// A second, and what a busy machine takes.
const SOON: Duration = Duration::from_millis(1_500);
const RELOADS: &str = "sidegate_policy_reloads_total";
const UPGRADE: &str = "GET /upgrade HTTP/1.1\r\nhost: orders.test\r\nconnection: upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// `orders` as two others see it, `shop` and `desk`; both may do everything.
async fn orders() -> World {
    let scopes = ["orders:read", "ledger:write", "echo:talk"];
    World::new()
        .service("orders", |it| {
            it.route("GET", "/**", "orders:read")
                .grpc("test.Echo/*", "echo:talk")
                .tcp("ledger:write")
        })
        .service("shop", |it| it.scopes(scopes).open())
        .service("desk", |it| it.scopes(scopes).open())
        .start()
        .await
}

fn nothing() -> Value {
    json!({"tenant": "acme", "roles": [], "scopes": []})
}

fn reader() -> Value {
    json!({"tenant": "acme", "roles": ["reader"], "scopes": []})
}

/// Asks until the answer has this status, and says how long that took.
async fn answers(connection: &mut Http, status: u16) -> Duration {
    let began = Instant::now();
    until(&format!("the answer {status}"), async || {
        (connection.get("/orders/7").await.status() == status).then_some(())
    })
    .await;
    began.elapsed()
}

#[tokio::test]
async fn an_edit_is_in_force_within_a_second_on_connections_that_are_open() {
    let mut world = orders().await;
    let mut http1 = world.as_peer(SHOP, "orders").http1().await;
    let mut http2 = world.as_peer(SHOP, "orders").http2().await;
    assert_eq!(http1.get("/orders/7").await.status(), 200);
    assert_eq!(http2.get("/orders/7").await.status(), 200);
    let before = world.metrics("orders").await.revision();

    world.policy("orders").grant(SHOP, nothing());
    let took = answers(&mut http1, 403).await;
    assert!(took < SOON, "it took {took:?}");
    assert_eq!(http2.get("/orders/7").await.refusal(), (403, "insufficient_scope".to_owned()));

    world.policy("orders").grant(SHOP, reader());
    let took = answers(&mut http1, 200).await;
    assert!(took < SOON, "it took {took:?}");
    assert_eq!(http2.get("/orders/7").await.status(), 200);

    let metrics = world.metrics("orders").await;
    assert_eq!(metrics.sum(RELOADS, &[("result", "loaded")]), 2.0);
    assert_eq!(metrics.sum(RELOADS, &[("result", "rejected")]), 0.0);
    assert_ne!(metrics.revision(), before);
    until("the audit log to speak of the same policy as the metrics", async || {
        let lines = world.audit("orders").lines();
        (lines.last()?.policy_revision == Some(metrics.revision())).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_broken_edit_changes_nothing_but_shows_until_it_is_mended() {
    let mut world = orders().await;
    let mut connection = world.as_peer(SHOP, "orders").http1().await;
    assert_eq!(connection.get("/orders/7").await.status(), 200);
    let whole = std::fs::read_to_string(world.policy("orders").file("global.rego")).unwrap();
    let before = world.metrics("orders").await.revision();

    world.policy("orders").write("global.rego", "package sidegate.global\n\ngrant := {");
    let what = "the broken edit to be rejected";
    until(what, async || {
        let metrics = world.metrics("orders").await;
        (metrics.sum(RELOADS, &[("result", "rejected")]) == 1.0).then_some(())
    })
    .await;
    assert_eq!(world.metrics("orders").await.revision(), before);
    assert_eq!(world.not_ready("orders").await, [""; 0], "the old policy is as good as ever");
    assert_eq!(connection.get("/orders/7").await.status(), 200);

    // A policy is its whole folder: a good file beside a broken one is not taken alone.
    world.policy("orders").grant(SHOP, nothing());
    until("the second broken candidate to be rejected", async || {
        let metrics = world.metrics("orders").await;
        (metrics.sum(RELOADS, &[("result", "rejected")]) == 2.0).then_some(())
    })
    .await;
    assert_eq!(connection.get("/orders/7").await.status(), 200);

    world.policy("orders").write("global.rego", &whole);
    let took = answers(&mut connection, 403).await;
    assert!(took < SOON, "it took {took:?}");
    let metrics = world.metrics("orders").await;
    assert_eq!(metrics.sum(RELOADS, &[("result", "loaded")]), 1.0);
    assert_eq!(metrics.sum(RELOADS, &[("result", "rejected")]), 2.0, "each is told once");
    assert_ne!(metrics.revision(), before);
}

#[tokio::test]
async fn a_folder_that_is_replaced_as_a_whole_is_followed() {
    let mut world = orders().await;
    let mut connection = world.as_peer(SHOP, "orders").http1().await;
    assert_eq!(connection.get("/orders/7").await.status(), 200);

    // As a deployment tool does it: the new folder is made aside and renamed into place.
    let folder = world.policy("orders").path.clone();
    let (aside, old) = (folder.with_extension("aside"), folder.with_extension("old"));
    std::fs::create_dir(&aside).unwrap();
    std::fs::copy(folder.join("global.rego"), aside.join("global.rego")).unwrap();
    std::fs::write(aside.join("data.json"), r#"{"identities": {}, "blocked": {}}"#).unwrap();
    std::fs::rename(&folder, old).unwrap();
    std::fs::rename(aside, &folder).unwrap();
    answers(&mut connection, 403).await;

    // And what happens in the new one is noticed too.
    world.policy("orders").grant(SHOP, reader());
    answers(&mut connection, 200).await;
}

/// A raw stream and a WebSocket, with one word said on each.
async fn streams(world: &World, id: &str) -> (Raw, Raw) {
    let mut stream = world.as_tcp_peer(id, "orders").stream().await;
    chat(&mut stream, "stream").await;
    let mut socket = world.as_peer(id, "orders").raw().await;
    socket.send(UPGRADE).await;
    assert!(socket.head().await.starts_with("HTTP/1.1 101 "));
    chat(&mut socket, "socket").await;
    (stream, socket)
}

#[tokio::test]
async fn open_streams_that_a_new_policy_refuses_are_cut_and_others_go_on() {
    let mut world = orders().await;
    let (mut stream, mut socket) = streams(&world, SHOP).await;
    let (mut desk_stream, mut desk_socket) = streams(&world, DESK).await;

    world.policy("orders").grant(SHOP, nothing());
    let began = Instant::now();
    ends(&mut stream).await;
    ends(&mut socket).await;
    assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());

    chat(&mut desk_stream, "still here").await;
    chat(&mut desk_socket, "still here").await;
    world.audit("orders").nth("insufficient_scope", 2).await;
    let mut lines = world.audit("orders").lines();
    lines.retain(|line| line.decision == "deny");
    lines.sort_by(|a, b| a.listener.cmp(&b.listener));
    let [http, tcp] = lines.as_slice() else { panic!("one line each: {lines:#?}") };
    assert_eq!((http.listener.as_str(), tcp.listener.as_str()), ("http", "tcp"));
    for line in [http, tcp] {
        assert_eq!(line.source.spiffe_id.as_deref(), Some(SHOP));
        assert_eq!(line.held_scopes.as_deref(), Some(""));
    }

    // Another change that leaves them their rights leaves them alone, too.
    world.policy("orders").grant(SHOP, reader());
    answers(&mut world.as_peer(SHOP, "orders").http1().await, 200).await;
    chat(&mut desk_stream, "even now").await;
    chat(&mut desk_socket, "even now").await;
}

#[tokio::test]
async fn open_streams_of_a_workload_that_is_no_longer_known_are_cut() {
    let mut world = orders().await;
    let (mut stream, mut socket) = streams(&world, SHOP).await;
    let elsewhere =
        json!({"tenant": "globex", "roles": [], "scopes": ["orders:read", "ledger:write"]});

    world.policy("orders").grant(SHOP, elsewhere);
    ends(&mut stream).await;
    ends(&mut socket).await;

    world.audit("orders").nth("tenant_mismatch", 2).await;
}

#[tokio::test]
async fn open_streams_of_a_workload_that_is_blocked_are_cut() {
    let mut world = orders().await;
    let (mut stream, mut socket) = streams(&world, SHOP).await;

    world.policy("orders").block(SHOP);
    ends(&mut stream).await;
    ends(&mut socket).await;

    let line = world.audit("orders").nth("policy_denied", 2).await;
    assert!(line.detail.as_deref().unwrap().contains("blocked"), "{line:?}");
}

#[tokio::test]
async fn a_grpc_stream_that_a_new_policy_refuses_is_cut() {
    let mut world = orders().await;
    let mut connection = world.as_peer(SHOP, "orders").http2().await;
    let (sender, body) = channel();
    let request = http::Request::post("/test.Echo/Bidi")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap();
    sender.send(Ok(Frame::data(message("one")))).await.unwrap();
    let mut answer = connection.begin(request).await.unwrap().into_body();
    let heard: Bytes =
        within("an echo", answer.frame()).await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(heard, message("one"));

    world.policy("orders").grant(SHOP, nothing());

    let rest = within("the end of the stream", answer.collect()).await;
    let in_order = rest.is_ok_and(|rest| {
        rest.trailers()
            .is_some_and(|trailers| trailers.get("grpc-status").is_some_and(|it| it == "0"))
    });
    assert!(!in_order, "the stream has to end as one that was cut");
    world.audit("orders").nth("insufficient_scope", 1).await;
}

#[tokio::test]
async fn a_grpc_call_that_a_new_policy_refuses_before_its_answer_is_told_so() {
    let mut world = orders().await;
    let mut connection = world.as_peer(SHOP, "orders").http2().await;
    let (sender, body) = channel();
    let request = http::Request::post("/test.Echo/Held")
        .header("content-type", "application/grpc")
        .body(body)
        .unwrap();
    sender.send(Ok(Frame::data(message("one")))).await.unwrap();
    let asked = tokio::spawn(async move { connection.begin(request).await });
    world.app("orders").reached(1).await;

    world.policy("orders").grant(SHOP, nothing());

    let answer = within("the answer", asked).await.unwrap().unwrap();
    assert_eq!(answer.headers()["grpc-status"], "7");
    assert_eq!(answer.headers()["grpc-message"], "insufficient_scope");
    let line = world.audit("orders").nth("insufficient_scope", 1).await;
    assert_eq!(line.protocol, "grpc");
}

#[tokio::test]
async fn a_grpc_call_that_a_new_policy_still_allows_goes_on() {
    let mut world = orders().await;
    let mut connection = world.as_peer(SHOP, "orders").http2().await;
    let (sender, body) = channel();
    let request = http::Request::post("/test.Echo/Bidi")
        .header("content-type", "application/grpc")
        .body(body)
        .unwrap();
    sender.send(Ok(Frame::data(message("one")))).await.unwrap();
    let mut answer = connection.begin(request).await.unwrap().into_body();
    let mut heard = async || within("an echo", answer.frame()).await.unwrap().unwrap();
    assert_eq!(heard().await.into_data().unwrap(), message("one"));
    let (mut stream, _) = streams(&world, DESK).await;

    // Another one loses its rights, and that is in force when its stream has been cut.
    world.policy("orders").grant(DESK, nothing());
    ends(&mut stream).await;

    // For longer than it takes to judge the call again.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(1) {
        sender.send(Ok(Frame::data(message("two")))).await.unwrap();
        assert_eq!(heard().await.into_data().unwrap(), message("two"));
    }
    drop(sender);
    assert_eq!(heard().await.into_trailers().unwrap()["grpc-status"], "0");
}

#[tokio::test]
async fn a_policy_that_changes_while_the_application_answers_an_upgrade_is_not_missed() {
    let mut world = orders().await;
    let address = world.app("orders").address();
    world.app("orders").stop().await;
    let application = TcpListener::bind(address).await.unwrap();

    let mut socket = world.as_peer(SHOP, "orders").raw().await;
    socket.send(UPGRADE).await;
    let (mut slow, _) =
        within("the upgrade at the application", application.accept()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within("the head", slow.read_u8()).await.unwrap());
    }
    world.policy("orders").grant(SHOP, nothing());
    until("the new policy to be in force", async || {
        let metrics = world.metrics("orders").await;
        (metrics.sum(RELOADS, &[("result", "loaded")]) == 1.0).then_some(())
    })
    .await;
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
        upgrade: websocket\r\n\r\n";
    slow.write_all(switch).await.unwrap();

    assert!(socket.head().await.starts_with("HTTP/1.1 101 "));
    ends(&mut socket).await;
}
