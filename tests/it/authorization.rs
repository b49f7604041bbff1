//! Who may do what, end to end: every refusal has its code, its audit line, and leaves the
//! application alone.

use std::collections::BTreeSet;
use std::time::Duration;

use http::header::WWW_AUTHENTICATE;
use serde_json::{Value, json};
use sidegate::authz::Reason;

use crate::world::World;
use crate::world::audit::Line;
use crate::world::client::{Http, Reply, get, post, with_headers};
use crate::world::more::{chat, ends};
use crate::world::spec::Spec;
use crate::world::tokens::{claims, get_with};
use crate::world::wait::{holds, until};

const SHOP: &str = "spiffe://example.org/prod/shop";
const REQUEST_LAYER: &str = r#"package sidegate.request

import rego.v1

deny contains {"code": "test_traffic", "message": "not here"} if {
	input.request.headers["x-test"]
}
"#;

/// `orders` with a few routes, and `shop` as it is described.
async fn shop_and_orders(shop: impl FnOnce(Spec) -> Spec) -> World {
    orders_and(shop, |it| it).await
}

async fn orders_and(shop: impl FnOnce(Spec) -> Spec, orders: impl FnOnce(Spec) -> Spec) -> World {
    World::new()
        .service("orders", |it| {
            orders(it)
                .route("GET", "/orders/{id}", "orders:read")
                .route("POST", "/orders", "orders:write")
                .route("DELETE", "/orders/{id}", "orders:delete")
        })
        .service("shop", |it| shop(it).calls("orders").open())
        .start()
        .await
}

/// `shop` asks and is refused, for this reason and by one line; `orders` never hears of it.
async fn refused(world: &World, path: &str, reason: Reason) -> (Reply, Line) {
    let reply = world.from("shop").get("orders", path).await;
    assert_eq!(reply.refusal(), (403, reason.code().to_owned()));
    let line = world.refused("orders", reason.code(), 0).await;
    assert_eq!(line.request_id, reply.header("x-request-id").unwrap());
    assert_eq!(line.source.spiffe_id.as_deref(), Some(SHOP));
    assert_eq!(world.audit("orders").lines().len(), 1, "one request, one line");
    (reply, line)
}

async fn allowed(connection: &mut Http, path: &str) {
    assert_eq!(connection.get(path).await.status(), 200, "{path}");
}

fn detail(line: &Line) -> &str {
    line.detail.as_deref().unwrap()
}

#[tokio::test]
async fn a_caller_with_the_scope_of_the_route_is_let_in() {
    let world = World::new()
        .service("orders", |it| it.tenant("acme").route("GET", "/orders/{id}", "orders:read"))
        .service("shop", |it| it.tenant("acme").scopes(["orders:read"]).calls("orders"))
        .start()
        .await;

    let reply = world.from("shop").get("orders", "/orders/7").await;

    assert_eq!(reply.status(), 200);
    assert_eq!(reply.json()["target"], "/orders/7");
    let line = world.audit("orders").only("allowed").await;
    assert_eq!(line.decision, "allow");
    assert_eq!(line.source.spiffe_id, Some(world.id("shop")));
    assert_eq!(world.app("orders").requests(), 1);
}

// Each reason

/// A reason that is added to the product needs a test here, and its name in this list.
#[test]
fn every_reason_has_its_test() {
    let tests = |reason: Reason| -> fn() {
        match reason {
            Reason::TenantMismatch => a_caller_of_another_tenant_is_refused,
            Reason::NoRoute => what_is_not_declared_is_refused,
            Reason::InsufficientScope => {
                a_caller_without_the_scope_is_refused_and_told_which_it_needs
            }
            Reason::PolicyDenied => an_identity_that_the_policy_denies_is_refused_on_every_route,
            Reason::Revoked => a_revoked_identity_is_refused,
            Reason::TokenExpired => a_caller_whose_token_has_run_out_is_refused,
            Reason::PolicyError => a_policy_that_answers_rubbish_lets_nobody_in,
        }
    };
    let tests: BTreeSet<_> = Reason::ALL.iter().map(|reason| tests(*reason) as usize).collect();
    assert_eq!(tests.len(), Reason::ALL.len(), "two reasons share a test");
}

