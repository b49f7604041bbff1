//! Out by machine token while there is no SVID, and back (JWT-2, JWT-3, JWT-4).

use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::world::aside::notes;
use crate::world::client::{Http, post};
use crate::world::more::{chat, ends};
use crate::world::spec::Spec;
use crate::world::wait::{holds, until};
use crate::world::{World, secrets, side};

pub const WISH: &str = "GET /chat/upgrade HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// `shop` calls `orders`, by SVID or by token.
pub async fn shop_and_orders(say: impl Fn(Spec) -> Spec) -> World {
    shop_and("orders", say).await
}

async fn shop_and(called: &str, say: impl Fn(Spec) -> Spec) -> World {
    World::new()
        .service(called, |it| {
            it.route("GET", "/**", "orders:read")
                .route("POST", "/**", "orders:read")
                .grpc("test.Echo/*", "orders:read")
                .accepts(["spiffe", "jwt"])
        })
        .service("shop", |it| {
            say(it.scopes(["orders:read"]).calls(called).authenticates(["spiffe", "jwt"]))
        })
        .start()
        .await
}

async fn method(world: &World) -> String {
    method_on(world, &mut world.from("shop").http1("orders").await).await
}

pub async fn method_on(world: &World, connection: &mut Http) -> String {
    let reply = connection.get("/orders/7").await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    world.app("orders").last().header("x-sidegate-method").unwrap().to_owned()
}

async fn notes_of(world: &World) -> Vec<String> {
    notes(world.service("shop").health()).await
}

/// The way that the metrics name, which has to be one.
pub async fn way_of(world: &World, listener: &str) -> String {
    let metrics = world.metrics("shop").await;
    let way = |method| {
        metrics.sum("sidegate_outbound_method", &[("listener", listener), ("method", method)])
    };
    let ways: Vec<_> =
        ["spiffe", "jwt", "none"].into_iter().filter(|method| way(method) == 1.0).collect();
    let [way] = ways.as_slice() else { panic!("{ways:?} at once") };
    (*way).to_owned()
}

#[tokio::test]
async fn calls_go_by_token_while_the_agent_denies_and_by_svid_again_after() {
    let world = shop_and_orders(|it| it).await;
    assert_eq!(method(&world).await, "spiffe");
    assert_eq!(notes_of(&world).await, [""; 0]);

    for _ in 0..2 {
        world.agent("shop").deny();
        world.agent_is("shop", "denied").await;
        assert_eq!(method(&world).await, "jwt");
        assert_eq!(world.not_ready("shop").await, [""; 0]);
        assert_eq!(notes_of(&world).await, ["fallback_in_use", "identity_denied"]);
        assert_eq!(way_of(&world, "orders-http").await, "jwt");

        world.agent("shop").allow();
        world.agent_is("shop", "fresh").await;
        assert_eq!(method(&world).await, "spiffe");
        assert_eq!(notes_of(&world).await, [""; 0]);
        assert_eq!(way_of(&world, "orders-http").await, "spiffe");
    }
}

#[tokio::test]
async fn calls_go_by_token_when_the_agent_is_gone_and_the_svid_has_run_out() {
    let world = shop_and_orders(|it| it.ttl(6)).await;
    world.agent("shop").stop().await;
    world.agent_is("shop", "stale").await;
    assert_eq!(method(&world).await, "spiffe");
    assert_eq!(notes_of(&world).await, [""; 0]);

    world.agent_is("shop", "expired").await;
    assert_eq!(method(&world).await, "jwt");
    assert_eq!(world.not_ready("shop").await, [""; 0]);
    assert_eq!(notes_of(&world).await, ["fallback_in_use", "identity_expired"]);

    world.agent("shop").start().unwrap();
    world.agent_is("shop", "fresh").await;
    assert_eq!(method(&world).await, "spiffe");
    assert_eq!(notes_of(&world).await, [""; 0]);
}

#[tokio::test]
async fn a_sidecar_whose_agent_is_not_there_yet_begins_by_token() {
    let world = shop_and_orders(Spec::agent_is_down).await;
    let health = world.service("shop").health();
    until("it to have started", async || {
        side::reasons(health, "/startup").await.is_empty().then_some(())
    })
    .await;
    assert_eq!(method(&world).await, "jwt");
    assert_eq!(world.not_ready("shop").await, [""; 0]);
    assert_eq!(notes_of(&world).await, ["fallback_in_use", "identity_starting"]);

    world.agent("shop").start().unwrap();
    world.agent_is("shop", "fresh").await;
    assert_eq!(method(&world).await, "spiffe");
}

