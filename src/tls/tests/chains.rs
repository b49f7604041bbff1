//! Table 2: who vouches for a leaf.

use rustls::pki_types::CertificateDer;

use super::testkit::{
    CRL_SIGN, DIGITAL_SIGNATURE, Draft, HOUR, Issued, KEY_CERT_SIGN, at, now, uri, uri_constraint,
};
use super::world::{PARTNER, THEM, World, domain, meet};
use super::{Row, hold};
use crate::tls::Settings;
use crate::tls::chain::{Chain, Role};
use crate::tls::trust::Trust;

const OWN_ROOT: &str = "spiffe://example.org";

/// A good leaf below an intermediate that differs from a good one by one change.
fn below(world: &World, change: impl FnOnce(&mut Draft)) -> Issued {
    let draft = Draft::authority(OWN_ROOT, "intermediate").with(change);
    world.root.issue(&draft).issue(&Draft::leaf(THEM))
}

fn names(draft: &mut Draft, names: &[&str]) {
    draft.san = Some((false, names.iter().map(|name| uri(name)).collect()));
}

const CHAINS: &[Row] = &[
    Row { row: "own", want: "ok", make: |world| world.root.issue(&Draft::leaf(THEM)) },
    Row { row: "federated", want: "ok", make: |world| world.partner.issue(&Draft::leaf(PARTNER)) },
    Row { row: "intermediate", want: "ok", make: |world| below(world, |_| {}) },
    Row {
        row: "X5-1 own ID, foreign root",
        want: "bad_signature",
        make: |world| world.partner.issue(&Draft::leaf(THEM)),
    },
    Row {
        row: "X5-1 foreign ID, own root",
        want: "bad_signature",
        make: |world| world.root.issue(&Draft::leaf(PARTNER)),
    },
    Row {
        row: "X5-1 own ID below a foreign intermediate",
        want: "bad_signature",
        make: |world| {
            let draft = Draft::authority(OWN_ROOT, "intermediate");
            world.partner.issue(&draft).issue(&Draft::leaf(THEM))
        },
    },
    Row {
        row: "X5-2",
        want: "unknown_trust_domain",
        make: |world| world.root.issue(&Draft::leaf("spiffe://nowhere.example/a")),
    },
    Row {
        row: "X5-3 rogue root of the same name",
        want: "bad_signature",
        make: |_| Issued::root(&Draft::authority(OWN_ROOT, "root")).issue(&Draft::leaf(THEM)),
    },
    Row {
        row: "X5-3 rogue root",
        want: "unknown_authority",
        make: |_| Issued::root(&Draft::authority(OWN_ROOT, "rogue")).issue(&Draft::leaf(THEM)),
    },
    Row {
        row: "X5-3 a leaf that signs",
        want: "issuer_not_ca",
        make: |world| {
            let leaf =
                Draft::leaf(OWN_ROOT).with(|draft| draft.usage = Some((true, KEY_CERT_SIGN)));
            world.root.issue(&leaf).issue(&Draft::leaf(THEM).with(|it| it.subject = "below"))
        },
    },
    Row {
        row: "X5-3 path length",
        want: "path_length",
        make: |world| {
            let first = Draft::authority(OWN_ROOT, "first")
                .with(|draft| draft.constraints = Some((true, Some(0))));
            let second = Draft::authority(OWN_ROOT, "second");
            world.root.issue(&first).issue(&second).issue(&Draft::leaf(THEM))
        },
    },
    Row {
        row: "X5-3 path length kept",
        want: "ok",
        make: |world| below(world, |draft| draft.constraints = Some((true, Some(0)))),
    },
    Row {
        row: "X5-3 expired intermediate",
        want: "issuer_out_of_time",
        make: |world| below(world, |draft| draft.valid = (-2 * HOUR, -HOUR)),
    },
    Row {
        row: "X5-3 future intermediate",
        want: "issuer_out_of_time",
        make: |world| below(world, |draft| draft.valid = (HOUR, 2 * HOUR)),
    },
    Row {
        row: "X5-17 a signing certificate as leaf",
        want: "leaf_is_ca",
        make: |world| world.root.issue(&Draft::authority("spiffe://example.org/ca", "ca")),
    },
    Row {
        row: "X5-18 no keyCertSign",
        want: "issuer_without_key_cert_sign",
        make: |world| {
            below(world, |draft| draft.usage = Some((true, DIGITAL_SIGNATURE | CRL_SIGN)))
        },
    },
    Row {
        row: "X5-18 no key usage",
        want: "issuer_without_key_cert_sign",
        make: |world| below(world, |draft| draft.usage = None),
    },
    Row { row: "X5-19 no ID", want: "ok", make: |world| below(world, |draft| draft.san = None) },
    Row {
        row: "X5-19 some other URI",
        want: "ok",
        make: |world| below(world, |draft| names(draft, &["https://example.org/ca"])),
    },
    Row {
        row: "X5-19 path",
        want: "issuer_spiffe_id",
        make: |world| below(world, |draft| names(draft, &["spiffe://example.org/ca"])),
    },
    Row {
        row: "X5-19 foreign",
        want: "issuer_spiffe_id",
        make: |world| below(world, |draft| names(draft, &["spiffe://partner.example"])),
    },
    Row {
        row: "X5-19 upper case",
        want: "issuer_spiffe_id",
        make: |world| below(world, |draft| names(draft, &["SPIFFE://EXAMPLE.ORG"])),
    },
    Row {
        row: "X5-19 two",
        want: "issuer_spiffe_id",
        make: |world| below(world, |draft| names(draft, &["https://a.example", OWN_ROOT])),
    },
    Row {
        row: "X5-20 constrained to another",
        want: "name_constraints",
        make: |world| below(world, |draft| draft.more.push(uri_constraint("partner.example"))),
    },
    // The path builder does not process URI constraints, so RFC 5280 demands refusal.
    Row {
        row: "X5-20 constrained to its own",
        want: "name_constraints",
        make: |world| below(world, |draft| draft.more.push(uri_constraint("example.org"))),
    },
    Row { row: "X5-26 17 certificates", want: "chain_too_long", make: |world| padded(world, 16) },
    Row { row: "X5-26 16 certificates", want: "ok", make: |world| padded(world, 15) },
    Row {
        row: "X5-26 nonsense in the chain",
        want: "ok",
        make: |world| {
            let mut leaf = world.root.issue(&Draft::leaf(THEM));
            leaf.chain.push(CertificateDer::from(vec![0x30, 0x80, 0xff]));
            leaf
        },
    },
];

