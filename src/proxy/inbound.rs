//! From other services to ours: verified mTLS in, plaintext on this machine out.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use super::activity::Activity;
use super::beside::Opinion;
use super::connection::{Ends, serve};
use super::dial::Purpose;
use super::ending::{carry, ended};
use super::fault::Fault;
use super::gate::{Caller, Gate, InboundSettings, Judges, holds_until, to_be_judged_again};
use super::guarded::Guarded;
use super::minder::Minder;
use super::session::Session;
use super::wire::Wire;
use super::worker::{Decision, Place, Worker};
use super::{Phase, Protocol};
use crate::authz::{Beside, Permit};
use crate::live::{Changes, Live};
use crate::net::{Listener, Stream};
use crate::policy::Pace;
use crate::telemetry::{RequestId, audit};
use crate::tls::{Accepted, Acceptor, Alpn, Context, HandshakeError};

mod streams;

/// How long a shutdown waits for handshakes that have begun: somebody who connects and says nothing
/// must not hold it up.
const LAST_HANDSHAKES: Duration = Duration::from_millis(500);

/// One inbound listener, as one worker serves it.
#[derive(Debug)]
pub struct Inbound {
    gate: Rc<Gate>,
    acceptor: Acceptor,
}

/// What remains to be done for a connection once it is known who is on the other end.
type Serving = Pin<Box<dyn Future<Output = ()>>>;

/// A raw stream that was let in, and what it was let in for.
struct Admitted {
    far: Wire,
    permit: Permit,
    id: RequestId,
    changes: Changes,
}

impl Inbound {
    pub fn new(
        settings: Arc<InboundSettings>,
        judges: Judges,
        contexts: Live<Context>,
        worker: Rc<Worker>,
    ) -> Self {
        let callers = settings.callers.clone();
        let acceptor = match settings.protocol {
            Protocol::Http => Acceptor::new(contexts.clone(), &[Alpn::Http2, Alpn::Http1], callers),
            Protocol::Tcp if settings.multiplex => {
                Acceptor::optional(contexts.clone(), &[Alpn::Streams], callers)
            }
            Protocol::Tcp => Acceptor::new(contexts.clone(), &[], callers),
        };
        Self { gate: Rc::new(Gate::new(settings, judges, contexts, worker)), acceptor }
    }

    /// Accepts until the phase says to drain. Returns at once then; connections go on in their
    /// own tasks.
    pub async fn run(self: Rc<Self>, listener: Listener, phase: Phase) {
        loop {
            let (stream, address, slot) = tokio::select! {
                biased;
                () = phase.draining() => return,
                accepted = listener.accept() => accepted,
            };
            let slots = (slot, listener.slots());
            let beginning = Box::pin(Rc::clone(&self).begin(stream, address, slots, phase.clone()));
            self.gate.worker.spawn(async move {
                if let Some(serving) = beginning.await {
                    serving.await;
                }
            });
        }
    }

    /// Shakes hands. A connection is mostly idle: what only its beginning needs is not kept for the
    /// rest of it, and neither is the room that another protocol would need. `None`: it was refused.
    async fn begin(
        self: Rc<Self>,
        stream: Stream,
        address: Option<SocketAddr>,
        (slot, slots): (OwnedSemaphorePermit, Arc<Semaphore>),
        phase: Phase,
    ) -> Option<Serving> {
        let accepted = self.handshake(stream, address, &phase).await?;
        let place = self.gate.worker.place(slot);
        Some(match self.gate.settings.protocol {
            Protocol::Http => self.http(accepted, address, place, phase),
            Protocol::Tcp if accepted.alpn == Alpn::Streams => Box::pin(async move {
                self.streams(accepted, address, slots, phase).await;
                drop(place);
            }),
            Protocol::Tcp => self.tcp(accepted, address, place, phase),
        })
    }

    async fn handshake(
        &self,
        stream: Stream,
        address: Option<SocketAddr>,
        phase: &Phase,
    ) -> Option<Accepted<Stream>> {
        let accept = self.acceptor.accept(stream, SystemTime::now());
        let handshake = tokio::select! {
            handshake = timeout(self.gate.settings.limits.handshake, accept) => handshake.ok(),
            () = last_handshakes(phase) => None,
        };
        match handshake {
            Some(Ok(accepted)) => return Some(accepted),
            Some(Err(error)) => self.refused_handshake(&error, address).await,
            None => {
                self.gate.worker.handshake_failed("timeout");
                tracing::debug!(?address, listener = %self.gate.settings.name, "handshake too slow");
            }
        }
        None
    }

