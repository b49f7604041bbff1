//! One inbound HTTP exchange: who asks, may they, on to the application, and back.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, Version};
use tokio::time::{Instant, sleep};

use super::arrived::Arrived;
use super::beside::Opinion;
use super::connection::dress;
use super::cord::{Admission, Asked, Cord};
use super::fault::Fault;
use super::forward::{Forwarded, Journey, Outgoing};
use super::gate::Proven;
use super::headers::{self, Names};
use super::proof::Unproven;
use super::request::check_authority;
use super::respond;
use super::response_body::ResponseBody;
use super::rights::Rights;
use super::session::{Refused, Session};
use super::worker::Decision;
use crate::authz::{Beside, Denial, HttpFacts, Permit, Target};
use crate::telemetry::{RequestId, audit};
use crate::token::Verified;

/// How long a request by token may run before changes are followed for its sake. What has changed by
/// then is seen then, so a refusal is in force within a second.
const SHORT_CALL: Duration = Duration::from_millis(400);

/// A request that may go on.
struct Permitted {
    permit: Rc<Permit>,
    /// By which it was permitted, where the connection has no certificate.
    token: Option<Arc<Verified>>,
    /// The normalised target, where it differs from the one that came.
    target: Option<String>,
    upgrade: Option<HeaderValue>,
    asked: Rc<Asked>,
    since: Since,
}

/// When the rules were looked at for a verdict. It may have taken long, or its audit line may have.
#[derive(Clone, Copy)]
struct Since {
    began: Instant,
    /// Of the rules, or an older one.
    revision: u64,
}

/// What was decided on a request, and by which rights.
struct Judged {
    rights: Rc<Rights>,
    verdict: Result<Permit, Denial>,
    /// What the shadow policy thinks of it.
    opinion: Opinion,
    since: Since,
}

impl Session {
    /// From a request to its answer, whatever comes in between.
    pub(super) fn exchange(
        self: Rc<Self>,
        request: Request<Arrived>,
    ) -> impl Future<Output = Response<ResponseBody>> {
        let running = self.activity.begin();
        let started = Instant::now();
        let request_id = headers::request_id(request.headers());
        let grpc = headers::is_grpc(request.headers());
        let http1 = request.version() != Version::HTTP_2;
        let head = *request.method() == Method::HEAD;

        async move {
            let outcome = self.answered(request, grpc, &request_id).await;
            let mut response = match outcome {
                Ok(response) => {
                    self.gate.worker.decided("allowed", started);
                    response
                }
                Err(refused) => self.refused(refused, grpc, &request_id, started),
            };
            if head {
                respond::leave_out_body(&mut response);
            }
            let last = self.activity.is_retired() || self.ambiguity.is_raised();
            dress(&mut response, &request_id, running, http1, last);
            response
        }
    }

    fn refused(
        &self,
        refused: Refused,
        grpc: bool,
        request_id: &RequestId,
        started: Instant,
    ) -> Response<ResponseBody> {
        let worker = &self.gate.worker;
        match refused {
            Refused::Denied(denial) => {
                worker.decided(denial.reason.code(), started);
                respond::refusal(&denial, grpc, request_id.as_str())
            }
            Refused::Unproven(unproven) => {
                self.activity.fail_to_prove();
                worker.decided(unproven.code(), started);
                respond::unproven(&unproven, grpc, request_id.as_str())
            }
            Refused::Faulted(fault) => {
                worker.decided(fault.code(), started);
                if fault.is_trouble() {
                    self.gate.complain(request_id.as_str(), &fault);
                }
                respond::fault(&fault, grpc, request_id.as_str())
            }
        }
    }

