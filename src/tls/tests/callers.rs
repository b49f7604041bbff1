//! Callers with and without a certificate, and by what they come to know us.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, ProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::TlsConnector;

use super::testkit::{Draft, HOUR, Issued, Name, at, now};
use super::world::{
    THEM, US, World, followed, id, identity, on_disk, pipe, rude_client_with, soon,
};
use crate::identity::Material;
use crate::live::Live;
use crate::tls::{
    Accepted, Acceptor, Alpn, Callers, Certificate, Connector, Context, HandshakeError, HostName,
    NamedConnector, Presented, Settings, contexts,
};

const NAME: &str = "orders.example";
/// Sent to nobody as a server name.
const NO_NAME: &str = "192.0.2.1";
const SVID: &str = "svid";
const FILES: &str = "files";

type Versions = &'static [&'static rustls::SupportedProtocolVersion];

const ONLY_TLS12: Versions = &[&TLS12];
const ONLY_TLS13: Versions = &[&TLS13];

/// A caller without manners: whom it asks for, what it shows, and how it speaks.
struct Caller<'a> {
    name: &'a str,
    shown: Option<&'a Issued>,
    versions: Versions,
    alpn: &'a [&'a [u8]],
}

/// How the caller saw it.
struct Seen {
    /// The leaf that it was shown.
    leaf: Option<Vec<u8>>,
    kind: Option<HandshakeKind>,
    tickets: u32,
    /// What ended the connection, if that was not the end of the test.
    heard: Option<String>,
}

impl<'a> Caller<'a> {
    fn new(name: &'a str, shown: Option<&'a Issued>) -> Self {
        Self { name, shown, versions: rustls::ALL_VERSIONS, alpn: &[] }
    }

    fn connector(&self) -> TlsConnector {
        let mut config = rude_client_with(self.shown, self.versions);
        config.alpn_protocols = self.alpn.iter().map(|name| name.to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }

    async fn call(
        &self,
        acceptor: &Acceptor,
        now: SystemTime,
    ) -> (Result<Accepted<DuplexStream>, HandshakeError>, Seen) {
        call_by(&self.connector(), self.name, acceptor, now).await
    }
}

async fn call_by(
    connector: &TlsConnector,
    name: &str,
    acceptor: &Acceptor,
    now: SystemTime,
) -> (Result<Accepted<DuplexStream>, HandshakeError>, Seen) {
    let (near, far) = pipe();
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
    let theirs = async {
        let mut stream = match connector.connect(name, far).await {
            Ok(stream) => stream,
            Err(error) => {
                let heard = Some(error.to_string());
                return Seen { leaf: None, kind: None, tickets: 0, heard };
            }
        };
        // Only the first read shows what the server made of our certificate.
        let heard = stream.read_u8().await.err().map(|error| error.to_string());
        let session = stream.get_ref().1;
        Seen {
            leaf: session.peer_certificates().and_then(|chain| Some(chain.first()?.to_vec())),
            kind: session.handshake_kind(),
            tickets: session.tls13_tickets_received(),
            heard,
        }
    };
    let ours = async {
        let mut accepted = acceptor.accept(near, now).await?;
        accepted.stream.write_all(b"!").await.unwrap();
        accepted.stream.flush().await.unwrap();
        Ok(accepted)
    };
    soon(async { tokio::join!(ours, theirs) }).await
}

fn from_files(world: &World) -> (Issued, Live<Certificate>) {
    let names = [Name::Dns(NAME), Name::Dns("*.wild.example")];
    let issued = world.web.issue(&Draft::server(&names).with(|draft| draft.valid = (-9, 2 * HOUR)));
    let certificate = followed(&issued).certificate.live();
    (issued, certificate)
}

/// The agent has never said anything.
fn nobody(allow_tls12: bool) -> Live<Context> {
    contexts(&identity(Material::nothing()).1, Settings { allow_tls12 })
}

/// What was presented, by its own account and by what the caller saw.
fn presented(own: &Presented, seen: &Seen, files: &Issued) -> &'static str {
    let by_files = seen.leaf.as_deref() == Some(files.leaf().as_ref());
    match own {
        Presented::Svid(own) => {
            assert_eq!((&own.id, own.not_after, by_files), (&id(US), at(HOUR), false));
            SVID
        }
        Presented::Files { not_before, not_after } => {
            assert_eq!((*not_before, *not_after, by_files), (at(-9), at(2 * HOUR), true));
            FILES
        }
    }
}

