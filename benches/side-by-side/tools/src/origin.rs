//! The application behind the proxies: it answers at once, and as cheaply as it can.
//!
//! `/x` is 1 KiB, `/bytes/N` is N bytes, `POST /sink` counts what it was sent, and
//! `/bench.Echo/Unary` and `/bench.Echo/Stream` are gRPC. What stands behind raw TCP is the same
//! as behind HTTP/1.1: the proxies in front make the difference.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use anyhow::{Result, bail};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

use crate::net::{self, LocalExecutor};

const SMALL: &[u8] = &[b'x'; 1024];
const CHUNK: &[u8] = &[b'x'; 128 * 1024];
/// The most that a unary call may send.
const MESSAGE_LIMIT: usize = 4 * 1024 * 1024;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to serve HTTP/1.1.
    #[arg(long)]
    http: Option<SocketAddr>,
    /// Where to serve HTTP/2 without TLS, by prior knowledge.
    #[arg(long)]
    h2: Option<SocketAddr>,
    /// Where to serve what goes through raw TCP (HTTP/1.1 as well).
    #[arg(long)]
    tcp: Option<SocketAddr>,
}

#[derive(Debug, Clone, Copy)]
enum Speaks {
    Http1,
    Http2,
}

/// One thread for each address. Prints the addresses once all listen.
pub(crate) fn run(args: &Args) -> Result<()> {
    net::raise_open_files();
    let asked = [
        ("http", args.http, Speaks::Http1),
        ("h2", args.h2, Speaks::Http2),
        ("tcp", args.tcp, Speaks::Http1),
    ];
    let mut listeners = Vec::new();
    let mut listening = serde_json::Map::new();
    for (name, addr, speaks) in asked {
        let Some(addr) = addr else { continue };
        for listener in net::listen(addr, 1)? {
            listening.insert(name.to_owned(), listener.local_addr()?.to_string().into());
            listeners.push((listener, speaks));
        }
    }
    if listeners.is_empty() {
        bail!("nothing to serve: give `--http`, `--h2` or `--tcp`");
    }
    println!("{}", serde_json::Value::Object(listening));
    net::on_threads(listeners.into_iter().map(|(listener, speaks)| {
        move || net::serve(listener, move |listener| serve(listener, speaks))
    }))
}

async fn serve(listener: TcpListener, speaks: Speaks) -> Result<()> {
    loop {
        let stream = net::accept(&listener).await;
        spawn_local(connection(stream, speaks));
    }
}

/// How a connection ends is told by the load on the other side of the proxies.
async fn connection(stream: TcpStream, speaks: Speaks) {
    let stream = TokioIo::new(stream);
    match speaks {
        Speaks::Http1 => {
            http1::Builder::new().serve_connection(stream, service_fn(answer)).await.ok();
        }
        Speaks::Http2 => {
            http2::Builder::new(LocalExecutor)
                .max_concurrent_streams(1024)
                .initial_stream_window_size(1024 * 1024)
                .initial_connection_window_size(16 * 1024 * 1024)
                .serve_connection(stream, service_fn(answer))
                .await
                .ok();
        }
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Reply>, Infallible> {
    let path = request.uri().path();
    let reply = match *request.method() {
        Method::GET if path == "/x" => Response::new(Reply::Small),
        Method::GET => match path.strip_prefix("/bytes/").map(str::parse) {
            Some(Ok(left)) => Response::new(Reply::Bulk { left }),
            Some(Err(_)) | None => status(StatusCode::NOT_FOUND),
        },
        Method::POST if path == "/sink" => sink(request.into_body()).await,
        Method::POST if path == "/bench.Echo/Unary" => unary(request.into_body()).await,
        Method::POST if path == "/bench.Echo/Stream" => grpc(Reply::Echo(request.into_body())),
        _ => status(StatusCode::NOT_FOUND),
    };
    Ok(reply)
}

fn status(status: StatusCode) -> Response<Reply> {
    let mut response = Response::new(Reply::Bytes(None));
    *response.status_mut() = status;
    response
}

async fn sink(mut body: Incoming) -> Response<Reply> {
    let mut count = 0;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => count += frame.data_ref().map_or(0, Bytes::len),
            Err(_) => return status(StatusCode::BAD_REQUEST),
        }
    }
    Response::new(Reply::Bytes(Some(count.to_string().into())))
}

/// The message comes back with the length in front of it that it came with.
async fn unary(body: Incoming) -> Response<Reply> {
    match Limited::new(body, MESSAGE_LIMIT).collect().await {
        Ok(message) => grpc(Reply::Message(Some(message.to_bytes()))),
        Err(_) => status(StatusCode::BAD_REQUEST),
    }
}

fn grpc(reply: Reply) -> Response<Reply> {
    let mut response = Response::new(reply);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// Every body that the application answers with.
#[derive(Debug)]
enum Reply {
    Small,
    Bulk {
        left: u64,
    },
    Bytes(Option<Bytes>),
    /// A gRPC answer in one piece, its status behind it.
    Message(Option<Bytes>),
    /// A gRPC stream that sends back what comes, when it comes.
    Echo(Incoming),
    Over,
}

impl Body for Reply {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let data = match &mut *self {
            Self::Small => {
                *self = Self::Over;
                Some(Bytes::from_static(SMALL))
            }
            Self::Bulk { left } => bulk(left),
            Self::Bytes(bytes) => bytes.take(),
            Self::Message(message) => match message.take() {
                Some(message) => Some(message),
                None => return Poll::Ready(self.ended()),
            },
            Self::Echo(incoming) => loop {
                match ready!(Pin::new(&mut *incoming).poll_frame(context)) {
                    // That is how a caller ends its side. To Envoy, many of them are an attack.
                    Some(Ok(frame)) if frame.data_ref().is_some_and(Bytes::is_empty) => {}
                    Some(frame) => return Poll::Ready(Some(frame)),
                    None => return Poll::Ready(self.ended()),
                }
            },
            Self::Over => None,
        };
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Small => SizeHint::with_exact(SMALL.len() as u64),
            Self::Bulk { left } => SizeHint::with_exact(*left),
            Self::Bytes(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Message(_) | Self::Echo(_) => SizeHint::default(),
            Self::Over => SizeHint::with_exact(0),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Over | Self::Bytes(None) | Self::Bulk { left: 0 })
    }
}

impl Reply {
    /// A gRPC call ends with its status, once.
    fn ended(&mut self) -> Option<Result<Frame<Bytes>, hyper::Error>> {
        *self = Self::Over;
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        Some(Ok(Frame::trailers(trailers)))
    }
}

fn bulk(left: &mut u64) -> Option<Bytes> {
    let size = usize::try_from(*left).map_or(CHUNK.len(), |left| left.min(CHUNK.len()));
    *left -= size as u64;
    (size > 0).then(|| Bytes::from_static(CHUNK).slice(..size))
}
