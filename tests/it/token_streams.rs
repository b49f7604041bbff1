//! What a token has let in ends with it: when it runs out, and when it is revoked (design section 8,
//! AZ-11). Streams of other tokens go on.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};

use crate::world::World;
use crate::world::app::{Body, Frames, channel};
use crate::world::client::{Http, Raw, Reply, with_headers};
use crate::world::grpc::message;
use crate::world::more::ends;
use crate::world::stranger::Stranger;
use crate::world::tokens::{claims, get_with};
use crate::world::wait::{holds, within};

/// What is no longer allowed has ended by then (design section 8), on a machine with much to do.
const SOON: Duration = Duration::from_secs(1);
const SCOPES: &str = "orders:read orders:write chat:join echo:call";

async fn orders() -> World {
    World::new()
        .service("orders", |it| {
            it.route("GET", "/orders/{id}", "orders:read")
                .route("GET", "/chat/upgrade", "chat:join")
                .route("POST", "/orders", "orders:write")
                .grpc("test.Echo/*", "echo:call")
                .accepts(["spiffe", "jwt"])
                .accepts_jwt_svids()
        })
        .service("shop", |it| it.scopes(["chat:join"]).open())
        .start()
        .await
}

/// A token by its id, and when it runs out.
fn token(world: &World, id: &str, life: u64) -> (String, SystemTime) {
    let mut claims = claims("orders", SCOPES);
    claims["jti"] = json!(id);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let expires = UNIX_EPOCH + Duration::from_secs((now + Duration::from_secs(life)).as_secs());
    (world.mint(claims, Duration::from_secs(life)), expires)
}

/// A connection that has switched by this token.
async fn socket(stranger: &Stranger, token: &str) -> Raw {
    let mut raw = stranger.raw().await;
    raw.send(format!(
        "GET /chat/upgrade HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         authorization: Bearer {token}\r\n\r\n"
    ))
    .await;
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    chat(&mut raw).await;
    raw
}

async fn chat(raw: &mut Raw) {
    raw.send("still there").await;
    raw.hears("STILL THERE").await;
}

/// A gRPC call to and fro, that has been answered once.
struct Call {
    _connection: Http,
    sender: Frames,
    answer: Incoming,
}

impl Call {
    async fn begin(stranger: &Stranger, token: &str) -> Self {
        let (sender, body) = channel();
        let request = Request::post("/test.Echo/Bidi").body(body).unwrap();
        let bearer = format!("Bearer {token}");
        let headers =
            [("content-type", "application/grpc"), ("te", "trailers"), ("authorization", &*bearer)];
        let mut connection = stranger.http2().await;
        let answer = connection.begin(with_headers(request, &headers)).await.unwrap();
        assert_eq!(answer.headers().get("grpc-status"), None, "{answer:?}");
        let mut call = Self { _connection: connection, sender, answer: answer.into_body() };
        call.goes_on().await;
        call
    }

    async fn goes_on(&mut self) {
        self.sender.send(Ok(Frame::data(message("word")))).await.unwrap();
        let frame = within("an echo", self.answer.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), message("word"));
    }

    /// Waits for the end, which is none that a server of gRPC would make.
    async fn ends_early(self) {
        let rest = within("the end of the call", self.answer.collect()).await;
        let trailers = rest.ok().and_then(|rest| rest.trailers().cloned()).unwrap_or_default();
        assert!(trailers.get("grpc-status").is_none_or(|it| it != "0"), "{trailers:?}");
    }
}

/// An answer of which the first half has come.
async fn answer(stranger: &Stranger, token: &str) -> (Http, Incoming) {
    let mut connection = stranger.http1().await;
    let answer = connection.begin(get_with(token, "/orders/held-body")).await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body();
    let first = within("the first half", body.frame()).await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), Bytes::from("first,"));
    (connection, body)
}

fn assert_in_time(expires: SystemTime) {
    let late = SystemTime::now().duration_since(expires).expect("cut before the token's end");
    assert!(late < SOON, "cut {late:?} after the token's end");
}

#[tokio::test]
async fn a_websocket_ends_with_its_token_and_others_go_on() {
    let world = orders().await;
    let stranger = world.without_svid("orders");
    let (long, _) = token(&world, "long", 600);
    let (brief, expires) = token(&world, "brief", 3);
    let mut other = socket(&stranger, &long).await;
    let mut raw = socket(&stranger, &brief).await;
    ends(&mut raw).await;
    assert_in_time(expires);
    let line = world.audit("orders").only("invalid_token").await;
    assert_eq!((&*line.decision, &*line.protocol), ("deny", "websocket"));
    assert_eq!(line.detail.as_deref(), Some("the token has run out"));
    assert_eq!(line.source.subject.as_deref(), Some("batch"));
    assert_eq!(line.source.token.as_deref().map(str::len), Some(32));
    chat(&mut other).await;
}

