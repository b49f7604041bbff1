//! One request on a connection of its own.

use std::pin::pin;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderName,
    HeaderValue, IF_NONE_MATCH, USER_AGENT,
};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::answer::Answer;
use super::error::{WebError, in_full};
use super::form::{self, Basic};
use super::url::HttpsUrl;
use super::wants::{Post, Wants};
use crate::live::Live;
use crate::secret::Secret;
use crate::tls::{self, Alpn, HandshakeError, NamedConnector};

const HEADERS_MAX: usize = 64;
const HEADER_BYTES_MAX: usize = 16 * 1024;
const BUFFER_BYTES_MAX: usize = 32 * 1024;
/// Issuers are other people's servers, and some are old.
const SETTINGS: tls::Settings = tls::Settings { allow_tls12: true };

/// Asks servers that `roots` vouch for. Cheap to clone. Makes a connection for each request.
#[derive(Debug, Clone)]
pub struct Client {
    roots: Live<tls::Roots>,
    limits: Limits,
}

/// How long a server may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Until it has proven its name.
    pub(super) connect: Duration,
    /// Until the last byte of its answer, connecting included.
    pub(super) whole: Duration,
}

const LIMITS: Limits = Limits { connect: Duration::from_secs(5), whole: Duration::from_secs(10) };

impl Client {
    pub fn new(roots: Live<tls::Roots>) -> Self {
        Self { roots, limits: LIMITS }
    }

    #[cfg(test)]
    pub(super) fn with_limits(roots: Live<tls::Roots>, limits: Limits) -> Self {
        Self { roots, limits }
    }

    /// `limit` bounds the body in bytes.
    pub async fn get(&self, url: &HttpsUrl, limit: usize) -> Result<Answer, WebError> {
        let request = request(Method::GET, url, Bytes::new())?;
        self.ask(url, request, self.limits.whole, limit).await
    }

    /// Like [`Self::get`], with more said of what is wanted.
    pub async fn fetch(
        &self,
        url: &HttpsUrl,
        wants: &Wants<'_>,
        limit: usize,
    ) -> Result<Answer, WebError> {
        let mut request = request(Method::GET, url, Bytes::new())?;
        if let Some(accept) = wants.accept {
            request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accept));
        }
        if let Some(known) = wants.known {
            put(&mut request, IF_NONE_MATCH, known, url)?;
        }
        if let Some(prefer) = &wants.prefer {
            put(&mut request, HeaderName::from_static("prefer"), prefer, url)?;
        }
        authorize(&mut request, wants.bearer, url)?;
        self.ask(url, request, wants.within.unwrap_or(self.limits.whole), limit).await
    }

    /// Posts bytes as they are. Never more than once, whatever happens.
    pub async fn post(
        &self,
        url: &HttpsUrl,
        post: Post<'_>,
        limit: usize,
    ) -> Result<Answer, WebError> {
        let mut request = request(Method::POST, url, post.body)?;
        let kind = HeaderValue::from_static(post.content_type);
        request.headers_mut().insert(CONTENT_TYPE, kind);
        if let Some(encoding) = post.encoding {
            request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        authorize(&mut request, post.bearer, url)?;
        self.ask(url, request, post.within.unwrap_or(self.limits.whole), limit).await
    }

    /// Posts `fields` as `application/x-www-form-urlencoded`. Never more than once, whatever
    /// happens.
    pub async fn post_form(
        &self,
        url: &HttpsUrl,
        fields: &[(&str, &str)],
        basic: Option<&Basic>,
        limit: usize,
    ) -> Result<Answer, WebError> {
        let mut request = request(Method::POST, url, form::encode(fields))?;
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, kind);
        if let Some(basic) = basic {
            let header = basic.header().ok_or_else(|| unfit(url, "the client's credentials"))?;
            request.headers_mut().insert(AUTHORIZATION, header);
        }
        self.ask(url, request, self.limits.whole, limit).await
    }

    async fn ask(
        &self,
        url: &HttpsUrl,
        request: Request<Full<Bytes>>,
        whole: Duration,
        limit: usize,
    ) -> Result<Answer, WebError> {
        let exchange = async {
            let stream = match timeout(self.limits.connect, self.connect(url)).await {
                Ok(stream) => stream?,
                Err(_) => return Err(late(url, self.limits.connect)),
            };
            exchange(url, stream, request, limit).await
        };
        match timeout(whole, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(late(url, whole)),
        }
    }

    async fn connect(
        &self,
        url: &HttpsUrl,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + use<>, WebError> {
        let failed = |cause| WebError::Connect { to: url.shown(), cause };
        let server = url.server().ok_or_else(|| failed("the host is no name".to_owned()))?;
        let dialled = url.target().dial(self.limits.connect).await;
        let stream = dialled.map_err(|error| failed(in_full(&error)))?;
        let roots = self.roots.clone();
        let connector = NamedConnector::new(roots, SETTINGS, server, &[Alpn::Http1]);
        match connector.connect(stream, SystemTime::now()).await {
            Ok(named) => Ok(named.stream),
            Err(HandshakeError::Unproven(cause)) => {
                Err(WebError::Unverified { to: url.shown(), cause })
            }
            Err(error @ HandshakeError::Refused { .. }) => {
                Err(WebError::Unverified { to: url.shown(), cause: in_full(&error) })
            }
            Err(error) => Err(failed(in_full(&error))),
        }
    }
}

