//! What readiness and the metrics say of identity, policy and shutdown.

use std::sync::Arc;
use std::time::SystemTime;

use super::shutdown::Shutdown;
use crate::admin::{Checks, Reason};
use crate::identity::{AgentState, AgentStatus};
use crate::live::Live;
use crate::policy::{Policy, PolicyStatus};
use crate::telemetry::audit::Sink;
use crate::telemetry::metrics::{Control, Metrics};
use crate::tls::Context;

/// Everything that health depends on.
#[derive(Debug, Clone)]
pub(super) struct Sources {
    pub(super) identity: Live<AgentStatus>,
    /// What handshakes use, which is made from what the agent gave.
    pub(super) contexts: Live<Context>,
    pub(super) policy: Live<Policy>,
    pub(super) policy_status: Live<PolicyStatus>,
    pub(super) shutdown: Shutdown,
}

impl Sources {
    /// What the probes ask. The program has started once it has had an identity: until then the
    /// application beside it should not be started either.
    pub(super) fn checks(&self) -> Checks {
        let (startup, ready) = (self.clone(), self.clone());
        Checks {
            startup: Box::new(move || startup.not_started()),
            ready: Box::new(move || ready.not_ready()),
        }
    }

    fn not_started(&self) -> Vec<Reason> {
        let status = self.identity.load();
        if status.last_update.is_some() { Vec::new() } else { vec![identity_reason(&status)] }
    }

    fn not_ready(&self) -> Vec<Reason> {
        let mut reasons = Vec::new();
        if self.shutdown.is_draining() {
            reasons.push(Reason {
                code: "draining",
                message: "the sidecar has been told to stop".to_owned(),
                since: None,
            });
        }
        let status = self.identity.load();
        match status.state {
            // With a stale agent the SVID still holds: traffic goes on, metrics and log warn.
            AgentState::Fresh | AgentState::Stale => {
                if self.contexts.load().own().is_none() {
                    reasons.push(Reason {
                        code: "identity_unusable",
                        message: "the SVID has not been taken into use".to_owned(),
                        since: Some(status.since),
                    });
                }
            }
            AgentState::Absent => {}
            AgentState::Starting | AgentState::Denied | AgentState::Expired => {
                reasons.push(identity_reason(&status));
            }
        }
        reasons
    }

    fn refresh(&self, control: &Control) {
        let status = self.identity.load();
        control.agent_state(status.state.as_str());
        control.svid_not_after(status.svid_not_after);
        control.policy_revision(self.policy.load().revision());
    }

    /// Keeps the metrics of the control plane in step, on the current runtime.
    pub(super) fn follow(&self, metrics: &Arc<Metrics>, audit: &Sink) {
        metrics.watch_audit(audit.counters());
        let sources = self.clone();
        metrics.before_scrape(move |control| sources.refresh(control));
        self.follow_identity(Arc::clone(metrics));
        self.follow_policy(Arc::clone(metrics));
    }

    fn follow_identity(&self, metrics: Arc<Metrics>) {
        let status = self.identity.clone();
        let mut changes = status.changes();
        let mut seen = status.snapshot();
        tokio::spawn(async move {
            loop {
                changes.changed().await;
                let now = status.snapshot();
                for _ in seen.disconnects..now.disconnects {
                    metrics.control().agent_disconnected();
                }
                for _ in seen.rotations..now.rotations {
                    metrics.control().svid_rotated();
                }
                seen = now;
            }
        });
    }

    fn follow_policy(&self, metrics: Arc<Metrics>) {
        let status = self.policy_status.clone();
        let mut changes = status.changes();
        tokio::spawn(async move {
            loop {
                changes.changed().await;
                metrics.control().policy_reloaded(status.load().last_error.is_none());
            }
        });
    }
}

fn identity_reason(status: &AgentStatus) -> Reason {
    let (code, plain) = match status.state {
        AgentState::Starting => ("identity_starting", "no SVID has been received yet"),
        AgentState::Denied => ("identity_denied", "the agent gives this workload no identity"),
        AgentState::Expired => ("identity_expired", "the SVID has run out"),
        AgentState::Stale => ("identity_stale", "the agent is silent, the SVID still holds"),
        AgentState::Absent => ("identity_absent", "no Workload API is configured"),
        AgentState::Fresh => ("identity_fresh", "the SVID is fresh"),
    };
    let message = match &status.detail {
        Some(detail) => format!("{plain}: {detail}"),
        None => plain.to_owned(),
    };
    Reason {
        code,
        message,
        since: Some(status.since).filter(|since| *since > SystemTime::UNIX_EPOCH),
    }
}
