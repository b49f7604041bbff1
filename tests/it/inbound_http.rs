//! HTTP through two sidecars: what passes, what does not, and what the application is told.

use std::sync::atomic::Ordering;

use http::{HeaderMap, Method, Version};
use http_body_util::BodyExt;
use hyper::body::Frame;
use serde_json::json;

use crate::world::app::{channel, data};
use crate::world::client::{Http, Raw, Reply, get, post, request, with_headers};
use crate::world::reach::{assert_pattern, length, upload};
use crate::world::spec::Spec;
use crate::world::wait::{holds, until, within};
use crate::world::{Caller, World};

const MIB: usize = 1024 * 1024;
const SHOP: &str = "spiffe://example.org/prod/shop";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// `shop` may ask `orders` for anything.
async fn shop_and_orders(say: impl Fn(Spec) -> Spec) -> World {
    World::new()
        .service("orders", |it| say(it.open()))
        .service("shop", |it| it.scopes(["orders:read"]).calls("orders"))
        .start()
        .await
}

async fn http1_and_http2(caller: Caller<'_>) -> [Http; 2] {
    [caller.http1("orders").await, caller.http2("orders").await]
}

#[tokio::test]
async fn a_request_keeps_its_version_through_both_sidecars() {
    let world = shop_and_orders(|it| it).await;
    let [mut http1, mut http2] = http1_and_http2(world.from("shop")).await;

    assert_eq!(http1.get("/orders/7").await.version(), Version::HTTP_11);
    assert_eq!(world.app("orders").last().version, Version::HTTP_11);

    assert_eq!(http2.get("/orders/7").await.version(), Version::HTTP_2);
    assert_eq!(world.app("orders").last().version, Version::HTTP_2);
}

#[tokio::test]
async fn connections_are_kept_and_used_again() {
    let world = shop_and_orders(|it| it).await;

    let mut one = world.from("shop").http1("orders").await;
    for _ in 0..10 {
        assert_eq!(one.get("/orders/7").await.status(), 200);
    }
    // What one connection of the application has opened, another uses.
    assert_eq!(world.from("shop").get("orders", "/orders/7").await.status(), 200);
    assert_eq!(world.app("orders").connections(), 1);
    assert_eq!(dials(&world).await, 1.0);

    let http2 = world.from("shop").http2("orders").await;
    let (mut a, mut b, mut c) = (http2.share(), http2.share(), http2.share());
    let (a, b, c) = tokio::join!(a.get("/orders/1"), b.get("/orders/2"), c.get("/orders/3"));
    assert_eq!([a.status(), b.status(), c.status()], [200; 3]);
    assert_eq!(world.app("orders").connections(), 2);
    assert_eq!(dials(&world).await, 2.0);
    assert_eq!(world.app("orders").requests(), 14);
}

