//! A TLS connection as a stream of bytes, which holds no buffer while it is idle.
//!
//! The worker has one buffer for what comes and one for what goes, and all its connections borrow
//! them: a read takes in as much as the socket has, many records at once, and a write goes out in
//! one piece. A connection owns bytes only while there is a reason: a record of which a part has
//! come, a reader that wanted less than came, or a socket that does not take what was sealed.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::iter;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::session::{End, Session, Taken, seal, take_in};
use crate::net::{PAGE_LOST, is_slow_to_seal, middle_of_page};

/// The most that is taken in at once: eight records as long as may be, as most peers make them. Were
/// it less, most of the last one would be copied away and back each time.
const MOST_READ: usize = 8 * (16 * 1024 + 22);
/// A reader with little room does not make us take in more than about a record.
const LEAST_READ: usize = 17 * 1024;
/// What comes with each record besides its content, for all records of a read or a write.
const OVERHEAD: usize = 2048;
/// The most that is sealed at once.
const MOST_SEALED: usize = 128 * 1024;
/// Pieces below this size are copied together.
const SMALL: usize = 4 * 1024;
/// The most that may wait for the rest of a message. A handshake message may not be longer, and
/// nor may all records together in which it comes.
const MOST_HELD: usize = 64 * 1024;

thread_local! {
    static INCOMING: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static OUTGOING: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static GATHERED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What an accepted connection carries.
pub type ServerStream<IO> = TlsStream<IO, UnbufferedServerConnection>;
/// What a connection carries that we made.
pub type ClientStream<IO> = TlsStream<IO, UnbufferedClientConnection>;

/// See above.
pub struct TlsStream<IO, S> {
    io: IO,
    /// Large, and moved often until the connection has found its place.
    session: Box<S>,
    /// Of a record, or a message, that has not come whole.
    held: Vec<u8>,
    /// What the reader had no room for.
    plain: Waiting,
    /// What the socket has not taken yet.
    unsent: Waiting,
    end: Option<End>,
    /// We have said that we are done.
    closed: bool,
}

/// Bytes in a queue, which goes away when it is empty.
#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    from: usize,
}

impl Waiting {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.from..).unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    fn advance(&mut self, taken: usize) {
        self.from += taken;
        if self.is_empty() {
            *self = Self::default();
        }
    }
}

impl<IO, S> TlsStream<IO, S> {
    pub fn get_ref(&self) -> (&IO, &S) {
        (&self.io, &self.session)
    }
}

impl<IO, S> TlsStream<IO, S>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    S: Session + Unpin,
{
    /// Shakes hands. `come` is what was read from the peer before.
    pub(super) async fn shake_hands(io: IO, session: S, come: Vec<u8>) -> io::Result<Self> {
        let (plain, unsent) = (Waiting::default(), Waiting::default());
        let mut stream = Self {
            io,
            session: Box::new(session),
            held: come,
            plain,
            unsent,
            end: None,
            closed: false,
        };
        std::future::poll_fn(|cx| stream.poll_shake(cx)).await?;
        Ok(stream)
    }

