//! What is open is judged again when the rules change, and only what is refused by then ends (DP-8).

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use serde_json::json;

use crate::world::World;
use crate::world::app::channel;
use crate::world::client::{Http, Raw, get};
use crate::world::more::{chat, ends};
use crate::world::stranger::Stranger;
use crate::world::wait::{holds, within};

const SHOP: &str = "spiffe://example.org/prod/shop";
const DESK: &str = "spiffe://example.org/prod/desk";
/// A second, and what a busy machine takes.
const SOON: Duration = Duration::from_millis(1_500);

async fn orders() -> World {
    World::new()
        .service("orders", |it| {
            it.route("GET", "/**", "orders:read").route("POST", "/**", "orders:write")
        })
        .service("shop", |it| it.scopes(["orders:read", "orders:write"]).open())
        .service("desk", |it| it.scopes(["orders:read", "orders:write"]).open())
        .start()
        .await
}

/// A connection, and an answer of which the first half has come.
async fn download(stranger: &Stranger, http1: bool) -> (Http, Incoming) {
    let mut connection = if http1 { stranger.http1().await } else { stranger.http2().await };
    let answer = connection.begin(get("/orders/held-body")).await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body();
    let first = within("the first half", body.frame()).await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), Bytes::from("first,"));
    (connection, body)
}

async fn socket(stranger: &Stranger, path: &str) -> Raw {
    let mut raw = stranger.raw().await;
    raw.send(format!(
        "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    ))
    .await;
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    chat(&mut raw, "hello").await;
    raw
}

#[tokio::test]
async fn long_answers_that_a_new_policy_refuses_are_cut_and_others_arrive() {
    let mut world = orders().await;
    let (shop, desk) = (world.as_peer(SHOP, "orders"), world.as_peer(DESK, "orders"));
    let (_one, by_http1) = download(&shop, true).await;
    let (mut two, by_http2) = download(&shop, false).await;
    let (_three, other) = download(&desk, true).await;
    let (_four, other_by_http2) = download(&desk, false).await;

    let nothing = json!({"tenant": "acme", "roles": [], "scopes": []});
    world.policy("orders").grant(SHOP, nothing);
    let began = Instant::now();
    within("the end of the answer", by_http1.collect()).await.unwrap_err();
    within("the end of the answer", by_http2.collect()).await.unwrap_err();
    assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());
    let line = world.audit("orders").nth("insufficient_scope", 2).await;
    assert_eq!((&*line.protocol, line.source.spiffe_id.as_deref()), ("http", Some(SHOP)));
    // The second line about a request says which one it was.
    assert_eq!(
        (line.method.as_deref(), line.path.as_deref()),
        (Some("GET"), Some("/orders/held-body"))
    );
    let first =
        world.audit("orders").lines().into_iter().find(|it| it.request_id == line.request_id);
    let first = first.unwrap();
    assert_eq!((&*first.decision, first.again, line.again), ("allow", false, true));
    // The connection itself is as good as ever; what it asks now is answered by the new rules.
    assert_eq!(two.get("/orders/7").await.status(), 403);

    world.app("orders").release();
    for body in [other, other_by_http2] {
        let rest = within("the rest of the answer", body.collect()).await.unwrap();
        assert_eq!(rest.to_bytes(), "last");
    }
}

#[tokio::test]
async fn a_request_that_waits_for_its_answer_is_told_that_it_is_refused() {
    let mut world = orders().await;
    let mut connection = world.as_peer(SHOP, "orders").http2().await;
    let asked = tokio::spawn(async move { connection.get("/orders/held-head").await });
    world.app("orders").reached(1).await;
    world.policy("orders").block(SHOP);
    let reply = within("the answer", asked).await.unwrap();
    assert_eq!(reply.refusal(), (403, "policy_denied".to_owned()));
}

#[tokio::test]
async fn an_upload_is_cut_when_its_sender_loses_the_right_to_it() {
    let mut world = orders().await;
    for http1 in [true, false] {
        let stranger = world.as_peer(SHOP, "orders");
        let (sender, body) = channel();
        let request = Request::builder().method(Method::POST).uri("/orders").body(body).unwrap();
        sender.send(Ok(Frame::data(Bytes::from("this much and ")))).await.unwrap();
        let requests = world.app("orders").requests();
        let mut connection = if http1 { stranger.http1().await } else { stranger.http2().await };
        let uploading = tokio::spawn(async move { connection.send(request).await });
        world.app("orders").reached(requests + 1).await;
        world
            .repoliced("orders", |it| {
                let only_reading =
                    json!({"tenant": "acme", "roles": [], "scopes": ["orders:read"]});
                it.policy("orders").grant(SHOP, only_reading);
            })
            .await;
        let reply = within("the answer", uploading).await.unwrap();
        assert_eq!(reply.refusal(), (403, "insufficient_scope".to_owned()));
        world
            .repoliced("orders", |it| {
                let both = json!({"tenant": "acme", "roles": [],
                    "scopes": ["orders:read", "orders:write"]});
                it.policy("orders").grant(SHOP, both);
            })
            .await;
        drop(sender);
    }
}

#[tokio::test]
async fn what_a_policy_has_against_requests_is_asked_again_for_what_is_open() {
    let rule = "package sidegate.request\n\nimport rego.v1\n\n\
        deny contains \"frozen\" if data.frozen[input.request.path]\n";
    let mut world = orders().await;
    world
        .repoliced("orders", |it| {
            it.policy("orders").write("request.rego", rule);
        })
        .await;
    let stranger = world.as_peer(SHOP, "orders");
    let mut frozen = socket(&stranger, "/a/upgrade").await;
    let mut other = socket(&stranger, "/b/upgrade").await;
    let (_connection, body) = download(&stranger, false).await;

    let folder = world.policy("orders").file("frozen");
    std::fs::create_dir(folder).unwrap();
    let paths = json!({"/a/upgrade": true, "/orders/held-body": true});
    world.policy("orders").write("frozen/data.json", &paths.to_string());
    let began = Instant::now();
    ends(&mut frozen).await;
    within("the end of the answer", body.collect()).await.unwrap_err();
    assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());
    let line = world.audit("orders").nth("policy_denied", 2).await;
    assert!(line.detail.unwrap().contains("frozen"));
    chat(&mut other, "still here").await;
}

