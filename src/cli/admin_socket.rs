//! Talks to the admin socket of a running sidecar.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use http::header::HOST;
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::runtime::Builder;
use tokio::time::timeout;

/// Room for the longest list of revocations.
const ANSWER_MAX: usize = 64 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);

/// Which sidecar.
#[derive(Debug, Args)]
pub(super) struct Socket {
    /// The admin socket of the sidecar, as `admin.listen` names it.
    #[arg(
        long = "admin",
        value_name = "SOCKET",
        env = "SIDEGATE_ADMIN",
        default_value = "/run/sidegate/admin.sock",
        value_parser = path
    )]
    pub(super) path: PathBuf,
}

/// An answer of the sidecar.
pub(super) enum Answer {
    Done(Value),
    /// It would not, and why: the code for programs, and the message for people.
    Refused(String, String),
}

fn path(text: &str) -> Result<PathBuf, String> {
    let path = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:"));
    match path.unwrap_or(text) {
        "" => Err("the path of a socket is missing".to_owned()),
        path => Ok(PathBuf::from(path)),
    }
}

impl Socket {
    pub(super) fn ask(&self, method: Method, page: &str, body: String) -> anyhow::Result<Answer> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let asked = async { timeout(PATIENCE, exchange(&self.path, method, page, body)).await };
        runtime.block_on(asked).context("the sidecar does not answer in time")?
    }
}

async fn exchange(
    socket: &Path,
    method: Method,
    page: &str,
    body: String,
) -> anyhow::Result<Answer> {
    let stream = UnixStream::connect(socket).await.with_context(|| {
        format!("no sidecar answers at `{}`; is `admin.listen` configured?", socket.display())
    })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(page)
        .header(HOST, "sidegate")
        .body(Full::new(Bytes::from(body)))?;
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = match Limited::new(body, ANSWER_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => bail!("the answer cannot be read: {error}"),
    };
    connection.abort();
    let answer: Value = serde_json::from_slice(&body)
        .with_context(|| format!("status {} without a JSON body", head.status))?;
    if head.status.is_success() {
        return Ok(Answer::Done(answer));
    }
    let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(Answer::Refused(text("error"), text("message")))
}
