//! Gathers what a connection writes in one turn, so that it goes out in one piece.
//!
//! An HTTP/2 library flushes after each piece of a body. With many streams on one connection that is
//! a system call, and over TLS a record, for each answer; written once a turn, they share both.

use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// What is gathered at most before it has to go out.
const MOST: usize = 64 * 1024;
/// A buffer that was needed for more than this is given back when it is empty.
const KEPT: usize = 4 * 1024;

/// The stream as whoever speaks on it sees it: a flush only promises to be done by the end of the
/// turn.
#[derive(Debug)]
pub(super) struct Corked<T>(Rc<RefCell<Gathering<T>>>);

/// Keeps that promise: see [`Cork::end_turn`].
#[derive(Debug)]
pub(super) struct Cork<T>(Rc<RefCell<Gathering<T>>>);

#[derive(Debug)]
struct Gathering<T> {
    stream: T,
    gathered: BytesMut,
    /// The stream has taken everything, and has yet to send it.
    unflushed: bool,
    failed: Option<ErrorKind>,
    heard: Instant,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Cork<T> {
    pub(super) fn new(stream: T) -> (Corked<T>, Self) {
        let gathering = Rc::new(RefCell::new(Gathering {
            stream,
            gathered: BytesMut::new(),
            unflushed: false,
            failed: None,
            heard: Instant::now(),
        }));
        (Corked(Rc::clone(&gathering)), Self(gathering))
    }

    /// Writes what whoever speaks on the stream has said in its turn.
    pub(super) fn end_turn(&self, cx: &mut Context<'_>) {
        let mut gathering = self.0.borrow_mut();
        if gathering.failed.is_none() && matches!(gathering.poll_out(cx), Poll::Ready(Err(_))) {
            // The speaker is told in its next turn, which is at once.
            cx.waker().wake_by_ref();
        }
    }

    /// When anything came from the other end last.
    pub(super) fn heard(&self) -> Instant {
        self.0.borrow().heard
    }
}

impl<T: AsyncWrite + Unpin> Gathering<T> {
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        let outcome = self.poll_write_and_flush(cx);
        if let Poll::Ready(Err(error)) = &outcome {
            self.failed = Some(error.kind());
        }
        outcome
    }

    fn poll_write_and_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.gathered))?;
            if written == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            self.gathered.advance(written);
            self.unflushed = true;
        }
        if self.gathered.capacity() > KEPT {
            self.gathered = BytesMut::new();
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn check(&self) -> io::Result<()> {
        self.failed.map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        if self.gathered.len() >= MOST {
            ready!(self.poll_out(cx))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Corked<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut gathering = self.0.borrow_mut();
        let outcome = Pin::new(&mut gathering.stream).poll_read(cx, buffer);
        if outcome.is_ready() {
            gathering.heard = Instant::now();
        }
        outcome
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Corked<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut gathering = self.0.borrow_mut();
        ready!(gathering.poll_room(cx))?;
        gathering.gathered.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut gathering = self.0.borrow_mut();
        ready!(gathering.poll_room(cx))?;
        slices.iter().for_each(|slice| gathering.gathered.extend_from_slice(slice));
        Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.borrow().check())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathering = self.0.borrow_mut();
        ready!(gathering.poll_out(cx))?;
        Pin::new(&mut gathering.stream).poll_shutdown(cx)
    }
}
