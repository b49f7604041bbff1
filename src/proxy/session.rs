//! What the requests of one connection have in common: who asks, what they may, and how a refusal
//! is written down.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderValue, Request};
use hyper::body::Incoming;

use super::Phase;
use super::activity::Activity;
use super::fault::Fault;
use super::gate::{Caller, Gate, to_be_judged_again};
use super::guarded::AmbiguityFlag;
use super::proof::Unproven;
use super::rights::Rights;
use super::worker::Decision;
use crate::authz::{Denial, Permit, Reason};
use crate::policy::Policy;
use crate::telemetry::{RequestId, audit};
use crate::token::{KeyChanges, Verified};

/// The requests of one connection, and what they have in common.
pub(super) struct Session {
    pub(super) gate: Rc<Gate>,
    pub(super) caller: Caller,
    pub(super) ambiguity: AmbiguityFlag,
    pub(super) activity: Rc<Activity>,
    pub(super) client_cert: Option<HeaderValue>,
    pub(super) keep_forwarded: bool,
    pub(super) phase: Phase,
    rights: RefCell<Option<Rc<Rights>>>,
}

/// How a request ended that got no answer from the application.
pub(super) enum Refused {
    Denied(Denial),
    Unproven(Unproven),
    Faulted(Fault),
}

impl Session {
    pub(super) fn new(
        gate: Rc<Gate>,
        caller: Caller,
        ambiguity: AmbiguityFlag,
        activity: Rc<Activity>,
        phase: Phase,
    ) -> Self {
        let client_cert = caller.client_cert().and_then(|it| HeaderValue::from_str(&it).ok());
        let trusted = &gate.settings.trust_forwarded_from;
        let keep_forwarded = caller.proof.peer().is_some_and(|peer| trusted.contains(peer.id()));
        let rights = RefCell::new(None);
        Self { gate, caller, ambiguity, activity, client_cert, keep_forwarded, phase, rights }
    }

    /// The caller's rights under the policy in force: asked once, kept until something changes.
    pub(super) fn rights(
        &self,
        policy: &Arc<Policy>,
        token: Option<&Arc<Verified>>,
    ) -> Option<Rc<Rights>> {
        let mut kept = self.rights.borrow_mut();
        let now = SystemTime::now();
        if let Some(rights) = kept.as_ref().filter(|rights| rights.hold(policy, token, now)) {
            self.gate.worker.granted(false);
            return Some(Rc::clone(rights));
        }
        let claims = self.gate.claims(&self.caller, token, policy)?;
        let rights = Rc::new(Rights::new(policy, claims));
        *kept = Some(Rc::clone(&rights));
        Some(rights)
    }

    /// Writes the line of a request whose caller has not proven who it is.
    pub(super) async fn turned_away(
        &self,
        decision: Decision<'_>,
        unproven: Result<Unproven, Fault>,
    ) -> Refused {
        let (code, detail) = match &unproven {
            Ok(unproven) => (unproven.code(), unproven.detail()),
            Err(fault) => (fault.code(), fault.to_string()),
        };
        let line = Decision { outcome: Err((code, Cow::Owned(detail))), ..decision };
        // Refused it is, with or without its line.
        self.gate.worker.record(&line).await.ok();
        match unproven {
            Ok(unproven) => Refused::Unproven(unproven),
            Err(fault) => Refused::Faulted(fault),
        }
    }

    /// Resolves, with its audit line written, once what was permitted is so no longer: by a newer
    /// policy, because rights or a token have run out, or for a key that was withdrawn. The first
    /// look is at once: much may have changed while the application was answering.
    pub(super) async fn refused_later(
        &self,
        permit: &Permit,
        token: Option<&Arc<Verified>>,
        protocol: audit::Protocol,
    ) -> Denial {
        let mut changes = self.gate.policy.changes();
        let mut keys = self.caller.proof.key_changes();
        loop {
            let policy = self.gate.policy.snapshot();
            let Some(rights) = self.rights(&policy, token) else {
                // Nobody is permitted anything without having proven who they are.
                return std::future::pending().await;
            };
            let claims = &rights.claims;
            let serial = self.caller.serial();
            let now = SystemTime::now();
            let judged = match token.filter(|token| self.caller.proof.is_withdrawn(token)) {
                Some(_) => Err(withdrawn()),
                None => self.gate.guard.judge_again(&policy, claims, serial, permit, now),
            };
            if let Err(denial) = judged {
                let decision =
                    Decision { claims: Some(claims), ..self.gate.decision(&self.caller, protocol) };
                self.gate.worker.record(&decision.denied(&denial)).await.ok();
                return denial;
            }
            tokio::select! {
                () = to_be_judged_again(claims, &mut changes) => {}
                () = changed(keys.as_mut()) => {}
            }
        }
    }

    pub(super) async fn record_malformed(
        &self,
        request: &Request<Incoming>,
        fault: &Fault,
        id: &RequestId,
    ) {
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

async fn changed(keys: Option<&mut KeyChanges>) {
    match keys {
        Some(keys) => keys.changed().await,
        None => std::future::pending().await,
    }
}

/// New requests with such a token are not believed any more, and neither is what it has let in.
fn withdrawn() -> Denial {
    let detail = "the key that signed the token is its issuer's no longer".to_owned();
    Denial { reason: Reason::TokenExpired, route: None, detail }
}
