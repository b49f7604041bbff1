//! The orderly end: what runs may finish, what is new goes elsewhere, and it does not last forever.

use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::world::World;
use crate::world::client::{Reply, get};
use crate::world::more::{chat, whole_chat};
use crate::world::side;
use crate::world::wait::{until, within};

const SHOP: &str = "spiffe://example.org/prod/shop";

/// `shop` calls `orders`, and `orders` calls `stock`.
async fn three(limit: &'static str) -> World {
    World::new()
        .service("stock", |it| it.route("GET", "/**", "stock:read"))
        .service("orders", |it| {
            it.drain(limit)
                .route("GET", "/**", "orders:read")
                .tcp("ledger:write")
                .scopes(["stock:read"])
                .calls("stock")
        })
        .service("shop", |it| it.scopes(["orders:read", "ledger:write"]).calls("orders").open())
        .start()
        .await
}

/// New connections are turned away by the system: nobody listens any more.
async fn nobody_listens(world: &World) {
    for protocol in ["http", "tcp"] {
        let address = world.listener("orders", protocol);
        until("the listener to be closed", async || TcpStream::connect(address).await.err()).await;
    }
}

#[tokio::test]
async fn readiness_turns_false_at_once_and_says_why() {
    let mut world = three("10s").await;
    let mut held = world.as_peer(SHOP, "orders").http1().await;
    let answer = tokio::spawn(async move { held.get("/held-head").await });
    world.app("orders").reached(1).await;
    assert_eq!(world.not_ready("orders").await, [""; 0]);

    world.drain("orders");

    assert_eq!(world.not_ready("orders").await, ["draining"]);
    let health = world.service("orders").health();
    assert_eq!(side::reasons(health, "/live").await, [""; 0], "it is not to be restarted");
    assert_eq!(side::reasons(health, "/startup").await, [""; 0]);

    world.app("orders").release();
    assert_eq!(within("the answer", answer).await.unwrap().status(), 200);
    world.drained("orders").await;
}

#[tokio::test]
async fn requests_in_flight_finish_and_nothing_new_is_taken() {
    let mut world = three("10s").await;
    let stranger = world.as_peer(SHOP, "orders");
    let mut held_head = stranger.http1().await;
    let mut held_body = stranger.http1().await;
    let answers = async { tokio::join!(held_head.get("/held-head"), held_body.get("/held-body")) };
    let drain = async {
        world.app("orders").reached(2).await;
        world.drain("orders");
        nobody_listens(&world).await;
        world.app("orders").release();
    };

    let ((head, body), ()) = tokio::join!(answers, drain);

    assert_eq!(head.status(), 200);
    assert_eq!(head.header("connection"), Some("close"));
    assert_eq!(body.text(), "first,last");
    world.drained("orders").await;
    assert_eq!(world.audit("orders").count("allowed"), 2, "each line has been written");
}

#[tokio::test]
async fn a_kept_alive_connection_at_work_is_told_to_close_by_an_answer() {
    let mut world = three("10s").await;
    let mut connection = world.as_peer(SHOP, "orders").http1().await;
    assert_eq!(connection.get("/orders/7").await.header("connection"), None);

    world.drain("orders");
    // The client is in the middle of its work and cannot know yet.
    let last = connection.get("/orders/7").await;

    assert_eq!(last.status(), 200);
    assert_eq!(last.header("connection"), Some("close"));
    connection.ended().await.unwrap();
    world.drained("orders").await;
}

#[tokio::test]
async fn http2_is_told_goodbye_and_its_running_streams_finish() {
    let mut world = three("10s").await;
    let connection = world.as_peer(SHOP, "orders").http2().await;
    let (mut one, mut other, mut later) =
        (connection.share(), connection.share(), connection.share());
    let answers = async { tokio::join!(one.get("/held-head"), other.get("/held-body")) };
    let drain = async {
        world.app("orders").reached(2).await;
        world.drain("orders");
        // After GOAWAY a client puts nothing new on the connection.
        until("the client to hear of it", async || later.try_send(get("/orders/7")).await.err())
            .await;
        world.app("orders").release();
    };

    let ((head, body), ()) = tokio::join!(answers, drain);

    assert_eq!(head.status(), 200);
    assert_eq!(body.text(), "first,last");
    drop((one, other, later));
    connection.ended().await.unwrap();
    world.drained("orders").await;
}

