//! The admin interface: what it tells, and revocations that are in force at once.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::net::UnixStream;

use crate::cli::{Said, says};
use crate::world::World;
use crate::world::client::{Http, Raw, Reply, get, request};
use crate::world::more::{chat, ends};
use crate::world::side::ask;
use crate::world::wait::{until, within};

const SHOP: &str = "spiffe://example.org/prod/shop";
const DESK: &str = "spiffe://example.org/prod/desk";
/// A second, and what a busy machine takes.
const SOON: Duration = Duration::from_millis(1_500);

async fn orders() -> World {
    let scopes = ["orders:read", "ledger:write"];
    World::new()
        .service("orders", |it| it.route("GET", "/**", "orders:read").tcp("ledger:write"))
        .service("shop", |it| it.scopes(scopes).open())
        .service("desk", |it| it.scopes(scopes).open())
        .start()
        .await
}

fn socket(world: &World) -> PathBuf {
    world.path("orders").join("admin.sock")
}

async fn admin(world: &World, method: Method, page: &str, body: &str) -> Reply {
    let stream = UnixStream::connect(socket(world)).await.unwrap();
    Http::http1(stream).await.unwrap().send(request(method, page, body.to_owned())).await
}

pub async fn change(world: &World, method: Method, order: Value) -> Value {
    let reply = admin(world, method, "/v1/revocations", &order.to_string()).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    reply.json()
}

/// The command against this sidecar, while the sidecar goes on.
async fn sidegate(world: &World, arguments: &[&str]) -> Said {
    let path = socket(world);
    let mut all: Vec<String> = arguments.iter().map(|it| (*it).to_owned()).collect();
    all.extend(["--admin".to_owned(), path.to_str().unwrap().to_owned()]);
    let ended = tokio::task::spawn_blocking(move || {
        says(&all.iter().map(String::as_str).collect::<Vec<_>>())
    });
    within("the command", ended).await.unwrap()
}

#[tokio::test]
async fn who_is_revoked_is_refused_at_once_on_everything_that_is_open() {
    let world = orders().await;
    let mut connection = world.as_peer(SHOP, "orders").http2().await;
    assert_eq!(connection.get("/orders/7").await.status(), 200);
    let mut stream = world.as_tcp_peer(SHOP, "orders").stream().await;
    chat(&mut stream, "stream").await;
    let mut download = world.as_peer(SHOP, "orders").http1().await;
    let answer = download.begin(get("/orders/held-body")).await.unwrap();
    let mut other: Raw = world.as_tcp_peer(DESK, "orders").stream().await;
    chat(&mut other, "other").await;

    let began = Instant::now();
    let order = json!({"spiffe_ids": ["spiffe://example.org/prod/shop"], "reason": "stolen"});
    assert_eq!(change(&world, Method::POST, order).await, json!({"revoked": 1}));
    // No later than the answer to the order.
    assert_eq!(connection.get("/orders/7").await.refusal(), (403, "revoked".to_owned()));
    ends(&mut stream).await;
    within("the end of the download", answer.into_body().collect()).await.unwrap_err();
    assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());
    chat(&mut other, "still here").await;
    let line = world.audit("orders").nth("revoked", 3).await;
    assert_eq!(line.source.spiffe_id.as_deref(), Some(SHOP));
    assert!(line.detail.unwrap().contains("`spiffe_ids`"));

    let list = admin(&world, Method::GET, "/v1/revocations", "").await.json();
    let entry = &list["revocations"][0];
    assert_eq!((&entry["list"], &entry["entry"]), (&json!("spiffe_ids"), &json!(SHOP)));
    assert_eq!((&entry["reason"], &entry["until"]), (&json!("stolen"), &Value::Null));
    assert!(entry["by"].as_str().unwrap().starts_with("uid "), "{entry}");

    let lifted = change(&world, Method::DELETE, json!({"spiffe_ids": [SHOP, DESK]})).await;
    let unknown = json!([{"list": "spiffe_ids", "entry": DESK}]);
    assert_eq!(lifted, json!({"lifted": 1, "unknown": unknown}));
    assert_eq!(connection.get("/orders/7").await.status(), 200);
}

