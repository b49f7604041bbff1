//! A connected stream to whoever is on the other end: plain to our application, TLS to a sidecar.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::dialled::{Dialled, Refusal};
use super::mux::MuxStream;
use crate::net::Stream;
use crate::tls::ServerStream;

#[derive(Debug)]
pub(super) enum Wire {
    Plain(Stream),
    Accepted(Box<ServerStream<Stream>>),
    Dialled(Box<Dialled>),
    /// To a sidecar as well, as one of many on a connection.
    Shared(Box<MuxStream>),
}

impl Wire {
    /// Where a refusal by the other end is noted. Our own application never refuses us.
    pub(super) fn refusal(&self) -> Refusal {
        match self {
            Self::Plain(_) | Self::Accepted(_) | Self::Shared(_) => Refusal::default(),
            Self::Dialled(stream) => stream.refusal(),
        }
    }

    /// See [`Stream::reset_on_drop`].
    pub(super) fn reset_on_drop(&self) {
        match self {
            Self::Plain(stream) => stream.reset_on_drop(),
            Self::Accepted(stream) => stream.get_ref().0.reset_on_drop(),
            Self::Dialled(stream) => stream.reset_on_drop(),
            // It is, unless both sides have said that they are done.
            Self::Shared(_) => {}
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Accepted(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Dialled(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Shared(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Accepted(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Dialled(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Shared(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Accepted(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Dialled(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Shared(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Accepted(stream) => Pin::new(stream).poll_flush(cx),
            Self::Dialled(stream) => Pin::new(stream).poll_flush(cx),
            Self::Shared(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Accepted(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Dialled(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Shared(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
