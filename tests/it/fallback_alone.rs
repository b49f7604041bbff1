//! The way out by token where the two sides are not in the same state: no agent at all, and a server
//! that alone has lost its SVID (JWT-2, JWT-4; `docs/decisions/0023`).

use std::time::{Duration, Instant};

use serde_json::json;
use spiffe::TrustDomain;

use crate::fallback::{WISH, method_on, shop_and_orders};
use crate::world::aside::{Witness, notes};
use crate::world::hostile::issued;
use crate::world::issuer::write_private;
use crate::world::tokens::claims;
use crate::world::wait::{holds, until};
use crate::world::{World, secrets};

/// A service that others call, and a token that opens it in a file.
async fn orders_and_a_token() -> (World, std::path::PathBuf) {
    let world = World::new()
        .service("orders", |it| it.route("GET", "/**", "orders:read").accepts(["spiffe", "jwt"]))
        .start()
        .await;
    let file = world.hand().join("token");
    write_private(&file, &world.mint(claims("orders", "orders:read"), Duration::from_secs(600)));
    (world, file)
}

/// A Workload API where nobody answers.
fn nobody() -> serde_json::Value {
    json!({"identity": {"workload_api": "unix:///nowhere/api.sock"}})
}

fn agent_of_shop(world: &World) -> serde_json::Value {
    let socket = world.agent("shop").endpoint();
    json!({"identity": {"workload_api": socket, "danger_accept_dev_agent": true}})
}

#[tokio::test]
async fn only_beside_spiffe_a_token_waits_for_the_agents_first_word() {
    let (world, file) = orders_and_a_token().await;
    let started = Instant::now();
    let aside = world.aside_in(json!({"present": {"file": file}}), nobody(), &[]);
    let called = async || (aside.get("/orders/7").await.status() == 200).then_some(());
    until("a call", called).await;
    assert!(started.elapsed() < Duration::from_secs(2), "it waited for an agent");

    let say = json!({
        "present": {"file": file},
        "authenticate_with": ["spiffe", "jwt"],
        "expect": world.id("orders"),
    });
    let aside = world.aside_in(say, nobody(), &[]);
    // The token that is held back is there.
    aside.lacks("identity_starting").await;
    aside.ready().await;
    assert_eq!(aside.get("/orders/7").await.status(), 200);
}

#[tokio::test]
async fn how_calls_go_out_is_told_from_the_start() {
    let (world, file) = orders_and_a_token().await;
    let lines = secrets::switches;
    let say = json!({
        "name": "dead-end",
        "present": {"file": "/nowhere/token"},
        "authenticate_with": ["spiffe", "jwt"],
        "expect": world.id("orders"),
    });
    let dead_end = world.aside_in(say, nobody(), &[]);
    let _by_token = world.aside(json!({"name": "by-token-only", "present": {"file": file}}));

    holds("a line", || lines("dead-end").len() == 1 && lines("by-token-only").len() == 1).await;
    let line = lines("dead-end").pop().unwrap();
    assert!(line.contains("ERROR") && line.contains("cannot go out"), "{line}");
    let line = lines("by-token-only").pop().unwrap();
    assert!(line.contains("INFO") && line.contains("by machine token"), "{line}");
    let count = dead_end.metrics().await;
    assert_eq!(count.sum("sidegate_outbound_method_switches_total", &[("to", "none")]), 1.0);
}

#[tokio::test]
async fn only_who_is_told_so_takes_a_name_for_proof_while_just_the_server_has_no_svid() {
    let world = shop_and_orders(|it| it).await;
    let file = world.hand().join("token");
    write_private(&file, &world.mint(claims("orders", "orders:read"), Duration::from_secs(600)));
    let calling = |also: bool| {
        let say = json!({
            "present": {"file": file},
            "authenticate_with": ["spiffe", "jwt"],
            "expect": world.id("orders"),
            "server": {"name": "orders.test", "ca": world.path("ca.pem"), "also_without_svid": also},
            "limits": {"connection_age": "3s"},
        });
        let agent = agent_of_shop(&world);
        world.aside_in(say, agent, &[])
    };
    let (plain, told) = (calling(false), calling(true));
    let last = || world.app("orders").last().header("x-sidegate-method").unwrap().to_owned();
    for aside in [&plain, &told] {
        aside.ready().await;
        until("a call by SVID", async || {
            assert_eq!(aside.get("/orders/7").await.status(), 200);
            (last() == "spiffe").then_some(())
        })
        .await;
    }

    world.agent("orders").deny();
    world.agent_is("orders", "denied").await;
    let note = notes(world.service("orders").health()).await;
    assert_eq!(note, ["callers_with_svid_refused", "identity_denied"]);
    until("what was made by SVID to have ended", async || {
        let reply = plain.get("/orders/7").await;
        (reply.status() == 502).then(|| assert_eq!(reply.refusal().1, "upstream_identity"))
    })
    .await;
    until("the first call by token", async || {
        let answered = told.get("/orders/7").await.status() == 200;
        (answered && last() == "jwt").then_some(())
    })
    .await;
    // Longer than any of its connections lives.
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(4) {
        assert_eq!(method_on(&world, &mut told.http1().await).await, "jwt");
        assert_eq!(method_on(&world, &mut told.http2().await).await, "jwt");
    }
    let mut raw = told.raw().await;
    raw.send(WISH).await;
    assert!(raw.head().await.starts_with("HTTP/1.1 101 "));
    assert_eq!(plain.get("/orders/7").await.refusal(), (502, "upstream_identity".to_owned()));

    world.agent("orders").allow();
    world.agent_is("orders", "fresh").await;
    until("calls by SVID", async || {
        let methods = [
            method_on(&world, &mut told.http1().await).await,
            method_on(&world, &mut told.http2().await).await,
        ];
        (methods == ["spiffe", "spiffe"]).then_some(())
    })
    .await;
    assert_eq!(plain.get("/orders/7").await.status(), 200);
}

#[tokio::test]
async fn an_svid_that_fails_is_never_made_good_by_a_name() {
    let world = shop_and_orders(|it| it).await;
    let file = world.hand().join("token");
    write_private(&file, &world.mint(claims("orders", "orders:read"), Duration::from_secs(600)));
    let forger = sidegate::dev::Authority::new(TrustDomain::new("example.org").unwrap()).unwrap();
    let ours = world.agent_of("example.org").authority();
    let hour = Duration::from_secs(3_600);
    for shown in [
        issued(ours, "spiffe://example.org/prod/another", Duration::ZERO, hour),
        issued(&forger, &world.id("orders"), Duration::ZERO, hour),
    ] {
        let witness = Witness::start(Some(shown)).await;
        let say = json!({
            "connect_to": witness.address.to_string(),
            "present": {"file": file},
            "authenticate_with": ["spiffe", "jwt"],
            "expect": world.id("orders"),
            "server": {"name": "orders.test", "ca": world.path("ca.pem"), "also_without_svid": true},
        });
        let agent = agent_of_shop(&world);
        let aside = world.aside_in(say, agent, &[]);
        aside.ready().await;
        until("the token to be at hand", async || {
            let has = aside.metrics().await.has("sidegate_token_not_after_timestamp_seconds");
            has.then_some(())
        })
        .await;
        assert_eq!(aside.get("/orders/7").await.refusal(), (502, "upstream_identity".to_owned()));
        let tried = aside.metrics().await.sum("sidegate_upstream_connections_total", &[]);
        assert_eq!(tried, 1.0, "there was no second handshake");
    }
}
