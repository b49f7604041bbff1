//! A stream to another service's sidecar, which may refuse us after the handshake.
//!
//! In TLS 1.3 a client is done before the server has judged its certificate. The refusal is an
//! alert, and its sender hangs up at once: it shows in whichever read or write comes first, and an
//! HTTP library may lose it on the way up. So it is noted here, where it arrives.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::arrived::Broken;
use super::fault::Fault;
use crate::net::Stream;
use crate::tls::{ClientStream, peer_alert};

#[derive(Debug)]
pub(super) struct Dialled {
    stream: ClientStream<Stream>,
    refusal: Refusal,
    /// The server has sent data, as it does only to those whom it has let in.
    let_in: bool,
}

/// The alert by which a server refused us, once it has come.
#[derive(Debug, Clone, Default)]
pub(super) struct Refusal(Arc<OnceLock<String>>);

impl Refusal {
    pub(super) fn has_come(&self) -> bool {
        self.0.get().is_some()
    }

    /// What an error of an exchange on this connection says of the server.
    pub(super) fn explain(&self, error: impl Into<Broken>) -> Fault {
        match self.0.get() {
            Some(alert) => Fault::UpstreamRefused(alert.clone()),
            None => Fault::BrokenOff(error.into()),
        }
    }

    /// Why a connection that has ended before it was of use did so.
    pub(super) fn fault(&self) -> Fault {
        match self.0.get() {
            Some(alert) => Fault::UpstreamRefused(alert.clone()),
            None => Fault::Unreachable(ErrorKind::ConnectionAborted.into()),
        }
    }

    fn note(&self, error: &io::Error) {
        if let Some(alert) = peer_alert(error) {
            self.0.get_or_init(|| alert);
        }
    }
}

impl Dialled {
    pub(super) fn new(stream: ClientStream<Stream>) -> Self {
        Self { stream, refusal: Refusal::default(), let_in: false }
    }

    pub(super) fn refusal(&self) -> Refusal {
        self.refusal.clone()
    }

    pub(super) fn reset_on_drop(&self) {
        self.stream.get_ref().0.reset_on_drop();
    }

    /// Behind a write that fails because the server has hung up, its refusal may lie unread.
    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let Poll::Ready(Err(error)) = outcome else {
            return outcome;
        };
        let hung_up = matches!(
            error.kind(),
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted
        );
        if !hung_up || self.let_in || self.refusal.has_come() {
            return Poll::Ready(Err(error));
        }
        let mut unused = [0; 1024];
        match Pin::new(&mut self.stream).poll_read(cx, &mut ReadBuf::new(&mut unused)) {
            // The runtime has yet to learn that this end can be read, too.
            Poll::Pending => Poll::Pending,
            Poll::Ready(read) => {
                self.let_in = read.is_ok();
                if let Err(refusal) = read {
                    self.refusal.note(&refusal);
                }
                Poll::Ready(Err(error))
            }
        }
    }
}

impl AsyncRead for Dialled {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut this.stream).poll_read(cx, buffer);
        match &outcome {
            Poll::Ready(Ok(())) => this.let_in |= buffer.filled().len() > before,
            Poll::Ready(Err(error)) => this.refusal.note(error),
            Poll::Pending => {}
        }
        outcome
    }
}

impl AsyncWrite for Dialled {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.written(cx, outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.written(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.stream).poll_flush(cx);
        this.written(cx, outcome)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
