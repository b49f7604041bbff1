//! WebSocket and other upgrades through two sidecars.

use tokio::net::TcpListener;

use crate::world::World;
use crate::world::client::Raw;
use crate::world::wait::within;

const SHOP: &str = "spiffe://example.org/prod/shop";

async fn shop_and_orders() -> World {
    World::new()
        .service("orders", |it| {
            it.route("GET", "/chat/upgrade", "chat:join").route(
                "GET",
                "/orders/{id}",
                "orders:read",
            )
        })
        .service("shop", |it| it.scopes(["chat:join", "orders:read"]).calls("orders"))
        .service("crawler", |it| it.scopes(["orders:read"]).calls("orders"))
        .start()
        .await
}

fn wish(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// A connection that has switched.
async fn switched(mut raw: Raw) -> Raw {
    raw.send(wish("/chat/upgrade")).await;
    let head = raw.head().await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains("\r\nconnection: upgrade\r\n"), "{head}");
    assert!(head.contains("\r\nupgrade: websocket\r\n"), "{head}");
    assert!(head.contains("\r\nsec-websocket-accept: x3jjhmbdl1ezlkh9gbhxdw==\r\n"), "{head}");
    raw
}

#[tokio::test]
async fn both_sides_talk_freely_after_an_upgrade() {
    let world = shop_and_orders().await;
    for raw in [world.from("shop").raw("orders").await, world.as_peer(SHOP, "orders").raw().await] {
        let mut raw = switched(raw).await;
        for word in ["hello", "GET / HTTP/1.1\r\n\r\n", "\0\u{1}binary"] {
            raw.send(word).await;
            raw.hears(word.to_ascii_uppercase()).await;
        }
        let seen = world.app("orders").last();
        assert_eq!(seen.header("connection"), Some("upgrade"));
        assert_eq!(seen.header("upgrade"), Some("websocket"));
        assert_eq!(seen.header("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
        assert_eq!(seen.header("x-sidegate-subject"), Some(SHOP));
    }
    let line = world.audit("orders").nth("allowed", 2).await;
    assert_eq!(line.path.as_deref(), Some("/chat/upgrade"));
}

#[tokio::test]
async fn what_is_said_right_behind_the_wish_is_not_lost() {
    let world = shop_and_orders().await;
    let mut raw = world.from("shop").raw("orders").await;

    raw.send(format!("{}eager", wish("/chat/upgrade"))).await;

    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    raw.hears("EAGER").await;
}

#[tokio::test]
async fn an_application_that_declines_answers_as_usual() {
    let world = shop_and_orders().await;
    let mut raw = world.from("shop").raw("orders").await;

    raw.send(wish("/orders/7")).await;
    assert_eq!(raw.answer().await.0, 200);
    assert_eq!(world.app("orders").last().header("upgrade"), Some("websocket"));

    // It is HTTP as before.
    raw.send("GET /orders/8 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(raw.answer().await.0, 200);
    assert_eq!(world.app("orders").last().target, "/orders/8");
}

#[tokio::test]
async fn an_upgrade_that_nobody_asked_for_properly_is_none() {
    let world = shop_and_orders().await;
    let mut raw = world.from("shop").raw("orders").await;

    // `Upgrade` without `Connection: upgrade` is a header of this hop and goes no further.
    raw.send("GET /chat/upgrade HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\r\n").await;

    assert_eq!(raw.answer().await.0, 426);
    assert_eq!(world.app("orders").last().header("upgrade"), None);
}

#[tokio::test]
async fn a_caller_that_hangs_up_ends_the_conversation_at_the_application() {
    let world = shop_and_orders().await;
    let stand_in = world.stand_in("orders").await;
    for raw in [world.from("shop").raw("orders").await, world.as_peer(SHOP, "orders").raw().await] {
        let (mut raw, mut far) = switched_by_hand(raw, &stand_in).await;
        raw.send("hello").await;
        far.hears("hello").await;

        raw.finish().await;
        assert_eq!(far.rest().await.unwrap(), b"");

        // This side may have something left to say.
        far.send("goodbye").await;
        raw.hears("goodbye").await;
        far.finish().await;
        assert_eq!(raw.rest().await.unwrap(), b"");
    }
}

/// Both ends of a connection that has switched, where the test is the application.
async fn switched_by_hand(mut raw: Raw, stand_in: &TcpListener) -> (Raw, Raw) {
    raw.send(wish("/chat/upgrade")).await;
    let (stream, _) = within("the wish", stand_in.accept()).await.unwrap();
    let mut far = Raw::new(stream);
    assert!(far.head().await.starts_with("GET /chat/upgrade HTTP/1.1\r\n"));
    far.send("HTTP/1.1 101 Go\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n").await;
    assert!(raw.head().await.starts_with("HTTP/1.1 101 "));
    (raw, far)
}

#[tokio::test]
async fn an_application_that_hangs_up_ends_the_conversation_at_the_caller() {
    let world = shop_and_orders().await;
    let stand_in = world.stand_in("orders").await;
    for torn in [false, true] {
        for raw in
            [world.from("shop").raw("orders").await, world.as_peer(SHOP, "orders").raw().await]
        {
            let (mut raw, mut far) = switched_by_hand(raw, &stand_in).await;
            raw.send("nobody reads all of this").await;
            far.hears("nobody").await;
            if !torn {
                far.hears(" reads all of this").await;
                far.send("goodbye").await;
                raw.hears("goodbye").await;
            }
            // With something left unread, this is a reset.
            drop(far);
            assert_eq!(raw.last_words().await, "");
        }
    }
}

#[tokio::test]
async fn an_upgrade_without_the_scope_is_refused_before_the_application_hears_of_it() {
    let world = shop_and_orders().await;
    let mut raw = world.from("crawler").raw("orders").await;

    raw.send(wish("/chat/upgrade")).await;

    assert_eq!(raw.answer().await, (403, "insufficient_scope".to_owned()));
    world.assert_refused("orders", "insufficient_scope").await;
    assert_eq!(world.app("orders").connections(), 0);
}

#[tokio::test]
async fn an_upgrade_on_a_route_that_is_not_declared_is_refused() {
    let world = shop_and_orders().await;
    let mut raw = world.from("shop").raw("orders").await;

    raw.send(wish("/upgrade")).await;

    assert_eq!(raw.answer().await, (403, "no_route".to_owned()));
    world.assert_refused("orders", "no_route").await;
    assert_eq!(world.app("orders").connections(), 0);

    // And what follows the refusal is read as HTTP, not as a conversation.
    raw.send("GET /orders/7 HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(raw.answer().await.0, 200);
}

#[tokio::test]
async fn an_upgrade_to_an_application_that_is_down_is_a_plain_503() {
    let world = shop_and_orders().await;
    world.app("orders").stop().await;
    let mut raw = world.from("shop").raw("orders").await;

    raw.send(wish("/chat/upgrade")).await;

    assert_eq!(raw.answer().await, (503, "upstream_unreachable".to_owned()));
}
