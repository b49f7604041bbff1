//! Whom we believe about servers that are known by name: the system's authorities, or those of a
//! file.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;
use tracing::{error, info, warn};

use super::Settings;
use super::error::SvidError;
use super::rules::Rules;
use super::x509;
use crate::files::{self, FileError, Follow};
use crate::live::{Live, Publisher, live};

/// The largest file of authorities: four times what a Linux distribution brings.
const FILE_MAX: usize = 1024 * 1024;

/// Where the authorities are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RootsFrom {
    System,
    /// PEM, one certificate or several.
    File(PathBuf),
}

/// Authorities of web servers, ready for handshakes. Nothing to do with SPIFFE trust bundles.
pub struct Roots {
    verifier: Arc<WebPkiServerVerifier>,
    authorities: usize,
}

/// Why there are no authorities.
#[derive(Debug, Error)]
pub enum RootsError {
    #[error("no certificate authorities found on this system")]
    NoSystemRoots,
    #[error(transparent)]
    File(#[from] FileError),
    #[error("`{path}` holds no usable certificate: {cause}")]
    Unusable { path: PathBuf, cause: String },
}

/// Reads the authorities, and follows a file of them on the current tokio runtime: a file that is
/// broken later leaves the last good ones in force and is logged once.
pub fn roots(from: &RootsFrom) -> Result<Live<Roots>, RootsError> {
    match from {
        RootsFrom::System => Roots::of_system().map(Live::fixed),
        RootsFrom::File(path) => {
            // Before the first look, so that nothing falls between the two.
            let follow = Follow::new(vec![path.clone()]);
            let followed = Followed::start(path, files::read(path, FILE_MAX)?)?;
            let roots = followed.roots.live();
            tokio::spawn(followed.run(follow));
            Ok(roots)
        }
    }
}

impl Roots {
    pub(super) fn verifier(&self) -> Arc<WebPkiServerVerifier> {
        Arc::clone(&self.verifier)
    }

    fn of_system() -> Result<Self, RootsError> {
        let found = rustls_native_certs::load_native_certs();
        for problem in &found.errors {
            warn!("some of the system's certificate authorities cannot be read: {problem}");
        }
        Self::of(&found.certs).map_err(|_cause| RootsError::NoSystemRoots)
    }

    /// What is no authority is left out, as long as there is one.
    fn of_pem(path: &Path, bytes: &[u8]) -> Result<Self, RootsError> {
        let unusable = |cause| RootsError::Unusable { path: path.to_owned(), cause };
        let certificates = CertificateDer::pem_slice_iter(bytes)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_shows_content| unusable("it is not PEM".to_owned()))?;
        Self::of(&certificates).map_err(unusable)
    }

    fn of(certificates: &[CertificateDer<'static>]) -> Result<Self, String> {
        let mut store = RootCertStore::empty();
        let mut left_out = None;
        for der in certificates {
            match may_vouch(der) {
                Ok(()) if store.add(der.clone()).is_ok() => {}
                Ok(()) => left_out = Some(SvidError::Unreadable),
                Err(why) => left_out = Some(why),
            }
        }
        let authorities = store.len();
        let provider = Arc::clone(Rules::new(Settings::default()).provider());
        WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider)
            .build()
            .map(|verifier| Self { verifier, authorities })
            .map_err(|_empty| match left_out {
                Some(why) => why.to_string(),
                None => "there is none in it".to_owned(),
            })
    }
}

/// The path builder takes every anchor at its word, also a server's certificate.
fn may_vouch(der: &CertificateDer<'_>) -> Result<(), SvidError> {
    let certificate = x509::read(der)?;
    let constraints =
        x509::basic_constraints(&certificate)?.ok_or(SvidError::NoBasicConstraints)?;
    if !constraints.value.ca {
        return Err(SvidError::IssuerNotAuthority);
    }
    if x509::key_usage(&certificate)?.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(SvidError::IssuerMayNotSign);
    }
    Ok(())
}

/// A file of authorities, and what is in force of it.
pub(super) struct Followed {
    path: PathBuf,
    bytes: Vec<u8>,
    /// What has been said of the file as it is now.
    problem: Option<String>,
    pub roots: Publisher<Roots>,
}

impl Followed {
    pub(super) fn start(path: &Path, bytes: Vec<u8>) -> Result<Self, RootsError> {
        let (roots, _) = live(Roots::of_pem(path, &bytes)?);
        Ok(Self { path: path.to_owned(), bytes, problem: None, roots })
    }

    async fn run(mut self, mut follow: Follow) {
        loop {
            follow.changed().await;
            let path = self.path.clone();
            // A failed task is one that the runtime stopped.
            let Ok(read) = tokio::task::spawn_blocking(move || files::read(&path, FILE_MAX)).await
            else {
                return;
            };
            self.take(read);
        }
    }

    pub(super) fn take(&mut self, read: Result<Vec<u8>, FileError>) {
        let path = self.path.display();
        let next = match read {
            Ok(bytes) if bytes == self.bytes => Ok(None),
            Ok(bytes) => Roots::of_pem(&self.path, &bytes).map(|roots| Some((bytes, roots))),
            Err(problem) => Err(problem.into()),
        };
        match next {
            Ok(Some((bytes, roots))) => {
                info!(%path, authorities = roots.authorities, "new certificate authorities");
                self.bytes = bytes;
                self.problem = None;
                self.roots.publish(roots);
            }
            Ok(None) => {
                if self.problem.take().is_some() {
                    info!(%path, "the certificate authorities in use are on disk again");
                }
            }
            Err(problem) => {
                let text = in_full(&problem);
                if self.problem.as_ref() != Some(&text) {
                    error!("certificate authorities are not taken into use: {text}");
                    self.problem = Some(text);
                }
            }
        }
    }
}

/// An error with its causes, in one line.
pub(super) fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roots").field("authorities", &self.authorities).finish_non_exhaustive()
    }
}
