//! The keys that bundles are signed by, as they are at the moment of use.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;

use super::bundle;
use super::error::BundleError;
use super::settings::{Signer, SignerKeys, Trust};
use crate::files::{self, Follow};
use crate::live::Changes;
use crate::policy::Source;
use crate::tls::RootsError;
use crate::token::{KeySet, SignedError, Signers, signers};

const PEM_BYTES_MAX: usize = 64 * 1024;
/// How long the last good key set serves while its server cannot be reached.
const KEYS_MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Opens archives that it believes.
#[derive(Debug)]
pub(super) struct Judge {
    trust: Trust,
    keys: Keys,
}

#[derive(Debug)]
enum Keys {
    Nobody,
    Pem(Box<PemFile>),
    Jwks(Signers, Changes),
}

#[derive(Debug)]
struct PemFile {
    follow: Follow,
    /// It has been told that the file is there.
    met: bool,
}

impl Judge {
    /// Follows the keys on the current tokio runtime.
    pub(super) fn new(trust: Trust, name: &str) -> Result<Self, RootsError> {
        let keys = match &trust {
            Trust::Anybody => Keys::Nobody,
            Trust::SignedBy(Signer { keys: SignerKeys::Pem(path), .. }) => {
                let follow = Follow::new(vec![path.clone()]);
                Keys::Pem(Box::new(PemFile { follow, met: false }))
            }
            Trust::SignedBy(Signer { keys: SignerKeys::Jwks { from, roots }, .. }) => {
                let name = format!("the signer of the bundle {name}");
                let signers = signers(name, from, roots, KEYS_MAX_AGE)?;
                let changes = signers.changes();
                Keys::Jwks(signers, changes)
            }
        };
        Ok(Self { trust, keys })
    }

    /// A policy out of an archive, if it is good. Does not block the runtime.
    pub(super) async fn open(&mut self, packed: Arc<Vec<u8>>) -> Result<Source, BundleError> {
        if let Keys::Pem(file) = &mut self.keys
            && !file.met
        {
            // The first word is no change: what is read from here on is as new as it.
            file.follow.changed().await;
            file.met = true;
        }
        let opened = self.attempt(Arc::clone(&packed)).await;
        match (&self.keys, &opened) {
            // The key may be newer than our set.
            (Keys::Jwks(signers, _), Err(BundleError::Signer(SignedError::UnknownKey)))
            | (Keys::Jwks(signers, _), Err(BundleError::NoKeys(_))) => {
                signers.ask().await;
                self.attempt(packed).await
            }
            _ => opened,
        }
    }

    async fn attempt(&self, packed: Arc<Vec<u8>>) -> Result<Source, BundleError> {
        let trust = self.trust.clone();
        let set = match &self.keys {
            Keys::Jwks(signers, _) => Some(signers.keys.snapshot()),
            Keys::Nobody | Keys::Pem(_) => None,
        };
        let opened = spawn_blocking(move || {
            let signer = match &trust {
                Trust::Anybody => return bundle::open(&packed, None),
                Trust::SignedBy(signer) => signer,
            };
            match (&signer.keys, set.as_deref()) {
                (SignerKeys::Pem(path), _) => bundle::open(&packed, Some((signer, &pem(path)?))),
                (SignerKeys::Jwks { .. }, Some(Some(keys))) => {
                    bundle::open(&packed, Some((signer, keys)))
                }
                (SignerKeys::Jwks { .. }, _) => {
                    Err(BundleError::NoKeys("the key set has not been had yet".to_owned()))
                }
            }
        });
        opened.await.unwrap_or_else(|panic| Err(BundleError::Broken(panic.to_string())))
    }

    /// Resolves when what was refused may be believed now. Cancel safe.
    pub(super) async fn changed(&mut self) {
        match &mut self.keys {
            Keys::Nobody => std::future::pending().await,
            Keys::Pem(file) => file.follow.changed().await,
            Keys::Jwks(_, changes) => changes.changed().await,
        }
    }
}

/// The key in a file. Blocks.
pub(super) fn pem(path: &Path) -> Result<KeySet, BundleError> {
    let pem = files::read(path, PEM_BYTES_MAX);
    let pem = pem.map_err(|error| BundleError::NoKeys(error.to_string()))?;
    KeySet::of_pem(&pem).map_err(|error| BundleError::NoKeys(error.to_string()))
}