#[tokio::test]
async fn a_revocation_with_an_end_lapses_by_itself() {
    let world = orders().await;
    let mut connection = world.as_peer(SHOP, "orders").http1().await;
    let order = json!({"spiffe_ids": ["spiffe://example.org/prod/*"], "ttl_seconds": 1});
    change(&world, Method::POST, order).await;
    assert_eq!(connection.get("/orders/7").await.refusal(), (403, "revoked".to_owned()));
    until("the revocation to lapse", async || {
        (connection.get("/orders/7").await.status() == 200).then_some(())
    })
    .await;
    let list = admin(&world, Method::GET, "/v1/revocations", "").await.json();
    assert_eq!(list, json!({"revocations": []}));
}

#[tokio::test]
async fn an_order_that_is_not_understood_revokes_nobody() {
    let world = orders().await;
    for order in [
        "",
        "{}",
        "[]",
        r#"{"spiffe_ids": []}"#,
        r#"{"spiffe_ids": "spiffe://example.org/prod/shop"}"#,
        r#"{"spiffe_id": ["spiffe://example.org/prod/shop"]}"#,
        r#"{"spiffe_ids": ["spiffe://example.org/prod/shop", "shop"]}"#,
        r#"{"spiffe_ids": ["spiffe://example.org/prod/shop"], "ttl_seconds": 0}"#,
        r#"{"spiffe_ids": ["spiffe://example.org/prod/shop"], "ttl_seconds": 1.5}"#,
        r#"{"spiffe_ids": ["spiffe://example.org/prod/shop"], "reason": "two\nlines"}"#,
        r#"{"spiffe_ids": ["spiffe://example.org/prod/shop"], "spiffe_ids": []}"#,
        r#"{"tokens": ["eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"]}"#,
        r#"{"serials": ["xyz"]}"#,
    ] {
        let reply = admin(&world, Method::POST, "/v1/revocations", order).await;
        assert_eq!(reply.status(), 400, "{order}");
        assert_eq!(reply.json()["error"], "bad_request");
        assert!(!reply.text().contains("eyJ"), "{reply:?}");
    }
    let lift = r#"{"subjects": ["a"], "reason": "why"}"#;
    assert_eq!(admin(&world, Method::DELETE, "/v1/revocations", lift).await.status(), 400);
    assert_eq!(admin(&world, Method::PUT, "/v1/revocations", "{}").await.status(), 405);
    assert_eq!(admin(&world, Method::POST, "/v1/status", "{}").await.status(), 405);
    assert_eq!(admin(&world, Method::GET, "/v2/status", "").await.status(), 404);
    let list = admin(&world, Method::GET, "/v1/revocations", "").await.json();
    assert_eq!(list, json!({"revocations": []}));
    // Nor is it to be found on the side doors that listen on ports.
    let health = world.service("orders").health();
    assert_eq!(ask(health, "/v1/revocations").await.status(), 404);
}

