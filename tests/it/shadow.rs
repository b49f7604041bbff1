//! A second policy beside the enforced one: asked about everything, obeyed in nothing (AZ-10).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::world::World;
use crate::world::app::whole;
use crate::world::audit::Line;
use crate::world::client::Http;
use crate::world::grpc::message;
use crate::world::more::chat;
use crate::world::policy::PolicyFolder;
use crate::world::side::{self, Metrics};
use crate::world::spec::Spec;
use crate::world::tokens::get_with;
use crate::world::wait::until;

const SHOP: &str = "spiffe://example.org/prod/shop";
const DESK: &str = "spiffe://example.org/prod/desk";
const DECISIONS: &str = "sidegate_shadow_decisions_total";
const ROUTE: &str = "GET /orders/{id}";

/// `shop` may read and open streams, `desk` may not; under the shadow policy it is the other way
/// around.
async fn orders(say: impl FnOnce(Spec) -> Spec) -> World {
    let nothing = json!({"tenant": "acme", "roles": [], "scopes": []});
    let world = World::new()
        .service("orders", |it| {
            say(it)
                .route("GET", "/orders/{id}", "orders:read")
                .grpc("test.Echo/*", "orders:read")
                .tcp("ledger:write")
                .accepts(["spiffe", "jwt"])
                .shadow(json!({SHOP: nothing, DESK: reader()}))
        })
        .service("shop", |it| it.scopes(["orders:read", "ledger:write"]).open())
        .service("desk", Spec::open)
        .start()
        .await;
    asked(&world).await;
    world
}

fn reader() -> Value {
    json!({"tenant": "acme", "roles": [], "scopes": ["orders:read", "ledger:write"]})
}

/// Waits until a shadow policy is asked, and gives its revision.
async fn asked(world: &World) -> String {
    until("the shadow policy to be asked", async || revision(&world.metrics("orders").await)).await
}

fn revision(metrics: &Metrics) -> Option<String> {
    let (_, labels, _) = metrics.samples().find(|(name, ..)| *name == "sidegate_shadow_policy")?;
    Some(labels.split('"').nth(1).unwrap().to_owned())
}

/// Edits the shadow policy, and waits until what has been edited is asked.
async fn edit(world: &mut World, edit: impl FnOnce(&mut PolicyFolder)) {
    let before = asked(world).await;
    edit(world.shadow("orders"));
    until("the new shadow policy", async || {
        revision(&world.metrics("orders").await).filter(|it| *it != before)
    })
    .await;
}

async fn counted(world: &World, outcome: &str, count: f64) -> Metrics {
    until(&format!("{count} times `{outcome}`"), async || {
        let metrics = world.metrics("orders").await;
        (metrics.sum(DECISIONS, &[("outcome", outcome)]) >= count).then_some(metrics)
    })
    .await
}

/// The lines of decisions that the shadow policy would have made in another way.
async fn differing(world: &World, count: usize) -> Vec<Line> {
    until(&format!("{count} lines with another decision"), async || {
        let lines = world.audit("orders").lines();
        let lines: Vec<_> = lines.into_iter().filter(|line| line.shadow.is_some()).collect();
        (lines.len() >= count).then_some(lines)
    })
    .await
}

async fn statuses(connection: &mut Http, count: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..count {
        statuses.push(connection.get("/orders/7").await.status());
    }
    statuses
}