/// As an operator does it: in a file of its own, beside the rest of the data.
fn revoke(world: &mut World, revocations: Value) {
    let policy = world.policy("orders");
    std::fs::create_dir_all(policy.file("revocations")).unwrap();
    policy.write("revocations/data.json", &revocations.to_string());
}

#[tokio::test]
async fn a_revoked_identity_is_refused() {
    let mut world = shop_and_orders(|it| it.scopes(["*:*"])).await;
    let mut connection = world.as_peer(SHOP, "orders").http1().await;
    allowed(&mut connection, "/orders/7").await;
    let serial = world.audit("orders").only("allowed").await.source.serial.unwrap();

    for (number, (revocations, told)) in (1..).zip([
        (
            json!({"spiffe_ids": [SHOP]}),
            "revoked by `spiffe_ids`: `spiffe://example.org/prod/shop`",
        ),
        (json!({"spiffe_ids": ["spiffe://example.org/prod/*"]}), "`spiffe://example.org/prod/*`"),
        (json!({"subjects": [SHOP]}), "revoked by `subjects`"),
        (json!({"serials": [serial.to_uppercase()]}), "revoked by `serials`"),
    ]) {
        world.repoliced("orders", |it| revoke(it, revocations)).await;
        for path in ["/orders/7", "/nowhere"] {
            let reply = connection.get(path).await;
            assert_eq!(reply.refusal(), (403, "revoked".to_owned()), "{told}");
            assert_eq!(reply.header("www-authenticate"), None);
        }
        let line = world.audit("orders").nth("revoked", 2 * number).await;
        assert!(detail(&line).contains(told), "{told}: {line:?}");
        assert_eq!((line.source.spiffe_id.as_deref(), line.route.as_deref()), (Some(SHOP), None));
    }
    assert_eq!(world.app("orders").requests(), 1);

    let others = json!({"spiffe_ids": ["spiffe://example.org/prod/sho"], "serials": ["1"]});
    world.repoliced("orders", |it| revoke(it, others)).await;
    allowed(&mut connection, "/orders/7").await;
}

#[tokio::test]
async fn an_open_stream_is_cut_when_its_certificate_is_revoked() {
    let mut world = orders_and(|it| it.scopes(["ledger:write"]), |it| it.tcp("ledger:write")).await;
    let mut stream = world.as_tcp_peer(SHOP, "orders").stream().await;
    chat(&mut stream, "before").await;
    let serial = world.audit("orders").only("allowed").await.source.serial.unwrap();
    let mut other = world.as_tcp_peer(SHOP, "orders").stream().await;
    chat(&mut other, "before").await;

    revoke(&mut world, json!({ "serials": [serial] }));
    ends(&mut stream).await;

    assert_eq!(detail(&world.audit("orders").only("revoked").await), "revoked by `serials`");
    chat(&mut other, "the same workload by another certificate").await;
}

#[tokio::test]
async fn revocations_that_could_never_match_leave_the_policy_as_it_was() {
    let mut world = shop_and_orders(|it| it.scopes(["orders:read"])).await;
    world.repoliced("orders", |it| revoke(it, json!({"spiffe_ids": [SHOP]}))).await;
    let mut connection = world.as_peer(SHOP, "orders").http1().await;
    assert_eq!(connection.get("/orders/7").await.refusal(), (403, "revoked".to_owned()));

    revoke(&mut world, json!({"spiffe_id": []}));
    until("the edit to be rejected", async || {
        let metrics = world.metrics("orders").await;
        let rejected = metrics.sum("sidegate_policy_reloads_total", &[("result", "rejected")]);
        (rejected == 1.0).then_some(())
    })
    .await;
    assert_eq!(connection.get("/orders/7").await.refusal(), (403, "revoked".to_owned()));
}

