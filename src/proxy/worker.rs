//! What the connections of one worker share: its audit lines, its counters, its tasks.

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use super::fault::Fault;
use crate::authz::{Claims, Denial, Differs, Permit, Tenant};
use crate::net::{Flow, Target};
use crate::telemetry::audit::{self, Handle, Record, Source, WriteError};
use crate::telemetry::metrics::{
    self, ConnectionResult, OpenConnection, UpstreamResult, WorkerMetrics,
};
use crate::telemetry::{Direction, RequestId};
use crate::tls::SvidError;

/// How long a request waits for the audit log to take its line before it is refused.
const AUDIT_PATIENCE: Duration = Duration::from_secs(5);

/// How often one listener's troubles are told at most.
const COMPLAIN_EVERY: Duration = Duration::from_secs(1);

/// How a request may end, for the metrics: `allowed`, a refusal's reason, or a fault's code.
pub const OUTCOMES: &[&str] = &[
    "allowed",
    "bad_request",
    "unauthenticated",
    "invalid_token",
    "keys_unavailable",
    "revoked",
    "tenant_mismatch",
    "no_route",
    "insufficient_scope",
    "policy_denied",
    "policy_error",
    "identity_unavailable",
    "audit_unavailable",
    "upstream_identity",
    "upstream_refused",
    "upstream_broken",
    "upstream_unreachable",
    "upstream_timeout",
];

/// How a handshake may fail, for the metrics.
pub static HANDSHAKE_CODES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let rules = SvidError::ALL.iter().map(|rule| rule.as_code());
    [
        "identity_unavailable",
        "unexpected_identity",
        "no_certificate",
        "not_tls",
        "incompatible",
        "protocol_error",
        "refused_by_peer",
        "io",
        "timeout",
    ]
    .into_iter()
    .chain(rules)
    .collect()
});

/// One listener's and one worker's end of everything that is counted, recorded or waited for.
#[derive(Debug)]
pub struct Worker {
    audit: Rc<Handle>,
    metrics: Arc<WorkerMetrics>,
    tasks: TaskTracker,
    /// The listener's place in the metrics.
    listener: usize,
    complained: Cell<Option<Instant>>,
    unsaid: Cell<u64>,
}

/// What one accepted connection occupies for as long as it is open, whatever it speaks, and the
/// count of what passes on it.
#[derive(Debug)]
pub(super) struct Place {
    _slot: OwnedSemaphorePermit,
    _open: OpenConnection,
    metrics: Arc<WorkerMetrics>,
    listener: usize,
}

impl Place {
    pub(super) fn received(&self, bytes: usize) {
        self.metrics.bytes(self.listener, metrics::Flow::Received, bytes as u64);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.metrics.bytes(self.listener, metrics::Flow::Sent, bytes as u64);
    }
}

/// What is known of one decision when its audit line is written.
#[derive(Debug, Clone)]
pub(super) struct Decision<'a> {
    pub(super) direction: Direction,
    pub(super) listener: &'a str,
    pub(super) protocol: audit::Protocol,
    pub(super) request_id: Option<&'a str>,
    pub(super) address: Option<&'a str>,
    pub(super) peer_id: Option<&'a str>,
    pub(super) serial: Option<&'a str>,
    pub(super) local_id: Option<&'a str>,
    /// How we proved ourselves on the way out, where it was not by SVID.
    pub(super) method_of_proof: Option<&'static str>,
    pub(super) claims: Option<&'a Claims>,
    pub(super) route: Option<&'a str>,
    pub(super) required: Option<&'a str>,
    pub(super) cross_tenant: bool,
    pub(super) method: Option<&'a str>,
    pub(super) path: Option<&'a str>,
    /// `Err` holds the stable code and the detail for people.
    pub(super) outcome: Result<(), (&'static str, Cow<'a, str>)>,
    /// It ends what was let in before.
    pub(super) again: bool,
    /// Where the shadow policy would have decided in another way.
    pub(super) shadow: Option<&'a Differs>,
}

impl<'a> Decision<'a> {
    pub(super) fn inbound(protocol: audit::Protocol) -> Self {
        Self::new(Direction::Inbound, protocol)
    }

    pub(super) fn outbound(protocol: audit::Protocol) -> Self {
        Self::new(Direction::Outbound, protocol)
    }

    fn new(direction: Direction, protocol: audit::Protocol) -> Self {
        Self {
            direction,
            listener: "",
            protocol,
            request_id: None,
            address: None,
            peer_id: None,
            serial: None,
            local_id: None,
            method_of_proof: None,
            claims: None,
            route: None,
            required: None,
            cross_tenant: false,
            method: None,
            path: None,
            outcome: Ok(()),
            again: false,
            shadow: None,
        }
    }

