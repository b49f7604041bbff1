//! What the admin interface tells: one look at everything that an operator asks about first.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::checks::Sources;
use super::sockets::Addresses;
use crate::admin::{Pages, told};
use crate::identity::AgentStatus;
use crate::policy::{PolicyStatus, Revoker};
use crate::proxy::Shadowing;
use crate::telemetry::{Direction, Rfc3339};

/// The pages, for as long as the sidecar runs. Call it once it has its addresses.
pub(super) fn pages(sources: &Sources, addresses: &Addresses, revoker: &Revoker) -> Pages {
    let listeners = listeners(addresses);
    let (checks, started) = (sources.checks(), SystemTime::now());
    let (of_status, of_policy, revoker) = (sources.clone(), sources.clone(), revoker.clone());
    let shadowing = sources.shadowing.clone();
    let status = move || {
        let (reasons, notes) = ((checks.ready)(), (checks.notes)());
        let policies = &of_status.policies;
        json!({
            "ready": reasons.is_empty(),
            "reasons": told(&reasons),
            "notes": told(&notes),
            "version": env!("CARGO_PKG_VERSION"),
            "started": time(started),
            "draining": of_status.shutdown.is_draining(),
            "policy": policy(&policies.enforced.load()),
            "shadow": shadow(&of_status),
            "agent": agent(&of_status.identity.load()),
            "listeners": listeners,
            "revocations": revoker.count(),
        })
    };
    let policy = move || {
        let rules = of_policy.policies.rules.load();
        let entries = rules.policy.reads().iter().map(|entry| {
            json!({
                "name": entry.name,
                "input": entry.input,
                "holds": entry.holds(),
            })
        });
        json!({
            "revision": &**rules.policy.revision(),
            "entry_points": entries.collect::<Vec<_>>(),
        })
    };
    let shadow = move || serde_json::to_value(shadowing.as_ref()?.report()).ok();
    Pages { status: Box::new(status), policy: Box::new(policy), shadow: Box::new(shadow) }
}

fn listeners(addresses: &Addresses) -> Value {
    let of = |direction: Direction| {
        let list = match direction {
            Direction::Inbound => &addresses.inbound,
            Direction::Outbound => &addresses.outbound,
        };
        list.iter().map(move |(name, address)| {
            json!({"name": name, "direction": direction, "address": address.to_string()})
        })
    };
    of(Direction::Inbound).chain(of(Direction::Outbound)).collect()
}

fn policy(status: &PolicyStatus) -> Value {
    json!({
        "revision": status.revision.as_deref(),
        "since": status.loaded_at.map(time),
        "error": status.last_error,
        "last_attempt": time(status.last_attempt),
    })
}

/// How it stands with the shadow policy, and how often its decisions came out how.
fn shadow(sources: &Sources) -> Option<Value> {
    let mut told = policy(&sources.policies.shadow.as_ref()?.load());
    let mut decisions = BTreeMap::<&str, u64>::new();
    for count in sources.shadowing.iter().flat_map(Shadowing::counts) {
        *decisions.entry(count.outcome).or_default() += count.count;
    }
    if let Value::Object(told) = &mut told {
        told.insert("decisions".to_owned(), json!(decisions));
    }
    Some(told)
}

fn agent(status: &AgentStatus) -> Value {
    json!({
        "state": status.state.as_str(),
        "detail": status.detail,
        "since": Some(status.since).filter(|it| *it > SystemTime::UNIX_EPOCH).map(time),
        "svid_not_after": status.svid_not_after.map(time),
    })
}

fn time(at: SystemTime) -> String {
    Rfc3339(at).to_string()
}
