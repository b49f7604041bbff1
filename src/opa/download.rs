//! One question to a bundle server: is there another archive than the one we know?

use std::time::Duration;

use super::limits::COMPRESSED_MAX;
use super::settings::BundleServer;
use crate::files::SecretFile;
use crate::secret::Secret;
use crate::tls::{self, RootsError};
use crate::web::{Answer, Client, Wants};

/// What a server calls an archive that also says that it can wait for news.
const BUNDLES: &str = "application/vnd.openpolicyagent.bundles";
const ACCEPT: &str =
    "application/vnd.openpolicyagent.bundles, application/gzip, application/octet-stream";
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// For an archive of the largest size, over a slow line.
const TRANSFER_MOST: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Download {
    client: Client,
    server: BundleServer,
    /// The server has shown that it can wait.
    waits: bool,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Fetched {
    /// With the tag by which it is to be asked for.
    Archive { packed: Vec<u8>, etag: Option<String> },
    /// What we know is what there is.
    Unchanged,
}

/// Why nothing came.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) message: String,
    pub(super) http_code: Option<u16>,
    pub(super) retry_after: Option<Duration>,
}

impl Download {
    pub(super) fn new(server: BundleServer) -> Result<Self, RootsError> {
        let client = Client::new(tls::roots(&server.roots)?);
        Ok(Self { client, server, waits: true })
    }

    /// `known` is the tag of what was judged last.
    pub(super) async fn fetch(&mut self, known: Option<&str>) -> Result<Fetched, Failure> {
        let token = match &self.server.token {
            Some(file) => Some(read_token(file.clone()).await?),
            None => None,
        };
        let wait = self.server.long_poll.filter(|_| self.waits);
        let prefer = match wait {
            Some(wait) => format!("modes=snapshot;wait={}", wait.as_secs()),
            None => "modes=snapshot".to_owned(),
        };
        let wants = Wants {
            accept: Some(ACCEPT),
            bearer: token.as_ref(),
            known,
            prefer: Some(prefer),
            within: Some(TRANSFER_MOST.saturating_add(wait.unwrap_or_default())),
        };
        let answer = self.client.fetch(&self.server.url, &wants, COMPRESSED_MAX).await;
        let answer = answer.map_err(|error| Failure::new(error.to_string()))?;
        self.read(answer, known.is_some())
    }

    /// Whether the next question may follow at once, since the server lets it wait for news.
    pub(super) fn is_waiting(&self) -> bool {
        self.waits && self.server.long_poll.is_some()
    }

    fn read(&mut self, answer: Answer, known: bool) -> Result<Fetched, Failure> {
        match answer.status {
            200 if answer.body.is_empty() => Err(Failure::new("the answer is empty".to_owned())),
            200 => {
                self.waits = answer.content_type.as_deref() == Some(BUNDLES);
                Ok(Fetched::Archive { packed: answer.body, etag: answer.etag })
            }
            304 if known => Ok(Fetched::Unchanged),
            status => {
                let more = match status {
                    300..400 => ", and redirects are not followed",
                    _ => "",
                };
                let message = format!("the bundle server answered with status {status}{more}");
                let (http_code, retry_after) = (Some(status), answer.retry_after);
                Err(Failure { message, http_code, retry_after })
            }
        }
    }
}

impl Failure {
    fn new(message: String) -> Self {
        Self { message, http_code: None, retry_after: None }
    }
}

async fn read_token(file: SecretFile) -> Result<Secret, Failure> {
    let read = tokio::task::spawn_blocking(move || file.read(TOKEN_BYTES_MAX)).await;
    let token = match read {
        Ok(Ok(token)) => token,
        Ok(Err(error)) => return Err(Failure::new(format!("no token: {error}"))),
        Err(panic) => return Err(Failure::new(format!("no token: {panic}"))),
    };
    match crate::token::is_b64token(token.expose()) {
        true => Ok(token),
        false => Err(Failure::new("the token is not one line of token characters".to_owned())),
    }
}
