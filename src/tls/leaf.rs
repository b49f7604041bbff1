//! What a leaf certificate says, held to every leaf rule of the X509-SVID specification.
//!
//! Pure, and the first to touch a stranger's bytes. Knows no clock, no trust bundle and no
//! connection: that the claim is true is for `trust` to find out.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use spiffe::SpiffeId;
use webpki::EndEntityCert;
use x509_parser::certificate::X509Certificate;

use super::error::SvidError;
use super::x509::{self, Validity};

/// SPIFFE-ID section 2.3.
const ID_MAX: usize = 2048;

/// A certificate that keeps the profile. Not yet proven by anyone's signature.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub id: SpiffeId,
    /// The SPIFFE ID in its canonical form, byte for byte the certificate's.
    pub uri: Arc<str>,
    pub sha256: [u8; 32],
    pub serial: String,
    pub validity: Validity,
}

/// A broken rule, and the ID that was claimed if the certificate got as far as having one.
#[derive(Debug, Clone)]
pub(super) struct Rejected {
    pub reason: SvidError,
    pub claimed: Option<SpiffeId>,
}

pub(super) fn read(der: &CertificateDer<'_>) -> Result<Leaf, Rejected> {
    let certificate = x509::read(der)?;
    let second = EndEntityCert::try_from(der).map_err(second_opinion)?;
    let names = Names::of(&certificate, &second)?;
    let id = identity(names.uri)?;
    let leaf = || {
        if !names.critical && second.subject().is_empty() {
            return Err(SvidError::SanNotCritical);
        }
        keep_profile(&certificate)?;
        Ok(Leaf {
            id: id.clone(),
            uri: Arc::from(names.uri),
            sha256: x509::sha256(der)?,
            serial: x509::serial(&certificate)?,
            validity: x509::validity(&certificate)?,
        })
    };
    leaf().map_err(|reason| Rejected { reason, claimed: Some(id.clone()) })
}

struct Names<'a> {
    uri: &'a str,
    critical: bool,
}

impl<'a> Names<'a> {
    /// The one URI name on which both parsers agree. Whoever signed may have used a third parser:
    /// a certificate that can be read in two ways names nobody.
    fn of(
        certificate: &X509Certificate<'a>,
        second: &EndEntityCert<'_>,
    ) -> Result<Self, SvidError> {
        let names = x509::uris(certificate)?.ok_or(SvidError::NoUri)?;
        if !second.valid_uri_names().eq(names.value.iter().copied()) {
            return Err(SvidError::ParsersDisagree);
        }
        match names.value[..] {
            [] => Err(SvidError::NoUri),
            [uri] => Ok(Self { uri, critical: names.critical }),
            _ => Err(SvidError::SeveralUris),
        }
    }
}

/// A workload's SPIFFE ID, written the one way there is to write it.
fn identity(uri: &str) -> Result<SpiffeId, SvidError> {
    if uri.len() > ID_MAX {
        return Err(SvidError::IdTooLong);
    }
    let Ok(id) = SpiffeId::new(uri) else {
        return Err(SvidError::InvalidId);
    };
    // The parser folds the case of scheme and trust domain; section 2.1 demands lower case.
    if id.to_string() != uri {
        return Err(SvidError::IdNotCanonical);
    }
    if id.path().is_empty() {
        return Err(SvidError::IdWithoutPath);
    }
    Ok(id)
}

/// X509-SVID sections 4 and 5.2, and appendix A.
fn keep_profile(certificate: &X509Certificate<'_>) -> Result<(), SvidError> {
    let constraints = x509::basic_constraints(certificate)?.ok_or(SvidError::NoBasicConstraints)?;
    if constraints.value.ca {
        return Err(SvidError::LeafIsAuthority);
    }

    let usage = x509::key_usage(certificate)?.ok_or(SvidError::NoKeyUsage)?;
    if usage.value.key_cert_sign() {
        return Err(SvidError::MaySignCertificates);
    }
    if usage.value.crl_sign() {
        return Err(SvidError::MaySignCrls);
    }
    if !usage.value.digital_signature() {
        return Err(SvidError::NoDigitalSignature);
    }
    if !usage.critical {
        return Err(SvidError::KeyUsageNotCritical);
    }

    match x509::extended_key_usage(certificate)? {
        Some(extended) if !(extended.value.server_auth && extended.value.client_auth) => {
            Err(SvidError::ExtendedKeyUsage)
        }
        Some(_) | None => Ok(()),
    }
}

fn second_opinion(error: webpki::Error) -> SvidError {
    match error {
        webpki::Error::UnsupportedCriticalExtension => SvidError::UnknownCriticalExtension,
        webpki::Error::TrailingData(_) => SvidError::TrailingBytes,
        _ => SvidError::Unreadable,
    }
}

impl From<SvidError> for Rejected {
    fn from(reason: SvidError) -> Self {
        Self { reason, claimed: None }
    }
}
