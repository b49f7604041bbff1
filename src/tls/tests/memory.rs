//! What is remembered of peers saves work, and never lets in whom a first look would refuse.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::io::AsyncReadExt;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::rotation::Following;
use super::testkit::{Draft, HOUR, Issued, SERVER_AUTH, at, now};
use super::world::{
    PARTNER, THEM, US, World, any_name, domain, id, pipe, rude_client, rude_server, soon,
};
use crate::live::Live;
use crate::tls::chain::{Chain, Role};
use crate::tls::leaf;
use crate::tls::memory::{Good, Memory};
use crate::tls::trust::Trust;
use crate::tls::verifier::{Expect, Terms, Verifier};
use crate::tls::{Acceptor, Callers, Connector, Context, HandshakeError, Peer, Settings};

const OWN_ROOT: &str = "spiffe://example.org";

/// The stranger calls us at that time.
async fn called(
    ours: &Live<Context>,
    stranger: &Issued,
    when: SystemTime,
) -> Result<Peer, HandshakeError> {
    let (near, far) = pipe();
    let acceptor = Acceptor::new(ours.clone(), &[], Callers::Verified);
    let calling = async {
        let connector = TlsConnector::from(Arc::new(rude_client(Some(stranger))));
        if let Ok(mut stream) = connector.connect(any_name(), far).await {
            stream.read_u8().await.ok();
        }
    };
    let accepting = async { acceptor.accept(near, when).await.map(|it| it.peer.unwrap()) };
    soon(async { tokio::join!(accepting, calling).0 }).await
}

/// We call the stranger at that time, and expect `expect`.
async fn calling(
    ours: &Live<Context>,
    stranger: &Issued,
    expect: &str,
    when: SystemTime,
) -> Result<Peer, HandshakeError> {
    let (near, far) = pipe();
    let connector = Connector::new(ours.clone(), &[], vec![id(expect)]);
    let acceptor = TlsAcceptor::from(Arc::new(rude_server(stranger)));
    let (connected, _) =
        soon(async { tokio::join!(connector.connect(near, when), acceptor.accept(far)) }).await;
    connected.map(|connected| connected.peer)
}

/// Both saw one memory, and not two looks at one certificate.
fn same(one: &Peer, other: &Peer) -> bool {
    Arc::ptr_eq(&one.shared_uri(), &other.shared_uri())
}

fn below(world: &World, intermediate: impl FnOnce(&mut Draft)) -> Issued {
    let intermediate = Draft::authority(OWN_ROOT, "intermediate").with(intermediate);
    world.root.issue(&intermediate).issue(&Draft::leaf(THEM))
}

#[tokio::test]
async fn a_peer_that_comes_again_is_known() {
    let world = World::new();
    let ours = world.ours();
    for stranger in [world.root.issue(&Draft::leaf(THEM)), below(&world, |_| {})] {
        let first = called(&ours, &stranger, now()).await.unwrap();
        let again = called(&ours, &stranger, at(60)).await.unwrap();
        assert!(same(&first, &again));
        assert_eq!((again.uri(), again.not_after()), (THEM, at(HOUR)));
        let first = calling(&ours, &stranger, THEM, now()).await.unwrap();
        let again = calling(&ours, &stranger, THEM, now()).await.unwrap();
        assert!(same(&first, &again));
    }
}

#[tokio::test]
async fn who_is_known_is_refused_once_any_certificate_of_the_chain_is_out_of_time() {
    let world = World::new();
    let short = |draft: &mut Draft| draft.valid = (-HOUR, HOUR / 2);
    let root = Issued::root(&Draft::authority(OWN_ROOT, "root").with(short));
    let mut bundles = world.bundles();
    bundles.insert(domain("example.org"), root.chain.clone());
    let below_it = world.ours_with(bundles, Settings::default());
    let ours = world.ours();
    let leaf = |change: fn(&mut Draft)| world.root.issue(&Draft::leaf(THEM).with(change));
    let early = |draft: &mut Draft| draft.valid = (-60, HOUR);

    let cases = [
        (&ours, leaf(|_| {}), at(HOUR + 1), "expired"),
        (&ours, leaf(early), at(-61), "not_yet_valid"),
        (&ours, below(&world, short), at(HOUR / 2 + 1), "issuer_out_of_time"),
        (&below_it, root.issue(&Draft::leaf(THEM)), at(HOUR / 2 + 1), "authority_out_of_time"),
    ];
    for (ours, stranger, later, want) in cases {
        let first = called(ours, &stranger, now()).await.unwrap();
        assert!(same(&first, &called(ours, &stranger, now()).await.unwrap()));
        calling(ours, &stranger, THEM, now()).await.unwrap();
        // Our own SVID has run out as well by then, and would be the first to be missed.
        let refusal = judged(ours, &stranger, later);
        assert_eq!(refusal.unwrap_err().code(), want);
    }
}

/// What the verifier of a new connection to the stranger says, without the connection.
fn judged(ours: &Live<Context>, stranger: &Issued, when: SystemTime) -> Result<(), HandshakeError> {
    let verifier = ours.load().verifier(Expect::Any, when);
    show(&verifier, stranger);
    verifier.peer().map(|_| ())
}

fn show(verifier: &Verifier, stranger: &Issued) {
    let now = UnixTime::since_unix_epoch(std::time::Duration::ZERO);
    let [leaf, intermediates @ ..] = &stranger.chain[..] else { panic!("a chain") };
    verifier.verify_server_cert(leaf, intermediates, &any_name(), &[], now).ok();
}

