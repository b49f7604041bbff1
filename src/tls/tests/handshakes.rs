//! How connections are made: versions, protocols, key exchange, and peers that do not play.

use std::collections::HashSet;
use std::sync::Arc;

use rustls::version::TLS12;
use rustls::{HandshakeKind, NamedGroup, ProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::testkit::{Draft, HOUR, at, now};
use super::world::{
    THEM, US, World, any_name, id, meet, pair, pipe, rude_client, rude_client_with, rude_server,
    shake, soon,
};
use crate::tls::{
    Acceptor, Alpn, Callers, Connector, HandshakeError, Presented, Settings, SvidError, peer_alert,
};

#[tokio::test]
async fn both_sides_learn_who_the_other_is_and_on_what_terms() {
    let world = World::new();
    let (acceptor, connector) = pair(&world.ours(), &[]);
    let (accepted, connected) = shake(&acceptor, &connector).await;
    let (mut accepted, mut connected) = (accepted.unwrap(), connected.unwrap());
    let Presented::Svid(accepted_own) = &accepted.own else { panic!("not by SVID") };
    for (peer, own) in
        [(accepted.peer.as_ref().unwrap(), accepted_own), (&connected.peer, &connected.own)]
    {
        assert_eq!((peer.uri(), peer.id()), (US, &id(US)));
        assert_eq!(peer.serial(), "abcd");
        assert_eq!((peer.not_before(), peer.not_after()), (at(-HOUR), at(HOUR)));
        assert_eq!((own.generation, &own.id, own.not_after), (1, &id(US), at(HOUR)));
    }
    assert_eq!(accepted.peer.as_ref().unwrap().leaf_sha256(), connected.peer.leaf_sha256());
    assert_ne!(accepted.peer.as_ref().unwrap().leaf_sha256(), &[0; 32]);
    connected.stream.write_all(b"hello").await.unwrap();
    let mut hello = [0; 5];
    accepted.stream.read_exact(&mut hello).await.unwrap();
    assert_eq!(&hello, b"hello");
}

#[tokio::test]
async fn the_hybrid_key_exchange_and_the_quicker_cipher_are_used() {
    let world = World::new();
    let (acceptor, connector) = pair(&world.ours(), &[]);
    let (accepted, connected) = shake(&acceptor, &connector).await;
    let (accepted, _connected) = (accepted.unwrap(), connected.unwrap());
    let session = accepted.stream.get_ref().1;
    assert_eq!(session.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let group = session.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), NamedGroup::X25519MLKEM768);
    let suite = session.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
}

#[tokio::test]
async fn nothing_on_the_wire_names_the_destination() {
    let world = World::new();
    let (_, connector) = pair(&world.ours(), &[]);
    let (near, far) = pipe();
    let server = TlsAcceptor::from(Arc::new(rude_server(&world.root.issue(&Draft::leaf(US)))));
    let (connected, accepted) =
        soon(async { tokio::join!(connector.connect(near, now()), server.accept(far)) }).await;
    connected.unwrap();
    assert_eq!(accepted.unwrap().get_ref().1.server_name(), None);
}

#[tokio::test]
async fn every_handshake_is_a_full_one() {
    let world = World::new();
    for allow_tls12 in [false, true] {
        let ours = world.ours_with(world.bundles(), Settings { allow_tls12 });
        let acceptor = Acceptor::new(ours.clone(), &[], Callers::Verified);
        let shown = world.root.issue(&Draft::leaf(THEM));
        let versions = if allow_tls12 { &[&TLS12][..] } else { rustls::ALL_VERSIONS };
        // One configuration, so that the client could resume if we let it.
        let connector = TlsConnector::from(Arc::new(rude_client_with(Some(&shown), versions)));
        for _ in 0..2 {
            let (near, far) = pipe();
            let client = async {
                let mut stream = connector.connect(any_name(), far).await.unwrap();
                // A ticket would come with the first data.
                assert_eq!(stream.read_u8().await.unwrap(), b'!');
                let session = stream.get_ref().1;
                assert_eq!(session.handshake_kind(), Some(HandshakeKind::Full));
                assert_eq!(session.tls13_tickets_received(), 0);
            };
            let server = async {
                let mut accepted = acceptor.accept(near, now()).await.unwrap();
                let kind = accepted.stream.get_ref().1.handshake_kind();
                assert_eq!(
                    (kind, accepted.peer.as_ref().unwrap().uri()),
                    (Some(HandshakeKind::Full), THEM)
                );
                accepted.stream.write_all(b"!").await.unwrap();
                accepted.stream.flush().await.unwrap();
            };
            tokio::join!(client, server);
        }
    }
}

