//! The way out: whom our application reaches through its sidecar, and what it is told when it
//! does not.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::net::TcpListener;

use crate::world::World;
use crate::world::app::App;
use crate::world::audit::Line;
use crate::world::client::{Reply, get, post, with_headers};
use crate::world::hostile::{Manners, Server, Shown, issued};
use crate::world::spec::Spec;
use crate::world::wait::{holds, until};

const ORDERS: &str = "spiffe://example.org/prod/orders";
const SHOP: &str = "spiffe://example.org/prod/shop";
const HOUR: Duration = Duration::from_secs(3_600);

/// `shop` calls `orders`, both in good order.
async fn shop_and_orders(shop: impl FnOnce(Spec) -> Spec) -> World {
    World::new()
        .service("orders", |it| {
            it.route("GET", "/**", "orders:read").route("POST", "/**", "orders:read")
        })
        .service("shop", |it| shop(it.scopes(["orders:read"]).calls("orders")))
        .start()
        .await
}

/// `shop` calls `orders`, which is a server of ours at this address.
async fn shop_calling(address: impl ToString, limits: serde_json::Value) -> World {
    World::new()
        .service("shop", |it| it.limits(limits).calls_address("orders", address))
        .start()
        .await
}

/// A server with an SVID for this identity, and `shop` calling it as `orders`.
///
/// The authority is the world's, so the server can only start after the world: its address is
/// reserved before.
async fn shop_and_server(id: &str, manners: Manners, limits: serde_json::Value) -> (World, Server) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = shop_calling(listener.local_addr().unwrap(), limits).await;
    let server = Server::on(listener, svid(&world, id), manners);
    (world, server)
}

fn svid(world: &World, id: &str) -> Shown {
    issued(world.agent_of("example.org").authority(), id, Duration::ZERO, HOUR)
}

async fn asked(world: &World) -> Reply {
    world.from("shop").get("orders", "/orders/7").await
}

/// The one line on the caller's side, which is a refusal for this reason.
async fn only_line(world: &World, reply: &Reply, code: &str) -> Line {
    let line = world.audit("shop").only(code).await;
    assert_eq!(world.audit("shop").lines().len(), 1);
    assert_eq!((line.decision.as_str(), line.direction.as_str()), ("deny", "outbound"));
    assert_eq!(line.listener, "orders-http");
    assert_eq!(line.request_id, reply.header("x-request-id").unwrap());
    assert_eq!(line.method.as_deref(), Some("GET"));
    assert_eq!(line.path.as_deref(), Some("/orders/7"));
    line
}

fn detail(line: &Line) -> &str {
    line.detail.as_deref().unwrap()
}

/// Somebody else's sidecar was connected to this often, and each time has its line.
async fn handshakes(world: &World, expected: usize) {
    let metrics = world.metrics("shop").await;
    let connected = metrics.sum("sidegate_upstream_connections_total", &[("result", "connected")]);
    assert_eq!(connected, expected as f64);
    if expected > 0 {
        world.audit("shop").nth("allowed", expected).await;
    }
}

// Who answers

#[tokio::test]
async fn a_server_is_reached_when_it_is_who_it_should_be() {
    let world = shop_and_orders(|it| it).await;
    let reply = asked(&world).await;
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.json()["target"], "/orders/7");

    let line = world.audit("shop").only("allowed").await;
    assert_eq!((line.decision.as_str(), line.direction.as_str()), ("allow", "outbound"));
    assert_eq!(line.destination.as_deref(), Some(ORDERS));
    assert_eq!(line.local.as_deref(), Some(SHOP));
    assert_eq!(line.source.spiffe_id.as_deref(), Some(SHOP));
    let line = world.audit("orders").only("allowed").await;
    assert_eq!(line.source.spiffe_id.as_deref(), Some(SHOP));
}

