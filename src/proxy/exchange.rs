//! One inbound HTTP exchange: who asks, may they, on to the application, and back.

use std::borrow::Cow;
use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use hyper::body::Incoming;
use hyper::service::Service;
use tokio::time::{Instant, sleep};

use super::activity::Activity;
use super::connection::dress;
use super::cord::Cord;
use super::ending::ended;
use super::fault::Fault;
use super::forward::{Forwarded, Journey, Streams, forward};
use super::gate::{Caller, Gate, to_be_judged_again};
use super::guarded::AmbiguityFlag;
use super::headers;
use super::request::check_authority;
use super::response_body::ResponseBody;
use super::upgrade;
use super::worker::Decision;
use super::{Phase, respond};
use crate::authz::{Claims, Denial, HttpFacts, Permit, Target};
use crate::policy::Policy;
use crate::telemetry::{RequestId, audit};

/// How long a gRPC call may run before changes of the policy are followed for its sake. What has
/// changed by then is seen then, so a refusal is in force within a second.
const SHORT_CALL: Duration = Duration::from_millis(400);

/// The requests of one connection, and what they have in common.
pub(super) struct Session {
    gate: Rc<Gate>,
    caller: Caller,
    ambiguity: AmbiguityFlag,
    activity: Rc<Activity>,
    client_cert: Option<HeaderValue>,
    keep_forwarded: bool,
    phase: Phase,
    rights: RefCell<Option<Rc<Rights>>>,
}

/// What the policy in force says of the caller, and the headers that tell the application.
struct Rights {
    policy: Arc<Policy>,
    claims: Arc<Claims>,
    subject: Option<HeaderValue>,
    tenant: Option<HeaderValue>,
    scopes: Option<HeaderValue>,
}

/// How a request ended that got no answer from the application.
enum Refused {
    Denied(Denial),
    Faulted(Fault),
}

/// A request that may go on.
struct Permitted {
    permit: Permit,
    /// The normalised target, where it differs from the one that came.
    target: Option<String>,
    upgrade: Option<HeaderValue>,
    grpc: bool,
}

/// The service that hyper calls for each request of the connection.
pub(super) struct InboundService(Rc<Session>);

impl InboundService {
    pub(super) fn new(session: Session) -> Self {
        Self(Rc::new(session))
    }
}

impl Service<Request<Incoming>> for InboundService {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let session = Rc::clone(&self.0);
        Box::pin(async move { Ok(session.exchange(request).await) })
    }
}

impl Session {
    pub(super) fn new(
        gate: Rc<Gate>,
        caller: Caller,
        ambiguity: AmbiguityFlag,
        activity: Rc<Activity>,
        phase: Phase,
    ) -> Self {
        let client_cert = HeaderValue::from_str(&caller.client_cert()).ok();
        let keep_forwarded = gate.settings.trust_forwarded_from.contains(caller.peer.id());
        let rights = RefCell::new(None);
        Self { gate, caller, ambiguity, activity, client_cert, keep_forwarded, phase, rights }
    }

    async fn exchange(self: Rc<Self>, request: Request<Incoming>) -> Response<ResponseBody> {
        let running = self.activity.begin();
        let started = Instant::now();
        let request_id = headers::request_id(request.headers());
        let grpc = headers::is_grpc(request.headers());
        let http1 = request.version() != Version::HTTP_2;
        let head = *request.method() == Method::HEAD;

        let outcome = self.answered(request, grpc, &request_id).await;
        let worker = &self.gate.worker;
        let mut response = match outcome {
            Ok(response) => {
                worker.decided("allowed", started);
                response
            }
            Err(Refused::Denied(denial)) => {
                worker.decided(denial.reason.code(), started);
                respond::refusal(&denial, grpc, request_id.as_str())
            }
            Err(Refused::Faulted(fault)) => {
                worker.decided(fault.code(), started);
                if fault.is_trouble() {
                    self.gate.complain(request_id.as_str(), &fault);
                }
                respond::fault(&fault, grpc, request_id.as_str())
            }
        };
        if head {
            respond::leave_out_body(&mut response);
        }
        let last = self.activity.is_retired() || self.ambiguity.is_raised();
        dress(&mut response, &request_id, running, http1, last);
        response
    }

    async fn answered(
        self: &Rc<Self>,
        mut request: Request<Incoming>,
        grpc: bool,
        request_id: &RequestId,
    ) -> Result<Response<ResponseBody>, Refused> {
        let permitted = self.judged(&mut request, grpc, request_id).await?;
        self.forward(permitted, request).await
    }