/// The server would: it hands out tickets and keeps sessions.
#[tokio::test]
async fn our_client_resumes_nothing() {
    let world = World::new();
    let (_, connector) = pair(&world.ours(), &[]);
    let server = Arc::new(rude_server(&world.root.issue(&Draft::leaf(US))));
    for _ in 0..2 {
        let (near, far) = pipe();
        let acceptor = TlsAcceptor::from(Arc::clone(&server));
        let server = async {
            let mut stream = acceptor.accept(far).await.unwrap();
            stream.write_all(b"!").await.unwrap();
            stream.flush().await.unwrap();
            stream.get_ref().1.handshake_kind()
        };
        let client = async {
            let mut connected = connector.connect(near, now()).await.unwrap();
            // With the first data comes whatever ticket there is.
            connected.stream.read_u8().await.unwrap();
            connected.stream.get_ref().1.handshake_kind()
        };
        let kinds = soon(async { tokio::join!(server, client) }).await;
        assert_eq!(kinds, (Some(HandshakeKind::Full), Some(HandshakeKind::Full)));
    }
}

#[tokio::test]
async fn our_own_second_handshake_is_a_full_one_too() {
    let world = World::new();
    let (acceptor, connector) = pair(&world.ours(), &[]);
    for _ in 0..2 {
        let (accepted, connected) = shake(&acceptor, &connector).await;
        let kinds = (
            accepted.unwrap().stream.get_ref().1.handshake_kind(),
            connected.unwrap().stream.get_ref().1.handshake_kind(),
        );
        assert_eq!(kinds, (Some(HandshakeKind::Full), Some(HandshakeKind::Full)));
    }
}

#[tokio::test]
async fn tls_1_2_is_spoken_only_when_allowed() {
    let world = World::new();
    let shown = world.root.issue(&Draft::leaf(THEM));
    for allow_tls12 in [false, true] {
        let ours = world.ours_with(world.bundles(), Settings { allow_tls12 });
        let acceptor = Acceptor::new(ours, &[], Callers::Verified);
        let connector = TlsConnector::from(Arc::new(rude_client_with(Some(&shown), &[&TLS12])));
        let (near, far) = pipe();
        let (accepted, connected) =
            tokio::join!(acceptor.accept(near, now()), connector.connect(any_name(), far));
        assert_eq!(connected.is_ok(), allow_tls12);
        match accepted {
            Ok(accepted) => {
                assert_eq!((accepted.peer.as_ref().unwrap().uri(), allow_tls12), (THEM, true))
            }
            Err(refusal) => assert_eq!((refusal.code(), allow_tls12), ("incompatible", false)),
        }
    }
}

#[tokio::test]
async fn a_client_without_certificate_is_refused() {
    let world = World::new();
    let acceptor = Acceptor::new(world.ours(), &[], Callers::Verified);
    let (near, far) = pipe();
    let client = async {
        let connector = TlsConnector::from(Arc::new(rude_client(None)));
        let mut stream = connector.connect(any_name(), far).await.unwrap();
        peer_alert(&stream.read_u8().await.unwrap_err())
    };
    let (accepted, alert) = tokio::join!(acceptor.accept(near, now()), client);
    assert!(matches!(accepted, Err(HandshakeError::NoCertificate)), "{accepted:?}");
    assert_eq!(alert.as_deref(), Some("CertificateRequired"));
}

#[tokio::test]
async fn plaintext_is_not_tls_in_either_direction() {
    let world = World::new();
    let (acceptor, connector) = pair(&world.ours(), &[]);
    let (near, mut far) = pipe();
    far.write_all(b"GET / HTTP/1.1\r\nhost: us\r\n\r\n").await.unwrap();
    let refusal = soon(acceptor.accept(near, now())).await.unwrap_err();
    assert_eq!(refusal.code(), "not_tls");

    let (near, mut far) = pipe();
    far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let refusal = soon(connector.connect(near, now())).await.unwrap_err();
    assert_eq!(refusal.code(), "not_tls");
}

#[tokio::test]
async fn a_peer_that_hangs_up_is_a_broken_connection() {
    let world = World::new();
    let (acceptor, connector) = pair(&world.ours(), &[]);
    let (near, far) = pipe();
    drop(far);
    assert_eq!(soon(acceptor.accept(near, now())).await.unwrap_err().code(), "io");
    let (near, far) = pipe();
    drop(far);
    assert_eq!(soon(connector.connect(near, now())).await.unwrap_err().code(), "io");
}

