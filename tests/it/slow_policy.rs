//! Policies that take their time: who asks them waits or is refused, and nobody else notices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;
use serde_json::json;

use crate::admin::change;
use crate::world::World;
use crate::world::client::get;
use crate::world::more::chat;
use crate::world::wait::within;

const SHOP: &str = "spiffe://example.org/prod/shop";
const DESK: &str = "spiffe://example.org/prod/desk";
const ASIDE: &str = "sidegate_policy_evaluations_aside_total";
/// Would take hours.
const BOMB: &str = "count([1 |\n\t\tsome a in numbers.range(1, 1000)\n\t\t\
    some b in numbers.range(1, 1000)\n\t\tsome c in numbers.range(1, 1000)\n\t\ta + b + c > 0\n\t]) > 0";

async fn orders() -> World {
    let scopes = ["orders:read", "ledger:write"];
    World::new()
        .service("orders", |it| {
            it.route("GET", "/**", "orders:read").tcp("ledger:write").workers(1)
        })
        .service("shop", |it| it.scopes(scopes).open())
        .service("desk", |it| it.scopes(scopes).open())
        .start()
        .await
}

async fn with_policy(name: &str, text: String) -> World {
    let mut world = orders().await;
    world.repoliced("orders", |it| it.policy("orders").write(name, &text)).await;
    world
}

#[tokio::test]
async fn a_request_that_the_policy_cannot_answer_is_refused_while_others_go_on() {
    const BOMBS: usize = 12;
    let rule = format!(
        "package sidegate.request\n\nimport rego.v1\n\ndeny contains \"bomb\" if {{\n\t\
         input.request.path == \"/bomb\"\n\t{BOMB}\n}}\n"
    );
    let world = with_policy("request.rego", rule).await;
    let stranger = world.as_peer(SHOP, "orders");
    let mut bombs = Vec::new();
    for _ in 0..BOMBS {
        let mut connection = stranger.http1().await;
        assert_eq!(connection.get("/orders/7").await.status(), 200);
        bombs.push(connection);
    }
    let mut other = world.as_peer(DESK, "orders").http1().await;
    assert_eq!(other.get("/orders/7").await.status(), 200);

    let exploding = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&exploding);
    let exploded = tokio::spawn(async move {
        let mut answers = tokio::task::JoinSet::new();
        for mut connection in bombs {
            answers.spawn(async move { connection.get("/bomb").await });
        }
        let answers = answers.join_all().await;
        told.store(false, Ordering::SeqCst);
        answers
    });
    let mut answered = 0;
    while exploding.load(Ordering::SeqCst) {
        assert_eq!(other.get("/orders/7").await.status(), 200);
        answered += 1;
    }
    for answer in within("the answers", exploded).await.unwrap() {
        assert_eq!(answer.refusal(), (403, "policy_error".to_owned()));
    }
    // How many depends on how busy the machine is; that bombs went off beside the worker is counted.
    assert!(answered > 0, "nobody else was answered meanwhile");
    let line = world.audit("orders").nth("policy_error", BOMBS).await;
    assert!(line.detail.as_deref().unwrap().contains("took too long"), "{line:?}");
    let metrics = world.metrics("orders").await;
    assert!(metrics.sum(ASIDE, &[("result", "asked")]) >= BOMBS as f64);
}

#[tokio::test]
async fn an_identity_that_the_policy_cannot_answer_for_is_refused_and_others_are_let_in() {
    let rule = format!(
        "package sidegate.team\n\nimport rego.v1\n\ndeny contains \"bomb\" if {{\n\t\
         input.peer.service == \"shop\"\n\tinput.local.service == \"orders\"\n\t{BOMB}\n}}\n"
    );
    let world = with_policy("team.rego", rule).await;
    let mut shop = world.as_peer(SHOP, "orders").http1().await;
    assert_eq!(shop.get("/orders/7").await.refusal(), (403, "policy_error".to_owned()));
    let mut desk = world.as_peer(DESK, "orders").http1().await;
    assert_eq!(desk.get("/orders/7").await.status(), 200);
    let mut stream = world.as_tcp_peer(DESK, "orders").stream().await;
    chat(&mut stream, "hello").await;
}

#[tokio::test]
async fn a_rule_that_is_only_slow_is_waited_for() {
    // Some milliseconds where it is fast, and more than a worker waits for.
    let rule = "package sidegate.request\n\nimport rego.v1\n\ndeny contains \"odd\" if {\n\t\
        endswith(input.request.path, \"slow\")\n\t\
        count([1 | some a in numbers.range(1, 1000); a > 0]) != 1000\n}\n";
    let world = with_policy("request.rego", rule.to_owned()).await;
    let mut shop = world.as_peer(SHOP, "orders").http1().await;
    for path in ["/slow", "/orders/7", "/slow", "/orders/7"] {
        assert_eq!(shop.get(path).await.status(), 200, "{path}");
    }
    world.audit("orders").nth("allowed", 4).await;
    let lines = world.audit("orders").lines();
    assert!(lines.iter().all(|line| line.decision == "allow"), "{lines:#?}");
    assert_eq!(json!(lines.len()), 4);
}

#[tokio::test]
async fn a_revocation_while_the_policy_is_still_thinking_counts() {
    const BOMBS: usize = 16;
    let rule = format!(
        "package sidegate.request\n\nimport rego.v1\n\ndeny contains \"bomb\" if {{\n\t\
         input.request.path == \"/bomb\"\n\t{BOMB}\n}}\n"
    );
    let world = with_policy("request.rego", rule).await;
    let stranger = world.as_peer(DESK, "orders");
    let mut other = world.as_peer(DESK, "orders").http1().await;
    let mut shop = world.as_peer(SHOP, "orders").http1().await;
    // From now on its questions go to where slow ones wait, whatever they are.
    assert_eq!(shop.get("/bomb").await.status(), 403);
    let before = world.metrics("orders").await.sum(ASIDE, &[("result", "asked")]);
    let mut bombs = tokio::task::JoinSet::new();
    for _ in 0..BOMBS {
        let mut connection = stranger.http1().await;
        bombs.spawn(async move { connection.get("/bomb").await });
    }
    crate::world::wait::until("the queue", async || {
        (world.metrics("orders").await.sum(ASIDE, &[("result", "asked")]) > before).then_some(())
    })
    .await;
    let asked = tokio::spawn(async move { shop.begin(get("/orders/held-body")).await });
    // The only worker has seen the other request by then, and its question waits behind the bombs.
    for _ in 0..5 {
        assert_eq!(other.get("/orders/7").await.status(), 200);
    }
    change(&world, Method::POST, json!({"spiffe_ids": [SHOP], "reason": "stolen"})).await;
    let answer = within("the answer", asked).await.unwrap().unwrap();
    assert_eq!(answer.status(), 403);
    let line = world.audit("orders").only("revoked").await;
    assert_eq!(line.source.spiffe_id.as_deref(), Some(SHOP));
    within("the bombs", bombs.join_all()).await;
}
