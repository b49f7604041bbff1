//! One stream of a shared connection, as reads and writes of bytes.
//!
//! It ends in order only when both sides have said so. Dropped before that it is reset, as is every
//! stream of a connection that breaks, and a reset is never read as an end.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::SEND_BUFFER;

pub(in crate::proxy) struct MuxStream {
    sender: SendStream<Bytes>,
    receiver: Receiver,
    /// What is left of the frame read last.
    frame: Bytes,
    sent_end: bool,
    received_end: bool,
}

pub(super) enum Receiver {
    /// The other end has not let us in yet.
    Asked(ResponseFuture),
    Open(RecvStream),
}

impl MuxStream {
    pub(super) fn new(sender: SendStream<Bytes>, receiver: Receiver) -> Self {
        Self { sender, receiver, frame: Bytes::new(), sent_end: false, received_end: false }
    }

    /// The next frame; `None` at the orderly end.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        if let Receiver::Asked(answer) = &mut self.receiver {
            let answer = ready!(Pin::new(answer).poll(cx)).map_err(torn)?;
            if answer.status() != StatusCode::OK {
                return Poll::Ready(Err(ErrorKind::ConnectionRefused.into()));
            }
            self.receiver = Receiver::Open(answer.into_body());
        }
        let Receiver::Open(receiver) = &mut self.receiver else {
            return Poll::Pending;
        };
        Poll::Ready(ready!(receiver.poll_data(cx)).transpose().map_err(torn))
    }

    /// Tells the other end that it may send as much again.
    fn consumed(&mut self, bytes: usize) -> io::Result<()> {
        match &mut self.receiver {
            Receiver::Open(receiver) if bytes > 0 => {
                receiver.flow_control().release_capacity(bytes).map_err(torn)
            }
            _ => Ok(()),
        }
    }
}

impl AsyncRead for MuxStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut read = 0;
        // As many frames as there are: a write for each would cost more than reading them.
        while buffer.remaining() > 0 && !this.received_end {
            if this.frame.is_empty() {
                match this.poll_frame(cx)? {
                    Poll::Ready(Some(frame)) => this.frame = frame,
                    Poll::Ready(None) => this.received_end = true,
                    Poll::Pending if read > 0 => break,
                    Poll::Pending => return Poll::Pending,
                }
            }
            let length = this.frame.len().min(buffer.remaining());
            buffer.put_slice(this.frame.get(..length).unwrap_or_default());
            this.frame.advance(length);
            read += length;
        }
        Poll::Ready(this.consumed(read))
    }
}

impl AsyncWrite for MuxStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        this.sender.reserve_capacity(bytes.len().min(SEND_BUFFER));
        let mut room = this.sender.capacity();
        while room == 0 {
            room = match ready!(this.sender.poll_capacity(cx)) {
                Some(room) => room.map_err(torn)?,
                None => return Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
            };
        }
        let taken = bytes.get(..room).unwrap_or(bytes);
        this.sender.send_data(Bytes::copy_from_slice(taken), false).map_err(torn)?;
        Poll::Ready(Ok(taken.len()))
    }

    /// The connection sends by itself.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.sent_end {
            this.sender.send_data(Bytes::new(), true).map_err(torn)?;
            this.sent_end = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for MuxStream {
    fn drop(&mut self) {
        if !(self.sent_end && self.received_end) {
            self.sender.send_reset(Reason::CANCEL);
        }
    }
}

impl std::fmt::Debug for MuxStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MuxStream")
            .field("sent_end", &self.sent_end)
            .field("received_end", &self.received_end)
            .finish_non_exhaustive()
    }
}

fn torn(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error.into_io().unwrap_or_else(|| ErrorKind::ConnectionReset.into());
    }
    io::Error::new(ErrorKind::ConnectionReset, error)
}