fn late(url: &HttpsUrl, limit: Duration) -> WebError {
    WebError::Timeout { to: url.shown(), limit }
}

fn request(method: Method, url: &HttpsUrl, body: Bytes) -> Result<Request<Full<Bytes>>, WebError> {
    let uri = url.as_uri();
    let host = uri.authority().map_or("", |it| it.as_str());
    let path = uri.path_and_query().map_or("/", |it| it.as_str());
    // A query without a path comes without the slash that a request has to begin with.
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, host)
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, "sidegate")
        .header(CONNECTION, "close")
        .body(Full::new(body))
        .map_err(|error| WebError::Connect { to: url.shown(), cause: error.to_string() })
}

/// Sets a field whose value is not ours.
fn put(
    request: &mut Request<Full<Bytes>>,
    name: HeaderName,
    value: &str,
    url: &HttpsUrl,
) -> Result<(), WebError> {
    let value = HeaderValue::from_str(value).map_err(|_unfit| unfit(url, "what is known"))?;
    request.headers_mut().insert(name, value);
    Ok(())
}

fn authorize(
    request: &mut Request<Full<Bytes>>,
    bearer: Option<&Secret>,
    url: &HttpsUrl,
) -> Result<(), WebError> {
    if let Some(token) = bearer {
        let header = form::bearer(token).ok_or_else(|| unfit(url, "the token"))?;
        request.headers_mut().insert(AUTHORIZATION, header);
    }
    Ok(())
}

fn unfit(url: &HttpsUrl, what: &str) -> WebError {
    WebError::Connect { to: url.shown(), cause: format!("{what} does not fit into a header") }
}

async fn exchange<IO>(
    url: &HttpsUrl,
    io: IO,
    request: Request<Full<Bytes>>,
    limit: usize,
) -> Result<Answer, WebError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let broken = |error: hyper::Error| broken(url, &error);
    let mut protocol = http1::Builder::new();
    protocol
        .max_headers(HEADERS_MAX)
        .max_header_size(HEADER_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX);
    let (mut sender, connection) = protocol.handshake(TokioIo::new(io)).await.map_err(broken)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        read(url, response, limit).await
    };
    // In one task, so that nothing of it outlives a caller that gives up.
    let mut answer = pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // What has arrived by the time the connection ends is still to be read.
        _ = connection => answer.await,
    }
}

async fn read(
    url: &HttpsUrl,
    response: Response<Incoming>,
    limit: usize,
) -> Result<Answer, WebError> {
    let (head, body) = response.into_parts();
    let body = match Limited::new(body, limit).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Err(WebError::TooLarge { to: url.shown(), limit });
        }
        Err(error) => return Err(broken(url, error.as_ref())),
    };
    Ok(Answer::new(head.status.as_u16(), &head.headers, body.into()))
}

fn broken(url: &HttpsUrl, error: &(dyn std::error::Error + 'static)) -> WebError {
    WebError::Broken { to: url.shown(), cause: in_full(error) }
}