#[tokio::test]
async fn what_it_would_change_is_counted_and_told_and_nothing_changes() {
    let mut world = orders(|it| it).await;
    let shadow = asked(&world).await;
    let mut shop = world.as_peer(SHOP, "orders").http1().await;
    let mut desk = world.as_peer(DESK, "orders").http2().await;
    assert_eq!(statuses(&mut shop, 1).await, [200]);
    assert_eq!(statuses(&mut desk, 1).await, [403]);
    counted(&world, "would_deny", 1.0).await;
    counted(&world, "would_allow", 1.0).await;

    // From here on its answers are known.
    assert_eq!(statuses(&mut shop, 3).await, [200; 3]);
    assert_eq!(statuses(&mut desk, 2).await, [403; 2]);
    assert_eq!(desk.get("/nowhere").await.refusal(), (403, "no_route".to_owned()));

    let metrics = counted(&world, "same", 1.0).await;
    let of = |outcome| {
        let labels = [("listener", "http"), ("route", ROUTE), ("outcome", outcome)];
        metrics.sum(DECISIONS, &labels)
    };
    assert_eq!((of("would_deny"), of("would_allow")), (4.0, 3.0));
    assert_eq!(metrics.sum(DECISIONS, &[("route", ""), ("outcome", "same")]), 1.0);
    assert_eq!(metrics.sum(DECISIONS, &[("outcome", "error")]), 0.0);

    let lines = differing(&world, 7).await;
    assert_eq!(lines.len(), 7, "each decision is told once: {lines:#?}");
    for line in &lines {
        let told = line.shadow.as_ref().unwrap();
        assert_eq!(told.policy_revision, shadow);
        assert_ne!(line.policy_revision.as_ref(), Some(&shadow));
        let id = line.source.spiffe_id.as_deref();
        let expected = match line.decision.as_str() {
            "allow" => (Some(SHOP), "deny", "insufficient_scope", Some("held: ``".to_owned())),
            _ => (Some(DESK), "allow", "allowed", None),
        };
        let found = (id, &*told.decision, &*told.reason, told.detail.clone());
        assert_eq!(found, expected, "{line:#?}");
    }
    // What was known at once stands in the decision's own line, the rest repeats it.
    let all = world.audit("orders").lines();
    for line in lines {
        let own = all.iter().filter(|it| it.request_id == line.request_id);
        let late = line.shadow.as_ref().unwrap().late;
        assert_eq!(own.count(), if late { 2 } else { 1 });
    }
    assert_eq!(world.app("orders").requests(), 4, "what it would allow does not come through");

    let socket = world.path("orders").join("admin.sock");
    let page = async |page: &str| {
        let stream = tokio::net::UnixStream::connect(&socket).await.unwrap();
        Http::http1(stream).await.unwrap().get(page).await.json()
    };
    let status = page("/v1/status").await;
    let sums = json!({"same": 1, "would_allow": 3, "would_deny": 4});
    assert_eq!(status["shadow"]["decisions"], sums);
    let report = page("/v1/shadow").await;
    assert_eq!(report["policy_revision"], json!(shadow));
    let differences = report["differences"].as_array().unwrap();
    let told = differences.iter().map(|it| (&it["subject"], &it["outcome"], &it["count"]));
    let (shop_row, desk_row) = (json!(SHOP), json!(DESK));
    let (deny, allow) = (json!("would_deny"), json!("would_allow"));
    let expected = [(&shop_row, &deny, &json!(4)), (&desk_row, &allow, &json!(3))];
    assert_eq!(told.collect::<Vec<_>>(), expected, "{report:#}");
    assert_eq!(world.not_ready("orders").await, [""; 0]);

    // Once the candidate is enforced, there is nothing to tell any more.
    let candidate = std::fs::read_to_string(world.shadow("orders").file("data.json")).unwrap();
    world.policy("orders").write("data.json", &candidate);
    until("the candidate to be enforced", async || {
        (statuses(&mut shop, 1).await == [403]).then_some(())
    })
    .await;
    let before = world.metrics("orders").await;
    assert_eq!(statuses(&mut desk, 2).await, [200; 2]);
    let after = world.metrics("orders").await;
    let more = |outcome| {
        let sum = |metrics: &Metrics| metrics.sum(DECISIONS, &[("outcome", outcome)]);
        sum(&after) - sum(&before)
    };
    assert_eq!((more("same"), more("would_allow"), more("would_deny")), (2.0, 0.0, 0.0));
}