#[tokio::test]
async fn a_server_with_another_identity_than_expected_gets_no_request() {
    let world = World::new()
        .service("impostor", |it| it.open())
        .service("shop", |it| it.calls_expecting("impostor", ORDERS))
        .start()
        .await;
    let http1 = world.from("shop").http1("impostor").await;
    let http2 = world.from("shop").http2("impostor").await;
    for (number, mut connection) in (1..).zip([http1, http2]) {
        let reply = connection.get("/orders/7").await;
        assert_eq!(reply.refusal(), (502, "upstream_identity".to_owned()));
        let line = world.audit("shop").nth("upstream_identity", number).await;
        assert_eq!(world.audit("shop").lines().len(), number);
        assert_eq!(line.destination, Some(world.id("impostor")), "who was met there");
        assert_eq!(line.decision, "deny");
        assert_eq!(line.request_id, reply.header("x-request-id").unwrap());
    }
    assert_eq!(world.app("impostor").requests(), 0);
}

#[tokio::test]
async fn a_server_without_a_sidecar_is_held_to_its_identity_too() {
    let other = "spiffe://example.org/prod/orders-canary";
    let (world, mut server) = shop_and_server(other, Manners::Answers, json!({})).await;
    let reply = asked(&world).await;
    assert_eq!(reply.refusal(), (502, "upstream_identity".to_owned()));
    let line = only_line(&world, &reply, "upstream_identity").await;
    assert_eq!(line.destination.as_deref(), Some(other));
    assert!(!server.was_asked());
}

#[tokio::test]
async fn a_server_of_a_trust_domain_that_we_do_not_federate_with_gets_no_request() {
    let world = World::new()
        .service("orders", |it| it.trust_domain("evil.test").federates_with("example.org").open())
        .service("shop", |it| it.calls_expecting("orders", ORDERS))
        .start()
        .await;
    let reply = asked(&world).await;
    assert_eq!(reply.refusal(), (502, "upstream_identity".to_owned()));
    let line = only_line(&world, &reply, "upstream_identity").await;
    assert!(detail(&line).contains("unknown_trust_domain"), "{line:?}");
    assert_eq!(line.destination, None, "nothing was proven");
    assert_eq!(world.app("orders").requests(), 0);
}

#[tokio::test]
async fn a_server_in_plaintext_gets_no_request() {
    let app = App::on_tcp().await;
    let world = shop_calling(app.address(), json!({})).await;
    let reply = asked(&world).await;
    assert_eq!(reply.refusal(), (502, "upstream_identity".to_owned()));
    let line = only_line(&world, &reply, "upstream_identity").await;
    assert!(detail(&line).contains("not_tls"), "{line:?}");
    assert_eq!(line.destination, None);
    assert_eq!(app.requests(), 0);
}

#[tokio::test]
async fn a_server_whose_sidecar_refuses_our_certificate_is_told_apart() {
    let world = World::new()
        .service("orders", |it| it.route("GET", "/**", "orders:read"))
        .service("shop", |it| {
            it.trust_domain("partner.test").federates_with("example.org").calls("orders")
        })
        .start()
        .await;
    let big = "b".repeat(300_000);
    let requests = [get("/orders/7"), post("/orders", "a book"), post("/orders", big.clone())];
    let again = [get("/orders/7"), post("/orders", "a book"), post("/orders", big)];
    let http1 = world.from("shop").http1("orders").await;
    let http2 = world.from("shop").http2("orders").await;
    let mut asked = 0;
    for (mut connection, requests) in [(http1, requests), (http2, again)] {
        for request in requests {
            asked += 1;
            let told = format!("request {asked}: {request:?}");
            let reply = connection.send(request).await;
            assert_eq!(reply.refusal(), (502, "upstream_refused".to_owned()), "{told}");
            let line = world.audit("shop").nth("upstream_refused", asked).await;
            assert_eq!(line.request_id, reply.header("x-request-id").unwrap());
            assert!(detail(&line).contains("UnknownCA"), "{line:?}");
            world.audit("orders").nth("unauthenticated", asked).await;
        }
    }
    assert_eq!(world.app("orders").requests(), 0);
}

// Who does not answer