/// Connections that the sidecar of `shop` has opened to others.
async fn dials(world: &World) -> f64 {
    world.metrics("shop").await.sum("sidegate_upstream_connections_total", &[])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_stream_both_ways_at_once_and_arrive_whole() {
    const LENGTH: usize = 32 * MIB + 7;
    let world = shop_and_orders(|it| it).await;
    for mut http in http1_and_http2(world.from("shop")).await {
        let (request, taken) = upload("/mirror", LENGTH);
        let answer = http.begin(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        // The answer has begun while most of the question was still to come.
        let early = taken.load(Ordering::SeqCst);
        assert_pattern(answer.into_body(), LENGTH).await;
        assert!(early < LENGTH, "the whole body was held before it went on");
        assert_eq!(taken.load(Ordering::SeqCst), LENGTH);
    }
}

/// What sockets and sidecars may hold between two ends of which one does not read.
const HELD_AT_MOST: usize = 48 * MIB;
const FAR_MORE: usize = 160 * MIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_does_not_read_stops_the_application() {
    let world = shop_and_orders(|it| it).await;
    for mut http in http1_and_http2(world.from("shop")).await {
        let before = world.app("orders").given();
        let answer = http.begin(get(&format!("/source?{FAR_MORE}"))).await.unwrap();
        other_traffic(&world).await;
        let given = world.app("orders").given() - before;
        assert!(given < HELD_AT_MOST, "{given} bytes were taken in for nobody");

        // It was only held up: once somebody reads, all of it comes.
        assert_eq!(length(answer.into_body()).await, FAR_MORE);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_does_not_read_stops_its_caller() {
    let world = shop_and_orders(|it| it).await;
    let mut expected = 0;
    let [mut http1, mut http2] = http1_and_http2(world.from("shop")).await;
    let (one, taken1) = upload("/unread", FAR_MORE);
    let (other, taken2) = upload("/unread", FAR_MORE);
    let sending = async { tokio::join!(http1.send(one), http2.send(other)) };
    let looking = async {
        world.app("orders").reached(2).await;
        expected += other_traffic(&world).await;
        for taken in [&taken1, &taken2] {
            let taken = taken.load(Ordering::SeqCst);
            assert!(taken < HELD_AT_MOST, "{taken} bytes were taken in for nobody");
        }
        world.app("orders").release();
    };
    let ((one, other), ()) = tokio::join!(sending, looking);
    assert_eq!([&one.json()["length"], &other.json()["length"]], [FAR_MORE, FAR_MORE]);
    assert_eq!(world.app("orders").taken(), expected + 2 * FAR_MORE);
}

/// A transfer over the same two sidecars that is longer than what may be held: what was going to
/// pile up meanwhile, has. Gives the bytes that the application took.
async fn other_traffic(world: &World) -> usize {
    let mut http = world.from("shop").http1("orders").await;
    let (request, _) = upload("/orders", FAR_MORE / 2);
    assert_eq!(http.send(request).await.json()["length"], FAR_MORE / 2);
    FAR_MORE / 2
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let world = shop_and_orders(|it| it).await;
    for mut http in http1_and_http2(world.from("shop")).await {
        let reply = http.send(with_headers(get("/trailers"), &[("te", "trailers")])).await;
        assert_eq!(reply.text(), "with trailers");
        assert_eq!(reply.trailers["x-checksum"], "abc");

        let (sender, body) = channel();
        let request = request(Method::POST, "/orders", "").map(|_| body);
        let request = with_headers(request, &[("trailer", "x-checksum")]);
        tokio::spawn(async move {
            sender.send(data("a book")).await.unwrap();
            let trailers =
                HeaderMap::from_iter([("x-checksum".parse().unwrap(), "def".parse().unwrap())]);
            sender.send(Ok(Frame::trailers(trailers))).await.unwrap();
        });
        let said = http.send(request).await.json();
        assert_eq!((&said["body"], &said["trailer"]), (&json!("a book"), &json!("def")));
    }
}

#[tokio::test]
async fn answers_without_a_body_have_none_and_the_connection_goes_on() {
    let world = shop_and_orders(|it| it).await;
    for mut http in http1_and_http2(world.from("shop")).await {
        let whole = http.get("/orders/7").await;
        let head = http.send(request(Method::HEAD, "/orders/7", "")).await;
        assert_eq!((head.status(), head.text()), (200, ""));
        assert_eq!(world.app("orders").last().method, Method::HEAD);
        // What was said of `HEAD` is a byte longer than what was said of `GET`.
        let announced: usize = head.header("content-length").unwrap().parse().unwrap();
        assert_eq!(announced, whole.body.len() + 1);

        let empty = http.get("/204").await;
        assert_eq!((empty.status(), empty.text()), (204, ""));
        assert_eq!(
            (empty.header("content-length"), empty.header("transfer-encoding")),
            (None, None)
        );

        let unchanged = http.get("/304").await;
        assert_eq!((unchanged.status(), unchanged.text()), (304, ""));
        assert_eq!(unchanged.header("etag"), Some("\"7\""));

        assert_eq!(http.get("/orders/7").await.status(), 200);
    }
    assert_eq!(world.app("orders").connections(), 2);
}

#[tokio::test]
async fn a_chunked_upload_goes_on_in_chunks() {
    let world = shop_and_orders(|it| it).await;
    let mut raw = world.from("shop").raw("orders").await;

    raw.send("POST /orders HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\na bo\r\n")
        .await;
    // The application has its request before the last chunk is there.
    world.app("orders").reached(1).await;
    raw.send("2\r\nok\r\n0\r\n\r\n").await;

    assert_eq!(raw.answer().await.0, 200);
    let seen = world.app("orders").last();
    assert_eq!(seen.header("transfer-encoding"), Some("chunked"));
    assert_eq!(seen.header("content-length"), None);
    assert_eq!(world.app("orders").taken(), "a book".len());
}

#[tokio::test]
async fn a_caller_that_waits_for_leave_to_send_its_body_gets_it() {
    let world = shop_and_orders(|it| it).await;
    let mut raw = world.from("shop").raw("orders").await;

    raw.send(
        "POST /orders HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 6\r\n\r\n",
    )
    .await;
    assert_eq!(raw.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    raw.send("a book").await;

    assert_eq!(raw.answer().await.0, 200);
    assert_eq!(world.app("orders").taken(), "a book".len());
}

#[tokio::test]
async fn a_caller_that_is_refused_is_not_asked_for_its_body() {
    let world = World::new()
        .service("orders", |it| it.route("POST", "/orders", "orders:write"))
        .service("shop", |it| it.calls("orders"))
        .start()
        .await;
    let mut raw = world.as_peer(SHOP, "orders").raw().await;

    raw.send(
        "POST /orders HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 6\r\n\r\n",
    )
    .await;

    assert_eq!(raw.answer().await, (403, "insufficient_scope".to_owned()));
    world.assert_refused("orders", "insufficient_scope").await;
}

#[tokio::test]
async fn what_concerns_one_hop_stays_there() {
    const REQUEST: &str = "GET /orders/7 HTTP/1.1\r\nhost: a\r\nx-end: to end\r\n\
        connection: x-one-hop, keep-alive\r\nx-one-hop: only\r\nkeep-alive: timeout=5\r\n\
        te: gzip\r\nupgrade: websocket\r\nproxy-authorization: Basic eDp5\r\n\
        proxy-connection: keep-alive\r\n\r\n";
    let world = shop_and_orders(|it| it).await;
    // Each of the two sidecars has to see to it.
    for mut raw in
        [world.from("shop").raw("orders").await, world.as_peer(SHOP, "orders").raw().await]
    {
        raw.send(REQUEST).await;
        assert_eq!(raw.answer().await.0, 200);
        let seen = world.app("orders").last();
        assert_eq!(seen.header("x-end"), Some("to end"));
        for name in [
            "connection",
            "x-one-hop",
            "keep-alive",
            "te",
            "upgrade",
            "proxy-authorization",
            "proxy-connection",
        ] {
            assert_eq!(seen.header(name), None, "{name}");
        }
    }

    for mut http in
        [world.from("shop").http1("orders").await, world.as_peer(SHOP, "orders").http1().await]
    {
        let reply = http.get("/hop-by-hop").await;
        assert_eq!(reply.header("x-end"), Some("to end"));
        for name in ["x-one-hop", "keep-alive", "connection"] {
            assert_eq!(reply.header(name), None, "{name}");
        }
    }
}

#[tokio::test]
async fn a_connection_header_cannot_strip_what_we_vouch_for() {
    let world = shop_and_orders(|it| it).await;
    let request = "GET /orders/7 HTTP/1.1\r\nhost: a\r\nconnection: x-sidegate-subject\r\n\r\n";

    let refusal = world.as_peer(SHOP, "orders").asks(request).await;

    assert_eq!(refusal, (400, "bad_request".to_owned()));
    world.assert_refused("orders", "bad_request").await;
}

#[tokio::test]
async fn the_application_is_told_who_asks_and_nobody_else_can_say_it() {
    const FORGED: [(&str, &str); 7] = [
        ("x-forwarded-client-cert", "URI=spiffe://example.org/prod/admin"),
        ("x-sidegate-subject", "spiffe://example.org/prod/admin"),
        ("x-sidegate-tenant", "umbrella"),
        ("x-sidegate-scopes", "*:*"),
        ("x-sidegate-method", "magic"),
        ("x-sidegate-admin", "yes"),
        ("x_sidegate_subject", "spiffe://example.org/prod/admin"),
    ];
    let world = shop_and_orders(|it| it).await;
    for http in [
        world.from("shop").http1("orders").await,
        world.from("shop").http2("orders").await,
        world.as_peer(SHOP, "orders").http1().await,
        world.as_peer(SHOP, "orders").http2().await,
    ] {
        told_who_asks(&world, http, with_headers(get("/orders/7"), &FORGED)).await;
    }
}

async fn told_who_asks(
    world: &World,
    mut http: Http,
    request: http::Request<crate::world::app::Body>,
) {
    assert_eq!(http.send(request).await.status(), 200);
    let seen = world.app("orders").last();
    let cert = seen.header("x-forwarded-client-cert").unwrap();
    let parts: Vec<_> = cert.split(';').map(|part| part.split_once('=').unwrap()).collect();
    let [("By", by), ("Hash", hash), ("URI", uri)] = parts[..] else { panic!("{cert}") };
    assert_eq!((by, uri), (world.id("orders").as_str(), SHOP));
    assert!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{hash}");
    assert_eq!(seen.header("x-sidegate-subject"), Some(SHOP));
    assert_eq!(seen.header("x-sidegate-tenant"), Some("acme"));
    assert_eq!(seen.header("x-sidegate-scopes"), Some("orders:read"));
    assert_eq!(seen.header("x-sidegate-method"), Some("spiffe"));
    assert_eq!(seen.header("x-request-id").unwrap().len(), 32);
    assert_eq!((seen.header("x-sidegate-admin"), seen.header("x_sidegate_subject")), (None, None));
}

#[tokio::test]
async fn a_well_formed_request_id_is_kept_and_any_other_replaced() {
    let world = shop_and_orders(|it| it).await;
    let mut http = world.from("shop").http1("orders").await;
    let mut direct = world.as_peer(SHOP, "orders").http1().await;
    let mut count = 0;
    for (given, kept) in
        [("order-7_a.B", true), ("short", false), ("with a space", false), ("${jndi:ldap}", false)]
    {
        for http in [&mut http, &mut direct] {
            count += 1;
            http.send(with_headers(get("/orders/7"), &[("x-request-id", given)])).await;
            let seen = world.app("orders").last().header("x-request-id").unwrap().to_owned();
            assert_eq!(seen == given, kept, "{given} became {seen}");
            assert!(kept || seen.len() == 32, "{seen}");
            assert_eq!(world.audit("orders").nth("allowed", count).await.request_id, seen);
        }
    }
}

#[tokio::test]
async fn a_trace_passes_when_it_is_well_formed_and_else_goes_with_its_state() {
    let world = shop_and_orders(|it| it).await;
    let mut http = world.from("shop").http1("orders").await;
    let mut direct = world.as_peer(SHOP, "orders").http2().await;
    for http in [&mut http, &mut direct] {
        let headers = [("traceparent", TRACEPARENT), ("tracestate", "a=b")];
        http.send(with_headers(get("/orders/7"), &headers)).await;
        let seen = world.app("orders").last();
        assert_eq!(seen.header("traceparent"), Some(TRACEPARENT));
        assert_eq!(seen.header("tracestate"), Some("a=b"));

        for bad in ["00-0-0-01", &TRACEPARENT.to_uppercase(), &TRACEPARENT.replace("4b", "zz")] {
            let headers = [("traceparent", bad), ("tracestate", "a=b")];
            let reply = http.send(with_headers(get("/orders/7"), &headers)).await;
            assert_eq!(reply.status(), 200, "a broken trace is no reason to refuse");
            let seen = world.app("orders").last();
            let trace = (seen.header("traceparent"), seen.header("tracestate"));
            assert_eq!(trace, (None, None), "{bad}");
        }
    }
}

#[tokio::test]
async fn the_end_users_authorization_is_none_of_our_business() {
    let world = shop_and_orders(|it| it).await;
    for mut http in http1_and_http2(world.from("shop")).await {
        let headers = [("authorization", "Bearer end-user"), ("cookie", "session=1")];
        http.send(with_headers(get("/orders/7"), &headers)).await;
        let seen = world.app("orders").last();
        assert_eq!(seen.header("authorization"), Some("Bearer end-user"));
        assert_eq!(seen.header("cookie"), Some("session=1"));
    }
}

#[tokio::test]
async fn forwarded_headers_are_believed_only_of_the_proxy_that_is_named() {
    const FORWARDED: [(&str, &str); 3] = [
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "for=203.0.113.7"),
    ];
    let world = World::new()
        .service("orders", |it| it.open().inbound(json!({"trust_forwarded_from": [SHOP]})))
        .service("shop", |it| it.calls("orders"))
        .service("crawler", |it| it.calls("orders"))
        .start()
        .await;
    for (caller, expected) in [("shop", true), ("crawler", false)] {
        let request = with_headers(get("/orders/7"), &FORWARDED);
        assert_eq!(world.from(caller).send("orders", request).await.status(), 200);
        let seen = world.app("orders").last();
        for (name, value) in FORWARDED {
            assert_eq!(seen.header(name), expected.then_some(value), "{name} of {caller}");
        }
        assert_eq!(seen.header("x-sidegate-subject"), Some(world.id(caller).as_str()));
    }
}

#[tokio::test]
async fn the_application_sees_the_target_that_was_judged() {
    let world = World::new()
        .service("orders", |it| it.route("GET", "/orders/{id}", "orders:read"))
        .service("shop", |it| it.scopes(["orders:read"]).calls("orders"))
        .start()
        .await;
    for (asked, seen) in [
        ("/%6frders/7", "/orders/7"),
        ("/orders/%37?q=%6f", "/orders/7?q=%6f"),
        ("/orders/a%c3%a4", "/orders/a%C3%A4"),
    ] {
        for mut http in http1_and_http2(world.from("shop")).await {
            let reply = http.get(asked).await;
            assert_eq!(reply.status(), 200, "{asked}");
            assert_eq!(reply.json()["target"], seen);
        }
    }
}

#[tokio::test]
async fn an_application_that_is_down_is_unreachable_until_it_is_back() {
    let world = shop_and_orders(|it| it).await;
    let [mut http1, mut http2] = http1_and_http2(world.from("shop")).await;
    world.app("orders").stop().await;

    for http in [&mut http1, &mut http2] {
        let reply = http.send(post("/orders", "a book")).await;
        assert_eq!(reply.refusal(), (503, "upstream_unreachable".to_owned()));
        assert_eq!(reply.header("retry-after"), Some("1"));
    }
    // They were permitted: that is what the audit log is about.
    assert_eq!(world.audit("orders").nth("allowed", 2).await.decision, "allow");
    assert_eq!(world.app("orders").requests(), 0);

    world.app("orders").start().await;
    for http in [&mut http1, &mut http2] {
        assert_eq!(http.get("/orders/7").await.status(), 200);
    }
}

#[tokio::test]
async fn an_application_that_hangs_up_before_it_answers_is_told_apart() {
    let world = shop_and_orders(|it| it).await;
    for mut http in http1_and_http2(world.from("shop")).await {
        let before = world.app("orders").requests();
        let reply = http.send(post("/close-early", "a book")).await;
        assert_eq!(reply.refusal(), (502, "upstream_broken".to_owned()));
        // What may have had an effect is not done twice.
        assert_eq!(world.app("orders").requests(), before + 1);
        assert_eq!(http.get("/orders/7").await.status(), 200);
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_passed_on_as_a_whole_one() {
    let world = shop_and_orders(|it| it).await;
    for path in ["/held-body", "/source?100000000"] {
        for mut http in http1_and_http2(world.from("shop")).await {
            let mut answer = http.begin(get(path)).await.unwrap();
            assert_eq!(answer.status(), 200);
            within("the first bytes", answer.body_mut().frame()).await.unwrap().unwrap();
            world.app("orders").stop().await;
            Reply::read(answer).await.expect_err("half an answer");
            world.app("orders").start().await;
        }
    }
}

#[tokio::test]
async fn a_refused_head_request_gets_the_head_of_its_refusal() {
    let world = World::new()
        .service("orders", |it| it.route("GET", "/orders/{id}", "orders:read"))
        .service("shop", |it| it.calls("orders"))
        .start()
        .await;
    let mut count = 0;
    for mut http in [
        world.from("shop").http1("orders").await,
        world.from("shop").http2("orders").await,
        world.as_peer(SHOP, "orders").http2().await,
    ] {
        let reply = http.send(request(Method::HEAD, "/orders/7", "")).await;
        assert_eq!((reply.status(), reply.text()), (403, ""));
        count += 1;
        let line = world.audit("orders").nth("insufficient_scope", count).await;
        assert_eq!(reply.header("x-request-id"), Some(line.request_id.as_str()));
        // The connection is still good.
        assert_eq!(http.get("/admin").await.refusal(), (403, "no_route".to_owned()));
    }
    // The sidecar of the caller has answers of its own.
    world.agent("shop").deny();
    until("the caller's own sidecar to refuse", async || {
        let mut http = world.from("shop").http2("orders").await;
        let reply = http.send(request(Method::HEAD, "/orders/7", "")).await;
        assert_eq!(reply.text(), "");
        (reply.status() == 503).then_some(())
    })
    .await;
    assert_eq!(world.app("orders").requests(), 0);
}

#[tokio::test]
async fn an_application_that_thinks_too_long_is_given_up() {
    let world = shop_and_orders(|it| it.limits(json!({"request": "300ms"}))).await;
    for mut http in http1_and_http2(world.from("shop")).await {
        let reply = http.get("/held-head").await;
        assert_eq!(reply.refusal(), (504, "upstream_timeout".to_owned()));
    }
    assert_eq!(world.app("orders").requests(), 2);

    // The limit is about the head: a body may take its time.
    let mut http = world.from("shop").http1("orders").await;
    let answer = http.begin(get("/held-body")).await.unwrap();
    assert_eq!(http_late(&world, answer).await, "first,last");
}

/// The text of an answer whose rest is let go only after the limit for heads has passed.
async fn http_late(world: &World, answer: http::Response<hyper::body::Incoming>) -> String {
    // Another request that runs into the limit says that it has passed.
    assert_eq!(world.from("shop").get("orders", "/held-head").await.status(), 504);
    world.app("orders").release();
    Reply::read(answer).await.unwrap().text().to_owned()
}

#[tokio::test]
async fn a_refused_request_does_not_end_the_connection_for_those_that_are_not() {
    let world = World::new()
        .service("orders", |it| it.route("GET", "/orders/{id}", "orders:read"))
        .service("shop", |it| it.scopes(["orders:read"]).calls("orders"))
        .start()
        .await;
    let mut http = world.from("shop").http1("orders").await;

    assert_eq!(http.get("/admin").await.refusal(), (403, "no_route".to_owned()));
    world.assert_refused("orders", "no_route").await;

    assert_eq!(http.get("/orders/7").await.status(), 200);
    assert_eq!(dials(&world).await, 1.0);
}

#[tokio::test]
async fn requests_that_come_in_a_row_are_answered_in_a_row() {
    let world = shop_and_orders(|it| it).await;
    let mut raw: Raw = world.as_peer(SHOP, "orders").raw().await;

    raw.send("GET /200 HTTP/1.1\r\nhost: a\r\n\r\nGET /404 HTTP/1.1\r\nhost: a\r\n\r\n").await;

    assert_eq!(raw.answer().await.0, 200);
    assert_eq!(raw.answer().await.0, 404);
}

#[tokio::test]
async fn a_caller_that_hangs_up_ends_its_request_at_the_application() {
    let world = shop_and_orders(|it| it).await;
    for mut raw in
        [world.from("shop").raw("orders").await, world.as_peer(SHOP, "orders").raw().await]
    {
        let before = world.app("orders").requests();
        raw.send("POST /orders HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf").await;
        world.app("orders").reached(before + 1).await;
        assert_eq!(world.app("orders").open_connections(), 1);

        drop(raw);

        holds("the end of the request", || world.app("orders").open_connections() == 0).await;
    }
}

#[tokio::test]
async fn a_request_that_seldom_has_a_body_keeps_the_one_it_has() {
    let world = shop_and_orders(|it| it).await;
    let mut raw = world.from("shop").raw("orders").await;
    raw.send("GET /orders HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
    raw.send("5\r\nquery\r\n0\r\n\r\n").await;
    let (status, _) = raw.answer().await;
    assert_eq!(status, 200);
    assert_eq!(world.app("orders").taken(), 5);
}

#[tokio::test]
async fn a_long_upload_is_not_taken_for_a_slow_answer() {
    let world = shop_and_orders(|it| it.limits(json!({"request": "300ms"}))).await;
    for mut http in http1_and_http2(world.from("shop")).await {
        let (sender, body) = channel();
        let upload = request(Method::POST, "/orders", "").map(|_| body);
        let answer = tokio::spawn(async move { http.send(upload).await });
        sender.send(data("the first half,")).await.unwrap();
        // Requests that run into the limit say that it has passed, twice over.
        for _ in 0..2 {
            assert_eq!(world.from("shop").get("orders", "/held-head").await.status(), 504);
        }
        sender.send(data("the second")).await.unwrap();
        drop(sender);
        let reply = answer.await.unwrap();
        assert_eq!(reply.json()["body"], json!("the first half,the second"));
    }
}
