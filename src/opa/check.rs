//! What can be said of a bundle before the start, without asking anybody.

use thiserror::Error;

use super::bundle::{self, read_file};
use super::error::BundleError;
use super::settings::{BundleFrom, BundleSettings, Signer, SignerKeys, Trust};
use super::signer::pem;
use crate::policy;
use crate::tls::{self, RootsError};

/// What is wrong with it.
#[derive(Debug, Error)]
pub enum CheckError {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("the authorities of a server")]
    Roots(#[from] RootsError),
}

/// What following it would refuse, or never come to an end with. No server is asked. Blocks.
pub fn check(settings: &BundleSettings) -> Result<(), CheckError> {
    match &settings.trust {
        Trust::SignedBy(Signer { keys: SignerKeys::Pem(path), .. }) => {
            drop(pem(path)?);
        }
        Trust::SignedBy(Signer { keys: SignerKeys::Jwks { roots, .. }, .. }) => {
            drop(tls::roots(roots)?);
        }
        Trust::Anybody => {}
    }
    match (&settings.from, &settings.trust) {
        (BundleFrom::Server(server), _) => drop(tls::roots(&server.roots)?),
        (BundleFrom::File(path), Trust::SignedBy(signer)) => {
            let packed = read_file(path)?;
            if let SignerKeys::Pem(key) = &signer.keys {
                let source = bundle::open(&packed, Some((signer, &pem(key)?)))?;
                policy::compile(source).map_err(BundleError::from)?;
            }
        }
        (BundleFrom::File(_), Trust::Anybody) => {}
    }
    Ok(())
}
