//! Table 1: what may stand in the URI name.

use super::testkit::{Draft, Name};
use super::world::{self, THEM, World, domain, meet};
use crate::tls::{HandshakeError, Settings, inspect_leaf};

const INVALID: &str = "invalid_spiffe_id";

/// Row, URI name, outcome in either direction.
const IDS: &[(&str, &[u8], &str)] = &[
    ("ID-1", b"https://example.org/a", INVALID),
    ("ID-1 no scheme", b"example.org/a", INVALID),
    ("ID-1 empty", b"", INVALID),
    ("ID-2", b"spiffe:///a", INVALID),
    ("ID-3", b"spiffe://example.org/a?x=1", INVALID),
    ("ID-4", b"spiffe://example.org/a#x", INVALID),
    ("ID-5", b"spiffe://u@example.org/a", INVALID),
    ("ID-6", b"spiffe://example.org:443/a", INVALID),
    ("ID-7", b"spiffe://EXAMPLE.ORG/a", "spiffe_id_not_canonical"),
    ("ID-7 one letter", b"spiffe://example.Org/a", "spiffe_id_not_canonical"),
    ("ID-8 space", b"spiffe://exa mple.org/a", INVALID),
    ("ID-8 letter", "spiffe://\u{e9}xample.org/a".as_bytes(), INVALID),
    ("ID-8 IPv6", b"spiffe://[::1]/a", INVALID),
    ("ID-9", b"spiffe://example%2eorg/a", INVALID),
    ("ID-10 not special", b"spiffe://10.0.0.1/a", "unknown_trust_domain"),
    ("ID-11", b"spiffe://example.org/a%2fb", INVALID),
    ("ID-12", b"spiffe://example.org/a//b", INVALID),
    ("ID-13 up", b"spiffe://example.org/a/../admin", INVALID),
    ("ID-13 here", b"spiffe://example.org/a/./b", INVALID),
    ("ID-13 only looks so", b"spiffe://example.org/a/..b", "ok"),
    ("ID-14", b"spiffe://example.org/a/", INVALID),
    ("ID-14 bare", b"spiffe://example.org/", INVALID),
    ("ID-15 space", b"spiffe://example.org/a b", INVALID),
    ("ID-15 NUL", b"spiffe://example.org/a\0b", INVALID),
    ("ID-15 NUL last", b"spiffe://example.org/a\0", INVALID),
    ("ID-15 LF", b"spiffe://example.org/a\n", INVALID),
    ("ID-15 tilde", b"spiffe://example.org/~a", INVALID),
    ("ID-15 colon", b"spiffe://example.org/a:b", INVALID),
    ("ID-15 letter", "spiffe://example.org/\u{e9}".as_bytes(), INVALID),
    ("ID-15 not UTF-8", b"spiffe://example.org/\xff", "unreadable"),
    ("ID-22", b"SPIFFE://example.org/a", "spiffe_id_not_canonical"),
    ("X5-14", b"http://example.org/a", INVALID),
    ("X5-15", b"spiffe://example.org", "spiffe_id_without_path"),
];

#[tokio::test]
async fn only_canonical_workload_ids_are_accepted() {
    let world = World::new();
    let ours = world.ours();
    let mut wrong = Vec::new();
    for (row, name, want) in IDS {
        let draft = Draft::leaf(THEM)
            .with(|draft| draft.san = Some((false, vec![Name::Uri(name.to_vec())])));
        let stranger = world.root.issue(&draft);
        for outcome in meet(&ours, &stranger, &["spiffe://example.org/a/..b"]).await {
            let got = outcome.ours.as_ref().map_or_else(|refusal| refusal.code(), |_| "ok");
            if got != *want {
                wrong.push(format!("{row}: want {want}, got {got}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn an_id_of_2048_bytes_is_accepted_and_one_more_is_not() {
    let world = World::new();
    let ours = world.ours();
    for (length, want) in [(2048, "ok"), (2049, "spiffe_id_too_long")] {
        let start = "spiffe://example.org/";
        let id = format!("{start}{}", "a".repeat(length - start.len()));
        let stranger = world.root.issue(&Draft::leaf(&id));
        for outcome in meet(&ours, &stranger, &[&id]).await {
            match outcome.ours {
                Ok(peer) => assert_eq!((peer.uri(), "ok"), (id.as_str(), want)),
                Err(refusal) => assert_eq!(refusal.code(), want),
            }
        }
    }
}

#[test]
fn a_trust_domain_of_255_bytes_is_read_and_one_more_is_not() {
    let world = World::new();
    let read = |length| {
        let leaf = Draft::leaf(&format!("spiffe://{}/a", "t".repeat(length)));
        inspect_leaf(world.root.issue(&leaf).leaf())
    };
    assert!(read(255).is_ok());
    assert_eq!(read(256).unwrap_err().as_code(), INVALID);
}

#[tokio::test]
async fn a_trust_domain_that_looks_like_an_address_is_one_like_any_other() {
    let world = World::new();
    let mut bundles = world.bundles();
    bundles.insert(domain("10.0.0.1"), world.partner.chain.clone());
    let ours = world.ours_with(bundles, Settings::default());
    let name = "spiffe://10.0.0.1/a";
    let stranger = world.partner.issue(&Draft::leaf(name));
    for outcome in meet(&ours, &stranger, &[name]).await {
        assert_eq!(outcome.ours.unwrap().trust_domain(), &domain("10.0.0.1"));
    }
}

#[tokio::test]
async fn paths_are_compared_with_their_case() {
    let world = World::new();
    let stranger = world.root.issue(&Draft::leaf("spiffe://example.org/prod/Them"));
    let [_, outbound] = meet(&world.ours(), &stranger, &[THEM]).await;
    let Err(HandshakeError::Expectation { presented }) = outbound.ours else {
        panic!("a path of other case was taken for the expected one");
    };
    assert_eq!(presented, world::id("spiffe://example.org/prod/Them"));
}
