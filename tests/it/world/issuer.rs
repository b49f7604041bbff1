//! An issuer of machine tokens as the network meets it: discovery, keys and a token endpoint over
//! HTTPS, with switches for what goes wrong in life.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use sidegate::dev::{TokenIssuer, WebAuthority};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::tls_server::{Answers, TlsServer};
use super::{secrets, web};

/// An issuer that listens on loopback. Dropping it takes it away.
pub struct Issuer {
    pub url: String,
    shared: Arc<Shared>,
    server: TlsServer<Shared>,
}

struct Shared {
    url: String,
    tokens: TokenIssuer,
    /// How often each path was asked for.
    asked: Mutex<BTreeMap<String, usize>>,
    /// What the token endpoint gives out: claims beside the standard ones.
    claims: Mutex<Value>,
    life: Mutex<Duration>,
    /// Bodies of the last requests for tokens.
    forms: Mutex<Vec<String>>,
    /// The `authorization` header of each of them.
    authorizations: Mutex<Vec<Option<String>>>,
    refuses: AtomicUsize,
    /// Requests for tokens wait while this is true.
    stalls: watch::Sender<bool>,
}

impl Issuer {
    /// `authority` vouches for its server.
    pub async fn start(authority: &WebAuthority) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let shared = Arc::new(Shared {
            tokens: TokenIssuer::new(&url).unwrap(),
            url: url.clone(),
            asked: Mutex::default(),
            claims: Mutex::new(json!({})),
            life: Mutex::new(Duration::from_secs(600)),
            forms: Mutex::default(),
            authorizations: Mutex::default(),
            refuses: AtomicUsize::new(0),
            stalls: watch::Sender::new(false),
        });
        let server = TlsServer::start(listener, web::localhost(authority), &shared);
        Self { url, shared, server }
    }

    /// Its keys, and the power to sign.
    pub fn tokens(&self) -> &TokenIssuer {
        &self.shared.tokens
    }

    /// What its token endpoint gives from now on: these claims, for so long.
    pub fn gives(&self, claims: Value, life: Duration) {
        *self.shared.claims.lock().unwrap() = claims;
        *self.shared.life.lock().unwrap() = life;
    }

    /// Refuses this many requests for tokens from now on.
    pub fn refuses(&self, times: usize) {
        self.shared.refuses.store(times, Ordering::SeqCst);
    }

    pub fn asked(&self, path: &str) -> usize {
        self.shared.asked.lock().unwrap().get(path).copied().unwrap_or_default()
    }

    pub fn forms(&self) -> Vec<String> {
        self.shared.forms.lock().unwrap().clone()
    }

    pub fn authorizations(&self) -> Vec<Option<String>> {
        self.shared.authorizations.lock().unwrap().clone()
    }

    /// Whether requests for tokens are left waiting.
    pub fn stalls(&self, stalls: bool) {
        self.shared.stalls.send_replace(stalls);
    }

    /// Takes the server away; its keys stay.
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
        let path = request.uri().path().to_owned();
        *self.asked.lock().unwrap().entry(path.clone()).or_default() += 1;
        match path.as_str() {
            "/.well-known/openid-configuration" => reply(json!({
                "issuer": self.url,
                "jwks_uri": format!("{}/jwks", self.url),
                "token_endpoint": format!("{}/token", self.url),
            })),
            "/jwks" => reply(serde_json::from_str(&self.tokens.jwks()).unwrap()),
            "/token" => self.token(request).await,
            _ => status(StatusCode::NOT_FOUND, json!({"error": "not_found"})),
        }
    }
}

impl Shared {
    async fn token(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let header = request.headers().get("authorization");
        let header = header.map(|value| value.to_str().unwrap().to_owned());
        self.authorizations.lock().unwrap().push(header);
        let body = request.into_body().collect().await.unwrap().to_bytes();
        self.forms.lock().unwrap().push(String::from_utf8(body.to_vec()).unwrap());
        self.stalls.subscribe().wait_for(|stalls| !stalls).await.unwrap();
        let left = self.refuses.load(Ordering::SeqCst);
        if left > 0 {
            self.refuses.store(left - 1, Ordering::SeqCst);
            return status(StatusCode::UNAUTHORIZED, json!({"error": "invalid_client"}));
        }
        let life = *self.life.lock().unwrap();
        let claims = self.claims.lock().unwrap().clone();
        let token = self.tokens.mint(expiring(claims, life)).unwrap();
        let token = secrets::keep("a token from the token endpoint", &token);
        reply(json!({"access_token": token, "token_type": "Bearer", "expires_in": life.as_secs()}))
    }
}

/// The claims with `exp` as far away as told.
pub fn expiring(mut claims: Value, life: Duration) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    claims["exp"] = json!((now + life).as_secs());
    claims
}

/// Puts a file in its place in one step, for its owner alone.
pub fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let mut aside = PathBuf::from(path);
    aside.set_extension("new");
    std::fs::write(&aside, text).unwrap();
    std::fs::set_permissions(&aside, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::rename(aside, path).unwrap();
}

fn reply(body: Value) -> Response<Full<Bytes>> {
    status(StatusCode::OK, body)
}

fn status(status: StatusCode, body: Value) -> Response<Full<Bytes>> {
    let body = Full::new(Bytes::from(body.to_string()));
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .header("cache-control", "max-age=60")
        .body(body)
        .unwrap()
}
