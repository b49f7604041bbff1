//! Identities come and go under load, and no request is lost on the way to the token and back.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::Request;

use crate::fallback::{shop_and_orders, way_of};
use crate::world::World;
use crate::world::app::whole;
use crate::world::audit::Line;
use crate::world::client::{Http, get, post, with_headers};
use crate::world::grpc::{message, messages};
use crate::world::wait::holds;

/// What the caller's sidecar has refused, for the one who looks for the reason.
fn refused(world: &World) -> Vec<Line> {
    world.audit("shop").lines().into_iter().filter(|line| line.decision == "deny").collect()
}

/// What is asked while identities come and go.
struct Load {
    stop: AtomicBool,
    counts: [AtomicUsize; 4],
    /// The longest that an answer took.
    slowest: Mutex<Duration>,
}

impl Load {
    fn going(&self, kind: usize) -> bool {
        self.counts[kind].fetch_add(1, Ordering::SeqCst);
        !self.stop.load(Ordering::SeqCst)
    }

    /// One request that may be repeated and one that may not.
    async fn exchange(&self, connection: &mut Http) {
        let began = Instant::now();
        assert_eq!(connection.get("/orders/7").await.status(), 200);
        let reply = connection.send(post("/orders", "a book")).await;
        assert_eq!(reply.status(), 200, "{reply:?}");
        assert_eq!(reply.json()["body"], "a book");
        let mut slowest = self.slowest.lock().unwrap();
        *slowest = began.elapsed().max(*slowest);
    }

    async fn run(&self, world: &World) {
        let caller = world.from("shop");
        let keep_alive = async {
            let mut connection = caller.http1("orders").await;
            while self.going(0) {
                self.exchange(&mut connection).await;
            }
        };
        let multiplexed = async {
            let connection = caller.http2("orders").await;
            let (mut one, mut other) = (connection.share(), connection.share());
            while self.going(1) {
                tokio::join!(self.exchange(&mut one), self.exchange(&mut other));
            }
        };
        let unary = async {
            let mut connection = caller.http2("orders").await;
            let headers = [("content-type", "application/grpc"), ("te", "trailers")];
            while self.going(2) {
                let call = Request::post("/test.Echo/Unary").body(whole(message("hello"))).unwrap();
                let reply = connection.send(with_headers(call, &headers)).await;
                assert_eq!(messages(&reply.body), ["hello"], "{reply:?} {:?}", refused(world));
                assert_eq!(reply.trailers["grpc-status"], "0");
            }
        };
        let anew = async {
            while self.going(3) {
                assert_eq!(caller.send("orders", get("/orders/8")).await.status(), 200);
            }
        };
        tokio::join!(keep_alive, multiplexed, unary, anew);
    }

    /// Lets some more of each kind go through.
    async fn more(&self) {
        let counts = || self.counts.each_ref().map(|count| count.load(Ordering::SeqCst));
        let before = counts();
        let all = || before.iter().zip(counts()).all(|(before, now)| now > before + 10);
        holds("more to be asked", all).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_lost_on_the_way_to_the_token_and_back() {
    let world = shop_and_orders(|it| it.ttl(7).workers(2)).await;
    let load = Load {
        stop: AtomicBool::new(false),
        counts: Default::default(),
        slowest: Mutex::default(),
    };
    let turns = async {
        // Twice to the end of an SVID's life, and once withdrawn before its time.
        for _ in 0..2 {
            world.agent("shop").stop().await;
            world.agent_is("shop", "expired").await;
            load.more().await;
            assert_eq!(way_of(&world, "orders-http").await, "jwt");
            world.agent("shop").start().unwrap();
            world.agent_is("shop", "fresh").await;
            load.more().await;
        }
        world.agent("shop").deny();
        world.agent_is("shop", "denied").await;
        load.more().await;
        world.agent("shop").allow();
        world.agent_is("shop", "fresh").await;
        load.more().await;
        load.stop.store(true, Ordering::SeqCst);
    };
    tokio::join!(load.run(&world), turns);

    assert_eq!(world.metrics("shop").await.failures(), "");
    assert_eq!(world.metrics("orders").await.failures(), "");
    assert!(*load.slowest.lock().unwrap() < Duration::from_secs(2), "somebody waited");
    let switched = world.metrics("shop").await;
    let switched = switched.sum("sidegate_outbound_method_switches_total", &[("to", "jwt")]);
    assert_eq!(switched, 3.0);
}
