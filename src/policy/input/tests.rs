//! The input document against its contract.

use std::time::{Duration, UNIX_EPOCH};

use regorus::Value;
use spiffe::SpiffeId;

use super::{IDENTITY_FIELDS, KeptRequest, REQUEST_FIELDS, identity, request};
use crate::policy::{Direction, IdentityQuestion, Local, RequestQuestion, Subject, Workload};

fn whole(question: &RequestQuestion<'_>) -> Value {
    let kept = KeptRequest::of(&question.asked_for());
    request(&question.identity, &kept, question.scopes, question.tenant)
}

fn workload(uri: &str) -> Workload {
    Workload::new(&SpiffeId::new(uri).unwrap())
}

fn local() -> Local {
    Local {
        workload: Some(workload("spiffe://example.org/prod/billing")),
        tenant: "acme".into(),
        direction: Direction::Inbound,
    }
}

fn json(value: &Value) -> serde_json::Value {
    serde_json::from_str(&value.to_json_str().unwrap()).unwrap()
}

/// Monday 2026-01-05 09:07:42 UTC.
const MONDAY: Duration = Duration::from_secs(1_767_604_062);

#[test]
fn the_document_is_the_one_of_the_contract() {
    let subject = Subject::spiffe(workload("spiffe://example.org/prod/orders"));
    let local = local();
    let question = RequestQuestion {
        identity: IdentityQuestion {
            subject: &subject,
            address: Some([10, 1, 2, 3].into()),
            local: &local,
            now: UNIX_EPOCH + MONDAY,
        },
        protocol: "http",
        method: "POST",
        path: "/v1/charges",
        query: &[("a".into(), "1".into()), ("b".into(), "2".into()), ("a".into(), "3".into())],
        host: "billing",
        route: "charges",
        headers: &[("content-type", "application/json"), ("x", "1"), ("x", "2")],
        grpc: None,
        scopes_required: &["billing:write".into()],
        scopes: &["billing:write".into()],
        tenant: Some("acme"),
    };
    let expected = serde_json::json!({
        "version": 1,
        "peer": {
            "method": "spiffe", "spiffe_id": "spiffe://example.org/prod/orders",
            "trust_domain": "example.org", "path": "/prod/orders", "segments": ["prod", "orders"],
            "environment": "prod", "service": "orders",
            "subject": "spiffe://example.org/prod/orders", "issuer": null, "address": "10.1.2.3",
        },
        "local": {
            "spiffe_id": "spiffe://example.org/prod/billing", "environment": "prod",
            "service": "billing", "tenant": "acme", "direction": "inbound",
        },
        "time": {"unix_minute": 29_460_067, "weekday": "Monday", "hour": 9, "minute": 7},
        "request": {
            "protocol": "http", "method": "POST", "path": "/v1/charges",
            "segments": ["v1", "charges"], "query": {"a": ["1", "3"], "b": ["2"]},
            "host": "billing", "route": "charges",
            "headers": {"content-type": ["application/json"], "x": ["1", "2"]},
            "grpc": {"service": null, "method": null}, "scopes_required": ["billing:write"],
        },
        "grant": {"scopes": ["billing:write"], "tenant": "acme"},
    });
    assert_eq!(json(&whole(&question)), expected);
}

#[test]
fn what_is_unknown_is_null_and_never_absent() {
    let subject = Subject {
        method: "jwt",
        subject: "robot".into(),
        workload: None,
        issuer: Some("https://issuer".into()),
    };
    let local = Local { workload: None, ..local() };
    let question =
        IdentityQuestion { subject: &subject, address: None, local: &local, now: UNIX_EPOCH };
    let document = json(&identity(&question));
    assert_eq!(
        document["peer"],
        serde_json::json!({
            "method": "jwt", "spiffe_id": null, "trust_domain": null, "path": null, "segments": [],
            "environment": null, "service": null, "subject": "robot",
            "issuer": "https://issuer", "address": null,
        })
    );
    assert_eq!(document["local"]["spiffe_id"], serde_json::Value::Null);
    assert_eq!(document["time"]["weekday"], "Thursday");
}

#[test]
fn the_declared_fields_are_those_that_exist() {
    let subject = Subject::spiffe(workload("spiffe://example.org/a/b/c"));
    let local = local();
    let identity_question =
        IdentityQuestion { subject: &subject, address: None, local: &local, now: UNIX_EPOCH };
    let question = RequestQuestion {
        identity: identity_question,
        protocol: "grpc",
        method: "POST",
        path: "/a.B/C",
        query: &[],
        host: "",
        route: "r",
        headers: &[],
        grpc: Some(("a.B", "C")),
        scopes_required: &[],
        scopes: &[],
        tenant: None,
    };
    let names = |value: &serde_json::Value| -> Vec<String> {
        let mut names: Vec<_> =
            value.as_object().map_or_else(Vec::new, |it| it.keys().cloned().collect());
        names.sort();
        names
    };
    let document = json(&whole(&question));
    let declared: Vec<_> = IDENTITY_FIELDS.iter().chain(REQUEST_FIELDS).collect();
    for (name, fields) in &declared {
        assert_eq!(names(&document[name]), *fields, "{name}");
    }
    let mut all: Vec<_> = declared.iter().map(|(name, _)| (*name).to_owned()).collect();
    all.sort();
    assert_eq!(names(&document), all);
    assert_eq!(names(&json(&identity(&identity_question))), ["local", "peer", "time", "version"]);
}
