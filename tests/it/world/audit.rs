//! A sidecar's audit log as its reader meets it.

use std::path::PathBuf;

use serde::Deserialize;

use super::client::Reply;
use super::wait::until;

/// One line. Unknown keys are errors: the line is a contract.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub time: String,
    pub request_id: String,
    pub direction: String,
    pub listener: String,
    pub protocol: String,
    pub decision: String,
    pub reason: String,
    pub detail: Option<String>,
    pub source: Source,
    pub destination: Option<String>,
    pub local: Option<String>,
    pub tenant: Option<String>,
    pub cross_tenant: bool,
    pub route: Option<String>,
    pub required_scopes: Option<String>,
    pub held_scopes: Option<String>,
    pub roles: Vec<String>,
    pub method: Option<String>,
    pub path: Option<String>,
    pub policy_revision: Option<String>,
    #[serde(default)]
    pub again: bool,
    #[serde(default)]
    pub shadow: Option<Shadow>,
}

/// What the shadow policy would have decided in another way.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shadow {
    pub decision: String,
    pub reason: String,
    pub detail: Option<String>,
    pub policy_revision: String,
    #[serde(default)]
    pub late: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    pub spiffe_id: Option<String>,
    pub trust_domain: Option<String>,
    pub method: Option<String>,
    pub subject: Option<String>,
    pub issuer: Option<String>,
    pub token: Option<String>,
    pub address: Option<String>,
    pub serial: Option<String>,
}

/// The log of one sidecar.
pub struct Audit(pub PathBuf);

impl Audit {
    /// All whole lines so far.
    pub fn lines(&self) -> Vec<Line> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }

    /// How many lines have this reason so far.
    pub fn count(&self, reason: &str) -> usize {
        self.lines().iter().filter(|line| line.reason == reason).count()
    }

    /// The one line with this reason, once it is there.
    pub async fn only(&self, reason: &str) -> Line {
        let what = format!("an audit line with reason `{reason}` in {}", self.0.display());
        let lines = until(&what, async || {
            let lines = self.lines();
            lines.iter().any(|line| line.reason == reason).then_some(lines)
        })
        .await;
        let mut with_reason = lines.iter().filter(|line| line.reason == reason);
        let line = with_reason.next().unwrap().clone();
        assert!(with_reason.next().is_none(), "more than one `{reason}`: {lines:#?}");
        line
    }

    /// The line of the request that was answered so, once it is there.
    pub async fn of(&self, reply: &Reply) -> Line {
        let id = reply.header("x-request-id").unwrap();
        let line = async || self.lines().into_iter().find(|line| line.request_id == id);
        until("the audit line of a request", line).await
    }

    /// Waits for this many lines with this reason and gives the last of them.
    pub async fn nth(&self, reason: &str, count: usize) -> Line {
        let what = format!("{count} audit lines with reason `{reason}`");
        let found = until(&what, async || {
            let found: Vec<_> =
                self.lines().into_iter().filter(|line| line.reason == reason).collect();
            (found.len() >= count).then_some(found)
        })
        .await;
        assert_eq!(found.len(), count, "more `{reason}` than expected: {found:#?}");
        found[count - 1].clone()
    }
}