    /// Decides and writes the audit line. What comes back is the only way on.
    async fn judged(
        &self,
        request: &mut Request<Incoming>,
        grpc: bool,
        request_id: &RequestId,
    ) -> Result<Permitted, Refused> {
        let upgrade = headers::upgrade_wanted(request.headers())
            .filter(|_| request.version() == Version::HTTP_11);
        let written = request.uri().path_and_query().cloned();
        let written = written.as_ref().map_or("", PathAndQuery::as_str);
        let target = match self.read(request, written) {
            Ok(target) => target,
            Err(fault) => {
                self.record_malformed(request, &fault, request_id).await;
                return Err(Refused::Faulted(fault));
            }
        };
        let (rights, verdict) = self.verdict(request, &target, grpc);
        let decision = Decision {
            request_id: Some(request_id.as_str()),
            claims: Some(&rights.claims),
            method: Some(request.method().as_str()),
            path: Some(target.path()),
            ..self.gate.decision(&self.caller, spoken(upgrade.as_ref(), grpc))
        };
        let permit = match verdict {
            Ok(permit) => {
                let line = decision.permitted(&permit);
                self.gate.worker.record(&line).await.map_err(Refused::Faulted)?;
                permit
            }
            Err(denial) => {
                // Refused it is, with or without its line.
                self.gate.worker.record(&decision.denied(&denial)).await.ok();
                return Err(Refused::Denied(denial));
            }
        };
        self.vouch(request.headers_mut(), &rights, request_id);
        Ok(Permitted { permit, target: target.into_changed(), upgrade, grpc })
    }

    /// One look at the policy for rights and verdict, so that both are of the same revision.
    fn verdict(
        &self,
        request: &Request<Incoming>,
        target: &Target<'_>,
        grpc: bool,
    ) -> (Rc<Rights>, Result<Permit, Denial>) {
        let began = Instant::now();
        let policy = self.gate.policy.load();
        let rights = self.rights(&policy);
        let facts = HttpFacts {
            method: request.method(),
            target,
            host: host(request),
            headers: request.headers(),
            is_grpc: grpc,
            address: self.caller.address.map(|address| address.ip()),
            local: &self.caller.local,
            now: SystemTime::now(),
        };
        let routes = &self.gate.settings.routes;
        let verdict = self.gate.guard.judge_http(&policy, &rights.claims, routes, &facts);
        self.gate.worker.judged(began);
        (rights, verdict)
    }

