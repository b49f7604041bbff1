//! New connections to where requests go: plaintext to our application, TLS to another service.

use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use http::Request;
use spiffe::SpiffeId;
use tokio::time::timeout;

use super::dialled::Dialled;
use super::fault::{Fault, Waited};
use super::lifetime::{Bounds, Lifetime, Side};
use super::present::present;
use super::way_out::WayOut;
use super::wire::Wire;
use super::worker::{Decision, Worker};
use super::{Limits, Protocol};
use crate::live::Live;
use crate::net::{Stream, Target};
use crate::telemetry::audit;
use crate::telemetry::metrics::UpstreamResult;
use crate::tls::{
    Alpn, Connector, Context, HandshakeError, NamedConnector, Peer, Roots, SvidError,
};
use crate::token::Credential;

/// How long requests may be put on a connection by token while we have an SVID: then the server is
/// asked for its own again.
const WITHOUT_ITS_SVID: Duration = Duration::from_secs(30);

/// How a destination is reached.
#[derive(Debug)]
pub(super) enum Dial {
    /// Our own application: plaintext on this machine.
    Application(Target),
    /// Another service's sidecar.
    Sidecar(Box<Sidecar>),
}

/// Another service's sidecar, and the ways in which we may prove ourselves to each other: by mTLS
/// while we have an SVID, and without one by a token, if that is configured.
#[derive(Debug)]
pub(super) struct Sidecar {
    pub(super) target: Target,
    pub(super) by_svid: Option<BySvid>,
    pub(super) by_token: Option<ByToken>,
    pub(super) contexts: Live<Context>,
    pub(super) protocol: Protocol,
}

/// mTLS, and only with an identity that is expected there. HTTP/1.1 and HTTP/2 have a connector
/// each, because ALPN settles the protocol.
#[derive(Debug)]
pub(super) struct BySvid {
    pub(super) http1: Connector,
    pub(super) http2: Connector,
    pub(super) raw: Connector,
    /// Where streams may share a connection, if the server takes that.
    pub(super) streams: Option<Connector>,
}

/// TLS to a server that proves its name; we prove ourselves with each request.
#[derive(Debug)]
pub(super) struct ByToken {
    pub(super) server: String,
    pub(super) roots: Live<Roots>,
    pub(super) http1: NamedConnector,
    pub(super) http2: NamedConnector,
    pub(super) credential: Live<Option<Credential>>,
    /// Also used while we have an SVID and the server shows none.
    pub(super) also_without_svid: bool,
}

/// Makes connections for one listener, on one worker.
#[derive(Debug)]
pub(super) struct Dialler {
    pub(super) dial: Dial,
    /// The name of the listener that it dials for.
    pub(super) listener: Arc<str>,
    pub(super) limits: Limits,
    pub(super) worker: Rc<Worker>,
}

/// A new connection.
pub(super) struct Link {
    pub(super) wire: Wire,
    /// `None` for a plaintext connection to our own application.
    pub(super) lifetime: Option<Lifetime>,
    /// Whose word was taken for the server, where requests have to carry our token.
    pub(super) vouched_by: Option<Weak<Roots>>,
    /// Who the ends are, where it was agreed that it carries streams: each has its own audit line.
    pub(super) carries_streams: Option<Ends>,
}

/// Who is on the ends of a connection that we have dialled.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) peer: Peer,
    pub(super) own: SpiffeId,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Http1,
    Http2,
    /// Raw TCP.
    Raw,
    /// Raw TCP, and more streams besides if the server agrees.
    Streams,
}

/// Why there is no connection by SVID.
struct Missed {
    fault: Fault,
    /// The server's certificate names no SPIFFE ID at all. One that names any, be it a wrong one, a
    /// forged one or one out of time, is an SVID that failed.
    shown_no_svid: bool,
}

