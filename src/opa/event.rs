//! A decision in the form of OPA's decision log, made from its line in the audit log: so the two
//! cannot say different things, and what the one never holds (tokens, keys, bodies) the other
//! cannot either.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Under which every decision of ours is logged.
const PATH: &str = "sidegate/decision";
/// The policy's name among `bundles`.
const POLICY: &str = "sidegate";
/// Lines of more policies than this do not wait at a time.
const REVISIONS_MAX: usize = 8;

/// One event, as OPA's `EventV1` is written.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Event<'l> {
    pub labels: &'l BTreeMap<String, String>,
    pub decision_id: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub bundles: BTreeMap<&'static str, Revision>,
    pub path: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub erased: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub masked: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
    pub timestamp: String,
    pub custom: Value,
}

/// Which policy answered.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Revision {
    pub revision: String,
}

/// What the makers of bundles count the last policies by.
#[derive(Debug, Clone, Default)]
pub(super) struct Revisions(VecDeque<(Arc<str>, Arc<str>)>);

impl Revisions {
    /// `own` is the one in audit lines.
    pub(super) fn learn(&mut self, own: &Arc<str>, makers: Option<&Arc<str>>) {
        let Some(makers) = makers else { return };
        if self.0.back().is_some_and(|(known, name)| known == own && name == makers) {
            return;
        }
        self.0.retain(|(known, _)| known != own);
        self.0.push_back((Arc::clone(own), Arc::clone(makers)));
        if self.0.len() > REVISIONS_MAX {
            drop(self.0.pop_front());
        }
    }

    fn of(&self, own: &str) -> String {
        let known = self.0.iter().find(|(known, _)| &**known == own);
        known.map_or(own, |(_, makers)| &**makers).to_owned()
    }
}

/// A line of the audit log, as far as it is told on.
#[derive(Debug, Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    request_id: Cow<'a, str>,
    #[serde(borrow)]
    direction: Cow<'a, str>,
    #[serde(borrow)]
    listener: Cow<'a, str>,
    #[serde(borrow)]
    protocol: Cow<'a, str>,
    #[serde(borrow)]
    decision: Cow<'a, str>,
    #[serde(borrow)]
    reason: Cow<'a, str>,
    detail: Option<Cow<'a, str>>,
    source: Value,
    destination: Option<Cow<'a, str>>,
    local: Option<Cow<'a, str>>,
    tenant: Option<Cow<'a, str>>,
    cross_tenant: bool,
    route: Option<Cow<'a, str>>,
    required_scopes: Option<Cow<'a, str>>,
    held_scopes: Option<Cow<'a, str>>,
    roles: Vec<Cow<'a, str>>,
    method: Option<Cow<'a, str>>,
    path: Option<Cow<'a, str>>,
    policy_revision: Option<Cow<'a, str>>,
    #[serde(default)]
    again: bool,
    shadow: Option<Value>,
}

impl Line<'_> {
    /// It repeats one that was written before the shadow policy had answered: no decision of its own.
    fn is_late(&self) -> bool {
        let late = self.shadow.as_ref().and_then(|it| it.get("late"));
        late.and_then(Value::as_bool).unwrap_or_default()
    }
}

impl<'l> Event<'l> {
    /// `id` has to be another one for each event. `None` if the line is no decision of its own.
    pub(super) fn of(
        line: &[u8],
        id: String,
        labels: &'l BTreeMap<String, String>,
        revisions: &Revisions,
    ) -> Option<Self> {
        let line: Line<'_> =
            serde_json::from_slice(line).ok().filter(|it: &Line<'_>| !it.is_late())?;
        let requested_by = line.source.get("address").and_then(Value::as_str).map(str::to_owned);
        let revision = line.policy_revision.as_deref();
        let bundles = revision.map(|it| (POLICY, Revision { revision: revisions.of(it) }));
        Some(Self {
            labels,
            decision_id: id,
            bundles: bundles.into_iter().collect(),
            path: PATH,
            requested_by,
            timestamp: line.time.clone().into_owned(),
            custom: line.custom(),
            input: Some(line.input()),
            result: Some(line.result()),
            erased: Vec::new(),
            masked: Vec::new(),
        })
    }
}

impl Line<'_> {
    /// As in the input document of policies, as far as the line says it.
    fn input(&self) -> Value {
        json!({
            "direction": self.direction,
            "listener": self.listener,
            "peer": self.source,
            "local": { "spiffe_id": self.local },
            "destination": self.destination,
            "request": {
                "protocol": self.protocol,
                "method": self.method,
                "path": self.path,
                "route": self.route,
                "scopes_required": words(self.required_scopes.as_deref()),
            },
        })
    }

    fn custom(&self) -> Value {
        let mut custom =
            json!({ "request_id": self.request_id, "policy_revision": self.policy_revision });
        if let (true, Value::Object(custom)) = (self.again, &mut custom) {
            custom.insert("again".to_owned(), true.into());
        }
        custom
    }

    fn result(&self) -> Value {
        let mut result = json!({
            "allowed": self.decision == "allow",
            "reason": self.reason,
            "detail": self.detail,
            "tenant": self.tenant,
            "cross_tenant": self.cross_tenant,
            "scopes": words(self.held_scopes.as_deref()),
            "roles": self.roles,
        });
        if let (Some(shadow), Value::Object(result)) = (&self.shadow, &mut result) {
            result.insert("shadow".to_owned(), shadow.clone());
        }
        result
    }
}

