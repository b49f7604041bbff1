//! The certificate from files that callers without SPIFFE know us by.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ResolvesServerCert;
use rustls::sign::SingleCertAndKey;
use thiserror::Error;
use tokio::time::sleep;
use tracing::{error, info};
use webpki::EndEntityCert;

use super::Settings;
use super::roots::in_full;
use super::rules::Rules;
use super::x509::{self, Validity};
use crate::files::{self, FileError, Follow, SecretFile};
use crate::live::{Live, Publisher, live};
use crate::secret::Secret;

/// Far more than clients take.
const CHAIN_MAX: usize = 256 * 1024;
/// An RSA key of 16384 bits in PEM takes a fifth of it.
const KEY_MAX: usize = 64 * 1024;

/// How far the clock of whoever issues certificates may be ahead of ours.
const LEEWAY: Duration = Duration::from_secs(30);

/// What was not taken is looked at again this often.
const AGAIN: Duration = Duration::from_secs(30);

/// Where certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM, leaf first.
    pub chain: PathBuf,
    pub key: SecretFile,
}

/// A certificate for our DNS names, with its key.
pub struct Certificate {
    /// Grows by one with each change.
    pub generation: u64,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    leaf: CertificateDer<'static>,
    key: Arc<SingleCertAndKey>,
}

/// Why certificate and key cannot be used. Holds nothing of the key.
#[derive(Debug, Error)]
pub enum CertificateError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("`{path}` cannot be used: {cause}")]
    Unusable { path: PathBuf, cause: String },
}

/// How it stands with the files.
#[derive(Debug, Clone)]
pub struct CertificateStatus {
    pub not_after: SystemTime,
    /// Why what is on disk is not in use; `None` if it is.
    pub last_error: Option<String>,
}

/// Reads both, and follows them on the current tokio runtime. A pair that does not match (one of the
/// two written first) leaves the last good one in use.
pub fn certificate(
    files: CertificateFiles,
) -> Result<(Live<Certificate>, Live<CertificateStatus>), CertificateError> {
    // Before the first look, so that nothing falls between the two.
    let follow = Follow::new(vec![files.chain.clone(), files.key.path.clone()]);
    let first = OnDisk::read(&files)?;
    let followed = Followed::start(files, first, SystemTime::now())?;
    let lives = (followed.certificate.live(), followed.status.live());
    tokio::spawn(followed.run(follow));
    Ok(lives)
}

impl Certificate {
    /// Is it good for this DNS name, by the rules of those who check it?
    pub(super) fn names(&self, name: &str) -> bool {
        let Ok(name @ ServerName::DnsName(_)) = ServerName::try_from(name) else {
            return false;
        };
        EndEntityCert::try_from(&self.leaf)
            .is_ok_and(|leaf| leaf.verify_is_valid_for_subject_name(&name).is_ok())
    }

    pub(super) fn shown(&self) -> Arc<dyn ResolvesServerCert> {
        let key: Arc<SingleCertAndKey> = Arc::clone(&self.key);
        key
    }

    fn load(
        files: &CertificateFiles,
        disk: &OnDisk,
        generation: u64,
        now: SystemTime,
    ) -> Result<Self, CertificateError> {
        let unusable = |path: &PathBuf, cause: &str| CertificateError::Unusable {
            path: path.clone(),
            cause: cause.to_owned(),
        };
        let chain_is = |cause: &str| unusable(&files.chain, cause);
        let key_is = |cause: &str| unusable(&files.key.path, cause);

        let chain = CertificateDer::pem_slice_iter(&disk.chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_shows_content| chain_is("it is not PEM"))?;
        let leaf =
            chain.first().cloned().ok_or_else(|| chain_is("there is no certificate in it"))?;
        let Validity { not_before, not_after } = x509::read(&leaf)
            .and_then(|certificate| x509::validity(&certificate))
            .map_err(|reason| chain_is(&reason.to_string()))?;
        if now >= not_after {
            return Err(chain_is("the certificate has expired"));
        }
        if not_before.duration_since(now).is_ok_and(|early| early > LEEWAY) {
            return Err(chain_is("the certificate is not valid yet"));
        }

        let key = PrivateKeyDer::from_pem_slice(disk.key.expose().as_bytes())
            .map_err(|_shows_content| key_is("there is no private key in PEM in it"))?;
        let key =
            Rules::new(Settings::default()).certified(chain, key).map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => {
                    key_is("the key is not the one of the certificate")
                }
                rustls::Error::InvalidCertificate(_) => chain_is("the certificate is not readable"),
                _ => key_is("the key is of no kind that is supported"),
            })?;
        let key = Arc::new(SingleCertAndKey::from(key));
        Ok(Self { generation, not_before, not_after, leaf, key })
    }
}

