//! Raw streams through two sidecars: bytes, ends, and the difference between done and torn.

use std::io::ErrorKind;

use sidegate::net::Listen;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::world::World;
use crate::world::client::Raw;
use crate::world::reach::{pattern, wire};
use crate::world::tcp_app::{GOODBYE, RESET, TcpApp};
use crate::world::wait::{holds, until, within};

const SHOP: &str = "spiffe://example.org/prod/shop";
const MIB: usize = 1024 * 1024;

/// `shop` may write to the ledger of `orders`, `crawler` may not.
async fn shop_and_orders() -> World {
    World::new()
        .service("orders", |it| it.tcp("ledger:write"))
        .service("shop", |it| it.scopes(["ledger:write"]).calls_tcp("orders"))
        .service("crawler", |it| it.scopes(["ledger:read"]).calls_tcp("orders"))
        .start()
        .await
}

/// A caller behind a sidecar, and one without.
async fn two_callers(world: &World) -> [Raw; 2] {
    [world.from("shop").tcp("orders").await, direct(world).await]
}

async fn direct(world: &World) -> Raw {
    Raw::new(world.as_tcp_peer(SHOP, "orders").connect(&[]).await.unwrap())
}

#[tokio::test]
async fn what_is_said_arrives_and_what_is_answered_comes_back() {
    let world = shop_and_orders().await;
    for mut raw in two_callers(&world).await {
        for word in ["hello", "\0\r\n\0", "once more"] {
            raw.send(word).await;
            raw.hears(word.to_ascii_uppercase()).await;
        }
    }
    assert_eq!(world.tcp_app("orders").connections(), 2);
    let line = world.audit("orders").nth("allowed", 2).await;
    assert_eq!((line.decision.as_str(), line.protocol.as_str()), ("allow", "tcp"));
    assert_eq!(line.source.spiffe_id.as_deref(), Some(SHOP));
    assert_eq!(line.required_scopes.as_deref(), Some("ledger:write"));
}

#[tokio::test]
async fn a_caller_that_is_done_still_hears_the_rest() {
    let world = shop_and_orders().await;
    for mut raw in two_callers(&world).await {
        raw.send("hello").await;
        raw.finish().await;
        // The application says this once it has heard the end.
        assert_eq!(raw.rest().await.unwrap(), b"HELLOthe end");
    }
    holds("two orderly ends", || world.tcp_app("orders").finished() == 2).await;
    assert_eq!(world.tcp_app("orders").resets(), 0);
}