fn words(text: Option<&str>) -> Vec<&str> {
    text.unwrap_or_default().split(' ').filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"time":"2026-11-21T10:00:00.123456Z","request_id":"r-1","direction":"inbound","listener":"orders","protocol":"http","decision":"deny","reason":"insufficient_scope","detail":"held: `a:b`","source":{"spiffe_id":"spiffe://example.org/prod/shop","trust_domain":"example.org","method":"spiffe","subject":null,"issuer":null,"token":null,"address":"10.1.2.3:4711","serial":"0a"},"destination":null,"local":"spiffe://example.org/prod/orders","tenant":"acme","cross_tenant":false,"route":"read-order","required_scopes":"orders:read","held_scopes":"a:b c:d","roles":["reader"],"method":"GET","path":"/orders/17","policy_revision":"c4628c2327fb"}"#;

    fn of<'l>(line: &str, labels: &'l BTreeMap<String, String>) -> Option<Event<'l>> {
        Event::of(line.as_bytes(), "d-1".to_owned(), labels, &Revisions::default())
    }

    #[test]
    fn a_line_says_the_same_in_the_words_of_opa() {
        let labels = BTreeMap::from([("id".to_owned(), "sidecar-1".to_owned())]);
        let event = of(LINE, &labels).unwrap();
        let event = serde_json::to_value(&event).unwrap();
        assert_eq!(
            event,
            json!({
                "labels": {"id": "sidecar-1"},
                "decision_id": "d-1",
                "bundles": {"sidegate": {"revision": "c4628c2327fb"}},
                "path": "sidegate/decision",
                "input": {
                    "direction": "inbound",
                    "listener": "orders",
                    "peer": {"spiffe_id": "spiffe://example.org/prod/shop",
                        "trust_domain": "example.org", "method": "spiffe", "subject": null,
                        "issuer": null, "token": null, "address": "10.1.2.3:4711", "serial": "0a"},
                    "local": {"spiffe_id": "spiffe://example.org/prod/orders"},
                    "destination": null,
                    "request": {"protocol": "http", "method": "GET", "path": "/orders/17",
                        "route": "read-order", "scopes_required": ["orders:read"]},
                },
                "result": {"allowed": false, "reason": "insufficient_scope",
                    "detail": "held: `a:b`", "tenant": "acme", "cross_tenant": false,
                    "scopes": ["a:b", "c:d"], "roles": ["reader"]},
                "requested_by": "10.1.2.3:4711",
                "timestamp": "2026-11-21T10:00:00.123456Z",
                "custom": {"request_id": "r-1", "policy_revision": "c4628c2327fb"},
            })
        );
    }

    #[test]
    fn what_is_no_line_of_the_log_is_no_event() {
        let labels = BTreeMap::new();
        for line in ["", "{}", "nonsense", "[1]"] {
            assert!(of(line, &labels).is_none(), "{line}");
        }
    }

    #[test]
    fn a_line_that_repeats_a_decision_is_no_second_event() {
        let labels = BTreeMap::new();
        let with = |late: &str| {
            let shadow = format!(r#","shadow":{{"decision":"allow"{late}}}}}"#);
            format!("{}{shadow}", LINE.strip_suffix('}').unwrap())
        };
        let event = serde_json::to_value(of(&with(""), &labels).unwrap()).unwrap();
        assert_eq!(event["result"]["shadow"], json!({"decision": "allow"}));
        assert!(of(&with(r#","late":true"#), &labels).is_none());
    }

    #[test]
    fn the_end_of_what_was_let_in_is_an_event_that_says_so() {
        let labels = BTreeMap::new();
        let line = format!(r#"{},"again":true}}"#, LINE.strip_suffix('}').unwrap());
        let event = serde_json::to_value(of(&line, &labels).unwrap()).unwrap();
        assert_eq!(event["custom"]["again"], true);
        let event = serde_json::to_value(of(LINE, &labels).unwrap()).unwrap();
        assert!(event["custom"].get("again").is_none());
    }

    #[test]
    fn a_policy_goes_by_the_name_that_its_makers_gave_it() {
        let (labels, mut revisions) = (BTreeMap::new(), Revisions::default());
        revisions.learn(&"c4628c2327fb".into(), Some(&"v7".into()));
        revisions.learn(&"another".into(), None);
        for n in 0..REVISIONS_MAX - 1 {
            revisions.learn(&n.to_string().into(), Some(&"later".into()));
        }
        let told = |revisions: &Revisions| {
            let event = Event::of(LINE.as_bytes(), "d".to_owned(), &labels, revisions).unwrap();
            let event = serde_json::to_value(&event).unwrap();
            assert_eq!(event["custom"]["policy_revision"], "c4628c2327fb");
            event["bundles"]["sidegate"]["revision"].clone()
        };
        assert_eq!(told(&revisions), "v7");
        revisions.learn(&"one more".into(), Some(&"later".into()));
        assert_eq!(told(&revisions), "c4628c2327fb", "what is known is bounded");
    }
}
