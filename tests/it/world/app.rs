//! The application behind a sidecar: an HTTP server that says what it was asked, counts, and
//! misbehaves on request.
//!
//! Its paths are matched by their last segment: `/anything/held-head` waits before it answers.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_stream::wrappers::ReceiverStream;

use super::grpc;

pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A running application; clones are the same one.
#[derive(Clone)]
pub struct App(Arc<Shared>);

pub struct Shared {
    place: Place,
    seen: Mutex<VecDeque<Seen>>,
    requests: AtomicUsize,
    connections: AtomicUsize,
    open: AtomicUsize,
    taken: AtomicUsize,
    given: AtomicUsize,
    /// What is held waits until this is true.
    gate: watch::Sender<bool>,
    server: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Clone)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A request as the application saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    /// Path and query.
    pub target: String,
    pub version: Version,
    pub headers: HeaderMap,
}

impl Seen {
    /// The only value of this header; `None` if there is none.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let first = values.next()?.to_str().unwrap();
        assert!(values.next().is_none(), "`{name}` is there more than once: {self:?}");
        Some(first)
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl App {
    pub async fn on_tcp() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = Place::Tcp(listener.local_addr().unwrap());
        Self::serving(place, Listener::Tcp(listener))
    }

    pub fn on_unix(path: PathBuf) -> Self {
        let listener = UnixListener::bind(&path).unwrap();
        Self::serving(Place::Unix(path), Listener::Unix(listener))
    }

    fn serving(place: Place, listener: Listener) -> Self {
        let app = Self(Arc::new(Shared {
            place,
            seen: Mutex::default(),
            requests: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            given: AtomicUsize::new(0),
            gate: watch::Sender::new(false),
            server: Mutex::default(),
        }));
        app.serve(listener);
        app
    }

    fn serve(&self, listener: Listener) {
        let shared = Arc::clone(&self.0);
        *self.0.server.lock().unwrap() = Some(tokio::spawn(accept(shared, listener)));
    }

    /// As `forward_to` has it.
    pub fn address(&self) -> String {
        match &self.0.place {
            Place::Tcp(address) => address.to_string(),
            Place::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// Stops listening and cuts every connection.
    pub async fn stop(&self) {
        let server = self.0.server.lock().unwrap().take();
        if let Some(server) = server {
            server.abort();
            server.await.unwrap_err();
        }
    }

    /// Listens again after [`Self::stop`], at the same place.
    pub async fn start(&self) {
        let listener = match &self.0.place {
            Place::Tcp(address) => Listener::Tcp(TcpListener::bind(address).await.unwrap()),
            Place::Unix(path) => {
                std::fs::remove_file(path).ok();
                Listener::Unix(UnixListener::bind(path).unwrap())
            }
        };
        self.serve(listener);
    }

    /// Lets everything that is held go on, now and later.
    pub fn release(&self) {
        self.0.gate.send_replace(true);
    }

    pub fn requests(&self) -> usize {
        self.0.requests.load(Ordering::SeqCst)
    }

    /// Connections accepted since the start.
    pub fn connections(&self) -> usize {
        self.0.connections.load(Ordering::SeqCst)
    }

    pub fn open_connections(&self) -> usize {
        self.0.open.load(Ordering::SeqCst)
    }

    /// Bytes of request bodies that were read.
    pub fn taken(&self) -> usize {
        self.0.taken.load(Ordering::SeqCst)
    }

    /// Bytes of response bodies that the network has taken from `/source`.
    pub fn given(&self) -> usize {
        self.0.given.load(Ordering::SeqCst)
    }

    /// All requests that it has seen, in words.
    pub fn all_seen(&self) -> Vec<u8> {
        format!("{:?}", self.0.seen.lock().unwrap()).into_bytes()
    }

    /// The request that came last.
    pub fn last(&self) -> Seen {
        self.0.seen.lock().unwrap().back().expect("no request has reached the application").clone()
    }

    pub async fn reached(&self, requests: usize) {
        let what = format!("request number {requests} at the application");
        super::wait::holds(&what, || self.requests() >= requests).await;
    }
}

async fn accept(shared: Arc<Shared>, listener: Listener) {
    let mut connections = JoinSet::new();
    loop {
        let shared = Arc::clone(&shared);
        match &listener {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                connections.spawn(connection(shared, stream));
            }
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(connection(shared, stream));
            }
        }
    }
}