/// A good leaf with needless certificates behind it.
fn padded(world: &World, count: usize) -> Issued {
    let mut leaf = world.root.issue(&Draft::leaf(THEM));
    leaf.chain.extend(std::iter::repeat_n(world.partner.leaf().clone(), count));
    leaf
}

#[tokio::test]
async fn a_leaf_is_vouched_for_by_its_own_trust_domain() {
    hold(CHAINS, &[THEM, PARTNER]).await;
}

#[tokio::test]
async fn a_root_is_not_a_peer() {
    let world = World::new();
    for outcome in meet(&world.ours(), &world.root, &[THEM]).await {
        assert_eq!(outcome.ours.unwrap_err().code(), "spiffe_id_without_path");
    }
}

/// What a bundle of `root` alone comes to for a leaf below it.
async fn with_authority(root: &Draft) -> Vec<&'static str> {
    let world = World::new();
    let root = Issued::root(root);
    let mut bundles = world.bundles();
    bundles.insert(domain("example.org"), root.chain.clone());
    let ours = world.ours_with(bundles, Settings::default());
    let stranger = root.issue(&Draft::leaf(THEM));
    let outcomes = meet(&ours, &stranger, &[THEM]).await;
    outcomes.iter().map(|it| it.ours.as_ref().map_or_else(|no| no.code(), |_| "ok")).collect()
}