#[tokio::test]
async fn outside_spiffe_calls_go_by_token_and_that_is_no_fallback() {
    let world = World::new()
        .service("orders", |it| it.route("GET", "/**", "orders:read").accepts(["spiffe", "jwt"]))
        .service("shop", |it| {
            it.scopes(["orders:read"]).calls("orders").authenticates(["jwt"]).outside_spiffe()
        })
        .start()
        .await;
    assert_eq!(method(&world).await, "jwt");
    assert_eq!(notes_of(&world).await, [""; 0]);
    assert_eq!(way_of(&world, "orders-http").await, "jwt");
    let health = world.service("shop").health();
    assert_eq!(side::reasons(health, "/startup").await, [""; 0]);
    let line = world.audit("shop").only("allowed").await;
    assert_eq!(line.destination.as_deref(), Some("orders.test"));
    assert_eq!(line.source.method.as_deref(), Some("jwt"));
    assert_eq!(line.local, None);
}

#[tokio::test]
async fn each_switch_is_one_line_and_one_count() {
    // The log is one for all worlds: a name that no other has.
    let world = shop_and("switchyard", |it| it).await;
    let lines = || secrets::switches("switchyard-http");
    let count = async |to| {
        let labels = [("listener", "switchyard-http"), ("to", to)];
        world.metrics("shop").await.sum("sidegate_outbound_method_switches_total", &labels)
    };
    holds("the first line", || lines().len() == 1).await;
    assert!(lines()[0].contains("calls go out by SVID"), "{:?}", lines());
    assert_eq!([count("spiffe").await, count("jwt").await], [1.0, 0.0], "no token came first");
    for times in 1..=2 {
        world.agent("shop").deny();
        holds("a line", || lines().len() == 2 * times).await;
        let last = lines().pop().unwrap();
        assert!(last.contains("WARN") && last.contains("machine token"), "{last}");
        world.agent("shop").allow();
        holds("a line", || lines().len() == 2 * times + 1).await;
        let last = lines().pop().unwrap();
        assert!(last.contains("INFO") && last.contains("by SVID"), "{last}");
    }
    assert_eq!([count("spiffe").await, count("jwt").await], [3.0, 2.0]);
    assert_eq!(count("none").await, 0.0);
    assert_eq!(lines().len(), 5);
}

#[tokio::test]
async fn connections_of_one_kind_are_not_used_in_the_time_of_the_other() {
    let world = shop_and_orders(|it| it).await;
    let mut http1 = world.from("shop").http1("orders").await;
    let mut http2 = world.from("shop").http2("orders").await;
    let both = async |http1: &mut Http, http2: &mut Http, expected| {
        for _ in 0..5 {
            assert_eq!(method_on(&world, http1).await, expected);
            assert_eq!(method_on(&world, http2).await, expected);
        }
    };
    both(&mut http1, &mut http2, "spiffe").await;
    for _ in 0..3 {
        world.agent("shop").deny();
        world.agent_is("shop", "denied").await;
        both(&mut http1, &mut http2, "jwt").await;
        world.agent("shop").allow();
        world.agent_is("shop", "fresh").await;
        both(&mut http1, &mut http2, "spiffe").await;
    }
    // One for each kind and time, as the audit log has it.
    let made = world.audit("shop").nth("allowed", 14).await;
    assert_eq!(made.destination, Some(world.id("orders")));
}

#[tokio::test]
async fn with_neither_svid_nor_token_nothing_is_sent() {
    let world = shop_and_orders(|it| it.tokens_live(7)).await;
    world.take_token_away("shop");
    assert_eq!(method(&world).await, "spiffe");
    until("the missing token to be told", async || {
        (notes_of(&world).await == ["token_unavailable"]).then_some(())
    })
    .await;
    let connected =
        async || world.metrics("shop").await.sum("sidegate_upstream_connections_total", &[]);
    let before = (world.app("orders").requests(), connected().await);

    world.agent("shop").deny();
    world.agent_is("shop", "denied").await;

    assert_eq!(way_of(&world, "orders-http").await, "none");
    assert_eq!(world.not_ready("shop").await, ["token_unavailable", "identity_denied"]);
    let http1 = world.from("shop").http1("orders").await;
    let http2 = world.from("shop").http2("orders").await;
    for mut connection in [http1, http2] {
        let reply = connection.get("/orders/7").await;
        assert_eq!(reply.refusal(), (503, "identity_unavailable".to_owned()));
        assert!(reply.header("retry-after").is_some(), "{reply:?}");
        let reply = connection.send(post("/orders", "a book")).await;
        assert_eq!(reply.refusal(), (503, "identity_unavailable".to_owned()));
    }
    let mut raw = world.from("shop").raw("orders").await;
    raw.send(WISH).await;
    assert_eq!(raw.answer().await, (503, "identity_unavailable".to_owned()));
    assert_eq!((world.app("orders").requests(), connected().await), before);

    world.agent("shop").allow();
    world.ready("shop").await;
    assert_eq!(method(&world).await, "spiffe");
}