#[tokio::test]
async fn a_grpc_stream_ends_with_its_token_and_others_go_on() {
    let world = orders().await;
    let stranger = world.without_svid("orders");
    let (long, _) = token(&world, "long", 600);
    let (brief, expires) = token(&world, "brief", 3);
    let mut other = Call::begin(&stranger, &long).await;
    let mut call = Call::begin(&stranger, &brief).await;
    call.goes_on().await;
    call.ends_early().await;
    assert_in_time(expires);
    assert_eq!(world.audit("orders").only("invalid_token").await.protocol, "grpc");
    other.goes_on().await;
}

#[tokio::test]
async fn a_long_answer_ends_with_its_token_and_others_go_on() {
    let world = orders().await;
    let stranger = world.without_svid("orders");
    let (long, _) = token(&world, "long", 600);
    let (brief, expires) = token(&world, "brief", 3);
    let (_other_connection, other) = answer(&stranger, &long).await;
    let (_connection, body) = answer(&stranger, &brief).await;
    within("the end of the answer", body.collect()).await.unwrap_err();
    assert_in_time(expires);
    assert_eq!(world.audit("orders").only("invalid_token").await.protocol, "http");
    world.app("orders").release();
    let rest = within("the rest of the answer", other.collect()).await.unwrap();
    assert_eq!(rest.to_bytes(), "last");
}

