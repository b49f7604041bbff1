//! A small HTTP/1.1 server for short answers. One request a connection, everything bounded.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time;

pub(super) type Answer = Response<Full<Bytes>>;

#[derive(Debug, Clone, Copy)]
struct Limits {
    connections: usize,
    /// From accepting a connection to its end.
    connection_time: Duration,
    header_time: Duration,
    header_bytes: usize,
    header_count: usize,
}

/// Probes and scrapes come one at a time; more connections than this are somebody else.
const LIMITS: Limits = Limits {
    connections: 64,
    connection_time: Duration::from_secs(10),
    header_time: Duration::from_secs(5),
    header_bytes: 16 * 1024,
    header_count: 64,
};
/// When accepting fails, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who is on the other end, where the system tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Visitor {
    pub(super) uid: Option<u32>,
    pub(super) pid: Option<i32>,
}

/// Where visitors come in.
pub(super) trait Door: Send {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Visitor)>> + Send;
}

impl Door for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Visitor)> {
        Ok((Self::accept(self).await?.0, Visitor::default()))
    }
}

impl Door for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Visitor)> {
        let (stream, _) = Self::accept(self).await?;
        let known = stream.peer_cred()?;
        Ok((stream, Visitor { uid: Some(known.uid()), pid: known.pid() }))
    }
}

/// What a request is answered with.
pub(super) trait Service: Send + Sync + 'static {
    fn answer(
        &self,
        request: http::Request<Incoming>,
        visitor: Visitor,
    ) -> impl Future<Output = Answer> + Send;
}

/// Pages that are only read, by their path.
struct Pages<F>(F);

impl<F: Fn(&str) -> Option<Answer> + Send + Sync + 'static> Service for Pages<F> {
    async fn answer(&self, request: http::Request<Incoming>, _visitor: Visitor) -> Answer {
        reply(request.method(), request.uri().path(), &self.0)
    }
}

/// Answers until `shutdown` resolves, then cuts what is still open.
pub(super) async fn serve(
    listener: TcpListener,
    answer: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static,
    shutdown: impl Future<Output = ()>,
) {
    serve_all(listener, Pages(answer), shutdown).await;
}

/// The same for more than pages.
pub(super) async fn serve_all(
    door: impl Door,
    service: impl Service,
    shutdown: impl Future<Output = ()>,
) {
    serve_within(LIMITS, door, service, shutdown).await;
}

async fn serve_within(
    limits: Limits,
    door: impl Door,
    service: impl Service,
    shutdown: impl Future<Output = ()>,
) {
    let service = Arc::new(service);
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        // At the limit new connections wait in the kernel's queue: each old one ends in time.
        let free = connections.len() < limits.connections;
        tokio::select! {
            () = &mut shutdown => return,
            Some(_ended) = connections.join_next() => {}
            accepted = door.accept(), if free => match accepted {
                Ok((stream, visitor)) => {
                    connections.spawn(connection(limits, stream, visitor, Arc::clone(&service)));
                }
                Err(error) => {
                    tracing::warn!(%error, "the side door cannot accept connections");
                    time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

async fn connection(
    limits: Limits,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    visitor: Visitor,
    service: Arc<impl Service>,
) {
    let service = service_fn(|request: http::Request<Incoming>| {
        let service = Arc::clone(&service);
        async move { Ok::<_, Infallible>(service.answer(request, visitor).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .keep_alive(false)
        .max_buf_size(limits.header_bytes)
        .max_headers(limits.header_count)
        .serve_connection(TokioIo::new(stream), service);
    match time::timeout(limits.connection_time, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection to the side door broke"),
        Err(_late) => tracing::debug!("a connection to the side door took too long"),
    }
}

fn reply(method: &Method, path: &str, answer: impl Fn(&str) -> Option<Answer>) -> Answer {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match answer(path) {
        Some(answer) if reads => answer,
        Some(_) => not_allowed("GET, HEAD"),
        None => text(StatusCode::NOT_FOUND, "text/plain", ""),
    }
}

pub(super) fn not_allowed(allowed: &'static str) -> Answer {
    let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "");
    refusal.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    refusal
}

pub(super) fn text(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn silent_connections_lock_nobody_out_for_long() {
        let limits = Limits { connections: 3, header_time: Duration::from_millis(100), ..LIMITS };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = |_: &str| Some(text(StatusCode::OK, "text/plain", "here"));
        tokio::spawn(serve_within(limits, listener, Pages(answer), std::future::pending()));

        let mut silent = Vec::new();
        for _ in 0..10 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let ask = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: probe\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let answer = time::timeout(Duration::from_secs(10), ask).await.unwrap();
        assert!(answer.ends_with("here"), "{answer}");
        // The first silent one was told off and cut.
        let mut told = String::new();
        let cut = silent[0].read_to_string(&mut told);
        time::timeout(Duration::from_secs(10), cut).await.unwrap().ok();
        assert!(!told.contains("200"), "{told}");
    }
}
