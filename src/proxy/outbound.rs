//! From our application to other services: plaintext on this machine in, verified mTLS out.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::uri::Scheme;
use http::{HeaderValue, Method, Request, Response, Version};
use spiffe::SpiffeId;
use tokio::time::Instant;

use super::activity::Activity;
use super::arrived::Arrived;
use super::carriers::{Carriers, RawLink};
use super::connection::{Ends, dress, serve};
use super::dial::{BySvid, ByToken, Dial, Purpose, Sidecar};
use super::ending::{carry, ended};
use super::fault::Fault;
use super::forward::{Forwarded, Journey, Outgoing, SpareTimer, Streams};
use super::guarded::{AmbiguityFlag, Guarded};
use super::headers::{self, Names};
use super::request::check_authority;
use super::response_body::ResponseBody;
use super::upgrade;
use super::upstream::Upstream;
use super::wire::Wire;
use super::worker::{Decision, Place, Worker};
use super::{Limits, Phase, Protocol, Speaks, respond};
use crate::live::Live;
use crate::net::{Listener, Stream, Target};
use crate::telemetry::{RequestId, audit};
use crate::tls::{self, Alpn, Connector, Context, HostName, NamedConnector, Roots};
use crate::token::Credential;

/// One declared destination, as configured.
#[derive(Debug)]
pub struct OutboundSettings {
    pub name: Arc<str>,
    pub protocol: Protocol,
    pub connect_to: Target,
    /// The identities that the server may have; any other is refused (DP-2). `None` where we do not
    /// use SPIFFE.
    pub expect: Option<Vec<SpiffeId>>,
    /// How we prove ourselves while we have no SVID; `None`: not at all.
    pub fallback: Option<Fallback>,
    /// Raw streams share connections to a server that takes that.
    pub multiplex: bool,
    /// What to say as the host; `None` leaves what the application said.
    pub host: Option<HeaderValue>,
    pub limits: Limits,
}

/// A server that is known by its name, and the token that we present to it.
#[derive(Debug)]
pub struct Fallback {
    pub server: HostName,
    pub roots: Live<Roots>,
    pub tls: tls::Settings,
    pub credential: Live<Option<Credential>>,
    /// Also taken while we have an SVID and the server shows none.
    pub also_without_svid: bool,
}

/// One outbound listener, as one worker serves it.
#[derive(Debug)]
pub struct Outbound {
    settings: Arc<OutboundSettings>,
    upstream: Upstream,
    /// Where raw streams share connections.
    carriers: Option<Carriers>,
    worker: Rc<Worker>,
    contexts: Live<Context>,
}

impl Outbound {
    pub fn new(
        settings: Arc<OutboundSettings>,
        contexts: Live<Context>,
        worker: Rc<Worker>,
    ) -> Self {
        let by_svid = settings.expect.as_ref().map(|expect| {
            let to = |alpn: &[Alpn]| Connector::new(contexts.clone(), alpn, expect.clone());
            BySvid {
                http1: to(&[Alpn::Http1]),
                http2: to(&[Alpn::Http2]),
                raw: to(&[]),
                streams: settings.multiplex.then(|| to(&[Alpn::Streams])),
            }
        });
        let sidecar = Sidecar {
            target: settings.connect_to.clone(),
            by_svid,
            by_token: settings.fallback.as_ref().map(Fallback::way),
            contexts: contexts.clone(),
            protocol: settings.protocol,
        };
        let upstream = Upstream::new(
            Dial::Sidecar(Box::new(sidecar)),
            Arc::clone(&settings.name),
            settings.limits.clone(),
            Rc::clone(&worker),
        );
        let carriers = settings.multiplex.then(|| Carriers::new(contexts.clone()));
        Self { settings, upstream, carriers, worker, contexts }
    }

