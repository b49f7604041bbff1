//! Both sides against each other, and against whoever does not keep to the protocol.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use proptest::prelude::*;
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf,
};
use tokio::sync::oneshot;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, timeout};

use super::cork::Cork;
use super::*;

const LIMITS: Limits = Limits {
    greeting: Duration::from_secs(10),
    streams: 100,
    header_bytes: 16 * 1024,
    stream_window: 1 << 16,
    connection_window: 1 << 20,
};
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;

/// Counts what is written on it, piece by piece, and may take in nothing at all.
struct Watched {
    stream: DuplexStream,
    writes: Rc<Cell<usize>>,
}

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.writes.set(this.writes.get() + 1);
        Pin::new(&mut this.stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

fn get() -> Option<Request<Full<Bytes>>> {
    Some(Request::get("http://orders/7").body(Full::default()).unwrap())
}

async fn hello(_: Request<Received>) -> Response<Full<Bytes>> {
    Response::new(Full::new(Bytes::from(vec![b'x'; 1024])))
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `GET http://a/`, which ends the stream if `ends`.
fn head(stream: u32, ends: bool) -> Vec<u8> {
    frame(1, if ends { 5 } else { 4 }, stream, &[0x82, 0x86, 0x84, 0x41, 1, b'a'])
}

/// What a server answers to these bytes until it hangs up, with the reason of its goodbye.
async fn goodbye_to(why: &str, bytes: Vec<u8>) -> Reason {
    let (near, far) = tokio::io::duplex(1 << 16);
    let (mut answers, mut requests) = tokio::io::split(far);
    let served = accept(near, LIMITS, hello);
    let asked = async {
        requests.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.ok();
        requests.write_all(&bytes).await.ok();
        // What was wrong with it is said before anybody hangs up.
        pending::<()>().await;
    };
    let answered = async {
        let mut answer = Vec::new();
        answers.read_to_end(&mut answer).await.ok();
        answer
    };
    let all = async {
        tokio::select! {
            (_, answer) = async { tokio::join!(served, answered) } => answer,
            () = asked => unreachable!(),
        }
    };
    let answer = timeout(Duration::from_secs(10), LocalSet::new().run_until(all)).await;
    let answer = answer.unwrap_or_else(|_| panic!("{why}: the connection goes on"));
    last_goodbye(&answer).unwrap_or_else(|| panic!("{why}: no goodbye was said"))
}

fn last_goodbye(mut answer: &[u8]) -> Option<Reason> {
    let mut found = None;
    while answer.len() >= 9 {
        let length = u32::from_be_bytes([0, answer[0], answer[1], answer[2]]) as usize;
        let payload = &answer[9..9 + length];
        if answer[3] == GO_AWAY {
            found = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()).into());
        }
        answer = &answer[9 + length..];
    }
    found
}

#[tokio::test]
async fn answers_of_one_turn_go_out_in_one_piece() {
    let writes = Rc::new(Cell::new(0));
    let (near, far) = tokio::io::duplex(1 << 20);
    let near = Watched { stream: near, writes: Rc::clone(&writes) };
    let all = async {
        spawn_local(accept(near, LIMITS, hello));
        let (requester, connection) = dial(far, LIMITS).await.unwrap();
        spawn_local(connection);
        let requester = Rc::new(requester);
        let asked: Vec<_> = (0..50)
            .map(|_| {
                let requester = Rc::clone(&requester);
                spawn_local(async move {
                    let answer = requester.send(&mut get()).await.unwrap();
                    answer.into_body().collect().await.unwrap().to_bytes().len()
                })
            })
            .collect();
        for answer in asked {
            assert_eq!(answer.await.unwrap(), 1024);
        }
    };
    LocalSet::new().run_until(all).await;
    assert!(writes.get() <= 15, "{} writes for 50 answers", writes.get());
}

/// Sends back what it was sent.
async fn echo(request: Request<Received>) -> Response<Received> {
    Response::new(request.into_body())
}

