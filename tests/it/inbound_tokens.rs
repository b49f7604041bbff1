//! Callers without an SVID: let in by a machine token, in every protocol, and told to the
//! application as whom (JWT-1, JWT-4, JWT-6, AZ-2).

use serde_json::json;

use crate::world::World;
use crate::world::client::{get, post, with_headers};
use crate::world::grpc::{message, messages};
use crate::world::tokens::{claims, get_with};

const SHOP: &str = "spiffe://example.org/prod/shop";
/// Somebody's who is no machine; it means nothing to us.
const END_USER: &str = "Bearer header.of-an-end-user.signature";

async fn orders() -> World {
    World::new()
        .service("orders", |it| {
            it.route("GET", "/orders/{id}", "orders:read")
                .route("GET", "/chat/upgrade", "chat:join")
                .grpc("test.Echo/*", "echo:call")
                .accepts(["spiffe", "jwt"])
        })
        .service("shop", |it| it.scopes(["orders:read"]).calls("orders").open())
        .start()
        .await
}

#[tokio::test]
async fn a_good_token_is_let_in_and_the_application_told_who_it_is() {
    let world = orders().await;
    let token = world.token("orders", "orders:read openid");
    let reply =
        world.without_svid("orders").http1().await.send(get_with(&token, "/orders/7")).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    let seen = world.app("orders").last();
    assert_eq!(seen.header("x-sidegate-subject"), Some("batch"));
    assert_eq!(seen.header("x-sidegate-issuer"), Some(&*world.issuer().url));
    assert_eq!(seen.header("x-sidegate-method"), Some("jwt"));
    assert_eq!(seen.header("x-sidegate-scopes"), Some("orders:read"));
    assert_eq!(seen.header("x-sidegate-tenant"), Some("acme"));
    assert_eq!(seen.header("authorization"), None);
    assert_eq!(seen.header("x-forwarded-client-cert"), None);
    let line = world.audit("orders").only("allowed").await;
    assert_eq!(line.decision, "allow");
    assert_eq!(line.source.method.as_deref(), Some("jwt"));
    assert_eq!(line.source.subject.as_deref(), Some("batch"));
    assert_eq!(line.source.issuer.as_deref(), Some(&*world.issuer().url));
    assert_eq!((line.source.spiffe_id, line.source.serial), (None, None));
    assert_eq!(line.source.token.unwrap().len(), 32);
    assert_eq!((line.tenant.as_deref(), line.cross_tenant), (Some("acme"), false));
    assert_eq!(line.held_scopes.as_deref(), Some("orders:read"));
    let metrics = world.metrics("orders").await;
    assert_eq!(metrics.sum("sidegate_requests_total", &[("outcome", "allowed")]), 1.0);
}

#[tokio::test]
async fn without_a_token_the_answer_asks_for_one() {
    let world = orders().await;
    let reply = world.without_svid("orders").http1().await.send(get("/orders/7")).await;
    assert_eq!(reply.refusal(), (401, "unauthenticated".to_owned()));
    assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    let line = world.refused("orders", "unauthenticated", 0).await;
    assert_eq!(line.detail.as_deref(), Some("no certificate and no bearer token"));
}

#[tokio::test]
async fn scopes_may_be_an_array_and_others_than_ours_are_passed_over() {
    let world = orders().await;
    let mut connection = world.without_svid("orders").http1().await;
    for scope in [
        json!("orders:read"),
        json!("openid  orders:read profile"),
        json!(["orders:read"]),
        json!(["openid", "https://auth.example/all", "orders:read"]),
    ] {
        let mut claims = claims("orders", "");
        claims["scope"] = scope;
        let token = world.mint(claims, std::time::Duration::from_secs(60));
        assert_eq!(connection.send(get_with(&token, "/orders/7")).await.status(), 200);
        let seen = world.app("orders").last();
        assert_eq!(seen.header("x-sidegate-scopes"), Some("orders:read"));
    }
    for scope in ["openid", "orders read", "orders"] {
        let token = world.token("orders", scope);
        let reply = connection.send(get_with(&token, "/orders/7")).await;
        assert_eq!(reply.refusal(), (403, "insufficient_scope".to_owned()), "{scope}");
    }
}

#[tokio::test]
async fn tokens_are_taken_in_http_2_and_each_request_is_its_own() {
    let world = orders().await;
    let mut connection = world.without_svid("orders").http2().await;
    let batch = world.token("orders", "orders:read");
    let mut other = claims("orders", "orders:read");
    other["sub"] = json!("nightly");
    let nightly = world.mint(other, std::time::Duration::from_secs(60));
    for (token, subject) in [(&batch, "batch"), (&nightly, "nightly"), (&batch, "batch")] {
        let reply = connection.send(get_with(token, "/orders/7")).await;
        assert_eq!(reply.status(), 200, "{reply:?}");
        assert_eq!(reply.version(), http::Version::HTTP_2);
        let seen = world.app("orders").last();
        assert_eq!(seen.header("x-sidegate-subject"), Some(subject));
    }
    // The connection has earned nothing.
    let reply = connection.get("/orders/7").await;
    assert_eq!(reply.refusal(), (401, "unauthenticated".to_owned()));
}

