//! The token that we present, from a token endpoint: how we ask, and when (JWT-3).

use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sidegate::secret::Secret;

use crate::token_sources::{assert_no_token, caller, orders, token_of};
use crate::world::aside::Aside;
use crate::world::issuer::write_private;
use crate::world::tokens::claims;
use crate::world::wait::{holds, until};
use crate::world::{World, secrets};

/// How the client proves itself to the issuer of this world; its secret is in `secret`.
fn asking(world: &World, folder: &Path, extra: Value) -> Value {
    let secret = secrets::keep("a client secret", &Secret::new(SECRET.to_owned()));
    write_private(&folder.join("secret"), &secret);
    let mut asking = json!({"issuer": world.issuer().url, "ca": world.path("ca.pem")});
    asking.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    asking
}

const SECRET: &str = "correct+horse/battery=staple";
/// RFC 6749 section 2.3.1: both are form-encoded first.
const BASIC: &str = "Basic b3JkZXJzLWNsaWVudDpjb3JyZWN0JTJCaG9yc2UlMkZiYXR0ZXJ5JTNEc3RhcGxl";

/// The only question that the token endpoint was asked.
fn form(world: &World) -> Vec<(String, String)> {
    let forms = world.issuer().forms();
    let [form] = forms.as_slice() else { panic!("{} questions", forms.len()) };
    form_urlencoded::parse(form.as_bytes()).into_owned().collect()
}

fn field<'a>(form: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut values = form.iter().filter(|(key, _)| key == name);
    let value = values.next().map(|(_, value)| &**value);
    assert!(values.next().is_none(), "`{name}` is there twice");
    value
}

#[tokio::test]
async fn a_client_proves_itself_by_its_secret() {
    for (place, basic) in [("basic", Some(BASIC)), ("post", None)] {
        let world = orders().await;
        world.issuer().gives(claims("orders", "orders:read"), Duration::from_secs(600));
        let folder = world.hand();
        let by_secret = json!({
            "client_id": "orders-client",
            "client_secret_file": folder.join("secret"),
            "client_secret_in": place,
            "scope": ["orders:read", "orders:list"],
            "audience": "orders",
            "resource": "https://orders.test/",
        });
        let asking = asking(&world, &folder, by_secret);
        let aside = world.aside(json!({"present": {"client_credentials": asking}}));
        aside.ready().await;
        assert_eq!(caller(&world, &aside).await, "batch");

        let form = form(&world);
        assert_eq!(field(&form, "grant_type"), Some("client_credentials"));
        assert_eq!(field(&form, "scope"), Some("orders:read orders:list"));
        assert_eq!(field(&form, "audience"), Some("orders"));
        assert_eq!(field(&form, "resource"), Some("https://orders.test/"));
        assert_eq!(world.issuer().authorizations(), [basic.map(str::to_owned)]);
        let in_form = basic.is_none();
        assert_eq!(field(&form, "client_id"), in_form.then_some("orders-client"));
        assert_eq!(field(&form, "client_secret"), in_form.then_some(SECRET));
    }
}

#[tokio::test]
async fn a_client_proves_itself_by_a_token_from_a_file() {
    let world = orders().await;
    world.issuer().gives(claims("orders", "orders:read"), Duration::from_secs(600));
    let folder = world.hand();
    let projected = token_of(&world, "system:serviceaccount:prod:orders", 600);
    write_private(&folder.join("projected"), &projected);
    let by_file = json!({"assertion": {"file": folder.join("projected")}});
    let asking = asking(&world, &folder, by_file);
    let aside = world.aside(json!({"present": {"client_credentials": asking}}));
    aside.ready().await;
    assert_eq!(caller(&world, &aside).await, "batch");

    let form = form(&world);
    let bearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    assert_eq!(field(&form, "client_assertion_type"), Some(bearer));
    assert_eq!(field(&form, "client_assertion"), Some(&*projected));
    assert_eq!(world.issuer().authorizations(), [None]);
}

/// With an agent that gives JWT-SVIDs to `shop`, whose calls go by token all the same.
async fn with_agent() -> (World, Value) {
    let world = World::new()
        .service("orders", |it| it.route("GET", "/**", "orders:read").accepts(["jwt"]))
        .service("shop", |it| it.open())
        .start()
        .await;
    world.issuer().gives(claims("orders", "orders:read"), Duration::from_secs(600));
    let endpoint = world.agent("shop").endpoint();
    let identity = json!({"workload_api": endpoint, "danger_accept_dev_agent": true});
    (world, json!({"identity": identity}))
}

fn assert_is_jwt_svid(token: &str, audience: &str) {
    secrets::keep("a JWT-SVID", &Secret::new(token.to_owned()));
    let payload = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(claims["sub"], "spiffe://example.org/prod/shop");
    assert_eq!(claims["aud"], json!([audience]));
}

#[tokio::test]
async fn a_client_proves_itself_by_its_jwt_svid() {
    let (world, identity) = with_agent().await;
    let audience = world.issuer().url.clone();
    let by_svid = json!({"assertion": {"jwt_svid": {"audience": audience}}});
    let asking = asking(&world, &world.hand(), by_svid);
    let say = json!({"present": {"client_credentials": asking}});
    let aside = world.aside_in(say, identity, &[]);
    aside.ready().await;
    assert_eq!(caller(&world, &aside).await, "batch");
    assert_is_jwt_svid(field(&form(&world), "client_assertion").unwrap(), &audience);
}

