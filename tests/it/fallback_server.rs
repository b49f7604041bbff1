//! Calls by token go to a server that proves its name, and to nobody else; and all that goes by
//! SVID goes by token, too (JWT-2, JWT-4).

use std::time::{Duration, SystemTime};

use http::Request;
use serde_json::json;
use sidegate::dev::WebAuthority;
use tokio::net::TcpListener;

use crate::world::World;
use crate::world::app::{Body, whole};
use crate::world::aside::{Aside, Witness, shown_by};
use crate::world::client::{get, post, with_headers};
use crate::world::grpc::{message, messages};
use crate::world::hostile::{Manners, Server, Shown, issued};
use crate::world::issuer::write_private;
use crate::world::tokens::claims;
use crate::world::wait::{holds, until};

const HOUR: Duration = Duration::from_secs(3_600);

async fn orders() -> World {
    World::new()
        .service("orders", |it| {
            it.route("GET", "/**", "orders:read")
                .route("POST", "/**", "orders:read")
                .grpc("test.Echo/*", "orders:read")
                .accepts(["spiffe", "jwt"])
        })
        .start()
        .await
}

/// Calls this address as `orders`, with a token in hand.
async fn calling(world: &World, address: impl ToString) -> (Aside, String) {
    let token = world.mint(claims("orders", "orders:read"), HOUR / 6);
    let file = world.hand().join("token");
    write_private(&file, &token);
    let say = json!({"connect_to": address.to_string(), "present": {"file": file}});
    let aside = world.aside(say);
    aside.ready().await;
    (aside, token)
}

const WISH: &str = "GET /chat/upgrade HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn call(method: &str, text: &str) -> Request<Body> {
    let request = Request::post(method).body(whole(message(text))).unwrap();
    with_headers(request, &[("content-type", "application/grpc"), ("te", "trailers")])
}

/// Tries everything at a server that is not `orders`: it is refused, and hears nothing of it.
async fn assert_hears_nothing(world: &World, shown: Option<Shown>, why: &str) {
    let tls = shown.is_some();
    let witness = Witness::start(shown).await;
    let (aside, token) = calling(world, witness.address).await;
    let refusal = (502, "upstream_identity".to_owned());

    let reply = aside.get("/orders/7").await;
    assert_eq!(reply.refusal(), refusal, "{why}");
    let reply = aside.http1().await.send(post("/orders", "a book")).await;
    assert_eq!(reply.refusal(), refusal, "{why}");
    assert_eq!(aside.http2().await.get("/orders/7").await.refusal(), refusal, "{why}");
    let reply = aside.http2().await.send(call("/test.Echo/Unary", "hello")).await;
    assert_eq!(reply.header("grpc-status"), Some("14"), "{why}");
    let mut raw = aside.raw().await;
    raw.send(WISH).await;
    assert_eq!(raw.answer().await, refusal, "{why}");

    let line = aside.audit().nth("upstream_identity", 5).await;
    assert_eq!(line.decision, "deny");
    assert!(line.detail.as_deref().unwrap().contains(why), "{line:?}");
    for met in witness.met(5).await {
        assert!(!met.shaken, "{why}: {met:?}");
        if !tls {
            assert_eq!(met.heard[..2], [0x16, 3], "it begins with a TLS handshake");
        }
        let heard = String::from_utf8_lossy(&met.heard);
        for word in [&*token, "orders/7", "Bearer", "bearer", "book"] {
            assert!(!heard.contains(word), "{why}: {heard}");
        }
    }
    let failed = aside.metrics().await.sum("sidegate_upstream_connections_total", &[]);
    assert_eq!(failed, 5.0, "nothing is tried again, and nothing was connected");
    assert_eq!(aside.audit().lines().len(), 5);
}

#[tokio::test]
async fn a_server_with_another_name_hears_nothing() {
    let world = orders().await;
    for name in ["billing.test", "orders.test.evil.test", "127.0.0.1"] {
        let shown = world.shown(name, HOUR);
        assert_hears_nothing(&world, Some(shown), "not valid for `orders.test`").await;
    }
}

