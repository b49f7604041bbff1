//! Servers that are known by their name, and those that only say so.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::TlsAcceptor;

use super::testkit::{CLIENT_AUTH, Draft, HOUR, Issued, Name, at, now};
use super::world::{World, pipe, rude_server, soon, web_server};
use crate::tls::{Alpn, HandshakeError, HostName, Named, NamedConnector, Settings};

const NAME: &str = "billing.example";
const NAMES: &[Name] = &[Name::Dns(NAME), Name::Dns("*.wild.example"), Name::Ip([192, 0, 2, 7])];

fn connector(world: &World, name: &str) -> NamedConnector {
    let name = HostName::parse(name).unwrap();
    NamedConnector::new(world.roots(), Settings::default(), name, &[])
}

/// What the server saw of the handshake.
struct Seen {
    server_name: Option<String>,
    kind: Option<HandshakeKind>,
    certificates: usize,
}

/// Connects; the server says one byte, with which tickets come.
async fn meet(
    connector: &NamedConnector,
    server: Arc<ServerConfig>,
    now: SystemTime,
) -> (Result<Named<DuplexStream>, HandshakeError>, Result<Seen, String>) {
    let (near, far) = pipe();
    let ours = async {
        let mut named = connector.connect(near, now).await?;
        assert_eq!(named.stream.read_u8().await.unwrap(), b'!');
        Ok(named)
    };
    let theirs = async {
        let accepted = TlsAcceptor::from(server).accept(far).await;
        let mut stream = accepted.map_err(|error| error.to_string())?;
        stream.write_all(b"!").await.unwrap();
        stream.flush().await.unwrap();
        let session = stream.get_ref().1;
        Ok(Seen {
            server_name: session.server_name().map(str::to_owned),
            kind: session.handshake_kind(),
            certificates: session.peer_certificates().map_or(0, <[_]>::len),
        })
    };
    soon(async { tokio::join!(ours, theirs) }).await
}

fn server(shown: &Issued) -> Arc<ServerConfig> {
    Arc::new(web_server(shown, rustls::ALL_VERSIONS))
}