    /// Accepts until the phase says to drain; connections go on in their own tasks.
    pub async fn run(self: Rc<Self>, listener: Listener, phase: Phase) {
        loop {
            let (stream, address, slot) = tokio::select! {
                biased;
                () = phase.draining() => return,
                accepted = listener.accept() => accepted,
            };
            let this = Rc::clone(&self);
            let phase = phase.clone();
            self.worker.spawn(async move {
                let place = this.worker.place(slot);
                // Each takes the room that its protocol needs, and not that of the other.
                match this.settings.protocol {
                    Protocol::Http => Box::pin(this.http(stream, place, phase)).await,
                    Protocol::Tcp => {
                        Box::pin(this.tcp(stream, address, phase)).await;
                        drop(place);
                    }
                }
            });
        }
    }

    async fn http(self: Rc<Self>, stream: Stream, place: Place, phase: Phase) {
        let limits = self.settings.limits.clone();
        let (io, ambiguity) = Guarded::new(Wire::Plain(stream), true, &limits, place);
        let activity = Activity::new();
        // Our own application needs no proof.
        activity.prove();
        let application = Rc::new(Application {
            outbound: self,
            ambiguity,
            activity: Rc::clone(&activity),
            phase: phase.clone(),
            timer: SpareTimer::default(),
        });
        let answer = move |request| Rc::clone(&application).exchange(request);
        let ends = Ends { lifetime: None, age: limits.connection_age, phase };
        serve(io, Alpn::None, limits, activity, ends, answer).await;
    }

    async fn tcp(&self, stream: Stream, address: Option<SocketAddr>, phase: Phase) {
        let started = Instant::now();
        let near = Wire::Plain(stream);
        // Mostly idle: what only the beginning needs is not kept for the rest.
        let link = match &self.carriers {
            Some(carriers) => Box::pin(carriers.link(&self.upstream)).await,
            None => Box::pin(self.upstream.own_link(Purpose::Raw)).await.map(RawLink::own),
        };
        let RawLink { wire, lifetime, _in_use } = match link {
            Ok(link) => link,
            Err(fault) => {
                self.worker.decided(fault.code(), started);
                let address = address.map(|address| address.to_string());
                let address = address.as_deref();
                Box::pin(self.record_fault(&fault, Decision { address, ..self.decision(false) }))
                    .await;
                // The application must not take this for an answer that happens to be empty.
                near.reset_on_drop();
                return;
            }
        };
        self.worker.decided("allowed", started);
        tokio::select! {
            () = carry(&self.worker, near, wire, self.settings.limits.idle) => {}
            () = ended(lifetime) => {}
            () = phase.cut() => {}
        }
    }

    /// Carries an upgraded connection until it ends or an SVID runs out.
    async fn join(&self, streams: Streams, phase: Phase) {
        tokio::select! {
            () = upgrade::join(streams.near, streams.far, self.settings.limits.idle) => {}
            () = ended(streams.far_lifetime) => {}
            () = phase.cut() => {}
        }
    }

    fn decision(&self, grpc: bool) -> Decision<'_> {
        Decision {
            listener: &self.settings.name,
            ..Decision::outbound(spoken(self.settings.protocol, grpc))
        }
    }

    /// A server that is not who it should be, or an identity that we lack, is a refusal and gets
    /// its line; a network that fails is not.
    async fn record_fault(&self, fault: &Fault, decision: Decision<'_>) {
        if fault.is_trouble() {
            let (name, to) = (&self.settings.name, &self.settings.connect_to);
            return self.worker.complain(name, to, decision.request_id.unwrap_or("-"), fault);
        }
        let presented = match fault {
            Fault::UpstreamIdentity { presented } => Some(presented.as_str()),
            Fault::UpstreamUnverified(_)
            | Fault::UpstreamRefused(_)
            | Fault::IdentityUnavailable
            | Fault::BadRequest(_) => None,
            _ => return,
        };
        let local_id = self.contexts.load().own().map(|own| own.id.to_string());
        let line = Decision {
            peer_id: presented,
            local_id: local_id.as_deref(),
            outcome: Err((fault.code(), Cow::Owned(fault.to_string()))),
            ..decision
        };
        // Refused it is, with or without its line.
        self.worker.record(&line).await.ok();
    }
}

