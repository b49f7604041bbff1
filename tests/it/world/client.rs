//! The calling side: HTTP/1.1 and HTTP/2 over any stream, and bytes as they are.

use std::io;

use bytes::Bytes;
use http::header::{HOST, HeaderMap};
use http::{HeaderValue, Method, Request, Response, Uri, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::app::{Body, whole};
use super::wait::within;

const ANY_HOST: &str = "service.test";

/// Anything that bytes go through.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for T {}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Reply {
    head: http::response::Parts,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

impl Reply {
    /// `Err` when the body broke off.
    pub async fn read(response: Response<Incoming>) -> hyper::Result<Self> {
        let (head, body) = response.into_parts();
        let body = within("the end of the answer", body.collect()).await?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        super::secrets::none_in("the head of an answer", format!("{head:?}").as_bytes());
        let body = body.to_bytes();
        super::secrets::none_in("an answer", &body);
        Ok(Self { head, body, trailers })
    }

    pub fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    pub fn version(&self) -> Version {
        self.head.version
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The code in the body of an answer that a sidecar gave itself.
    pub fn code(&self) -> String {
        let body = self.json();
        let keys: Vec<_> = body.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["error", "request_id"], "a refusal says no more");
        assert_eq!(self.header("x-request-id"), body["request_id"].as_str());
        body["error"].as_str().unwrap().to_owned()
    }

    /// Status and code in one.
    pub fn refusal(&self) -> (u16, String) {
        (self.status(), self.code())
    }
}

/// One HTTP connection.
pub struct Http {
    sender: Sender,
    connection: JoinHandle<hyper::Result<()>>,
}

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

impl Http {
    pub async fn http1(stream: impl Stream) -> hyper::Result<Self> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection.with_upgrades());
        Ok(Self { sender: Sender::Http1(sender), connection })
    }

    pub async fn http2(stream: impl Stream) -> hyper::Result<Self> {
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        Ok(Self { sender: Sender::Http2(sender), connection })
    }

    /// Sends one request; what comes back is the head of the answer.
    pub async fn begin(&mut self, mut request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        let answer = async {
            match &mut self.sender {
                Sender::Http1(sender) => {
                    if !request.headers().contains_key(HOST) {
                        request.headers_mut().insert(HOST, HeaderValue::from_static(ANY_HOST));
                    }
                    sender.ready().await?;
                    sender.send_request(request).await
                }
                Sender::Http2(sender) => {
                    if request.uri().authority().is_none() {
                        let mut parts = std::mem::take(request.uri_mut()).into_parts();
                        parts.authority = Some(ANY_HOST.parse().unwrap());
                        parts.scheme = Some("http".parse().unwrap());
                        *request.uri_mut() = Uri::from_parts(parts).unwrap();
                    }
                    *request.version_mut() = Version::HTTP_2;
                    sender.ready().await?;
                    sender.send_request(request).await
                }
            }
        };
        within("the head of an answer", answer).await
    }

    /// The whole exchange; `Err` when no whole answer came.
    pub async fn try_send(&mut self, request: Request<Body>) -> hyper::Result<Reply> {
        Reply::read(self.begin(request).await?).await
    }

    pub async fn send(&mut self, request: Request<Body>) -> Reply {
        self.try_send(request).await.unwrap()
    }

    pub async fn get(&mut self, path: &str) -> Reply {
        self.send(get(path)).await
    }

    /// A second user of the same HTTP/2 connection.
    pub fn share(&self) -> Self {
        let Sender::Http2(sender) = &self.sender else { panic!("only HTTP/2 is shared") };
        Self { sender: Sender::Http2(sender.clone()), connection: tokio::spawn(async { Ok(()) }) }
    }

    /// Waits until the connection has ended, and says whether it did so in order.
    pub async fn ended(self) -> hyper::Result<()> {
        within("the end of the connection", self.connection).await.unwrap()
    }

    /// Waits until the other side takes no further request on this connection.
    pub async fn retired(&mut self) {
        super::wait::until("the other side to retire the connection", async || {
            let closed = match &self.sender {
                Sender::Http1(sender) => sender.is_closed(),
                Sender::Http2(sender) => sender.is_closed(),
            };
            closed.then_some(())
        })
        .await;
    }
}

pub fn get(path: &str) -> Request<Body> {
    request(Method::GET, path, "")
}

pub fn post(path: &str, body: impl Into<Bytes>) -> Request<Body> {
    request(Method::POST, path, body)
}

pub fn request(method: Method, path: &str, body: impl Into<Bytes>) -> Request<Body> {
    Request::builder().method(method).uri(path).body(whole(body)).unwrap()
}

pub fn with_headers(mut request: Request<Body>, headers: &[(&str, &str)]) -> Request<Body> {
    for (name, value) in headers {
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    request
}

/// A stream on which bytes are sent and read as they are.
pub struct Raw(pub Box<dyn Stream>);

impl Raw {
    pub fn new(stream: impl Stream) -> Self {
        Self(Box::new(stream))
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.unwrap();
    }

    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.write_all(bytes.as_ref()).await?;
        self.0.flush().await
    }

    /// Says that nothing more will come from here.
    pub async fn finish(&mut self) {
        self.0.shutdown().await.unwrap();
    }

    /// Reads exactly what is expected.
    pub async fn hears(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        let mut heard = vec![0; expected.len()];
        within("bytes", self.0.read_exact(&mut heard)).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&heard), String::from_utf8_lossy(expected));
    }

    /// Everything until the other side is done; `Err` when the connection was torn.
    pub async fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        within("the end of the stream", self.0.read_to_end(&mut rest)).await?;
        Ok(rest)
    }

    /// The same after something was said. A socket tells only once that it was torn, be it to
    /// the writer or to the reader, and looks finished from then on.
    pub async fn rest_after(mut self, bytes: impl AsRef<[u8]>) -> io::Result<Vec<u8>> {
        self.try_send(bytes).await?;
        self.rest().await
    }

    /// What came before the other side ended, in order or not.
    pub async fn last_words(&mut self) -> String {
        let mut heard = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(read) = within("the end of the stream", self.0.read(&mut buffer)).await {
            if read == 0 {
                break;
            }
            heard.extend_from_slice(&buffer[..read]);
        }
        String::from_utf8_lossy(&heard).into_owned()
    }

    /// Status and error code of one HTTP/1.1 answer.
    pub async fn answer(&mut self) -> (u16, String) {
        let head = self.head().await;
        let length = head
            .lines()
            .find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()
            })
            .unwrap_or(0);
        let mut body = vec![0; length];
        within("a body", self.0.read_exact(&mut body)).await.unwrap();
        let status = head[9..12].parse().unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        (status, body["error"].as_str().unwrap_or_default().to_owned())
    }

    /// The head of one HTTP/1.1 answer.
    pub async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = within("a head", self.0.read_u8()).await;
            head.push(byte.unwrap_or_else(|error| {
                panic!("{error} after {:?}", String::from_utf8_lossy(&head))
            }));
        }
        String::from_utf8(head).unwrap()
    }
}
