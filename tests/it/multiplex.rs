//! Raw streams that share connections: to their users they are connections of their own.

use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::client::SendRequest;
use http::{Method, Request};
use serde_json::json;
use sidegate::net::Listen;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::world::World;
use crate::world::client::Raw;
use crate::world::hostile::{Manners, Server, issued};
use crate::world::more::{chat, ends, whole_chat};
use crate::world::reach::{Beside, pattern, wire};
use crate::world::spec::Spec;
use crate::world::stranger::Stranger;
use crate::world::tcp_app::{GOODBYE, RESET};
use crate::world::wait::{holds, until, within};

pub const SHOP: &str = "spiffe://example.org/prod/shop";
pub const ALPN: &str = "sidegate-tcp/1";
/// A second, and what a busy machine takes.
const SOON: Duration = Duration::from_millis(1_500);

/// `shop` may write to the ledger of `orders`, `crawler` may not.
async fn shop_and_orders(say: impl Fn(Spec) -> Spec) -> World {
    World::new()
        .service("orders", |it| say(it).tcp("ledger:write").multiplexes())
        .service("shop", |it| say(it).scopes(["ledger:write"]).calls_tcp("orders").multiplexes())
        .service("desk", |it| it.scopes(["ledger:write"]).calls_tcp("orders").multiplexes())
        .service("crawler", |it| it.calls_tcp("orders").multiplexes())
        .start()
        .await
}

/// Connections that the sidecar of `service` has made to others.
async fn connections_made(world: &World, service: &str) -> f64 {
    let metrics = world.metrics(service).await;
    metrics.sum("sidegate_upstream_connections_total", &[("result", "connected")])
}

#[tokio::test]
async fn streams_share_a_connection_and_each_is_judged_and_audited() {
    let world = shop_and_orders(|it| it).await;
    let mut streams = Vec::new();
    for _ in 0..5 {
        let mut raw = world.from("shop").tcp("orders").await;
        chat(&mut raw, "hello").await;
        streams.push(raw);
    }
    assert_eq!(connections_made(&world, "shop").await, 1.0);
    assert_eq!(world.tcp_app("orders").connections(), 5);
    let line = world.audit("orders").nth("allowed", 5).await;
    assert_eq!((line.decision.as_str(), line.protocol.as_str()), ("allow", "tcp"));
    assert_eq!(line.source.spiffe_id.as_deref(), Some(SHOP));
    assert_eq!(line.required_scopes.as_deref(), Some("ledger:write"));
    let line = world.audit("shop").nth("allowed", 5).await;
    assert_eq!((&*line.direction, &*line.protocol), ("outbound", "tcp"));
    assert_eq!(line.destination, Some(world.id("orders")));
    // Long after, each still has its own way.
    for (number, raw) in streams.iter_mut().enumerate() {
        chat(raw, &format!("number {number}")).await;
    }
}

#[tokio::test]
async fn where_only_one_side_wants_it_each_stream_has_its_own_connection() {
    let world = World::new()
        .service("orders", |it| it.tcp("ledger:write"))
        .service("stock", |it| it.tcp("ledger:write").multiplexes())
        .service("shop", |it| it.scopes(["ledger:write"]).calls_tcp("orders").multiplexes())
        .service("desk", |it| it.scopes(["ledger:write"]).calls_tcp("stock"))
        .start()
        .await;
    for (caller, service) in [("shop", "orders"), ("desk", "stock")] {
        let streams = [0, 1, 2].map(|_| async {
            whole_chat(world.from(caller).tcp(service).await, "hello").await.unwrap();
        });
        let [one, two, three] = streams;
        tokio::join!(one, two, three);
        assert_eq!(connections_made(&world, caller).await, 3.0);
        world.audit(service).nth("allowed", 3).await;
        world.audit(caller).nth("allowed", 3).await;
    }
}

