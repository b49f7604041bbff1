//! What is bounded: a connection's age and idleness, a reader's patience, the audit log; and that
//! several workers keep the same bounds as one.

use std::time::{Duration, Instant};

use http::Version;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::world::World;
use crate::world::client::{Http, get};
use crate::world::more::{chat, ends};
use crate::world::stranger::Stranger;
use crate::world::wait::{holds, until, within};

/// Far below the default limits, so that none of them can be what is seen.
const SOON: Duration = Duration::from_secs(8);
/// More than all buffers between two applications hold.
const ENDLESS: &str = "/source?1000000000";

/// `limits` are those of orders.
async fn shop_and_orders(limits: Value, workers: usize) -> World {
    World::new()
        .service("orders", |it| it.open().tcp("orders:stream").limits(limits).workers(workers))
        .service("shop", |it| {
            let it = it.scopes(["orders:stream"]).workers(workers);
            it.calls("orders").calls_tcp("orders")
        })
        .start()
        .await
}

fn shop(world: &World) -> Stranger {
    world.as_peer(&world.id("shop"), "orders")
}

async fn connected(world: &World, version: Version) -> Http {
    match version {
        Version::HTTP_2 => shop(world).http2().await,
        _ => shop(world).http1().await,
    }
}

async fn upstream_connections(world: &World, service: &str) -> f64 {
    let metrics = world.metrics(service).await;
    metrics.sum("sidegate_upstream_connections_total", &[("result", "connected")])
}

#[tokio::test]
async fn requests_beyond_what_a_connection_takes_go_on_another() {
    let world = shop_and_orders(json!({"streams": 1}), 1).await;
    let mut connection = world.from("shop").http2("orders").await;
    let mut other = connection.share();
    assert_eq!(connection.get("/orders/7").await.status(), 200);
    let (held, passing) = tokio::join!(connection.get("/held-head"), async {
        world.app("orders").reached(2).await;
        let passing = within("a connection of its own", other.get("/orders/7")).await;
        world.app("orders").release();
        passing
    });
    assert_eq!((held.status(), passing.status()), (200, 200));
    assert_eq!(upstream_connections(&world, "shop").await, 2.0);
    assert_eq!(connection.get("/orders/7").await.status(), 200);
    assert_eq!(upstream_connections(&world, "shop").await, 2.0);
}