/// What `authz` makes of such a token is tried there; here it comes over the wire.
#[tokio::test]
async fn a_caller_whose_token_has_run_out_is_refused() {
    let world = World::new()
        .service("orders", |it| {
            it.route("GET", "/orders/{id}", "orders:read").accepts(["spiffe", "jwt"])
        })
        .start()
        .await;
    let token = world.mint(claims("orders", "orders:read"), Duration::from_secs(2));
    let mut connection = world.without_svid("orders").http1().await;
    let answer = connection.begin(get_with(&token, "/orders/held-body")).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(Reply::read(answer).await.is_err(), "the answer went on without its token");
    let line = world.audit("orders").only("invalid_token").await;
    assert!(detail(&line).contains("token"), "{line:?}");
}

#[tokio::test]
async fn a_caller_of_another_tenant_is_refused() {
    let world = shop_and_orders(|it| it.tenant("globex").scopes(["orders:read"])).await;
    let (_, line) = refused(&world, "/orders/7", Reason::TenantMismatch).await;
    assert_eq!(line.tenant.as_deref(), Some("globex"));
    assert_eq!(line.route, None);
    assert!(detail(&line).contains("`globex`"), "{line:?}");
}

#[tokio::test]
async fn a_caller_without_a_tenant_is_refused_whatever_its_scopes() {
    let world =
        shop_and_orders(|it| it.granted("tenant", Value::Null).scopes(["orders:read"])).await;
    let (_, line) = refused(&world, "/orders/7", Reason::TenantMismatch).await;
    assert_eq!(line.tenant, None);
}

#[tokio::test]
async fn an_identity_that_the_policy_does_not_know_may_nothing() {
    let world = shop_and_orders(|it| it).await;
    for number in 1..=2 {
        let mut nobody = world.as_peer("spiffe://example.org/prod/nobody", "orders").http1().await;
        let reply = nobody.get("/orders/7").await;
        assert_eq!(reply.refusal(), (403, "tenant_mismatch".to_owned()));
        let line = world.audit("orders").nth("tenant_mismatch", number).await;
        assert_eq!(line.source.spiffe_id.as_deref(), Some("spiffe://example.org/prod/nobody"));
        assert_eq!(line.held_scopes.as_deref(), Some(""));
    }
    assert_eq!(world.app("orders").requests(), 0);
}

#[tokio::test]
async fn a_stranger_cannot_learn_which_routes_exist() {
    let world = shop_and_orders(|it| it.tenant("globex").scopes(["orders:read"])).await;
    let mut connection = world.from("shop").http1("orders").await;
    let mut answers = BTreeSet::new();
    for request in [get("/orders/7"), get("/nowhere"), post("/orders", "x"), post("/orders/7", "x")]
    {
        let reply = connection.send(request).await;
        assert_eq!(reply.refusal(), (403, "tenant_mismatch".to_owned()));
        let id = reply.header("x-request-id").unwrap();
        answers
            .insert((reply.text().replace(id, "ID"), reply.header("www-authenticate").is_some()));
    }
    assert_eq!(answers.len(), 1, "the answers differ: {answers:?}");
    world.audit("orders").nth("tenant_mismatch", 4).await;
    assert_eq!(world.app("orders").requests(), 0);
}