#[tokio::test]
async fn what_there_is_of_a_body_goes_out_with_its_head() {
    let writes = Rc::new(Cell::new(0));
    let (near, far) = tokio::io::duplex(1 << 20);
    let far = Watched { stream: far, writes: Rc::clone(&writes) };
    let all = async {
        spawn_local(accept(near, LIMITS, echo));
        let (requester, connection) = dial(far, LIMITS).await.unwrap();
        spawn_local(connection);
        // Greetings are over with that.
        requester.send(&mut get()).await.unwrap().into_body().collect().await.unwrap();
        let before = writes.get();
        let body = Full::new(Bytes::from_static(b"a message"));
        let mut call = Some(Request::post("http://orders/Echo").body(body).unwrap());
        let answer = requester.send(&mut call).await.unwrap().into_body().collect().await.unwrap();
        assert_eq!(answer.to_bytes(), "a message");
        assert_eq!(writes.get() - before, 1);
    };
    LocalSet::new().run_until(all).await;
}

/// Breaks off after a piece.
struct Half(Option<Bytes>);

impl http_body::Body for Half {
    type Data = Bytes;
    type Error = BrokeOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BrokeOff>>> {
        let broke_off = || BrokeOff(h2::Error::from(Reason::CANCEL).into());
        Poll::Ready(Some(self.0.take().map(http_body::Frame::data).ok_or_else(broke_off)))
    }
}

#[tokio::test]
async fn a_request_that_breaks_off_before_its_head_has_left_is_not_a_whole_one() {
    let (tell, told) = oneshot::channel();
    let tell = Cell::new(Some(tell));
    let answer = move |request: Request<Received>| {
        let tell = tell.take().unwrap();
        async move {
            tell.send(request.into_body().collect().await.map(|body| body.to_bytes())).ok();
            Response::new(Full::<Bytes>::default())
        }
    };
    let (near, far) = tokio::io::duplex(1 << 16);
    let all = async {
        spawn_local(accept(near, LIMITS, answer));
        let (requester, connection) = dial(far, LIMITS).await.unwrap();
        spawn_local(connection);
        let body = Half(Some(Bytes::from_static(&[b'x'; 1024])));
        let mut call = Some(Request::post("http://orders/Echo").body(body).unwrap());
        assert!(requester.send(&mut call).await.is_err());
        let StreamError(why) =
            timeout(Duration::from_secs(10), told).await.unwrap().unwrap().unwrap_err();
        assert_eq!(why.reason(), Some(Reason::CANCEL));
    };
    LocalSet::new().run_until(all).await;
}

/// A body without an end, which counts what was taken out of it and tells when it is dropped.
struct Endless {
    taken: Rc<Cell<usize>>,
    _dropped: Option<oneshot::Sender<()>>,
    /// After so many bytes nothing comes any more.
    ceases: usize,
    piece: usize,
}

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        if self.taken.get() >= self.ceases {
            return Poll::Pending;
        }
        self.taken.set(self.taken.get() + self.piece);
        let piece = &[b'x'; 1024][..self.piece];
        Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::copy_from_slice(piece)))))
    }
}

#[tokio::test(start_paused = true)]
async fn little_is_taken_for_somebody_who_takes_nothing() {
    // However short its pieces are: each takes up room.
    for (piece, most) in [(1024, 17 * 1024), (1, 17)] {
        assert!((1..=most).contains(&taken_by_nobody(piece).await));
    }
}

/// Bytes of an answer in pieces so long that are taken for somebody who takes nothing.
async fn taken_by_nobody(piece: usize) -> usize {
    let taken = Rc::new(Cell::new(0));
    let body = Cell::new(Some(Endless {
        taken: Rc::clone(&taken),
        _dropped: None,
        ceases: usize::MAX,
        piece,
    }));
    let answer = move |_: Request<Received>| {
        let body = body.take().unwrap();
        async move { Response::new(body) }
    };
    let (near, mut far) = tokio::io::duplex(1 << 20);
    let no_window = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let all = async {
        far.write_all(&[PREFACE, &no_window, &head(1, true)].concat()).await.unwrap();
        let served = accept(near, LIMITS, answer);
        assert!(timeout(Duration::from_secs(5), served).await.is_err());
    };
    LocalSet::new().run_until(all).await;
    taken.get()
}

