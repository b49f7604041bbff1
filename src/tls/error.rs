//! Why a handshake did not give a peer: every reason with a code that stays the same.

use std::io;

use rustls::CertificateError;
use spiffe::SpiffeId;
use thiserror::Error;

/// Declares the reasons as one table: name, code, message.
macro_rules! reasons {
    ($($name:ident = $code:literal, $message:literal;)*) => {
        /// The rule of the X509-SVID profile that a certificate, or its chain, breaks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
        pub enum SvidError {
            $(#[error($message)] $name,)*
        }

        impl SvidError {
            /// Every reason there is, so that metrics can name them in advance.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word for metrics and the audit log. It never changes its meaning.
            pub fn as_code(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)*
                }
            }
        }
    };
}

reasons! {
    Unreadable = "unreadable", "the certificate is not readable DER";
    TrailingBytes = "trailing_bytes", "bytes follow the certificate";
    NotVersion3 = "not_version_3", "the certificate is not of version 3";
    DuplicateExtension = "duplicate_extension", "an extension stands twice";
    UnknownCriticalExtension = "unknown_critical_extension", "a critical extension is not known";
    SerialTooLong = "serial_too_long", "the serial number is longer than 20 octets";
    ParsersDisagree = "parsers_disagree", "two parsers read different names";
    NoUri = "no_uri", "there is no URI name";
    SeveralUris = "several_uris", "there is more than one URI name";
    IdTooLong = "spiffe_id_too_long", "the SPIFFE ID is longer than 2048 bytes";
    InvalidId = "invalid_spiffe_id", "the URI name is not a SPIFFE ID";
    IdNotCanonical = "spiffe_id_not_canonical", "the SPIFFE ID is not in canonical form";
    IdWithoutPath = "spiffe_id_without_path", "the SPIFFE ID names no workload";
    SanNotCritical = "san_not_critical", "the subject is empty and the names are not critical";
    NoBasicConstraints = "no_basic_constraints", "basic constraints are missing";
    LeafIsAuthority = "leaf_is_ca", "the certificate is an authority's";
    NoKeyUsage = "no_key_usage", "key usage is missing";
    KeyUsageNotCritical = "key_usage_not_critical", "key usage is not critical";
    NoDigitalSignature = "no_digital_signature", "key usage lacks digital signature";
    MaySignCertificates = "key_cert_sign", "key usage allows signing certificates";
    MaySignCrls = "crl_sign", "key usage allows signing revocation lists";
    ExtendedKeyUsage = "extended_key_usage", "extended key usage lacks server or client";
    Expired = "expired", "the certificate has expired";
    NotYetValid = "not_yet_valid", "the certificate is not valid yet";
    ChainTooLong = "chain_too_long", "the chain has more than 16 certificates";
    ChainTooLarge = "chain_too_large", "the chain is larger than 64 KiB";
    UnknownTrustDomain = "unknown_trust_domain", "the trust domain is not known here";
    UnknownAuthority = "unknown_authority", "no authority of the trust domain signed it";
    AuthorityOutOfTime = "authority_out_of_time", "no authority of the trust domain is valid now";
    BadSignature = "bad_signature", "a signature in the chain is wrong";
    UnsupportedSignature = "unsupported_signature", "a signature algorithm is not supported";
    IssuerUnreadable = "issuer_unreadable", "an issuer in the chain is not readable";
    IssuerOutOfTime = "issuer_out_of_time", "an issuer in the chain is not valid now";
    IssuerNotAuthority = "issuer_not_ca", "an issuer in the chain is not an authority";
    IssuerMayNotSign = "issuer_without_key_cert_sign", "an issuer may not sign certificates";
    IssuerId = "issuer_spiffe_id", "an issuer has the SPIFFE ID of a workload or stranger";
    PathLength = "path_length", "the chain is longer than an authority allows";
    NameConstraints = "name_constraints", "the name is outside an authority's constraints";
    PathTooComplex = "path_too_complex", "the chain takes too much work to check";
    KeyNotProven = "key_not_proven", "the peer does not hold the certificate's key";
}

