//! What a line looks like to whoever reads it.

use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use serde::Serialize;

use super::super::super::Rfc3339;
use super::*;

pub(in super::super) fn record<'a>() -> Record<'a> {
    Record {
        time: UNIX_EPOCH + Duration::from_millis(1_795_254_000_042),
        request_id: "4f1c2a9b",
        direction: Direction::Inbound,
        listener: "https",
        protocol: Protocol::Grpc,
        decision: Decision::Deny,
        reason: "insufficient_scope",
        detail: None,
        source: Source {
            spiffe_id: Some("spiffe://penguintech.io/prod/orders"),
            trust_domain: Some("penguintech.io"),
            method: Some("spiffe"),
            subject: None,
            issuer: None,
            token: None,
            address: Some("10.1.2.3:40112"),
            serial: Some("0a1b"),
        },
        destination: None,
        local: Some("spiffe://penguintech.io/prod/billing"),
        tenant: Some("acme"),
        cross_tenant: false,
        route: Some("charges"),
        required_scopes: Some("billing:write"),
        held_scopes: Some("billing:read orders:read"),
        roles: &[],
        method: Some("POST"),
        path: Some("/v1/charges"),
        policy_revision: Some("9c41e0"),
        again: false,
        shadow: None,
    }
}

fn line(record: &Record<'_>) -> String {
    let mut bytes = Vec::new();
    record.append_to(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// The fields of a record as serde writes them, which is what a line has to be.
#[derive(Serialize)]
struct Plain<'a> {
    time: String,
    request_id: &'a str,
    direction: Direction,
    listener: &'a str,
    protocol: Protocol,
    decision: Decision,
    reason: &'a str,
    detail: Option<&'a str>,
    source: PlainSource<'a>,
    destination: Option<&'a str>,
    local: Option<&'a str>,
    tenant: Option<&'a str>,
    cross_tenant: bool,
    route: Option<&'a str>,
    required_scopes: Option<&'a str>,
    held_scopes: Option<&'a str>,
    roles: Vec<&'a str>,
    method: Option<&'a str>,
    path: Option<&'a str>,
    policy_revision: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    again: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    shadow: Option<PlainShadow<'a>>,
}

#[derive(Serialize)]
struct PlainSource<'a> {
    spiffe_id: Option<&'a str>,
    trust_domain: Option<&'a str>,
    method: Option<&'a str>,
    subject: Option<&'a str>,
    issuer: Option<&'a str>,
    token: Option<&'a str>,
    address: Option<&'a str>,
    serial: Option<&'a str>,
}

#[derive(Serialize)]
struct PlainShadow<'a> {
    decision: Decision,
    reason: &'a str,
    detail: Option<&'a str>,
    policy_revision: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    late: bool,
}

fn plain(record: &Record<'_>) -> String {
    let source = &record.source;
    let plain = Plain {
        time: Rfc3339(record.time).to_string(),
        request_id: record.request_id,
        direction: record.direction,
        listener: record.listener,
        protocol: record.protocol,
        decision: record.decision,
        reason: record.reason,
        detail: record.detail,
        source: PlainSource {
            spiffe_id: source.spiffe_id,
            trust_domain: source.trust_domain,
            method: source.method,
            subject: source.subject,
            issuer: source.issuer,
            token: source.token,
            address: source.address,
            serial: source.serial,
        },
        destination: record.destination,
        local: record.local,
        tenant: record.tenant,
        cross_tenant: record.cross_tenant,
        route: record.route,
        required_scopes: record.required_scopes,
        held_scopes: record.held_scopes,
        roles: record.roles.iter().map(|role| &**role).collect(),
        method: record.method,
        path: record.path,
        policy_revision: record.policy_revision,
        again: record.again,
        shadow: record.shadow.map(|shadow| PlainShadow {
            decision: shadow.decision,
            reason: shadow.reason,
            detail: shadow.detail,
            policy_revision: shadow.policy_revision,
            late: shadow.late,
        }),
    };
    serde_json::to_string(&plain).unwrap() + "\n"
}

#[test]
fn every_word_of_a_line_is_the_one_that_serde_writes() {
    for direction in [Direction::Inbound, Direction::Outbound] {
        let record = Record { direction, ..record() };
        assert_eq!(line(&record), plain(&record));
    }
    for decision in [Decision::Allow, Decision::Deny] {
        let record = Record { decision, ..record() };
        assert_eq!(line(&record), plain(&record));
    }
    use Protocol::{Grpc, Http, Tcp, Tls, Websocket};
    for protocol in [Http, Grpc, Websocket, Tcp, Tls] {
        let record = Record { protocol, ..record() };
        assert_eq!(line(&record), plain(&record));
    }
}

