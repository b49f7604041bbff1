//! What a line looks like to whoever reads it.

use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

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
}
