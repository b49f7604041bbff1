//! One inbound HTTP exchange: who asks, may they, on to the application, and back.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, Version};
use hyper::body::Incoming;
use hyper::service::Service;
use tokio::time::{Instant, sleep};

use super::connection::dress;
use super::cord::Cord;
use super::ending::ended;
use super::fault::Fault;
use super::forward::{Forwarded, Journey, Streams, forward};
use super::headers;
use super::proof::Unproven;
use super::request::check_authority;
use super::respond;
use super::response_body::ResponseBody;
use super::rights::Rights;
use super::session::{Refused, Session};
use super::upgrade;
use super::worker::Decision;
use crate::authz::{Denial, HttpFacts, Permit, Target};
use crate::telemetry::{RequestId, audit};
use crate::token::Verified;

/// How long a gRPC call may run before changes of the policy are followed for its sake. What has
/// changed by then is seen then, so a refusal is in force within a second.
const SHORT_CALL: Duration = Duration::from_millis(400);

/// A request that may go on.
struct Permitted {
    permit: Permit,
    /// By which it was permitted, where the connection has no certificate.
    token: Option<Arc<Verified>>,
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
    async fn exchange(self: Rc<Self>, request: Request<Incoming>) -> Response<ResponseBody> {
        let running = self.activity.begin();
        let started = Instant::now();
        let request_id = headers::request_id(request.headers());
        let grpc = headers::is_grpc(request.headers());
        let http1 = request.version() != Version::HTTP_2;
        let head = *request.method() == Method::HEAD;

        let outcome = self.answered(request, grpc, &request_id).await;
        let worker = &self.gate.worker;
        if matches!(outcome, Err(Refused::Unproven(_))) {
            self.activity.fail_to_prove();
        }
        let mut response = match outcome {
            Ok(response) => {
                worker.decided("allowed", started);
                response
            }
            Err(Refused::Denied(denial)) => {
                worker.decided(denial.reason.code(), started);
                respond::refusal(&denial, grpc, request_id.as_str())
            }
            Err(Refused::Unproven(unproven)) => {
                worker.decided(unproven.code(), started);
                respond::unproven(&unproven, grpc, request_id.as_str())
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
        // Before anything looks at the headers: from here on nobody meets the token.
        let shown = self.caller.proof.shown(request.headers_mut());
        let target = match self.read(request, written) {
            Ok(target) => target,
            Err(fault) => {
                self.record_malformed(request, &fault, request_id).await;
                return Err(Refused::Faulted(fault));
            }
        };
        let decision = Decision {
            request_id: Some(request_id.as_str()),
            method: Some(request.method().as_str()),
            path: Some(target.path()),
            ..self.gate.decision(&self.caller, spoken(upgrade.as_ref(), grpc))
        };
        let token = match self.caller.proof.token(shown, SystemTime::now()).await {
            Ok(token) => {
                self.activity.prove();
                token
            }
            Err(unproven) => return Err(self.turned_away(decision, unproven).await),
        };
        let Some((rights, verdict)) = self.verdict(request, &target, grpc, token.as_ref()) else {
            return Err(self.turned_away(decision, Ok(Unproven::Missing)).await);
        };
        let decision = Decision { claims: Some(&rights.claims), ..decision };
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
        rights.vouch(request.headers_mut());
        for (name, value) in [
            (headers::CLIENT_CERT, self.client_cert.clone()),
            (headers::REQUEST_ID, HeaderValue::from_str(request_id.as_str()).ok()),
        ] {
            if let Some(value) = value {
                request.headers_mut().insert(name, value);
            }
        }
        Ok(Permitted { permit, token, target: target.into_changed(), upgrade, grpc })
    }

    /// One look at the policy for rights and verdict, so that both are of the same revision. `None`
    /// where nobody has proven anything.
    fn verdict(
        &self,
        request: &Request<Incoming>,
        target: &Target<'_>,
        grpc: bool,
        token: Option<&Arc<Verified>>,
    ) -> Option<(Rc<Rights>, Result<Permit, Denial>)> {
        let began = Instant::now();
        let policy = self.gate.policy.load();
        let rights = self.rights(&policy, token)?;
        let facts = HttpFacts {
            method: request.method(),
            target,
            host: host(request),
            headers: request.headers(),
            is_grpc: grpc,
            address: self.caller.address.map(|address| address.ip()),
            local: &self.caller.local,
            serial: self.caller.serial(),
            now: SystemTime::now(),
        };
        let routes = &self.gate.settings.routes;
        let verdict = self.gate.guard.judge_http(&policy, &rights.claims, routes, &facts);
        self.gate.worker.judged(began);
        Some((rights, verdict))
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

    /// Takes what was permitted by value: without a permit there is nothing to call.
    async fn forward(
        self: &Rc<Self>,
        permitted: Permitted,
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, Refused> {
        let settings = &self.gate.settings;
        let Permitted { permit, token, target, upgrade, grpc } = permitted;
        let speaks = settings.speaks;
        // What a certificate allows ends with its connection; what a token allows, with the token.
        let is_watched = token.is_some() || (grpc && upgrade.is_none());
        let journey =
            Journey { speaks, scheme: Scheme::HTTP, target, host: None, upgrade, grpc, cord: None };
        if is_watched {
            return self.watched(permit, token, journey, request).await;
        }
        let forwarded = forward(&self.gate.upstream, &settings.limits, journey, request).await;
        match forwarded.map_err(Refused::Faulted)? {
            Forwarded::Answered(response) => Ok(response),
            Forwarded::Switched(response, streams) => {
                self.switched(Rc::new(permit), token, streams);
                Ok(response)
            }
        }
    }

    /// A gRPC call may last for as long as a raw stream, and an answer for longer than the token
    /// that asked for it, whatever protocol it would rather switch to: they are judged again like one. Most are over before that is worth its
    /// price.
    async fn watched(
        self: &Rc<Self>,
        permit: Permit,
        token: Option<Arc<Verified>>,
        journey: Journey<'_>,
        request: Request<Incoming>,
    ) -> Result<Response<ResponseBody>, Refused> {
        let cord = Cord::new();
        let permit = Rc::new(permit);
        let protocol = spoken(journey.upgrade.as_ref(), journey.grpc);
        let watch = (Rc::clone(self), Rc::clone(&permit), token.clone());
        cord.watch(async move {
            let (session, permit, token) = watch;
            sleep(SHORT_CALL).await;
            session.refused_later(&permit, token.as_ref(), protocol).await
        });
        let journey = Journey { cord: Some(Rc::clone(&cord)), ..journey };
        let limits = &self.gate.settings.limits;
        let forwarded = tokio::select! {
            biased;
            forwarded = forward(&self.gate.upstream, limits, journey, request) => forwarded,
            denial = cord.cut() => return Err(Refused::Denied(denial)),
        };
        match forwarded.map_err(Refused::Faulted)? {
            Forwarded::Answered(response) => Ok(response),
            Forwarded::Switched(response, streams) => {
                // From here on whoever joins the streams looks after them.
                cord.unwatch();
                self.switched(permit, token, streams);
                Ok(response)
            }
        }
    }

    fn switched(
        self: &Rc<Self>,
        permit: Rc<Permit>,
        token: Option<Arc<Verified>>,
        streams: Streams,
    ) {
        let session = Rc::clone(self);
        self.gate.worker.spawn(async move { session.join(&permit, token, streams).await });
    }

    /// Carries an upgraded connection until it ends, is no longer allowed, or an SVID or its token
    /// runs out.
    async fn join(&self, permit: &Permit, token: Option<Arc<Verified>>, streams: Streams) {
        let gate = &self.gate;
        let lifetime = gate.lifetime(&self.caller);
        tokio::select! {
            () = upgrade::join(streams.near, streams.far, gate.settings.limits.idle) => {}
            denial = self.refused_later(permit, token.as_ref(), audit::Protocol::Websocket) => {
                tracing::debug!(reason = denial.reason.code(), "upgraded connection cut");
            }
            () = ended(lifetime) => {}
            () = self.phase.cut() => {}
        }
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