#[tokio::test]
async fn what_is_not_declared_is_refused() {
    let world = shop_and_orders(|it| it.scopes(["*:*"])).await;
    let (reply, line) = refused(&world, "/nowhere", Reason::NoRoute).await;
    assert_eq!(reply.header(WWW_AUTHENTICATE.as_str()), None);
    assert_eq!((line.route, line.required_scopes), (None, None));

    let mut connection = world.from("shop").http1("orders").await;
    for request in [
        get("/orders"),
        get("/orders/7/lines"),
        get("/ORDERS/7"),
        get("/orders/7/"),
        post("/orders/7", ""),
        with_headers(post("/orders/7", ""), &[("x-http-method-override", "GET")]),
    ] {
        let told = format!("{} {}", request.method(), request.uri());
        assert_eq!(
            connection.send(request).await.refusal(),
            (403, "no_route".to_owned()),
            "{told}"
        );
    }
    world.audit("orders").nth("no_route", 7).await;
    assert_eq!(world.app("orders").requests(), 0);
}

#[tokio::test]
async fn a_caller_without_the_scope_is_refused_and_told_which_it_needs() {
    let world = shop_and_orders(|it| it.scopes(["orders:write", "stock:read"])).await;
    let (reply, line) = refused(&world, "/orders/7", Reason::InsufficientScope).await;
    assert_eq!(
        reply.header("www-authenticate"),
        Some("Bearer error=\"insufficient_scope\", scope=\"orders:read\"")
    );
    assert_eq!(line.route.as_deref(), Some("GET /orders/{id}"));
    assert_eq!(line.required_scopes.as_deref(), Some("orders:read"));
    assert_eq!(line.held_scopes.as_deref(), Some("orders:write stock:read"));
}

#[tokio::test]
async fn an_identity_that_the_policy_denies_is_refused_on_every_route() {
    let mut world = shop_and_orders(|it| it.scopes(["*:*"])).await;
    let mut connection = world.from("shop").http1("orders").await;
    allowed(&mut connection, "/orders/7").await;

    world.repoliced("orders", |it| it.policy("orders").block(SHOP)).await;

    for (number, request) in (1..).zip([get("/orders/7"), post("/orders", "x")]) {
        let reply = connection.send(request).await;
        assert_eq!(reply.refusal(), (403, "policy_denied".to_owned()));
        assert_eq!(reply.header("www-authenticate"), None);
        let line = world.audit("orders").nth("policy_denied", number).await;
        assert_eq!(detail(&line), "global: blocked");
        assert_eq!(line.held_scopes.as_deref(), Some(""));
    }
    assert_eq!(world.app("orders").requests(), 1);
}

#[tokio::test]
async fn a_policy_can_refuse_a_request_for_a_header() {
    let mut world = shop_and_orders(|it| it.scopes(["orders:read"])).await;
    world.repoliced("orders", |it| it.policy("orders").write("request.rego", REQUEST_LAYER)).await;
    let mut connection = world.from("shop").http1("orders").await;
    let reply = connection.send(with_headers(get("/orders/7"), &[("X-Test", "1")])).await;
    assert_eq!(reply.refusal(), (403, "policy_denied".to_owned()));
    let line = world.refused("orders", "policy_denied", 0).await;
    assert_eq!(detail(&line), "request: test_traffic: not here");
    assert_eq!(line.route.as_deref(), Some("GET /orders/{id}"));
    assert_eq!(line.held_scopes.as_deref(), Some("orders:read"));
    allowed(&mut connection, "/orders/7").await;
}

#[tokio::test]
async fn a_policy_that_answers_rubbish_lets_nobody_in() {
    let rubbish = json!({"roles": "admin", "scopes": ["*:*"], "tenant": "acme"});
    let mut world = shop_and_orders(|it| it.scopes(["orders:read"])).await;
    world.repoliced("orders", |it| it.policy("orders").grant(SHOP, rubbish)).await;
    let (_, line) = refused(&world, "/orders/7", Reason::PolicyError).await;
    assert!(detail(&line).contains("`roles` is a string"), "{line:?}");
    assert_eq!(line.held_scopes.as_deref(), Some(""));
}

