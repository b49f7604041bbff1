//! Every way in which a token may not hold, over the wire: one answer for all, the reason in the
//! audit log, and the application never hears of it (JWT-1, JWT-5, SEC-1).

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sidegate::dev::TokenIssuer;
use sidegate::secret::Secret;

use crate::world::app::Body;
use crate::world::client::{Reply, get, post, with_headers};
use crate::world::grpc::message;
use crate::world::tokens::get_with;
use crate::world::{World, secrets};

const AS_TEXT: &str = "7";

async fn orders() -> World {
    World::new()
        .service("orders", |it| {
            it.route("GET", "/orders/{id}", "orders:read")
                .accepts(["spiffe", "jwt"])
                .issuer(json!({"tenants": ["acme"]}))
        })
        .start()
        .await
}

/// A token whose claims are good but for this change.
fn but(world: &World, change: impl FnOnce(&mut Value)) -> String {
    let mut all = world.all_claims("orders", "orders:read");
    change(&mut all);
    world.signed(&all)
}

fn header(world: &World) -> Value {
    json!({"typ": "at+jwt", "alg": "ES256", "kid": world.issuer().tokens().kid()})
}

/// Good claims under this header, still without a signature.
fn unsigned(world: &World, header: &Value) -> String {
    let claims = world.all_claims("orders", "orders:read");
    let [header, claims] = [header, &claims].map(|it| URL_SAFE_NO_PAD.encode(it.to_string()));
    secrets::keep("a token without signature", &Secret::new(format!("{header}.{claims}")))
}

/// The oldest trick: the public key, taken for a shared secret.
fn by_the_public_key(world: &World) -> String {
    let mut header = header(world);
    header["alg"] = json!("HS256");
    let signed = unsigned(world, &header);
    let key = hmac::Key::new(hmac::HMAC_SHA256, world.issuer().tokens().jwks().as_bytes());
    let tag = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// Another issuer's signature under our issuer's name and key id.
fn by_another_key(world: &World) -> String {
    let other = TokenIssuer::new(&world.issuer().url).unwrap();
    let claims = world.all_claims("orders", "orders:read");
    let token = other.signed_with(&header(world), &claims).unwrap();
    secrets::keep("a forged token", &token)
}

fn with_a_claim_twice(world: &World) -> String {
    let mut claims = world.all_claims("orders", "orders:read").to_string();
    claims.insert_str(1, r#""tenant":"globex","#);
    let token = world.issuer().tokens().signed_texts(&header(world).to_string(), &claims);
    secrets::keep("a token that says two things", &token.unwrap())
}

fn of_20_kib(world: &World) -> String {
    let token = but(world, |it| it["note"] = json!("n".repeat(15 * 1024)));
    assert!(token.len() > 20 * 1024, "{}", token.len());
    token
}

/// Tokens of good form that do not hold, and the code of the audit line's detail.
fn forged(world: &World) -> Vec<(&'static str, String)> {
    let now = world.all_claims("orders", "")["iat"].as_u64().unwrap();
    let but = |change: &dyn Fn(&mut Value)| but(world, change);
    let set = |name: &str, value: Value| but(&|it| it[name] = value.clone());
    let under = |name: &str, value: &str| {
        let mut header = header(world);
        header[name] = json!(value);
        world.signed_with(&header, &world.all_claims("orders", "orders:read"))
    };
    vec![
        ("malformed", "not.a.token".to_owned()),
        ("algorithm", format!("{}.", unsigned(world, &json!({"typ": "at+jwt", "alg": "none"})))),
        ("algorithm", by_the_public_key(world)),
        ("signature", by_another_key(world)),
        ("unknown_key", under("kid", "somebody-else")),
        ("type", under("typ", "dpop+jwt")),
        ("header", under("jku", "https://attacker.example/jwks")),
        ("too_large", of_20_kib(world)),
        ("duplicate_member", with_a_claim_twice(world)),
        ("audience", set("aud", json!("billing"))),
        ("audience", set("aud", json!(["billing", "order", "Orders"]))),
        ("unknown_issuer", set("iss", json!("https://attacker.example"))),
        ("expired", but(&|it| (it["iat"], it["exp"]) = (json!(now - 60), json!(now)))),
        ("not_yet_valid", set("nbf", json!(now + 90))),
        ("issued_in_future", set("iat", json!(now + 90))),
        ("lifetime", set("exp", json!(now + 3_601))),
        ("bound_token", set("cnf", json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}))),
        ("cross_tenant", set("cross_tenant", json!(true))),
        ("tenant", set("tenant", json!("globex"))),
        ("subject", set("sub", json!("spiffe://example.org/prod/shop"))),
    ]
}