#[test]
fn a_record_is_one_line_of_json_in_a_fixed_order() {
    let expected = concat!(
        r#"{"time":"2026-11-21T09:40:00.042Z","request_id":"4f1c2a9b","direction":"inbound","#,
        r#""listener":"https","protocol":"grpc","decision":"deny","reason":"insufficient_scope","#,
        r#""detail":null,"source":{"spiffe_id":"spiffe://penguintech.io/prod/orders","#,
        r#""trust_domain":"penguintech.io","method":"spiffe","subject":null,"issuer":null,"token":null,"#,
        r#""address":"10.1.2.3:40112","#,
        r#""serial":"0a1b"},"destination":null,"local":"spiffe://penguintech.io/prod/billing","tenant":"acme","#,
        r#""cross_tenant":false,"route":"charges","required_scopes":"billing:write","#,
        r#""held_scopes":"billing:read orders:read","roles":[],"method":"POST","path":"/v1/charges","#,
        r#""policy_revision":"9c41e0"}"#,
        "\n"
    );
    assert_eq!(line(&record()), expected);
}

#[test]
fn what_ends_something_that_was_let_in_says_so() {
    let line = line(&Record { again: true, ..record() });
    assert!(line.trim_end().ends_with(r#","policy_revision":"9c41e0","again":true}"#), "{line}");
}

#[test]
fn what_the_shadow_policy_would_have_done_stands_at_the_end() {
    let shadow = Shadow {
        decision: Decision::Allow,
        reason: "allowed",
        detail: None,
        policy_revision: "5d0a11",
        late: false,
    };
    let end = r#","policy_revision":"9c41e0","shadow":{"decision":"allow","reason":"allowed","detail":null,"policy_revision":"5d0a11"}}"#;
    let first = line(&Record { shadow: Some(shadow), ..record() });
    assert!(first.trim_end().ends_with(end), "{first}");
    let again = line(&Record { shadow: Some(Shadow { late: true, ..shadow }), ..record() });
    assert!(again.trim_end().ends_with(r#""policy_revision":"5d0a11","late":true}}"#), "{again}");
}

#[test]
fn a_long_value_is_cut_at_a_character_and_says_so() {
    let long = "ä".repeat(2000);
    let line = line(&Record { path: Some(&long), ..record() });
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["path"].as_str().unwrap(), format!("{}…", "ä".repeat(1024)));
}

#[test]
fn a_clock_before_1970_or_after_9999_still_gives_a_line() {
    for time in [UNIX_EPOCH - Duration::from_secs(1), UNIX_EPOCH + Duration::from_secs(1 << 40)] {
        let line = line(&Record { time, ..record() });
        assert!(line.starts_with(r#"{"time":"1970-01-01T00:00:00.000Z""#), "{line}");
    }
}

#[test]
fn nothing_is_left_of_the_heap_once_the_buffer_has_grown() {
    let mut bytes = Vec::with_capacity(4096);
    let before = bytes.as_ptr();
    for _ in 0..10 {
        bytes.clear();
        record().append_to(&mut bytes).unwrap();
    }
    assert_eq!(bytes.as_ptr(), before);
}

proptest! {
    #[test]
    fn whatever_a_caller_sends_stays_inside_its_value_and_its_line(
        path in "\\PC{0,40}|[\\x00-\\x7f]{0,40}",
        seconds in 0u64..253_402_300_799,
        milliseconds in 0u32..1000,
    ) {
        let time = UNIX_EPOCH + Duration::new(seconds, milliseconds * 1_000_000);
        let line = line(&Record { path: Some(&path), reason: &path, time, ..record() });
        prop_assert_eq!(line.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(value["path"].as_str().unwrap(), &path);
        prop_assert_eq!(value["decision"].as_str().unwrap(), "deny");
        let shown = value["time"].as_str().unwrap();
        let parsed = time::OffsetDateTime::parse(
            shown,
            &time::format_description::well_known::Rfc3339,
        ).unwrap();
        prop_assert_eq!(SystemTime::from(parsed), time);
    }

    #[test]
    fn a_line_is_what_serde_makes_of_its_fields(
        texts in prop::collection::vec(prop::option::of("\\PC{0,30}|[\\x00-\\x7f]{0,30}"), 26),
        roles in prop::collection::vec("[\\x00-\\x7f]{0,8}", 0..3),
        (cross_tenant, again, late, allowed) in any::<(bool, bool, bool, bool)>(),
    ) {
        let roles: Vec<Arc<str>> = roles.into_iter().map(Arc::from).collect();
        let mut texts = texts.iter().map(Option::as_deref);
        let mut next = || texts.next().flatten();
        let decision = if allowed { Decision::Allow } else { Decision::Deny };
        let shadow = next().map(|reason| {
            let policy_revision = next().unwrap_or_default();
            Shadow { decision, reason, detail: next(), policy_revision, late }
        });
        let record = Record {
            request_id: next().unwrap_or_default(),
            listener: next().unwrap_or_default(),
            decision,
            reason: next().unwrap_or_default(),
            detail: next(),
            source: Source {
                spiffe_id: next(),
                trust_domain: next(),
                method: next(),
                subject: next(),
                issuer: next(),
                token: next(),
                address: next(),
                serial: next(),
            },
            destination: next(),
            local: next(),
            tenant: next(),
            cross_tenant,
            route: next(),
            required_scopes: next(),
            held_scopes: next(),
            roles: &roles,
            method: next(),
            path: next(),
            policy_revision: next(),
            again,
            shadow,
            ..record()
        };
        prop_assert_eq!(line(&record), plain(&record));
    }
}
