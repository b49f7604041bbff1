//! What readiness and the metrics say of identity, policy and shutdown.

use std::sync::Arc;
use std::time::SystemTime;

use super::figures::{RulesInUse, figures, of_policies};
use super::notices::Notices;
use super::outside::Outside;
use super::policies::Policies;
use super::reports::ReportsSeen;
use super::shadow;
use super::shutdown::Shutdown;
use super::switches::Switches;
use crate::admin::{Checks, Reason};
use crate::identity::AgentStatus;
use crate::live::Live;
use crate::proxy::Shadowing;
use crate::telemetry::audit::Sink;
use crate::telemetry::metrics::{Control, Metrics};
use crate::tls::Context;

/// Everything that health depends on.
#[derive(Debug, Clone)]
pub(super) struct Sources {
    pub(super) identity: Live<AgentStatus>,
    /// What handshakes use, which is made from what the agent gave.
    pub(super) contexts: Live<Context>,
    pub(super) policies: Policies,
    pub(super) rules: RulesInUse,
    pub(super) outside: Outside,
    pub(super) switches: Switches,
    pub(super) reports: ReportsSeen,
    pub(super) shadowing: Option<Shadowing>,
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
            notes: Box::new(move || notes.noted()),
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
        Notices::of(&identity, &context, &self.outside, &self.policies, SystemTime::now())
    }

    fn noted(&self) -> Vec<Reason> {
        let mut notes = self.notices().notes;
        notes.extend(self.policies.notes());
        notes.extend(self.reports.notes());
        notes
    }

    fn refresh(&self, control: &Control) {
        let status = self.identity.load();
        control.agent_state(status.state.as_str());
        control.svid_not_after(status.svid_not_after);
        control.policy_revision(self.policies.rules.load().policy.revision());
        let mut told =
            figures(&self.outside, &self.switches, &self.contexts.load(), self.policies.bundles());
        told.extend(of_policies(&self.policies));
        told.extend(self.rules.figures());
        told.extend(self.reports.figures());
        let (status, counts) = (self.policies.shadow.as_ref(), self.shadowing.as_ref());
        told.extend(shadow::figures(status, counts));
        control.tell(told);
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
        let status = self.policies.enforced.clone();
        let mut changes = status.changes();
        let mut seen = (0, 0);
        tokio::spawn(async move {
            loop {
                changes.changed().await;
                let status = status.snapshot();
                let now = (status.taken, status.refused);
                for _ in seen.0..now.0 {
                    metrics.control().policy_reloaded(true);
                }
                for _ in seen.1..now.1 {
                    metrics.control().policy_reloaded(false);
                }
                seen = now;
            }
        });
    }
}