#[tokio::test]
async fn any_caller_sees_the_certificate_that_it_asks_for_and_else_our_svid() {
    let world = World::new();
    let (issued, files) = from_files(&world);
    let acceptor = Acceptor::new(world.ours(), &[], Callers::Any(Some(files)));
    let them = world.root.issue(&Draft::leaf(THEM));
    for (name, want) in [
        (NO_NAME, SVID),
        (NAME, FILES),
        ("ORDERS.example", FILES),
        ("a.wild.example", FILES),
        ("wild.example", SVID),
        ("a.b.wild.example", SVID),
        ("other.example", SVID),
    ] {
        for shown in [None, Some(&them)] {
            let (accepted, seen) = Caller::new(name, shown).call(&acceptor, now()).await;
            let accepted = accepted.unwrap();
            assert_eq!(presented(&accepted.own, &seen, &issued), want, "{name}");
            let peer = accepted.peer.as_ref().map(|peer| peer.uri());
            assert_eq!((peer, seen.heard), (shown.map(|_| THEM), None), "{name}");
        }
    }
}

#[tokio::test]
async fn without_a_certificate_from_files_any_caller_sees_our_svid() {
    let world = World::new();
    let (issued, _) = from_files(&world);
    let acceptor = Acceptor::new(world.ours(), &[], Callers::Any(None));
    let (accepted, seen) = Caller::new(NAME, None).call(&acceptor, now()).await;
    let accepted = accepted.unwrap();
    assert_eq!(presented(&accepted.own, &seen, &issued), SVID);
    assert!(accepted.peer.is_none());
}

#[tokio::test]
async fn without_an_svid_the_certificate_from_files_serves_whoever_shows_none() {
    let world = World::new();
    let (issued, files) = from_files(&world);
    let acceptor = Acceptor::new(nobody(false), &[], Callers::Any(Some(files)));
    let them = world.root.issue(&Draft::leaf(THEM));
    for name in [NO_NAME, NAME, "other.example"] {
        let (accepted, seen) = Caller::new(name, None).call(&acceptor, now()).await;
        let accepted = accepted.unwrap();
        assert_eq!(presented(&accepted.own, &seen, &issued), FILES, "{name}");
        assert!(accepted.peer.is_none());

        // We cannot know who that is.
        let (accepted, seen) = Caller::new(name, Some(&them)).call(&acceptor, now()).await;
        let refusal = accepted.unwrap_err();
        assert_eq!((refusal.code(), refusal.claimed()), ("unknown_trust_domain", Some(&id(THEM))));
        assert!(seen.heard.unwrap().contains("UnknownCA"));
    }
}

#[tokio::test]
async fn only_what_is_valid_is_presented() {
    let world = World::new();
    let short = world.web.issue(&Draft::server(&[Name::Dns(NAME)]).with(|draft| {
        draft.valid = (-9, HOUR / 2);
    }));
    let short = followed(&short).certificate.live();
    let (issued, long) = from_files(&world);
    let callers = |files: &Live<Certificate>| {
        [Callers::Any(Some(files.clone())), Callers::Unverified(Some(files.clone()))]
    };
    // Our SVID is valid for an hour.
    for (files, moment, want) in [
        (&short, at(HOUR / 2), Some(SVID)),
        (&short, at(HOUR), None),
        (&long, at(HOUR), Some(FILES)),
        (&long, at(2 * HOUR), None),
    ] {
        for callers in callers(files) {
            let acceptor = Acceptor::new(world.ours(), &[], callers);
            let Some(want) = want else {
                // Nobody has said a word: nothing is waited for.
                let (near, _far) = pipe();
                let refusal = soon(acceptor.accept(near, moment)).await.unwrap_err();
                assert_eq!(refusal.code(), "identity_unavailable");
                continue;
            };
            let (accepted, seen) = Caller::new(NAME, None).call(&acceptor, moment).await;
            assert_eq!(presented(&accepted.unwrap().own, &seen, &issued), want);
        }
    }
}

#[tokio::test]
async fn without_svid_and_files_nobody_is_served() {
    for callers in [Callers::Verified, Callers::Any(None), Callers::Unverified(None)] {
        let acceptor = Acceptor::new(nobody(false), &[], callers);
        let (near, _far) = pipe();
        let refusal = soon(acceptor.accept(near, now())).await.unwrap_err();
        assert_eq!(refusal.code(), "identity_unavailable");
    }
}