#[tokio::test]
async fn a_server_of_an_unknown_authority_hears_nothing() {
    let world = orders().await;
    let stranger = WebAuthority::new().unwrap();
    let shown = shown_by(&stranger, "orders.test", HOUR);
    assert_hears_nothing(&world, Some(shown), "unknown authority").await;
}

#[tokio::test]
async fn a_server_with_the_svid_of_orders_hears_nothing() {
    let world = orders().await;
    let authority = world.agent_of("example.org").authority();
    let shown = issued(authority, &world.id("orders"), Duration::ZERO, HOUR);
    assert_hears_nothing(&world, Some(shown), "certificate").await;
}

#[tokio::test]
async fn a_server_whose_certificate_has_expired_hears_nothing() {
    let world = orders().await;
    let shown = world.shown("orders.test", Duration::from_secs(1));
    // It is good to the end of its last second.
    let expired = SystemTime::now() + Duration::from_secs(2);
    holds("the certificate to expire", || SystemTime::now() > expired).await;
    assert_hears_nothing(&world, Some(shown), "expired").await;
}

#[tokio::test]
async fn a_server_in_plaintext_hears_nothing() {
    let world = orders().await;
    assert_hears_nothing(&world, None, "not_tls").await;
}

#[tokio::test]
async fn a_connection_ends_with_the_certificate_of_its_server() {
    let world = orders().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut server =
        Server::on(listener, world.shown("orders.test", Duration::from_secs(3)), Manners::Answers);
    let (aside, _) = calling(&world, address).await;
    assert_eq!(aside.get("/orders/7").await.status(), 200);
    server.has_closed().await;
    let refused = async || (aside.get("/orders/7").await.status() == 502).then_some(());
    until("the server to be refused", refused).await;
}

#[tokio::test]
async fn authorities_that_are_replaced_in_their_file_are_followed() {
    let world = orders().await;
    let newer = WebAuthority::new().unwrap();
    let serving = async |shown| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (Server::on(listener, shown, Manners::Answers), address)
    };
    let (_old, old_address) = serving(world.shown("orders.test", HOUR)).await;
    let (_new, new_address) = serving(shown_by(&newer, "orders.test", HOUR)).await;
    let folder = world.hand();
    let file = folder.join("ca.pem");
    std::fs::copy(world.path("ca.pem"), &file).unwrap();
    let token = folder.join("token");
    write_private(&token, &world.mint(claims("orders", "orders:read"), HOUR / 6));
    let to = |address: std::net::SocketAddr| {
        world.aside(json!({
            "connect_to": address.to_string(),
            "present": {"file": token},
            "server": {"name": "orders.test", "ca": file},
        }))
    };
    let (to_new, to_old) = (to(new_address), to(old_address));
    to_new.ready().await;
    to_old.ready().await;
    assert_eq!(to_new.get("/orders/7").await.status(), 502);
    assert_eq!(to_old.get("/orders/7").await.status(), 200);

    write_private(&file, &newer.certificate_pem());
    let taken = async || (to_new.get("/orders/7").await.status() == 200).then_some(());
    until("the new authority", taken).await;
    let refused = async || (to_old.get("/orders/7").await.status() == 502).then_some(());
    until("the old one to be forgotten", refused).await;

    // What is no authority leaves the last one in force.
    write_private(&file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    for _ in 0..20 {
        assert_eq!(to_new.get("/orders/7").await.status(), 200);
    }
}

