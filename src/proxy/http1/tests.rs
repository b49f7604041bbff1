//! Connections that lie idle between their requests, and those that only seem to.

use std::cell::RefCell;
use std::rc::Rc;

use http::{Request, Response};
use hyper::service::service_fn;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::*;
use crate::net::Stream;
use crate::proxy::wire::Wire;
use crate::proxy::worker::Place;

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: orders\r\n\r\n";
const LONG: Duration = Duration::from_secs(100);

/// What became of the connection, in a word.
async fn served(stream: UnixStream, mut retire: oneshot::Receiver<()>) -> &'static str {
    let limits = Limits::default();
    let wire = Wire::Plain(Stream::Unix(stream));
    let (io, _) = Guarded::new(wire, true, &limits, Place::of_nobody());
    let activity = Activity::new();
    let counted = Rc::clone(&activity);
    let held = RefCell::new(None);
    let service = service_fn(move |request: Request<Incoming>| {
        if request.uri().path() == "/held" {
            held.replace(Some((request.into_body(), counted.upload())));
        }
        let mut response = Response::new(ResponseBody::whole("done"));
        response.body_mut().keep(counted.begin());
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let retirement = pin!(async { drop((&mut retire).await) });
    match until_retired(Box::new(io), service, &limits, &activity, retirement).await {
        Left::Over => "over",
        Left::Working(..) => "working",
        Left::Resting(..) => "resting",
    }
}

async fn answer(client: &mut UnixStream) -> String {
    let mut text = String::new();
    while !text.ends_with("done") {
        let mut come = [0; 1024];
        let read = client.read(&mut come).await.unwrap();
        assert_ne!(read, 0, "closed after {text:?}");
        text.push_str(std::str::from_utf8(&come[..read]).unwrap());
    }
    text
}

/// Lets `client` talk to us and then retires the connection. Says how it was left.
async fn left_after(client: impl AsyncFnOnce(&mut UnixStream)) -> &'static str {
    let (mut near, far) = UnixStream::pair().unwrap();
    let (retire, retired) = oneshot::channel();
    let talk = async {
        client(&mut near).await;
        drop(retire);
        // It stays open for as long as we have not said how it was left.
        near
    };
    tokio::join!(served(far, retired), talk).0
}

#[tokio::test(start_paused = true)]
async fn it_rests_between_requests_and_answers_each() {
    let left = left_after(async |client| {
        for pieces in [1, 2, REQUEST.len()] {
            for piece in REQUEST.as_bytes().chunks(REQUEST.len().div_ceil(pieces)) {
                client.write_all(piece).await.unwrap();
                // Longer than a rest is waited for, and shorter than a head may take in all.
                sleep(LONG / 1000).await;
            }
            assert!(answer(client).await.starts_with("HTTP/1.1 200"));
            sleep(LONG).await;
        }
    })
    .await;
    assert_eq!(left, "resting");
}

#[tokio::test(start_paused = true)]
async fn one_that_has_just_been_used_does_not_rest() {
    let left = left_after(async |client| {
        client.write_all(REQUEST.as_bytes()).await.unwrap();
        answer(client).await;
    })
    .await;
    assert_eq!(left, "working");
}

#[tokio::test(start_paused = true)]
async fn it_does_not_rest_inside_a_head() {
    let left = left_after(async |client| {
        client.write_all(&REQUEST.as_bytes()[..20]).await.unwrap();
        sleep(Limits::default().header_read / 2).await;
    })
    .await;
    assert_eq!(left, "working");
}

#[tokio::test(start_paused = true)]
async fn it_does_not_rest_while_a_body_is_on_its_way() {
    let left = left_after(async |client| {
        let post = "POST /held HTTP/1.1\r\nhost: orders\r\ncontent-length: 4\r\n\r\nbody";
        client.write_all(post.as_bytes()).await.unwrap();
        answer(client).await;
        sleep(LONG / 10).await;
    })
    .await;
    assert_eq!(left, "working");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_whole_ends_it_after_a_rest_too() {
    let (mut client, far) = UnixStream::pair().unwrap();
    let (_retire, retired) = oneshot::channel();
    let talk = async {
        client.write_all(REQUEST.as_bytes()).await.unwrap();
        answer(&mut client).await;
        sleep(LONG).await;
        let began = Instant::now();
        client.write_all(&REQUEST.as_bytes()[..20]).await.unwrap();
        let mut rest = Vec::new();
        timeout(LONG, client.read_to_end(&mut rest)).await.unwrap().unwrap();
        began.elapsed()
    };
    let (left, took) = tokio::join!(served(far, retired), talk);
    assert_eq!(left, "over");
    let limit = Limits::default().header_read;
    assert!(took >= limit && took < 2 * limit, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_while_it_rests_is_let_go() {
    let (mut client, far) = UnixStream::pair().unwrap();
    let (_retire, retired) = oneshot::channel();
    let talk = async {
        client.write_all(REQUEST.as_bytes()).await.unwrap();
        answer(&mut client).await;
        sleep(LONG).await;
        client.shutdown().await.unwrap();
        let mut rest = Vec::new();
        timeout(LONG, client.read_to_end(&mut rest)).await.unwrap().unwrap();
        rest
    };
    assert_eq!(tokio::join!(served(far, retired), talk), ("over", Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_has_not_come_whole_is_never_taken_for_a_request() {
    let (mut client, far) = UnixStream::pair().unwrap();
    let (_retire, retired) = oneshot::channel();
    let talk = async {
        let head = format!("POST / HTTP/1.1\r\nhost: orders\r\ncontent-length: {}\r\n\r\n", 80);
        client.write_all(head.as_bytes()).await.unwrap();
        let first = answer(&mut client).await;
        sleep(LONG).await;
        // The rest of the body, which looks like a request.
        client.write_all(REQUEST.as_bytes()).await.ok();
        let mut rest = Vec::new();
        timeout(LONG, client.read_to_end(&mut rest)).await.ok();
        (first, rest)
    };
    let (_, (first, rest)) = tokio::join!(served(far, retired), talk);
    assert!(first.starts_with("HTTP/1.1 200"));
    assert_eq!(rest, b"", "nobody asked for that");
}
