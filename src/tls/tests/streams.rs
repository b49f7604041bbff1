//! What a connection carries once hands are shaken, with a peer of another make on its other end.

use std::io::{ErrorKind, IoSlice};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::testkit::{Draft, now};
use super::world::{THEM, World, any_name, id, rude_client, rude_server, soon};
use crate::tls::{Acceptor, Callers, Connector, peer_alert};

trait Both: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Both for T {}

type Ours = Box<dyn Both>;
type Theirs = TlsStream<DuplexStream>;

/// Accepted by us, and made by us, over a pipe that holds `room` bytes. With `fragment`, their
/// records are as small.
async fn connections(room: usize, fragment: Option<usize>) -> [(Ours, Theirs); 2] {
    let world = World::new();
    let them = world.root.issue(&Draft::leaf(THEM));

    let acceptor = Acceptor::new(world.ours(), &[], Callers::Verified);
    let mut config = rude_client(Some(&them));
    config.max_fragment_size = fragment;
    let client = TlsConnector::from(Arc::new(config));
    let (near, far) = duplex(room);
    let (ours, theirs) =
        soon(async { tokio::join!(acceptor.accept(near, now()), client.connect(any_name(), far)) })
            .await;
    let accepted: (Ours, Theirs) = (Box::new(ours.unwrap().stream), theirs.unwrap().into());

    let connector = Connector::new(world.ours(), &[], vec![id(THEM)]);
    let mut config = rude_server(&them);
    config.max_fragment_size = fragment;
    // They would fill a small pipe that nobody reads yet.
    config.send_tls13_tickets = 0;
    let server = TlsAcceptor::from(Arc::new(config));
    let (near, far) = duplex(room);
    let (ours, theirs) =
        soon(async { tokio::join!(connector.connect(near, now()), server.accept(far)) }).await;
    [accepted, (Box::new(ours.unwrap().stream), theirs.unwrap().into())]
}

fn text(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place % 251) as u8).collect()
}

#[tokio::test]
async fn bytes_come_out_as_they_went_in_however_they_are_cut() {
    for (room, fragment) in [(1 << 20, None), (3_000, None), (100, Some(100))] {
        for (ours, theirs) in connections(room, fragment).await {
            let (mut our_read, mut our_write) = tokio::io::split(ours);
            let (mut their_read, mut their_write) = tokio::io::split(theirs);
            let sent = text(300_000);
            let in_pieces = async {
                // What begins where a page of memory does goes a way of its own.
                let (small, rest) = sent.split_at(4096 - sent.as_ptr().addr() % 4096);
                let (large, mut rest) = rest.split_at(150_000);
                our_write.write_all(small).await.unwrap();
                our_write.write_all(large).await.unwrap();
                while !rest.is_empty() {
                    let (one, more) = rest.split_at(rest.len().min(9));
                    let (other, _) = more.split_at(more.len().min(20_000));
                    let slices = [one, &[], other, &[]].map(IoSlice::new);
                    let written = our_write.write_vectored(&slices).await.unwrap();
                    rest = &rest[written..];
                }
                our_write.flush().await.unwrap();
            };
            let theirs_heard = async {
                let mut heard = vec![0; sent.len()];
                their_read.read_exact(&mut heard).await.unwrap();
                heard
            };
            let theirs_sent = async {
                their_write.write_all(&sent).await.unwrap();
                their_write.flush().await.unwrap();
            };
            let ours_heard = async {
                let mut heard = vec![0; sent.len()];
                let (first, rest) = heard.split_at_mut(1_000);
                for byte in first {
                    *byte = our_read.read_u8().await.unwrap();
                }
                our_read.read_exact(rest).await.unwrap();
                heard
            };
            let ((), theirs, (), ours) =
                soon(async { tokio::join!(in_pieces, theirs_heard, theirs_sent, ours_heard) })
                    .await;
            assert!(theirs == sent && ours == sent, "{room} {fragment:?}");
        }
    }
}