#[tokio::test]
async fn nothing_that_listens_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let world = shop_calling(address, json!({})).await;
    let reply = asked(&world).await;
    assert_eq!(reply.refusal(), (503, "upstream_unreachable".to_owned()));
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(world.audit("shop").lines().len(), 0, "nobody refused anybody");
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_given_up_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = shop_calling(listener.local_addr().unwrap(), json!({"handshake": "300ms"})).await;
    let began = Instant::now();
    assert_eq!(asked(&world).await.refusal(), (504, "upstream_timeout".to_owned()));
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_on() {
    let limits = json!({"request": "300ms"});
    let (world, mut server) = shop_and_server(ORDERS, Manners::SaysNothing, limits).await;
    assert_eq!(asked(&world).await.refusal(), (504, "upstream_timeout".to_owned()));
    server.head().await;
    server.has_closed().await;
}

#[tokio::test]
async fn a_server_that_hangs_up_instead_of_answering_is_broken() {
    let (world, mut server) = shop_and_server(ORDERS, Manners::HangsUp, json!({})).await;
    let reply = world.from("shop").send("orders", post("/orders", "a book")).await;
    assert_eq!(reply.refusal(), (502, "upstream_broken".to_owned()));
    server.head().await;
    assert!(!server.was_asked(), "an order is placed once");
}

#[tokio::test]
async fn an_application_that_hangs_up_is_told_by_its_own_sidecar() {
    let world = shop_and_orders(|it| it).await;
    let http1 = world.from("shop").http1("orders").await;
    let http2 = world.from("shop").http2("orders").await;
    for (number, mut connection) in (1..).zip([http1, http2]) {
        let reply = connection.get("/close-early").await;
        assert_eq!(reply.refusal(), (502, "upstream_broken".to_owned()));
        assert_eq!(world.app("orders").requests(), 2 * number - 1);
        assert_eq!(connection.get("/orders/7").await.status(), 200);
    }
}

#[tokio::test]
async fn without_an_identity_nothing_goes_out_and_with_one_it_does() {
    let world = shop_and_orders(Spec::agent_is_down).await;
    let mut connection = world.from("shop").http1("orders").await;
    let reply = connection.get("/orders/7").await;
    assert_eq!(reply.refusal(), (503, "identity_unavailable".to_owned()));
    assert_eq!(reply.header("retry-after"), Some("1"));
    let line = only_line(&world, &reply, "identity_unavailable").await;
    assert_eq!((line.local, line.source.spiffe_id, line.destination), (None, None, None));
    assert_eq!(world.audit("orders").lines().len(), 0);

    world.agent("shop").start().unwrap();
    world.ready("shop").await;
    assert_eq!(connection.get("/orders/7").await.status(), 200);
}

// Connections

#[tokio::test]
async fn two_requests_one_after_the_other_share_one_connection() {
    let world = shop_and_orders(|it| it).await;
    for number in 1..=3 {
        // Each on a connection of its own to our sidecar.
        assert_eq!(asked(&world).await.status(), 200);
        world.app("orders").reached(number).await;
    }
    world.audit("orders").nth("allowed", 3).await;
    handshakes(&world, 1).await;
    assert_eq!(world.app("orders").connections(), 1);
}

#[tokio::test]
async fn requests_over_http2_share_one_connection_too() {
    let world = shop_and_orders(|it| it).await;
    let connection = world.from("shop").http2("orders").await;
    let (mut a, mut b) = (connection.share(), connection.share());
    let (a, b) = tokio::join!(a.get("/held-head"), async {
        world.app("orders").reached(1).await;
        let reply = b.get("/orders/7").await;
        world.app("orders").release();
        reply
    });
    assert_eq!((a.status(), b.status()), (200, 200));
    handshakes(&world, 1).await;
}

#[tokio::test]
async fn a_kept_connection_that_the_server_has_closed_is_no_error() {
    let limits = json!({});
    let (world, mut server) = shop_and_server(ORDERS, Manners::AnswersOnceAndCloses, limits).await;
    for number in 1..=3 {
        assert_eq!(asked(&world).await.status(), 200, "request {number}");
        server.head().await;
        server.has_closed().await;
    }
    handshakes(&world, 3).await;
}

