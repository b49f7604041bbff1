//! What readiness and the metrics say of identity, policy and shutdown.

use std::sync::Arc;
use std::time::SystemTime;

use super::figures::figures;
use super::notices::Notices;
use super::outside::Outside;
use super::shutdown::Shutdown;
use super::switches::Switches;
use crate::admin::{Checks, Reason};
use crate::identity::AgentStatus;
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
    pub(super) outside: Outside,
    pub(super) switches: Switches,
    pub(super) shutdown: Shutdown,
}

impl Sources {
    /// What the probes ask. The program has started once it has had an identity: until then the
    /// application beside it should not be started either.
    pub(super) fn checks(&self) -> Checks {
        let (startup, ready, notes) = (self.clone(), self.clone(), self.clone());
        Checks {
            startup: Box::new(move || startup.not_started()),
            ready: Box::new(move || ready.not_ready()),
            notes: Box::new(move || notes.notices().notes),
        }
    }

    fn not_started(&self) -> Vec<Reason> {
        let heard = self.identity.load().last_update.is_some();
        if heard { Vec::new() } else { self.notices().reasons }
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
        reasons.extend(self.notices().reasons);
        reasons
    }

    fn notices(&self) -> Notices {
        let (identity, context) = (self.identity.load(), self.contexts.load());
        Notices::of(&identity, &context, &self.outside, SystemTime::now())
    }

    fn refresh(&self, control: &Control) {
        let status = self.identity.load();
        control.agent_state(status.state.as_str());
        control.svid_not_after(status.svid_not_after);
        control.policy_revision(self.policy.load().revision());
        control.tell(figures(&self.outside, &self.switches, &self.contexts.load()));
    }

    /// Keeps the metrics of the control plane in step, on the current runtime.
    pub(super) fn follow(&self, metrics: &Arc<Metrics>, audit: &Sink) {
        metrics.watch_audit(audit.counters());
        let sources = self.clone();
        metrics.before_scrape(move |control| sources.refresh(control));
        self.switches.follow(self.outside.outbound.clone(), self.contexts.clone());
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
