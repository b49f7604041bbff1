//! Any bytes at all, where strangers' certificates are read.

use std::sync::OnceLock;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use rustls::pki_types::CertificateDer;

use super::testkit::{Draft, KEY_CERT_SIGN, Name, uri};
use super::world::{THEM, World};
use crate::tls::inspect_leaf;
use crate::tls::trust::Trust;

/// Certificates of several shapes, to start from.
fn samples() -> &'static [CertificateDer<'static>] {
    static SAMPLES: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        let world = World::new();
        let names = vec![Name::Dns("a.example"), uri(THEM), uri("https://a.example")];
        let drafts = [
            Draft::leaf(THEM),
            Draft::leaf(THEM).with(|draft| draft.purposes = None),
            Draft::leaf(THEM).with(|draft| draft.subject = ""),
            Draft::leaf(THEM).with(|draft| draft.san = Some((true, names))),
            Draft::authority(THEM, "ca").with(|draft| draft.usage = Some((true, KEY_CERT_SIGN))),
        ];
        drafts.iter().map(|draft| world.root.issue(draft).leaf().clone()).collect()
    })
}

/// Reads as a leaf and as an authority. If it names someone, then canonically.
fn read(der: &[u8]) {
    if let Ok(id) = inspect_leaf(der) {
        let text = id.to_string();
        assert_eq!(spiffe::SpiffeId::new(&text).unwrap().to_string(), text);
        assert!(!id.path().is_empty() && text.len() <= 2048);
        // The name stands in the certificate, byte for byte.
        assert!(der.windows(text.len()).any(|window| window == text.as_bytes()));
    }
    let certificate = CertificateDer::from(der.to_vec());
    let bundles = [(super::world::domain("example.org"), vec![certificate])];
    let (trust, left_out) = Trust::of(&bundles.into(), super::testkit::now());
    assert_eq!(trust.has(&super::world::domain("example.org")), left_out.is_empty());
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in vec(any::<u8>(), 0..2048)) {
        read(&bytes);
    }

    #[test]
    fn a_changed_certificate_names_nobody_or_someone_canonically(
        sample in any::<Index>(),
        changes in vec((any::<Index>(), any::<u8>()), 1..4),
    ) {
        let mut der = sample.get(samples()).to_vec();
        for (place, byte) in changes {
            let place = place.index(der.len());
            der[place] = byte;
        }
        read(&der);
    }

    #[test]
    fn a_cut_or_grown_certificate_names_nobody(
        sample in any::<Index>(),
        cut in any::<Index>(),
        tail in vec(any::<u8>(), 1..8),
    ) {
        let whole = sample.get(samples());
        let cut = &whole[..cut.index(whole.len())];
        read(cut);
        prop_assert!(inspect_leaf(cut).is_err());
        let grown = [whole.as_ref(), &tail].concat();
        read(&grown);
        prop_assert!(inspect_leaf(&grown).is_err());
    }
}