#[tokio::test]
async fn a_connection_that_has_grown_old_is_replaced_and_nobody_notices() {
    let world = shop_and_orders(json!({"connection_age": "300ms"}), 1).await;
    let shop = world.from("shop");
    let mut connection = shop.http1("orders").await;
    let mut concurrent = shop.http2("orders").await;
    until("several generations of connections", async || {
        for connection in [&mut connection, &mut concurrent] {
            assert_eq!(connection.get("/orders/7").await.status(), 200);
        }
        (upstream_connections(&world, "shop").await >= 8.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_old_connection_finishes_what_runs_on_it() {
    let world = shop_and_orders(json!({"connection_age": "300ms"}), 1).await;
    let connection = shop(&world).http2().await;
    let (mut held, mut later) = (connection.share(), connection.share());
    let answer = tokio::spawn(async move { held.get("/orders/held-head").await });
    world.app("orders").reached(1).await;
    until("the connection to take nothing new", async || {
        later.try_send(get("/orders/7")).await.err()
    })
    .await;
    world.app("orders").release();
    assert_eq!(within("the answer", answer).await.unwrap().status(), 200);
    drop(later);
    connection.ended().await.unwrap();
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_closed_in_order() {
    let world = shop_and_orders(json!({"idle": "500ms"}), 1).await;
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let mut connection = connected(&world, version).await;
        assert_eq!(connection.get("/orders/7").await.status(), 200);
        let began = Instant::now();
        connection.ended().await.unwrap();
        assert!(began.elapsed() < SOON, "{version:?}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_connection_at_rest_is_closed_in_order_by_its_idleness_and_by_its_age() {
    // It rests after a second.
    for limit in ["idle", "connection_age"] {
        let world = shop_and_orders(json!({ limit: "2500ms" }), 1).await;
        let mut connection = shop(&world).http1().await;
        let began = Instant::now();
        assert_eq!(connection.get("/orders/7").await.status(), 200);
        connection.ended().await.unwrap();
        let took = began.elapsed();
        assert!(took > Duration::from_secs(2) && took < SOON, "{limit}: {took:?}");
    }
}

#[tokio::test]
async fn a_stream_on_which_nothing_is_said_is_closed_on_both_sides() {
    let world = shop_and_orders(json!({"idle": "500ms"}), 1).await;
    let mut stream = world.from("shop").tcp("orders").await;
    chat(&mut stream, "hello").await;
    assert!(ends(&mut stream).await < SOON);
    let app = world.tcp_app("orders");
    holds("the application to be told", || app.resets() + app.finished() == 1).await;
    assert_eq!(app.finished(), 0, "what was cut is no clean end");
}

#[tokio::test]
async fn a_caller_that_stops_reading_is_cut_and_the_application_is_rid_of_it() {
    let world = shop_and_orders(json!({"idle": "500ms"}), 1).await;
    let app = world.app("orders");
    let mut connection = shop(&world).http1().await;
    let unread = connection.begin(get(ENDLESS)).await.unwrap();
    assert_eq!(app.open_connections(), 1);
    holds("the application to be rid of it", || app.open_connections() == 0).await;
    drop(unread);
    assert!(app.given() < 500_000_000, "it was read although nobody took it");
    assert_eq!(shop(&world).http1().await.get("/orders/7").await.status(), 200);
}

#[tokio::test]
async fn several_workers_answer_as_one() {
    const CONNECTIONS: usize = 40;
    let world = shop_and_orders(json!({}), 3).await;
    let mut calls = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let mut connection = world.from("shop").http1("orders").await;
        calls.spawn(async move {
            for _ in 0..3 {
                assert_eq!(connection.get("/orders/7").await.status(), 200);
            }
        });
    }
    within("all answers", calls.join_all()).await;
    assert_eq!(world.app("orders").requests(), CONNECTIONS * 3);
    assert_eq!(world.audit("orders").nth("allowed", CONNECTIONS * 3).await.protocol, "http");
    let metrics = world.metrics("orders").await;
    let requests = metrics.sum("sidegate_requests_total", &[("outcome", "allowed")]);
    assert_eq!(requests, (CONNECTIONS * 3) as f64);
}

#[tokio::test]
async fn the_limit_on_connections_holds_over_all_workers() {
    const LIMIT: usize = 3;
    const WORKERS: usize = 3;
    let world = shop_and_orders(json!({"connections": LIMIT}), WORKERS).await;
    let mut open = Vec::new();
    for _ in 0..LIMIT {
        let mut connection = shop(&world).http1().await;
        assert_eq!(connection.get("/orders/7").await.status(), 200);
        open.push(connection);
    }
    let mut more = JoinSet::new();
    for _ in 0..20 {
        let one_more = shop(&world);
        more.spawn(async move { one_more.connect(&["http/1.1"]).await });
    }
    let mut let_in = Vec::new();
    let early = async {
        while let Some(connected) = more.join_next().await {
            let_in.push(connected.unwrap().unwrap());
        }
    };
    tokio::time::timeout(Duration::from_millis(500), early).await.unwrap_err();
    // Each worker keeps a place free for whom the kernel hands it.
    assert!(let_in.len() < WORKERS, "{} more than allowed", let_in.len());
    assert_eq!(open[0].get("/orders/7").await.status(), 200, "the others go on");

    drop((open, let_in));
    let next = within("a place", more.join_next()).await.unwrap().unwrap().unwrap();
    assert_eq!(Http::http1(next).await.unwrap().get("/orders/7").await.status(), 200);
}

#[tokio::test]
async fn no_request_is_let_in_without_its_audit_line() {
    const CALLERS: usize = 40;
    let world = World::new()
        .service("orders", |it| it.open().audit_disk_is_full())
        .service("shop", |it| it.calls("orders"))
        .start()
        .await;
    let app = world.app("orders");
    let connection = shop(&world).http2().await;
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(until_refused(connection.share()));
    }
    let answered: usize = callers.join_all().await.into_iter().sum();
    assert_eq!(app.requests(), answered, "a request without its line has reached the application");

    std::fs::remove_file(world.service("orders").audit_path()).unwrap();
    let mut connection = shop(&world).http1().await;
    until("the log to take lines again", async || {
        (connection.get("/orders/7").await.status() == 200).then_some(())
    })
    .await;
    world.audit("orders").nth("allowed", app.requests()).await;
}

/// How many requests were answered before one was refused for want of its audit line. The lines
/// are long, so that the memory for those which wait is soon used up.
async fn until_refused(mut connection: Http) -> usize {
    let path = format!("/orders/{}", "x".repeat(2_000));
    let began = Instant::now();
    for answered in 0.. {
        let reply = connection.get(&path).await;
        if reply.status() != 200 {
            assert_eq!(reply.refusal(), (503, "audit_unavailable".to_owned()));
            assert_eq!(reply.header("retry-after"), Some("1"));
            return answered;
        }
        assert!(began.elapsed() < Duration::from_secs(240), "every line was taken by a full disk");
    }
    0
}