#[tokio::test]
async fn each_kind_of_rubbish_is_a_policy_error() {
    let mut world = shop_and_orders(|it| it.scopes(["orders:read"])).await;
    for (number, (grant, told)) in (1..).zip([
        (json!({"roles": [], "scopes": ["orders:read"]}), "`tenant` is missing"),
        (json!({"roles": [], "scopes": ["orders"], "tenant": "acme"}), "orders"),
        (json!({"roles": ["king"], "scopes": [], "tenant": "acme"}), "role `king` is not defined"),
        (json!({"roles": [], "scopes": [], "tenant": "acme", "admin": true}), "`admin`"),
        (json!({"roles": [], "scopes": [], "tenant": "ACME Corp"}), "tenant"),
        (
            json!({"roles": [], "scopes": [], "tenant": "globex", "cross_tenant": true}),
            "`ttl_seconds`",
        ),
        (json!(["orders:read"]), "expected an object"),
    ]) {
        world.repoliced("orders", |it| it.policy("orders").grant(SHOP, grant)).await;
        let reply = world.from("shop").get("orders", "/orders/7").await;
        assert_eq!(reply.refusal(), (403, "policy_error".to_owned()), "{told}");
        let line = world.audit("orders").nth("policy_error", number).await;
        assert!(detail(&line).contains(told), "{told}: {line:?}");
    }
    assert_eq!(world.app("orders").requests(), 0);
}

// Scopes

/// How many of all requests were refused for their scopes, once all have their lines.
async fn refusals(world: &World, requests: usize) -> usize {
    let audit = world.audit("orders");
    holds("a line for each request", || audit.lines().len() >= requests).await;
    assert_eq!(audit.lines().len(), requests, "one request, one line");
    audit.count("insufficient_scope")
}

#[tokio::test]
async fn a_wildcard_covers_its_resource_or_action_and_no_more() {
    for (granted, read, write) in [
        ("orders:*", 200, 200),
        ("*:read", 200, 403),
        ("*:*", 200, 200),
        ("order:*", 403, 403),
        ("stock:*", 403, 403),
    ] {
        let world = shop_and_orders(|it| it.scopes([granted])).await;
        let mut connection = world.from("shop").http1("orders").await;
        assert_eq!(connection.get("/orders/7").await.status(), read, "{granted}");
        assert_eq!(connection.send(post("/orders", "x")).await.status(), write, "{granted}");
        let refused = [read, write].iter().filter(|status| **status == 403).count();
        assert_eq!(refusals(&world, 2).await, refused);
        assert_eq!(world.app("orders").requests(), 2 - refused);
    }
}

#[tokio::test]
async fn a_role_stands_for_its_scopes() {
    let world = shop_and_orders(|it| it.roles(["reader"])).await;
    let mut connection = world.from("shop").http1("orders").await;
    allowed(&mut connection, "/orders/7").await;
    assert_eq!(
        world.audit("orders").only("allowed").await.held_scopes.as_deref(),
        Some("orders:read stock:read")
    );
    assert_eq!(
        world.app("orders").last().header("x-sidegate-scopes"),
        Some("orders:read stock:read")
    );
    let reply = connection.send(post("/orders", "x")).await;
    assert_eq!(reply.refusal(), (403, "insufficient_scope".to_owned()));
    world.refused("orders", "insufficient_scope", 1).await;
}

/// A route that needs all, and one that needs any.
async fn several<const N: usize>(scopes: [&str; N]) -> World {
    orders_and(
        |it| it.scopes(scopes),
        |mut it| {
            let both = json!(["orders:read", "stock:read"]);
            it.routes.push(json!({"path": "/all", "methods": ["GET"], "scopes": both}));
            it.routes.push(json!({"path": "/any", "methods": ["GET"], "any_of": both}));
            it
        },
    )
    .await
}

