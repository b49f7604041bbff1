//! What operators ask for about revocations, and the answers.

use std::error::Error as _;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::refused::Refused;
use crate::policy::{RevocationEntry, RevokeError, RevokedBy, Revoker, Terms};
use crate::telemetry::Rfc3339;

/// Ten years; what has to last longer has no end.
const TTL_SECONDS_MAX: u64 = 10 * 366 * 24 * 60 * 60;
const REASON_MAX: usize = 256;

/// The lists are those of `data.revocations`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    #[serde(default)]
    spiffe_ids: Vec<String>,
    #[serde(default)]
    subjects: Vec<String>,
    #[serde(default)]
    tokens: Vec<String>,
    #[serde(default)]
    serials: Vec<String>,
    ttl_seconds: Option<u64>,
    reason: Option<String>,
}

/// All that is revoked at run time.
pub(super) fn list(revoker: &Revoker) -> Value {
    let one = |(entry, terms): (RevocationEntry, Terms)| {
        json!({
            "list": entry.list().name(),
            "entry": entry.text(),
            "since": Rfc3339(terms.since).to_string(),
            "until": terms.until.map(|until| Rfc3339(until).to_string()),
            "reason": terms.reason,
            "by": terms.by,
        })
    };
    json!({"revocations": revoker.list().into_iter().map(one).collect::<Vec<_>>()})
}

/// Blocks while the change is written down.
pub(super) fn revoke(revoker: &Revoker, body: &[u8], by: String) -> Result<Value, Refused> {
    let order = Order::parse(body)?;
    let entries = order.entries()?;
    if let Some(reason) = &order.reason {
        check_reason(reason)?;
    }
    let since = SystemTime::now();
    let until = match order.ttl_seconds {
        None => None,
        Some(seconds @ 1..=TTL_SECONDS_MAX) => Some(since + Duration::from_secs(seconds)),
        Some(_) => {
            let message =
                format!("`ttl_seconds` is not a whole number from 1 to {TTL_SECONDS_MAX}");
            return Err(Refused::bad(message));
        }
    };
    let terms = Terms { since, until, reason: order.reason, by };
    revoker.revoke(&entries, &terms).map_err(refused)?;
    Ok(json!({"revoked": entries.len()}))
}

/// The same for the way back: what was not revoked at run time is told.
pub(super) fn lift(revoker: &Revoker, body: &[u8], by: &str) -> Result<Value, Refused> {
    let order = Order::parse(body)?;
    if order.ttl_seconds.is_some() || order.reason.is_some() {
        return Err(Refused::bad("what is lifted has no `ttl_seconds` and no `reason`"));
    }
    let entries = order.entries()?;
    let lifted = revoker.lift(&entries, by).map_err(refused)?;
    let unknown: Vec<_> = entries
        .iter()
        .filter(|entry| !lifted.contains(entry))
        .map(|entry| json!({"list": entry.list().name(), "entry": entry.text()}))
        .collect();
    Ok(json!({"lifted": lifted.len(), "unknown": unknown}))
}

impl Order {
    fn parse(body: &[u8]) -> Result<Self, Refused> {
        serde_json::from_slice(body)
            .map_err(|error| Refused::bad(format!("the body is no order: {error}")))
    }

    fn entries(&self) -> Result<Vec<RevocationEntry>, Refused> {
        let lists = [
            (RevokedBy::SpiffeId, &self.spiffe_ids),
            (RevokedBy::Subject, &self.subjects),
            (RevokedBy::Token, &self.tokens),
            (RevokedBy::Serial, &self.serials),
        ];
        let mut entries = Vec::new();
        for (list, texts) in lists {
            for (at, text) in (1_usize..).zip(texts) {
                let entry = RevocationEntry::parse(list, text).map_err(|what| {
                    Refused::bad(format!("`{}`: entry {at} {what}", list.name()))
                })?;
                entries.push(entry);
            }
        }
        entries.sort_unstable();
        entries.dedup();
        if entries.is_empty() {
            return Err(Refused::bad("nothing is named that could be revoked"));
        }
        Ok(entries)
    }
}

/// It stands in logs and lists.
fn check_reason(reason: &str) -> Result<(), Refused> {
    if reason.len() > REASON_MAX || reason.chars().any(char::is_control) {
        let message = format!("`reason` is not one line of at most {REASON_MAX} bytes");
        return Err(Refused::bad(message));
    }
    Ok(())
}

fn refused(error: RevokeError) -> Refused {
    let message = match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    match error {
        RevokeError::TooMany | RevokeError::TooLong => {
            Refused::new(StatusCode::CONFLICT, "too_many", message)
        }
        RevokeError::NotKept(_) => {
            Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "not_kept", message)
        }
    }
}
