//! Messages that are fit for use, and those that are not.

use proptest::prelude::{any, prop_assert, proptest};
use rcgen::{CertificateParams, IsCa, KeyUsagePurpose, SanType};
use spiffe::{SpiffeId, X509BundleSet};

use super::*;
use crate::dev::{Authority, Issued};

const TTL: Duration = Duration::from_secs(3600);

fn domain() -> TrustDomain {
    TrustDomain::new("example.org").unwrap()
}

fn settings() -> Settings {
    Settings {
        endpoint: String::new(),
        spiffe_id: None,
        hint: None,
        federates_with: Vec::new(),
        danger_accept_dev_agent: true,
        jwt_bundles: false,
    }
}

fn issued(authority: &Authority, now: SystemTime) -> Issued {
    authority.issue(&SpiffeId::new("spiffe://example.org/a").unwrap(), now, TTL).unwrap()
}

fn parsed(leaf: &[u8], key: &[u8]) -> X509Svid {
    X509Svid::parse_from_der(leaf, key).unwrap()
}

/// What the agent would send of one SVID.
fn context(svid: X509Svid, bundle: &[u8]) -> X509Context {
    let mut bundles = X509BundleSet::new();
    bundles.add_bundle(X509Bundle::parse_from_der(domain(), bundle).unwrap());
    X509Context::new(vec![Arc::new(svid)], Arc::new(bundles))
}

fn refusal(context: &X509Context, now: SystemTime) -> String {
    read(context, &settings(), now).unwrap_err().to_string()
}

#[test]
fn a_sound_update_is_taken_with_its_times_and_key() {
    let (authority, now) = (Authority::new(domain()).unwrap(), SystemTime::now());
    let issued = issued(&authority, now);
    let svid = parsed(&issued.chain[0], issued.key.secret_der());
    let update = read(&context(svid, &authority.bundle_der()), &settings(), now).unwrap();
    assert_eq!(update.svid.chain, issued.chain);
    assert_eq!(update.svid.key.secret_der(), issued.key.secret_der());
    assert_eq!(
        (update.svid.not_before, update.svid.not_after),
        (issued.not_before, issued.not_after)
    );
    assert_eq!(update.bundles[&domain()], authority.bundle());
}

#[test]
fn a_key_of_another_svid_is_a_flaw() {
    let (authority, now) = (Authority::new(domain()).unwrap(), SystemTime::now());
    let (one, other) = (issued(&authority, now), issued(&authority, now));
    let svid = parsed(&one.chain[0], other.key.secret_der());
    let told = refusal(&context(svid, &authority.bundle_der()), now);
    assert_eq!(told, "update discarded: the private key is not that of the SVID");
}

#[test]
fn an_svid_that_has_expired_is_a_flaw_from_that_second_on() {
    let (authority, now) = (Authority::new(domain()).unwrap(), SystemTime::now());
    let issued = issued(&authority, now);
    let svid = parsed(&issued.chain[0], issued.key.secret_der());
    let context = context(svid, &authority.bundle_der());
    let told = refusal(&context, issued.not_after);
    assert_eq!(told, "update discarded: the SVID has already expired");
    let second_before = issued.not_after - Duration::from_secs(1);
    assert!(read(&context, &settings(), second_before).is_ok());
}

#[test]
fn an_id_that_needs_folding_is_a_flaw() {
    let authority = Authority::new(domain()).unwrap();
    for uri in ["spiffe://EXAMPLE.org/a", "SPIFFE://example.org/a"] {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().unwrap();
        let leaf = params.self_signed(&key).unwrap();
        let svid = parsed(leaf.der(), &key.serialize_der());
        let told = refusal(&context(svid, &authority.bundle_der()), SystemTime::now());
        assert!(told.ends_with(&format!("not in canonical form: `{uri}`")), "{told}");
    }
}

#[test]
fn without_authorities_of_our_own_trust_domain_an_update_is_flawed() {
    let (authority, now) = (Authority::new(domain()).unwrap(), SystemTime::now());
    let issued = issued(&authority, now);
    let svid = parsed(&issued.chain[0], issued.key.secret_der());
    let told = refusal(&context(svid, &[]), now);
    assert_eq!(told, "update discarded: the trust bundle of our own trust domain is empty");
}

#[test]
fn a_development_authority_among_real_ones_is_seen() {
    let (dev, now) = (Authority::new(domain()).unwrap(), SystemTime::now());
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "SPIRE");
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let real = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    let issued = issued(&dev, now);
    let svid = || parsed(&issued.chain[0], issued.key.secret_der());
    let strict = Settings { danger_accept_dev_agent: false, ..settings() };

    let both = [real.der().to_vec(), dev.bundle_der()].concat();
    let refused = read(&context(svid(), &both), &strict, now).unwrap_err();
    assert!(matches!(refused, Refusal::DevAgent));
    assert!(read(&context(svid(), real.der()), &strict, now).is_ok());
}

#[test]
fn an_absent_identity_is_told_with_a_bounded_list_of_what_there_is() {
    let (authority, now) = (Authority::new(domain()).unwrap(), SystemTime::now());
    let issued = issued(&authority, now);
    let svid = Arc::new(parsed(&issued.chain[0], issued.key.secret_der()));
    let context = X509Context::new(vec![svid; 7], Arc::new(X509BundleSet::new()));
    let absent = SpiffeId::new("spiffe://example.org/b").unwrap();
    let settings = Settings { spiffe_id: Some(absent), ..settings() };
    let told = read(&context, &settings, now).unwrap_err().to_string();
    assert!(told.starts_with("the agent does not offer `spiffe://example.org/b`; it offers"));
    assert!(told.ends_with("`spiffe://example.org/a`, 2 more"), "{told}");
}

proptest! {
    #[test]
    fn a_leaf_with_any_one_byte_changed_is_never_taken_with_another_key_or_id(
        position in any::<proptest::sample::Index>(),
        flip in 1..=255_u8,
    ) {
        let (authority, now) = (Authority::new(domain()).unwrap(), SystemTime::now());
        let issued = issued(&authority, now);
        let mut leaf = issued.chain[0].to_vec();
        let position = position.index(leaf.len());
        leaf[position] ^= flip;
        let Ok(svid) = X509Svid::parse_from_der(&leaf, issued.key.secret_der()) else {
            return Ok(());
        };
        let named = svid.spiffe_id().to_string();
        if let Ok(update) = read(&context(svid, &authority.bundle_der()), &settings(), now) {
            let (_, parsed) = x509_parser::parse_x509_certificate(&update.svid.chain[0]).unwrap();
            prop_assert!(uri(&parsed) == Some(named.as_str()));
            let pair = KeyPair::try_from(&update.svid.key).unwrap();
            prop_assert!(
                pair.public_key_raw() == &*parsed.public_key().subject_public_key.data
            );
        }
    }
}