    pub(super) fn permitted(self, permit: &'a Permit) -> Self {
        Self {
            route: Some(permit.route()),
            required: Some(permit.required()),
            cross_tenant: permit.cross_tenant(),
            outcome: Ok(()),
            ..self
        }
    }

    pub(super) fn denied(self, denial: &'a Denial) -> Self {
        Self {
            route: denial.route.as_ref().map(|route| &*route.name),
            required: denial.route.as_ref().map(|route| &*route.required),
            outcome: Err((denial.reason.code(), Cow::Borrowed(&denial.detail))),
            ..self
        }
    }

    /// In the light of what was decided.
    pub(super) fn decided(self, verdict: &'a Result<Permit, Denial>) -> Self {
        match verdict {
            Ok(permit) => self.permitted(permit),
            Err(denial) => self.denied(denial),
        }
    }
}

impl Worker {
    pub fn new(
        audit: Rc<Handle>,
        metrics: Arc<WorkerMetrics>,
        tasks: TaskTracker,
        listener: usize,
    ) -> Rc<Self> {
        let complained = Cell::new(None);
        Rc::new(Self { audit, metrics, tasks, listener, complained, unsaid: Cell::new(0) })
    }

    /// Runs a task that shutdown waits for.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.tasks.spawn_local(task);
    }

    /// Writes the line of a decision. Without its line, no decision may be acted upon: when the
    /// log does not take it in time, the caller refuses the request.
    pub(super) async fn record(&self, decision: &Decision<'_>) -> Result<(), Fault> {
        let now = SystemTime::now();
        let taken = match decision.request_id {
            Some(id) => self.audit.write(&decision.record(id, now)),
            None => self.audit.write(&decision.record(RequestId::random().as_str(), now)),
        };
        let taken = match taken {
            // Apart, as are other steps that few requests take: what they need is no part of each one.
            Err(WriteError::Full) => Box::pin(self.record_when_ready(decision, now)).await,
            taken => taken,
        };
        taken.map_err(|error| {
            tracing::error!(%error, "audit line not taken, the request is refused");
            Fault::AuditUnavailable
        })?;
        if decision.cross_tenant && decision.outcome.is_ok() {
            self.metrics.cross_tenant(self.listener);
        }
        Ok(())
    }

    async fn record_when_ready(
        &self,
        decision: &Decision<'_>,
        now: SystemTime,
    ) -> Result<(), WriteError> {
        let made = RequestId::random();
        let request_id = decision.request_id.unwrap_or(made.as_str());
        let record = decision.record(request_id, now);
        let written = self.audit.write_when_ready(&record);
        timeout(AUDIT_PATIENCE, written).await.unwrap_or(Err(WriteError::Full))
    }

    /// Writes the line of a decision that has been acted upon once more, for what is known only now.
    /// A log that has no room for it goes without.
    pub(super) fn record_again(&self, decision: &Decision<'_>) {
        let mut record = decision.record(decision.request_id.unwrap_or("-"), SystemTime::now());
        if let Some(shadow) = &mut record.shadow {
            shadow.late = true;
        }
        if let Err(error) = self.audit.write(&record) {
            tracing::debug!(%error, "what the shadow policy would have decided is not written");
        }
    }

    /// Tells the operator that the other end is in trouble: once a second at most, and how many
    /// times more it happened in between.
    pub(super) fn complain(&self, listener: &str, to: &Target, request_id: &str, fault: &Fault) {
        if self.complained.get().is_some_and(|last| last.elapsed() < COMPLAIN_EVERY) {
            self.unsaid.set(self.unsaid.get() + 1);
            return;
        }
        self.complained.set(Some(Instant::now()));
        let cause = fault.cause();
        let unsaid = self.unsaid.take();
        tracing::warn!(listener, %to, request_id, %fault, cause, unsaid, "not carried out");
    }

    /// Counts one finished decision, and the time to the head of its answer.
    pub(super) fn decided(&self, outcome: &'static str, started: Instant) {
        self.metrics.request(self.listener, place(OUTCOMES, outcome), started.elapsed());
    }

    /// Counts how long the policy and the rules took for one decision.
    pub(super) fn judged(&self, began: Instant) {
        self.metrics.decision(self.listener, began.elapsed());
    }

    /// Counts an answer on an identity's rights: from memory, or from the policy.
    pub(super) fn granted(&self, evaluated: bool) {
        if evaluated {
            self.metrics.grant_miss();
        } else {
            self.metrics.grant_hit();
        }
    }

    pub(super) fn carried(&self, flow: Flow) {
        self.metrics.bytes(self.listener, metrics::Flow::Received, flow.forth);
        self.metrics.bytes(self.listener, metrics::Flow::Sent, flow.back);
    }

    /// A connection that was accepted counts as open until the result is dropped.
    pub(super) fn place(&self, slot: OwnedSemaphorePermit) -> Place {
        self.metrics.connection(self.listener, ConnectionResult::Accepted);
        Place {
            _slot: slot,
            _open: self.metrics.open_connection(self.listener),
            metrics: Arc::clone(&self.metrics),
            listener: self.listener,
        }
    }

    pub(super) fn handshake_failed(&self, code: &str) {
        self.metrics.connection(self.listener, ConnectionResult::HandshakeFailed);
        self.metrics.handshake_failure(self.listener, place(&HANDSHAKE_CODES, code));
    }

    pub(super) fn upstream(&self, result: UpstreamResult) {
        self.metrics.upstream(self.listener, result);
    }

    pub(super) fn upstream_open(&self) -> OpenConnection {
        self.metrics.open_upstream()
    }
}