#[tokio::test]
async fn a_caller_that_names_another_protocol_is_taken_as_before() {
    let world = shop_and_orders(|it| it).await;
    for names in [&[][..], &["postgresql"], &["h2", "http/1.1"]] {
        let stream = world.as_tcp_peer(SHOP, "orders").connect(names).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), None);
        whole_chat(Raw::new(stream), "hello").await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_refuses_the_offer_is_reached_without_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let world = World::new()
        .service("shop", |it| it.calls_tcp_address("billing", address).multiplexes())
        .start()
        .await;
    let authority = world.agent_of("example.org").authority();
    let shown = issued(
        authority,
        "spiffe://example.org/prod/billing",
        Duration::ZERO,
        Duration::from_secs(600),
    );
    // It knows one protocol, and it is not ours.
    let mut server = Server::on(listener, shown, Manners::Answers);
    for _ in 0..2 {
        let mut raw = world.from("shop").tcp("billing").await;
        raw.send("GET / HTTP/1.1\r\n\r\n").await;
        raw.hears("HTTP/1.1 200 OK").await;
        server.head().await;
    }
    // The refusal was met once.
    let metrics = world.metrics("shop").await;
    let refused = metrics.sum("sidegate_upstream_connections_total", &[("result", "handshake")]);
    assert_eq!(refused, 1.0, "{}", metrics.failures());
}

#[tokio::test]
async fn both_sides_may_be_done_and_still_hear_the_rest() {
    let world = shop_and_orders(|it| it).await;
    let mut raw = world.from("shop").tcp("orders").await;
    raw.send("hello").await;
    raw.finish().await;
    // The application says this once it has heard the end.
    assert_eq!(raw.rest().await.unwrap(), b"HELLOthe end");
    holds("an orderly end", || world.tcp_app("orders").finished() == 1).await;

    let mut raw = world.from("shop").tcp("orders").await;
    raw.send(GOODBYE).await;
    assert_eq!(raw.rest().await.unwrap(), b"");
    let before = world.tcp_app("orders").bytes();
    raw.send("one more thing").await;
    holds("the rest", || world.tcp_app("orders").bytes() == before + "one more thing".len()).await;
    assert_eq!(world.tcp_app("orders").resets(), 0);
}

#[tokio::test]
async fn a_torn_end_is_no_clean_end_and_hurts_no_other_stream() {
    let world = shop_and_orders(|it| it).await;
    let mut other = world.from("shop").tcp("orders").await;
    chat(&mut other, "hello").await;

    let mut raw = world.from("shop").tcp("orders").await;
    chat(&mut raw, "hello").await;
    raw.send(RESET).await;
    raw.rest().await.expect_err("an application tore it, and it looks finished");

    let mut stream = world.from("shop").tcp_stream("orders").await;
    stream.write_all(b"hello").await.unwrap();
    within("an echo", stream.read_exact(&mut [0; 5])).await.unwrap();
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    holds("a torn connection", || world.tcp_app("orders").resets() == 1).await;
    assert_eq!(world.tcp_app("orders").finished(), 1, "the one that reset itself");

    chat(&mut other, "still there").await;
    assert_eq!(connections_made(&world, "shop").await, 1.0);
}