#[tokio::test]
async fn a_route_may_need_all_of_several_scopes_or_any() {
    for (scopes, all, any) in [
        (["orders:read", "stock:read"], 200, 200),
        (["orders:read", "orders:write"], 403, 200),
        (["stock:read", "stock:write"], 403, 200),
        (["users:read", "orders:write"], 403, 403),
    ] {
        let world = several(scopes).await;
        let mut connection = world.from("shop").http1("orders").await;
        let reply = connection.get("/all").await;
        assert_eq!(reply.status(), all, "{scopes:?}");
        if all == 403 {
            assert_eq!(
                reply.header("www-authenticate"),
                Some("Bearer error=\"insufficient_scope\", scope=\"orders:read stock:read\"")
            );
        }
        assert_eq!(connection.get("/any").await.status(), any, "{scopes:?}");
        let refused = [all, any].iter().filter(|status| **status == 403).count();
        assert_eq!(refusals(&world, 2).await, refused);
        assert_eq!(world.app("orders").requests(), 2 - refused);
    }
}

#[tokio::test]
async fn head_is_allowed_where_get_is() {
    let world = shop_and_orders(|it| it.scopes(["orders:read"])).await;
    let head = http::Request::head("/orders/7").body(crate::world::app::whole("")).unwrap();
    let reply = world.from("shop").send("orders", head).await;
    assert_eq!(reply.status(), 200);
    let line = world.audit("orders").only("allowed").await;
    assert_eq!(line.method.as_deref(), Some("HEAD"));
}

// Tenants

#[tokio::test]
async fn an_identity_with_the_right_to_cross_tenants_is_let_in_and_marked() {
    let world = shop_and_orders(|it| {
        it.tenant("globex")
            .scopes(["orders:read"])
            .granted("cross_tenant", json!(true))
            .granted("ttl_seconds", json!(900))
    })
    .await;
    let mut connection = world.from("shop").http1("orders").await;
    allowed(&mut connection, "/orders/7").await;
    let line = world.audit("orders").only("allowed").await;
    assert!(line.cross_tenant, "{line:?}");
    assert_eq!(line.tenant.as_deref(), Some("globex"));
    assert_eq!(world.app("orders").last().header("x-sidegate-tenant"), Some("globex"));

    let reply = connection.send(post("/orders", "x")).await;
    assert_eq!(
        reply.refusal(),
        (403, "insufficient_scope".to_owned()),
        "scopes count all the same"
    );
    world.refused("orders", "insufficient_scope", 1).await;
}

#[tokio::test]
async fn a_tenant_that_a_caller_names_changes_nothing() {
    const CLAIMS: [(&str, &str); 4] = [
        ("x-sidegate-tenant", "acme"),
        ("x-tenant", "acme"),
        ("x-tenant-id", "acme"),
        ("x_sidegate_tenant", "acme"),
    ];
    let foreign = shop_and_orders(|it| it.tenant("globex").scopes(["orders:read"])).await;
    let mut stranger = foreign.as_peer(SHOP, "orders").http1().await;
    let request = with_headers(get("/orders/7?tenant=acme&tenant_id=acme"), &CLAIMS);
    assert_eq!(stranger.send(request).await.refusal(), (403, "tenant_mismatch".to_owned()));
    let line = foreign.refused("orders", "tenant_mismatch", 0).await;
    assert_eq!(line.tenant.as_deref(), Some("globex"));

    let own = shop_and_orders(|it| it.scopes(["orders:read"])).await;
    let claims = CLAIMS.map(|(name, _)| (name, "globex"));
    let request = with_headers(get("/orders/7?tenant=globex"), &claims);
    let mut caller = own.as_peer(SHOP, "orders").http1().await;
    assert_eq!(caller.send(request).await.status(), 200);
    let line = own.audit("orders").only("allowed").await;
    assert_eq!((line.tenant.as_deref(), line.cross_tenant), (Some("acme"), false));
    assert_eq!(own.app("orders").last().header("x-sidegate-tenant"), Some("acme"));
}

// What is told to whom

