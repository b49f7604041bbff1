//! Asks the shadow policy beside each decision. What is known is compared at once; what takes an
//! evaluation is done aside, after the decision, and never waited for.

use std::borrow::Cow;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, Method};

use super::gate::{Caller, Gate, Proven};
use super::shadow::ShadowWorker;
use super::worker::Decision;
use crate::authz::{
    Asked, Claims, Decided, Denial, Differs, HttpFacts, Permit, ProvenCaller, Route, SecondOpinion,
    Target,
};
use crate::policy::{Local, Policy, Rules};
use crate::telemetry::audit;

/// A decision's second opinion.
#[derive(Default)]
pub(super) struct Opinion {
    /// What is known at once, and goes the other way.
    pub(super) differs: Option<Differs>,
    /// What has to be evaluated for it.
    pub(super) later: Option<Later>,
}

/// An evaluation to come.
pub(super) struct Later {
    work: Box<dyn FnOnce() -> Late + Send>,
    asker: Asker,
    route: Option<usize>,
}

/// What comes of it.
struct Late {
    claims: Arc<Claims>,
    opinion: SecondOpinion,
}

/// Who is asked about, and by which policy.
#[derive(Clone)]
struct Asker {
    proven: ProvenCaller,
    rules: Arc<Rules>,
    local: Local,
    address: Option<IpAddr>,
}

impl Gate {
    /// Beside the verdict on a request, which was made by `rules`.
    pub(super) fn beside_http(
        &self,
        rules: &Rules,
        caller: &Caller,
        proven: Proven<'_>,
        facts: &HttpFacts<'_>,
        verdict: &Result<Permit, Denial>,
    ) -> Opinion {
        let Some((shadow, rules, proven)) = self.to_ask(rules, proven, verdict) else {
            return Opinion::default();
        };
        let (decided, now) = (Decided::of(verdict), facts.now);
        let (local, address) = (&caller.local, facts.address);
        let known = proven.claims_at_hand(&shadow.grants, &rules.policy, local, address, now);
        if let Some(claims) = known.as_ref().filter(|_| !rules.policy.asks_requests()) {
            let asked = Asked::Http(&self.settings.routes, facts);
            let opinion = decided.beside(&self.guard, &rules, claims, asked, None, now);
            return self.known_beside(shadow, claims, opinion, now);
        }
        let route = decided.route();
        if !shadow.aside.has_room() {
            shadow.skipped(self.shadowed, route);
            return Opinion::default();
        }
        let (guard, settings) = (Arc::clone(&self.guard), Arc::clone(&self.settings));
        let asker = Asker { proven, rules, local: local.clone(), address };
        let (case, own) = (Case::of(facts), asker.clone());
        let work = Box::new(move || {
            let claims = known.unwrap_or_else(|| own.claims(now));
            let opinion = case.with_facts(&own, now, |facts| {
                let asked = Asked::Http(&settings.routes, facts);
                decided.beside(&guard, &own.rules, &claims, asked, None, now)
            });
            Late { claims, opinion: opinion.unwrap_or_else(|| decided.unanswered()) }
        });
        Opinion { differs: None, later: Some(Later { work, asker, route }) }
    }

    /// The same for a raw stream.
    pub(super) fn beside_stream(
        &self,
        rules: &Rules,
        caller: &Caller,
        proven: Proven<'_>,
        route: &Arc<Route>,
        verdict: &Result<Permit, Denial>,
        now: SystemTime,
    ) -> Opinion {
        let Some((shadow, rules, proven)) = self.to_ask(rules, proven, verdict) else {
            return Opinion::default();
        };
        let (decided, serial) = (Decided::of(verdict), caller.serial());
        let (local, address) = (&caller.local, caller.address.map(|address| address.ip()));
        let known = proven.claims_at_hand(&shadow.grants, &rules.policy, local, address, now);
        if let Some(claims) = known {
            let asked = Asked::Stream(route);
            let opinion = decided.beside(&self.guard, &rules, &claims, asked, serial, now);
            return self.known_beside(shadow, &claims, opinion, now);
        }
        let asker = Asker { proven, rules, local: local.clone(), address };
        let (guard, own) = (Arc::clone(&self.guard), asker.clone());
        let (declared, serial) = (Arc::clone(route), serial.map(str::to_owned));
        let work = Box::new(move || {
            let claims = own.claims(now);
            let (asked, serial) = (Asked::Stream(&declared), serial.as_deref());
            let opinion = decided.beside(&guard, &own.rules, &claims, asked, serial, now);
            Late { claims, opinion }
        });
        let route = Some(route.index());
        Opinion { differs: None, later: Some(Later { work, asker, route }) }
    }

    /// `None` where there is nothing to ask.
    fn to_ask(
        &self,
        rules: &Rules,
        proven: Proven<'_>,
        verdict: &Result<Permit, Denial>,
    ) -> Option<(&ShadowWorker, Arc<Rules>, ProvenCaller)> {
        let shadow = self.shadow.as_ref()?;
        let of_shadow = shadow.rules(rules)?;
        if of_shadow.policy.digest() == rules.policy.digest() {
            // The candidate has come into force: it says what was just said.
            shadow.same(self.shadowed, Decided::of(verdict).route());
            return None;
        }
        let proven = match proven {
            Proven::Certificate(peer) => ProvenCaller::by_certificate(peer),
            Proven::Token(token) => ProvenCaller::by_token(token),
        };
        Some((shadow, of_shadow, proven))
    }

