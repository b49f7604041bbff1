//! Where bundles come from, what is believed of them, and where reports go.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::files::SecretFile;
use crate::tls::RootsFrom;
use crate::token::{Algorithm, KeysFrom};
use crate::web::HttpsUrl;

/// One bundle.
#[derive(Debug, Clone)]
pub struct BundleSettings {
    /// In status reports, logs and metrics, and the name of the file that is kept.
    pub name: String,
    pub from: BundleFrom,
    pub trust: Trust,
}

/// Where the archive is.
#[derive(Debug, Clone)]
pub enum BundleFrom {
    /// Followed as it changes.
    File(PathBuf),
    Server(Box<BundleServer>),
}

/// A bundle server, and how it is asked.
#[derive(Debug, Clone)]
pub struct BundleServer {
    pub url: HttpsUrl,
    pub roots: RootsFrom,
    /// Shown to the server once it has proven its name.
    pub token: Option<SecretFile>,
    pub every: Duration,
    /// How long the server is asked to wait for news, if it can.
    pub long_poll: Option<Duration>,
    /// The folder in which the last good archive is kept.
    pub keep: Option<PathBuf>,
}

/// Whose archives are believed.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Whoever could put it there.
    Anybody,
    SignedBy(Signer),
}

/// Who signs.
#[derive(Debug, Clone)]
pub struct Signer {
    pub keys: SignerKeys,
    /// `None` is any that the key fits.
    pub algorithm: Option<Algorithm>,
    /// The name of the key. A signature that gives another one is refused.
    pub key_id: Option<String>,
    /// What the signature has to be for; a signature for something else is refused.
    pub scope: Option<String>,
}

/// Where the public keys are.
#[derive(Debug, Clone)]
pub enum SignerKeys {
    /// A `PUBLIC KEY` in PEM, read anew for each archive.
    Pem(PathBuf),
    /// A JWK set.
    Jwks { from: KeysFrom, roots: RootsFrom },
}

/// A server that takes decision logs or status reports.
#[derive(Debug, Clone)]
pub struct ReportSettings {
    pub url: HttpsUrl,
    pub roots: RootsFrom,
    /// Holds a bearer token.
    pub token_file: Option<SecretFile>,
}

/// How decisions are told to a collector.
#[derive(Debug, Clone)]
pub struct LogSettings {
    pub to: ReportSettings,
    /// In every event, beside `id` and `version`.
    pub labels: BTreeMap<String, String>,
    /// How long an event waits for company at most.
    pub every: Duration,
    /// Bytes of one upload, compressed.
    pub upload_max: usize,
    /// Bytes of all that waits.
    pub buffer_max: usize,
}

/// How it is told how things stand.
#[derive(Debug, Clone)]
pub struct StatusSettings {
    pub to: ReportSettings,
    pub labels: BTreeMap<String, String>,
    /// Also told whenever something changes.
    pub every: Duration,
}