#[tokio::test]
async fn a_body_that_nobody_waits_for_is_dropped() {
    let (tell, dropped) = oneshot::channel();
    let body = Cell::new(Some(Endless {
        taken: Rc::default(),
        _dropped: Some(tell),
        ceases: 1024,
        piece: 1024,
    }));
    let answer = move |_: Request<Received>| {
        let body = body.take().unwrap();
        async move { Response::new(body) }
    };
    let (near, far) = tokio::io::duplex(1 << 16);
    let all = async {
        spawn_local(accept(near, LIMITS, answer));
        let (requester, connection) = dial(far, LIMITS).await.unwrap();
        spawn_local(connection);
        let mut answer = requester.send(&mut get()).await.unwrap().into_body();
        assert!(answer.frame().await.unwrap().unwrap().is_data());
        drop(answer);
        assert!(timeout(Duration::from_secs(10), dropped).await.unwrap().is_err());
    };
    LocalSet::new().run_until(all).await;
}

#[tokio::test]
async fn a_request_that_was_not_sent_stays_where_it_is() {
    let (near, far) = tokio::io::duplex(1 << 16);
    let all = async {
        let (requester, connection) = dial(far, LIMITS).await.unwrap();
        let connection = spawn_local(connection);
        drop(near);
        connection.await.unwrap().ok();
        let mut request = get();
        assert!(requester.send(&mut request).await.is_err());
        assert!(request.is_some() && requester.is_closed());
    };
    LocalSet::new().run_until(all).await;
}

/// Ends like one that was forwarded from somebody who broke it off for this reason.
#[derive(Debug)]
struct Forwarded(Reason);

