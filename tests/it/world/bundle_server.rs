//! A bundle server as OPA knows them: tags, long polls, and switches for what goes wrong in life.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use sidegate::dev::{TokenIssuer, WebAuthority};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::tls_server::{Answers, TlsServer};
use super::{wait, web};

/// A server on loopback, with whoever signs its bundles. Dropping it takes it away.
pub struct BundleServer {
    pub signer: TokenIssuer,
    folder: TempDir,
    shared: Arc<Shared>,
    server: TlsServer<Shared>,
}

struct Shared {
    content: watch::Sender<Content>,
    asked: Mutex<Vec<Asked>>,
    keys: Mutex<String>,
}

#[derive(Clone, Default)]
struct Content {
    packed: Bytes,
    etag: Option<String>,
    /// In place of the bundle.
    status: Option<u16>,
    /// The connection ends half way.
    breaks_off: bool,
    /// It can wait for news, and says so.
    waits: bool,
}

/// A request for the bundle, and what became of it.
#[derive(Debug, Clone)]
pub struct Asked {
    pub authorization: Option<String>,
    pub known: Option<String>,
    pub prefer: Option<String>,
    pub answer: u16,
}

impl BundleServer {
    pub async fn start() -> Self {
        let authority = WebAuthority::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), authority.certificate_pem()).unwrap();
        let signer = TokenIssuer::new("bundles").unwrap();
        let pem = super::bundle::public_pem(&signer);
        std::fs::write(folder.path().join("key.pem"), pem).unwrap();
        let shared = Arc::new(Shared {
            content: watch::Sender::new(Content { status: Some(404), ..Content::default() }),
            asked: Mutex::default(),
            keys: Mutex::new(signer.jwks()),
        });
        let server = TlsServer::start(listener, web::localhost(&authority), &shared);
        Self { signer, folder, shared, server }
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}/bundles/orders.tar.gz", self.server.port())
    }

    pub fn keys_url(&self) -> String {
        format!("https://localhost:{}/keys.json", self.server.port())
    }

    /// The authority that vouches for it.
    pub fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// The key of its signer.
    pub fn key(&self) -> PathBuf {
        self.path("key.pem")
    }

    /// A place that lives as long as the server.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What it serves from now on, by this tag.
    pub fn publish(&self, packed: Vec<u8>, etag: &str) {
        self.change(|content| {
            content.packed = packed.into();
            content.etag = Some(format!("\"{etag}\""));
            content.status = None;
            content.breaks_off = false;
        });
    }

    pub fn answers_with(&self, status: Option<u16>) {
        self.change(|content| content.status = status);
    }

    pub fn breaks_off(&self) {
        self.change(|content| content.breaks_off = true);
    }

    pub fn has_no_tags(&self) {
        self.change(|content| content.etag = None);
    }

    pub fn can_wait(&self) {
        self.change(|content| content.waits = true);
    }

    /// What stands at [`Self::keys_url`].
    pub fn publish_keys(&self, jwks: &str) {
        jwks.clone_into(&mut self.shared.keys.lock().unwrap());
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// How often it has answered so.
    pub fn answered(&self, status: u16) -> usize {
        self.asked().iter().filter(|asked| asked.answer == status).count()
    }

    /// Waits until it has answered so this many more times.
    pub async fn answers(&self, status: u16, times: usize) {
        let before = self.answered(status);
        let what = format!("{times} more answers with {status}");
        wait::holds(&what, || self.answered(status) >= before + times).await;
    }

    pub fn stop(&self) {
        self.server.stop();
    }

    /// Brings it back to the same address.
    pub async fn back(&self) {
        self.server.back().await;
    }

    fn change(&self, change: impl FnOnce(&mut Content)) {
        self.shared.content.send_modify(change);
    }
}

impl Answers for Shared {
    fn instead(&self) -> Option<&'static [u8]> {
        let half = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf";
        self.content.borrow().breaks_off.then_some(half)
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if request.uri().path() == "/keys.json" {
            let keys = self.keys.lock().unwrap().clone();
            return Response::new(Full::new(Bytes::from(keys)));
        }
        let field = |name: &str| text(request.headers(), name);
        let (known, prefer) = (field("if-none-match"), field("prefer"));
        let wait = prefer.as_deref().and_then(|it| it.split_once("wait=")?.1.parse::<u64>().ok());
        let mut content = self.content.borrow().clone();
        let news = |content: &Content| content.etag.is_none() || content.etag != known;
        if let Some(wait) = wait.filter(|_| content.waits && !news(&content)) {
            let mut changes = self.content.subscribe();
            let waiting = changes.wait_for(|content| news(content));
            tokio::time::timeout(Duration::from_secs(wait), waiting).await.ok();
            content = self.content.borrow().clone();
        }
        let status = content.status.unwrap_or(if news(&content) { 200 } else { 304 });
        let authorization = field("authorization");
        self.asked.lock().unwrap().push(Asked { authorization, known, prefer, answer: status });
        let body = if status == 200 { content.packed } else { Bytes::new() };
        let kind = match content.waits {
            true => "application/vnd.openpolicyagent.bundles",
            false => "application/gzip",
        };
        let mut response = Response::builder().status(status).header("content-type", kind);
        if let Some(etag) = content.etag {
            response = response.header("etag", etag);
        }
        if (300..304).contains(&status) {
            response = response.header("location", "https://localhost:1/elsewhere");
        }
        response.body(Full::new(body)).unwrap()
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| value.to_str().unwrap().to_owned())
}