#[tokio::test]
async fn many_torn_streams_cost_their_neighbor_nothing() {
    let world = shop_and_orders(|it| it).await;
    let mut other = world.from("shop").tcp("orders").await;
    chat(&mut other, "hello").await;
    for _ in 0..12 {
        let mut torn = Vec::new();
        for _ in 0..40 {
            let mut stream = world.from("shop").tcp_stream("orders").await;
            stream.write_all(&[b'a'; 2048]).await.unwrap();
            within("an echo", stream.read_exact(&mut [0; 2048])).await.unwrap();
            torn.push(stream);
        }
        // With answers on their way that nobody will take.
        for stream in &mut torn {
            stream.write_all(&[b'a'; 8192]).await.unwrap();
            SockRef::from(&*stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(torn);
    }
    holds("torn connections", || world.tcp_app("orders").resets() == 480).await;
    chat(&mut other, "still there").await;
}

/// What a framing without a reset of half-closed streams would take for the end of an answer.
#[tokio::test]
async fn an_answer_that_is_torn_after_its_question_has_ended_is_no_clean_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let world = World::new()
        .service("orders", |it| it.tcp("ledger:write").multiplexes())
        .service("shop", |it| it.scopes(["ledger:write"]).calls_tcp("orders").multiplexes())
        .start()
        .await;
    // In place of the application: it hears the whole question and dies in the middle of its answer.
    let beside = world
        .beside(
            "orders",
            Beside::Inbound(json!([{
                "name": "tcp", "listen": "127.0.0.1:0", "protocol": "tcp", "multiplex": true,
                "forward_to": address.to_string(), "scopes": ["ledger:write"],
            }])),
        )
        .await;
    let Some(Listen::Tcp(to)) = beside.inbound("tcp").cloned() else { panic!("TCP") };
    let caller = world
        .beside(
            "shop",
            Beside::Outbound(json!([{
                "name": "tcp", "listen": "127.0.0.1:0", "protocol": "tcp", "multiplex": true,
                "connect_to": to.to_string(), "expect": world.id("orders"),
            }])),
        )
        .await;
    let Some(Listen::Tcp(near)) = caller.outbound("tcp").cloned() else { panic!("TCP") };
    let mut raw = Raw::new(TcpStream::connect(near).await.unwrap());
    raw.send("question").await;
    raw.finish().await;
    let (mut application, _) = within("the application's turn", listener.accept()).await.unwrap();
    let mut question = Vec::new();
    within("the question", application.read_to_end(&mut question)).await.unwrap();
    assert_eq!(question, b"question");
    application.write_all(b"half an ans").await.unwrap();
    raw.hears("half an ans").await;
    SockRef::from(&application).set_linger(Some(Duration::ZERO)).unwrap();
    drop(application);
    raw.rest().await.expect_err("half an answer looks whole");
}

#[tokio::test]
async fn a_wire_that_is_cut_tears_every_stream_and_the_next_one_has_a_new_connection() {
    let between = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = between.local_addr().unwrap();
    let world = World::new()
        .service("orders", |it| it.tcp("ledger:write").multiplexes())
        .service("shop", |it| {
            it.scopes(["ledger:write"]).calls_tcp_address("orders", address).multiplexes()
        })
        .start()
        .await;
    let Listen::Tcp(to) = *world.service("orders").inbound("tcp") else { panic!("TCP") };
    let (cut, carrying) = wire(between, to);
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut raw = world.from("shop").tcp("orders").await;
        chat(&mut raw, "hello").await;
        streams.push(raw);
    }
    // One of them has nothing more to say, and waits for the rest.
    streams[0].finish().await;
    streams[0].hears("the end").await;
    cut.send(()).unwrap();
    for raw in &mut streams[1..] {
        raw.rest().await.expect_err("a stream that was cut looks finished");
    }
    holds("torn connections", || world.tcp_app("orders").resets() == 2).await;
    within("the end of the wire", carrying).await.unwrap();

    let between = TcpListener::bind(address).await.unwrap();
    let (_cut, _carrying) = wire(between, to);
    chat(&mut world.from("shop").tcp("orders").await, "again").await;
}

#[tokio::test]
async fn not_a_byte_of_a_refused_caller_reaches_the_application() {
    let world = shop_and_orders(|it| it).await;
    for _ in 0..2 {
        let said =
            async { world.from("crawler").try_tcp("orders").await?.rest_after("let me in").await };
        said.await.expect_err("a refusal looks like an empty answer");
    }
    let line = world.audit("orders").nth("insufficient_scope", 2).await;
    assert_eq!(line.source.spiffe_id, Some(world.id("crawler")));
    assert_eq!(world.tcp_app("orders").connections(), 0);
    assert_eq!(connections_made(&world, "crawler").await, 1.0);
}