/// A certificate from files does not make a listener for verified peers one for strangers.
#[tokio::test]
async fn verified_callers_still_need_a_certificate() {
    let world = World::new();
    for versions in [ONLY_TLS12, ONLY_TLS13] {
        let ours = world.ours_with(world.bundles(), Settings { allow_tls12: true });
        let acceptor = Acceptor::new(ours, &[], Callers::Verified);
        let caller = Caller { versions, ..Caller::new(NAME, None) };
        let (accepted, seen) = caller.call(&acceptor, now()).await;
        assert_eq!(accepted.unwrap_err().code(), "no_certificate");
        assert!(seen.heard.is_some_and(|heard| heard.contains("alert")));
    }
}

#[tokio::test]
async fn whoever_shows_a_bad_certificate_is_not_taken_for_someone_without() {
    let world = World::new();
    let (_, files) = from_files(&world);
    let mut thief = world.root.issue(&Draft::leaf("spiffe://example.org/prod/thief"));
    thief.chain = world.root.issue(&Draft::leaf(THEM)).chain;
    let expired = Draft::leaf(THEM).with(|draft| draft.valid = (-HOUR, -1));
    let rows = [
        (world.root.issue(&expired), "expired"),
        (world.partner.issue(&Draft::leaf(THEM)), "bad_signature"),
        (world.root.issue(&Draft::leaf("spiffe://else.example/x")), "unknown_trust_domain"),
        (world.web.issue(&Draft::server(&[Name::Dns("them.example")])), "no_uri"),
        (thief, "key_not_proven"),
    ];
    for (shown, want) in rows {
        for versions in [ONLY_TLS12, ONLY_TLS13] {
            for name in [NAME, NO_NAME] {
                let ours = world.ours_with(world.bundles(), Settings { allow_tls12: true });
                let acceptor = Acceptor::new(ours, &[], Callers::Any(Some(files.clone())));
                let caller = Caller { versions, ..Caller::new(name, Some(&shown)) };
                let (accepted, seen) = caller.call(&acceptor, now()).await;
                assert_eq!(accepted.unwrap_err().code(), want);
                assert!(seen.heard.is_some_and(|heard| heard.contains("alert")), "{want}");
            }
        }
    }
}

#[tokio::test]
async fn unverified_callers_are_not_asked_and_see_the_certificate_from_files() {
    let world = World::new();
    let (issued, files) = from_files(&world);
    let them = world.root.issue(&Draft::leaf(THEM));
    let expired = world.root.issue(&Draft::leaf(THEM).with(|draft| draft.valid = (-HOUR, -1)));
    let rows = [
        (world.ours(), Some(files.clone()), FILES),
        (nobody(false), Some(files), FILES),
        (world.ours(), None, SVID),
    ];
    for (ours, files, want) in rows {
        let acceptor = Acceptor::new(ours, &[], Callers::Unverified(files));
        // What is not asked for is not sent, so even a bad one does no harm.
        for shown in [None, Some(&them), Some(&expired)] {
            for name in [NO_NAME, NAME, "other.example"] {
                let (accepted, seen) = Caller::new(name, shown).call(&acceptor, now()).await;
                let accepted = accepted.unwrap();
                assert_eq!(presented(&accepted.own, &seen, &issued), want, "{name}");
                assert!(accepted.peer.is_none() && seen.heard.is_none());
                assert!(accepted.stream.get_ref().1.peer_certificates().is_none());
            }
        }
    }
}

#[tokio::test]
async fn no_caller_resumes_anything() {
    let world = World::new();
    let (_, files) = from_files(&world);
    for callers in [Callers::Any(Some(files.clone())), Callers::Unverified(Some(files))] {
        let ours = world.ours_with(world.bundles(), Settings { allow_tls12: true });
        let acceptor = Acceptor::new(ours, &[], callers);
        for versions in [ONLY_TLS12, ONLY_TLS13] {
            // One configuration, so that the client could resume if we let it.
            let connector = Caller { versions, ..Caller::new(NAME, None) }.connector();
            for _ in 0..2 {
                let (accepted, seen) = call_by(&connector, NAME, &acceptor, now()).await;
                let kind = accepted.unwrap().stream.get_ref().1.handshake_kind();
                assert_eq!(kind, Some(HandshakeKind::Full));
                assert_eq!((seen.kind, seen.tickets), (Some(HandshakeKind::Full), 0));
            }
        }
    }
}

