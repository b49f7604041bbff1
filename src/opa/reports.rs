//! Status reports in OPA's format: which policy is in force, since when, and why a newer one is not
//! (OPS-6).

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::time::sleep;
use tracing::warn;

use super::decision_log::{LogStatus, labelled};
use super::reporter::Reporter;
use super::settings::StatusSettings;
use crate::live::Changes;
use crate::telemetry::Rfc3339;
use crate::tls::RootsError;
use crate::token::Backoff;

/// What Go writes for no time at all.
const NEVER: &str = "0001-01-01T00:00:00Z";
/// Several things that change at once are told together.
const GATHER: Duration = Duration::from_millis(200);

/// How it stands with one policy, be it a bundle or a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyReport {
    pub name: String,
    pub active_revision: Option<String>,
    /// Of an archive, in bytes.
    pub size: Option<usize>,
    pub last_request: Option<SystemTime>,
    pub last_successful_request: Option<SystemTime>,
    pub last_successful_download: Option<SystemTime>,
    pub last_successful_activation: Option<SystemTime>,
    /// Why the newest is not in force.
    pub error: Option<String>,
    pub http_code: Option<u16>,
}

/// All that is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatusReport {
    pub policies: Vec<PolicyReport>,
    /// `None` where decisions are not told.
    pub decision_log: Option<LogStatus>,
}

impl StatusReport {
    /// Without what is otherwise with each look at a server.
    fn lasting(&self) -> Self {
        let mut lasting = self.clone();
        for policy in &mut lasting.policies {
            policy.last_request = None;
            policy.last_successful_request = None;
        }
        lasting
    }
}

/// Reports from now on: at once, whenever one of `changes` wakes, and every so often. Runs on the
/// current tokio runtime.
pub fn report_status(
    settings: StatusSettings,
    changes: Vec<Changes>,
    gather: impl Fn() -> StatusReport + Send + Sync + 'static,
) -> Result<(), RootsError> {
    let reporter = Reporter::new(&settings.to)?;
    let labels = labelled(settings.labels);
    drop(tokio::spawn(async move {
        let (wake, mut woken) = tokio::sync::mpsc::channel::<()>(1);
        for mut change in changes {
            let wake = wake.clone();
            drop(tokio::spawn(async move {
                loop {
                    change.changed().await;
                    // One that waits already is as good.
                    wake.try_send(()).ok();
                }
            }));
        }
        let mut backoff = Backoff::new();
        loop {
            let report = gather();
            let (told, body) = (report.lasting(), body(&report, &labels));
            let pause = match reporter.post(body.into(), None).await {
                Ok(()) => {
                    backoff.reset();
                    settings.every
                }
                Err(error) => {
                    warn!(error = %error.message, "the status could not be reported");
                    backoff.delay(fastrand::f64(), error.retry_after).min(settings.every)
                }
            };
            let mut pause = pin!(sleep(pause));
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    Some(()) = woken.recv() => sleep(GATHER).await,
                }
                if gather().lasting() != told {
                    break;
                }
            }
        }
    }));
    Ok(())
}

/// OPA's `UpdateRequestV1`.
#[derive(Serialize)]
struct Update<'a> {
    labels: &'a BTreeMap<String, String>,
    bundles: BTreeMap<&'a str, Bundle<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision_logs: Option<Code<'a>>,
    plugins: BTreeMap<&'a str, Plugin>,
}

#[derive(Serialize)]
struct Bundle<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    active_revision: Option<&'a str>,
    last_successful_activation: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<usize>,
    last_successful_download: String,
    last_successful_request: String,
    last_request: String,
    #[serde(flatten)]
    code: Code<'a>,
}

#[derive(Serialize, Default)]
struct Code<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_code: Option<u16>,
}

#[derive(Serialize)]
struct Plugin {
    state: &'static str,
}

fn body(report: &StatusReport, labels: &BTreeMap<String, String>) -> Vec<u8> {
    let ready = report.policies.iter().all(|policy| policy.active_revision.is_some());
    let state = |good: bool| Plugin { state: if good { "OK" } else { "NOT_READY" } };
    let mut plugins = BTreeMap::from([("bundle", state(ready)), ("status", state(true))]);
    if report.decision_log.is_some() {
        plugins.insert("decision_logs", state(true));
    }
    let update = Update {
        labels,
        bundles: report.policies.iter().map(|it| (it.name.as_str(), bundle(it))).collect(),
        decision_logs: report.decision_log.as_ref().map(|log| Code {
            code: log.error.as_ref().map(|_| "decision_log_error"),
            message: log.error.as_deref(),
            http_code: log.http_code,
        }),
        plugins,
    };
    // Strings and numbers always have a JSON form.
    serde_json::to_vec(&update).unwrap_or_default()
}

fn bundle(policy: &PolicyReport) -> Bundle<'_> {
    let time =
        |at: Option<SystemTime>| at.map_or_else(|| NEVER.to_owned(), |at| Rfc3339(at).to_string());
    Bundle {
        name: &policy.name,
        active_revision: policy.active_revision.as_deref(),
        last_successful_activation: time(policy.last_successful_activation),
        kind: "snapshot",
        size: policy.size,
        last_successful_download: time(policy.last_successful_download),
        last_successful_request: time(policy.last_successful_request),
        last_request: time(policy.last_request),
        code: Code {
            code: policy.error.as_ref().map(|_| "bundle_error"),
            message: policy.error.as_deref(),
            http_code: policy.http_code,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_report_has_the_form_that_opa_gives_it() {
        let labels = BTreeMap::from([("id".to_owned(), "a".to_owned())]);
        let report = StatusReport {
            policies: vec![PolicyReport {
                name: "sidegate".to_owned(),
                active_revision: Some("c4628c2327fb".to_owned()),
                last_successful_activation: Some(UNIX_EPOCH),
                size: Some(4711),
                error: Some("p.rego:2: no".to_owned()),
                http_code: Some(500),
                ..PolicyReport::default()
            }],
            decision_log: Some(LogStatus::default()),
        };
        let body: Value = serde_json::from_slice(&body(&report, &labels)).unwrap();
        assert_eq!(
            body,
            json!({
                "labels": {"id": "a"},
                "bundles": {"sidegate": {
                    "name": "sidegate",
                    "active_revision": "c4628c2327fb",
                    "last_successful_activation": "1970-01-01T00:00:00.000Z",
                    "type": "snapshot",
                    "size": 4711,
                    "last_successful_download": NEVER,
                    "last_successful_request": NEVER,
                    "last_request": NEVER,
                    "code": "bundle_error",
                    "message": "p.rego:2: no",
                    "http_code": 500,
                }},
                "decision_logs": {},
                "plugins": {"bundle": {"state": "OK"}, "status": {"state": "OK"},
                    "decision_logs": {"state": "OK"}},
            })
        );
    }

    #[test]
    fn without_a_policy_it_is_not_ready() {
        let report = StatusReport { policies: vec![PolicyReport::default()], decision_log: None };
        let body: Value = serde_json::from_slice(&body(&report, &BTreeMap::new())).unwrap();
        assert_eq!(body["plugins"]["bundle"]["state"], "NOT_READY");
    }
}
