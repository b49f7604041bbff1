//! What a caller's streams may hold on a shared connection, and for how long.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use h2::{Ping, Reason, RecvStream, SendStream};
use http::Method;
use serde_json::json;
use sidegate::http2::KeepAlive;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::multiplex::{ALPN, SHOP, ask};
use crate::world::World;
use crate::world::wait::within;

type Sender = SendRequest<Bytes>;

/// Two streams at once find a place: one more is kept for the next connection.
async fn orders(idle: &str) -> World {
    World::new()
        .service("orders", |it| {
            it.tcp("ledger:write").limits(json!({"connections": 3, "idle": idle})).multiplexes()
        })
        .service("shop", |it| it.scopes(["ledger:write"]).calls_tcp("orders").multiplexes())
        .start()
        .await
}

async fn peer(world: &World) -> (Sender, Connection<TlsStream<TcpStream>, Bytes>) {
    let stream = world.as_tcp_peer(SHOP, "orders").connect(&[ALPN]).await.unwrap();
    h2::client::handshake(stream).await.unwrap()
}

async fn opened(sender: &mut Sender) -> (SendStream<Bytes>, RecvStream) {
    let (answer, stream) = sender.send_request(ask(Method::CONNECT), false).unwrap();
    let answer = within("an answer", answer).await.unwrap();
    assert_eq!(answer.status(), 200);
    (stream, answer.into_body())
}

async fn says(stream: &mut SendStream<Bytes>, bytes: &'static [u8]) {
    stream.reserve_capacity(bytes.len());
    while stream.capacity() < bytes.len() {
        within("room", poll_fn(|cx| stream.poll_capacity(cx))).await.unwrap().unwrap();
    }
    stream.send_data(Bytes::from_static(bytes), false).unwrap();
}

async fn hears(stream: &mut RecvStream, length: usize) -> Vec<u8> {
    let mut heard = Vec::new();
    while heard.len() < length {
        let bytes = within("more bytes", stream.data()).await.unwrap().unwrap();
        stream.flow_control().release_capacity(bytes.len()).unwrap();
        heard.extend_from_slice(&bytes);
    }
    heard
}

#[tokio::test]
async fn streams_that_are_reset_while_they_wait_leave_nothing_behind() {
    let world = orders("5m").await;
    let (mut sender, mut connection) = peer(&world).await;
    let mut pings = connection.ping_pong().unwrap();
    tokio::spawn(connection);
    let one = opened(&mut sender).await;
    let _two = opened(&mut sender).await;
    // Many more than there may be at once, one after the other: none is too many by itself.
    for _ in 0..300 {
        let (_answer, mut stream) = sender.send_request(ask(Method::CONNECT), false).unwrap();
        within("it to be taken in", pings.ping(Ping::opaque())).await.unwrap();
        stream.send_reset(Reason::CANCEL);
    }
    within("the last reset", pings.ping(Ping::opaque())).await.unwrap();
    drop(one);
    // Whoever waits in earnest is next, and nobody was judged or connected who had gone.
    let (mut stream, mut answer) = opened(&mut sender).await;
    says(&mut stream, b"hello").await;
    assert_eq!(hears(&mut answer, 5).await, b"HELLO");
    world.audit("orders").nth("allowed", 3).await;
    assert_eq!(world.tcp_app("orders").connections(), 3);
}

#[tokio::test]
async fn a_stream_that_waits_with_many_small_writes_tears_no_neighbor() {
    const WRITES: usize = 100_000;
    let world = orders("5m").await;
    let (mut sender, connection) = peer(&world).await;
    tokio::spawn(connection);
    let one = opened(&mut sender).await;
    let (mut near, mut far) = opened(&mut sender).await;
    // Without a place, nobody reads what is written to it.
    let (answer, mut waiting) = sender.send_request(ask(Method::CONNECT), false).unwrap();
    for _ in 0..WRITES {
        says(&mut waiting, b"a").await;
    }
    says(&mut near, b"hello").await;
    assert_eq!(hears(&mut far, 5).await, b"HELLO");
    drop(one);
    let mut heard = within("its turn", answer).await.unwrap().into_body();
    assert_eq!(hears(&mut heard, WRITES).await, vec![b'A'; WRITES]);
    says(&mut near, b"still there").await;
    assert_eq!(hears(&mut far, 11).await, b"STILL THERE");
}

#[tokio::test]
async fn a_connection_is_kept_for_the_idle_limit_after_its_last_stream() {
    let world = orders("2s").await;
    let (mut sender, connection) = peer(&world).await;
    let connection = tokio::spawn(connection);
    let stream = opened(&mut sender).await;
    // Most of the limit passes while the connection is in use.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    drop(stream);
    let ended = Instant::now();
    within("the end", connection).await.unwrap().ok();
    assert!(ended.elapsed() >= Duration::from_secs(2), "after {:?}", ended.elapsed());
}

#[tokio::test(start_paused = true)]
async fn whatever_is_heard_answers_for_a_pong() {
    let (near, _far) = tokio::io::duplex(4096);
    let (_sender, mut connection) = h2::client::handshake(near).await.unwrap();
    let ping = connection.ping_pong().unwrap();
    let _driven = tokio::spawn(connection);
    let mut keep_alive = KeepAlive::new(ping);
    let heard = Cell::new(tokio::time::Instant::now());
    let mut gone = pin!(poll_fn(|cx| keep_alive.poll_gone(cx, heard.get(), true)));
    // Rare enough to be asked for, and never a PONG.
    for _ in 0..8 {
        tokio::select! {
            () = &mut gone => panic!("given up while bytes arrive"),
            () = tokio::time::sleep(Duration::from_secs(25)) => {}
        }
        heard.set(tokio::time::Instant::now());
    }
    gone.await;
    let silent = heard.get().elapsed().as_secs();
    assert!((29..=31).contains(&silent), "after {silent} s");
}
