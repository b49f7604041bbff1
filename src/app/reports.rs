//! What is told to OPA's collectors: decisions, and how things stand.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;

use super::figures::{Labels, counter, gauge};
use super::policies::Policies;
use crate::admin::Reason;
use crate::config::Config;
use crate::live::Live;
use crate::opa::{self, BundleStatus, DecisionLog, LogStatus, PolicyReport, StatusReport};
use crate::policy::PolicyStatus;
use crate::telemetry::audit::Sink;
use crate::telemetry::metrics::Told;

/// Copies of audit lines that wait to become events.
const TAPPED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The last events have this long, which covers one upload.
const LAST_WORDS: Duration = Duration::from_secs(4);
/// What a policy is called among a status report's bundles.
const ENFORCED: &str = "sidegate";
const SHADOW: &str = "sidegate-shadow";

/// What runs.
#[derive(Debug)]
pub(super) struct Reports {
    log: Option<DecisionLog>,
}

/// What others look at.
#[derive(Debug, Clone)]
pub(super) struct ReportsSeen {
    log: Option<(Live<LogStatus>, Arc<opa::LogCounts>)>,
}

impl Reports {
    /// Call it within a runtime.
    pub(super) fn start(
        config: &Config,
        policies: &Policies,
        audit: &Sink,
    ) -> anyhow::Result<Self> {
        let log = match &config.decision_log {
            Some(settings) => {
                let tapped =
                    audit.tap(TAPPED_BYTES_MAX).context("the audit log has two readers")?;
                let rules = policies.rules.clone();
                let log = DecisionLog::start(settings.clone(), tapped, rules);
                Some(log.context("the authorities of `decision_log`")?)
            }
            None => None,
        };
        if let Some(settings) = &config.status {
            report(settings, policies, log.as_ref().map(|log| log.status.clone()))?;
        }
        Ok(Self { log })
    }

    /// For metrics and probes.
    pub(super) fn seen(&self) -> ReportsSeen {
        let log = self.log.as_ref();
        ReportsSeen { log: log.map(|log| (log.status.clone(), Arc::clone(&log.counts))) }
    }

    /// Waits for the last events. Blocks; only after the audit log has been closed.
    pub(super) fn close(&mut self) {
        if let Some(log) = self.log.take() {
            log.ended(LAST_WORDS);
        }
    }
}

impl ReportsSeen {
    /// A collector that is away is worth knowing, and no reason to send traffic elsewhere.
    pub(super) fn notes(&self) -> Vec<Reason> {
        let Some((status, _)) = &self.log else { return Vec::new() };
        let Some(error) = &status.load().error else { return Vec::new() };
        let message = format!("decisions cannot be uploaded, and wait: {error}");
        vec![Reason { code: "decision_log_failing", message, since: None }]
    }

    pub(super) fn figures(&self) -> Vec<Told> {
        let Some((status, counts)) = &self.log else { return Vec::new() };
        let of = |result: &str| -> Labels { vec![("result", result.to_owned())] };
        let series = [
            ("uploaded", &counts.uploaded),
            ("lost", &counts.lost),
            ("dropped", &counts.dropped),
            ("unmasked", &counts.unmasked),
        ];
        let series = series.map(|(result, count)| (of(result), count.load(Ordering::Relaxed)));
        let failing = u64::from(status.load().error.is_some());
        vec![
            counter(
                "sidegate_decision_log_events",
                "Decisions by what became of them on the way to the collector.",
                series.into(),
            ),
            gauge(
                "sidegate_decision_log_failing",
                "1 while the collector does not take decisions.",
                vec![(Vec::new(), failing)],
            ),
        ]
    }
}

fn report(
    settings: &opa::StatusSettings,
    policies: &Policies,
    log: Option<Live<LogStatus>>,
) -> anyhow::Result<()> {
    let mut changes = vec![policies.enforced.changes()];
    changes.extend(policies.shadow.as_ref().map(Live::changes));
    changes.extend(policies.bundles().map(Live::changes));
    changes.extend(log.as_ref().map(Live::changes));
    let policies = policies.clone();
    let gather = move || {
        let enforced = policy(ENFORCED, &policies.enforced, policies.bundle.as_ref());
        let shadow = policies.shadow.as_ref();
        let shadow = shadow.map(|it| policy(SHADOW, it, policies.shadow_bundle.as_ref()));
        StatusReport {
            policies: std::iter::once(enforced).chain(shadow).collect(),
            decision_log: log.as_ref().map(|log| LogStatus::clone(&log.load())),
        }
    };
    opa::report_status(settings.clone(), changes, gather).context("the authorities of `status`")
}

fn policy(
    name: &str,
    status: &Live<PolicyStatus>,
    bundle: Option<&Live<BundleStatus>>,
) -> PolicyReport {
    let name = name.to_owned();
    match bundle {
        Some(bundle) => of_bundle(name, &status.load(), &bundle.load()),
        None => of_files(name, &status.load()),
    }
}

/// By the name that its makers gave it, if they gave it one.
fn revision(status: &PolicyStatus) -> Option<String> {
    let revision = status.revision.as_ref();
    revision.map(|own| status.bundle_revision.as_ref().unwrap_or(own).to_string())
}

fn of_bundle(name: String, status: &PolicyStatus, bundle: &BundleStatus) -> PolicyReport {
    let trouble = bundle.trouble.as_ref();
    PolicyReport {
        name,
        active_revision: revision(status),
        size: bundle.size,
        last_request: bundle.last_request,
        last_successful_request: bundle.last_successful_request,
        last_successful_download: bundle.last_successful_download,
        last_successful_activation: bundle.last_successful_activation.or(status.loaded_at),
        error: trouble.map(|it| it.message.clone()),
        http_code: trouble.and_then(|it| it.http_code),
    }
}

/// Reading files is asking for them.
fn of_files(name: String, status: &PolicyStatus) -> PolicyReport {
    PolicyReport {
        name,
        active_revision: revision(status),
        size: None,
        last_request: Some(status.last_attempt),
        last_successful_request: Some(status.last_attempt),
        last_successful_download: status.loaded_at,
        last_successful_activation: status.loaded_at,
        error: status.last_error.clone(),
        http_code: None,
    }
}