#[tokio::test]
async fn a_socket_is_judged_by_a_rule_about_requests_that_came_later() {
    let mut world = orders().await;
    let stranger = world.as_peer(SHOP, "orders");
    let mut frozen = socket(&stranger, "/a/upgrade").await;
    let mut other = socket(&stranger, "/b/upgrade").await;
    let rule = "package sidegate.request\n\nimport rego.v1\n\n\
        deny contains \"frozen\" if input.request.path == \"/a/upgrade\"\n";
    world.policy("orders").write("request.rego", rule);
    ends(&mut frozen).await;
    world.audit("orders").nth("policy_denied", 1).await;
    chat(&mut other, "still here").await;
}

#[tokio::test]
async fn the_first_rule_about_requests_is_asked_about_what_is_open() {
    let mut world = orders().await;
    let stranger = world.as_peer(SHOP, "orders");
    let marked = async |tier: &str| {
        let mut connection = stranger.http2().await;
        let mut request = get("/orders/held-body?a=1");
        request.headers_mut().insert("x-tier", tier.parse().unwrap());
        let mut body = connection.begin(request).await.unwrap().into_body();
        let first = within("the first half", body.frame()).await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), Bytes::from("first,"));
        (connection, body)
    };
    let ((_one, frozen), (_two, other)) = (marked("frozen").await, marked("gold").await);
    let rule = "package sidegate.request\n\nimport rego.v1\n\n\
        deny contains \"frozen\" if {\n\tinput.request.headers[\"x-tier\"][_] == \"frozen\"\n\t\
        input.request.path == \"/orders/held-body\"\n\tinput.request.query.a[_] == \"1\"\n}\n";
    world.policy("orders").write("request.rego", rule);
    within("the end of the answer", frozen.collect()).await.unwrap_err();
    let line = world.audit("orders").only("policy_denied").await;
    assert!(line.detail.unwrap().contains("frozen"));
    world.app("orders").release();
    let rest = within("the rest of the answer", other.collect()).await.unwrap();
    assert_eq!(rest.to_bytes(), "last");
}

#[tokio::test]
async fn what_is_open_goes_on_for_as_long_as_its_right_is_renewed() {
    let mut world = orders().await;
    let brief = json!({"tenant": "acme", "roles": [], "scopes": ["orders:read"],
        "ttl_seconds": 1});
    world.repoliced("orders", |it| it.policy("orders").grant(SHOP, brief)).await;
    let (_connection, body) = download(&world.as_peer(SHOP, "orders"), true).await;
    let app = world.app("orders");
    // It outlives several of its rights, since each is renewed.
    let before = world.metrics("orders").await.sum("sidegate_grant_cache_misses_total", &[]);
    crate::world::wait::until("the right to be renewed", async || {
        let metrics = world.metrics("orders").await;
        let misses = metrics.sum("sidegate_grant_cache_misses_total", &[]);
        (misses >= before + 2.0).then_some(())
    })
    .await;
    app.release();
    let rest = within("the rest of the answer", body.collect()).await.unwrap();
    assert_eq!(rest.to_bytes(), "last");
    holds("nothing to be refused", || {
        world.audit("orders").lines().iter().all(|line| line.decision == "allow")
    })
    .await;
}
