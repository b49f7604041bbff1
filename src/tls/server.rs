//! The accepting side of a handshake.
//!
//! When [`Acceptor::accept`] succeeds, the client's certificate is judged and its key proven; if it
//! showed none, that is one of the [`Callers`] that were asked for. The client may have thought
//! itself connected a moment earlier: see [`super::Connector`].

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::server::{self, ResolvesServerCert, UnbufferedServerConnection, WebPkiClientVerifier};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::alpn::Alpn;
use super::certificate::Certificate;
use super::context::{Context, Own, OwnTerms};
use super::error::HandshakeError;
use super::peer::Peer;
use super::session::broken;
use super::stream::ServerStream;
use super::verifier::Expect;
use crate::live::Live;

/// Accepts connections of one listener, each by the identity and trust of the moment.
#[derive(Debug, Clone)]
pub struct Acceptor {
    contexts: Live<Context>,
    alpn: Vec<Vec<u8>>,
    /// Of callers who must show an SVID: one that names only protocols which we do not speak is
    /// accepted without any, as if it had named none.
    optional: bool,
    callers: Callers,
}

/// Who may complete a handshake.
#[derive(Debug, Clone, Default)]
pub enum Callers {
    /// Only peers with an SVID.
    #[default]
    Verified,
    /// Peers with an SVID, and callers without any certificate. A certificate that is shown has to
    /// hold. The certificate from files is for callers who ask for one of its names, and for all
    /// while we have no SVID.
    Any(Option<Live<Certificate>>),
    /// Callers are not asked for a certificate. `None` shows them our SVID.
    Unverified(Option<Live<Certificate>>),
}

/// A completed handshake.
pub struct Accepted<IO> {
    pub stream: ServerStream<IO>,
    /// `None` for a caller who showed no certificate.
    pub peer: Option<Peer>,
    pub alpn: Alpn,
    pub own: Presented,
}

/// By what the caller knows us.
#[derive(Debug, Clone)]
pub enum Presented {
    Svid(OwnTerms),
    /// The certificate from files.
    Files {
        not_before: SystemTime,
        not_after: SystemTime,
    },
}

impl Acceptor {
    /// `alpn` in order of preference. A client that names no protocol is accepted; one that names
    /// only others is not. With an empty list nothing is negotiated.
    pub fn new(contexts: Live<Context>, alpn: &[Alpn], callers: Callers) -> Self {
        Self { contexts, alpn: Alpn::wire(alpn), optional: false, callers }
    }

    /// Speaks one of the protocols with whoever names it, and none with everybody else: what a
    /// caller names besides is its own affair.
    pub fn optional(contexts: Live<Context>, alpn: &[Alpn], callers: Callers) -> Self {
        Self { optional: true, ..Self::new(contexts, alpn, callers) }
    }

    /// Takes as long as the client does: the time limit is the caller's.
    pub async fn accept<IO>(
        &self,
        mut io: IO,
        now: SystemTime,
    ) -> Result<Accepted<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let context = self.contexts.snapshot();
        match &self.callers {
            Callers::Verified => self.accept_verified(io, &context, now).await,
            Callers::Any(files) => {
                let shown = Showable::at(now, &context, files.as_ref())?;
                let hello = hello(&mut io).await.map_err(HandshakeError::from_io)?;
                let (shown, own) = shown.to_any(hello.name.as_deref())?;
                let verifier = context.verifier(Expect::AnyIfShown, now);
                let config = context.server(Arc::clone(&verifier) as _, shown, &self.alpn)?;
                let stream = match shake_hands(io, config, hello.bytes).await {
                    Ok(stream) => stream,
                    Err(error) => return Err(verifier.explain(error)),
                };
                // The session says whether there was one, the verifier whose it was.
                let peer = match stream.get_ref().1.peer_certificates() {
                    Some(_) => Some(verifier.peer()?),
                    None => None,
                };
                Ok(Accepted::new(stream, peer, own))
            }
            Callers::Unverified(files) => {
                let (shown, own) = Showable::at(now, &context, files.as_ref())?.to_unverified()?;
                let nobody = WebPkiClientVerifier::no_client_auth();
                let config = context.server(nobody, shown, &self.alpn)?;
                let stream = shake_hands(io, config, Vec::new()).await;
                Ok(Accepted::new(stream.map_err(HandshakeError::from_io)?, None, own))
            }
        }
    }

    async fn accept_verified<IO>(
        &self,
        mut io: IO,
        context: &Context,
        now: SystemTime,
    ) -> Result<Accepted<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let own = context.own_at(now)?;
        let verifier = context.verifier(Expect::Any, now);
        let (alpn, come) = if self.optional {
            let hello = hello(&mut io).await.map_err(HandshakeError::from_io)?;
            let known = hello.protocols.iter().any(|name| self.speaks(name));
            (if known { self.alpn.as_slice() } else { &[] }, hello.bytes)
        } else {
            (self.alpn.as_slice(), Vec::new())
        };
        let config = context.server(Arc::clone(&verifier) as _, own.shown(), alpn)?;
        let stream = match shake_hands(io, config, come).await {
            Ok(stream) => stream,
            Err(error) => return Err(verifier.explain(error)),
        };
        let peer = Some(verifier.peer()?);
        Ok(Accepted::new(stream, peer, Presented::Svid(context.terms(own))))
    }

    fn speaks(&self, name: &[u8]) -> bool {
        self.alpn.iter().any(|known| known == name)
    }
}