impl Fallback {
    fn way(&self) -> ByToken {
        let to =
            |alpn| NamedConnector::new(self.roots.clone(), self.tls, self.server.clone(), alpn);
        ByToken {
            server: self.server.to_string(),
            roots: self.roots.clone(),
            http1: to(&[Alpn::Http1]),
            http2: to(&[Alpn::Http2]),
            credential: self.credential.clone(),
            also_without_svid: self.also_without_svid,
        }
    }
}

fn spoken(protocol: Protocol, grpc: bool) -> audit::Protocol {
    if grpc { audit::Protocol::Grpc } else { protocol.spoken() }
}

/// Our own application, on one connection.
struct Application {
    outbound: Rc<Outbound>,
    ambiguity: AmbiguityFlag,
    activity: Rc<Activity>,
    phase: Phase,
    timer: SpareTimer,
}

impl Application {
    fn exchange(
        self: Rc<Self>,
        request: Request<Arrived>,
    ) -> impl Future<Output = Response<ResponseBody>> {
        let running = self.activity.begin();
        let started = Instant::now();
        let request_id = headers::request_id(request.headers());
        let grpc = headers::is_grpc(request.headers());
        let http1 = request.version() != Version::HTTP_2;
        let method = request.method().clone();
        let uri = request.uri().clone();

        async move {
            let outbound = &self.outbound;
            let mut response = match self.answered(request, grpc, &request_id).await {
                Ok(response) => {
                    outbound.worker.decided("allowed", started);
                    response
                }
                Err(fault) => {
                    outbound.worker.decided(fault.code(), started);
                    let decision = Decision {
                        request_id: Some(request_id.as_str()),
                        method: Some(method.as_str()),
                        path: Some(uri.path()),
                        ..outbound.decision(grpc)
                    };
                    Box::pin(outbound.record_fault(&fault, decision)).await;
                    respond::fault(&fault, grpc, request_id.as_str())
                }
            };
            if method == Method::HEAD {
                respond::leave_out_body(&mut response);
            }
            let last = self.activity.is_retired() || self.ambiguity.is_raised();
            dress(&mut response, &request_id, running, http1, last);
            response
        }
    }

    #[expect(clippy::manual_async_fn, reason = "which would have room for the request twice")]
    fn answered(
        &self,
        request: Request<Arrived>,
        grpc: bool,
        request_id: &RequestId,
    ) -> impl Future<Output = Result<Response<ResponseBody>, Fault>> {
        async move {
            let mut outgoing = self.outgoing(request, grpc, request_id)?;
            outgoing.count_upload(&self.activity);
            match outgoing.forward().await? {
                Forwarded::Answered(response) => Ok(response),
                Forwarded::Switched(response, streams) => {
                    self.ambiguity.switched();
                    let outbound = Rc::clone(&self.outbound);
                    let phase = self.phase.clone();
                    self.outbound.worker.spawn(async move { outbound.join(streams, phase).await });
                    Ok(response)
                }
            }
        }
    }

    fn outgoing(
        &self,
        mut request: Request<Arrived>,
        grpc: bool,
        request_id: &RequestId,
    ) -> Result<Outgoing<'_>, Fault> {
        let settings = &self.outbound.settings;
        let names = Names::of(request.headers());
        let upgrade = names
            .any_hop_by_hop()
            .then(|| headers::upgrade_wanted(request.headers()))
            .flatten()
            .filter(|_| request.version() == Version::HTTP_11);
        if self.ambiguity.is_raised() {
            return Err(Fault::BadRequest("two_lengths"));
        }
        if *request.method() == Method::CONNECT {
            return Err(Fault::BadRequest("connect"));
        }
        check_authority(&request)?;
        // What our application says of itself in these headers, only a sidecar may say.
        headers::clean(request.headers_mut(), names, true)?;
        headers::say_request_id(request.headers_mut(), request_id);
        let journey = Journey {
            speaks: Speaks::Same,
            scheme: Scheme::HTTPS,
            target: None,
            host: settings.host.as_ref(),
            upgrade,
            grpc,
            cord: None,
        };
        Outgoing::new(&self.outbound.upstream, &self.timer, &settings.limits, journey, request)
    }
}
