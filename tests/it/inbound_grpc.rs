//! gRPC through two sidecars: calls of all four kinds, and refusals as gRPC says them.

use std::time::{Duration, Instant};

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming};
use serde_json::json;

use crate::world::World;
use crate::world::app::{Body, channel, whole};
use crate::world::client::{Http, Reply, post, with_headers};
use crate::world::grpc::{message, messages};
use crate::world::spec::Spec;
use crate::world::wait::within;

const SHOP: &str = "spiffe://example.org/prod/shop";

/// `shop` may call every method of `test.Echo` at `orders`.
async fn shop_and_orders(say: impl Fn(Spec) -> Spec) -> World {
    World::new()
        .service("orders", |it| say(it.grpc("test.Echo/*", "echo:call")))
        .service("shop", |it| it.scopes(["echo:call"]).calls("orders"))
        .start()
        .await
}

fn call(method: &str, body: Body) -> Request<Body> {
    let request = Request::post(method).body(body).unwrap();
    with_headers(request, &[("content-type", "application/grpc"), ("te", "trailers")])
}

fn ask(method: &str, text: &str) -> Request<Body> {
    call(method, whole(message(text)))
}

/// Status and message of an answer that consists of trailers only; it came in one piece.
async fn trailers_only(answer: Response<Incoming>) -> (u16, String) {
    assert!(answer.body().is_end_stream(), "something follows: {answer:?}");
    let reply = Reply::read(answer).await.unwrap();
    assert_eq!(reply.status(), 200, "gRPC says what went wrong in its own way");
    assert_eq!(reply.header("content-type"), Some("application/grpc"));
    assert_eq!((reply.text(), reply.trailers.len()), ("", 0));
    let status = reply.header("grpc-status").unwrap().parse().unwrap();
    (status, reply.header("grpc-message").unwrap().to_owned())
}

async fn refusal(http: &mut Http, request: Request<Body>) -> (u16, String) {
    trailers_only(http.begin(request).await.unwrap()).await
}

fn assert_served(reply: &Reply, method: &str) {
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.trailers["grpc-status"], "0");
    assert_eq!(reply.trailers["x-served"], method);
}

#[tokio::test]
async fn a_unary_call_comes_back_with_its_trailers() {
    let world = shop_and_orders(|it| it).await;
    let mut http = world.from("shop").http2("orders").await;

    let reply = http.send(ask("/test.Echo/Unary", "hello")).await;

    assert_eq!(messages(&reply.body), ["hello"]);
    assert_served(&reply, "Unary");
    let seen = world.app("orders").last();
    assert_eq!(seen.header("te"), Some("trailers"));
    assert_eq!(seen.header("x-sidegate-subject"), Some(SHOP));
    let line = world.audit("orders").only("allowed").await;
    assert_eq!(line.route.as_deref(), Some("test.Echo/*"));
    assert_eq!(line.path.as_deref(), Some("/test.Echo/Unary"));
    assert_eq!(line.protocol, "grpc");
}

#[tokio::test]
async fn a_server_streams_many_answers_to_one_question() {
    let world = shop_and_orders(|it| it).await;
    let mut http = world.from("shop").http2("orders").await;

    let reply = http.send(ask("/test.Echo/ServerStream", "again")).await;

    assert_eq!(messages(&reply.body), ["again"; 3]);
    assert_served(&reply, "ServerStream");
}

#[tokio::test]
async fn a_client_streams_many_questions_and_gets_one_answer() {
    let world = shop_and_orders(|it| it).await;
    let mut http = world.from("shop").http2("orders").await;
    let (sender, body) = channel();

    let sending = async {
        for word in ["one", "two", "three"] {
            sender.send(Ok(Frame::data(message(word)))).await.unwrap();
        }
        // The call is there before its last question is.
        world.app("orders").reached(1).await;
        sender.send(Ok(Frame::data(message("four")))).await.unwrap();
        drop(sender);
    };
    let (reply, ()) = tokio::join!(http.send(call("/test.Echo/ClientStream", body)), sending);

    assert_eq!(messages(&reply.body), ["one+two+three+four"]);
    assert_served(&reply, "ClientStream");
}

#[tokio::test]
async fn a_conversation_goes_to_and_fro_on_one_stream() {
    let world = shop_and_orders(|it| it).await;
    let mut http = world.from("shop").http2("orders").await;
    let (sender, body) = channel();

    let mut answer = http.begin(call("/test.Echo/Bidi", body)).await.unwrap();
    for word in ["one", "two", "three"] {
        // The next is said only after the last was answered.
        sender.send(Ok(Frame::data(message(word)))).await.unwrap();
        let frame = within("an answer", answer.body_mut().frame()).await.unwrap().unwrap();
        assert_eq!(messages(&frame.into_data().unwrap()), [word]);
    }
    drop(sender);

    let reply = Reply::read(answer).await.unwrap();
    assert!(reply.body.is_empty());
    assert_served(&reply, "Bidi");
}

#[tokio::test]
async fn what_the_application_says_of_failure_passes_unchanged() {
    let world = shop_and_orders(|it| it).await;
    let mut http = world.from("shop").http2("orders").await;

    assert_eq!(refusal(&mut http, ask("/test.Echo/Fail", "")).await, (9, "not now".to_owned()));
}