impl Decision<'_> {
    /// Who asks: the peer on the way in, ourselves on the way out.
    fn source(&self) -> Source<'_> {
        let of_claims = self.claims.and_then(Claims::spiffe_id).map(|id| &**id);
        let (id, serial) = match self.direction {
            Direction::Inbound => (self.peer_id.or(of_claims), self.serial),
            Direction::Outbound => (self.local_id, None),
        };
        let by_svid = id.map(|_| "spiffe");
        let token = self.claims.and_then(Claims::token);
        Source {
            spiffe_id: id,
            trust_domain: id.and_then(trust_domain),
            method: self
                .claims
                .map(|claims| claims.method().as_str())
                .or(self.method_of_proof)
                .or(by_svid),
            subject: token.map(|token| &**token.subject()),
            issuer: token.and_then(|token| token.issuer()).map(|issuer| &**issuer),
            token: token.map(|token| &**token.fingerprint()),
            address: self.address,
            serial,
        }
    }

    fn record<'a>(&'a self, request_id: &'a str, now: SystemTime) -> Record<'a> {
        let (decision, reason, detail) = match &self.outcome {
            Ok(()) => (audit::Decision::Allow, "allowed", None),
            Err((code, detail)) => (audit::Decision::Deny, *code, Some(&**detail)),
        };
        Record {
            time: now,
            request_id,
            direction: self.direction,
            listener: self.listener,
            protocol: self.protocol,
            decision,
            reason,
            detail,
            source: self.source(),
            destination: match self.direction {
                Direction::Inbound => None,
                Direction::Outbound => self.peer_id,
            },
            local: self.local_id,
            tenant: self.claims.and_then(|claims| claims.tenant()).map(Tenant::as_str),
            cross_tenant: self.cross_tenant,
            route: self.route,
            required_scopes: self.required,
            held_scopes: self.claims.map(|claims| &**claims.scopes().text()),
            roles: self.claims.map(Claims::roles).unwrap_or_default(),
            method: self.method,
            path: self.path,
            policy_revision: self.claims.map(|claims| &**claims.revision()),
            again: self.again,
            shadow: self.shadow.map(second_opinion),
        }
    }
}

fn second_opinion(differs: &Differs) -> audit::Shadow<'_> {
    audit::Shadow {
        decision: match differs.allows {
            true => audit::Decision::Allow,
            false => audit::Decision::Deny,
        },
        reason: differs.reason,
        detail: differs.detail.as_deref(),
        policy_revision: &differs.revision,
        late: false,
    }
}

/// The place of a code in its list; one past the end counts as `other`.
fn place(codes: &[&str], code: &str) -> usize {
    codes.iter().position(|known| *known == code).unwrap_or(codes.len())
}

fn trust_domain(id: &str) -> Option<&str> {
    id.strip_prefix("spiffe://")?.split('/').next()
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;
    use crate::authz::Reason;
    use crate::telemetry::metrics::{Labels, ListenerLabel, Metrics};

    impl Place {
        /// Of a connection that nobody else knows of.
        pub(in crate::proxy) fn of_nobody() -> Self {
            let label = ListenerLabel { name: "orders".to_owned(), direction: Direction::Inbound };
            let labels = Labels {
                listeners: vec![label],
                outcomes: OUTCOMES,
                handshake_codes: &HANDSHAKE_CODES,
                agent_states: &[],
                version: "",
            };
            let metrics = Metrics::new(labels, SystemTime::now()).worker();
            let slots = Arc::new(Semaphore::new(1));
            Self {
                _slot: slots.try_acquire_owned().unwrap(),
                _open: metrics.open_connection(0),
                metrics,
                listener: 0,
            }
        }
    }

    #[test]
    fn every_reason_and_every_fault_has_its_own_outcome() {
        for reason in Reason::ALL {
            assert!(OUTCOMES.contains(&reason.code()), "{}", reason.code());
        }
    }
}
