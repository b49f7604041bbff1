//! The HTTP service: it answers with what it was asked, headers included.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;

use super::web::{REQUEST_ID, SINGLE};

const LARGEST_BODY: usize = 64 * 1024;

/// The service as it runs, and what it has seen.
#[derive(Debug)]
pub(super) struct Orders {
    pub(super) address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    requests: AtomicU64,
    /// Ids of those that stand for themselves.
    ids: Mutex<BTreeSet<String>>,
    /// Digests of the certificates that callers presented to our sidecar.
    certificates: Mutex<BTreeSet<String>>,
}

impl Orders {
    pub(super) async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Seen::default());
        tokio::spawn(serve(listener, Arc::clone(&seen)));
        Ok(Self { address, seen })
    }

    /// Requests that arrived, whoever sent them.
    pub(super) fn reached(&self) -> u64 {
        self.seen.requests.load(Ordering::Relaxed)
    }

    /// Whether the request of this id arrived, one that stands for itself.
    pub(super) fn was_asked(&self, id: &str) -> bool {
        self.seen.ids.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    /// Client certificates seen so far.
    pub(super) fn certificates(&self) -> BTreeSet<String> {
        self.seen.certificates.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(listener: TcpListener, seen: Arc<Seen>) {
    while let Ok((stream, _)) = listener.accept().await {
        let seen = Arc::clone(&seen);
        tokio::spawn(async move {
            let answer = service_fn(|request| answer(request, &seen));
            let served = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
            if let Err(error) = served.await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: &Seen,
) -> Result<Response<Full<Bytes>>, Infallible> {
    seen.requests.fetch_add(1, Ordering::Relaxed);
    let (head, body) = request.into_parts();
    let id = head.headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
    if let Some(id) = id.filter(|id| id.starts_with(SINGLE)) {
        seen.ids.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
    }
    if let Some(digest) = client_digest(&head.headers) {
        seen.certificates.lock().unwrap_or_else(PoisonError::into_inner).insert(digest);
    }
    let Ok(body) = Limited::new(body, LARGEST_BODY).collect().await else {
        let mut refusal = Response::new(Full::default());
        *refusal.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
        return Ok(refusal);
    };
    let said = json!({
        "service": "orders",
        "method": head.method.as_str(),
        "path": head.uri.path(),
        "headers": by_name(&head.headers),
        "body": String::from_utf8_lossy(&body.to_bytes()),
    });
    let mut response = Response::new(Full::from(format!("{said}\n")));
    if head.method == Method::POST {
        *response.status_mut() = StatusCode::CREATED;
    }
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn by_name(headers: &HeaderMap) -> BTreeMap<&str, Vec<String>> {
    let mut named: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        named.entry(name.as_str()).or_default().push(value);
    }
    named
}

/// `Hash` of `x-forwarded-client-cert`: which certificate the caller had.
pub(super) fn client_digest(headers: &HeaderMap) -> Option<String> {
    let parts = headers.get("x-forwarded-client-cert")?.to_str().ok()?.split(';');
    parts.filter_map(|part| part.strip_prefix("Hash=")).next().map(str::to_owned)
}