struct Open<'a>(&'a AtomicUsize);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn connection<IO>(shared: Arc<Shared>, stream: IO)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    shared.connections.fetch_add(1, Ordering::SeqCst);
    shared.open.fetch_add(1, Ordering::SeqCst);
    let _open = Open(&shared.open);
    let for_requests = Arc::clone(&shared);
    let answer = service_fn(move |request| answer(Arc::clone(&for_requests), request));
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().half_close(true);
    // An application may hang up as it likes; whoever called it is who must notice.
    server.serve_connection_with_upgrades(TokioIo::new(stream), answer).await.ok();
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let target = request.uri().path_and_query().map_or("", |it| it.as_str()).to_owned();
    let seen = Seen {
        method: request.method().clone(),
        target,
        version: request.version(),
        headers: request.headers().clone(),
    };
    shared.seen.lock().unwrap().push_back(seen.clone());
    shared.requests.fetch_add(1, Ordering::SeqCst);

    let path = request.uri().path().to_owned();
    if let Some(method) = path.strip_prefix("/test.Echo/") {
        return grpc::answer(method, request, shared.gate.subscribe()).await;
    }
    match path.rsplit('/').next().unwrap_or_default() {
        "held-head" => {
            held(&shared).await;
            said(&shared, &seen, request).await
        }
        "held-body" => {
            let (sender, body) = channel();
            sender.send(data("first,")).await.unwrap();
            tokio::spawn(async move {
                held(&shared).await;
                sender.send(data("last")).await.ok();
            });
            Ok(Response::new(body))
        }
        "close-early" => Err(io::Error::other("hung up before the answer")),
        "break-off" => {
            let broken = [data("half of"), Err(io::Error::other("hung up in the middle"))];
            let body = StreamBody::new(tokio_stream::iter(broken)).boxed_unsync();
            Ok(Response::builder().header(CONTENT_LENGTH, 1_000).body(body).unwrap())
        }
        "unread" => {
            held(&shared).await;
            said(&shared, &seen, request).await
        }
        "mirror" => Ok(Response::new(request.into_body().map_err(io::Error::other).boxed_unsync())),
        "source" => {
            let bytes = request.uri().query().unwrap().parse().unwrap();
            Ok(Response::new(source(shared, bytes)))
        }
        "trailers" => {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-checksum", HeaderValue::from_static("abc"));
            let frames = [data("with trailers"), Ok(Frame::trailers(trailers))];
            let body = StreamBody::new(tokio_stream::iter(frames)).boxed_unsync();
            Ok(Response::builder().header("trailer", "x-checksum").body(body).unwrap())
        }
        "upgrade" => Ok(upgraded(request)),
        "hop-by-hop" => Ok(Response::builder()
            .header("x-end", "to end")
            .header("x-one-hop", "only")
            .header("keep-alive", "timeout=5")
            .header(CONNECTION, "x-one-hop")
            .body(whole("ok"))
            .unwrap()),
        status if status.len() == 3 && status.parse::<u16>().is_ok() => {
            let status = StatusCode::from_bytes(status.as_bytes()).unwrap();
            let body = if status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
                Empty::new().map_err(|e| match e {}).boxed_unsync()
            } else {
                whole("as you wish")
            };
            Ok(Response::builder().status(status).header("etag", "\"7\"").body(body).unwrap())
        }
        _ => said(&shared, &seen, request).await,
    }
}

/// What was asked, as JSON.
async fn said(
    shared: &Shared,
    seen: &Seen,
    request: Request<Incoming>,
) -> io::Result<Response<Body>> {
    let mut body = request.into_body();
    let mut text = Vec::new();
    let mut length = 0_usize;
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        match frame.map_err(io::Error::other)?.into_data() {
            Ok(bytes) => {
                shared.taken.fetch_add(bytes.len(), Ordering::SeqCst);
                length += bytes.len();
                if length < 10_000 {
                    text.extend_from_slice(&bytes);
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    let trailer_names: Vec<_> =
        trailers.iter().flat_map(HeaderMap::keys).map(ToString::to_string).collect();
    let trailers = trailers.as_ref().and_then(|it| it.get("x-checksum")?.to_str().ok());
    let said = serde_json::json!({
        "method": seen.method.as_str(),
        "target": seen.target,
        "version": format!("{:?}", seen.version),
        "host": seen.header("host"),
        "body": String::from_utf8_lossy(&text),
        "length": length,
        "trailer": trailers,
        "trailer_names": trailer_names,
    });
    let response = Response::builder().header(CONTENT_TYPE, "application/json");
    Ok(response.body(whole(said.to_string())).unwrap())
}

/// `bytes` bytes, made only as fast as they are taken.
fn source(shared: Arc<Shared>, bytes: usize) -> Body {
    const PIECE: Bytes = Bytes::from_static(&[b's'; 16 * 1024]);
    let (sender, body) = channel();
    tokio::spawn(async move {
        let mut left = bytes;
        while left > 0 {
            let piece = PIECE.slice(..left.min(PIECE.len()));
            left -= piece.len();
            let length = piece.len();
            if sender.send(Ok(Frame::data(piece))).await.is_err() {
                return;
            }
            shared.given.fetch_add(length, Ordering::SeqCst);
        }
    });
    body
}

/// Switches to a protocol in which everything comes back in capitals.
fn upgraded(request: Request<Incoming>) -> Response<Body> {
    if request.headers().get(UPGRADE).is_none() {
        return Response::builder().status(426).body(whole("switch, please")).unwrap();
    }
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(request).await else { return };
        super::tcp_app::shout(TokioIo::new(upgraded)).await.ok();
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, "websocket")
        .header("sec-websocket-accept", "x3JJHMbDL1EzLkh9GBhXDw==")
        .body(Empty::new().map_err(|e| match e {}).boxed_unsync())
        .unwrap()
}

async fn held(shared: &Shared) {
    shared.gate.subscribe().wait_for(|open| *open).await.unwrap();
}

pub type Frames = mpsc::Sender<io::Result<Frame<Bytes>>>;

/// A body, and where its frames are put in. The body takes a frame only when it can send it on.
pub fn channel() -> (Frames, Body) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, StreamBody::new(ReceiverStream::new(receiver)).boxed_unsync())
}

pub fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

pub fn data(bytes: impl Into<Bytes>) -> io::Result<Frame<Bytes>> {
    Ok(Frame::data(bytes.into()))
}
