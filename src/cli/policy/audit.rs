//! An audit line, read back: who called, what for, and what was decided.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use spiffe::SpiffeId;

use super::inputs;
use crate::authz::{Assumed, Brought};
use crate::policy::{Subject, Workload};

/// What is read of a line. Whatever else stands there is not needed.
#[derive(Debug, Deserialize)]
pub(super) struct Line {
    pub time: String,
    pub direction: String,
    pub listener: String,
    pub protocol: String,
    pub decision: String,
    pub reason: String,
    pub detail: Option<String>,
    #[serde(default)]
    pub source: Source,
    pub local: Option<String>,
    pub tenant: Option<String>,
    #[serde(default)]
    pub cross_tenant: bool,
    pub held_scopes: Option<String>,
    pub method: Option<String>,
    pub path: Option<String>,
    pub policy_revision: Option<String>,
}

/// Who asked.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Source {
    pub spiffe_id: Option<String>,
    pub method: Option<String>,
    pub subject: Option<String>,
    pub issuer: Option<String>,
    pub address: Option<String>,
    pub serial: Option<String>,
}

impl Line {
    /// The line itself, `-` for standard input, or `@FILE`.
    pub(super) fn read(given: &str) -> anyhow::Result<Self> {
        let text = match given.strip_prefix('@') {
            Some(path) => inputs::text(Path::new(path))?,
            None if given == "-" => inputs::text(Path::new("-"))?,
            None => given.to_owned(),
        };
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let line = lines.next().context("there is no audit line")?;
        ensure!(lines.next().is_none(), "more than one audit line: `replay` takes a whole log");
        let line: Self = serde_json::from_str(line).context("this is no audit line")?;
        if line.direction != "inbound" {
            bail!("the line is about an {} call: no policy decides on those", line.direction);
        }
        Ok(line)
    }

    pub(super) fn time(&self) -> anyhow::Result<SystemTime> {
        inputs::time(&self.time).map_err(|error| anyhow::anyhow!("`{}`: {error}", self.time))
    }

    pub(super) fn local(&self) -> anyhow::Result<Option<Workload>> {
        let id = self.local.as_deref().map(SpiffeId::new).transpose();
        Ok(id.context("`local` is no SPIFFE ID")?.as_ref().map(Workload::new))
    }

    pub(super) fn address(&self) -> Option<IpAddr> {
        let text = self.source.address.as_deref()?;
        text.parse().ok().or_else(|| Some(text.parse::<std::net::SocketAddr>().ok()?.ip()))
    }

    /// Who it was, and by what name.
    pub(super) fn assumed(&self) -> anyhow::Result<(Arc<str>, Assumed)> {
        let source = &self.source;
        if let Some(id) = &source.spiffe_id {
            let id = SpiffeId::new(id).context("`source.spiffe_id` is no SPIFFE ID")?;
            let workload = Workload::new(&id);
            let name = Arc::clone(workload.uri());
            let subject = match source.method.as_deref() {
                Some("jwt-svid") => Subject::jwt_svid(workload),
                _ => Subject::spiffe(workload),
            };
            return Ok((name, Assumed::workload(subject)));
        }
        let (Some(subject), Some(issuer)) = (&source.subject, &source.issuer) else {
            bail!("the line names nobody: they were refused before they had proven who they are");
        };
        let held = self.held_scopes.as_deref().unwrap_or_default();
        let brings = Brought {
            scopes: held.split_whitespace().map(Arc::from).collect(),
            tenant: self.tenant.clone(),
            cross_tenant: self.cross_tenant,
        };
        let name = format!("{issuer} {subject}").into();
        let subject = Subject::jwt(subject.as_str().into(), issuer.as_str().into());
        Ok((name, Assumed { subject, brings: Some(brings) }))
    }

    /// The request, as `--request` would say it; `None` for a whole connection.
    pub(super) fn request(&self) -> Option<(String, String)> {
        let method = if self.protocol == "grpc" { "GRPC" } else { self.method.as_deref()? };
        Some((method.to_owned(), self.path.clone()?))
    }

    /// What the line does not say, though a policy may look at it.
    pub(super) fn unknown(&self, asks_requests: bool) -> Vec<String> {
        let mut unknown = Vec::new();
        if self.source.spiffe_id.is_none() {
            let text = "of the token's scopes the line has only those that were left to it";
            unknown.push(text.to_owned());
        }
        if asks_requests && self.path.is_some() {
            let text = "query, host and headers are not in the line; `data.sidegate.request.deny` \
                        was asked without them";
            unknown.push(text.to_owned());
        }
        if self.reason == "revoked" {
            unknown.push("what was revoked at run time is not known here".to_owned());
        }
        if self.path.as_deref().is_some_and(|path| path.ends_with('…')) {
            unknown.push("the path was too long for the line and is cut".to_owned());
        }
        unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"time":"2026-11-21T10:00:00.000Z","request_id":"r","direction":"inbound","listener":"main","protocol":"http","decision":"deny","reason":"insufficient_scope","detail":null,"source":{"spiffe_id":"spiffe://t.example/prod/x","trust_domain":"t.example","method":"spiffe","subject":null,"issuer":null,"token":null,"address":"10.0.0.1","serial":"0a"},"destination":null,"local":"spiffe://t.example/prod/y","tenant":"acme","cross_tenant":false,"route":"GET /**","required_scopes":"a:b","held_scopes":"c:d","roles":[],"method":"GET","path":"/a","policy_revision":"abc"}"#;

    #[test]
    fn a_line_says_who_asked_for_what() {
        let line = Line::read(LINE).unwrap();
        let (name, assumed) = line.assumed().unwrap();
        assert_eq!(&*name, "spiffe://t.example/prod/x");
        assert!(assumed.brings.is_none());
        assert_eq!(line.request(), Some(("GET".to_owned(), "/a".to_owned())));
        assert_eq!(line.address(), Some("10.0.0.1".parse().unwrap()));
        assert!(line.unknown(false).is_empty());
        assert_eq!(line.unknown(true).len(), 1);
    }

    #[test]
    fn a_token_is_known_by_issuer_and_subject() {
        let text =
            LINE.replace(r#""spiffe_id":"spiffe://t.example/prod/x""#, r#""spiffe_id":null"#);
        let text = text
            .replace(r#""subject":null,"issuer":null"#, r#""subject":"s","issuer":"https://i""#);
        let line = Line::read(&text).unwrap();
        let (name, assumed) = line.assumed().unwrap();
        assert_eq!(&*name, "https://i s");
        assert_eq!(assumed.brings.unwrap().scopes, [Arc::from("c:d")]);
        assert_eq!(line.unknown(false).len(), 1);
    }

    #[test]
    fn what_is_no_such_line_is_refused() {
        let outbound = LINE.replace("inbound", "outbound");
        let nobody =
            LINE.replace(r#""spiffe_id":"spiffe://t.example/prod/x""#, r#""spiffe_id":null"#);
        for text in ["", "{}", "nonsense", &format!("{LINE}\n{LINE}"), &outbound] {
            assert!(Line::read(text).is_err(), "{text}");
        }
        assert!(Line::read(&nobody).unwrap().assumed().is_err());
    }
}