#[tokio::test]
async fn the_end_of_one_direction_leaves_the_other() {
    for (mut ours, mut theirs) in connections(1 << 16, None).await {
        ours.write_all(b"question").await.unwrap();
        ours.shutdown().await.unwrap();
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"question");

        theirs.write_all(b"answer").await.unwrap();
        theirs.shutdown().await.unwrap();
        let mut heard = Vec::new();
        ours.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"answer");
        assert_eq!(ours.read(&mut [0; 8]).await.unwrap(), 0);
    }
    for (mut ours, mut theirs) in connections(1 << 16, None).await {
        theirs.shutdown().await.unwrap();
        assert_eq!(ours.read(&mut [0; 8]).await.unwrap(), 0);
        ours.write_all(b"still here").await.unwrap();
        ours.shutdown().await.unwrap();
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"still here");
    }
}

#[tokio::test]
async fn a_torn_connection_is_no_end_but_what_came_before_is_heard() {
    for (mut ours, mut theirs) in connections(1 << 16, None).await {
        theirs.write_all(b"half a").await.unwrap();
        theirs.flush().await.unwrap();
        drop(theirs);
        let mut heard = Vec::new();
        let error = ours.read_to_end(&mut heard).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        assert_eq!(heard, b"half a");
    }
}

#[tokio::test]
async fn a_forged_record_ends_it_and_the_peer_is_told() {
    for (mut ours, mut theirs) in connections(1 << 16, None).await {
        theirs.write_all(b"genuine").await.unwrap();
        theirs.flush().await.unwrap();
        let forged = [&[0x17, 3, 3, 0, 32][..], &[0; 32]].concat();
        theirs.get_mut().0.write_all(&forged).await.unwrap();

        let mut heard = Vec::new();
        let error = ours.read_to_end(&mut heard).await.unwrap_err();
        assert_eq!((heard.as_slice(), error.kind()), (&b"genuine"[..], ErrorKind::InvalidData));
        assert!(ours.read(&mut [0; 8]).await.is_err(), "it stays so");
        assert!(ours.write(b"more").await.is_err());
        let told = soon(theirs.read_u8()).await.unwrap_err();
        assert_eq!(peer_alert(&told).as_deref(), Some("BadRecordMac"));
    }
}

#[tokio::test]
async fn keys_are_renewed_on_the_way() {
    for (mut ours, mut theirs) in connections(1 << 16, None).await {
        for round in 0..3_u8 {
            match &mut theirs {
                TlsStream::Client(it) => it.get_mut().1.refresh_traffic_keys().unwrap(),
                TlsStream::Server(it) => it.get_mut().1.refresh_traffic_keys().unwrap(),
            }
            theirs.write_all(&[round; 5]).await.unwrap();
            theirs.flush().await.unwrap();
            let mut heard = [0; 5];
            soon(ours.read_exact(&mut heard)).await.unwrap();
            assert_eq!(heard, [round; 5]);
            // They asked for new keys of ours as well.
            ours.write_all(&heard).await.unwrap();
            ours.flush().await.unwrap();
            let mut back = [0; 5];
            soon(theirs.read_exact(&mut back)).await.unwrap();
            assert_eq!(back, heard);
        }
    }
}

#[tokio::test]
async fn a_socket_that_takes_nothing_holds_the_writer_up() {
    for (mut ours, mut theirs) in connections(1_000, None).await {
        let sent = text(1 << 20);
        let mut taken = 0;
        // As far as it goes without a reader.
        while let Ok(Ok(written)) =
            tokio::time::timeout(std::time::Duration::ZERO, ours.write(&sent[taken..])).await
        {
            taken += written;
        }
        assert!(taken <= 128 * 1024, "{taken}");
        let reading = async {
            let mut heard = vec![0; sent.len()];
            theirs.read_exact(&mut heard).await.unwrap();
            heard
        };
        let writing = async {
            ours.write_all(&sent[taken..]).await.unwrap();
            ours.flush().await.unwrap();
        };
        let (heard, ()) = soon(async { tokio::join!(reading, writing) }).await;
        assert!(heard == sent);
    }
}