#[tokio::test]
async fn an_application_that_is_done_still_hears_the_rest() {
    let world = shop_and_orders().await;
    let mut expected = 0;
    for mut raw in two_callers(&world).await {
        raw.send(GOODBYE).await;
        assert_eq!(raw.rest().await.unwrap(), b"");
        let before = world.tcp_app("orders").bytes();
        raw.send("one more thing").await;
        holds("the rest at the application", || {
            world.tcp_app("orders").bytes() == before + "one more thing".len()
        })
        .await;
        expected += GOODBYE.len() + "one more thing".len();
    }
    assert_eq!(world.tcp_app("orders").bytes(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_transfer_arrives_whole_both_ways_at_once() {
    const LENGTH: usize = 48 * MIB + 7;
    let world = shop_and_orders().await;
    let sent = pattern(0, LENGTH);
    let expected = sent.to_ascii_uppercase();
    for raw in two_callers(&world).await {
        let (mut reader, mut writer) = tokio::io::split(raw.0);
        let sent = sent.clone();
        let sending = tokio::spawn(async move {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        });
        let mut heard = Vec::with_capacity(LENGTH);
        within("all that was sent", reader.read_to_end(&mut heard)).await.unwrap();
        sending.await.unwrap();
        assert_eq!(heard.len(), LENGTH + b"the end".len());
        assert!(heard.starts_with(&expected) && heard.ends_with(b"the end"), "wrong bytes");
    }
}

#[tokio::test]
async fn not_a_byte_of_a_refused_caller_reaches_the_application() {
    let world = shop_and_orders().await;
    let said =
        async { world.from("crawler").try_tcp("orders").await?.rest_after("let me in").await };
    said.await.expect_err("a refusal looks like an empty answer");
    world.assert_refused("orders", "insufficient_scope").await;
    let line = world.audit("orders").only("insufficient_scope").await;
    assert_eq!(line.source.spiffe_id, Some(world.id("crawler")));
    assert_eq!(world.tcp_app("orders").bytes(), 0);
}

#[tokio::test]
async fn a_stranger_without_the_scope_is_refused_as_well() {
    let world = shop_and_orders().await;
    let peer = world.as_tcp_peer(&world.id("crawler"), "orders");
    let raw = Raw::new(peer.connect(&[]).await.unwrap());

    raw.rest_after("let me in").await.expect_err("a refusal looks like an empty answer");
    world.assert_refused("orders", "insufficient_scope").await;
    assert_eq!(world.tcp_app("orders").bytes(), 0);
}

#[tokio::test]
async fn an_application_that_tears_its_connection_is_no_clean_end_for_the_caller() {
    let world = shop_and_orders().await;
    for mut raw in two_callers(&world).await {
        raw.send("hello").await;
        raw.hears("HELLO").await;
        raw.send(RESET).await;
        let error = raw.rest().await.expect_err("a torn connection looks finished");
        let kinds = [ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof];
        assert!(kinds.contains(&error.kind()), "{error}");
    }
}

#[tokio::test]
async fn a_caller_that_tears_its_connection_is_no_clean_end_for_the_application() {
    let world = shop_and_orders().await;
    let mut stream = world.from("shop").tcp_stream("orders").await;
    stream.write_all(b"hello").await.unwrap();
    within("an echo", stream.read_exact(&mut [0; 5])).await.unwrap();

    SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(stream);

    holds("a torn connection", || world.tcp_app("orders").resets() == 1).await;
    assert_eq!(world.tcp_app("orders").finished(), 0);
}

#[tokio::test]
async fn a_peer_that_drops_without_goodbye_is_no_clean_end_for_the_application() {
    let world = shop_and_orders().await;
    let mut stream = world.as_tcp_peer(SHOP, "orders").connect(&[]).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    within("an echo", stream.read_exact(&mut [0; 5])).await.unwrap();

    // A plain end of TCP, as somebody in between could make it: no `close_notify` before it.
    stream.get_mut().0.shutdown().await.unwrap();

    holds("a torn connection", || world.tcp_app("orders").resets() == 1).await;
    assert_eq!(world.tcp_app("orders").finished(), 0);
    drop(stream);
}

#[tokio::test]
async fn a_wire_that_is_cut_is_no_clean_end_for_either_side() {
    // Somebody between the two sidecars, who can end TCP and nothing more.
    let between = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = between.local_addr().unwrap();
    let world = World::new()
        .service("orders", |it| it.tcp("ledger:write"))
        .service("shop", |it| it.scopes(["ledger:write"]).calls_tcp_address("orders", address))
        .start()
        .await;
    let Listen::Tcp(to) = *world.service("orders").inbound("tcp") else { panic!("TCP") };
    let (cut, wire) = wire(between, to);
    let mut raw = world.from("shop").tcp("orders").await;
    raw.send("hello").await;
    raw.hears("HELLO").await;

    cut.send(()).unwrap();

    raw.rest().await.expect_err("a stream that was cut looks finished");
    holds("a torn connection", || world.tcp_app("orders").resets() == 1).await;
    assert_eq!(world.tcp_app("orders").finished(), 0);
    within("the end of the wire", wire).await.unwrap();
}

#[tokio::test]
async fn an_application_that_is_down_is_no_clean_end_for_the_caller() {
    let mut world = shop_and_orders().await;
    let address = world.tcp_app("orders").address;
    world.service_mut("orders").tcp_app = TcpApp::start().await;
    until("the first application to be gone", async || {
        TcpStream::connect(address).await.is_err().then_some(())
    })
    .await;

    let ours = async { world.from("shop").try_tcp("orders").await?.rest_after("hello").await };
    ours.await.expect_err("nobody was there, and it looks finished");
    let directly = direct(&world).await.rest_after("hello").await;
    directly.expect_err("nobody was there, and it looks finished");
    // They were permitted: that is what the audit log is about.
    world.audit("orders").nth("allowed", 2).await;
}