#[tokio::test]
async fn a_server_that_is_not_the_expected_one_is_named_and_refused() {
    let world = World::new();
    let ours = world.ours();
    let stranger = world.root.issue(&Draft::leaf(THEM));
    for expect in [&[][..], &[US][..]] {
        let [_, outbound] = meet(&ours, &stranger, expect).await;
        let refusal = outbound.ours.unwrap_err();
        assert!(matches!(refusal, HandshakeError::Expectation { .. }));
        assert_eq!((refusal.code(), refusal.claimed()), ("unexpected_identity", Some(&id(THEM))));
        assert!(outbound.theirs.unwrap().contains("AccessDenied"));
    }
}

#[tokio::test]
async fn a_refusal_names_the_id_that_was_claimed() {
    let world = World::new();
    let stranger = world.partner.issue(&Draft::leaf(THEM));
    for outcome in meet(&world.ours(), &stranger, &[THEM]).await {
        assert_eq!(outcome.ours.unwrap_err().claimed(), Some(&id(THEM)));
    }
}

#[tokio::test]
async fn a_certificate_without_its_key_is_refused() {
    let world = World::new();
    let mut thief = world.root.issue(&Draft::leaf("spiffe://example.org/prod/thief"));
    thief.chain = world.root.issue(&Draft::leaf(THEM)).chain;
    for outcome in meet(&world.ours(), &thief, &[THEM]).await {
        let refusal = outcome.ours.unwrap_err();
        assert_eq!((refusal.code(), refusal.claimed()), ("key_not_proven", Some(&id(THEM))));
    }
}

#[tokio::test]
async fn a_client_hears_of_its_refusal_with_the_first_read() {
    let world = World::new();
    let elsewhere = World::new();
    // Each side has its own idea of example.org; only the client's covers the server.
    let mut bundles = elsewhere.bundles();
    bundles.insert(super::world::domain("example.org"), world.root.chain.clone());
    let acceptor = Acceptor::new(world.ours(), &[], Callers::Verified);
    let connector =
        Connector::new(elsewhere.ours_with(bundles, Settings::default()), &[], vec![id(US)]);
    let (accepted, connected) = shake(&acceptor, &connector).await;
    assert_eq!(accepted.unwrap_err().code(), "bad_signature");
    let mut connected = connected.unwrap();
    let error = connected.stream.read_u8().await.unwrap_err();
    assert_eq!(peer_alert(&error).as_deref(), Some("DecryptError"));
}

#[tokio::test]
async fn a_server_that_its_client_refuses_hears_of_it_at_once() {
    let world = World::new();
    let elsewhere = World::new();
    let ours = world.ours();
    let (acceptor, _) = pair(&elsewhere.ours(), &[]);
    let (_, connector) = pair(&ours, &[]);
    let (accepted, connected) = shake(&acceptor, &connector).await;
    assert_eq!(connected.unwrap_err().code(), "bad_signature");
    let refusal = accepted.unwrap_err();
    assert!(matches!(&refusal, HandshakeError::Alert(name) if name == "DecryptError"));
    assert_eq!(refusal.code(), "refused_by_peer");
}

#[tokio::test]
async fn the_application_protocol_is_the_servers_choice_among_the_clients() {
    const HTTP1: Alpn = Alpn::Http1;
    const HTTP2: Alpn = Alpn::Http2;
    let world = World::new();
    let ours = world.ours();
    let cases: &[(&[Alpn], &[Alpn], Option<Alpn>)] = &[
        (&[HTTP2, HTTP1], &[HTTP1, HTTP2], Some(HTTP2)),
        (&[HTTP2, HTTP1], &[HTTP1], Some(HTTP1)),
        (&[HTTP2, HTTP1], &[], Some(Alpn::None)),
        (&[HTTP2, HTTP1], &[Alpn::None], Some(Alpn::None)),
        (&[], &[HTTP1], Some(Alpn::None)),
        (&[], &[], Some(Alpn::None)),
        (&[HTTP1], &[HTTP2], None),
    ];
    for (offered, wanted, agreed) in cases {
        let acceptor = Acceptor::new(ours.clone(), offered, Callers::Verified);
        let connector = Connector::new(ours.clone(), wanted, vec![id(US)]);
        let (accepted, connected) = shake(&acceptor, &connector).await;
        match agreed {
            Some(alpn) => {
                assert_eq!((accepted.unwrap().alpn, connected.unwrap().alpn), (*alpn, *alpn));
            }
            None => {
                assert_eq!(accepted.unwrap_err().code(), "incompatible");
                assert_eq!(connected.unwrap_err().code(), "refused_by_peer");
            }
        }
    }
}

#[test]
fn every_reason_has_a_code_of_its_own() {
    let codes: HashSet<&str> = SvidError::ALL.iter().map(|reason| reason.as_code()).collect();
    assert_eq!(codes.len(), SvidError::ALL.len());
    let plain = |code: &str| code.bytes().all(|it| matches!(it, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    assert!(codes.iter().all(|code| plain(code)), "{codes:?}");
}
