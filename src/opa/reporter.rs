//! A server that takes reports, and how it is spoken to.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use super::settings::ReportSettings;
use crate::files::SecretFile;
use crate::secret::Secret;
use crate::tls;
use crate::web::{Client, HttpsUrl, Post};

/// What is read of an answer: only its status counts.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const TOKEN_BYTES_MAX: usize = 16 * 1024;
const WITHIN: Duration = Duration::from_secs(30);

/// Where reports of one kind go.
#[derive(Debug)]
pub(super) struct Reporter {
    client: Client,
    url: HttpsUrl,
    token_file: Option<SecretFile>,
}

/// Why a report was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NotTaken {
    pub status: Option<u16>,
    pub message: String,
    pub retry_after: Option<Duration>,
}

impl Reporter {
    pub(super) fn new(settings: &ReportSettings) -> Result<Self, tls::RootsError> {
        let client = Client::new(tls::roots(&settings.roots)?);
        let (url, token_file) = (settings.url.clone(), settings.token_file.clone());
        Ok(Self { client, url, token_file })
    }

    /// One attempt.
    pub(super) async fn post(
        &self,
        body: Bytes,
        encoding: Option<&'static str>,
    ) -> Result<(), NotTaken> {
        let failed = |message| NotTaken { status: None, message, retry_after: None };
        let token = self.token().await.map_err(failed)?;
        let post = Post {
            content_type: "application/json",
            encoding,
            bearer: token.as_ref(),
            within: Some(WITHIN),
            body,
        };
        let answer = self.client.post(&self.url, post, ANSWER_BYTES_MAX).await;
        let answer = answer.map_err(|error| failed(error.to_string()))?;
        if (200..300).contains(&answer.status) {
            return Ok(());
        }
        Err(NotTaken {
            status: Some(answer.status),
            message: format!("the server answered with status {}", answer.status),
            retry_after: answer.retry_after,
        })
    }

    /// Read anew for each report, so that one which was replaced is in use at once.
    async fn token(&self) -> Result<Option<Secret>, String> {
        let Some(file) = self.token_file.clone() else { return Ok(None) };
        let read = move || file.read(TOKEN_BYTES_MAX).map(|token| (token, file.path));
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok((token, path))) => trimmed(&token, &path).map(Some),
            Ok(Err(error)) => Err(error.to_string()),
            Err(panic) => Err(panic.to_string()),
        }
    }
}

/// Files end in a line break, headers must not.
fn trimmed(token: &Secret, path: &Path) -> Result<Secret, String> {
    let text = token.expose().trim();
    if text.is_empty() {
        return Err(format!("`{}` is empty", path.display()));
    }
    Ok(Secret::new(text.to_owned()))
}
