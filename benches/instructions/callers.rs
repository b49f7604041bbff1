//! The application that calls, one request after the other.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::scene::BYTES;

const READY: Duration = Duration::from_secs(60);

/// What is counted.
#[derive(Clone, Copy)]
pub enum Workload {
    /// A request on a connection that stays.
    Http1,
    Http2,
    /// A message and its echo on a connection that stays.
    Tcp,
    /// A connection with one message: two handshakes, none of them resumed.
    NewConnection,
}

impl Workload {
    pub const ALL: [Self; 4] = [Self::Http1, Self::Http2, Self::Tcp, Self::NewConnection];

    pub fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Tcp => "tcp",
            Self::NewConnection => "new connection",
        }
    }
}

/// A caller with its connection.
pub enum Caller {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
    Tcp(TcpStream),
    NewConnection(SocketAddr),
}

impl Caller {
    pub async fn new(workload: Workload, http: SocketAddr, raw: SocketAddr) -> Self {
        let deadline = Instant::now() + READY;
        loop {
            if let Ok(mut caller) = Self::connect(workload, http, raw).await
                && caller.call().await.is_ok()
            {
                return caller;
            }
            assert!(Instant::now() < deadline, "the sidecars do not become ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn connect(workload: Workload, http: SocketAddr, raw: SocketAddr) -> io::Result<Self> {
        Ok(match workload {
            Workload::Http1 => {
                let io = TokioIo::new(connected(http).await?);
                let (sender, connection) = http1::handshake(io).await.map_err(io::Error::other)?;
                tokio::spawn(connection);
                Self::Http1(sender)
            }
            Workload::Http2 => {
                let io = TokioIo::new(connected(http).await?);
                let (sender, connection) =
                    http2::handshake(TokioExecutor::new(), io).await.map_err(io::Error::other)?;
                tokio::spawn(connection);
                Self::Http2(sender)
            }
            Workload::Tcp => Self::Tcp(connected(raw).await?),
            Workload::NewConnection => Self::NewConnection(raw),
        })
    }

    pub async fn call(&mut self) -> io::Result<()> {
        match self {
            Self::Http1(sender) => {
                sender.ready().await.map_err(io::Error::other)?;
                answered(sender.send_request(request("/orders/4711")).await).await
            }
            Self::Http2(sender) => {
                sender.ready().await.map_err(io::Error::other)?;
                let uri = "http://orders/orders/4711";
                answered(sender.send_request(request(uri)).await).await
            }
            Self::Tcp(stream) => echoed(stream).await,
            Self::NewConnection(address) => {
                let mut stream = connected(*address).await?;
                echoed(&mut stream).await?;
                stream.shutdown().await?;
                stream.read_u8().await.map_or(Ok(()), |_| Err(io::ErrorKind::InvalidData.into()))
            }
        }
    }
}

async fn connected(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn echoed(stream: &mut TcpStream) -> io::Result<()> {
    let mut message = [b'x'; BYTES];
    stream.write_all(&message).await?;
    stream.read_exact(&mut message).await.map(|_| ())
}

fn request(uri: &str) -> Request<Empty<Bytes>> {
    let mut request = Request::builder().uri(uri);
    if uri.starts_with('/') {
        request = request.header("host", "orders");
    }
    request
        .header("accept", "application/json")
        .header("accept-encoding", "gzip, deflate")
        .header("user-agent", "shop/1.7")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .body(Empty::new())
        .expect("a request")
}

async fn answered(answer: hyper::Result<Response<Incoming>>) -> io::Result<()> {
    let answer = answer.map_err(io::Error::other)?;
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(io::Error::other)?;
    match status == StatusCode::OK && body.to_bytes().len() == BYTES {
        true => Ok(()),
        false => Err(io::Error::other(status.to_string())),
    }
}