#[tokio::test]
async fn who_is_known_is_refused_once_nobody_vouches_for_them() {
    let world = World::new();
    let ours = Following::start(world.material(1, world.bundles()));
    let them = world.root.issue(&Draft::leaf(THEM));
    let partner = world.partner.issue(&Draft::leaf(PARTNER));
    let first = called(&ours.contexts, &them, now()).await.unwrap();
    called(&ours.contexts, &partner, now()).await.unwrap();

    // The same authorities in a new generation: looked at anew, and good.
    ours.publish(world.material(2, world.bundles())).await;
    assert!(!same(&first, &called(&ours.contexts, &them, now()).await.unwrap()));

    let other = World::new();
    let bundles = BTreeMap::from([
        (domain("example.org"), world.root.chain.clone()),
        (domain("partner.example"), other.partner.chain.clone()),
    ]);
    ours.publish(world.material(3, bundles)).await;
    called(&ours.contexts, &them, now()).await.unwrap();
    let refusal = called(&ours.contexts, &partner, now()).await.unwrap_err();
    assert_eq!(refusal.code(), "bad_signature");
}

#[tokio::test]
async fn who_is_known_may_still_be_someone_else_than_expected() {
    let world = World::new();
    let ours = world.ours();
    let them = world.root.issue(&Draft::leaf(THEM));
    calling(&ours, &them, THEM, now()).await.unwrap();
    let refusal = calling(&ours, &them, US, now()).await.unwrap_err();
    assert_eq!(refusal.code(), "unexpected_identity");
}

#[tokio::test]
async fn a_chain_is_known_for_what_it_was_used_for_and_with_all_that_was_in_it() {
    let world = World::new();
    let ours = world.ours();
    let server = below(&world, |draft| draft.purposes = Some(vec![SERVER_AUTH]));
    calling(&ours, &server, THEM, now()).await.unwrap();
    let refusal = called(&ours, &server, now()).await.unwrap_err();
    assert_eq!(refusal.code(), "extended_key_usage");

    let mut stranger = below(&world, |_| {});
    called(&ours, &stranger, now()).await.unwrap();
    let intermediates = stranger.chain.split_off(1);
    let refusal = called(&ours, &stranger, now()).await.unwrap_err();
    assert_eq!(refusal.code(), "unknown_authority");
    stranger.chain.extend(intermediates);
    called(&ours, &stranger, now()).await.unwrap();
}

#[tokio::test]
async fn a_known_certificate_is_nothing_without_its_key() {
    let world = World::new();
    let ours = world.ours();
    let them = world.root.issue(&Draft::leaf(THEM));
    called(&ours, &them, now()).await.unwrap();
    calling(&ours, &them, THEM, now()).await.unwrap();
    let mut thief = world.root.issue(&Draft::leaf(THEM));
    thief.chain = them.chain.clone();
    for refusal in [
        called(&ours, &thief, now()).await.unwrap_err(),
        calling(&ours, &thief, THEM, now()).await.unwrap_err(),
    ] {
        assert_eq!(refusal.code(), "key_not_proven");
    }
}

#[test]
fn who_has_not_proven_to_hold_the_key_is_not_remembered() {
    let world = World::new();
    let trust = Arc::new(Trust::of(&world.bundles(), now()).0);
    let verifier = || {
        Verifier::new(Terms {
            trust: Arc::clone(&trust),
            expect: Expect::Any,
            now: now(),
            algorithms: aws_lc_rs::default_provider().signature_verification_algorithms,
            allow_tls12: false,
        })
    };
    let them = world.root.issue(&Draft::leaf(THEM));
    let chain = Chain { leaf: them.leaf(), intermediates: &[], role: Role::Server };
    let (replayed, completed) = (verifier(), verifier());
    show(&replayed, &them);
    assert!(trust.memory().recall(&chain, now()).is_none());
    show(&completed, &them);
    assert_eq!(completed.peer().unwrap().uri(), THEM);
    assert!(trust.memory().recall(&chain, now()).is_some());
    assert!(trust.memory().recall(&Chain { role: Role::Client, ..chain }, now()).is_none());
}

/// A memory that has met so many peers with so large a certificate, and which of them it knows.
fn crowd(count: u32, bytes: usize, in_use: Option<u32>) -> Vec<u32> {
    let world = World::new();
    let leaf = Arc::new(leaf::read(world.root.issue(&Draft::leaf(THEM)).leaf()).unwrap());
    let der = |number: u32| {
        let mut der = number.to_be_bytes().to_vec();
        der.resize(bytes, 0);
        CertificateDer::from(der)
    };
    let memory = Memory::default();
    let knows = |number| {
        let leaf = der(number);
        let chain = Chain { leaf: &leaf, intermediates: &[], role: Role::Client };
        memory.recall(&chain, now()).is_some()
    };
    for number in 0..count {
        let der = der(number);
        let chain = Chain { leaf: &der, intermediates: &[], role: Role::Client };
        memory.keep(&Arc::new(Good::new(&chain, Arc::clone(&leaf), leaf.validity)));
        assert!(in_use.is_none_or(|it| number < it || knows(it)), "forgotten while in use");
    }
    // The latest first: asking for one may push out another.
    let mut known: Vec<u32> = (0..count).rev().filter(|number| knows(*number)).collect();
    known.reverse();
    known
}

#[test]
fn memory_is_bounded_and_keeps_who_comes_again() {
    assert_eq!(crowd(1_000, 100, None).len(), 1_000);
    let known = crowd(5_000, 100, Some(7));
    assert!(known.len() <= 2_048 && known.contains(&4_999) && !known.contains(&8), "{known:?}");
    let known = crowd(300, 16 * 1024, None);
    assert!((64..=128).contains(&known.len()), "{}", known.len());
    assert!(crowd(10, 16 * 1024 + 1, None).is_empty());
}