#[tokio::test]
async fn tokens_are_taken_in_grpc() {
    let world = orders().await;
    let token = world.token("orders", "echo:call");
    let call = with_headers(
        post("/test.Echo/Unary", message("hello")),
        &[
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("authorization", &format!("Bearer {token}")),
        ],
    );
    let reply = world.without_svid("orders").http2().await.send(call).await;
    assert_eq!(messages(&reply.body), ["hello"]);
    assert_eq!(reply.trailers["grpc-status"], "0");
    let line = world.audit("orders").only("allowed").await;
    assert_eq!((&*line.protocol, line.source.method.as_deref()), ("grpc", Some("jwt")));
    assert_eq!(world.app("orders").last().header("authorization"), None);
}

#[tokio::test]
async fn tokens_are_taken_in_websockets() {
    let world = orders().await;
    let stranger = world.without_svid("orders");
    let wish = |token: &str| {
        format!(
            "GET /chat/upgrade HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\n\
             upgrade: websocket\r\nauthorization: Bearer {token}\r\n\r\n"
        )
    };
    let mut raw = stranger.raw().await;
    raw.send(wish(&world.token("orders", "chat:join"))).await;
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    raw.send("hello").await;
    raw.hears("HELLO").await;
    assert_eq!(world.audit("orders").only("allowed").await.protocol, "websocket");
    assert_eq!(world.app("orders").last().header("authorization"), None);

    let refused = stranger.asks(wish(&world.token("orders", "orders:read"))).await;
    assert_eq!(refused, (403, "insufficient_scope".to_owned()));
    assert_eq!(stranger.asks(wish("nothing")).await, (401, "invalid_token".to_owned()));
}

#[tokio::test]
async fn a_peer_with_an_svid_is_judged_by_that_and_its_bearer_is_an_end_users() {
    let world = orders().await;
    let mut connection = world.as_peer(SHOP, "orders").http1().await;
    for value in [END_USER, "Bearer", "Basic dXNlcjpwYXNz"] {
        let request = with_headers(get("/orders/7"), &[("authorization", value)]);
        assert_eq!(connection.send(request).await.status(), 200, "{value}");
        let seen = world.app("orders").last();
        assert_eq!(seen.header("authorization"), Some(value));
        assert_eq!(seen.header("x-sidegate-method"), Some("spiffe"));
        assert_eq!(seen.header("x-sidegate-subject"), Some(SHOP));
    }
    // Nor does a machine's token add anything to what the SVID may.
    let token = world.token("orders", "chat:join");
    let reply = connection.send(get_with(&token, "/chat/upgrade")).await;
    assert_eq!(reply.refusal(), (403, "insufficient_scope".to_owned()));
    let line = world.audit("orders").only("insufficient_scope").await;
    assert_eq!(line.source.spiffe_id.as_deref(), Some(SHOP));
    assert_eq!((line.source.method.as_deref(), line.source.token), (Some("spiffe"), None));
}

#[tokio::test]
async fn an_end_users_token_beside_a_machines_reaches_the_application_alone() {
    let world = orders().await;
    let machine = format!("Bearer {}", world.token("orders", "orders:read"));
    let request = with_headers(
        get("/orders/7"),
        &[("authorization", END_USER), ("proxy-authorization", &machine)],
    );
    let mut connection = world.without_svid("orders").http1().await;
    assert_eq!(connection.send(request).await.status(), 200);
    let seen = world.app("orders").last();
    assert_eq!(seen.header("authorization"), Some(END_USER));
    assert_eq!(seen.header("proxy-authorization"), None);
    assert_eq!(seen.header("x-sidegate-subject"), Some("batch"));

    // In each other's places neither is what it was.
    let request = with_headers(
        get("/orders/7"),
        &[("authorization", &machine), ("proxy-authorization", END_USER)],
    );
    let reply = connection.send(request).await;
    assert_eq!(reply.refusal(), (401, "invalid_token".to_owned()));
    assert_eq!(world.app("orders").requests(), 1);
}

#[tokio::test]
async fn what_a_caller_with_a_token_says_of_itself_is_removed() {
    let world = orders().await;
    let token = world.token("orders", "orders:read");
    let request = with_headers(
        get_with(&token, "/orders/7"),
        &[
            ("x-sidegate-subject", "admin"),
            ("x-sidegate-issuer", "https://attacker.example"),
            ("x-sidegate-tenant", "globex"),
            ("x-sidegate-scopes", "*:*"),
            ("x-sidegate-method", "spiffe"),
            ("x-sidegate-roles", "admin"),
            ("x_sidegate_subject", "admin"),
            ("x-forwarded-client-cert", "URI=spiffe://example.org/prod/admin"),
            ("x-forwarded-for", "127.0.0.1"),
        ],
    );
    let reply = world.without_svid("orders").http1().await.send(request).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    let seen = world.app("orders").last();
    assert_eq!(seen.header("x-sidegate-subject"), Some("batch"));
    assert_eq!(seen.header("x-sidegate-issuer"), Some(&*world.issuer().url));
    assert_eq!(seen.header("x-sidegate-tenant"), Some("acme"));
    assert_eq!(seen.header("x-sidegate-scopes"), Some("orders:read"));
    assert_eq!(seen.header("x-sidegate-method"), Some("jwt"));
    for name in
        ["x-sidegate-roles", "x_sidegate_subject", "x-forwarded-client-cert", "x-forwarded-for"]
    {
        assert_eq!(seen.header(name), None, "{name}");
    }
}