/// What we prove ourselves by, at this moment.
enum Way<'a> {
    Svid(&'a BySvid),
    Token(&'a ByToken),
}

impl Dialler {
    pub(super) async fn connect(&self, purpose: Purpose) -> Result<Link, Fault> {
        let sidecar = match &self.dial {
            Dial::Application(target) => {
                let stream = self.dial_target(target).await?;
                self.worker.upstream(UpstreamResult::Connected);
                return Ok(Link {
                    wire: Wire::Plain(stream),
                    lifetime: None,
                    vouched_by: None,
                    carries_streams: None,
                });
            }
            Dial::Sidecar(sidecar) => sidecar,
        };
        match sidecar.way(SystemTime::now()) {
            Some(Way::Svid(way)) => match self.connect_by_svid(sidecar, way, purpose).await {
                Err(missed) => match sidecar.despite(&missed, purpose) {
                    Some(way) => {
                        let age = WITHOUT_ITS_SVID.min(self.age());
                        self.connect_by_token(sidecar, way, purpose, age).await
                    }
                    None => Err(missed.fault),
                },
                Ok(link) => Ok(link),
            },
            Some(Way::Token(way)) => self.connect_by_token(sidecar, way, purpose, self.age()).await,
            // With nothing to prove ourselves by, not even a connection is made.
            None => Err(Fault::IdentityUnavailable),
        }
    }

    /// Makes a request fit for a connection: with our token on it where it needs one.
    pub(super) fn prepare<B>(&self, request: &mut Request<B>, by_token: bool) -> Result<(), Fault> {
        let Dial::Sidecar(sidecar) = &self.dial else { return Ok(()) };
        let Some(way) = &sidecar.by_token else { return Ok(()) };
        if !by_token {
            present(request, None);
            return Ok(());
        }
        let credential = way.credential.load();
        let header = credential.as_ref().as_ref().and_then(|it| it.at(SystemTime::now()));
        present(request, Some(header.ok_or(Fault::IdentityUnavailable)?));
        Ok(())
    }

    /// Whether a connection may take another request: made by SVID it may, for all that is known
    /// here; by token only while there is one, and while those who vouched for the server are still
    /// whom we believe.
    pub(super) fn may_use(&self, vouched_by: Option<&Weak<Roots>>) -> bool {
        let Some(roots) = vouched_by else { return true };
        let Dial::Sidecar(sidecar) = &self.dial else { return false };
        sidecar.by_token.as_ref().is_some_and(|way| {
            std::ptr::eq(roots.as_ptr(), Arc::as_ptr(&way.roots.load()))
                && way.is_at_hand(SystemTime::now())
        })
    }

    async fn dial_target(&self, target: &Target) -> Result<Stream, Fault> {
        match target.dial(self.limits.connect).await {
            Ok(stream) => Ok(stream),
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                self.worker.upstream(UpstreamResult::TimedOut);
                Err(Fault::Timeout(Waited::Connection))
            }
            Err(error) => {
                self.worker.upstream(UpstreamResult::Unreachable);
                Err(Fault::Unreachable(error))
            }
        }
    }

    async fn connect_by_svid(
        &self,
        sidecar: &Sidecar,
        way: &BySvid,
        purpose: Purpose,
    ) -> Result<Link, Missed> {
        let connector = match purpose {
            Purpose::Http1 => &way.http1,
            Purpose::Http2 => &way.http2,
            Purpose::Raw => &way.raw,
            Purpose::Streams => way.streams.as_ref().unwrap_or(&way.raw),
        };
        let stream = self.dial_target(&sidecar.target).await?;
        let now = SystemTime::now();
        let connected = self.shaken(connector.connect(stream, now)).await?;
        let bounds = Bounds::dialled(&connected.peer, &connected.own);
        let wire = Wire::Dialled(Box::new(Dialled::new(connected.stream)));
        let link = self.link(wire, bounds, sidecar, now, self.age());
        if connected.alpn == Alpn::Streams {
            let ends = Ends { peer: connected.peer, own: connected.own.id };
            return Ok(Link { carries_streams: Some(ends), ..link });
        }
        let own_id = connected.own.id.to_string();
        // Whom we talk to is the outbound side's decision, and has its audit line.
        self.worker
            .record(&Decision {
                listener: &self.listener,
                peer_id: Some(connected.peer.uri()),
                serial: Some(connected.peer.serial()),
                local_id: Some(&own_id),
                ..Decision::outbound(sidecar.protocol.spoken())
            })
            .await?;
        Ok(link)
    }

    /// Writes the line of one more stream on a connection to `ends`.
    pub(super) async fn record_stream(&self, ends: &Ends) -> Result<(), Fault> {
        let own_id = ends.own.to_string();
        self.worker
            .record(&Decision {
                listener: &self.listener,
                peer_id: Some(ends.peer.uri()),
                serial: Some(ends.peer.serial()),
                local_id: Some(&own_id),
                ..Decision::outbound(audit::Protocol::Tcp)
            })
            .await
    }

    async fn connect_by_token(
        &self,
        sidecar: &Sidecar,
        way: &ByToken,
        purpose: Purpose,
        age: Duration,
    ) -> Result<Link, Fault> {
        let connector = match purpose {
            Purpose::Http1 => &way.http1,
            Purpose::Http2 => &way.http2,
            // There is no place for a token in it.
            Purpose::Raw | Purpose::Streams => return Err(Fault::IdentityUnavailable),
        };
        // Before the handshake: what changes while it lasts makes the connection an old one.
        let generation = sidecar.contexts.load().generation();
        let roots = Arc::downgrade(&way.roots.snapshot());
        let stream = self.dial_target(&sidecar.target).await?;
        let now = SystemTime::now();
        let named = self.shaken(connector.connect(stream, now)).await?;
        self.worker
            .record(&Decision {
                listener: &self.listener,
                peer_id: Some(&way.server),
                method_of_proof: Some("jwt"),
                ..Decision::outbound(sidecar.protocol.spoken())
            })
            .await?;
        let bounds = Bounds::named((named.not_before, named.not_after), generation);
        let wire = Wire::Dialled(Box::new(Dialled::new(named.stream)));
        Ok(Link { vouched_by: Some(roots), ..self.link(wire, bounds, sidecar, now, age) })
    }

    /// Waits for a handshake, and counts how it went.
    async fn shaken<T>(
        &self,
        handshake: impl Future<Output = Result<T, HandshakeError>>,
    ) -> Result<T, Missed> {
        let (result, missed) = match timeout(self.limits.handshake, handshake).await {
            Ok(Ok(connected)) => return Ok(connected),
            Ok(Err(error)) => {
                let result = match error {
                    HandshakeError::Expectation { .. } | HandshakeError::Unproven(_) => {
                        UpstreamResult::Identity
                    }
                    _ => UpstreamResult::Handshake,
                };
                (result, Missed::of(&error))
            }
            Err(_) => (UpstreamResult::TimedOut, Fault::Timeout(Waited::Handshake).into()),
        };
        self.worker.upstream(result);
        Err(missed)
    }

    fn link(
        &self,
        wire: Wire,
        bounds: Bounds,
        sidecar: &Sidecar,
        now: SystemTime,
        age: Duration,
    ) -> Link {
        self.worker.upstream(UpstreamResult::Connected);
        let lifetime = Lifetime::new(Side::Dialled, bounds, age, &sidecar.contexts, now);
        Link { wire, lifetime: Some(lifetime), vouched_by: None, carries_streams: None }
    }

    /// The most; the accepting side lets it live a little longer.
    fn age(&self) -> Duration {
        self.limits.connection_age.mul_f64(0.9)
    }

    /// Of our own SVID: connections made with an older one are not used again.
    pub(super) fn generation(&self) -> u64 {
        match &self.dial {
            Dial::Application(_) => 0,
            Dial::Sidecar(sidecar) => sidecar.contexts.load().generation(),
        }
    }
}