#[tokio::test]
async fn raw_streams_grpc_calls_and_machine_tokens_are_asked_about_too() {
    let mut world = orders(|it| it).await;
    let limit = "package sidegate.tenant\nimport rego.v1\nlimit := [\"*:write\"]\n";
    edit(&mut world, |it| it.write("tenant.rego", limit)).await;

    let mut stream = world.as_tcp_peer(SHOP, "orders").stream().await;
    chat(&mut stream, "allowed all the same").await;
    let told = differing(&world, 1).await;
    let [line] = told.as_slice() else { panic!("{told:#?}") };
    assert_eq!((line.protocol.as_str(), line.decision.as_str()), ("tcp", "allow"));
    assert_eq!(line.shadow.as_ref().unwrap().reason, "insufficient_scope");
    let metrics = counted(&world, "would_deny", 1.0).await;
    assert_eq!(metrics.sum(DECISIONS, &[("listener", "tcp"), ("outcome", "would_deny")]), 1.0);

    let token = world.token("orders", "orders:read");
    let mut caller = world.without_svid("orders").http1().await;
    assert_eq!(caller.send(get_with(&token, "/orders/7")).await.status(), 200);
    let told = differing(&world, 2).await;
    let line = told.last().unwrap();
    assert_eq!(line.source.subject.as_deref(), Some("batch"));
    assert_eq!(line.shadow.as_ref().unwrap().detail.as_deref(), Some("held: ``"));

    let mut shop = world.as_peer(SHOP, "orders").http2().await;
    let request = http::Request::post("/test.Echo/Unary")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(whole(message("one")))
        .unwrap();
    assert_eq!(shop.send(request).await.status(), 200);
    let told = differing(&world, 3).await;
    assert_eq!(told.last().unwrap().protocol, "grpc");
}

#[tokio::test]
async fn a_question_about_each_request_is_answered_after_it() {
    let mut world = orders(|it| it).await;
    edit(&mut world, |it| it.grant(SHOP, reader())).await;
    let deny = "package sidegate.request\nimport rego.v1\n\
        deny contains \"not on this host\" if input.request.host != input.request.path\n";
    edit(&mut world, |it| it.write("request.rego", deny)).await;
    let mut shop = world.as_peer(SHOP, "orders").http1().await;
    assert_eq!(statuses(&mut shop, 3).await, [200; 3]);
    counted(&world, "would_deny", 3.0).await;
    let last = differing(&world, 3).await.pop().unwrap();
    let told = last.shadow.unwrap();
    assert!(told.late, "{told:?}");
    assert_eq!(told.reason, "policy_denied");
    assert!(told.detail.unwrap().contains("not on this host"));
    assert_eq!((last.decision.as_str(), last.path.as_deref()), ("allow", Some("/orders/7")));
}

#[tokio::test]
async fn one_that_never_comes_to_an_answer_slows_nobody_down() {
    let mut world = orders(|it| it).await;
    edit(&mut world, |it| it.grant(SHOP, reader())).await;
    let endless = "package sidegate.request\nimport rego.v1\n\
        deny contains \"found\" if {\n\
        input.local.service == \"orders\"\n\
        input.peer.service == \"shop\"\n\
        some i in numbers.range(1, 5000)\n\
        some j in numbers.range(1, 5000)\n\
        i * j == 0 - count(input.request.path)\n}\n";
    edit(&mut world, |it| it.write("request.rego", endless)).await;
    let mut shop = world.as_peer(SHOP, "orders").http1().await;
    let began = Instant::now();
    assert_eq!(statuses(&mut shop, 100).await, [200; 100]);
    let took = began.elapsed();
    // Each evaluation is cut after 100 ms: in the way of the requests, that would be 10 s.
    assert!(took < Duration::from_secs(3), "it took {took:?}");
    counted(&world, "error", 1.0).await;
    let metrics = counted(&world, "skipped", 50.0).await;
    let all = metrics.sum(DECISIONS, &[]);
    assert!(all <= 100.0, "{all}");
    assert!(metrics.sum(DECISIONS, &[("outcome", "error")]) <= 10.0, "over the budget");
}