    fn poll_shake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // At first there is nothing, and the client has something to say to that.
            let mut held = mem::take(&mut self.held);
            let plain = &mut self.plain.bytes;
            let Taken { used, end } =
                take_in(&mut *self.session, &mut held, &mut self.unsent.bytes, |bytes| {
                    plain.extend_from_slice(bytes);
                });
            self.held = held.get(used..).unwrap_or_default().to_vec();
            self.end = end;
            if let Some(error) = self.end.as_ref().and_then(End::as_error) {
                // The peer should hear of it, and does unless it does not listen.
                drop(self.poll_drain(cx));
                return Poll::Ready(Err(error));
            }
            ready!(self.poll_drain(cx))?;
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            if !self.session.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if ready!(self.poll_more(cx))? == 0 {
                let error = io::Error::new(ErrorKind::UnexpectedEof, "tls handshake eof");
                return Poll::Ready(Err(error));
            }
        }
    }

    /// Reads on in a handshake.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        check_held(&self.held)?;
        INCOMING.with_borrow_mut(|buffer| {
            let mut read = read_buf(buffer, LEAST_READ);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
            self.held.extend_from_slice(read.filled());
            Poll::Ready(Ok(read.filled().len()))
        })
    }

    /// One read from the socket, and all that comes of it.
    fn poll_take(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        check_held(&self.held)?;
        INCOMING.with_borrow_mut(|buffer| {
            let most = (out.remaining() + OVERHEAD).clamp(LEAST_READ, MOST_READ);
            let mut read = read_buf(buffer, most.max(self.held.len() + LEAST_READ));
            read.put_slice(&self.held);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
            let come = read.filled_mut();
            if come.len() == self.held.len() {
                let words = "peer closed connection without sending TLS close_notify";
                return Poll::Ready(Err(io::Error::new(ErrorKind::UnexpectedEof, words)));
            }
            let plain = &mut self.plain.bytes;
            let Taken { used, end } =
                take_in(&mut *self.session, come, &mut self.unsent.bytes, |bytes| {
                    let (fits, rest) = bytes.split_at(bytes.len().min(out.remaining()));
                    out.put_slice(fits);
                    plain.extend_from_slice(rest);
                });
            let left = come.get(used..).unwrap_or_default();
            // Most often nothing is left, and then nothing is kept.
            self.held = if end.is_none() { left.to_vec() } else { Vec::new() };
            self.end = end;
            Poll::Ready(Ok(()))
        })
    }

    /// Sends what waits to be sent.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, self.unsent.rest()))? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                sent => self.unsent.advance(sent),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Seals all of `pieces` and sends it; what the socket does not take waits. To be called only
    /// while nothing waits.
    fn send<'a>(
        &mut self,
        cx: &mut Context<'_>,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> io::Result<()> {
        if let Some(error) = self.end.as_ref().and_then(End::as_error) {
            return Err(error);
        }
        OUTGOING.with_borrow_mut(|buffer| {
            if buffer.is_empty() {
                buffer.resize(MOST_SEALED + OVERHEAD + PAGE_LOST, 0);
            }
            let from = middle_of_page(buffer);
            let end = self.seal_all(pieces, buffer, from)?;
            let mut rest = buffer.get(from..end).unwrap_or_default();
            while !rest.is_empty() {
                match Pin::new(&mut self.io).poll_write(cx, rest) {
                    Poll::Ready(Ok(0)) => return Err(ErrorKind::WriteZero.into()),
                    Poll::Ready(Ok(sent)) => rest = rest.get(sent..).unwrap_or_default(),
                    Poll::Ready(Err(error)) => return Err(error),
                    Poll::Pending => break,
                }
            }
            self.unsent.bytes.extend_from_slice(rest);
            Ok(())
        })
    }

    /// Small pieces in a row share a record; large ones are not copied for that, unless they lie
    /// where the library would copy them slowly. Gives the end of what is sealed.
    fn seal_all<'a>(
        &mut self,
        pieces: impl Iterator<Item = &'a [u8]>,
        buffer: &mut Vec<u8>,
        from: usize,
    ) -> io::Result<usize> {
        let Self { session, held, .. } = self;
        let mut seal = |bytes: &[u8], at| {
            seal(&mut **session, held, buffer, at, |traffic, room| traffic.encrypt(bytes, room))
        };
        GATHERED.with_borrow_mut(|gathered| {
            gathered.reserve((MOST_SEALED + PAGE_LOST).saturating_sub(gathered.len()));
            let begin = middle_of_page(gathered);
            let mut end = from;
            // As the one before has left it, so that mostly there is nothing to do.
            gathered.resize(begin, 0);
            for piece in pieces {
                if piece.len() < SMALL || is_slow_to_seal(piece) {
                    gathered.extend_from_slice(piece);
                    continue;
                }
                end = seal(gathered.get(begin..).unwrap_or_default(), end)?;
                gathered.truncate(begin);
                end = seal(piece, end)?;
            }
            end = seal(gathered.get(begin..).unwrap_or_default(), end)?;
            gathered.truncate(begin);
            Ok(end)
        })
    }

    fn say_goodbye(&mut self) -> io::Result<()> {
        if mem::replace(&mut self.closed, true) || matches!(self.end, Some(End::Failed(_))) {
            return Ok(());
        }
        let Self { session, held, unsent, .. } = self;
        let at = unsent.bytes.len();
        let end = seal(&mut **session, held, &mut unsent.bytes, at, |traffic, room| {
            traffic.queue_close_notify(room)
        })?;
        unsent.bytes.truncate(end);
        Ok(())
    }
}

fn check_held(held: &[u8]) -> io::Result<()> {
    if held.len() > MOST_HELD {
        return Err(io::Error::new(ErrorKind::InvalidData, "message buffer full"));
    }
    Ok(())
}

fn read_buf(buffer: &mut Vec<u8>, most: usize) -> ReadBuf<'_> {
    if buffer.len() < most {
        buffer.resize(most.max(MOST_READ), 0);
    }
    ReadBuf::new(buffer.get_mut(..most).unwrap_or_default())
}

impl<IO, S> AsyncRead for TlsStream<IO, S>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    S: Session + Unpin,
{
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = out.filled().len();
        while out.filled().len() == before && out.remaining() > 0 {
            if !this.plain.is_empty() {
                let rest = this.plain.rest();
                let taken = rest.len().min(out.remaining());
                out.put_slice(rest.get(..taken).unwrap_or_default());
                this.plain.advance(taken);
                break;
            }
            match &this.end {
                None => ready!(this.poll_take(cx, out))?,
                Some(End::Closed) => break,
                Some(End::Failed(error)) => {
                    return Poll::Ready(Err(super::session::broken(error.clone())));
                }
            }
            if matches!(this.end, Some(End::Failed(_))) {
                // The alert that says what was wrong. Nobody will write any more, so that nobody
                // else waits for the socket to take something.
                drop(this.poll_drain(cx));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO, S> AsyncWrite for TlsStream<IO, S>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    S: Session + Unpin,
{
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        let now = bytes.get(..bytes.len().min(MOST_SEALED)).unwrap_or_default();
        this.send(cx, iter::once(now))?;
        Poll::Ready(Ok(now.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        let mut total = 0;
        let pieces = slices.iter().map_while(|slice| {
            let room = MOST_SEALED - total;
            let piece = slice.get(..slice.len().min(room)).filter(|_| room > 0)?;
            total += piece.len();
            Some(piece)
        });
        this.send(cx, pieces)?;
        Poll::Ready(Ok(total))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.say_goodbye()?;
        ready!(this.poll_drain(cx))?;
        match ready!(Pin::new(&mut this.io).poll_shutdown(cx)) {
            // It is gone, and that is all that was asked.
            Err(error) if error.kind() == ErrorKind::NotConnected => Poll::Ready(Ok(())),
            outcome => Poll::Ready(outcome),
        }
    }
}

impl<IO, S> fmt::Debug for TlsStream<IO, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("end", &self.end).finish_non_exhaustive()
    }
}