#[tokio::test]
async fn a_token_is_exchanged_for_another() {
    const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
    let (world, identity) = with_agent().await;
    let folder = world.hand();
    let exchange = json!({
        "subject_token": {"jwt_svid": {"audience": "the-exchange"}},
        "subject_token_type": JWT,
        "audience": "orders",
    });
    let asking = asking(&world, &folder, exchange);
    let say = json!({"present": {"token_exchange": asking}});
    let aside = world.aside_in(say, identity, &[]);
    aside.ready().await;
    assert_eq!(caller(&world, &aside).await, "batch");

    let form = form(&world);
    let grant = "urn:ietf:params:oauth:grant-type:token-exchange";
    assert_eq!(field(&form, "grant_type"), Some(grant));
    assert_eq!(field(&form, "subject_token_type"), Some(JWT));
    assert_eq!(field(&form, "audience"), Some("orders"));
    assert_is_jwt_svid(field(&form, "subject_token").unwrap(), "the-exchange");
    assert_eq!(world.issuer().authorizations(), [None]);
}

/// A sidecar that asks the world's issuer by the secret in this folder.
fn by_secret(world: &World, folder: &Path) -> Aside {
    let by = json!({"client_id": "orders-client", "client_secret_file": folder.join("secret")});
    let asking = asking(world, folder, by);
    world.aside(json!({"present": {"client_credentials": asking}}))
}

#[tokio::test]
async fn tokens_are_renewed_under_load_and_nobody_notices() {
    let world = orders().await;
    // Asked for anew two seconds later, while seven are left to use it.
    world.issuer().gives(claims("orders", "orders:read"), Duration::from_secs(12));
    let aside = by_secret(&world, &world.hand());
    aside.ready().await;
    let (began, mut asked) = (Instant::now(), 0);
    let mut one = aside.http1().await;
    let shared = aside.http2().await;
    let (mut two, mut three) = (shared.share(), shared.share());
    while world.issuer().asked("/token") < 4 {
        assert!(began.elapsed() < Duration::from_secs(30), "it is not renewed");
        let replies =
            tokio::join!(one.get("/orders/1"), two.get("/orders/2"), three.get("/orders/3"));
        let statuses = [replies.0.status(), replies.1.status(), replies.2.status()];
        assert_eq!(statuses, [200; 3]);
        asked += 3;
    }
    assert!(asked > 100, "too little was asked: {asked}");
    assert!(began.elapsed() > Duration::from_secs(3), "it is asked for all the time");
    assert_eq!(aside.metrics().await.failures(), "");
    assert_eq!(world.metrics("orders").await.failures(), "");
}

#[tokio::test]
async fn an_endpoint_that_refuses_at_first_is_asked_again() {
    let world = orders().await;
    world.issuer().gives(claims("orders", "orders:read"), Duration::from_secs(600));
    world.issuer().refuses(3);
    let began = Instant::now();
    let aside = by_secret(&world, &world.hand());
    holds("the endpoint to be asked", || world.issuer().asked("/token") > 0).await;
    assert_no_token(&world, &aside, "invalid_client").await;

    aside.ready().await;

    assert_eq!(caller(&world, &aside).await, "batch");
    assert_eq!(world.issuer().asked("/token"), 4);
    // One second, two and four, each less a quarter at most.
    assert!(began.elapsed() > Duration::from_secs(5), "it was asked too soon");
    assert_eq!(aside.metrics().await.sum("sidegate_token_failures_total", &[]), 3.0);
}

#[tokio::test]
async fn no_request_waits_on_the_endpoint_and_it_is_asked_once_for_all() {
    let world = orders().await;
    world.issuer().gives(claims("orders", "orders:read"), Duration::from_secs(15));
    world.issuer().stalls(true);
    let aside = by_secret(&world, &world.hand());
    holds("the endpoint to be asked", || world.issuer().asked("/token") == 1).await;
    let ask = async |expected| {
        let began = Instant::now();
        for _ in 0..20 {
            assert_eq!(aside.get("/orders/7").await.status(), expected);
        }
        assert!(began.elapsed() < Duration::from_secs(3), "they waited for the endpoint");
    };
    ask(503).await;
    assert_eq!(world.issuer().asked("/token"), 1);

    world.issuer().stalls(false);
    aside.ready().await;
    world.issuer().stalls(true);
    holds("the renewal to begin", || world.issuer().asked("/token") == 2).await;
    ask(200).await;
    assert_eq!(world.issuer().asked("/token"), 2);
    world.issuer().stalls(false);
    let renewals = async || aside.metrics().await.sum("sidegate_token_renewals_total", &[]);
    until("the renewal", async || (renewals().await == 2.0).then_some(())).await;
    ask(200).await;
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_missed_only_when_the_token_has_run_out() {
    let world = orders().await;
    world.issuer().gives(claims("orders", "orders:read"), Duration::from_secs(11));
    let folder = world.hand();
    let aside = by_secret(&world, &folder);
    aside.ready().await;
    world.issuer().stop();
    let failures = async || aside.metrics().await.sum("sidegate_token_failures_total", &[]);
    until("a renewal to fail", async || (failures().await > 0.0).then_some(())).await;
    assert_eq!(aside.not_ready().await, [""; 0]);
    assert_eq!(caller(&world, &aside).await, "batch");

    assert_no_token(&world, &aside, "token").await;

    // By now it is seldom asked; but at once when what it is asked with has changed.
    world.issuer().back().await;
    write_private(&folder.join("secret"), "another+secret/of=the+same+client");
    aside.ready().await;
    assert_eq!(aside.get("/orders/7").await.status(), 200);
    let last = world.issuer().authorizations().pop().unwrap();
    assert_ne!(last.as_deref(), Some(BASIC));
}