    async fn refused_handshake(&self, error: &HandshakeError, address: Option<SocketAddr>) {
        self.gate.worker.handshake_failed(error.code());
        // A connection that says nothing is a probe or a scan: counted, but nobody was refused.
        if matches!(error, HandshakeError::Io(_)) {
            return;
        }
        tracing::debug!(%error, ?address, listener = %self.gate.settings.name, "handshake refused");
        // Without an identity of our own, nobody was judged.
        let reason = match error {
            HandshakeError::NoIdentity => error.code(),
            _ => "unauthenticated",
        };
        let claimed = error.claimed().map(ToString::to_string);
        let address = address.map(|address| address.to_string());
        let line = Decision {
            listener: &self.gate.settings.name,
            address: address.as_deref(),
            outcome: Err((reason, Cow::Owned(explanation(error, claimed.as_deref())))),
            ..Decision::inbound(audit::Protocol::Tls)
        };
        // Refused it is, with or without its line; that the log is full has been told there.
        self.gate.worker.record(&line).await.ok();
    }

    fn http(
        self: Rc<Self>,
        accepted: Accepted<Stream>,
        address: Option<SocketAddr>,
        place: Place,
        phase: Phase,
    ) -> Serving {
        let limits = self.gate.settings.limits.clone();
        let Accepted { stream, peer, alpn, own } = accepted;
        let caller = self.gate.caller(peer, own, address);
        let lifetime = self.gate.lifetime(&caller);
        let http1 = alpn != Alpn::Http2;
        let wire = Wire::Accepted(Box::new(stream));
        let (io, ambiguity) = Guarded::new(wire, http1, &limits, place);
        let activity = Activity::new();
        if caller.proof.peer().is_some() {
            activity.prove();
        }
        let session = Session::new(
            Rc::clone(&self.gate),
            caller,
            ambiguity,
            Rc::clone(&activity),
            phase.clone(),
        );
        let session = Rc::new(session);
        let minder = Minder::of(&session);
        let ends = Ends { lifetime: Some(lifetime), age: limits.connection_age, phase };
        let alpn = if alpn == Alpn::None { Alpn::Http1 } else { alpn };
        let answer = move |request| Rc::clone(&session).exchange(request);
        let serving = serve(io, alpn, limits, activity, ends, answer);
        Box::pin(async move {
            serving.await;
            drop(minder);
        })
    }

    fn tcp(
        self: Rc<Self>,
        accepted: Accepted<Stream>,
        address: Option<SocketAddr>,
        place: Place,
        phase: Phase,
    ) -> Serving {
        let Accepted { stream, peer, own, .. } = accepted;
        let caller = self.gate.caller(peer, own, address);
        let lifetime = self.gate.lifetime(&caller);
        let near = Wire::Accepted(Box::new(stream));
        Box::pin(async move {
            if let Some(admitted) = Box::pin(self.admit(&caller)).await {
                tokio::select! {
                    () = self.carry(near, admitted, &caller) => {}
                    () = ended(lifetime) => {}
                    () = phase.cut() => {}
                }
            }
            drop(place);
        })
    }

    /// Judges a raw stream and connects it to the application. `None`: it was refused, or there is
    /// no application.
    async fn admit(&self, caller: &Caller) -> Option<Admitted> {
        let started = Instant::now();
        // Subscribed before the first look, so that no change falls in between.
        let changes = self.gate.rules.changes();
        let id = RequestId::random();
        let permit = match Box::pin(self.judge_stream(caller, &id)).await {
            Ok(permit) => permit,
            Err(code) => {
                self.gate.worker.decided(code, started);
                return None;
            }
        };
        let far = match Box::pin(self.dial(&permit)).await {
            Ok(far) => far,
            Err(fault) => {
                self.gate.worker.decided(fault.code(), started);
                self.gate.complain("-", &fault);
                return None;
            }
        };
        self.gate.worker.decided("allowed", started);
        Some(Admitted { far, permit, id, changes })
    }

