//! A collector of OPA's decision logs and status reports, with switches for what goes wrong in life.

use std::collections::VecDeque;
use std::future::pending;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use sidegate::dev::WebAuthority;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::tls_server::{Answers, TlsServer};
use super::{wait, web};

/// A collector on loopback. Dropping it takes it away.
pub struct Collector {
    folder: TempDir,
    shared: Arc<Shared>,
    server: TlsServer<Shared>,
}

#[derive(Default)]
struct Shared {
    posts: Mutex<Vec<Post>>,
    /// The next answers, with the seconds after which to come again; then 200.
    answers: Mutex<VecDeque<(u16, Option<u64>)>>,
    silent: Mutex<bool>,
}

/// What came, and what became of it.
#[derive(Debug, Clone)]
pub struct Post {
    pub at: Instant,
    pub path: String,
    pub authorization: Option<String>,
    /// Of its body, as it came.
    pub bytes: usize,
    pub body: Value,
    /// 0 is no answer at all.
    pub answer: u16,
}

impl Collector {
    pub async fn start() -> Self {
        let authority = WebAuthority::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), authority.certificate_pem()).unwrap();
        let shared = Arc::default();
        let server = TlsServer::start(listener, web::localhost(&authority), &shared);
        Self { folder, shared, server }
    }

    /// `decision_log` or `status` with this as its collector, and more keys.
    pub fn takes(&self, key: &str, more: Value) -> Value {
        let url = format!("https://localhost:{}/{key}", self.server.port());
        let mut keys = json!({"url": url, "ca": self.ca()});
        keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ key: keys })
    }

    pub fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// A place that lives as long as the collector.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Everything that came, taken or not.
    pub fn posts(&self) -> Vec<Post> {
        self.shared.posts.lock().unwrap().clone()
    }

    /// The events that it has taken, in their order.
    pub fn events(&self) -> Vec<Value> {
        let posts = self.posts().into_iter();
        let taken = posts.filter(|post| post.answer == 200 && post.path == "/decision_log");
        taken.flat_map(|post| post.body.as_array().unwrap().clone()).collect()
    }

    /// Waits until it has taken this many events in all.
    pub async fn has(&self, count: usize) -> Vec<Value> {
        wait::until(&format!("{count} events"), async || {
            Some(self.events()).filter(|events| events.len() >= count)
        })
        .await
    }

    /// Waits for a report in which this holds, and gives the first one.
    pub async fn report(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        wait::until(what, async || {
            let posts = self.posts().into_iter().filter(|post| post.path == "/status");
            posts.map(|post| post.body).find(&holds)
        })
        .await
    }

    /// What it answers next: a status, and the seconds after which to come again.
    pub fn answers<const N: usize>(&self, answers: [(u16, Option<u64>); N]) {
        self.shared.answers.lock().unwrap().extend(answers);
    }

    /// From now on it takes what comes and never answers.
    pub fn falls_silent(&self) {
        *self.shared.silent.lock().unwrap() = true;
    }

    pub fn stop(&self) {
        self.server.stop();
    }

    /// Brings it back to the same address.
    pub async fn back(&self) {
        self.server.back().await;
    }
}

impl Answers for Shared {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        assert_eq!(request.method(), Method::POST);
        let field = |name: &str| {
            let value = request.headers().get(name);
            value.map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(field("content-type").as_deref(), Some("application/json"));
        let (path, authorization) = (request.uri().path().to_owned(), field("authorization"));
        let packed = field("content-encoding");
        let Ok(body) = request.into_body().collect().await else { return Response::default() };
        let body = body.to_bytes();
        let mut text = String::new();
        match packed.as_deref() {
            Some("gzip") => GzDecoder::new(&*body).read_to_string(&mut text).unwrap(),
            _ => (&*body).read_to_string(&mut text).unwrap(),
        };
        assert_eq!(packed.is_some(), path == "/decision_log");
        let silent = *self.silent.lock().unwrap();
        let next = self.answers.lock().unwrap().pop_front();
        let (status, again) = next.unwrap_or((200, None));
        let answer = if silent { 0 } else { status };
        let body_json = serde_json::from_str(&text).unwrap();
        let (at, bytes) = (Instant::now(), body.len());
        let post = Post { at, path, authorization, bytes, body: body_json, answer };
        self.posts.lock().unwrap().push(post);
        if silent {
            return pending().await;
        }
        let mut response = Response::builder().status(status);
        if let Some(again) = again {
            response = response.header("retry-after", again);
        }
        response.body(Full::default()).unwrap()
    }
}
