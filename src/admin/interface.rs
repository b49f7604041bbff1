//! The admin interface: HTTP/1.1 with JSON on a Unix socket. Who may connect is a question of the
//! socket's file rights.

use std::fmt;
use std::future::Future;

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::net::UnixListener;

use super::refused::Refused;
use super::revocations;
use super::server::{self, Answer, Service, Visitor};
use crate::policy::Revoker;

/// Room for some ten thousand entries.
const BODY_MAX: usize = 2 * 1024 * 1024;

/// How much of a body that is too large is still read: a client that is cut while it sends may
/// never see what it was answered.
const UNREAD_MAX: usize = 8 * BODY_MAX;

/// What can be read, made anew each time.
pub struct Pages {
    /// How it stands with everything.
    pub status: Box<dyn Fn() -> Value + Send + Sync>,
    /// What the policy in force is, and what it looks at.
    pub policy: Box<dyn Fn() -> Value + Send + Sync>,
    /// What the shadow policy would change; `None` where there is none.
    pub shadow: Box<dyn Fn() -> Option<Value> + Send + Sync>,
}

struct Interface {
    pages: Pages,
    revoker: Revoker,
}

/// Answers operators until `shutdown` resolves.
pub async fn serve_interface(
    listener: UnixListener,
    pages: Pages,
    revoker: Revoker,
    shutdown: impl Future<Output = ()>,
) {
    server::serve_all(listener, Interface { pages, revoker }, shutdown).await;
}

impl Service for Interface {
    async fn answer(&self, request: Request<Incoming>, visitor: Visitor) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let done = match (path.as_str(), &method) {
            ("/v1/status", &Method::GET) => Ok((self.pages.status)()),
            ("/v1/policy", &Method::GET) => Ok((self.pages.policy)()),
            ("/v1/shadow", &Method::GET) => (self.pages.shadow)().ok_or_else(|| {
                let message = "no shadow policy is configured";
                Refused::new(StatusCode::NOT_FOUND, "not_found", message)
            }),
            ("/v1/revocations", &Method::GET) => Ok(revocations::list(&self.revoker)),
            ("/v1/revocations", &(Method::POST | Method::DELETE)) => {
                self.change(request, visitor).await
            }
            ("/v1/status" | "/v1/policy" | "/v1/shadow", _) => return server::not_allowed("GET"),
            ("/v1/revocations", _) => return server::not_allowed("GET, POST, DELETE"),
            _ => Err(Refused::new(StatusCode::NOT_FOUND, "not_found", "there is no such page")),
        };
        let (status, body) = match done {
            Ok(body) => (StatusCode::OK, body),
            Err(refused) => {
                let told = json!({"error": refused.code, "message": refused.message});
                (refused.status, told)
            }
        };
        server::text(status, "application/json", body.to_string())
    }
}

impl Interface {
    async fn change(&self, request: Request<Incoming>, visitor: Visitor) -> Result<Value, Refused> {
        let lift = *request.method() == Method::DELETE;
        let mut body = request.into_body();
        let body = match Limited::new(&mut body, BODY_MAX).collect().await {
            Ok(whole) => whole.to_bytes(),
            Err(error) => {
                let mut rest = Limited::new(body, UNREAD_MAX);
                while let Some(Ok(_)) = rest.frame().await {}
                return Err(Refused::bad(format!("the body cannot be read: {error}")));
            }
        };
        let revoker = self.revoker.clone();
        let by = visitor.to_string();
        // The file that keeps them is written meanwhile.
        let changed = tokio::task::spawn_blocking(move || match lift {
            true => revocations::lift(&revoker, &body, &by),
            false => revocations::revoke(&revoker, &body, by),
        });
        changed.await.unwrap_or_else(|error| {
            let message = error.to_string();
            Err(Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message))
        })
    }
}

impl fmt::Display for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.uid, self.pid) {
            (Some(uid), Some(pid)) => write!(f, "uid {uid}, pid {pid}"),
            (Some(uid), None) => write!(f, "uid {uid}"),
            (None, _) => f.write_str("unknown"),
        }
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").finish_non_exhaustive()
    }
}