#[tokio::test]
async fn a_server_is_believed_for_each_name_in_its_certificate() {
    let world = World::new();
    let server = server(&world.web.issue(&Draft::server(NAMES)));
    // An address is never sent as a name.
    let rows = [
        (NAME, Some(NAME)),
        ("a.wild.example", Some("a.wild.example")),
        ("BILLING.example", Some("billing.example")),
        ("192.0.2.7", None),
    ];
    for (name, sent) in rows {
        let (named, seen) = meet(&connector(&world, name), Arc::clone(&server), now()).await;
        let (named, seen) = (named.unwrap(), seen.unwrap());
        assert_eq!((named.not_before, named.not_after), (at(-HOUR), at(HOUR)));
        let sent_name = seen.server_name.as_deref().map(str::to_ascii_lowercase);
        assert_eq!((sent_name.as_deref(), seen.certificates), (sent, 0), "{name}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_prove_its_name_is_told_and_refused() {
    type Make = fn(&World) -> Issued;
    let good: Make = |world| world.web.issue(&Draft::server(NAMES));
    let rows: &[(&str, Make, &str)] = &[
        ("other.example", good, "not valid for `other.example`"),
        ("a.b.wild.example", good, "not valid for `a.b.wild.example`"),
        ("wild.example", good, "not valid for `wild.example`"),
        ("192.0.2.8", good, "not valid for `192.0.2.8`"),
        (NAME, |world| world.partner.issue(&Draft::server(NAMES)), "signature"),
        (
            NAME,
            |_| {
                Issued::root(&Draft::authority("", "stranger").with(|draft| draft.san = None))
                    .issue(&Draft::server(NAMES))
            },
            "unknown authority",
        ),
        (
            NAME,
            |world| world.web.issue(&Draft::server(NAMES).with(|draft| draft.valid = (-9, -1))),
            "has expired",
        ),
        (
            NAME,
            |world| world.web.issue(&Draft::server(NAMES).with(|draft| draft.valid = (1, 9))),
            "not valid yet",
        ),
        (
            NAME,
            |world| {
                let purposes = Some(vec![CLIENT_AUTH]);
                world.web.issue(&Draft::server(NAMES).with(|draft| draft.purposes = purposes))
            },
            "not for servers",
        ),
        (
            NAME,
            |world| {
                let authority = Some((true, None));
                world.web.issue(&Draft::server(NAMES).with(|draft| draft.constraints = authority))
            },
            "an authority's",
        ),
        (
            NAME,
            |world| {
                let mut thief = world.web.issue(&Draft::server(&[Name::Dns("thief.example")]));
                thief.chain = world.web.issue(&Draft::server(NAMES)).chain;
                thief
            },
            "does not hold the certificate's key",
        ),
    ];
    for (name, make, why) in rows {
        let world = World::new();
        let (named, seen) = meet(&connector(&world, name), server(&make(&world)), now()).await;
        let refusal = named.unwrap_err();
        let HandshakeError::Unproven(reason) = &refusal else { panic!("{why}: {refusal:?}") };
        assert!(reason.contains(why), "want {why}, got {reason}");
        assert_eq!((refusal.code(), refusal.claimed()), ("unproven_name", None));
        assert!(seen.err().is_some_and(|heard| heard.contains("alert")), "{why}: not told");
    }
}

/// The library's own clock would say the contrary: the tests take place in 2046.
#[tokio::test]
async fn the_time_is_the_connections() {
    let world = World::new();
    let server = server(&world.web.issue(&Draft::server(NAMES)));
    for (moment, believed) in
        [(at(-2 * HOUR), false), (at(0), true), (at(2 * HOUR), false), (SystemTime::now(), false)]
    {
        let (named, _) = meet(&connector(&world, NAME), Arc::clone(&server), moment).await;
        assert_eq!(named.is_ok(), believed, "{moment:?}");
    }
}

#[tokio::test]
async fn nothing_is_resumed_with_a_server_that_would() {
    let world = World::new();
    let issued = world.web.issue(&Draft::server(NAMES));
    for version in [&TLS12, &TLS13] {
        let server = Arc::new(web_server(&issued, &[version]));
        let name = HostName::parse(NAME).unwrap();
        let settings = Settings { allow_tls12: true };
        let connector = NamedConnector::new(world.roots(), settings, name, &[]);
        for _ in 0..2 {
            let (named, seen) = meet(&connector, Arc::clone(&server), now()).await;
            let kind = named.unwrap().stream.get_ref().1.handshake_kind();
            assert_eq!(kind, Some(HandshakeKind::Full));
            assert_eq!(seen.unwrap().kind, Some(HandshakeKind::Full));
        }
    }
}

#[tokio::test]
async fn tls_1_2_is_spoken_with_servers_only_when_allowed() {
    let world = World::new();
    let server = Arc::new(web_server(&world.web.issue(&Draft::server(NAMES)), &[&TLS12]));
    let name = HostName::parse(NAME).unwrap();
    for allow_tls12 in [false, true] {
        let settings = Settings { allow_tls12 };
        let connector = NamedConnector::new(world.roots(), settings, name.clone(), &[]);
        let (named, _) = meet(&connector, Arc::clone(&server), now()).await;
        assert_eq!(named.is_ok(), allow_tls12);
    }
}

#[tokio::test]
async fn we_show_no_certificate_even_if_asked() {
    let world = World::new();
    let server = Arc::new(rude_server(&world.web.issue(&Draft::server(NAMES))));
    let (near, far) = pipe();
    let connector = connector(&world, NAME);
    let (_, accepted) =
        tokio::join!(connector.connect(near, now()), TlsAcceptor::from(server).accept(far));
    let heard = accepted.unwrap_err().to_string();
    assert!(heard.contains("no certificates"), "{heard}");
}

#[tokio::test]
async fn the_protocol_is_negotiated_with_a_named_server() {
    let world = World::new();
    let mut server = web_server(&world.web.issue(&Draft::server(NAMES)), rustls::ALL_VERSIONS);
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    let server = Arc::new(server);
    let name = HostName::parse(NAME).unwrap();
    for (offered, agreed) in
        [(vec![Alpn::Http2, Alpn::Http1], Some(Alpn::Http1)), (vec![Alpn::Http2], None)]
    {
        let connector =
            NamedConnector::new(world.roots(), Settings::default(), name.clone(), &offered);
        let (named, _) = meet(&connector, Arc::clone(&server), now()).await;
        match agreed {
            Some(agreed) => assert_eq!(named.unwrap().alpn, agreed),
            None => assert_eq!(named.unwrap_err().code(), "refused_by_peer"),
        }
    }
}

#[tokio::test]
async fn a_server_without_tls_has_not_proven_anything() {
    let world = World::new();
    let connector = connector(&world, NAME);
    let (near, mut far) = pipe();
    far.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    assert_eq!(soon(connector.connect(near, now())).await.unwrap_err().code(), "not_tls");
    let (near, far) = pipe();
    drop(far);
    assert_eq!(soon(connector.connect(near, now())).await.unwrap_err().code(), "io");
}

#[test]
fn a_host_name_is_a_name_or_an_address_and_nothing_else() {
    for good in ["a.example", "localhost", "192.0.2.7", "2001:db8::7"] {
        assert_eq!(HostName::parse(good).unwrap().to_string(), good);
    }
    for bad in ["", "a.example:443", "https://a.example", "[2001:db8::7]", "a b", "*.a.example"] {
        assert_eq!(HostName::parse(bad), None, "{bad}");
    }
}
