//! What the requests of one connection have in common: who asks, what they may, and how a refusal
//! is written down.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderValue, Request};
use tokio::sync::Semaphore;

use super::Phase;
use super::activity::Activity;
use super::arrived::Arrived;
use super::cord::Asked;
use super::ending::ended;
use super::fault::Fault;
use super::forward::{SpareTimer, Streams};
use super::gate::{Caller, Gate, Proven, holds_until, to_be_judged_again};
use super::guarded::AmbiguityFlag;
use super::open::OpenExchanges;
use super::proof::Unproven;
use super::rights::Rights;
use super::upgrade;
use super::worker::Decision;
use crate::authz::{Beside, Claims, Denial, Permit, Reason};
use crate::policy::{Aside, Pace, Policy};
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
    /// At which the policy has answered questions about the requests of this connection.
    pub(super) pace: Pace,
    /// Of its questions that are too slow for a worker, one at a time: a connection must not take up
    /// the places of others.
    pub(super) turn: Semaphore,
    pub(super) open: OpenExchanges,
    pub(super) timer: SpareTimer,
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
        Self {
            gate,
            caller,
            ambiguity,
            activity,
            client_cert,
            keep_forwarded,
            phase,
            pace: Pace::default(),
            turn: Semaphore::new(1),
            open: OpenExchanges::default(),
            timer: SpareTimer::default(),
            rights,
        }
    }

    /// The caller's rights under a policy, asked once, kept until something changes; and the time that
    /// they are good for: rights that are given just now do not hold before. `None`: it is too slow to
    /// be asked at once.
    pub(super) fn rights_at_once(
        &self,
        policy: &Arc<Policy>,
        proven: Proven<'_>,
        now: SystemTime,
    ) -> Option<(Rc<Rights>, SystemTime)> {
        if let Some(rights) = self.kept_rights(policy, proven, now) {
            return Some((rights, now));
        }
        let claims = self.gate.claims_at_once(&self.caller, proven, policy)?;
        Some((self.keep_rights(policy, claims), SystemTime::now()))
    }

    /// The same, waiting for as long as it takes.
    pub(super) async fn rights(
        &self,
        policy: &Arc<Policy>,
        proven: Proven<'_>,
        aside: &Aside,
    ) -> Rc<Rights> {
        if let Some(rights) = self.kept_rights(policy, proven, SystemTime::now()) {
            return rights;
        }
        let claims = self.gate.claims(&self.caller, proven, policy, aside).await;
        self.keep_rights(policy, claims)
    }

    /// Until when what is open may go on without another look; `None`: until the rules change.
    pub(super) fn holds_until(&self, now: SystemTime) -> Option<SystemTime> {
        let kept = self.rights.borrow();
        let rights = kept.as_ref()?;
        holds_until(rights.policy(), &rights.claims, now)
    }

    /// Whether [`Self::holds_until`] has an end, whenever that is.
    pub(super) fn holds_for_a_time(&self) -> bool {
        self.holds_until(SystemTime::UNIX_EPOCH).is_some()
    }

    fn kept_rights(
        &self,
        policy: &Arc<Policy>,
        proven: Proven<'_>,
        now: SystemTime,
    ) -> Option<Rc<Rights>> {
        let kept = self.rights.borrow();
        let holds = |it: &&Rc<Rights>| it.hold(policy, proven.token(), now);
        let rights = kept.as_ref().filter(holds)?;
        self.gate.worker.granted(false);
        Some(Rc::clone(rights))
    }

    fn keep_rights(&self, policy: &Arc<Policy>, claims: Arc<Claims>) -> Rc<Rights> {
        let rights = Rc::new(Rights::new(policy, claims));
        self.rights.replace(Some(Rc::clone(&rights)));
        rights
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
        asked: &Asked,
    ) -> Denial {
        let mut changes = self.gate.rules.changes();
        let mut keys = self.caller.proof.key_changes();
        let Some(proven) = self.caller.proven(token) else {
            // Nobody is permitted anything without having proven who they are.
            return std::future::pending().await;
        };
        loop {
            let until = match self.look_again(permit, proven, asked).await {
                Ok(until) => until,
                Err(denial) => return denial,
            };
            tokio::select! {
                () = to_be_judged_again(until, &mut changes) => {}
                () = changed(keys.as_mut()) => {}
            }
        }
    }

    /// Whether what was permitted by rules that were looked at since `revision` is so by those of
    /// now. Almost always nothing has changed.
    pub(super) async fn still_stands(
        &self,
        permit: &Permit,
        token: Option<&Arc<Verified>>,
        asked: &Asked,
        mut revision: u64,
    ) -> Result<(), Denial> {
        loop {
            let newest = self.gate.rules.revision();
            let Some(proven) = self.caller.proven(token).filter(|_| newest != revision) else {
                return Ok(());
            };
            Box::pin(self.look_again(permit, proven, asked)).await?;
            revision = newest;
        }
    }

    /// Judges by the rules of now, and says until when that holds; a refusal has its audit line.
    async fn look_again(
        &self,
        permit: &Permit,
        proven: Proven<'_>,
        asked: &Asked,
    ) -> Result<Option<SystemTime>, Denial> {
        let aside = &self.gate.aside_patiently;
        let by = Beside { threads: aside, pace: &self.pace, turn: &self.turn };
        let rules = self.gate.rules.snapshot();
        let rights = self.rights(&rules.policy, proven, aside).await;
        let claims = &rights.claims;
        let now = SystemTime::now();
        let judged = match proven.token().filter(|token| self.caller.proof.is_withdrawn(token)) {
            Some(_) => Err(withdrawn()),
            None => {
                let at = self.caller.standpoint(now);
                self.gate.guard.judge_again(by, &rules, claims, permit, &at).await
            }
        };
        if let Err(denial) = judged {
            self.record_refused_later(claims, &denial, asked).await;
            return Err(denial);
        }
        Ok(holds_until(&rules.policy, claims, now))
    }

    /// Refused it is, with or without its line.
    pub(super) async fn record_refused_later(
        &self,
        claims: &Claims,
        denial: &Denial,
        asked: &Asked,
    ) {
        let decision = Decision {
            request_id: Some(asked.request_id.as_str()),
            method: Some(asked.method.as_str()),
            path: Some(&asked.path),
            claims: Some(claims),
            again: true,
            ..self.gate.decision(&self.caller, asked.protocol)
        };
        self.gate.worker.record(&decision.denied(denial)).await.ok();
    }

    /// Looks after a connection that has switched protocols.
    pub(super) fn switched(
        self: &Rc<Self>,
        permit: Rc<Permit>,
        token: Option<Arc<Verified>>,
        asked: Rc<Asked>,
        streams: Streams,
    ) {
        let session = Rc::clone(self);
        self.gate.worker.spawn(async move { session.join(&permit, token, &asked, streams).await });
    }

    /// Carries an upgraded connection until it ends, is no longer allowed, or an SVID or its token
    /// runs out.
    async fn join(
        &self,
        permit: &Permit,
        token: Option<Arc<Verified>>,
        asked: &Asked,
        streams: Streams,
    ) {
        let gate = &self.gate;
        let lifetime = gate.lifetime(&self.caller);
        tokio::select! {
            () = upgrade::join(streams.near, streams.far, gate.settings.limits.idle) => {}
            denial = self.refused_later(permit, token.as_ref(), asked) => {
                tracing::debug!(reason = denial.reason.code(), "upgraded connection cut");
            }
            () = ended(lifetime) => {}
            () = self.phase.cut() => {}
        }
    }

    pub(super) async fn record_malformed(
        &self,
        request: &Request<Arrived>,
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
