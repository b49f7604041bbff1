//! A plain HTTP/1.1 client, as an application would use one.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::header::{HOST, HeaderMap};
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// No call here takes as long unless something hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
const LARGEST_BODY: usize = 256 * 1024;

pub(super) const REQUEST_ID: &str = "x-request-id";
/// The ids of requests that stand for themselves begin so; those of steady traffic do not.
pub(super) const SINGLE: &str = "demo-";

#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// One connection that takes one request after the other.
#[derive(Debug)]
pub(super) struct Client(SendRequest<Full<Bytes>>);

impl Client {
    pub(super) async fn connect(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Self::over(stream).await
    }

    pub(super) async fn over<T>(stream: T) -> anyhow::Result<Self>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
        Ok(Self(sender))
    }

    /// Whether the other side has ended the connection between two requests, as it may.
    pub(super) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Reply> {
        timeout(PATIENCE, self.exchange(request)).await.context("no answer in time")?
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Reply> {
        self.0.ready().await?;
        let (head, body) = self.0.send_request(request).await?.into_parts();
        let body = Limited::new(body, LARGEST_BODY).collect().await;
        let body = body.map_err(anyhow::Error::from_boxed)?.to_bytes();
        Ok(Reply { status: head.status.as_u16(), headers: head.headers, body })
    }
}

pub(super) fn request(
    method: Method,
    path: &str,
    id: &str,
    body: impl Into<Bytes>,
) -> anyhow::Result<Request<Full<Bytes>>> {
    let request = Request::builder().method(method).uri(path).header(HOST, "orders");
    Ok(request.header(REQUEST_ID, id).body(Full::new(body.into()))?)
}

/// A request on a connection of its own.
pub(super) async fn ask(port: u16, request: Request<Full<Bytes>>) -> anyhow::Result<Reply> {
    Client::connect(port).await?.send(request).await
}

pub(super) async fn get(port: u16, path: &str, id: &str) -> anyhow::Result<Reply> {
    ask(port, request(Method::GET, path, id, "")?).await
}
