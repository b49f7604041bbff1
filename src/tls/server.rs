//! The accepting side of a handshake.
//!
//! When [`Acceptor::accept`] succeeds, the client's certificate is judged and its key proven. The
//! client may have thought itself connected a moment earlier: see [`super::Connector`].

use std::fmt;
use std::time::SystemTime;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::alpn::Alpn;
use super::context::{Context, OwnTerms};
use super::error::HandshakeError;
use super::peer::Peer;
use super::verifier::Expect;
use crate::live::Live;

/// Accepts connections of one listener, each by the identity and trust of the moment.
#[derive(Debug, Clone)]
pub struct Acceptor {
    contexts: Live<Context>,
    alpn: Vec<Vec<u8>>,
}

/// A connection whose client is known.
pub struct Accepted<IO> {
    pub stream: TlsStream<IO>,
    pub peer: Peer,
    pub alpn: Alpn,
    pub own: OwnTerms,
}

impl Acceptor {
    /// `alpn` in order of preference. A client that names no protocol is accepted; one that names
    /// only others is not. With an empty list nothing is negotiated.
    pub fn new(contexts: Live<Context>, alpn: &[Alpn]) -> Self {
        Self { contexts, alpn: Alpn::wire(alpn) }
    }

    /// Takes as long as the client does: the time limit is the caller's.
    pub async fn accept<IO>(&self, io: IO, now: SystemTime) -> Result<Accepted<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let context = self.contexts.snapshot();
        let own = context.own_at(now)?;
        let verifier = context.verifier(Expect::Any, now);
        let config = context.server(own, &verifier, &self.alpn)?;
        let stream = match TlsAcceptor::from(config).accept(io).await {
            Ok(stream) => stream,
            Err(error) => return Err(verifier.explain(error)),
        };
        let peer = verifier.peer()?;
        let alpn = Alpn::negotiated(stream.get_ref().1.alpn_protocol());
        Ok(Accepted { stream, peer, alpn, own: context.terms(own) })
    }
}

impl<IO> fmt::Debug for Accepted<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted")
            .field("peer", &self.peer)
            .field("alpn", &self.alpn)
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}