#[tokio::test]
async fn what_is_not_an_authority_vouches_for_nobody() {
    let root = || Draft::authority(OWN_ROOT, "root");
    let cases = [
        (root(), "ok"),
        (root().with(|it| it.constraints = Some((false, None))), "unknown_authority"),
        (root().with(|it| it.constraints = None), "unknown_authority"),
        (root().with(|it| it.usage = Some((true, DIGITAL_SIGNATURE))), "unknown_authority"),
        (root().with(|it| it.usage = None), "ok"),
        (root().with(|it| it.version = Some(0)), "unknown_authority"),
        (root().with(|it| it.trailing = vec![0]), "unknown_authority"),
        (root().with(|it| it.valid = (-2 * HOUR, -HOUR)), "authority_out_of_time"),
        (root().with(|it| it.valid = (HOUR, 2 * HOUR)), "authority_out_of_time"),
        (Draft::leaf("spiffe://example.org/leaf"), "unknown_authority"),
    ];
    for (number, (root, want)) in cases.iter().enumerate() {
        assert_eq!(with_authority(root).await, [*want, *want], "case {number}");
    }
}

#[tokio::test]
async fn a_roots_path_length_binds() {
    let world = World::new();
    let draft =
        Draft::authority(OWN_ROOT, "root").with(|it| it.constraints = Some((true, Some(0))));
    let root = Issued::root(&draft);
    let mut bundles = world.bundles();
    bundles.insert(domain("example.org"), root.chain.clone());
    let ours = world.ours_with(bundles, Settings::default());
    let direct = root.issue(&Draft::leaf(THEM));
    let deep = root.issue(&Draft::authority(OWN_ROOT, "below")).issue(&Draft::leaf(THEM));
    let [_, outcome] = meet(&ours, &direct, &[THEM]).await;
    assert!(outcome.ours.is_ok());
    let [_, outcome] = meet(&ours, &deep, &[THEM]).await;
    assert_eq!(outcome.ours.unwrap_err().code(), "path_length");
}

#[tokio::test]
async fn any_authority_of_a_bundle_vouches_while_it_is_valid() {
    let world = World::new();
    let draft = |valid| Draft::authority(OWN_ROOT, "root").with(|it| it.valid = valid);
    let (old, next) = (Issued::root(&draft((-HOUR, HOUR))), Issued::root(&draft((0, 2 * HOUR))));
    let mut bundles = world.bundles();
    bundles.insert(domain("example.org"), vec![old.leaf().clone(), next.leaf().clone()]);
    let ours = world.ours_with(bundles, Settings::default());
    for root in [old, next] {
        for outcome in meet(&ours, &root.issue(&Draft::leaf(THEM)), &[THEM]).await {
            assert_eq!(outcome.ours.unwrap().uri(), THEM);
        }
    }
}

#[test]
fn an_expired_authority_is_left_out_and_a_future_one_waits() {
    let root =
        |valid| Issued::root(&Draft::authority(OWN_ROOT, "root").with(|draft| draft.valid = valid));
    let (expired, future) = (root((-2 * HOUR, -HOUR)), root((HOUR, 2 * HOUR)));
    let bundles = [
        (domain("expired.example"), expired.chain.clone()),
        (domain("future.example"), future.chain.clone()),
    ];
    let (trust, left_out) = Trust::of(&bundles.into(), now());
    assert!(!trust.has(&domain("expired.example")));
    assert!(trust.has(&domain("future.example")));
    let reasons: Vec<_> = left_out.iter().map(|it| (&it.trust_domain, it.why.as_code())).collect();
    assert_eq!(reasons, [(&domain("expired.example"), "expired")]);
    let (trust, _) = Trust::of(&[(domain("a.example"), expired.chain)].into(), at(-HOUR));
    assert!(trust.has(&domain("a.example")));
}

#[test]
fn a_chain_of_more_than_64_kib_is_refused() {
    let leaf = CertificateDer::from(vec![0; 1024]);
    let limits = |size| {
        let intermediates = [CertificateDer::from(vec![0; size])];
        Chain { leaf: &leaf, intermediates: &intermediates, role: Role::Client }.within_limits()
    };
    assert_eq!(limits(63 * 1024), Ok(()));
    assert_eq!(limits(63 * 1024 + 1).unwrap_err().as_code(), "chain_too_large");
}