#[tokio::test]
async fn a_kept_connection_that_the_application_has_closed_is_no_error() {
    let world = shop_and_orders(|it| it).await;
    let mut connection = world.from("shop").http1("orders").await;
    assert_eq!(connection.get("/orders/7").await.status(), 200);
    let app = world.app("orders");
    app.stop().await;
    holds("its connections to end", || app.open_connections() == 0).await;
    app.start().await;
    assert_eq!(connection.get("/orders/7").await.status(), 200);
    assert_eq!(connection.send(post("/orders", "a book")).await.status(), 200);
    assert_eq!(app.requests(), 3);
}

#[tokio::test]
async fn a_server_that_comes_back_is_reached_again() {
    let world = shop_and_orders(|it| it).await;
    let app = world.app("orders");
    app.stop().await;
    let reply = asked(&world).await;
    assert_eq!(reply.refusal(), (503, "upstream_unreachable".to_owned()));
    app.start().await;
    until("the application to be reached", async || {
        (asked(&world).await.status() == 200).then_some(())
    })
    .await;
}

// What goes out

#[tokio::test]
async fn the_host_is_rewritten_when_it_is_configured_and_left_alone_otherwise() {
    let world = shop_and_orders(|it| it.by_the_name("orders.internal:8443")).await;
    let reply = asked(&world).await;
    assert_eq!(reply.json()["host"], "orders.internal:8443");
    let mut http2 = world.from("shop").http2("orders").await;
    assert_eq!(http2.get("/orders/7").await.json()["version"], "HTTP/2.0");
    let seen = world.app("orders").last();
    assert!(!format!("{seen:?}").contains("service.test"), "{seen:?}");

    let world = shop_and_orders(|it| it).await;
    let request = with_headers(get("/orders/7"), &[("host", "as.i.say:81")]);
    let reply = world.from("shop").send("orders", request).await;
    assert_eq!(reply.json()["host"], "as.i.say:81");
}

#[tokio::test]
async fn what_our_application_says_of_its_identity_never_leaves() {
    let (world, mut server) = shop_and_server(ORDERS, Manners::Answers, json!({})).await;
    let mut raw = world.from("shop").raw("orders").await;
    let names = [
        "X-Sidegate-Subject",
        "x-sidegate-tenant",
        "X_SIDEGATE_SCOPES",
        "x-sidegate_method",
        "X-Forwarded-Client-Cert",
        "x_forwarded_client_cert",
    ];
    let spoofed: String = names.iter().map(|name| format!("{name}: evil\r\n")).collect();
    raw.send(format!(
        "GET /orders/7 HTTP/1.1\r\nhost: a\r\n{spoofed}authorization: Bearer end-user\r\n\
         x-forwarded-for: 10.0.0.1\r\n\r\n"
    ))
    .await;
    assert_eq!(raw.answer().await.0, 200);
    let head = server.head().await.to_ascii_lowercase();
    assert!(!head.contains("evil") && !head.contains("sidegate"), "{head}");
    assert!(head.contains("authorization: bearer end-user\r\n"), "{head}");
    assert!(head.contains("x-forwarded-for: 10.0.0.1\r\n"), "{head}");
}

#[tokio::test]
async fn a_malformed_request_of_our_own_application_does_not_leave_either() {
    let (world, mut server) = shop_and_server(ORDERS, Manners::Answers, json!({})).await;
    for (number, request) in (1..).zip([
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        "CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nhost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: x-sidegate-tenant\r\n\r\n",
    ]) {
        let mut raw = world.from("shop").raw("orders").await;
        raw.send(request).await;
        assert_eq!(raw.answer().await, (400, "bad_request".to_owned()), "{request}");
        world.audit("shop").nth("bad_request", number).await;
    }
    assert!(!server.was_asked());
    handshakes(&world, 0).await;
}