#[tokio::test]
async fn a_request_whose_token_runs_out_before_the_answer_is_told_so() {
    let world = orders().await;
    let (brief, expires) = token(&world, "brief", 3);
    let mut connection = world.without_svid("orders").http1().await;
    let reply = connection.send(get_with(&brief, "/orders/held-head")).await;
    assert_in_time(expires);
    assert_eq!(reply.refusal(), (401, "invalid_token".to_owned()));
    assert_eq!(reply.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
    world.audit("orders").only("invalid_token").await;
}

fn upload(token: &str) -> (Frames, Request<Body>) {
    let (sender, body) = channel();
    let request = Request::post("/orders").body(body).unwrap();
    (sender, with_headers(request, &[("authorization", &format!("Bearer {token}"))]))
}

#[tokio::test]
async fn an_upload_that_has_come_to_a_halt_ends_with_its_token() {
    let world = orders().await;
    let stranger = world.without_svid("orders");
    for number in [1, 2] {
        let (brief, expires) = token(&world, &format!("brief-{number}"), 2);
        let (sender, request) = upload(&brief);
        sender.send(Ok(Frame::data(Bytes::from("this much and ")))).await.unwrap();
        let mut connection =
            if number == 1 { stranger.http1().await } else { stranger.http2().await };
        let reply = connection.send(request).await;
        assert_in_time(expires);
        assert_eq!(reply.refusal(), (401, "invalid_token".to_owned()));
        world.audit("orders").nth("invalid_token", number).await;
        // In HTTP/2 the connection to the application is there for others, too.
        if number == 1 {
            let app = world.app("orders");
            holds("the application to be let go", || app.open_connections() == 0).await;
        }
    }
}

#[tokio::test]
async fn an_upload_at_full_speed_ends_with_its_token() {
    let world = orders().await;
    let (brief, expires) = token(&world, "brief", 2);
    let (sender, request) = upload(&brief);
    let mut connection = world.without_svid("orders").http2().await;
    let uploading = tokio::spawn(async move {
        let piece = Bytes::from(vec![b'u'; 16 * 1024]);
        while sender.send(Ok(Frame::data(piece.clone()))).await.is_ok() {}
    });
    let reply = connection.send(request).await;
    assert_in_time(expires);
    assert_eq!(reply.refusal(), (401, "invalid_token".to_owned()));
    within("the end of the upload", uploading).await.unwrap();
    world.audit("orders").only("invalid_token").await;
    let (next, _) = token(&world, "next", 600);
    assert_eq!(connection.send(get_with(&next, "/orders/7")).await.status(), 200);
}

#[tokio::test]
async fn a_stream_by_jwt_svid_ends_with_that() {
    const SHOP: &str = "spiffe://example.org/prod/shop";
    let world = orders().await;
    let brief = world.jwt_svid(SHOP, "orders", Duration::from_secs(3));
    let mut raw = socket(&world.without_svid("orders"), &brief).await;
    ends(&mut raw).await;
    let line = world.audit("orders").only("invalid_token").await;
    assert_eq!(line.source.spiffe_id.as_deref(), Some(SHOP));
    assert_eq!(line.source.method.as_deref(), Some("jwt-svid"));
}

#[tokio::test]
async fn a_connection_outlives_its_tokens_and_none_of_them_outlives_itself() {
    let world = orders().await;
    let (brief, expires) = token(&world, "brief", 2);
    let mut connection = world.without_svid("orders").http1().await;
    let mut last: Reply = connection.send(get_with(&brief, "/orders/7")).await;
    assert_eq!(last.status(), 200);
    // It is remembered from the first time, and asked about until its end.
    while last.status() == 200 {
        last = connection.send(get_with(&brief, "/orders/7")).await;
    }
    assert_in_time(expires);
    assert_eq!(last.refusal(), (401, "invalid_token".to_owned()));
    let (next, _) = token(&world, "next", 600);
    assert_eq!(connection.send(get_with(&next, "/orders/7")).await.status(), 200);
}

/// As an operator does it. When it was in force.
async fn revoke(world: &mut World, revocations: Value) -> Instant {
    let text = revocations.to_string();
    world
        .repoliced("orders", |it| {
            let policy = it.policy("orders");
            std::fs::create_dir_all(policy.file("revocations")).unwrap();
            policy.write("revocations/data.json", &text);
        })
        .await;
    Instant::now()
}

#[tokio::test]
async fn open_streams_end_when_their_token_is_revoked_by_its_id_or_fingerprint() {
    let mut world = orders().await;
    let stranger = world.without_svid("orders");
    let [(first, _), (second, _), (third, _)] =
        ["first-id", "second-id", "third-id"].map(|id| token(&world, id, 600));
    let mut first_socket = socket(&stranger, &first).await;
    let mut second_socket = socket(&stranger, &second).await;
    let mut third_socket = socket(&stranger, &third).await;
    let fingerprint = world.audit("orders").nth("allowed", 3).await.source.token.unwrap();
    let call = Call::begin(&stranger, &first).await;
    let (_connection, body) = answer(&stranger, &first).await;

    let since = revoke(&mut world, json!({"tokens": ["first-id"]})).await;
    ends(&mut first_socket).await;
    call.ends_early().await;
    within("the end of the answer", body.collect()).await.unwrap_err();
    assert!(since.elapsed() < SOON, "cut after {:?}", since.elapsed());
    let line = world.audit("orders").nth("revoked", 3).await;
    assert_eq!(line.detail.as_deref(), Some("revoked by `tokens`"));
    chat(&mut second_socket).await;
    chat(&mut third_socket).await;

    let both = json!({"tokens": ["first-id", fingerprint.to_uppercase()]});
    let since = revoke(&mut world, both).await;
    ends(&mut third_socket).await;
    assert!(since.elapsed() < SOON, "cut after {:?}", since.elapsed());
    world.audit("orders").nth("revoked", 4).await;
    chat(&mut second_socket).await;

    // Nor is there a way back in.
    let mut connection = stranger.http1().await;
    for (token, status) in [(&first, 403), (&second, 200), (&third, 403)] {
        assert_eq!(connection.send(get_with(token, "/orders/7")).await.status(), status);
    }
    let reply = connection.send(get_with(&first, "/nowhere")).await;
    assert_eq!(reply.refusal(), (403, "revoked".to_owned()));
    assert_eq!(reply.header("www-authenticate"), None);
}

#[tokio::test]
async fn a_subject_can_be_revoked_with_all_its_tokens() {
    let mut world = orders().await;
    let stranger = world.without_svid("orders");
    let (mine, _) = token(&world, "mine", 600);
    let mut other = claims("orders", SCOPES);
    other["sub"] = json!("nightly");
    let other = world.mint(other, Duration::from_secs(600));
    let mut ending = socket(&stranger, &mine).await;
    let mut lasting = socket(&stranger, &other).await;
    revoke(&mut world, json!({"subjects": ["batch"]})).await;
    ends(&mut ending).await;
    let line = world.audit("orders").only("revoked").await;
    assert_eq!(line.detail.as_deref(), Some("revoked by `subjects`"));
    chat(&mut lasting).await;
    // A new token of the same subject is no way back.
    let again = world.token("orders", SCOPES);
    let reply = stranger.http1().await.send(get_with(&again, "/orders/7")).await;
    assert_eq!(reply.refusal(), (403, "revoked".to_owned()));
}