#[tokio::test]
async fn a_right_that_is_taken_away_ends_its_streams_and_no_others() {
    let mut world = shop_and_orders(|it| it).await;
    let mut mine = world.from("shop").tcp("orders").await;
    chat(&mut mine, "hello").await;
    let mut other = world.from("desk").tcp("orders").await;
    chat(&mut other, "hello").await;

    let shop = world.id("shop");
    world.policy("orders").grant(&shop, json!({"tenant": "acme", "roles": [], "scopes": []}));
    assert!(ends(&mut mine).await < SOON);
    let line = world.audit("orders").only("insufficient_scope").await;
    assert!(line.again, "{line:?}");
    chat(&mut other, "still there").await;

    // The connection itself is as good as ever: what it asks for next is judged by the new rules.
    let said = async { world.from("shop").try_tcp("orders").await?.rest_after("hello").await };
    said.await.expect_err("a refusal looks like an empty answer");
    world.audit("orders").nth("insufficient_scope", 2).await;
    let ledger = json!({"tenant": "acme", "roles": [], "scopes": ["ledger:write"]});
    world.repoliced("orders", |it| it.policy("orders").grant(&shop, ledger)).await;
    chat(&mut world.from("shop").tcp("orders").await, "back").await;
    assert_eq!(connections_made(&world, "shop").await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stands_still_stalls_only_itself_and_bytes_stay_whole() {
    const LENGTH: usize = 24 * 1024 * 1024 + 7;
    let world = shop_and_orders(|it| it).await;
    // Its answers fill whatever there is to fill, as nobody takes them.
    let mut slow = world.from("shop").tcp_stream("orders").await;
    let stuck = async {
        let piece = vec![b'a'; 64 * 1024];
        while tokio::time::timeout(Duration::from_millis(500), slow.write_all(&piece)).await.is_ok()
        {
        }
    };
    within("the stream to stall", stuck).await;

    let raw = world.from("shop").tcp("orders").await;
    let (mut reader, mut writer) = tokio::io::split(raw.0);
    let sent = pattern(0, LENGTH);
    let expected = sent.to_ascii_uppercase();
    let sending = tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let mut heard = Vec::with_capacity(LENGTH);
    within("all that was sent", reader.read_to_end(&mut heard)).await.unwrap();
    sending.await.unwrap();
    assert!(heard.starts_with(&expected) && heard.ends_with(b"the end"), "wrong bytes");
    assert_eq!(connections_made(&world, "shop").await, 1.0);
    drop(slow);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stream_fails_while_svids_rotate_under_load() {
    let world = shop_and_orders(|it| it.ttl(3)).await;
    let caller = world.from("shop");
    let mut chats = 0;
    let streams = async {
        loop {
            let two = [caller.tcp("orders").await, caller.tcp("orders").await];
            let [one, other] = two.map(|raw| whole_chat(raw, "ping"));
            let (one, other) = tokio::join!(one, other);
            one.and(other).unwrap();
            chats += 2;
        }
    };
    let rotations = async {
        world.rotated("orders", 4.0).await;
        world.rotated("shop", 4.0).await;
    };
    tokio::select! {
        () = streams => {}
        () = rotations => {}
    }
    assert!(chats > 20, "too little was asked: {chats}");
    assert_eq!(world.metrics("shop").await.failures(), "");
    assert_eq!(world.metrics("orders").await.failures(), "");
    let made = connections_made(&world, "shop").await;
    assert!(made > 2.0, "{made}: the connection of an old SVID was used again");
}

#[tokio::test]
async fn a_stream_never_outlives_the_svid_of_its_connection() {
    let world = shop_and_orders(|it| it).await;
    let agent = world.agent("shop");
    world.next_svid("shop", || agent.set_ttl(Duration::from_secs(4))).await;
    let expiry = world.svid_not_after("shop").await;
    let mut early = world.from("shop").tcp("orders").await;
    chat(&mut early, "early").await;
    world.next_svid("shop", || agent.set_ttl(Duration::from_secs(3_600))).await;
    let mut late = world.from("shop").tcp("orders").await;
    chat(&mut late, "late").await;
    assert_eq!(connections_made(&world, "shop").await, 2.0);
    chat(&mut early, "lives on the old one").await;

    ends(&mut early).await;
    let now = std::time::SystemTime::now();
    assert!(now >= expiry, "before its time");
    assert!(now < expiry + SOON, "{:?} late", now.duration_since(expiry));
    chat(&mut late, "still there").await;
}

#[tokio::test]
async fn beyond_the_limit_on_connections_streams_wait() {
    // One of them is kept for the next connection.
    let world = World::new()
        .service("orders", |it| {
            it.tcp("ledger:write").limits(json!({"connections": 3})).multiplexes()
        })
        .service("desk", |it| it.scopes(["ledger:write"]).calls_tcp("orders").multiplexes())
        .start()
        .await;
    let mut one = world.from("desk").tcp("orders").await;
    chat(&mut one, "one").await;
    let mut two = world.from("desk").tcp("orders").await;
    chat(&mut two, "two").await;
    let mut three = world.from("desk").tcp("orders").await;
    three.send("three").await;
    // It has its turn only once another is over, although its connection has long been there.
    chat(&mut one, "one again").await;
    assert_eq!(world.tcp_app("orders").connections(), 2);
    whole_chat(one, "one").await.unwrap();
    three.hears("THREE").await;
    chat(&mut two, "two again").await;
}

#[tokio::test]
async fn more_streams_than_one_connection_may_carry_get_another() {
    let world = shop_and_orders(|it| it.limits(json!({"streams": 2}))).await;
    let mut streams = Vec::new();
    for _ in 0..5 {
        let mut raw = world.from("desk").tcp("orders").await;
        chat(&mut raw, "hello").await;
        streams.push(raw);
    }
    assert_eq!(connections_made(&world, "desk").await, 3.0);
}

#[tokio::test]
async fn a_drain_lets_streams_end_in_order_and_takes_no_new_ones() {
    let mut world = shop_and_orders(|it| it).await;
    let mut raw = world.from("shop").tcp("orders").await;
    chat(&mut raw, "hello").await;
    world.drain("orders");
    // A new stream finds nobody: the connection takes no more, and nobody listens.
    until("new streams to be turned away", async || {
        let said = async { whole_chat(world.from("shop").try_tcp("orders").await?, "new").await };
        said.await.err()
    })
    .await;
    whole_chat(raw, "still").await.unwrap();
    world.drained("orders").await;
}

#[tokio::test]
async fn streams_that_outlast_the_drain_are_cut() {
    let mut world = shop_and_orders(|it| it.drain("1s")).await;
    let mut raw = world.from("shop").tcp("orders").await;
    chat(&mut raw, "hello").await;
    world.drain("orders");
    ends(&mut raw).await;
    world.drained("orders").await;
}

/// A peer with a real SVID that speaks the protocol by another library, and not always properly.
pub async fn peer(stranger: &Stranger) -> SendRequest<Bytes> {
    let stream = stranger.connect(&[ALPN]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(ALPN.as_bytes()));
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    sender.ready().await.unwrap()
}

pub fn ask(method: Method) -> Request<()> {
    let uri = if method == Method::CONNECT { "tcp" } else { "http://tcp/" };
    Request::builder().method(method).uri(uri).body(()).unwrap()
}

#[tokio::test]
async fn requests_are_no_streams() {
    let world = shop_and_orders(|it| it).await;
    let mut sender = peer(&world.as_tcp_peer(SHOP, "orders")).await;
    let (answer, _) = sender.send_request(ask(Method::GET), true).unwrap();
    let error = within("a refusal", answer).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::PROTOCOL_ERROR));
    assert_eq!(world.tcp_app("orders").connections(), 0);
    // What is one is let in on the same connection.
    let (answer, _stream) = sender.send_request(ask(Method::CONNECT), false).unwrap();
    assert_eq!(within("an answer", answer).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_flood_of_streams_is_bounded_and_ends_the_connection_of_whoever_makes_it() {
    let world = shop_and_orders(|it| it.limits(json!({"streams": 5}))).await;
    let stranger = world.as_tcp_peer(SHOP, "orders");
    let stream = stranger.connect(&[ALPN]).await.unwrap();
    let (mut raw_in, raw_out) = tokio::io::split(stream);
    drop(tokio::spawn(async move {
        let mut raw_out = raw_out;
        // Preface, settings, and streams without end: CONNECT to `a`, each reset at once.
        raw_out.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.ok();
        for stream in (1_u32..2_000_000).step_by(2) {
            let head = b"\x02\x07CONNECT\x01\x01a";
            let mut frames = vec![0, 0, head.len() as u8, 1, 4];
            frames.extend_from_slice(&stream.to_be_bytes());
            frames.extend_from_slice(head);
            frames.extend_from_slice(&[0, 0, 4, 3, 0]);
            frames.extend_from_slice(&stream.to_be_bytes());
            frames.extend_from_slice(&8_u32.to_be_bytes());
            if raw_out.write_all(&frames).await.is_err() {
                return;
            }
        }
    }));
    let mut heard = Vec::new();
    // In order or not: it ends.
    within("the end of the connection", raw_in.read_to_end(&mut heard)).await.ok();
    let judged = world.audit("orders").lines().len();
    assert!(judged < 1_000, "{judged} streams were judged");
    chat(&mut world.from("shop").tcp("orders").await, "others go on").await;
}

#[tokio::test]
async fn what_is_no_frame_ends_the_connection_and_nothing_else() {
    let world = shop_and_orders(|it| it).await;
    let mut other = world.from("shop").tcp("orders").await;
    chat(&mut other, "hello").await;
    let stranger = world.as_tcp_peer(SHOP, "orders");
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    let too_long = [&preface[..], &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]].concat();
    let no_such_stream = [&preface[..], &[0, 0, 1, 0, 0, 0, 0, 0, 9, b'x']].concat();
    let too_much_credit =
        [&preface[..], &[0, 0, 4, 8, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]].concat();
    for bytes in
        [b"hello, world! who are you?\r\n\r\n".to_vec(), too_long, no_such_stream, too_much_credit]
    {
        let mut raw = Raw::new(stranger.connect(&[ALPN]).await.unwrap());
        raw.send(bytes).await;
        raw.last_words().await;
    }
    assert_eq!(world.tcp_app("orders").connections(), 1);
    chat(&mut other, "still there").await;
}