/// Tokens that lack a claim that has to be there, or have one of another type.
fn misshapen(world: &World) -> Vec<(&'static str, String)> {
    let mandatory = ["sub", "iss", "aud", "iat", "exp", "scope", "tenant"];
    let missing = mandatory.map(|name| {
        let token = but(world, |it| drop(it.as_object_mut().unwrap().remove(name)));
        ("claim_missing", token)
    });
    let mistyped = [
        ("sub", json!(7)),
        ("iss", json!(["a"])),
        ("aud", json!({"a": 1})),
        ("iat", json!(AS_TEXT)),
        ("exp", json!(AS_TEXT)),
        ("nbf", json!(AS_TEXT)),
        ("scope", json!({"orders": "read"})),
        ("scope", json!(["orders:read", 7])),
        ("tenant", json!(["acme"])),
        ("tenant", json!("")),
        ("teams", json!("billing")),
        ("roles", json!([7])),
        ("cross_tenant", json!("true")),
        ("jti", json!(7)),
    ]
    .map(|(name, value)| ("claim_type", but(world, |it| it[name] = value)));
    missing.into_iter().chain(mistyped).collect()
}

/// What a stranger gets to see, without what differs with each request.
fn seen(reply: &Reply) -> String {
    let mut headers = reply.headers().clone();
    headers.remove("x-request-id").unwrap();
    headers.remove("date");
    let body = reply.text().replace(reply.header("x-request-id").unwrap(), "ID");
    format!("{} {headers:?} {body}", reply.status())
}

