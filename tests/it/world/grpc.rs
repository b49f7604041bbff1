//! Enough of gRPC to hold a conversation: messages, statuses, and an echo service of all kinds.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap};
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use tokio::sync::watch;

use super::app::{Body, channel};

/// One message with its prefix.
pub fn message(text: &str) -> Bytes {
    let mut bytes = BytesMut::with_capacity(text.len() + 5);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(text.len()).unwrap());
    bytes.put_slice(text.as_bytes());
    bytes.freeze()
}

/// The messages that `bytes` consist of.
pub fn messages(mut bytes: &[u8]) -> Vec<String> {
    let mut messages = Vec::new();
    while let Some((prefix, rest)) = bytes.split_at_checked(5) {
        let length = u32::from_be_bytes(prefix[1..].try_into().unwrap()) as usize;
        messages.push(String::from_utf8(rest[..length].to_vec()).unwrap());
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty(), "half a message");
    messages
}

/// `test.Echo`: `Unary`, `ServerStream`, `ClientStream`, `Bidi`, `Fail`, `Held`.
pub async fn answer(
    method: &str,
    request: Request<Incoming>,
    mut gate: watch::Receiver<bool>,
) -> io::Result<Response<Body>> {
    if method == "Fail" {
        let mut response = response(super::app::whole(""));
        response.headers_mut().insert("grpc-status", HeaderValue::from_static("9"));
        response.headers_mut().insert("grpc-message", HeaderValue::from_static("not now"));
        return Ok(response);
    }
    let (sender, body) = channel();
    let method = method.to_owned();
    if method == "Held" {
        gate.wait_for(|open| *open).await.unwrap();
    }
    tokio::spawn(async move {
        let mut incoming = request.into_body();
        if method == "Bidi" {
            while let Some(Ok(frame)) = incoming.frame().await {
                if let Ok(bytes) = frame.into_data() {
                    sender.send(Ok(Frame::data(bytes))).await.ok();
                }
            }
        } else {
            let Ok(asked) = incoming.collect().await else { return };
            let asked = messages(&asked.to_bytes());
            let answers = match method.as_str() {
                "ServerStream" => vec![asked.concat(); 3],
                "ClientStream" => vec![asked.join("+")],
                _ => asked,
            };
            for answer in answers {
                sender.send(Ok(Frame::data(message(&answer)))).await.ok();
            }
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        trailers.insert("x-served", HeaderValue::from_str(&method).unwrap());
        sender.send(Ok(Frame::trailers(trailers))).await.ok();
    });
    Ok(response(body))
}

fn response(body: Body) -> Response<Body> {
    Response::builder().header(CONTENT_TYPE, "application/grpc").body(body).unwrap()
}
