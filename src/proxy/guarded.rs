//! The stream under an HTTP connection that we accepted: follows request framing, and ends a peer
//! that stalls in the middle of a head or stops reading.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::Limits;
use super::framing::RequestFraming;
use super::wire::Wire;
use super::worker::Place;

/// A line that says how long a chunk is may be so long, however short a head has to be.
const LEAST_LINE: usize = 16 * 1024;

/// A [`Wire`] under an HTTP server.
#[derive(Debug)]
pub(super) struct Guarded {
    wire: Wire,
    framing: RequestFraming,
    signs: Arc<Signs>,
    head: Stall,
    write: Stall,
    place: Place,
    /// What has been read and given back.
    again: Bytes,
    /// We are saying goodbye.
    closing: bool,
}

/// What a stream and the service on it tell each other.
#[derive(Debug, Default)]
struct Signs {
    ambiguous: AtomicBool,
    resting: AtomicBool,
    switched: AtomicBool,
}

/// Tells the service that a head seen on this connection could be read in two ways.
#[derive(Debug, Clone)]
pub(super) struct AmbiguityFlag(Arc<Signs>);

impl AmbiguityFlag {
    pub(super) fn is_raised(&self) -> bool {
        self.0.ambiguous.load(Ordering::Relaxed)
    }

    /// From the answer that is about to go out, the connection speaks another protocol.
    pub(super) fn switched(&self) {
        self.0.switched.store(true, Ordering::Relaxed);
    }
}

/// Tells that on this connection all requests that were begun have come whole, and all that was
/// written is out.
#[derive(Debug, Clone)]
pub(super) struct RestFlag(Arc<Signs>);

impl RestFlag {
    pub(super) fn is_raised(&self) -> bool {
        self.0.resting.load(Ordering::Relaxed)
    }
}

impl Guarded {
    /// A head has to be whole within `header_read` of its first byte, and a peer may take in
    /// nothing for `idle` at most.
    pub(super) fn new(
        wire: Wire,
        http1: bool,
        limits: &Limits,
        place: Place,
    ) -> (Self, AmbiguityFlag) {
        let signs = Arc::new(Signs::default());
        let guarded = Self {
            wire,
            framing: if http1 {
                RequestFraming::new(limits.header_bytes.max(LEAST_LINE))
            } else {
                RequestFraming::opaque()
            },
            signs: Arc::clone(&signs),
            head: Stall::new(limits.header_read),
            write: Stall::new(limits.idle),
            place,
            again: Bytes::new(),
            closing: false,
        };
        guarded.look();
        (guarded, AmbiguityFlag(signs))
    }

    pub(super) fn rest_flag(&self) -> RestFlag {
        RestFlag(Arc::clone(&self.signs))
    }

    fn look(&self) {
        let resting =
            self.framing.is_between_requests() && !self.write.is_waited_for() && !self.closing;
        self.signs.resting.store(resting, Ordering::Relaxed);
    }

    /// Leaves what was read to whoever reads next.
    pub(super) fn put_back(&mut self, read: Vec<u8>) {
        debug_assert!(self.again.is_empty(), "what was given back before has not been read");
        self.again = read.into();
    }

    fn written(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.unblocked(cx, outcome).map_ok(|bytes| {
            self.place.sent(bytes);
            bytes
        })
    }

    fn unblocked<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let outcome = match outcome {
            Poll::Ready(outcome) => {
                self.write.moved();
                Poll::Ready(outcome)
            }
            Poll::Pending => self.write.poll(cx).map(Err),
        };
        self.look();
        outcome
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.again.has_remaining() && buffer.remaining() > 0 {
            let taken = this.again.split_to(this.again.len().min(buffer.remaining()));
            buffer.put_slice(&taken);
            return Poll::Ready(Ok(()));
        }
        if this.signs.switched.load(Ordering::Relaxed) {
            this.framing.switched();
        }
        let before = buffer.filled().len();
        match Pin::new(&mut this.wire).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) => {
                let read = buffer.filled().get(before..).unwrap_or_default();
                this.place.received(read.len());
                if this.framing.observe(read).is_err() {
                    this.signs.ambiguous.store(true, Ordering::Relaxed);
                    this.framing = RequestFraming::opaque();
                }
                this.look();
                if !this.framing.is_inside_head() {
                    this.head.moved();
                }
                Poll::Ready(Ok(()))
            }
            Poll::Pending if this.framing.is_inside_head() => this.head.poll(cx).map(Err),
            outcome => outcome,
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.wire).poll_write(cx, bytes);
        this.written(cx, outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.wire).poll_write_vectored(cx, slices);
        this.written(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.wire).poll_flush(cx);
        this.unblocked(cx, outcome)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.closing = true;
        this.look();
        Pin::new(&mut this.wire).poll_shutdown(cx)
    }
}

/// A wait that may not last longer than its limit. No timer exists before the first wait.
#[derive(Debug)]
struct Stall {
    limit: Duration,
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    fn new(limit: Duration) -> Self {
        Self { limit, since: None, timer: None }
    }

    fn moved(&mut self) {
        self.since = None;
    }

    fn is_waited_for(&self) -> bool {
        self.since.is_some()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let deadline = since + self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if since.elapsed() >= self.limit {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}
