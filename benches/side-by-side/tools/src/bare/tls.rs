//! TLS 1.3 both ways with rustls' own chain check, and the one URI that the peer must have.
//!
//! X25519MLKEM768 first, AES-128-GCM first, and no session is ever resumed: as Sidegate.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::aws_lc_rs::cipher_suite::{
    TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, DistinguishedName,
    Error, RootCertStore, ServerConfig, ServerConnection, SignatureScheme,
};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Side;
use crate::certs;

/// Who this side is, and whom it talks to.
#[derive(Debug, Clone)]
pub(super) enum Identity {
    Client(Arc<ClientConfig>),
    Server(Arc<ServerConfig>),
}

impl Identity {
    pub(super) fn load(dir: &Path, trust_domain: &str, side: Side) -> Result<Self> {
        let (file, peer) = match side {
            Side::Client => ("client", certs::SERVER),
            Side::Server => ("server", certs::CLIENT),
        };
        let mut roots = RootCertStore::empty();
        for root in chain(&dir.join("ca.pem"))? {
            roots.add(root)?;
        }
        let own = chain(&dir.join(file).with_extension("pem"))?;
        let key = dir.join(file).with_extension("key");
        let key = PrivateKeyDer::from_pem_file(&key)
            .with_context(|| format!("cannot read {}", key.display()))?;
        let verifier = Arc::new(ExactPeer::new(roots, certs::spiffe_id(trust_domain, peer))?);
        Ok(match side {
            Side::Client => Self::Client(Arc::new(client(own, key, verifier)?)),
            Side::Server => Self::Server(Arc::new(server(own, key, verifier)?)),
        })
    }

    /// For who drives the connection himself.
    pub(super) fn connection(&self) -> Result<rustls::Connection, Error> {
        Ok(match self {
            Self::Client(config) => {
                ClientConnection::new(Arc::clone(config), server_name())?.into()
            }
            Self::Server(config) => ServerConnection::new(Arc::clone(config))?.into(),
        })
    }
}

/// A SPIFFE server has no name, only an ID; the library wants one.
pub(super) fn server_name() -> ServerName<'static> {
    ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into())
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<_, _>>();
    read().with_context(|| format!("cannot read {}", path.display()))
}

fn provider() -> CryptoProvider {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites =
        vec![TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256];
    provider
}

fn client(
    own: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    verifier: Arc<ExactPeer>,
) -> Result<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(own, key)?;
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(config)
}

fn server(
    own: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    verifier: Arc<ExactPeer>,
) -> Result<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(own, key)?;
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Accepts one SPIFFE ID under the roots, on either side.
#[derive(Debug)]
struct ExactPeer {
    roots: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
    algorithms: WebPkiSupportedAlgorithms,
    expected: String,
}

impl ExactPeer {
    fn new(roots: RootCertStore, expected: String) -> Result<Self> {
        let (roots, provider) = (Arc::new(roots), Arc::new(provider()));
        let algorithms = provider.signature_verification_algorithms;
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider).build()?;
        Ok(Self { roots, clients, algorithms, expected })
    }

    /// The chain is checked before.
    fn judge(&self, leaf: &CertificateDer<'_>) -> Result<(), Error> {
        let uri = uri(leaf).ok_or(CertificateError::BadEncoding)?;
        if uri != self.expected {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(())
    }
}

/// The URI of a leaf that has exactly one.
pub(super) fn uri<'a>(leaf: &'a CertificateDer<'_>) -> Option<&'a str> {
    let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
    let names = leaf.subject_alternative_name().ok()??;
    let mut uris = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(*uri),
        _ => None,
    });
    let uri = uris.next();
    uri.filter(|_| uris.next().is_none())
}

impl ServerCertVerifier for ExactPeer {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            algorithms,
        )?;
        self.judge(leaf)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for ExactPeer {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.clients.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.clients.verify_client_cert(leaf, intermediates, now)?;
        self.judge(leaf)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.clients.verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.clients.verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.clients.supported_verify_schemes()
    }
}