impl Sidecar {
    fn way(&self, now: SystemTime) -> Option<Way<'_>> {
        let context = self.contexts.load();
        let svid = self.by_svid.as_ref().and(context.own());
        let svid = svid.map(|own| (own.not_before, own.not_after));
        let token = self.by_token.as_ref().is_some_and(|way| way.is_at_hand(now));
        match WayOut::choose(svid, token, now)? {
            WayOut::Svid => self.by_svid.as_ref().map(Way::Svid),
            WayOut::Token => self.by_token.as_ref().map(Way::Token),
        }
    }

    /// The token, for a server that shows no SVID although we have one: only where the operator
    /// has said so, since it lets the far side choose the weaker proof.
    fn despite(&self, missed: &Missed, purpose: Purpose) -> Option<&ByToken> {
        let way = self.by_token.as_ref().filter(|way| way.also_without_svid)?;
        let fits = missed.shown_no_svid && !matches!(purpose, Purpose::Raw | Purpose::Streams);
        (fits && way.is_at_hand(SystemTime::now())).then_some(way)
    }
}

impl Missed {
    fn of(error: &HandshakeError) -> Self {
        let shown_no_svid =
            matches!(error, HandshakeError::Refused { reason: SvidError::NoUri, .. });
        Self { fault: Fault::handshake(error), shown_no_svid }
    }
}

impl From<Fault> for Missed {
    fn from(fault: Fault) -> Self {
        Self { fault, shown_no_svid: false }
    }
}

impl From<Missed> for Fault {
    fn from(missed: Missed) -> Self {
        missed.fault
    }
}

impl ByToken {
    fn is_at_hand(&self, now: SystemTime) -> bool {
        let credential = self.credential.load();
        credential.as_ref().as_ref().is_some_and(|it| it.at(now).is_some())
    }
}
