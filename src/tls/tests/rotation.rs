//! New identity material: in force for the next handshake, and nothing else is disturbed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::testkit::{Draft, HOUR, KEY_CERT_SIGN, at, now};
use super::world::{
    PARTNER, THEM, US, World, domain, id, identity, meet, pair, pipe, shake, soon, svid,
};
use crate::identity::Material;
use crate::live::{Live, Publisher};
use crate::tls::{Context, Presented, Settings, contexts};

pub struct Following {
    material: Publisher<Material>,
    pub contexts: Live<Context>,
}

impl Following {
    pub fn start(first: Material) -> Self {
        let (material, identity) = identity(first);
        Self { material, contexts: contexts(&identity, Settings::default()) }
    }

    pub async fn publish(&self, material: Material) {
        let mut changes = self.contexts.changes();
        self.material.publish(material);
        tokio::time::timeout(Duration::from_secs(5), changes.changed()).await.unwrap();
    }
}

#[tokio::test]
async fn the_next_handshake_uses_the_new_svid_and_the_old_connection_lives_on() {
    let world = World::new();
    let ours = Following::start(world.material(1, world.bundles()));
    let (acceptor, connector) = pair(&ours.contexts, &[]);
    let (accepted, connected) = shake(&acceptor, &connector).await;
    let (mut old_server, mut old_client) = (accepted.unwrap(), connected.unwrap());

    ours.publish(world.material(2, world.bundles())).await;
    let (accepted, connected) = shake(&acceptor, &connector).await;
    let (new_server, new_client) = (accepted.unwrap(), connected.unwrap());

    let generation = |own: &Presented| match own {
        Presented::Svid(own) => own.generation,
        Presented::Files { .. } => 0,
    };
    assert_eq!((generation(&old_server.own), generation(&new_server.own)), (1, 2));
    assert_eq!((old_client.own.generation, new_client.own.generation), (1, 2));
    assert_ne!(old_client.peer.leaf_sha256(), new_client.peer.leaf_sha256());
    old_client.stream.write_all(b"still").await.unwrap();
    let mut still = [0; 5];
    old_server.stream.read_exact(&mut still).await.unwrap();
    assert_eq!(&still, b"still");
}

#[tokio::test]
async fn without_svid_nothing_is_read_written_or_believed() {
    let world = World::new();
    let ours = Following::start(world.material(1, world.bundles()));
    assert!(ours.contexts.load().trusts(&domain("example.org")));
    let bundles = Arc::new(world.bundles());
    ours.publish(Material { generation: 2, svid: None, bundles }).await;

    let context = ours.contexts.snapshot();
    assert_eq!(context.generation(), 2);
    assert!(context.own().is_none());
    assert!(!context.trusts(&domain("example.org")));
    let (acceptor, connector) = pair(&ours.contexts, &[]);
    let (near, mut far) = pipe();
    let refusal = soon(acceptor.accept(near, now())).await.unwrap_err();
    assert_eq!(refusal.code(), "identity_unavailable");
    assert_eq!(far.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    let (near, mut far) = pipe();
    let refusal = soon(connector.connect(near, now())).await.unwrap_err();
    assert_eq!(refusal.code(), "identity_unavailable");
    assert_eq!(far.read_to_end(&mut Vec::new()).await.unwrap(), 0);
}

#[tokio::test]
async fn an_identity_that_comes_late_is_used_from_then_on() {
    let world = World::new();
    let ours = Following::start(Material::nothing());
    assert!(ours.contexts.load().own().is_none());
    ours.publish(world.material(1, world.bundles())).await;
    let (acceptor, connector) = pair(&ours.contexts, &[]);
    let (accepted, _) = shake(&acceptor, &connector).await;
    assert_eq!(accepted.unwrap().peer.unwrap().uri(), US);
}

#[tokio::test]
async fn an_expired_svid_of_ours_is_never_presented() {
    let world = World::new();
    let (acceptor, connector) = pair(&world.ours(), &[]);
    for late in [at(HOUR), at(HOUR + 1)] {
        let (near, far) = pipe();
        let refusal = soon(acceptor.accept(near, late)).await.unwrap_err();
        assert_eq!(refusal.code(), "identity_unavailable");
        let refusal = soon(connector.connect(far, late)).await.unwrap_err();
        assert_eq!(refusal.code(), "identity_unavailable");
    }
}

#[tokio::test]
async fn a_dropped_trust_domain_is_unknown_to_the_next_handshake() {
    let world = World::new();
    let ours = Following::start(world.material(1, world.bundles()));
    let stranger = world.partner.issue(&Draft::leaf(PARTNER));
    for outcome in meet(&ours.contexts, &stranger, &[PARTNER]).await {
        assert_eq!(outcome.ours.unwrap().uri(), PARTNER);
    }
    let alone = BTreeMap::from([(domain("example.org"), world.root.chain.clone())]);
    ours.publish(world.material(2, alone)).await;
    for outcome in meet(&ours.contexts, &stranger, &[PARTNER]).await {
        assert_eq!(outcome.ours.unwrap_err().code(), "unknown_trust_domain");
    }
}

#[tokio::test]
async fn material_that_cannot_be_used_leaves_the_last_good_in_force() {
    let world = World::new();
    let ours = Following::start(world.material(1, world.bundles()));
    let with = |generation, svid| {
        let bundles = Arc::new(world.bundles());
        Material { generation, svid: Some(Arc::new(svid)), bundles }
    };

    let mut other_key = svid(US, &world.root.issue(&Draft::leaf(US)));
    other_key.key = world.root.key_der();
    let mut no_chain = svid(US, &world.root.issue(&Draft::leaf(US)));
    no_chain.chain.clear();
    let other_name = svid(US, &world.root.issue(&Draft::leaf(THEM)));
    let mut changes = ours.contexts.changes();
    for (generation, broken) in [(2, other_key), (3, no_chain), (4, other_name)] {
        ours.material.publish(with(generation, broken));
        // On this runtime the follower runs as soon as we step back.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        let changed = tokio::time::timeout(Duration::ZERO, changes.changed()).await;
        assert!(changed.is_err(), "material {generation} was taken into use");
        assert_eq!(ours.contexts.load().generation(), 1);
    }
    ours.publish(world.material(5, world.bundles())).await;
    assert_eq!(ours.contexts.load().generation(), 5);
}

/// Strict with others, but an agent's habits must not take us off the network.
#[tokio::test]
async fn an_svid_of_ours_that_strict_peers_would_refuse_is_still_presented() {
    let world = World::new();
    let draft = Draft::leaf(US).with(|draft| draft.usage = Some((true, KEY_CERT_SIGN)));
    let svid = Some(Arc::new(svid(US, &world.root.issue(&draft))));
    let material = Material { generation: 1, svid, bundles: Arc::new(world.bundles()) };
    let ours = Following::start(material);
    assert_eq!(ours.contexts.load().own().unwrap().id, id(US));
    let (acceptor, connector) = pair(&ours.contexts, &[]);
    let (_, connected) = shake(&acceptor, &connector).await;
    assert_eq!(connected.unwrap_err().code(), "key_cert_sign");
}

#[tokio::test]
async fn keys_never_show() {
    let world = World::new();
    let ours = world.ours();
    let shown = format!("{ours:?} {:?}", ours.load().own());
    assert!(shown.contains(US) && !shown.to_lowercase().contains("key"), "{shown}");
    assert!(ours.load().own().unwrap().not_after > SystemTime::UNIX_EPOCH);
}
