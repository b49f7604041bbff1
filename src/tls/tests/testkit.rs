//! A small authority that makes any certificate, above all wrong ones, and a peer without manners.
//!
//! Certificates are written DER item by DER item: the libraries that make certificates refuse to
//! make most of what has to be refused.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::prelude::{BASE64_STANDARD, Engine};
use rcgen::{KeyPair, PublicKeyData, SigningKey};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// The moment at which the tests take place: in 2046, so that no certificate made for it has run
/// out by the real clock.
pub const NOW: u64 = 2_400_000_000;
pub const HOUR: i64 = 3600;

pub const DIGITAL_SIGNATURE: u16 = 1 << 15;
pub const KEY_CERT_SIGN: u16 = 1 << 10;
pub const CRL_SIGN: u16 = 1 << 9;
pub const KEY_ENCIPHERMENT: u16 = 1 << 13;

pub const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
pub const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];
pub const ANY_PURPOSE: &[u8] = &[0x55, 0x1d, 0x25, 0];

const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];

pub fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

/// `seconds` from the moment of the tests.
pub fn at(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW.strict_add_signed(seconds))
}

/// A general name.
#[derive(Clone)]
pub enum Name {
    Uri(Vec<u8>),
    Dns(&'static str),
    Ip([u8; 4]),
    /// A URI with the constructed bit set: parsers differ about it.
    ConstructedUri(&'static str),
}

pub fn uri(text: &str) -> Name {
    Name::Uri(text.as_bytes().to_vec())
}

/// A certificate on the drawing board. Starts out right.
#[derive(Clone)]
pub struct Draft {
    pub version: Option<u8>,
    pub serial: Vec<u8>,
    pub subject: &'static str,
    pub valid: (i64, i64),
    pub san: Option<(bool, Vec<Name>)>,
    pub constraints: Option<(bool, Option<u8>)>,
    pub usage: Option<(bool, u16)>,
    pub purposes: Option<Vec<&'static [u8]>>,
    /// Whole extensions, as made by [`extension`].
    pub more: Vec<Vec<u8>>,
    pub trailing: Vec<u8>,
}

impl Draft {
    pub fn leaf(id: &str) -> Self {
        Self {
            version: Some(2),
            serial: vec![0, 0xab, 0xcd],
            subject: "workload",
            valid: (-HOUR, HOUR),
            san: Some((false, vec![uri(id)])),
            constraints: Some((false, None)),
            usage: Some((true, DIGITAL_SIGNATURE | KEY_ENCIPHERMENT)),
            purposes: Some(vec![SERVER_AUTH, CLIENT_AUTH]),
            more: Vec::new(),
            trailing: Vec::new(),
        }
    }

    pub fn authority(id: &str, subject: &'static str) -> Self {
        Self {
            subject,
            constraints: Some((true, None)),
            usage: Some((true, KEY_CERT_SIGN | CRL_SIGN)),
            purposes: None,
            ..Self::leaf(id)
        }
    }

    /// Of a web server: no SPIFFE ID.
    pub fn server(names: &[Name]) -> Self {
        Self {
            subject: "server",
            san: Some((false, names.to_vec())),
            purposes: Some(vec![SERVER_AUTH]),
            ..Self::leaf("")
        }
    }

    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn extensions(&self) -> Vec<u8> {
        let mut all = Vec::new();
        if let Some((critical, names)) = &self.san {
            let names: Vec<u8> = names.iter().flat_map(Name::der).collect();
            all.extend(extension(17, *critical, &sequence(&names)));
        }
        if let Some((ca, path_length)) = self.constraints {
            let ca = if ca { tlv(0x01, &[0xff]) } else { Vec::new() };
            let path_length = path_length.map(|max| tlv(0x02, &[max])).unwrap_or_default();
            all.extend(extension(19, true, &sequence(&[ca, path_length].concat())));
        }
        if let Some((critical, bits)) = self.usage {
            let [first, second] = bits.to_be_bytes();
            all.extend(extension(15, critical, &tlv(0x03, &[7, first, second])));
        }
        if let Some(purposes) = &self.purposes {
            let oids: Vec<u8> = purposes.iter().flat_map(|oid| tlv(0x06, oid)).collect();
            all.extend(extension(37, false, &sequence(&oids)));
        }
        all.extend(self.more.concat());
        all
    }
}

impl Name {
    fn der(&self) -> Vec<u8> {
        match self {
            Self::Uri(bytes) => tlv(0x86, bytes),
            Self::Dns(name) => tlv(0x82, name.as_bytes()),
            Self::Ip(octets) => tlv(0x87, octets),
            Self::ConstructedUri(name) => tlv(0xa6, name.as_bytes()),
        }
    }
}

/// A certificate with its key and those above it: enough to be presented, and to sign.
pub struct Issued {
    pub key: KeyPair,
    pub chain: Vec<CertificateDer<'static>>,
    subject: &'static str,
    is_root: bool,
}

impl Issued {
    pub fn root(draft: &Draft) -> Self {
        let key = KeyPair::generate().unwrap();
        let der = certificate(draft, &key, draft.subject, &key);
        Self { key, chain: vec![der], subject: draft.subject, is_root: true }
    }

    /// Issued by `self`; the chain goes up to, and leaves out, a root.
    pub fn issue(&self, draft: &Draft) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut chain = vec![certificate(draft, &key, self.subject, &self.key)];
        if !self.is_root {
            chain.extend(self.chain.iter().cloned());
        }
        Self { key, chain, subject: draft.subject, is_root: false }
    }

    pub fn leaf(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    pub fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(|der| pem(der)).collect()
    }
}

fn pem(der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let text = lines.join("\n");
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

fn certificate(
    draft: &Draft,
    key: &KeyPair,
    issuer: &str,
    issuer_key: &KeyPair,
) -> CertificateDer<'static> {
    let algorithm = sequence(&tlv(0x06, ECDSA_SHA256));
    let version = draft.version.map(|version| tlv(0xa0, &tlv(0x02, &[version])));
    let (from, to) = draft.valid;
    let extensions = draft.extensions();
    let extensions = match extensions.is_empty() {
        true => Vec::new(),
        false => tlv(0xa3, &sequence(&extensions)),
    };
    let body = sequence(
        &[
            version.unwrap_or_default(),
            tlv(0x02, &draft.serial),
            algorithm.clone(),
            name(issuer),
            sequence(&[time(from), time(to)].concat()),
            name(draft.subject),
            key.subject_public_key_info(),
            extensions,
        ]
        .concat(),
    );
    let mut signature = vec![0];
    signature.extend(issuer_key.sign(&body).unwrap());
    let mut der = sequence(&[body, algorithm, tlv(0x03, &signature)].concat());
    der.extend(&draft.trailing);
    der.into()
}

/// An extension of the 2.5.29 arc.
pub fn extension(arc: u8, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { tlv(0x01, &[0xff]) } else { Vec::new() };
    sequence(&[tlv(0x06, &[0x55, 0x1d, arc]), critical, tlv(0x04, value)].concat())
}

/// A critical extension that permits only URIs of `host`.
pub fn uri_constraint(host: &str) -> Vec<u8> {
    let subtree = sequence(&tlv(0x86, host.as_bytes()));
    extension(30, true, &sequence(&tlv(0xa0, &subtree)))
}

pub fn sequence(content: &[u8]) -> Vec<u8> {
    tlv(0x30, content)
}

pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut der = vec![tag];
    match content.len() {
        length @ 0..128 => der.push(length as u8),
        length @ 128..256 => der.extend([0x81, length as u8]),
        length => {
            der.push(0x82);
            der.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
    }
    der.extend(content);
    der
}

/// A common name, or the empty name.
fn name(common: &str) -> Vec<u8> {
    if common.is_empty() {
        return sequence(&[]);
    }
    let attribute = [tlv(0x06, &[0x55, 4, 3]), tlv(0x0c, common.as_bytes())].concat();
    sequence(&tlv(0x31, &sequence(&attribute)))
}

fn time(seconds: i64) -> Vec<u8> {
    let moment = time::OffsetDateTime::from(at(seconds));
    let (date, clock) = (moment.date(), moment.time());
    let (hour, minute, second) = clock.as_hms();
    let (year, month, day) = (date.year() % 100, u8::from(date.month()), date.day());
    let text = format!("{year:02}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z");
    tlv(0x17, text.as_bytes())
}
