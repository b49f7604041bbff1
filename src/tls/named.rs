//! The connecting side of a handshake with a server that is known by its name, without a
//! certificate of our own.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{UnbufferedClientConnection, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Settings;
use super::alpn::Alpn;
use super::error::HandshakeError;
use super::roots::Roots;
use super::rules::Rules;
use super::stream::ClientStream;
use super::x509::{self, Validity};
use crate::live::Live;

/// A DNS name or an IP address that a certificate can be good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(ServerName<'static>);

/// Connects to one server.
#[derive(Debug, Clone)]
pub struct NamedConnector {
    roots: Live<Roots>,
    rules: Arc<Rules>,
    name: HostName,
    alpn: Vec<Vec<u8>>,
}

/// A connection whose server has proven its name.
#[derive(Debug)]
pub struct Named<IO> {
    pub stream: ClientStream<IO>,
    pub alpn: Alpn,
    pub not_before: SystemTime,
    /// Of the server's certificate.
    pub not_after: SystemTime,
}

impl HostName {
    /// IPv6 without brackets.
    pub fn parse(text: &str) -> Option<Self> {
        ServerName::try_from(text.to_owned()).ok().map(Self)
    }
}

impl std::fmt::Display for HostName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.to_str())
    }
}

impl NamedConnector {
    /// Where a proxy speaks to the sidecar of another service, `settings` are its own; TLS 1.2
    /// is also spoken with issuers.
    pub fn new(roots: Live<Roots>, settings: Settings, name: HostName, alpn: &[Alpn]) -> Self {
        Self { roots, rules: Arc::new(Rules::new(settings)), name, alpn: Alpn::wire(alpn) }
    }

    /// Takes as long as the server does: the time limit is the caller's.
    pub async fn connect<IO>(&self, io: IO, now: SystemTime) -> Result<Named<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let verifier = Verifier::new(self.roots.load().verifier(), now);
        let judge: Arc<Verifier> = Arc::clone(&verifier);
        let mut config = self.rules.client(judge, None).map_err(HandshakeError::Protocol)?;
        // Many servers have one address, and this one's name is no secret of ours.
        config.enable_sni = true;
        config.alpn_protocols.clone_from(&self.alpn);
        let session = UnbufferedClientConnection::new(Arc::new(config), self.name.0.clone());
        let session = session.map_err(HandshakeError::Protocol)?;
        let stream = match ClientStream::shake_hands(io, session, Vec::new()).await {
            Ok(stream) => stream,
            Err(error) => return Err(verifier.explain(error)),
        };
        let Validity { not_before, not_after } = verifier.validity()?;
        let alpn = Alpn::negotiated(stream.get_ref().1.alpn_protocol());
        Ok(Named { stream, alpn, not_before, not_after })
    }
}

/// Judges the server of one connection by that connection's time, and remembers the verdict.
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    now: UnixTime,
    verdict: OnceLock<Result<Validity, String>>,
}

impl Verifier {
    fn new(inner: Arc<WebPkiServerVerifier>, now: SystemTime) -> Arc<Self> {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let now = UnixTime::since_unix_epoch(since);
        Arc::new(Self { inner, now, verdict: OnceLock::new() })
    }

    /// For a handshake that the TLS library completed.
    fn validity(&self) -> Result<Validity, HandshakeError> {
        match self.verdict.get() {
            Some(Ok(validity)) => Ok(*validity),
            Some(Err(reason)) => Err(HandshakeError::Unproven(reason.clone())),
            None => Err(HandshakeError::NoCertificate),
        }
    }

    /// Why the handshake ended: our own verdict if it was no, else what the TLS library says.
    fn explain(&self, error: io::Error) -> HandshakeError {
        if let Some(Err(reason)) = self.verdict.get() {
            return HandshakeError::Unproven(reason.clone());
        }
        match HandshakeError::from_io(error) {
            // The chain was good, so this is the handshake signature.
            HandshakeError::Refused { reason, .. } => HandshakeError::Unproven(reason.to_string()),
            other => other,
        }
    }
}

impl ServerCertVerifier for Verifier {
    /// The clock is the connection's `now`, not the library's.
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let judged = self
            .inner
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, self.now)
            .map_err(|error| (in_words(&error, server_name), error))
            .and_then(|_good| {
                x509::read(end_entity)
                    .and_then(|certificate| x509::validity(&certificate))
                    .map_err(|reason| (reason.to_string(), reason.alert().into()))
            });
        let (verdict, answer) = match judged {
            Ok(validity) => (Ok(validity), Ok(ServerCertVerified::assertion())),
            Err((words, error)) => (Err(words), Err(error)),
        };
        // One connection, one certificate: a second one would leave the first one's verdict.
        if self.verdict.set(verdict).is_err() {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        answer
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// In our own words: the library's quote the certificate, at any length.
fn in_words(error: &rustls::Error, name: &ServerName<'_>) -> String {
    use CertificateError as Bad;
    let rustls::Error::InvalidCertificate(bad) = error else {
        return "the certificate cannot be checked".to_owned();
    };
    let words = match bad {
        Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
            return format!("the certificate is not valid for `{}`", name.to_str());
        }
        Bad::UnknownIssuer => "the certificate is by an unknown authority",
        Bad::Expired | Bad::ExpiredContext { .. } => {
            "the certificate, or one of its issuers, has expired"
        }
        Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
            "the certificate, or one of its issuers, is not valid yet"
        }
        Bad::BadEncoding => "the certificate is not readable",
        Bad::BadSignature => "a signature in the chain is wrong",
        Bad::UnsupportedSignatureAlgorithmContext { .. }
        | Bad::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "a signature algorithm is not supported"
        }
        Bad::InvalidPurpose | Bad::InvalidPurposeContext { .. } => {
            "the certificate is not for servers"
        }
        Bad::UnhandledCriticalExtension => "a critical extension is not known",
        Bad::Other(other) => match other.0.downcast_ref() {
            Some(webpki::Error::CaUsedAsEndEntity) => "the certificate is an authority's",
            Some(webpki::Error::NameConstraintViolation) => {
                "the name is outside an authority's constraints"
            }
            _ => "the chain breaks a rule",
        },
        _ => "the certificate is refused",
    };
    words.to_owned()
}