#[derive(Debug, thiserror::Error)]
#[error("the body broke off")]
struct BrokeOff(#[source] StreamError);

impl http_body::Body for Forwarded {
    type Data = Bytes;
    type Error = BrokeOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BrokeOff>>> {
        Poll::Ready(Some(Err(BrokeOff(h2::Error::from(self.0).into()))))
    }
}

/// What a caller is told when the body of its answer breaks off for this reason.
async fn told_of(broke_off: Reason) -> Option<Reason> {
    let (near, far) = tokio::io::duplex(1 << 16);
    let answer = move |_: Request<Received>| async move { Response::new(Forwarded(broke_off)) };
    let all = async {
        spawn_local(accept(near, LIMITS, answer));
        let (requester, connection) = dial(far, LIMITS).await.unwrap();
        spawn_local(connection);
        // What overtakes the head is told in its place.
        let StreamError(told) = match requester.send(&mut get()).await {
            Ok(answer) => answer.into_body().collect().await.unwrap_err(),
            Err(error) => error,
        };
        told.reason()
    };
    LocalSet::new().run_until(all).await
}

#[tokio::test]
async fn why_a_body_broke_off_is_passed_on() {
    assert_eq!(told_of(Reason::ENHANCE_YOUR_CALM).await, Some(Reason::ENHANCE_YOUR_CALM));
}

/// Clients take `NO_ERROR` for an end, and what they have for the whole of it.
#[tokio::test]
async fn a_body_that_broke_off_without_an_error_is_not_a_whole_one() {
    assert_eq!(told_of(Reason::NO_ERROR).await, Some(Reason::INTERNAL_ERROR));
}

/// How long somebody who has been accepted and says nothing is kept, if it is sent away then.
async fn kept_in_silence(sent_away: Option<Duration>) -> Duration {
    let (near, _far) = tokio::io::duplex(1 << 16);
    let mut served = std::pin::pin!(accept(near, LIMITS, hello));
    let began = Instant::now();
    let all = async {
        if let Some(after) = sent_away {
            assert!(timeout(after, served.as_mut()).await.is_err());
            served.as_mut().retire();
        }
        served.await.unwrap();
    };
    timeout(Duration::from_secs(3600), LocalSet::new().run_until(all)).await.unwrap();
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn somebody_who_never_greets_is_not_waited_for() {
    assert_eq!(kept_in_silence(None).await, LIMITS.greeting);
}

#[tokio::test(start_paused = true)]
async fn somebody_who_has_not_greeted_does_not_hold_up_an_end() {
    let sent_away = Duration::from_secs(1);
    assert_eq!(kept_in_silence(Some(sent_away)).await, sent_away + LAST_CALL);
    let late = LIMITS.greeting - LAST_CALL / 2;
    assert_eq!(kept_in_silence(Some(late)).await, LIMITS.greeting);
}

/// Whoever was about to greet is told in order, and loses no request.
#[tokio::test(start_paused = true)]
async fn somebody_who_greets_as_the_end_comes_hears_goodbye() {
    let (near, mut far) = tokio::io::duplex(1 << 16);
    let mut served = std::pin::pin!(accept(near, LIMITS, hello));
    let all = async {
        assert!(timeout(Duration::ZERO, served.as_mut()).await.is_err());
        served.as_mut().retire();
        far.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
        let mut answer = Vec::new();
        timeout(LAST_CALL, served.as_mut()).await.ok();
        timeout(LAST_CALL, far.read_to_end(&mut answer)).await.ok();
        last_goodbye(&answer)
    };
    assert_eq!(LocalSet::new().run_until(all).await, Some(Reason::NO_ERROR));
}

#[tokio::test(start_paused = true)]
async fn somebody_who_is_gone_is_noticed() {
    let (near, mut far) = tokio::io::duplex(1 << 16);
    far.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
    let began = Instant::now();
    LocalSet::new().run_until(accept(near, LIMITS, hello)).await.unwrap();
    assert_eq!(began.elapsed(), PING_AFTER + PING_PATIENCE);
}

#[tokio::test(start_paused = true)]
async fn somebody_who_is_there_stays_connected() {
    let (near, far) = tokio::io::duplex(1 << 16);
    let all = async {
        let mut served = spawn_local(accept(near, LIMITS, hello));
        let (requester, connection) = dial(far, LIMITS).await.unwrap();
        spawn_local(connection);
        assert!(timeout(Duration::from_secs(600), &mut served).await.is_err());
        assert_eq!(requester.send(&mut get()).await.unwrap().status(), StatusCode::OK);
    };
    LocalSet::new().run_until(all).await;
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_connection() {
    let resets: Vec<u8> = (0..200)
        .flat_map(|number| {
            let stream = 2 * number + 1;
            [head(stream, false), frame(3, 0, stream, &8_u32.to_be_bytes())].concat()
        })
        .collect();
    let open = frame(1, 0, 1, &[0x82, 0x86, 0x84, 0x41, 1, b'a']);
    let continued = frame(9, 0, 1, &[0, 1, b'a', 1, b'b']).repeat(1_000);
    let window = frame(8, 0, 0, &0x7fff_ffff_u32.to_be_bytes());
    for (why, bytes, reason) in [
        ("rapid reset", resets, Reason::ENHANCE_YOUR_CALM),
        ("a head without end", [open, continued].concat(), Reason::ENHANCE_YOUR_CALM),
        ("a window too large", window.repeat(2), Reason::FLOW_CONTROL_ERROR),
        ("an odd ping", frame(PING, 0, 0, &[0; 7]), Reason::PROTOCOL_ERROR),
        ("a stream of ours", head(2, true), Reason::PROTOCOL_ERROR),
        ("no HPACK", frame(1, 5, 1, &[0xff; 20]), Reason::PROTOCOL_ERROR),
    ] {
        assert_eq!(goodbye_to(why, bytes).await, reason, "{why}");
    }
}

#[tokio::test]
async fn somebody_who_never_reads_is_not_read_from_for_ever() {
    let (near, mut far) = tokio::io::duplex(1 << 10);
    let all = async {
        spawn_local(accept(near, LIMITS, hello));
        far.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.unwrap();
        let ping = frame(PING, 0, 0, &[0; 8]);
        let mut taken = 0;
        // Each has to be answered, so what is gathered for this peer would grow.
        while let Ok(sent) = timeout(Duration::from_secs(1), far.write_all(&ping)).await {
            sent.unwrap();
            taken += ping.len();
            assert!(taken < 1 << 20, "all of it is taken");
        }
    };
    LocalSet::new().run_until(all).await;
}

proptest! {
    #[test]
    fn what_is_written_arrives_whole_and_in_order(
        pieces in proptest::collection::vec(0_usize..40_000, 0..12),
        room in 1_usize..5_000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let expected: Vec<u8> =
            pieces.iter().enumerate().flat_map(|(at, len)| vec![at as u8; *len]).collect();
        let (near, mut far) = tokio::io::duplex(room);
        let (mut corked, cork) = Cork::new(near);
        let told = async {
            for (at, len) in pieces.iter().enumerate() {
                corked.write_all(&vec![at as u8; *len]).await?;
                std::future::poll_fn(|cx| {
                    cork.end_turn(cx);
                    Poll::Ready(())
                })
                .await;
            }
            corked.shutdown().await
        };
        let mut heard = Vec::new();
        runtime.block_on(async {
            tokio::try_join!(told, far.read_to_end(&mut heard)).unwrap();
        });
        prop_assert!(heard == expected);
    }
}