/// Why there is no connection. Which side is at fault shows in the variant.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// Nothing has been read or written.
    #[error("this workload has no valid identity now")]
    NoIdentity,
    /// `claimed` is what the certificate says, proven by nothing: for the audit log only.
    #[error("the peer's certificate is refused")]
    Refused {
        #[source]
        reason: SvidError,
        claimed: Option<SpiffeId>,
    },
    /// The chain is good, but it is somebody else's.
    #[error("the peer is `{presented}`, which is not expected here")]
    Expectation { presented: SpiffeId },
    /// A server that is known by its name has not proven it.
    #[error("the server has not proven its name: {0}")]
    Unproven(String),
    #[error("the peer presented no certificate")]
    NoCertificate,
    #[error("the peer does not speak TLS")]
    NotTls,
    /// No version, suite or application protocol that both sides take.
    #[error("the peer offers nothing acceptable")]
    Incompatible(#[source] rustls::Error),
    #[error("the peer broke the TLS protocol")]
    Protocol(#[source] rustls::Error),
    /// The peer's alert, by its name in the TLS registry.
    #[error("the peer refused with alert `{0}`")]
    Alert(String),
    #[error("the connection broke during the handshake")]
    Io(#[source] io::Error),
}

impl HandshakeError {
    /// The word for metrics and the audit log. A refused certificate answers with its reason.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoIdentity => "identity_unavailable",
            Self::Refused { reason, .. } => reason.as_code(),
            Self::Expectation { .. } => "unexpected_identity",
            Self::Unproven(_) => "unproven_name",
            Self::NoCertificate => "no_certificate",
            Self::NotTls => "not_tls",
            Self::Incompatible(_) => "incompatible",
            Self::Protocol(_) => "protocol_error",
            Self::Alert(_) => "refused_by_peer",
            Self::Io(_) => "io",
        }
    }

    /// The ID that the peer showed, as far as one was read. Proven only for `Expectation`.
    pub fn claimed(&self) -> Option<&SpiffeId> {
        match self {
            Self::Refused { claimed, .. } => claimed.as_ref(),
            Self::Expectation { presented } => Some(presented),
            _ => None,
        }
    }

    /// What the TLS library reports when our verifier has refused nothing.
    pub(super) fn from_io(error: io::Error) -> Self {
        let Some(tls) = tls_error(&error) else {
            return Self::Io(error);
        };
        match tls {
            rustls::Error::NoCertificatesPresented => Self::NoCertificate,
            rustls::Error::AlertReceived(alert) => Self::Alert(alert_name(*alert)),
            rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => {
                Self::NotTls
            }
            rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol => {
                Self::Incompatible(tls.clone())
            }
            // Our verifier was content with the chain, so this is the handshake signature.
            rustls::Error::InvalidCertificate(_) => {
                Self::Refused { reason: SvidError::KeyNotProven, claimed: None }
            }
            _ => Self::Protocol(tls.clone()),
        }
    }
}

/// The alert by which the peer ended an established connection, if that is what `error` is.
///
/// In TLS 1.3 a client is done before the server has judged its certificate, so a server's refusal
/// reaches the client as the error of its first read or write.
pub fn peer_alert(error: &io::Error) -> Option<String> {
    match tls_error(error)? {
        rustls::Error::AlertReceived(alert) => Some(alert_name(*alert)),
        _ => None,
    }
}

impl SvidError {
    /// The alert that the peer sees. It says no more than TLS has words for.
    pub(super) fn alert(self) -> CertificateError {
        match self {
            Self::Expired
            | Self::NotYetValid
            | Self::IssuerOutOfTime
            | Self::AuthorityOutOfTime => CertificateError::Expired,
            Self::UnknownTrustDomain | Self::UnknownAuthority => CertificateError::UnknownIssuer,
            Self::BadSignature | Self::KeyNotProven => CertificateError::BadSignature,
            Self::NoBasicConstraints
            | Self::LeafIsAuthority
            | Self::NoKeyUsage
            | Self::KeyUsageNotCritical
            | Self::NoDigitalSignature
            | Self::MaySignCertificates
            | Self::MaySignCrls
            | Self::ExtendedKeyUsage => CertificateError::InvalidPurpose,
            _ => CertificateError::BadEncoding,
        }
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn alert_name(alert: rustls::AlertDescription) -> String {
    alert.as_str().map_or_else(|| format!("{alert:?}"), str::to_owned)
}