    /// Everything about the request that could be read in two ways is refused here.
    fn read<'a>(
        &self,
        request: &mut Request<Incoming>,
        written: &'a str,
    ) -> Result<Target<'a>, Fault> {
        if self.ambiguity.is_raised() {
            return Err(Fault::BadRequest("two_lengths"));
        }
        if *request.method() == Method::CONNECT {
            return Err(Fault::BadRequest("connect"));
        }
        check_authority(request)?;
        let target = Target::parse(written).map_err(|error| Fault::BadRequest(error.code()))?;
        let headers = request.headers_mut();
        if headers.len() > self.gate.settings.limits.header_count {
            return Err(Fault::BadRequest("too_many_headers"));
        }
        headers::strip_hop_by_hop(headers)?;
        // Before the verdict, so that a policy never sees what the application will not.
        headers::remove_claims_of_identity(headers, self.keep_forwarded);
        headers::keep_valid_trace(headers);
        Ok(target)
    }

    /// The caller's rights under the policy in force: asked once, kept until something changes.
    fn rights(&self, policy: &Arc<Policy>) -> Rc<Rights> {
        let mut kept = self.rights.borrow_mut();
        let now = SystemTime::now();
        let holds = |rights: &&Rc<Rights>| {
            Arc::ptr_eq(&rights.policy, policy) && rights.claims.holds_at(now)
        };
        if let Some(rights) = kept.as_ref().filter(holds) {
            self.gate.worker.granted(false);
            return Rc::clone(rights);
        }
        let claims = self.gate.claims(&self.caller, policy);
        let rights = Rc::new(Rights {
            subject: HeaderValue::from_str(claims.subject()).ok(),
            tenant: claims.tenant().and_then(|tenant| HeaderValue::from_str(tenant.as_str()).ok()),
            scopes: HeaderValue::from_str(claims.scopes().text()).ok(),
            policy: Arc::clone(policy),
            claims,
        });
        *kept = Some(Rc::clone(&rights));
        rights
    }

    /// Says who was verified. What the caller said of that has been removed before.
    fn vouch(&self, headers: &mut HeaderMap, rights: &Rights, request_id: &RequestId) {
        let method = HeaderValue::from_static(rights.claims.method().as_str());
        for (name, value) in [
            (headers::CLIENT_CERT, self.client_cert.clone()),
            (headers::SUBJECT, rights.subject.clone()),
            (headers::TENANT, rights.tenant.clone()),
            (headers::SCOPES, rights.scopes.clone()),
            (headers::METHOD, Some(method)),
            (headers::REQUEST_ID, HeaderValue::from_str(request_id.as_str()).ok()),
        ] {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
    }

    /// Takes what was permitted by value: without a permit there is nothing to call.
    async fn forward(
        self: &Rc<Self>,
        permitted: Permitted,
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, Refused> {
        let settings = &self.gate.settings;
        let Permitted { permit, target, upgrade, grpc } = permitted;
        let speaks = settings.speaks;
        let is_call = grpc && upgrade.is_none();
        let journey =
            Journey { speaks, scheme: Scheme::HTTP, target, host: None, upgrade, grpc, cord: None };
        if is_call {
            return self.call(permit, journey, request).await;
        }
        let forwarded = forward(&self.gate.upstream, &settings.limits, journey, request).await;
        match forwarded.map_err(Refused::Faulted)? {
            Forwarded::Answered(response) => Ok(response),
            Forwarded::Switched(response, streams) => {
                let session = Rc::clone(self);
                self.gate.worker.spawn(async move { session.join(permit, streams).await });
                Ok(response)
            }
        }
    }

    /// A gRPC call may last for as long as a raw stream, so it is judged again like one. Most are
    /// over before that is worth its price.
    async fn call(
        self: &Rc<Self>,
        permit: Permit,
        journey: Journey<'_>,
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, Refused> {
        let cord = Cord::new();
        let session = Rc::clone(self);
        cord.watch(async move {
            sleep(SHORT_CALL).await;
            session.refused_later(&permit, audit::Protocol::Grpc).await
        });
        let journey = Journey { cord: Some(Rc::clone(&cord)), ..journey };
        let limits = &self.gate.settings.limits;
        let forwarded = tokio::select! {
            biased;
            forwarded = forward(&self.gate.upstream, limits, journey, request) => forwarded,
            denial = cord.cut() => return Err(Refused::Denied(denial)),
        };
        match forwarded.map_err(Refused::Faulted)? {
            Forwarded::Answered(response) | Forwarded::Switched(response, _) => Ok(response),
        }
    }

    /// Carries an upgraded connection until it ends, is no longer allowed, or an SVID runs out.
    async fn join(&self, permit: Permit, streams: Streams) {
        let gate = &self.gate;
        let lifetime = gate.lifetime(&self.caller.peer, &self.caller.own);
        tokio::select! {
            () = upgrade::join(streams.near, streams.far, gate.settings.limits.idle) => {}
            denial = self.refused_later(&permit, audit::Protocol::Websocket) => {
                tracing::debug!(reason = denial.reason.code(), "upgraded connection cut");
            }
            () = ended(lifetime) => {}
            () = self.phase.cut() => {}
        }
    }

    /// Resolves, with its audit line written, once a newer policy refuses what was permitted. The
    /// first look is at once: the policy may have changed while the application was answering.
    async fn refused_later(&self, permit: &Permit, protocol: audit::Protocol) -> Denial {
        let mut changes = self.gate.policy.changes();
        loop {
            let policy = self.gate.policy.snapshot();
            let rights = self.rights(&policy);
            let claims = &rights.claims;
            if let Err(denial) = self.gate.guard.judge_again(claims, permit, SystemTime::now()) {
                let decision =
                    Decision { claims: Some(claims), ..self.gate.decision(&self.caller, protocol) };
                self.gate.worker.record(&decision.denied(&denial)).await.ok();
                return denial;
            }
            to_be_judged_again(claims, &mut changes).await;
        }
    }

    async fn record_malformed(&self, request: &Request<Incoming>, fault: &Fault, id: &RequestId) {
        let line = Decision {
            request_id: Some(id.as_str()),
            method: Some(request.method().as_str()),
            path: Some(request.uri().path()),
            outcome: Err((fault.code(), Cow::Owned(fault.to_string()))),
            ..self.gate.decision(&self.caller, audit::Protocol::Http)
        };
        self.gate.worker.record(&line).await.ok();
    }
}

/// As the audit line says it; every protocol that a connection may switch to counts as WebSocket.
fn spoken(upgrade: Option<&HeaderValue>, grpc: bool) -> audit::Protocol {
    match upgrade {
        Some(_) => audit::Protocol::Websocket,
        None if grpc => audit::Protocol::Grpc,
        None => audit::Protocol::Http,
    }
}

fn host<B>(request: &Request<B>) -> &str {
    request
        .uri()
        .authority()
        .map(http::uri::Authority::as_str)
        .or_else(|| request.headers().get(http::header::HOST)?.to_str().ok())
        .unwrap_or("")
}