    fn known_beside(
        &self,
        shadow: &ShadowWorker,
        claims: &Claims,
        opinion: SecondOpinion,
        now: SystemTime,
    ) -> Opinion {
        shadow.note(self.shadowed, claims, &opinion, now);
        Opinion { differs: opinion.differs, later: None }
    }

    /// Has the evaluation done that is still to come, if one is. `line` is what has been written of
    /// the decision; if the shadow policy would have decided in another way, it is written again
    /// with that.
    pub(super) fn ask_later(
        &self,
        later: Option<Later>,
        line: &Decision<'_>,
        claims: &Arc<Claims>,
    ) {
        let (Some(Later { work, asker, route }), Some(shadow)) = (later, &self.shadow) else {
            return;
        };
        let listener = self.shadowed;
        let Some(result) = shadow.aside.submit(work) else {
            return shadow.skipped(listener, route);
        };
        let written = Written::of(line, claims);
        let (shadow, worker) = (shadow.clone(), Rc::clone(&self.worker));
        // Not one of those that a shutdown waits for.
        tokio::task::spawn_local(async move {
            let Ok(Late { claims, opinion }) = result.await else {
                return shadow.skipped(listener, route);
            };
            asker.keep(&shadow, &claims);
            shadow.note(listener, &claims, &opinion, SystemTime::now());
            if let Some(differs) = &opinion.differs {
                worker.record_again(&written.with(differs));
            }
        });
    }
}

impl Asker {
    fn policy(&self) -> &Policy {
        &self.rules.policy
    }

    fn claims(&self, now: SystemTime) -> Arc<Claims> {
        self.proven.claims(self.policy(), &self.local, self.address, now)
    }

    fn keep(&self, shadow: &ShadowWorker, claims: &Arc<Claims>) {
        let Self { local, address, .. } = self;
        self.proven.keep_in(&shadow.grants, self.policy(), local, *address, claims);
    }
}

/// A request's facts, to be judged in another thread.
struct Case {
    method: Method,
    /// In normal form.
    target: String,
    host: String,
    headers: HeaderMap,
    is_grpc: bool,
    serial: Option<String>,
}

impl Case {
    fn of(facts: &HttpFacts<'_>) -> Self {
        let path = facts.target.path();
        let target = match facts.target.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        Self {
            method: facts.method.clone(),
            target,
            host: facts.host.to_owned(),
            headers: facts.headers.clone(),
            is_grpc: facts.is_grpc,
            serial: facts.serial.map(str::to_owned),
        }
    }

    fn with_facts(
        &self,
        asker: &Asker,
        now: SystemTime,
        judge: impl FnOnce(&HttpFacts<'_>) -> SecondOpinion,
    ) -> Option<SecondOpinion> {
        // What is in normal form already is parsed again as it stands.
        let target = Target::parse(&self.target).ok()?;
        Some(judge(&HttpFacts {
            method: &self.method,
            target: &target,
            host: &self.host,
            headers: &self.headers,
            is_grpc: self.is_grpc,
            address: asker.address,
            local: &asker.local,
            serial: self.serial.as_deref(),
            now,
        }))
    }
}

/// An audit line that has been written, kept for as long as it may have to be written again.
struct Written {
    protocol: audit::Protocol,
    listener: String,
    request_id: Option<String>,
    address: Option<String>,
    peer_id: Option<String>,
    serial: Option<String>,
    local_id: Option<String>,
    claims: Arc<Claims>,
    route: Option<String>,
    required: Option<String>,
    cross_tenant: bool,
    method: Option<String>,
    path: Option<String>,
    outcome: Result<(), (&'static str, String)>,
}

impl Written {
    fn of(line: &Decision<'_>, claims: &Arc<Claims>) -> Self {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Self {
            protocol: line.protocol,
            listener: line.listener.to_owned(),
            request_id: owned(line.request_id),
            address: owned(line.address),
            peer_id: owned(line.peer_id),
            serial: owned(line.serial),
            local_id: owned(line.local_id),
            claims: Arc::clone(claims),
            route: owned(line.route),
            required: owned(line.required),
            cross_tenant: line.cross_tenant,
            method: owned(line.method),
            path: owned(line.path),
            outcome: match &line.outcome {
                Ok(()) => Ok(()),
                Err((code, detail)) => Err((*code, detail.clone().into_owned())),
            },
        }
    }

    fn with<'a>(&'a self, differs: &'a Differs) -> Decision<'a> {
        Decision {
            listener: &self.listener,
            request_id: self.request_id.as_deref(),
            address: self.address.as_deref(),
            peer_id: self.peer_id.as_deref(),
            serial: self.serial.as_deref(),
            local_id: self.local_id.as_deref(),
            claims: Some(&self.claims),
            route: self.route.as_deref(),
            required: self.required.as_deref(),
            cross_tenant: self.cross_tenant,
            method: self.method.as_deref(),
            path: self.path.as_deref(),
            outcome: match &self.outcome {
                Ok(()) => Ok(()),
                Err((code, detail)) => Err((*code, Cow::Borrowed(detail))),
            },
            shadow: Some(differs),
            ..Decision::inbound(self.protocol)
        }
    }
}