async fn refused(world: &World) {
    until("the refused shadow policy to be told", async || {
        let notes = side::notes(world.service("orders").health()).await;
        notes.contains(&"shadow_policy_refused".to_owned()).then_some(())
    })
    .await;
    let metrics = world.metrics("orders").await;
    assert_eq!(metrics.sum("sidegate_policy_candidate_refused", &[("lane", "shadow")]), 1.0);
    assert_eq!(world.not_ready("orders").await, [""; 0], "traffic may come all the same");
}

#[tokio::test]
async fn a_broken_edit_is_told_and_the_one_before_is_asked_on() {
    let mut world = orders(|it| it).await;
    let before = asked(&world).await;
    let text = std::fs::read_to_string(world.shadow("orders").file("global.rego")).unwrap();
    world.shadow("orders").write("global.rego", "package sidegate.global\n\ngrant := {");
    refused(&world).await;
    assert_eq!(asked(&world).await, before);
    let reloads = world.metrics("orders").await.sum("sidegate_policy_reloads_total", &[]);
    assert_eq!(reloads, 0.0, "the enforced policy has not been touched");
    let mut shop = world.as_peer(SHOP, "orders").http1().await;
    assert_eq!(statuses(&mut shop, 2).await, [200; 2]);
    counted(&world, "would_deny", 2.0).await;

    world.shadow("orders").write("global.rego", &text);
    until("the note to go", async || {
        let notes = side::notes(world.service("orders").health()).await;
        (!notes.contains(&"shadow_policy_refused".to_owned())).then_some(())
    })
    .await;
    assert_eq!(asked(&world).await, before);
}

#[tokio::test]
async fn one_that_is_taken_away_is_asked_no_more_until_it_is_back() {
    let mut world = orders(|it| it).await;
    let before = asked(&world).await;
    let folder = world.shadow("orders").path.clone();
    let aside = folder.with_extension("aside");
    std::fs::rename(&folder, &aside).unwrap();
    refused(&world).await;
    assert_eq!(revision(&world.metrics("orders").await), None);
    let mut shop = world.as_peer(SHOP, "orders").http1().await;
    assert_eq!(statuses(&mut shop, 2).await, [200; 2]);
    assert_eq!(world.metrics("orders").await.sum(DECISIONS, &[]), 0.0);

    std::fs::rename(&aside, &folder).unwrap();
    assert_eq!(asked(&world).await, before);
    assert_eq!(statuses(&mut shop, 1).await, [200]);
    counted(&world, "would_deny", 1.0).await;
}

#[tokio::test]
async fn one_that_is_broken_at_the_start_does_not_hinder_it() {
    let mut world = orders(|it| it).await;
    let text = std::fs::read_to_string(world.shadow("orders").file("global.rego")).unwrap();
    world.shadow("orders").write("global.rego", "package sidegate.global\n\ngrant := {");
    world.restart("orders").await;
    refused(&world).await;
    let mut shop = world.as_peer(SHOP, "orders").http1().await;
    assert_eq!(statuses(&mut shop, 1).await, [200]);
    assert_eq!(world.metrics("orders").await.sum(DECISIONS, &[]), 0.0);

    world.shadow("orders").write("global.rego", &text);
    asked(&world).await;
    assert_eq!(statuses(&mut shop, 1).await, [200]);
    counted(&world, "would_deny", 1.0).await;
}

#[tokio::test]
async fn whoever_was_there_before_is_known_to_a_new_shadow_policy_at_once() {
    let mut world = orders(|it| it).await;
    let mut shop = world.as_peer(SHOP, "orders").http1().await;
    assert_eq!(statuses(&mut shop, 1).await, [200]);
    counted(&world, "would_deny", 1.0).await;
    let other: Value = json!({"tenant": "acme", "roles": [], "scopes": ["stock:read"]});
    edit(&mut world, |it| it.grant(SHOP, other)).await;
    assert_eq!(statuses(&mut shop, 1).await, [200]);
    let last = differing(&world, 2).await.pop().unwrap().shadow.unwrap();
    assert_eq!(last.detail.as_deref(), Some("held: `stock:read`"));
    assert!(!last.late, "it was asked about before it came into force: {last:?}");
}