#[tokio::test]
async fn a_refusal_is_permission_denied_in_trailers_only() {
    let world = World::new()
        .service("orders", |it| it.grpc("test.Echo/Unary", "echo:call"))
        .service("shop", |it| it.scopes(["orders:read"]).calls("orders"))
        .start()
        .await;
    let mut http = world.from("shop").http2("orders").await;

    let refused = refusal(&mut http, ask("/test.Echo/Unary", "hello")).await;

    assert_eq!(refused, (7, "insufficient_scope".to_owned()));
    world.assert_refused("orders", "insufficient_scope").await;
    let line = world.audit("orders").only("insufficient_scope").await;
    assert_eq!(line.required_scopes.as_deref(), Some("echo:call"));
}

#[tokio::test]
async fn a_method_that_is_not_declared_is_refused() {
    let world = World::new()
        .service("orders", |it| it.grpc("test.Echo/Unary", "echo:call"))
        .service("shop", |it| it.scopes(["echo:call"]).calls("orders"))
        .start()
        .await;
    let mut http = world.from("shop").http2("orders").await;
    let no_route = (7, "no_route".to_owned());
    for (count, method) in
        ["/test.Echo/Fail", "/test.Echo/unary", "/test.Other/Unary", "/test.Echo"]
            .iter()
            .enumerate()
    {
        assert_eq!(refusal(&mut http, ask(method, "hello")).await, no_route, "{method}");
        world.audit("orders").nth("no_route", count + 1).await;
    }
    assert_eq!(world.app("orders").requests(), 0);

    assert_served(&http.send(ask("/test.Echo/Unary", "hello")).await, "Unary");
}

#[tokio::test]
async fn a_route_for_a_whole_service_ends_at_that_service() {
    let world = shop_and_orders(|it| it).await;
    let mut http = world.from("shop").http2("orders").await;
    let no_route = (7, "no_route".to_owned());
    for (count, method) in
        ["/test.EchoAdmin/Unary", "/test.Echo/Unary/more", "/test/Echo"].iter().enumerate()
    {
        assert_eq!(refusal(&mut http, ask(method, "hello")).await, no_route, "{method}");
        world.audit("orders").nth("no_route", count + 1).await;
    }
    assert_eq!(world.app("orders").requests(), 0);
}

#[tokio::test]
async fn a_request_that_is_no_grpc_does_not_get_in_by_a_grpc_route() {
    let world = shop_and_orders(|it| it).await;
    let mut http = world.from("shop").http2("orders").await;

    let reply = http.send(post("/test.Echo/Unary", "hello")).await;

    assert_eq!(reply.refusal(), (403, "no_route".to_owned()));
    world.assert_refused("orders", "no_route").await;
}

#[tokio::test]
async fn a_malformed_call_is_an_invalid_argument() {
    let world = shop_and_orders(|it| it).await;
    let mut http = world.as_peer(SHOP, "orders").http2().await;

    let refused = refusal(&mut http, ask("/test.Echo//Unary", "hello")).await;

    assert_eq!(refused, (3, "bad_request".to_owned()));
    world.assert_refused("orders", "bad_request").await;
}

#[tokio::test]
async fn an_application_that_is_down_is_unavailable() {
    let world = shop_and_orders(|it| it).await;
    let mut http = world.from("shop").http2("orders").await;
    world.app("orders").stop().await;

    let refused = refusal(&mut http, ask("/test.Echo/Unary", "hello")).await;

    assert_eq!(refused, (14, "upstream_unreachable".to_owned()));
    assert_eq!(world.app("orders").requests(), 0);

    world.app("orders").start().await;
    assert_served(&http.send(ask("/test.Echo/Unary", "hello")).await, "Unary");
}

#[tokio::test]
async fn a_deadline_that_the_caller_sets_is_kept_for_it() {
    const DEADLINE: Duration = Duration::from_millis(300);
    let world = shop_and_orders(|it| it).await;
    for mut http in
        [world.from("shop").http2("orders").await, world.as_peer(SHOP, "orders").http2().await]
    {
        let request = with_headers(ask("/test.Echo/Held", "hello"), &[("grpc-timeout", "300m")]);
        let began = Instant::now();
        assert_eq!(refusal(&mut http, request).await, (4, "upstream_timeout".to_owned()));
        assert!(began.elapsed() >= DEADLINE, "given up after {:?}", began.elapsed());
        assert_eq!(world.app("orders").last().header("grpc-timeout"), Some("300m"));
    }
}

#[tokio::test]
async fn a_stream_that_answers_late_is_not_cut_by_the_limit_for_plain_requests() {
    let world = shop_and_orders(|it| it.open().limits(json!({"request": "200ms"}))).await;
    let mut http = world.from("shop").http2("orders").await;
    let mut other = world.from("shop").http2("orders").await;
    let held = http.send(ask("/test.Echo/Held", "hello"));
    let release = async {
        world.app("orders").reached(1).await;
        // A plain request that is given up says that the limit has passed.
        let plain = other.get("/held-head").await;
        assert_eq!(plain.refusal(), (504, "upstream_timeout".to_owned()));
        world.app("orders").release();
    };

    let (reply, ()) = tokio::join!(held, release);

    assert_eq!(messages(&reply.body), ["hello"]);
    assert_served(&reply, "Held");
}
