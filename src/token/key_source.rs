//! Where the key set of an issuer comes from: discovery, an address, or a file.

use std::path::PathBuf;
use std::time::Duration;

use super::discovery::Discovery;
use super::failure::Failure;
use super::pace::fresh_for;
use super::settings::KeysFrom;
use crate::files::{self, Follow};
use crate::web::{Answer, Client, HttpsUrl};

const KEYS_MOST: usize = 256 * 1024;

/// What is fetched over and over.
pub(super) trait Fetch: Send + 'static {
    fn fetch(&mut self) -> impl Future<Output = Result<Fetched, Failure>> + Send;

    /// Resolves when a fetch at once may well bring something else. Cancel safe.
    fn changed(&mut self) -> impl Future<Output = ()> + Send;
}

/// A key set as it came.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) bytes: Vec<u8>,
    /// `None`: until [`Fetch::changed`] says otherwise.
    pub(super) fresh_for: Option<Duration>,
}

#[derive(Debug)]
pub(super) enum KeySource {
    Discovery(Client, Discovery),
    Url(Client, HttpsUrl),
    File(PathBuf, Follow),
}

impl KeySource {
    /// `issuer` is whose discovery document is meant. `client` is asked for unless the keys are in a file, which is followed on the current tokio
    /// runtime.
    pub(super) fn new<E>(
        from: &KeysFrom,
        issuer: &str,
        client: impl FnOnce() -> Result<Client, E>,
    ) -> Result<Self, E> {
        Ok(match from {
            KeysFrom::Discovery => {
                let client = client()?;
                let discovery = Discovery::new(client.clone(), issuer.to_owned());
                Self::Discovery(client, discovery)
            }
            KeysFrom::Url(url) => Self::Url(client()?, url.clone()),
            KeysFrom::File(path) => Self::File(path.clone(), Follow::new(vec![path.clone()])),
        })
    }
}

impl Fetch for KeySource {
    async fn fetch(&mut self) -> Result<Fetched, Failure> {
        match self {
            Self::Discovery(client, discovery) => {
                let url = discovery.jwks().await?;
                let fetched = over_the_web(client, &url).await;
                if fetched.is_err() {
                    discovery.forget();
                }
                fetched
            }
            Self::Url(client, url) => over_the_web(client, url).await,
            Self::File(path, _) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || files::read(&path, KEYS_MOST));
                let bytes =
                    read.await.map_err(|_panic| Failure::new("the file was not read"))??;
                Ok(Fetched { bytes, fresh_for: None })
            }
        }
    }

    async fn changed(&mut self) {
        match self {
            Self::File(_, follow) => follow.changed().await,
            Self::Discovery(..) | Self::Url(..) => std::future::pending().await,
        }
    }
}

async fn over_the_web(client: &Client, url: &HttpsUrl) -> Result<Fetched, Failure> {
    let answer = client.get(url, KEYS_MOST).await?;
    let Answer { status: 200, body, max_age, .. } = answer else {
        return Err(Failure::status(url, answer.status, answer.retry_after));
    };
    Ok(Fetched { bytes: body, fresh_for: Some(fresh_for(max_age)) })
}
