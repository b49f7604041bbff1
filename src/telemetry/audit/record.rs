//! What one audit line says. It borrows everything, and holds no token, key or body.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Serialize, Serializer};

use super::super::{Direction, Rfc3339};

/// One decision. Field order is the order in the line.
#[derive(Debug, Clone, Serialize)]
pub struct Record<'a> {
    #[serde(serialize_with = "timestamp")]
    pub time: SystemTime,
    #[serde(serialize_with = "text")]
    pub request_id: &'a str,
    pub direction: Direction,
    #[serde(serialize_with = "text")]
    pub listener: &'a str,
    pub protocol: Protocol,
    pub decision: Decision,
    /// Stable code: `allowed`, or why not.
    #[serde(serialize_with = "text")]
    pub reason: &'a str,
    /// For people; may change between versions.
    #[serde(serialize_with = "maybe_text")]
    pub detail: Option<&'a str>,
    pub source: Source<'a>,
    /// On the way out, the identity that the server has proven, or presented in vain.
    #[serde(serialize_with = "maybe_text")]
    pub destination: Option<&'a str>,
    /// Our own SPIFFE ID at the time.
    #[serde(serialize_with = "maybe_text")]
    pub local: Option<&'a str>,
    /// The caller's tenant.
    #[serde(serialize_with = "maybe_text")]
    pub tenant: Option<&'a str>,
    /// An identity with rights across tenants used them (AZ-8).
    pub cross_tenant: bool,
    #[serde(serialize_with = "maybe_text")]
    pub route: Option<&'a str>,
    /// What the route asks for, as text: `billing:write`, or several with spaces between.
    #[serde(serialize_with = "maybe_text")]
    pub required_scopes: Option<&'a str>,
    /// What the caller holds, with spaces between.
    #[serde(serialize_with = "maybe_text")]
    pub held_scopes: Option<&'a str>,
    /// By name, for whoever reads the log: what authorizes is a scope (AZ-2).
    #[serde(serialize_with = "texts")]
    pub roles: &'a [Arc<str>],
    #[serde(serialize_with = "maybe_text")]
    pub method: Option<&'a str>,
    /// Normalised, without the query: queries carry secrets.
    #[serde(serialize_with = "maybe_text")]
    pub path: Option<&'a str>,
    #[serde(serialize_with = "maybe_text")]
    pub policy_revision: Option<&'a str>,
    /// It ends what was let in before, and is no answer to a request of its own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// Only where the shadow policy would have decided in another way (AZ-10).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadow<'a>>,
}

/// What the policy says that is asked and not obeyed.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Shadow<'a> {
    pub decision: Decision,
    /// As in the line itself.
    #[serde(serialize_with = "text")]
    pub reason: &'a str,
    #[serde(serialize_with = "maybe_text")]
    pub detail: Option<&'a str>,
    #[serde(serialize_with = "text")]
    pub policy_revision: &'a str,
    /// The line repeats one that was written before this was known.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
}

/// Who asked, as far as it is proven.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Source<'a> {
    #[serde(serialize_with = "maybe_text")]
    pub spiffe_id: Option<&'a str>,
    #[serde(serialize_with = "maybe_text")]
    pub trust_domain: Option<&'a str>,
    /// How it was proven: `spiffe`, `jwt` or `jwt-svid`.
    #[serde(serialize_with = "maybe_text")]
    pub method: Option<&'a str>,
    /// Whom a machine token names, and who issued it.
    #[serde(serialize_with = "maybe_text")]
    pub subject: Option<&'a str>,
    #[serde(serialize_with = "maybe_text")]
    pub issuer: Option<&'a str>,
    /// The token's fingerprint, by which it can be revoked. Never the token.
    #[serde(serialize_with = "maybe_text")]
    pub token: Option<&'a str>,
    #[serde(serialize_with = "maybe_text")]
    pub address: Option<&'a str>,
    /// Of the leaf certificate, in hex.
    #[serde(serialize_with = "maybe_text")]
    pub serial: Option<&'a str>,
}

/// What was spoken on the connection that the decision is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Http,
    Grpc,
    Websocket,
    Tcp,
    /// The handshake failed before anything was spoken.
    Tls,
}

/// Which way the decision went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    Allow,
    Deny,
}

/// Longer values are cut: a caller chooses the path, and must not choose how much we store.
const LONGEST_TEXT: usize = 2048;

impl Record<'_> {
    /// Appends the line with its newline; takes back what it wrote if that fails.
    pub(super) fn append_to(&self, bytes: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let start = bytes.len();
        let written = serde_json::to_writer(&mut *bytes, self);
        match &written {
            Ok(()) => bytes.push(b'\n'),
            Err(_) => bytes.truncate(start),
        }
        written
    }
}

fn text<S: Serializer>(value: &str, serializer: S) -> Result<S::Ok, S::Error> {
    if value.len() <= LONGEST_TEXT {
        return serializer.serialize_str(value);
    }
    serializer.collect_str(&Cut(value))
}

// The signature is what serde's `serialize_with` asks for.
fn maybe_text<S: Serializer>(value: &Option<&str>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => text(value, serializer),
        None => serializer.serialize_none(),
    }
}

fn texts<S: Serializer>(values: &[Arc<str>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.iter().map(|value| &**value))
}

fn timestamp<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(Rfc3339(*time).text().as_str())
}

/// A value too long for the log: its beginning, and a sign that there was more.
struct Cut<'a>(&'a str);

impl fmt::Display for Cut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = (0..=LONGEST_TEXT).rev().find(|end| self.0.is_char_boundary(*end));
        f.write_str(self.0.get(..end.unwrap_or_default()).unwrap_or_default())?;
        f.write_str("…")
    }
}

#[cfg(test)]
pub(super) mod tests;
