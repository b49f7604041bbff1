//! The connecting side of a handshake.
//!
//! In TLS 1.3 the client is done as soon as it has judged the server and sent its own certificate,
//! before the server has looked at that. [`Connector::connect`] therefore succeeds even if the
//! server is about to refuse us: the refusal is the error of the first read or write on the stream,
//! and [`super::peer_alert`] recognizes it there. What was written until then is not answered.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use spiffe::SpiffeId;
use tokio::io::{AsyncRead, AsyncWrite};

use super::alpn::Alpn;
use super::context::{Context, OwnTerms};
use super::error::HandshakeError;
use super::peer::Peer;
use super::stream::ClientStream;
use super::verifier::Expect;
use crate::live::Live;

/// Connects to one destination, each time by the identity and trust of the moment.
#[derive(Debug, Clone)]
pub struct Connector {
    contexts: Live<Context>,
    alpn: Vec<Vec<u8>>,
    expect: Arc<[SpiffeId]>,
}

/// A connection whose server is known, and expected.
pub struct Connected<IO> {
    pub stream: ClientStream<IO>,
    pub peer: Peer,
    pub alpn: Alpn,
    pub own: OwnTerms,
}

impl Connector {
    /// Any of `expect` may answer; if it is empty nobody may. `alpn` in order of preference.
    pub fn new(contexts: Live<Context>, alpn: &[Alpn], expect: Vec<SpiffeId>) -> Self {
        Self { contexts, alpn: Alpn::wire(alpn), expect: expect.into() }
    }

    /// Takes as long as the server does: the time limit is the caller's.
    pub async fn connect<IO>(
        &self,
        io: IO,
        now: SystemTime,
    ) -> Result<Connected<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let context = self.contexts.snapshot();
        let own = context.own_at(now)?;
        let verifier = context.verifier(Expect::OneOf(Arc::clone(&self.expect)), now);
        let config = Context::client(own, &verifier, &self.alpn);
        let session = UnbufferedClientConnection::new(config, server_name());
        let session = session.map_err(HandshakeError::Protocol)?;
        let stream = match ClientStream::shake_hands(io, session, Vec::new()).await {
            Ok(stream) => stream,
            Err(error) => return Err(verifier.explain(error)),
        };
        let peer = verifier.peer()?;
        let alpn = Alpn::negotiated(stream.get_ref().1.alpn_protocol());
        Ok(Connected { stream, peer, alpn, own: context.terms(own) })
    }
}

/// The library wants a name; a SPIFFE server has none, only an ID. An address is never sent as
/// server name indication (which is switched off as well), so an observer of the wire learns
/// nothing about the destination, and no name can be mistaken for a check.
fn server_name() -> ServerName<'static> {
    ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into())
}

impl<IO> fmt::Debug for Connected<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connected")
            .field("peer", &self.peer)
            .field("alpn", &self.alpn)
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}