/// What we can present at one moment: only what is valid then.
struct Showable<'a> {
    svid: Option<(&'a Own, &'a Context)>,
    files: Option<Arc<Certificate>>,
}

type Shown = (Arc<dyn ResolvesServerCert>, Presented);

impl<'a> Showable<'a> {
    /// With nothing to present, nothing needs to be read.
    fn at(
        now: SystemTime,
        context: &'a Context,
        files: Option<&Live<Certificate>>,
    ) -> Result<Self, HandshakeError> {
        let files = files.map(Live::snapshot).filter(|files| now < files.not_after);
        match context.own_at(now) {
            Ok(own) => Ok(Self { svid: Some((own, context)), files }),
            Err(_) if files.is_some() => Ok(Self { svid: None, files }),
            Err(error) => Err(error),
        }
    }

    /// By the name that the caller asks for.
    fn to_any(&self, name: Option<&str>) -> Result<Shown, HandshakeError> {
        let asked = self.files.as_ref().filter(|files| name.is_some_and(|name| files.names(name)));
        asked
            .map(|files| from_files(files))
            .or_else(|| self.svid.map(as_svid))
            .or_else(|| self.files.as_ref().map(|files| from_files(files)))
            .ok_or(HandshakeError::NoIdentity)
    }

    fn to_unverified(&self) -> Result<Shown, HandshakeError> {
        let files = self.files.as_ref().map(|files| from_files(files));
        files.or_else(|| self.svid.map(as_svid)).ok_or(HandshakeError::NoIdentity)
    }
}

fn as_svid((own, context): (&Own, &Context)) -> Shown {
    (own.shown(), Presented::Svid(context.terms(own)))
}

fn from_files(files: &Certificate) -> Shown {
    let Certificate { not_before, not_after, .. } = *files;
    (files.shown(), Presented::Files { not_before, not_after })
}

/// What a client says first.
struct Hello {
    /// Whom it asks for.
    name: Option<String>,
    /// What it offers to speak.
    protocols: Vec<Vec<u8>>,
    /// All that has been read.
    bytes: Vec<u8>,
}

/// Reads as far as what the client asks for. All that follows is by one certificate, even
/// if the client asks for another name in a second hello.
async fn hello<IO>(io: &mut IO) -> io::Result<Hello>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut acceptor = server::Acceptor::default();
    let mut bytes = Vec::new();
    loop {
        let mut at = bytes.len();
        if io.read_buf(&mut bytes).await? == 0 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "tls handshake eof"));
        }
        // The library takes as much as it likes, and bounds what a hello may be.
        while let Some(mut come) = bytes.get(at..).filter(|come| !come.is_empty()) {
            at += acceptor.read_tls(&mut come)?;
            match acceptor.accept() {
                Ok(Some(accepted)) => {
                    let hello = accepted.client_hello();
                    let name = hello.server_name().map(str::to_owned);
                    let protocols = hello.alpn().into_iter().flatten();
                    let protocols = protocols.map(<[u8]>::to_vec).collect();
                    return Ok(Hello { name, protocols, bytes });
                }
                Ok(None) => {}
                Err((error, mut alert)) => {
                    let mut words = Vec::new();
                    alert.write_all(&mut words)?;
                    // Whether the client hears it or not, it is turned away.
                    io.write_all(&words).await.ok();
                    return Err(broken(error));
                }
            }
        }
    }
}

/// `come` is what has been read before.
async fn shake_hands<IO>(
    io: IO,
    config: Arc<ServerConfig>,
    come: Vec<u8>,
) -> io::Result<ServerStream<IO>>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let session = UnbufferedServerConnection::new(config).map_err(broken)?;
    ServerStream::shake_hands(io, session, come).await
}

impl<IO> Accepted<IO> {
    fn new(stream: ServerStream<IO>, peer: Option<Peer>, own: Presented) -> Self {
        let alpn = Alpn::negotiated(stream.get_ref().1.alpn_protocol());
        Self { stream, peer, alpn, own }
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