/// What is in the two files.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OnDisk {
    pub chain: Vec<u8>,
    pub key: Secret,
}

impl OnDisk {
    fn read(files: &CertificateFiles) -> Result<Self, FileError> {
        Ok(Self { chain: files::read(&files.chain, CHAIN_MAX)?, key: files.key.read(KEY_MAX)? })
    }
}

/// The two files, and what is in use of them.
pub(super) struct Followed {
    pub files: CertificateFiles,
    in_use: OnDisk,
    pub certificate: Publisher<Certificate>,
    pub status: Publisher<CertificateStatus>,
}

impl Followed {
    pub(super) fn start(
        files: CertificateFiles,
        first: OnDisk,
        now: SystemTime,
    ) -> Result<Self, CertificateError> {
        let certificate = Certificate::load(&files, &first, 1, now)?;
        let status = CertificateStatus { not_after: certificate.not_after, last_error: None };
        let ((certificate, _), (status, _)) = (live(certificate), live(status));
        Ok(Self { files, in_use: first, certificate, status })
    }

    pub(super) async fn run(mut self, mut follow: Follow) {
        loop {
            tokio::select! {
                () = follow.changed() => {}
                // The time of one that was refused may come without a change.
                () = sleep(AGAIN), if self.last_error().is_some() => {}
            }
            let files = self.files.clone();
            // A failed task is one that the runtime stopped.
            let Ok(read) = tokio::task::spawn_blocking(move || OnDisk::read(&files)).await else {
                return;
            };
            self.take(read, SystemTime::now());
        }
    }

    pub(super) fn take(&mut self, read: Result<OnDisk, FileError>, now: SystemTime) {
        let in_use = self.certificate.live().snapshot();
        let next = match read {
            Ok(disk) if disk == self.in_use => Ok(None),
            Ok(disk) => Certificate::load(&self.files, &disk, in_use.generation + 1, now)
                .map(|certificate| Some((disk, certificate))),
            Err(problem) => Err(problem.into()),
        };
        let path = self.files.chain.display();
        match next {
            Ok(Some((disk, certificate))) => {
                let (generation, not_after) = (certificate.generation, certificate.not_after);
                info!(%path, generation, "a new certificate is in use");
                self.in_use = disk;
                self.certificate.publish(certificate);
                self.tell(not_after, None);
            }
            Ok(None) => {
                if self.last_error().is_some() {
                    info!(%path, "the certificate in use is on disk again");
                    self.tell(in_use.not_after, None);
                }
            }
            Err(problem) => {
                let text = Some(in_full(&problem));
                if self.last_error() != text {
                    let problem = text.as_deref();
                    error!(%path, problem, "the certificate on disk is not taken into use");
                    self.tell(in_use.not_after, text);
                }
            }
        }
    }

    fn last_error(&self) -> Option<String> {
        self.status.live().load().last_error.clone()
    }

    fn tell(&self, not_after: SystemTime, last_error: Option<String>) {
        self.status.publish(CertificateStatus { not_after, last_error });
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("generation", &self.generation)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}