#[tokio::test]
async fn a_refusal_says_its_code_and_request_id_and_nothing_else() {
    let world = shop_and_orders(|it| it.scopes(["stock:read"])).await;
    let mut caller = world.as_peer(SHOP, "orders").http1().await;
    let reply = caller.send(with_headers(get("/orders/7"), &[("x-request-id", "mine-0001")])).await;
    assert_eq!(reply.text(), "{\"error\":\"insufficient_scope\",\"request_id\":\"mine-0001\"}\n");
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("server"), None);
    assert_eq!(world.refused("orders", "insufficient_scope", 0).await.request_id, "mine-0001");
}

#[tokio::test]
async fn the_audit_line_of_a_request_that_was_let_in_is_right_in_every_field() {
    let world = shop_and_orders(|it| it.scopes(["orders:read"])).await;
    let mut caller = world.as_peer(SHOP, "orders").http1().await;
    let request = with_headers(get("/orders/%37?secret=yes"), &[("x-request-id", "mine-0001")]);
    assert_eq!(caller.send(request).await.status(), 200);

    let line = world.audit("orders").only("allowed").await;
    assert_common(&world, &line);
    assert_eq!((line.decision.as_str(), line.detail.as_deref()), ("allow", None));
    assert_eq!(line.route.as_deref(), Some("GET /orders/{id}"));
    assert_eq!(line.required_scopes.as_deref(), Some("orders:read"));
    assert_eq!(line.held_scopes.as_deref(), Some("orders:read"));
    assert_eq!(line.method.as_deref(), Some("GET"));
    assert_eq!(line.path.as_deref(), Some("/orders/7"), "as judged, without the query");
    assert_eq!(world.app("orders").last().target, "/orders/7?secret=yes");
    assert_eq!(world.app("orders").last().header("x-request-id"), Some("mine-0001"));
}

#[tokio::test]
async fn the_audit_line_of_a_request_that_was_refused_is_right_in_every_field() {
    let world = shop_and_orders(|it| it.scopes(["orders:read"])).await;
    let mut caller = world.as_peer(SHOP, "orders").http2().await;
    let request = with_headers(post("/orders?secret=yes", "x"), &[("x-request-id", "mine-0001")]);
    assert_eq!(caller.send(request).await.status(), 403);

    let line = world.refused("orders", "insufficient_scope", 0).await;
    assert_common(&world, &line);
    assert_eq!((line.decision.as_str(), detail(&line)), ("deny", "held: `orders:read`"));
    assert_eq!(line.route.as_deref(), Some("POST /orders"));
    assert_eq!(line.required_scopes.as_deref(), Some("orders:write"));
    assert_eq!(line.held_scopes.as_deref(), Some("orders:read"));
    assert_eq!(line.method.as_deref(), Some("POST"));
    assert_eq!(line.path.as_deref(), Some("/orders"));
}

/// What both lines say of who asked whom, and how.
fn assert_common(world: &World, line: &Line) {
    let time = &line.time;
    assert!(time.len() == 24 && time.ends_with('Z') && &time[10..11] == "T", "{time}");
    assert_eq!(line.request_id, "mine-0001");
    assert_eq!((line.direction.as_str(), line.listener.as_str()), ("inbound", "http"));
    assert_eq!(line.protocol, "http");
    let source = &line.source;
    assert_eq!(source.spiffe_id.as_deref(), Some(SHOP));
    assert_eq!(source.trust_domain.as_deref(), Some("example.org"));
    assert_eq!(source.method.as_deref(), Some("spiffe"));
    assert!(source.address.as_deref().unwrap().starts_with("127.0.0.1:"));
    let serial = source.serial.as_deref().unwrap();
    assert!(serial.len() >= 16 && serial.bytes().all(|it| it.is_ascii_hexdigit()), "{serial}");
    assert_eq!(line.destination, None);
    assert_eq!(line.local, Some(world.id("orders")));
    assert_eq!((line.tenant.as_deref(), line.cross_tenant), (Some("acme"), false));
    assert!(!line.policy_revision.as_deref().unwrap().is_empty());
}