    #[expect(clippy::manual_async_fn, reason = "which would have room for the request twice")]
    fn answered(
        self: &Rc<Self>,
        mut request: Request<Arrived>,
        grpc: bool,
        request_id: &RequestId,
    ) -> impl Future<Output = Result<Response<ResponseBody>, Refused>> {
        async move {
            let permitted = self.judged(&mut request, grpc, request_id).await?;
            let cord = self.admit(&permitted);
            let Permitted { permit, token, target, upgrade, asked, since } = permitted;
            // From here on it is open for everybody to see. What was published before is looked at
            // here.
            let stands = self.still_stands(&permit, token.as_ref(), &asked, since.revision).await;
            stands.map_err(Refused::Denied)?;
            let settings = &self.gate.settings;
            let journey = Journey {
                speaks: settings.speaks,
                scheme: Scheme::HTTP,
                target,
                host: None,
                upgrade,
                grpc,
                cord: Some(Rc::clone(&cord)),
            };
            let outgoing =
                Outgoing::new(&self.gate.upstream, &self.timer, &settings.limits, journey, request);
            let mut outgoing = outgoing.map_err(Refused::Faulted)?;
            outgoing.count_upload(&self.activity);
            let forwarded = tokio::select! {
                biased;
                denial = cord.cut() => return Err(Refused::Denied(denial)),
                forwarded = outgoing.forward() => forwarded,
            };
            match forwarded.map_err(Refused::Faulted)? {
                Forwarded::Answered(response) => Ok(response),
                Forwarded::Switched(response, streams) => {
                    self.ambiguity.switched();
                    cord.unwatch();
                    self.switched(permit, token, asked, streams);
                    Ok(response)
                }
            }
        }
    }

    /// Decides and writes the audit line. What comes back is the only way on.
    async fn judged(
        &self,
        request: &mut Request<Arrived>,
        grpc: bool,
        request_id: &RequestId,
    ) -> Result<Permitted, Refused> {
        let names = Names::of(request.headers());
        let upgrade = names
            .any_hop_by_hop()
            .then(|| headers::upgrade_wanted(request.headers()))
            .flatten()
            .filter(|_| request.version() == Version::HTTP_11);
        let written = request.uri().path_and_query().cloned();
        let written = written.as_ref().map_or("", PathAndQuery::as_str);
        // Before anything looks at the headers: from here on nobody meets the token.
        let shown = self.caller.proof.shown(request.headers_mut());
        let target = match self.read(request, names, written) {
            Ok(target) => target,
            Err(fault) => {
                Box::pin(self.record_malformed(request, &fault, request_id)).await;
                return Err(Refused::Faulted(fault));
            }
        };
        let mut decision = Decision {
            request_id: Some(request_id.as_str()),
            method: Some(request.method().as_str()),
            path: Some(target.path()),
            ..self.gate.decision(&self.caller, spoken(upgrade.as_ref(), grpc))
        };
        let now = SystemTime::now();
        let token = match self.caller.proof.token(shown, now).await {
            Ok(token) => {
                self.activity.prove();
                token
            }
            Err(unproven) => return Err(Box::pin(self.turned_away(decision, unproven)).await),
        };
        let Some(proven) = self.caller.proven(token.as_ref()) else {
            return Err(Box::pin(self.turned_away(decision, Ok(Unproven::Missing))).await);
        };
        let now = token.as_ref().map_or(now, |_| SystemTime::now());
        let facts = self.facts(request, &target, grpc, now);
        let Judged { rights, verdict, opinion, since } = self.verdict(&facts, proven).await;
        decision.claims = Some(&rights.claims);
        decision.shadow = opinion.differs.as_ref();
        let line = decision.decided(&verdict);
        let recorded = self.gate.worker.record(&line).await;
        // Refused it is, with or without its line.
        if verdict.is_ok() {
            recorded.map_err(Refused::Faulted)?;
        }
        self.gate.ask_later(opinion.later, &line, &rights.claims);
        drop(line);
        let permit = Rc::new(verdict.map_err(Refused::Denied)?);
        rights.vouch(request.headers_mut());
        if let Some(client_cert) = self.client_cert.clone() {
            request.headers_mut().insert(headers::CLIENT_CERT, client_cert);
        }
        headers::say_request_id(request.headers_mut(), request_id);
        let asked = Rc::new(Asked {
            protocol: spoken(upgrade.as_ref(), grpc),
            request_id: request_id.clone(),
            method: request.method().clone(),
            path: target.path().into(),
        });
        let target = target.into_changed();
        Ok(Permitted { permit, token, target, upgrade, asked, since })
    }

