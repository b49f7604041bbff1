//! Judges the certificate of the peer of one connection, and remembers the verdict for it.
//!
//! The TLS library passes on only that a certificate was refused. The connection also wants to
//! know whose it was and why, without parsing a stranger's bytes a second time: the verdict waits
//! here until the handshake is over. Only then has the peer proven that it holds the key.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, PeerIncompatible, SignatureScheme,
};
use spiffe::SpiffeId;

use super::chain::{Chain, Role};
use super::error::HandshakeError;
use super::leaf::{self, Leaf, Rejected};
use super::memory::Good;
use super::peer::Peer;
use super::trust::Trust;

/// Who may be on the other end.
#[derive(Debug, Clone)]
pub(super) enum Expect {
    /// Anyone whose trust domain vouches for them; policy decides what they may.
    Any,
    /// As above, and whoever shows no certificate at all. Only for servers.
    AnyIfShown,
    /// These and nobody else. An empty list is nobody.
    OneOf(Arc<[SpiffeId]>),
}

/// What a verifier is told when its connection begins.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub trust: Arc<Trust>,
    pub expect: Expect,
    pub now: SystemTime,
    pub algorithms: WebPkiSupportedAlgorithms,
    pub allow_tls12: bool,
}

/// The verifier of one connection.
#[derive(Debug)]
pub(super) struct Verifier {
    terms: Terms,
    verdict: OnceLock<Result<Verdict, Refusal>>,
}

/// The verdict when it is yes.
#[derive(Debug)]
enum Verdict {
    /// As it has been found before.
    Known(Arc<Leaf>),
    Found(Arc<Good>),
}

/// The verdict when it is no.
#[derive(Debug, Clone)]
enum Refusal {
    Broken(Rejected),
    Unexpected { presented: SpiffeId },
}

impl Verifier {
    pub(super) fn new(terms: Terms) -> Arc<Self> {
        Arc::new(Self { terms, verdict: OnceLock::new() })
    }

    /// Mints the proof. INVARIANT: called only with a handshake that the TLS library completed,
    /// which it does not without the signature of the key in the certificate judged here.
    pub(super) fn peer(&self) -> Result<Peer, HandshakeError> {
        match self.verdict.get() {
            Some(Ok(verdict)) => {
                if let Verdict::Found(good) = verdict {
                    self.terms.trust.memory().keep(good);
                }
                Ok(Peer::proven(verdict.leaf()))
            }
            Some(Err(refusal)) => Err(refusal.clone().into()),
            None => Err(HandshakeError::NoCertificate),
        }
    }

    /// Why the handshake ended: our own verdict if it was no, else what the TLS library says.
    pub(super) fn explain(&self, error: io::Error) -> HandshakeError {
        match self.verdict.get() {
            Some(Err(refusal)) => refusal.clone().into(),
            Some(Ok(verdict)) => match HandshakeError::from_io(error) {
                HandshakeError::Refused { reason, .. } => {
                    HandshakeError::Refused { reason, claimed: Some(verdict.leaf().id.clone()) }
                }
                other => other,
            },
            None => HandshakeError::from_io(error),
        }
    }

    fn judge(&self, chain: &Chain<'_>) -> Result<(), rustls::Error> {
        let judged = self.verdict(chain);
        let answer = match &judged {
            Ok(_) => Ok(()),
            Err(refusal) => Err(refusal.alert().into()),
        };
        // One connection, one certificate: a second one would leave the first one's verdict.
        if self.verdict.set(judged).is_err() {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        answer
    }

    fn verdict(&self, chain: &Chain<'_>) -> Result<Verdict, Refusal> {
        let Terms { trust, expect, now, .. } = &self.terms;
        let verdict = match trust.memory().recall(chain, *now) {
            Some(leaf) => Verdict::Known(leaf),
            None => Verdict::Found(Arc::new(self.look(chain)?)),
        };
        match expect {
            Expect::OneOf(ids) if !ids.contains(&verdict.leaf().id) => {
                Err(Refusal::Unexpected { presented: verdict.leaf().id.clone() })
            }
            Expect::OneOf(_) | Expect::Any | Expect::AnyIfShown => Ok(verdict),
        }
    }

    /// Holds a chain to every rule and leads it to an authority.
    fn look(&self, chain: &Chain<'_>) -> Result<Good, Rejected> {
        let Terms { trust, now, algorithms, .. } = &self.terms;
        chain.within_limits()?;
        let leaf = leaf::read(chain.leaf)?;
        match trust.verify(&leaf, chain, *now, algorithms) {
            Ok(holds) => Ok(Good::new(chain, Arc::new(leaf), holds)),
            Err(reason) => Err(Rejected { reason, claimed: Some(leaf.id) }),
        }
    }

    fn tls12(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if !self.terms.allow_tls12 {
            return Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into());
        }
        verify_tls12_signature(message, certificate, signed, &self.terms.algorithms)
    }

    fn tls13(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.terms.algorithms)
    }
}

impl ClientCertVerifier for Verifier {
    /// Whoever shows a certificate is judged by it, mandatory or not.
    fn client_auth_mandatory(&self) -> bool {
        !matches!(self.terms.expect, Expect::AnyIfShown)
    }

    /// None: names of authorities would tell strangers whom we federate with.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    /// The clock is the connection's `now`, not the library's.
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.judge(&Chain { leaf: end_entity, intermediates, role: Role::Client })?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.terms.algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Verifier {
    /// A SPIFFE server is known by its ID. Its host name says nothing and is not looked at.
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge(&Chain { leaf: end_entity, intermediates, role: Role::Server })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.terms.algorithms.supported_schemes()
    }
}

impl Verdict {
    fn leaf(&self) -> &Arc<Leaf> {
        match self {
            Self::Known(leaf) => leaf,
            Self::Found(good) => good.leaf(),
        }
    }
}

impl Refusal {
    fn alert(&self) -> CertificateError {
        match self {
            Self::Broken(rejected) => rejected.reason.alert(),
            Self::Unexpected { .. } => CertificateError::ApplicationVerificationFailure,
        }
    }
}

impl From<Rejected> for Refusal {
    fn from(rejected: Rejected) -> Self {
        Self::Broken(rejected)
    }
}

impl From<Refusal> for HandshakeError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Broken(Rejected { reason, claimed }) => Self::Refused { reason, claimed },
            Refusal::Unexpected { presented } => Self::Expectation { presented },
        }
    }
}