#[tokio::test]
async fn callers_without_certificate_speak_tls_1_2_only_when_allowed() {
    let world = World::new();
    let (_, files) = from_files(&world);
    for allow_tls12 in [false, true] {
        for callers in [Callers::Any(Some(files.clone())), Callers::Unverified(Some(files.clone()))]
        {
            // The settings are kept without an SVID, too.
            for ours in
                [world.ours_with(world.bundles(), Settings { allow_tls12 }), nobody(allow_tls12)]
            {
                let acceptor = Acceptor::new(ours, &[], callers.clone());
                let caller = Caller { versions: ONLY_TLS12, ..Caller::new(NAME, None) };
                match caller.call(&acceptor, now()).await.0 {
                    Ok(accepted) => {
                        let version = accepted.stream.get_ref().1.protocol_version();
                        assert_eq!((version, allow_tls12), (Some(ProtocolVersion::TLSv1_2), true));
                    }
                    Err(refusal) => {
                        assert_eq!((refusal.code(), allow_tls12), ("incompatible", false));
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn callers_without_certificate_negotiate_the_protocol_as_all_do() {
    let world = World::new();
    let (_, files) = from_files(&world);
    for callers in [Callers::Any(Some(files.clone())), Callers::Unverified(Some(files))] {
        let acceptor = Acceptor::new(world.ours(), &[Alpn::Http2, Alpn::Http1], callers);
        let rows: [(&[&[u8]], _); 4] = [
            (&[b"http/1.1", b"h2"], Some(Alpn::Http2)),
            (&[b"http/1.1"], Some(Alpn::Http1)),
            (&[], Some(Alpn::None)),
            (&[b"smtp"], None),
        ];
        for (alpn, agreed) in rows {
            let caller = Caller { alpn, ..Caller::new(NAME, None) };
            match caller.call(&acceptor, now()).await.0 {
                Ok(accepted) => assert_eq!(Some(accepted.alpn), agreed),
                Err(refusal) => assert_eq!((refusal.code(), agreed), ("incompatible", None)),
            }
        }
    }
}

#[tokio::test]
async fn what_is_not_a_handshake_is_told_apart_for_all_callers() {
    let world = World::new();
    let (_, files) = from_files(&world);
    for callers in [Callers::Any(Some(files.clone())), Callers::Unverified(Some(files))] {
        let acceptor = Acceptor::new(world.ours(), &[], callers);
        let (near, mut far) = pipe();
        far.write_all(b"GET / HTTP/1.1\r\nhost: us\r\n\r\n").await.unwrap();
        assert_eq!(soon(acceptor.accept(near, now())).await.unwrap_err().code(), "not_tls");
        let (near, far) = pipe();
        drop(far);
        assert_eq!(soon(acceptor.accept(near, now())).await.unwrap_err().code(), "io");
    }
}

#[tokio::test]
async fn a_new_certificate_is_for_new_connections_and_the_old_ones_live_on() {
    let world = World::new();
    let server = || world.web.issue(&Draft::server(&[Name::Dns(NAME)]));
    let (old, new) = (server(), server());
    let mut files = followed(&old);
    let callers = Callers::Any(Some(files.certificate.live()));
    let acceptor = Acceptor::new(world.ours(), &[], callers);
    let name = HostName::parse(NAME).unwrap();
    let connector = NamedConnector::new(world.roots(), Settings::default(), name, &[]);
    let shake = async || {
        let (near, far) = pipe();
        let both =
            async { tokio::join!(acceptor.accept(near, now()), connector.connect(far, now())) };
        let (accepted, named) = soon(both).await;
        (accepted.unwrap(), named.unwrap())
    };
    let (mut old_server, mut old_client) = shake().await;

    // Half of a change changes nothing.
    for (disk, want) in
        [(on_disk(&new, &old), &old), (on_disk(&old, &new), &old), (on_disk(&new, &new), &new)]
    {
        files.take(Ok(disk), now());
        let (accepted, named) = shake().await;
        assert!(matches!(accepted.own, Presented::Files { .. }) && accepted.peer.is_none());
        let seen = named.stream.get_ref().1.peer_certificates().unwrap();
        assert_eq!(seen.first(), Some(want.leaf()));
    }
    old_client.stream.write_all(b"still").await.unwrap();
    let mut still = [0; 5];
    old_server.stream.read_exact(&mut still).await.unwrap();
    assert_eq!(&still, b"still");
}

/// Ours send no name, so a certificate from files does not come between them.
#[tokio::test]
async fn our_own_connectors_are_peers_where_any_may_call() {
    let world = World::new();
    let (_, files) = from_files(&world);
    let ours = world.ours();
    let acceptor = Acceptor::new(ours.clone(), &[], Callers::Any(Some(files)));
    let connector = Connector::new(ours, &[], vec![id(US)]);
    let (accepted, connected) = super::world::shake(&acceptor, &connector).await;
    assert_eq!(accepted.unwrap().peer.unwrap().uri(), US);
    assert_eq!(connected.unwrap().peer.uri(), US);
}