    fn facts<'a>(
        &'a self,
        request: &'a Request<Arrived>,
        target: &'a Target<'a>,
        grpc: bool,
        now: SystemTime,
    ) -> HttpFacts<'a> {
        HttpFacts {
            method: request.method(),
            target,
            host: host(request),
            headers: request.headers(),
            is_grpc: grpc,
            address: self.caller.address.map(|address| address.ip()),
            local: &self.caller.local,
            serial: self.caller.serial(),
            now,
        }
    }

    /// One look at the policy for rights and verdict, so that both are of the same revision.
    async fn verdict(&self, facts: &HttpFacts<'_>, proven: Proven<'_>) -> Judged {
        let since = Since { began: Instant::now(), revision: self.gate.rules.revision() };
        let judged = match self.verdict_at_once(facts, proven, since) {
            Some(found) => found,
            None => Box::pin(self.verdict_aside(facts, proven, since)).await,
        };
        self.gate.worker.judged(since.began);
        judged
    }

    /// Without waiting for anything, as almost always. `None`: the policy is too slow for that.
    fn verdict_at_once(
        &self,
        facts: &HttpFacts<'_>,
        proven: Proven<'_>,
        since: Since,
    ) -> Option<Judged> {
        let rules = self.gate.rules.load();
        if rules.policy.asks_requests() && self.pace.is_slow() {
            return None;
        }
        let (rights, now) = self.rights_at_once(&rules.policy, proven, facts.now)?;
        let facts = &HttpFacts { now, ..*facts };
        let (guard, routes) = (&self.gate.guard, &self.gate.settings.routes);
        let verdict = guard.judge_http_at_once(&rules, &rights.claims, routes, facts);
        let Some(verdict) = verdict else {
            self.pace.cut();
            return None;
        };
        let opinion = self.gate.beside_http(&rules, &self.caller, proven, facts, &verdict);
        Some(Judged { rights, verdict, opinion, since })
    }

    async fn verdict_aside(
        &self,
        facts: &HttpFacts<'_>,
        proven: Proven<'_>,
        since: Since,
    ) -> Judged {
        let rules = self.gate.rules.snapshot();
        let rights = self.rights(&rules.policy, proven, &self.gate.aside).await;
        // The answer may have taken its time.
        let facts = HttpFacts { now: SystemTime::now(), ..*facts };
        let by = Beside { threads: &self.gate.aside, pace: &self.pace, turn: &self.turn };
        let (guard, routes) = (&self.gate.guard, &self.gate.settings.routes);
        let verdict = guard.judge_http_aside(by, &rules, &rights.claims, routes, &facts);
        let verdict = verdict.await;
        let opinion = self.gate.beside_http(&rules, &self.caller, proven, &facts, &verdict);
        Judged { rights, verdict, opinion, since }
    }

    /// Everything about the request that could be read in two ways is refused here.
    fn read<'a>(
        &self,
        request: &mut Request<Arrived>,
        names: Names,
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
        // Before the verdict, so that a policy never sees what the application will not.
        headers::clean(headers, names, self.keep_forwarded)?;
        Ok(target)
    }

    /// Opens what was permitted. It ends with the cord, once somebody cuts that.
    fn admit(self: &Rc<Self>, permitted: &Permitted) -> Rc<Cord> {
        let Permitted { permit, token, asked, since, upgrade, .. } = permitted;
        let cord = Cord::admitted(Admission {
            permit: Rc::clone(permit),
            asked: Rc::clone(asked),
            began: since.began,
        });
        match token {
            // What a token allows ends with it, whatever protocol it would rather switch to.
            Some(token) => self.watch(&cord, permit, token, asked),
            // Once it has switched, whoever joins the streams looks after them.
            None if upgrade.is_some() => {}
            None => self.open.add(&cord, self.holds_for_a_time()),
        }
        cord
    }

    /// Follows what was let in by a token, if it is not over before that is worth its price.
    fn watch(
        self: &Rc<Self>,
        cord: &Rc<Cord>,
        permit: &Rc<Permit>,
        token: &Arc<Verified>,
        asked: &Rc<Asked>,
    ) {
        let (session, permit) = (Rc::clone(self), Rc::clone(permit));
        let (token, asked) = (Arc::clone(token), Rc::clone(asked));
        cord.watch(async move {
            sleep(SHORT_CALL).await;
            session.refused_later(&permit, Some(&token), &asked).await
        });
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
