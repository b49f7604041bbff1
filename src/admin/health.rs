//! The probes `/startup`, `/live` and `/ready`: yes or no, and why not.

use std::fmt;
use std::future::Future;
use std::time::SystemTime;

use http::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::telemetry::Rfc3339;

use super::server::{self, Answer};

/// What the probes ask. No reasons means yes.
pub struct Checks {
    /// Why the program has not come up yet.
    pub startup: Box<dyn Fn() -> Vec<Reason> + Send + Sync>,
    /// Why no traffic should be sent here now.
    pub ready: Box<dyn Fn() -> Vec<Reason> + Send + Sync>,
    /// What is not as it should be, although traffic may come.
    pub notes: Box<dyn Fn() -> Vec<Reason> + Send + Sync>,
}

/// One thing that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Stable, for programs.
    pub code: &'static str,
    /// For people.
    pub message: String,
    pub since: Option<SystemTime>,
}

/// Answers probes until `shutdown` resolves. That this answers at all is what `/live` says.
pub async fn serve_health(
    listener: TcpListener,
    checks: Checks,
    shutdown: impl Future<Output = ()>,
) {
    let answer = move |path: &str| match path {
        "/startup" => Some(verdict("started", &(checks.startup)(), &[])),
        "/live" => Some(verdict("live", &[], &[])),
        "/ready" => Some(verdict("ready", &(checks.ready)(), &(checks.notes)())),
        _ => None,
    };
    server::serve(listener, answer, shutdown).await;
}

fn verdict(question: &str, reasons: &[Reason], notes: &[Reason]) -> Answer {
    let yes = reasons.is_empty();
    let status = if yes { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = if notes.is_empty() {
        json!({question: yes, "reasons": told(reasons)})
    } else {
        json!({question: yes, "reasons": told(reasons), "notes": told(notes)})
    };
    let body = body.to_string();
    server::text(status, "application/json", body)
}

/// As the probes tell them.
pub fn told(reasons: &[Reason]) -> Value {
    let one = |reason: &Reason| {
        let since = reason.since.map(|since| Rfc3339(since).to_string());
        json!({"code": reason.code, "message": reason.message, "since": since})
    };
    reasons.iter().map(one).collect()
}

impl fmt::Debug for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checks").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
