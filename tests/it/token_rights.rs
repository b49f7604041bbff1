//! What a token brings runs through the same checks as what a policy grants, and no policy can make
//! it more (AZ-2, AZ-5, AZ-8).

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::World;
use crate::world::client::{Http, Reply};
use crate::world::spec::Spec;
use crate::world::tokens::{claims, get_with};

const MINUTE: Duration = Duration::from_secs(60);

async fn orders(say: impl FnOnce(Spec) -> Spec) -> World {
    World::new()
        .service("orders", |it| {
            say(it)
                .route("GET", "/orders/{id}", "orders:read")
                .route("GET", "/stock/{id}", "stock:read")
                .accepts(["spiffe", "jwt"])
        })
        .start()
        .await
}

fn changed(world: &World, change: impl FnOnce(&mut Value)) -> String {
    let mut claims = claims("orders", "orders:read");
    change(&mut claims);
    world.mint(claims, MINUTE)
}

async fn ask(connection: &mut Http, token: &str, path: &str) -> Reply {
    connection.send(get_with(token, path)).await
}

#[tokio::test]
async fn a_token_without_the_scope_is_refused_and_told_which_it_needs() {
    let world = orders(|it| it).await;
    let token = world.token("orders", "orders:write stock:read");
    let mut connection = world.without_svid("orders").http1().await;
    let reply = ask(&mut connection, &token, "/orders/7").await;
    assert_eq!(reply.refusal(), (403, "insufficient_scope".to_owned()));
    let challenge = "Bearer error=\"insufficient_scope\", scope=\"orders:read\"";
    assert_eq!(reply.header("www-authenticate"), Some(challenge));
    let line = world.refused("orders", "insufficient_scope", 0).await;
    assert_eq!(line.held_scopes.as_deref(), Some("orders:write stock:read"));
    assert_eq!(line.required_scopes.as_deref(), Some("orders:read"));
    assert_eq!(line.source.subject.as_deref(), Some("batch"));
    assert_eq!(line.source.token.as_deref().map(str::len), Some(32));
}

#[tokio::test]
async fn the_tenant_comes_before_the_route() {
    let world = orders(|it| it).await;
    let mut connection = world.without_svid("orders").http1().await;
    let foreign = changed(&world, |it| it["tenant"] = json!("globex"));
    for (number, path) in [(1, "/orders/7"), (2, "/nowhere")] {
        let reply = ask(&mut connection, &foreign, path).await;
        assert_eq!(reply.refusal(), (403, "tenant_mismatch".to_owned()));
        assert_eq!(reply.header("www-authenticate"), None);
        let line = world.audit("orders").nth("tenant_mismatch", number).await;
        assert_eq!((line.tenant.as_deref(), line.route), (Some("globex"), None));
    }
    let own = world.token("orders", "*:*");
    let reply = ask(&mut connection, &own, "/nowhere").await;
    assert_eq!(reply.refusal(), (403, "no_route".to_owned()));
    world.refused("orders", "no_route", 0).await;
}

#[tokio::test]
async fn roles_of_a_token_give_nothing() {
    let world = orders(|it| it).await;
    let mut connection = world.without_svid("orders").http1().await;
    // The policy's data makes `reader` a role with `orders:read`.
    let token = changed(&world, |it| {
        it["scope"] = json!("openid");
        it["roles"] = json!(["reader", "admin"]);
        it["teams"] = json!(["orders"]);
    });
    let reply = ask(&mut connection, &token, "/orders/7").await;
    assert_eq!(reply.refusal(), (403, "insufficient_scope".to_owned()));
    let line = world.audit("orders").only("insufficient_scope").await;
    assert_eq!(line.roles, ["reader", "admin"], "they are for the log");
    world.refused("orders", "insufficient_scope", 0).await;
}

#[tokio::test]
async fn a_policy_sees_by_what_method_a_request_was_proven() {
    let mut world = orders(|it| it).await;
    let layer = r#"package sidegate.request

import rego.v1

deny contains {"code": "machines", "message": input.peer.subject} if {
	input.peer.method == "jwt"
	input.peer.spiffe_id == null
	input.request.path == "/stock/7"
}
"#;
    world.repoliced("orders", |it| it.policy("orders").write("request.rego", layer)).await;
    let token = world.token("orders", "*:read");
    let mut connection = world.without_svid("orders").http1().await;
    assert_eq!(ask(&mut connection, &token, "/orders/7").await.status(), 200);
    let reply = ask(&mut connection, &token, "/stock/7").await;
    assert_eq!(reply.refusal(), (403, "policy_denied".to_owned()));
    let line = world.refused("orders", "policy_denied", 1).await;
    assert_eq!(line.detail.as_deref(), Some("request: machines: batch"));
}

fn ceiling(rules: &str) -> String {
    format!("package sidegate.global\n\nimport rego.v1\n\n{rules}\n")
}