#[tokio::test]
async fn a_token_that_was_never_there_is_only_a_note_while_there_is_an_svid() {
    let world = shop_and_orders(|it| it.presents(json!({"file": "/nowhere/token"}))).await;
    let health = world.service("shop").health();
    let note = until("the missing token to be told", async || {
        let body = side::ask(health, "/ready").await.json();
        let notes = body["notes"].as_array()?.clone();
        let [note] = notes.as_slice() else { panic!("{body}") };
        note["message"].as_str()?.contains("/nowhere/token").then(|| note.clone())
    })
    .await;
    assert_eq!(note["code"], "token_unavailable");
    assert_eq!(world.not_ready("shop").await, [""; 0]);
    assert_eq!(method(&world).await, "spiffe");
}

#[tokio::test]
async fn raw_streams_have_no_place_for_a_token() {
    let world = World::new()
        .service("orders", |it| {
            it.route("GET", "/**", "orders:read").tcp("orders:read").accepts(["spiffe", "jwt"])
        })
        .service("shop", |it| {
            let it = it.scopes(["orders:read"]).calls("orders").calls_tcp("orders");
            it.authenticates(["spiffe", "jwt"])
        })
        .start()
        .await;
    let mut stream = world.from("shop").tcp("orders").await;
    chat(&mut stream, "by svid").await;
    world.agent("shop").deny();
    world.agent_is("shop", "denied").await;
    assert_eq!(method(&world).await, "jwt");
    assert_eq!(world.not_ready("shop").await, ["identity_denied"], "for the raw streams");
    ends(&mut stream).await;
    if let Ok(mut stream) = world.from("shop").try_tcp("orders").await {
        stream.try_send("by token").await.ok();
        assert_eq!(stream.last_words().await, "");
    }
    assert_eq!(world.tcp_app("orders").connections(), 1);

    world.agent("shop").allow();
    world.agent_is("shop", "fresh").await;
    chat(&mut world.from("shop").tcp("orders").await, "by svid").await;
}

#[tokio::test]
async fn what_was_switched_by_token_goes_on_when_spiffe_is_back() {
    let world = shop_and_orders(|it| it).await;
    let switched = async || {
        let mut raw = world.from("shop").raw("orders").await;
        raw.send(WISH).await;
        let head = raw.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        chat(&mut raw, "hello").await;
        raw
    };
    let mut by_svid = switched().await;
    world.agent("shop").deny();
    world.agent_is("shop", "denied").await;
    let mut by_token = switched().await;
    ends(&mut by_svid).await;

    world.agent("shop").allow();
    world.agent_is("shop", "fresh").await;
    assert_eq!(method(&world).await, "spiffe");
    chat(&mut by_token, "still there").await;
}

#[tokio::test]
async fn a_token_that_runs_out_before_the_svid_leaves_the_rest_to_the_svid() {
    let world = shop_and_orders(|it| it.ttl(15)).await;
    world.agent("shop").stop().await;
    let end = world.svid_not_after("shop").await;
    // Given up five seconds before its end, and then the SVID has one left.
    let left = end.duration_since(SystemTime::now()).unwrap();
    world.renew_token("shop", left + Duration::from_secs(4));
    let mut http1 = world.from("shop").http1("orders").await;
    let mut http2 = world.from("shop").http2("orders").await;
    let mut methods = Vec::new();
    while SystemTime::now() + Duration::from_millis(300) < end {
        methods.push(method_on(&world, &mut http1).await);
        // A server may hang up on what is new so late in an SVID's life, but there is a way.
        assert_ne!(http2.get("/orders/8").await.status(), 503);
    }
    methods.dedup();
    assert_eq!(methods, ["spiffe", "jwt", "spiffe"]);
    world.agent_is("shop", "expired").await;
    assert_eq!(http1.get("/orders/7").await.status(), 503);
}
