//! Reads certificates strictly, one extension at a time. Knows no rule of SPIFFE.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use x509_parser::certificate::{X509Certificate, X509CertificateParser};
use x509_parser::error::X509Error;
use x509_parser::extensions::{
    BasicConstraints, ExtendedKeyUsage, GeneralName, KeyUsage, SubjectAlternativeName,
};
use x509_parser::nom::Parser;
use x509_parser::oid_registry::{
    OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_EXTENDED_KEY_USAGE, OID_X509_EXT_KEY_USAGE,
    OID_X509_EXT_SUBJECT_ALT_NAME, Oid,
};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Version;

use super::error::SvidError;

/// The serial number of RFC 5280 section 4.1.2.2, in octets.
const SERIAL_MAX: usize = 20;

/// An extension's value, and whether it is critical.
pub(super) struct Extension<T> {
    pub critical: bool,
    pub value: T,
}

/// When a certificate holds; both ends count as inside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Validity {
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

impl Validity {
    pub(super) fn contains(&self, now: SystemTime) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// While both are.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            not_before: self.not_before.max(other.not_before),
            not_after: self.not_after.min(other.not_after),
        }
    }
}

/// A version 3 certificate, all of `der`, with no extension twice. Extensions stay unread, so that
/// a stranger cannot choose which of many parsers runs.
pub(super) fn read(der: &[u8]) -> Result<X509Certificate<'_>, SvidError> {
    let mut parser = X509CertificateParser::new().with_deep_parse_extensions(false);
    let Ok((rest, certificate)) = parser.parse(der) else {
        return Err(SvidError::Unreadable);
    };
    if !rest.is_empty() {
        return Err(SvidError::TrailingBytes);
    }
    if certificate.version() != X509Version::V3 {
        return Err(SvidError::NotVersion3);
    }
    let mut seen = BTreeSet::new();
    if certificate.extensions().iter().any(|extension| !seen.insert(extension.oid.as_bytes())) {
        return Err(SvidError::DuplicateExtension);
    }
    Ok(certificate)
}

pub(super) fn basic_constraints(
    certificate: &X509Certificate<'_>,
) -> Result<Option<Extension<BasicConstraints>>, SvidError> {
    extension(certificate, &OID_X509_EXT_BASIC_CONSTRAINTS)
}

pub(super) fn key_usage(
    certificate: &X509Certificate<'_>,
) -> Result<Option<Extension<KeyUsage>>, SvidError> {
    extension(certificate, &OID_X509_EXT_KEY_USAGE)
}

pub(super) fn extended_key_usage<'a>(
    certificate: &X509Certificate<'a>,
) -> Result<Option<Extension<ExtendedKeyUsage<'a>>>, SvidError> {
    extension(certificate, &OID_X509_EXT_EXTENDED_KEY_USAGE)
}

/// The URI names in their order; `critical` is that of the extension. `None` without the extension.
pub(super) fn uris<'a>(
    certificate: &X509Certificate<'a>,
) -> Result<Option<Extension<Vec<&'a str>>>, SvidError> {
    let Some(names) =
        extension::<SubjectAlternativeName<'a>>(certificate, &OID_X509_EXT_SUBJECT_ALT_NAME)?
    else {
        return Ok(None);
    };
    let mut uris = Vec::new();
    for name in names.value.general_names {
        match name {
            GeneralName::URI(uri) => uris.push(uri),
            GeneralName::Invalid(..) => return Err(SvidError::Unreadable),
            _ => {}
        }
    }
    Ok(Some(Extension { critical: names.critical, value: uris }))
}

pub(super) fn validity(certificate: &X509Certificate<'_>) -> Result<Validity, SvidError> {
    let validity = certificate.validity();
    let not_before = instant(validity.not_before.timestamp()).ok_or(SvidError::Unreadable)?;
    let not_after = instant(validity.not_after.timestamp()).ok_or(SvidError::Unreadable)?;
    Ok(Validity { not_before, not_after })
}

/// The serial number in hexadecimal, without the sign octet.
pub(super) fn serial(certificate: &X509Certificate<'_>) -> Result<String, SvidError> {
    let octets = match certificate.raw_serial() {
        [0, rest @ ..] if !rest.is_empty() => rest,
        octets => octets,
    };
    if octets.len() > SERIAL_MAX {
        return Err(SvidError::SerialTooLong);
    }
    Ok(octets.iter().map(|octet| format!("{octet:02x}")).collect())
}

/// Computed by the TLS provider, so that the program holds one implementation.
pub(super) fn sha256(bytes: &[u8]) -> Result<[u8; 32], SvidError> {
    TLS13_AES_128_GCM_SHA256
        .tls13()
        .and_then(|suite| suite.common.hash_provider.hash(bytes).as_ref().try_into().ok())
        .ok_or(SvidError::Unreadable)
}

fn extension<'a, T: FromDer<'a, X509Error>>(
    certificate: &X509Certificate<'a>,
    oid: &Oid<'_>,
) -> Result<Option<Extension<T>>, SvidError> {
    let Some(found) = certificate.extensions().iter().find(|extension| extension.oid == *oid)
    else {
        return Ok(None);
    };
    match T::from_der(found.value) {
        Ok(([], value)) => Ok(Some(Extension { critical: found.critical, value })),
        _ => Err(SvidError::Unreadable),
    }
}

fn instant(timestamp: i64) -> Option<SystemTime> {
    let distance = Duration::from_secs(timestamp.unsigned_abs());
    if timestamp < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) }
}