    /// Carries a stream until it ends, or is no longer permitted.
    async fn carry(&self, near: Wire, admitted: Admitted, caller: &Caller) {
        let Admitted { far, permit, id, changes } = admitted;
        tokio::select! {
            () = carry(&self.gate.worker, near, far, self.gate.settings.limits.idle) => {}
            () = self.refused_later(caller, &permit, &id, changes) => {}
        }
    }

    /// Judges a raw stream and writes the line; a refusal gives its code.
    async fn judge_stream(&self, caller: &Caller, id: &RequestId) -> Result<Permit, &'static str> {
        let rules = self.gate.rules.snapshot();
        // A raw stream has no place for a token.
        let proven = caller.proven(None).ok_or("unauthenticated")?;
        let claims = self.gate.claims(caller, proven, &rules.policy, &self.gate.aside).await;
        let route = self.gate.settings.stream.as_ref().ok_or("no_route")?;
        let (serial, now) = (caller.serial(), SystemTime::now());
        let verdict = self.gate.guard.judge_tcp(&rules, &claims, serial, route, now);
        let Opinion { differs, later } =
            self.gate.beside_stream(&rules, caller, proven, route, &verdict, now);
        let decision = Decision {
            request_id: Some(id.as_str()),
            claims: Some(&claims),
            shadow: differs.as_ref(),
            ..self.gate.decision(caller, audit::Protocol::Tcp)
        };
        match verdict {
            Ok(permit) => {
                let line = decision.permitted(&permit);
                self.gate.worker.record(&line).await.map_err(|fault| fault.code())?;
                self.gate.ask_later(later, &line, &claims);
                Ok(permit)
            }
            Err(denial) => {
                let line = decision.denied(&denial);
                self.gate.worker.record(&line).await.ok();
                self.gate.ask_later(later, &line, &claims);
                Err(denial.reason.code())
            }
        }
    }

    /// Without a permit there is nothing to call.
    async fn dial(&self, _permit: &Permit) -> Result<Wire, Fault> {
        Ok(self.gate.upstream.own_link(Purpose::Raw).await?.wire)
    }

    /// Resolves, with its audit line written, once what was permitted is so no longer.
    async fn refused_later(
        &self,
        caller: &Caller,
        permit: &Permit,
        id: &RequestId,
        mut changes: Changes,
    ) {
        let (pace, turn) = (Pace::default(), Semaphore::new(1));
        let by = Beside { threads: &self.gate.aside_patiently, pace: &pace, turn: &turn };
        // Between two judgments nothing is kept of them, and of what they went by.
        while let Some(until) = Box::pin(self.judge_again(caller, permit, id, by)).await {
            to_be_judged_again(until, &mut changes).await;
        }
    }

    /// Gives the time until which the answer holds, if it is still yes; that it has an end is not
    /// certain.
    async fn judge_again(
        &self,
        caller: &Caller,
        permit: &Permit,
        id: &RequestId,
        by: Beside<'_>,
    ) -> Option<Option<SystemTime>> {
        let proven = caller.proven(None)?;
        let rules = self.gate.rules.snapshot();
        let claims = self.gate.claims(caller, proven, &rules.policy, by.threads).await;
        let at = caller.standpoint(SystemTime::now());
        let judged = self.gate.guard.judge_again(by, &rules, &claims, permit, &at).await;
        let Err(denial) = judged else {
            return Some(holds_until(&rules.policy, &claims, at.now));
        };
        let decision = self.gate.decision(caller, audit::Protocol::Tcp);
        let decision = Decision {
            request_id: Some(id.as_str()),
            claims: Some(&claims),
            again: true,
            ..decision
        };
        self.gate.worker.record(&decision.denied(&denial)).await.ok();
        None
    }
}

/// Resolves when a shutdown waits no longer for peers that are not known yet.
async fn last_handshakes(phase: &Phase) {
    phase.draining().await;
    sleep(LAST_HANDSHAKES).await;
}

/// What the audit line says of a handshake that was refused. The claimed identity is proven by
/// nothing, so it stands in the explanation and never as the source.
fn explanation(error: &HandshakeError, claimed: Option<&str>) -> String {
    use std::error::Error as _;
    let mut text = format!("{error} ({})", error.code());
    if let Some(source) = error.source() {
        text.push_str(&format!(": {source}"));
    }
    if let Some(claimed) = claimed {
        text.push_str(&format!("; it claims to be `{claimed}`"));
    }
    text
}