#[tokio::test]
async fn a_policy_caps_what_a_token_brings_and_never_adds_to_it() {
    let mut world = orders(|it| it).await;
    let token = world.token("orders", "orders:* stock:read");
    let other = changed(&world, |it| {
        it["sub"] = json!("nightly");
        it["scope"] = json!("orders:read");
    });
    let mut connection = world.without_svid("orders").http1().await;
    let issuer = world.issuer().url.clone();
    for (rules, held, of_other) in [
        (
            r#"limit contains "*:*" if input.peer.method == "jwt""#,
            "orders:* stock:read",
            "orders:read",
        ),
        (
            r#"limit contains "*:read" if input.peer.method == "jwt""#,
            "orders:read stock:read",
            "orders:read",
        ),
        (r#"limit contains "stock:*" if input.peer.subject == "batch""#, "stock:read", ""),
        (
            &format!(r#"limit contains "orders:read" if input.peer.issuer == "{issuer}""#),
            "orders:read",
            "orders:read",
        ),
        (r#"limit contains "*:*" if input.peer.issuer == "https://attacker.example""#, "", ""),
        (r#"limit contains "*:*" if input.peer.method == "spiffe""#, "", ""),
    ] {
        let text = ceiling(rules);
        world.repoliced("orders", |it| it.policy("orders").write("limit.rego", &text)).await;
        for (token, held) in [(&token, held), (&other, of_other)] {
            let reply = ask(&mut connection, token, "/orders/7").await;
            let may = held.contains("orders:");
            assert_eq!(reply.status(), if may { 200 } else { 403 }, "{rules}");
            let line = world.audit("orders").of(&reply).await;
            assert_eq!(line.held_scopes.as_deref(), Some(held), "{rules}");
        }
    }
}

#[tokio::test]
async fn a_policy_can_deny_an_issuer_or_a_subject() {
    let mut world = orders(|it| it).await;
    let token = world.token("orders", "orders:read");
    let mut connection = world.without_svid("orders").http1().await;
    let issuer = world.issuer().url.clone();
    for (number, rule) in [
        (1, r#"deny contains "not this one" if input.peer.subject == "batch""#.to_owned()),
        (2, format!(r#"deny contains "not theirs" if input.peer.issuer == "{issuer}""#)),
    ] {
        let text = ceiling(&rule);
        world.repoliced("orders", |it| it.policy("orders").write("deny.rego", &text)).await;
        let reply = ask(&mut connection, &token, "/orders/7").await;
        assert_eq!(reply.refusal(), (403, "policy_denied".to_owned()), "{rule}");
        let line = world.audit("orders").nth("policy_denied", number).await;
        assert!(line.detail.unwrap().starts_with("global: not "));
    }
    assert_eq!(world.app("orders").requests(), 0);
}

#[tokio::test]
async fn a_token_may_cross_tenants_if_its_issuer_may_say_so_and_not_for_long() {
    let world = orders(|it| it.issuer(json!({"cross_tenant": true}))).await;
    let mut connection = world.without_svid("orders").http1().await;
    let across = |life: u64, scope: &str| {
        let mut claims = claims("orders", scope);
        claims["tenant"] = json!("globex");
        claims["cross_tenant"] = json!(true);
        world.mint(claims, Duration::from_secs(life))
    };

    let reply = ask(&mut connection, &across(15 * 60, "orders:read"), "/orders/7").await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    let line = world.audit("orders").only("allowed").await;
    assert_eq!((line.cross_tenant, line.tenant.as_deref()), (true, Some("globex")));
    assert_eq!(world.app("orders").last().header("x-sidegate-tenant"), Some("globex"));

    let reply = ask(&mut connection, &across(16 * 60, "orders:read"), "/orders/7").await;
    assert_eq!(reply.refusal(), (401, "invalid_token".to_owned()));
    let line = world.refused("orders", "invalid_token", 1).await;
    assert!(line.detail.unwrap().contains("(cross_tenant)"));

    // Scopes count all the same.
    let reply = ask(&mut connection, &across(60, "stock:read"), "/orders/7").await;
    assert_eq!(reply.refusal(), (403, "insufficient_scope".to_owned()));

    // In its own tenant it is a token like any other.
    let home = changed(&world, |it| it["cross_tenant"] = json!(true));
    assert_eq!(ask(&mut connection, &home, "/orders/7").await.status(), 200);
    assert!(!world.audit("orders").nth("allowed", 2).await.cross_tenant);

    let metrics = world.metrics("orders").await;
    assert_eq!(metrics.sum("sidegate_cross_tenant_uses_total", &[("listener", "http")]), 1.0);
}

#[tokio::test]
async fn the_same_token_is_judged_by_the_policy_once() {
    let world = orders(|it| it).await;
    let misses =
        async || world.metrics("orders").await.sum("sidegate_grant_cache_misses_total", &[]);
    let before = misses().await;
    let token = world.token("orders", "orders:read");
    for _ in 0..3 {
        let mut connection = world.without_svid("orders").http1().await;
        for _ in 0..3 {
            assert_eq!(ask(&mut connection, &token, "/orders/7").await.status(), 200);
        }
    }
    assert_eq!(misses().await - before, 1.0);
    let mut connection = world.without_svid("orders").http2().await;
    let another = world.token("orders", "orders:read");
    for token in [&another, &token, &another, &token] {
        assert_eq!(ask(&mut connection, token, "/orders/7").await.status(), 200);
    }
    assert_eq!(misses().await - before, 2.0, "another token is another question");
}