#[tokio::test]
async fn who_sends_too_much_gets_to_read_so() {
    let world = orders().await;
    let raw = Raw::new(UnixStream::connect(socket(&world)).await.unwrap());
    let order = format!(r#"{{"subjects": ["{}"]}}"#, "a".repeat(3 * 1024 * 1024));
    let length = order.len();
    let head =
        format!("POST /v1/revocations HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
    let heard = raw.rest_after(head + &order).await.unwrap();
    assert!(heard.starts_with(b"HTTP/1.1 400 "), "{}", String::from_utf8_lossy(&heard));
}

#[tokio::test]
async fn the_socket_is_for_its_owner_alone() {
    let world = orders().await;
    let mode = std::fs::metadata(socket(&world)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn status_and_policy_are_told_in_one_look() {
    let mut world = orders().await;
    let status = admin(&world, Method::GET, "/v1/status", "").await.json();
    assert_eq!(status["ready"], true);
    assert_eq!(status["agent"]["state"], "fresh");
    assert_eq!(status["policy"]["error"], Value::Null);
    assert_eq!(status["revocations"], 0);
    let names: Vec<_> =
        status["listeners"].as_array().unwrap().iter().map(|it| it["name"].clone()).collect();
    assert_eq!(names, ["http", "tcp"]);
    let policy = admin(&world, Method::GET, "/v1/policy", "").await.json();
    assert_eq!(policy["revision"], status["policy"]["revision"]);
    let grant = json!({
        "name": "data.sidegate.global.grant",
        "input": ["input.peer.spiffe_id"],
        "holds": "for an identity",
    });
    assert_eq!(policy["entry_points"][0], grant);

    world.policy("orders").write("broken.rego", "package");
    until("the refused candidate to be told", async || {
        let status = admin(&world, Method::GET, "/v1/status", "").await.json();
        status["policy"]["error"].as_str()?.contains("broken.rego").then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_commands_revoke_list_lift_and_tell() {
    let world = orders().await;
    let mut connection = world.as_peer(SHOP, "orders").http1().await;
    let said =
        sidegate(&world, &["revoke", "--spiffe-id", SHOP, "--for", "1h", "--reason", "lost"]);
    let said = said.await;
    assert_eq!((said.code, said.out.as_str()), (Some(0), "revoked: 1, in force\n"), "{said:?}");
    assert_eq!(connection.get("/orders/7").await.refusal(), (403, "revoked".to_owned()));
    let said = sidegate(&world, &["revoke", "--list"]).await;
    assert!(said.out.contains(SHOP) && said.out.ends_with(": lost\n"), "{said:?}");
    let said = sidegate(&world, &["revoke", "--list", "--json"]).await;
    let list: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(list["revocations"][0]["entry"], SHOP);
    let said = sidegate(&world, &["status"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.starts_with("ready, version ") && said.out.contains("1 at run time"));

    let lift = ["revoke", "--lift", "--spiffe-id", SHOP];
    assert_eq!(sidegate(&world, &lift).await.code, Some(0));
    assert_eq!(connection.get("/orders/7").await.status(), 200);
    let said = sidegate(&world, &lift).await;
    assert_eq!(said.code, Some(1), "{said:?}");

    let token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln";
    for arguments in [
        &["revoke", "--token", token][..],
        &["revoke", "--subject", token],
        &["revoke", "--spiffe-id", "shop"],
        &["revoke"],
    ] {
        let said = sidegate(&world, arguments).await;
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(!said.err.contains(token), "{said:?}");
    }
    let status: Value =
        serde_json::from_str(&sidegate(&world, &["status", "--json"]).await.out).unwrap();
    assert_eq!(status["revocations"], 0);
    world.agent("orders").stop().await;
    let said = says(&["status", "--admin", "/nowhere/admin.sock"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("/nowhere/admin.sock"), "{said:?}");
}

#[tokio::test]
async fn what_is_kept_survives_a_restart_and_a_broken_file_refuses_it() {
    let world = orders().await;
    let folder = world.hand();
    let (listen, keep) = (folder.join("a.sock"), folder.join("kept.json"));
    let top = json!({"admin": {"listen": format!("unix:{}", listen.display()), "keep": keep}});
    let say = json!({"present": {"file": world.path("orders").join("absent")}});
    let order = json!({"subjects": ["robot"], "reason": "why not"});
    let send = async |method: Method, body: String| {
        let stream = UnixStream::connect(&listen).await.unwrap();
        let request = request(method, "/v1/revocations", body);
        Http::http1(stream).await.unwrap().send(request).await.json()
    };
    let first = world.aside_in(say.clone(), top.clone(), &[]);
    assert_eq!(send(Method::POST, order.to_string()).await, json!({"revoked": 1}));
    drop(first);
    let second = world.aside_in(say, top, &[]);
    let list = send(Method::GET, String::new()).await;
    assert_eq!(list["revocations"][0]["entry"], "robot");
    assert_eq!(list["revocations"][0]["reason"], "why not");
    drop(second);
}