#[tokio::test]
async fn the_application_can_call_others_until_it_has_answered() {
    let mut world = three("10s").await;
    let mut held = world.as_peer(SHOP, "orders").http1().await;
    let answer = tokio::spawn(async move { held.get("/held-head").await });
    world.app("orders").reached(1).await;
    let mut kept = world.from("orders").http1("stock").await;
    assert_eq!(kept.get("/stock/7").await.status(), 200);

    world.drain("orders");
    nobody_listens(&world).await;

    assert_eq!(world.from("orders").get("stock", "/stock/7").await.status(), 200);
    assert_eq!(kept.get("/stock/7").await.status(), 200);
    assert_eq!(kept.get("/stock/7").await.header("connection"), None, "not yet");

    world.app("orders").release();
    assert_eq!(within("the answer", answer).await.unwrap().status(), 200);
    // With the last answer the way out closes too.
    kept.ended().await.ok();
    world.drained("orders").await;
}

#[tokio::test]
async fn callers_with_a_sidecar_notice_nothing_but_a_refused_connection_afterwards() {
    let mut world = three("10s").await;
    let mut kept = world.from("shop").http1("orders").await;
    assert_eq!(kept.get("/orders/7").await.status(), 200);

    world.drain("orders");
    world.drained("orders").await;

    let refusal = kept.get("/orders/7").await;
    assert_eq!(refusal.refusal(), (503, "upstream_unreachable".to_owned()));
}

#[tokio::test]
async fn an_idle_sidecar_ends_long_before_its_limit() {
    let mut world = three("600s").await;
    let mut idle = world.as_peer(SHOP, "orders").http1().await;
    assert_eq!(idle.get("/orders/7").await.status(), 200);
    // Somebody who never begins a handshake has nothing to finish.
    let _silent = TcpStream::connect(world.address("orders")).await.unwrap();

    let began = Instant::now();
    world.drain("orders");
    world.drained("orders").await;

    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    idle.ended().await.ok();
}

#[tokio::test]
async fn what_runs_longer_than_the_limit_is_cut() {
    let mut world = three("1s").await;
    let stranger = world.as_peer(SHOP, "orders");
    let mut held = stranger.raw().await;
    held.send("GET /held-head HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut half = stranger.http2().await;
    let half = half.begin(get("/held-body")).await.unwrap();
    let mut stream = world.as_tcp_peer(SHOP, "orders").stream().await;
    chat(&mut stream, "stream").await;
    world.app("orders").reached(2).await;

    let began = Instant::now();
    world.drain("orders");
    assert_eq!(held.last_words().await, "");
    let cut = began.elapsed();
    assert!(cut >= Duration::from_secs(1), "cut after {cut:?}");
    assert!(cut < Duration::from_secs(3), "cut after {cut:?}");
    Reply::read(half).await.expect_err("half an answer is none");
    assert_eq!(stream.last_words().await, "");
    world.drained("orders").await;
    assert!(began.elapsed() < Duration::from_secs(5), "ended after {:?}", began.elapsed());
}

#[tokio::test]
async fn a_stream_that_comes_to_its_end_while_draining_does_so_in_order() {
    let mut world = three("10s").await;
    let mut stream = world.as_tcp_peer(SHOP, "orders").stream().await;
    chat(&mut stream, "stream").await;

    world.drain("orders");
    nobody_listens(&world).await;

    whole_chat(stream, "still").await.unwrap();
    world.drained("orders").await;
}

#[tokio::test]
async fn dropping_a_sidecar_cuts_everything_at_once() {
    let mut world = three("10s").await;
    let mut stream = world.as_tcp_peer(SHOP, "orders").stream().await;
    chat(&mut stream, "stream").await;
    let address = world.listener("orders", "http");

    world.kill("orders");

    let mut byte = [0];
    let read = within("the end", stream.0.read(&mut byte)).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    until("nobody to listen", async || TcpStream::connect(address).await.err()).await;
}
