//! Identities that change while traffic runs: rotation, expiry, withdrawal, and agents that go
//! away and come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use spiffe::TrustDomain;

use crate::world::World;
use crate::world::client::{Http, get, post};
use crate::world::more::{chat, ends, shut_out, whole_chat};
use crate::world::side;
use crate::world::spec::Spec;
use crate::world::stranger::Stranger;
use crate::world::wait::{holds, until};

const SHOP: &str = "spiffe://example.org/prod/shop";
/// Grace of one second to end in order, and what a busy machine takes.
const SOON: Duration = Duration::from_secs(3);

/// `orders` takes HTTP and raw streams; `shop` calls it.
async fn shop_and_orders(say: impl Fn(Spec) -> Spec) -> World {
    World::new()
        .service("orders", |it| {
            say(it)
                .route("GET", "/**", "orders:read")
                .route("POST", "/**", "orders:read")
                .tcp("ledger:write")
        })
        .service("shop", |it| {
            say(it)
                .scopes(["orders:read", "ledger:write"])
                .calls("orders")
                .calls_tcp("orders")
                .open()
        })
        .start()
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_svids_rotate_under_load() {
    let world = shop_and_orders(|it| it.ttl(3)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let counts: [_; 3] = std::array::from_fn(|_| Arc::new(AtomicUsize::new(0)));
    let [http1, http2, streams] = &counts;
    let going = |count: &AtomicUsize| {
        count.fetch_add(1, Ordering::SeqCst);
        !stop.load(Ordering::SeqCst)
    };

    let caller = world.from("shop");
    let keep_alive = async {
        let mut connection = caller.http1("orders").await;
        while going(http1) {
            exchange(&mut connection).await;
        }
    };
    let multiplexed = async {
        let connection = caller.http2("orders").await;
        let (mut one, mut other) = (connection.share(), connection.share());
        while going(http2) {
            tokio::join!(exchange(&mut one), exchange(&mut other));
        }
    };
    let new_streams = async {
        while going(streams) {
            whole_chat(caller.tcp("orders").await, "ping").await.unwrap();
        }
    };
    let rotations = async {
        world.rotated("orders", 4.0).await;
        world.rotated("shop", 4.0).await;
        stop.store(true, Ordering::SeqCst);
    };
    tokio::join!(keep_alive, multiplexed, new_streams, rotations);

    for count in &counts {
        assert!(count.load(Ordering::SeqCst) > 20, "too little was asked: {counts:?}");
    }
    assert_eq!(world.metrics("shop").await.failures(), "");
    assert_eq!(world.metrics("orders").await.failures(), "");
}

/// One request that may be repeated and one that may not.
async fn exchange(connection: &mut Http) {
    let reply = connection.get("/orders/7").await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    let reply = connection.send(post("/orders", "a book")).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    assert_eq!(reply.json()["body"], "a book");
}

#[tokio::test]
async fn the_application_sees_the_new_certificate_after_a_rotation() {
    let world = shop_and_orders(|it| it).await;
    let mut connection = world.from("shop").http1("orders").await;
    let mut hash_seen = async || {
        assert_eq!(connection.get("/orders/7").await.status(), 200);
        let header =
            world.app("orders").last().header("x-forwarded-client-cert").unwrap().to_owned();
        let hash = header.split(';').find_map(|part| part.strip_prefix("Hash="));
        hash.unwrap_or_else(|| panic!("no hash in {header}")).to_owned()
    };

    let old = hash_seen().await;
    assert_eq!(old, hash_seen().await, "the same certificate has the same hash");
    world.next_svid("shop", || world.agent("shop").rotate()).await;
    until("the new certificate at the application", async || {
        (hash_seen().await != old).then_some(())
    })
    .await;
    assert_ne!(hash_seen().await, old, "the old certificate is not used again");
}

#[tokio::test]
async fn a_stream_never_outlives_the_svid_that_the_caller_made_it_with() {
    let world = shop_and_orders(|it| it).await;
    let agent = world.agent("shop");
    world.next_svid("shop", || agent.set_ttl(Duration::from_secs(4))).await;
    let expiry = world.svid_not_after("shop").await;
    let mut early = world.from("shop").tcp("orders").await;
    chat(&mut early, "early").await;
    world.next_svid("shop", || agent.set_ttl(Duration::from_secs(3_600))).await;
    let mut late = world.from("shop").tcp("orders").await;
    chat(&mut late, "late").await;

    ends(&mut early).await;

    assert_ended_at(expiry);
    chat(&mut late, "still there").await;
}

#[tokio::test]
async fn a_stream_never_outlives_the_svid_of_the_service_that_took_it() {
    let world = shop_and_orders(|it| it).await;
    let agent = world.agent("orders");
    world.next_svid("orders", || agent.set_ttl(Duration::from_secs(4))).await;
    let expiry = world.svid_not_after("orders").await;
    let stranger = world.as_tcp_peer(SHOP, "orders");
    let mut early = stranger.stream().await;
    chat(&mut early, "early").await;
    world.next_svid("orders", || agent.set_ttl(Duration::from_secs(3_600))).await;
    let mut late = stranger.stream().await;
    chat(&mut late, "late").await;

    ends(&mut early).await;

    assert_ended_at(expiry);
    chat(&mut late, "still there").await;
}

#[tokio::test]
async fn a_connection_ends_when_the_certificate_of_a_caller_without_a_sidecar_expires() {
    let world = shop_and_orders(|it| it).await;
    let authority = world.agent_of("example.org").authority();
    let brief = Duration::from_secs(2);
    let began = SystemTime::now();
    let stranger = Stranger::new(world.address("orders"), Some((authority, SHOP, brief)));
    let mut http = stranger.http1().await;
    assert_eq!(http.get("/orders/7").await.status(), 200);
    let mut held = stranger.raw().await;
    held.send("GET /held-head HTTP/1.1\r\nhost: a\r\n\r\n").await;
    world.app("orders").reached(2).await;

    assert_eq!(held.last_words().await, "", "the answer had not come by then");

    assert!(SystemTime::now() >= began + brief, "it was cut before its time");
    assert!(SystemTime::now() < began + brief + SOON, "it has outlived its certificate");
    http.retired().await;
    shut_out(&stranger).await;
    world.handshakes_failed("orders", "expired").await;
}

fn assert_ended_at(expiry: SystemTime) {
    let now = SystemTime::now();
    let early = expiry.duration_since(now).unwrap_or_default();
    assert!(early < Duration::from_millis(50), "cut {early:?} before its SVID ran out");
    let late = now.duration_since(expiry).unwrap_or_default();
    assert!(late < Duration::from_secs(1), "it outlived its SVID by {late:?}");
}

#[tokio::test]
async fn a_trust_domain_that_is_withdrawn_loses_its_connections() {
    const PARTNER: &str = "spiffe://partner.test/prod/reports";
    let world = World::new()
        .service("orders", |it| {
            it.federates_with("partner.test").route("GET", "/**", "orders:read").tcp("ledger:write")
        })
        .service("shop", |it| it.scopes(["orders:read", "ledger:write"]).open())
        .service("reports", |it| {
            it.trust_domain("partner.test").scopes(["orders:read", "ledger:write"]).open()
        })
        .start()
        .await;
    let partner = world.as_tcp_peer(PARTNER, "orders");
    let mut stream = partner.stream().await;
    chat(&mut stream, "partner").await;
    let mut http = world.as_peer(PARTNER, "orders").http2().await;
    assert_eq!(http.get("/orders/7").await.status(), 200);
    let own = world.as_tcp_peer(SHOP, "orders");
    let mut own_stream = own.stream().await;
    chat(&mut own_stream, "own").await;

    let agent = world.agent_of("example.org");
    let began = Instant::now();
    agent.defederate(&TrustDomain::new("partner.test").unwrap());
    ends(&mut stream).await;
    http.ended().await.ok();
    assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());

    shut_out(&partner).await;
    world.handshakes_failed("orders", "unknown_trust_domain").await;
    chat(&mut own_stream, "still here").await;

    agent.federate(world.agent_of("partner.test").authority());
    until("the trust domain to be back", async || {
        let mut stream = partner.stream().await;
        stream.try_send("back").await.ok()?;
        (stream.echo(4).await? == "BACK").then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_authority_that_is_replaced_vouches_for_nobody_any_more() {
    let world = shop_and_orders(|it| it).await;
    let old = world.as_tcp_peer(SHOP, "orders");
    let mut stream = old.stream().await;
    chat(&mut stream, "old").await;
    let authority = world.agent_of("example.org").authority();

    authority.rotate().unwrap();
    for name in ["orders", "shop"] {
        world.rotated(name, 1.0).await;
    }
    // Both keys are good for a while, so nobody has to hurry.
    let mut stream = old.stream().await;
    chat(&mut stream, "old").await;
    assert_eq!(world.from("shop").get("orders", "/orders/7").await.status(), 200);

    authority.forget_old();
    shut_out(&old).await;
    assert_eq!(world.from("shop").get("orders", "/orders/8").await.status(), 200);
    assert_eq!(world.app("orders").requests(), 2);
}

#[tokio::test]
async fn a_service_that_its_agent_denies_stops_at_once_and_can_come_back() {
    let world = shop_and_orders(|it| it).await;
    let stranger = world.as_tcp_peer(SHOP, "orders");
    let mut stream = stranger.stream().await;
    chat(&mut stream, "hello").await;
    let mut http = world.as_peer(SHOP, "orders").http1().await;
    assert_eq!(http.get("/orders/7").await.status(), 200);

    world.agent("orders").deny();
    world.agent_is("orders", "denied").await;

    assert_eq!(world.not_ready("orders").await, ["identity_denied"]);
    let began = Instant::now();
    shut_out(&stranger).await;
    ends(&mut stream).await;
    http.ended().await.ok();
    assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());
    let refusal = world.from("shop").get("orders", "/orders/7").await;
    assert_ne!(refusal.status(), 200, "nobody is there to answer");

    world.agent("orders").allow();
    world.ready("orders").await;
    assert_eq!(world.from("shop").get("orders", "/orders/7").await.status(), 200);
}

#[tokio::test]
async fn a_caller_that_its_agent_denies_calls_nobody() {
    let world = shop_and_orders(|it| it).await;
    let mut kept = world.from("shop").http1("orders").await;
    assert_eq!(kept.get("/orders/7").await.status(), 200);

    world.agent("shop").deny();
    world.agent_is("shop", "denied").await;

    let refusal = (503, "identity_unavailable".to_owned());
    assert_eq!(kept.get("/orders/7").await.refusal(), refusal);
    assert_eq!(world.from("shop").get("orders", "/orders/7").await.refusal(), refusal);
    assert_eq!(world.app("orders").requests(), 1);
}

#[tokio::test]
async fn without_its_agent_a_service_serves_until_its_svid_runs_out_and_no_longer() {
    let world = shop_and_orders(|it| it).await;
    for name in ["orders", "shop"] {
        world.next_svid(name, || world.agent(name).set_ttl(Duration::from_secs(6))).await;
        world.agent(name).stop().await;
        world.agent_is(name, "stale").await;
    }
    let (orders, shop) = (world.svid_not_after("orders").await, world.svid_not_after("shop").await);
    let (first, last) = (orders.min(shop), orders.max(shop));

    let mut asked = 0;
    while SystemTime::now() + Duration::from_millis(500) < first {
        assert_eq!(world.not_ready("shop").await, [""; 0]);
        assert_eq!(world.from("shop").get("orders", "/orders/7").await.status(), 200);
        asked += 1;
    }
    assert!(asked > 5, "the SVID was gone after {asked} requests");

    for name in ["orders", "shop"] {
        world.agent_is(name, "expired").await;
        assert_eq!(world.not_ready(name).await, ["identity_expired"]);
    }
    assert!(SystemTime::now() >= last, "one was given up early");
    let refusal = world.from("shop").get("orders", "/orders/7").await;
    assert_eq!(refusal.refusal(), (503, "identity_unavailable".to_owned()));
    shut_out(&world.as_tcp_peer(SHOP, "orders")).await;
    assert_eq!(world.app("orders").requests(), asked);

    // The agents come back on new sockets at the same places.
    for name in ["orders", "shop"] {
        world.agent(name).start().unwrap();
        world.ready(name).await;
    }
    assert_eq!(world.from("shop").get("orders", "/orders/7").await.status(), 200);
}

#[tokio::test]
async fn a_new_connection_is_served_to_the_last_moments_of_an_svid() {
    for old in ["orders", "shop"] {
        let world = shop_and_orders(|it| it).await;
        world.next_svid(old, || world.agent(old).set_ttl(Duration::from_secs(8))).await;
        world.agent(old).stop().await;
        let end = world.svid_not_after(old).await;
        let mut http1 = world.from("shop").http1("orders").await;
        let mut http2 = world.from("shop").http2("orders").await;
        let served = async |connection: &mut Http| {
            let status = connection.get("/orders/7").await.status();
            // What is still under way at the end is cut, on a machine with much to do.
            assert!(status == 200 || SystemTime::now() >= end, "{status} before the end");
        };
        while SystemTime::now() + Duration::from_millis(50) < end {
            served(&mut http1).await;
            served(&mut http2).await;
        }
    }
}

#[tokio::test]
async fn an_agent_that_restarts_on_a_new_socket_is_found_again() {
    let world = shop_and_orders(|it| it).await;
    world.agent("orders").stop().await;
    world.agent_is("orders", "stale").await;

    world.agent("orders").start().unwrap();
    world.agent_is("orders", "fresh").await;

    // And it is listened to: what it says next arrives.
    world.next_svid("orders", || world.agent("orders").rotate()).await;
    assert_eq!(world.from("shop").get("orders", "/orders/7").await.status(), 200);
    let lost = world.metrics("orders").await.sum("sidegate_agent_disconnects_total", &[]);
    assert_eq!(lost, 1.0);
}

#[tokio::test]
async fn a_sidecar_that_starts_before_its_agent_waits_for_it() {
    let world = World::new()
        .service("orders", |it| it.agent_is_down().route("GET", "/**", "orders:read"))
        .service("shop", |it| it.scopes(["orders:read"]).agent_is_down().calls("orders"))
        .start()
        .await;
    for name in ["orders", "shop"] {
        assert_eq!(world.not_ready(name).await, ["identity_starting"]);
        let health = world.service(name).health();
        assert_eq!(side::reasons(health, "/startup").await, ["identity_starting"]);
        assert_eq!(side::reasons(health, "/live").await, [""; 0]);
    }
    let refusal = world.from("shop").get("orders", "/orders/7").await;
    assert_eq!(refusal.refusal(), (503, "identity_unavailable".to_owned()));
    shut_out(&world.as_peer(SHOP, "orders")).await;

    for name in ["orders", "shop"] {
        world.agent(name).start().unwrap();
        world.ready(name).await;
    }

    assert_eq!(side::reasons(world.service("orders").health(), "/startup").await, [""; 0]);
    assert_eq!(world.from("shop").get("orders", "/orders/7").await.status(), 200);
}

#[tokio::test]
async fn an_agent_that_accepts_and_says_nothing_does_not_stop_the_service() {
    let world = shop_and_orders(|it| it.ttl(3)).await;
    world.agent("orders").hang();
    world.agent("orders").rotate();
    // The old SVID is used for as long as it holds.
    assert_eq!(world.from("shop").get("orders", "/orders/7").await.status(), 200);

    world.agent("orders").allow();
    let before = world.svid_not_after("orders").await;
    until("a later SVID", async || (world.svid_not_after("orders").await > before).then_some(()))
        .await;
    assert_eq!(world.from("shop").get("orders", "/orders/7").await.status(), 200);
}

#[tokio::test]
async fn requests_in_flight_finish_when_the_svid_under_them_is_replaced() {
    let world = shop_and_orders(|it| it).await;
    let (mut one, caller) = (world.from("shop").http2("orders").await, world.from("shop"));
    let asked = caller.http1("orders").await;
    let mut asked = asked;
    let slow = async { tokio::join!(one.get("/held-head"), asked.send(get("/held-body"))) };
    let rotation = async {
        world.app("orders").reached(2).await;
        for name in ["orders", "shop"] {
            world.next_svid(name, || world.agent(name).rotate()).await;
        }
        // What is new goes over a new connection, while the old ones are still at work.
        let before = world.app("orders").requests();
        assert_eq!(world.from("shop").get("orders", "/orders/7").await.status(), 200);
        holds("the new request", || world.app("orders").requests() == before + 1).await;
        world.app("orders").release();
    };

    let ((first, second), ()) = tokio::join!(slow, rotation);

    assert_eq!(first.status(), 200);
    assert_eq!(second.text(), "first,last");
}