async fn assert_all_refused(world: &World, tokens: Vec<(&'static str, String)>) {
    let mut answers = Vec::new();
    let whole = tokens.len();
    for (number, (code, token)) in (1..).zip(tokens) {
        // Each on a connection of its own: one that proves nothing is soon closed.
        let mut connection = world.without_svid("orders").http1().await;
        let reply = connection.send(get_with(&token, "/orders/7")).await;
        assert_eq!(reply.refusal(), (401, "invalid_token".to_owned()), "{code}");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
        answers.push(seen(&reply));
        let line = world.audit("orders").nth("invalid_token", number).await;
        assert_eq!(line.decision, "deny");
        let detail = line.detail.as_deref().unwrap();
        assert!(detail.contains(&format!("({code})")), "{code}: {detail}");
        assert_eq!(line.request_id, reply.header("x-request-id").unwrap());
        // Nothing of what it says of itself is proven.
        let source = &line.source;
        assert_eq!((&source.subject, &source.issuer, &source.token), (&None, &None, &None));
        assert_eq!((&source.method, &line.tenant, &line.route), (&None, &None, &None));
        assert_eq!(line.path.as_deref(), Some("/orders/7"));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "the answers differ by the reason: {answers:#?}");
    assert_eq!(world.app("orders").requests(), 0, "the application was reached");
    let metrics = world.metrics("orders").await;
    let refused = metrics.sum("sidegate_requests_total", &[("outcome", "invalid_token")]);
    assert_eq!(refused, whole as f64);
}

#[tokio::test]
async fn no_forged_stale_or_foreign_token_is_let_in_or_told_why() {
    let world = orders().await;
    let tokens = forged(&world);
    assert_all_refused(&world, tokens).await;
    // It was not the issuer, the key or the route.
    let mut connection = world.without_svid("orders").http1().await;
    let good = but(&world, |_| {});
    assert_eq!(connection.send(get_with(&good, "/orders/7")).await.status(), 200);
}

#[tokio::test]
async fn a_token_without_a_mandatory_claim_or_with_one_of_another_type_is_refused() {
    let world = orders().await;
    let tokens = misshapen(&world);
    assert_all_refused(&world, tokens).await;
}

fn credentials(values: &[&str]) -> Request<Body> {
    let values: Vec<_> = values.iter().map(|value| ("authorization", *value)).collect();
    with_headers(get("/orders/7"), &values)
}

#[tokio::test]
async fn credentials_that_can_be_read_in_two_ways_are_refused() {
    let world = orders().await;
    let good = format!("Bearer {}", world.token("orders", "orders:read"));
    let mut connection = world.without_svid("orders").http1().await;
    for (number, values) in (1..).zip([
        &[&*good, &*good][..],
        &[&*good, "Basic dXNlcjpwYXNz"],
        &["Basic dXNlcjpwYXNz", &*good],
        &["Bearer"],
        &["Bearer "],
        &["Bearer two words"],
    ]) {
        let reply = connection.send(credentials(values)).await;
        assert_eq!(reply.refusal(), (401, "invalid_token".to_owned()), "attempt {number}");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
        let line = world.audit("orders").nth("invalid_token", number).await;
        let told = "the credentials are malformed, or there are several";
        assert_eq!(line.detail.as_deref(), Some(told));
    }
    assert_eq!(world.app("orders").requests(), 0);
}

#[tokio::test]
async fn only_a_header_carries_a_token() {
    let world = orders().await;
    let token = world.token("orders", "orders:read");
    let mut connection = world.without_svid("orders").http1().await;
    for (number, request) in (1..).zip([
        credentials(&["Basic dXNlcjpwYXNz"]),
        credentials(&[&format!("DPoP {token}")]),
        get(&format!("/orders/7?access_token={token}")),
        with_headers(get("/orders/7"), &[("cookie", &format!("access_token={token}"))]),
        with_headers(get("/orders/7"), &[("x-authorization", &format!("Bearer {token}"))]),
    ]) {
        let reply = connection.send(request).await;
        assert_eq!(reply.refusal(), (401, "unauthenticated".to_owned()), "attempt {number}");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        let line = world.audit("orders").nth("unauthenticated", number).await;
        assert_eq!(line.path.as_deref(), Some("/orders/7"));
    }
    assert_eq!(world.app("orders").requests(), 0);
    let metrics = world.metrics("orders").await;
    let refused = metrics.sum("sidegate_requests_total", &[("outcome", "unauthenticated")]);
    assert_eq!(refused, 5.0);
}

/// A gRPC client reads nothing but the status, which comes alone.
#[tokio::test]
async fn grpc_hears_status_16_and_nothing_else() {
    let world = World::new()
        .service("orders", |it| it.grpc("test.Echo/*", "echo:call").accepts(["spiffe", "jwt"]))
        .start()
        .await;
    let good = world.token("orders", "echo:call");
    let bad = world.mint(json!({"sub": "batch"}), Duration::from_secs(60));
    let mut http = world.without_svid("orders").http2().await;
    for (token, status, said, challenge) in [
        (None, "16", "unauthenticated", Some("Bearer")),
        (Some(&bad), "16", "invalid_token", Some("Bearer error=\"invalid_token\"")),
        (Some(&good), "0", "", None),
    ] {
        let request = post("/test.Echo/Unary", message("x"));
        let mut request = with_headers(request, &[("content-type", "application/grpc")]);
        if let Some(token) = token {
            request = with_headers(request, &[("authorization", &format!("Bearer {token}"))]);
        }
        let answer = http.begin(request).await.unwrap();
        let (head, body) = answer.into_parts();
        let ends_at_once = hyper::body::Body::is_end_stream(&body);
        let trailers = body.collect().await.unwrap().trailers().cloned().unwrap_or_default();
        assert_eq!(head.status, 200);
        assert_eq!(ends_at_once, status != "0");
        let told = if ends_at_once { &head.headers } else { &trailers };
        assert_eq!(told["grpc-status"], status);
        assert_eq!(told.get("grpc-message").map_or("", |it| it.to_str().unwrap()), said);
        let asked = head.headers.get("www-authenticate").map(|it| it.to_str().unwrap());
        assert_eq!(asked, challenge);
    }
    assert_eq!(world.audit("orders").only("invalid_token").await.protocol, "grpc");
    assert_eq!(world.app("orders").requests(), 1);
}