#[tokio::test]
async fn http_grpc_and_websocket_go_by_token() {
    let world = orders().await;
    let (aside, _) = calling(&world, world.address("orders")).await;
    let method = || world.app("orders").last().header("x-sidegate-method").unwrap().to_owned();

    assert_eq!(aside.get("/orders/7").await.status(), 200);
    assert_eq!(method(), "jwt");
    let reply = aside.http1().await.send(post("/orders", "a book")).await;
    assert_eq!(reply.json()["body"], "a book");
    let mut http2 = aside.http2().await;
    assert_eq!(http2.get("/orders/7").await.json()["version"], "HTTP/2.0");
    for kind in ["Unary", "Bidi", "ServerStream", "ClientStream"] {
        let reply = http2.send(call(&format!("/test.Echo/{kind}"), "hello")).await;
        assert_eq!(messages(&reply.body)[0], "hello");
        assert_eq!(reply.trailers["grpc-status"], "0");
        assert_eq!(method(), "jwt");
    }
    let mut raw = aside.raw().await;
    raw.send(WISH).await;
    assert!(raw.head().await.starts_with("HTTP/1.1 101 "));
    raw.send("hello").await;
    raw.hears("HELLO").await;
    assert_eq!(method(), "jwt");

    // Three connections for requests, and one for what was switched.
    let line = aside.audit().lines().pop().unwrap();
    assert_eq!(line.direction, "outbound");
    assert_eq!(line.destination.as_deref(), Some("orders.test"));
    assert_eq!(line.source.method.as_deref(), Some("jwt"));
    assert_eq!((line.local, line.source.spiffe_id), (None, None));
    let requests = world.app("orders").requests();
    let line = world.audit("orders").nth("allowed", requests).await;
    assert_eq!(line.source.method.as_deref(), Some("jwt"));
}

#[tokio::test]
async fn an_end_users_token_travels_beside_ours() {
    let world = orders().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = Server::on(listener, world.shown("orders.test", HOUR), Manners::Answers);
    let (aside, token) = calling(&world, address).await;
    let mut connection = aside.http1().await;
    for user in ["Bearer of-an-end-user", "Basic dXNlcjpwYXNz"] {
        let headers = [("authorization", user), ("proxy-authorization", "Basic bm90LXVz")];
        connection.send(with_headers(get("/orders/7"), &headers)).await;
        let head = server.head().await;
        assert_eq!(values(&head, "authorization"), [user]);
        assert_eq!(values(&head, "proxy-authorization"), [format!("Bearer {token}")]);
    }
    connection.get("/orders/7").await;
    let head = server.head().await;
    assert_eq!(values(&head, "authorization"), [format!("Bearer {token}")]);
    assert_eq!(values(&head, "proxy-authorization"), [""; 0]);

    let (aside, _) = calling(&world, world.address("orders")).await;
    let request = with_headers(get("/orders/7"), &[("authorization", "Bearer of-an-end-user")]);
    assert_eq!(aside.http1().await.send(request).await.status(), 200);
    let seen = world.app("orders").last();
    assert_eq!(seen.header("authorization"), Some("Bearer of-an-end-user"));
    assert_eq!(seen.header("proxy-authorization"), None);
    assert_eq!(seen.header("x-sidegate-subject"), Some("batch"));
}

#[tokio::test]
async fn by_svid_no_machine_token_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let world = World::new()
        .service("shop", |it| it.calls_address("orders", address).authenticates(["spiffe", "jwt"]))
        .start()
        .await;
    let authority = world.agent_of("example.org").authority();
    let shown = issued(authority, "spiffe://example.org/prod/orders", Duration::ZERO, HOUR);
    let mut server = Server::on(listener, shown, Manners::Answers);
    let mut connection = world.from("shop").http1("orders").await;
    for user in [None, Some("Bearer of-an-end-user")] {
        let headers: Vec<_> = user.map(|user| ("authorization", user)).into_iter().collect();
        connection.send(with_headers(get("/orders/7"), &headers)).await;
        let head = server.head().await;
        assert_eq!(values(&head, "authorization"), user.into_iter().collect::<Vec<_>>());
        assert_eq!(values(&head, "proxy-authorization"), [""; 0]);
    }
}

fn values(head: &str, name: &str) -> Vec<String> {
    let header = |line: &str| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then(|| value.to_owned())
    };
    head.lines().filter_map(header).collect()
}
