//! What is read of a log, whatever stands in it.

use std::io::Cursor;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

struct Nowhere;

impl Routing for Nowhere {
    fn find(&self, _line: &Line<'_>) -> (u32, u32) {
        (0, 0)
    }
}

/// Gives a few bytes at a time.
struct Slow<'b>(&'b [u8], usize);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.0.len().min(self.1).min(buffer.len());
        let (now, later) = self.0.split_at(length);
        buffer[..length].copy_from_slice(now);
        self.0 = later;
        Ok(length)
    }
}

fn line(request_id: &str, time: &str) -> Value {
    json!({
        "time": time, "request_id": request_id, "direction": "inbound", "listener": "https",
        "protocol": "http", "decision": "allow", "reason": "allowed", "detail": null,
        "source": {
            "spiffe_id": "spiffe://example.org/prod/orders", "trust_domain": "example.org",
            "method": "spiffe", "subject": null, "issuer": null, "token": null,
            "address": "10.1.2.3:40112", "serial": "0a1b",
        },
        "destination": null, "local": null, "tenant": "acme", "cross_tenant": false,
        "route": "GET /orders", "required_scopes": "orders:read", "held_scopes": "orders:read",
        "roles": [], "method": "GET", "path": "/orders", "policy_revision": "9c41e0",
    })
}

fn reading(text: &[u8], wanted: Wanted, span: Span) -> Reading {
    let mut logs: Vec<Box<dyn Read>> = vec![Box::new(Cursor::new(text.to_vec()))];
    read(&mut logs, span, wanted, &Nowhere).unwrap()
}

fn joined(lines: &[Value]) -> Vec<u8> {
    lines.iter().map(|line| format!("{line}\n")).collect::<String>().into_bytes()
}

#[test]
fn decisions_on_the_same_facts_are_counted_with_first_and_last() {
    let mut lines: Vec<Value> = (0..5)
        .map(|at| line(&format!("r{at}"), &format!("2026-11-21T09:4{}:00.000Z", (at + 3) % 5)))
        .collect();
    lines[1]["source"]["address"] = json!("10.9.9.9:1");
    lines[1]["source"]["serial"] = json!("ff");
    let reading = reading(&joined(&lines), Wanted::default(), Span::default());
    let tallies: Vec<&Tally> = reading.facts.values().collect();
    let [tally] = *tallies else { panic!("{reading:?}") };
    assert_eq!((tally.count, &*tally.request_id), (5, "r2"));
    assert_eq!(tally.last - tally.first, 4 * 60_000);
}

#[test]
fn facts_are_told_apart_where_that_is_asked_for() {
    let mut lines = vec![line("a", "2026-11-21T09:40:00Z"), line("b", "2026-11-21T09:41:00Z")];
    lines[1]["source"]["serial"] = json!("ff");
    let count = |wanted| reading(&joined(&lines), wanted, Span::default()).facts.len();
    assert_eq!(count(Wanted::default()), 1);
    assert_eq!(count(Wanted { minute: true, ..Wanted::default() }), 2);
    assert_eq!(count(Wanted { serial: true, ..Wanted::default() }), 2);
}

#[test]
fn a_decision_counts_once_where_the_shadow_policy_answered_later() {
    let (first, mut second) =
        (line("r1", "2026-11-21T09:40:00.000Z"), line("r1", "2026-11-21T09:40:00.004Z"));
    second["shadow"] = json!({
        "decision": "deny", "reason": "policy_denied", "detail": "request: frozen",
        "policy_revision": "5d0a11", "late": true,
    });
    let mut at_once = line("r2", "2026-11-21T09:40:01.000Z");
    at_once["shadow"] = json!({ "decision": "deny", "reason": "no_route", "detail": null });
    let text = joined(&[first, second, at_once]);
    let reading = reading(&text, Wanted::default(), Span::default());
    assert_eq!(reading.facts.values().map(|tally| tally.count).sum::<u64>(), 2);
    assert_eq!(reading.passed_over.values().sum::<u64>(), 1);
}

#[test]
fn what_says_nothing_about_us_is_counted_and_passed_over() {
    let mut outbound = line("a", "2026-11-21T09:40:00Z");
    outbound["direction"] = json!("outbound");
    let mut odd = line("a", "2026-11-21T09:40:00Z");
    odd["time"] = json!("yesterday");
    let mut text = joined(&[outbound, json!({"level": "info", "message": "up"}), odd]);
    text.extend(b"not json\n\n{\"decision\": 1}\n\xff\xfe\n");
    let reading = reading(&text, Wanted::default(), Span::default());
    assert_eq!(reading.lines, 6);
    assert_eq!(reading.malformed, 4);
    assert_eq!(reading.first_malformed, [3, 4, 6, 7]);
    let passed: Vec<_> = reading.passed_over.into_iter().collect();
    assert_eq!(passed, [("no audit line of ours", 1), ("on the way out", 1)]);
}

#[test]
fn a_span_of_time_begins_with_its_first_moment_and_ends_before_its_last() {
    let lines: Vec<Value> =
        (0..4).map(|at| line("a", &format!("2026-11-21T09:40:0{at}Z"))).collect();
    let at = |text| milliseconds(&Text(std::borrow::Cow::Borrowed(text))).map(instant);
    let span = Span { since: at("2026-11-21T09:40:01Z"), until: at("2026-11-21T09:40:03Z") };
    let reading = reading(&joined(&lines), Wanted::default(), span);
    assert_eq!(reading.facts.values().map(|tally| tally.count).sum::<u64>(), 2);
    assert_eq!(reading.passed_over.get("outside the span of time"), Some(&2));
}

#[test]
fn a_line_without_end_is_one_malformed_line_and_the_next_is_read() {
    let good = joined(&[line("a", "2026-11-21T09:40:00Z")]);
    for length in [LINE_MAX + 1, PART_BYTES - 10, PART_BYTES, 3 * PART_BYTES + 7] {
        let mut text = good.clone();
        text.extend(vec![b'x'; length]);
        text.push(b'\n');
        text.extend(&good);
        let reading = reading(&text, Wanted::default(), Span::default());
        let read = reading.facts.values().map(|tally| tally.count).sum::<u64>();
        assert_eq!((read, reading.malformed), (2, 1), "{length}");
        assert_eq!(reading.first_malformed, [2], "{length}");
    }
}

#[test]
fn lines_are_numbered_through_all_logs() {
    let good = joined(&[line("a", "2026-11-21T09:40:00Z")]);
    let good = good.trim_ascii_end().to_vec();
    let mut logs: Vec<Box<dyn Read>> = vec![
        Box::new(Cursor::new(good.clone())),
        Box::new(Cursor::new(b"broken\n".to_vec())),
        Box::new(Cursor::new(good)),
    ];
    let reading = read(&mut logs, Span::default(), Wanted::default(), &Nowhere).unwrap();
    assert_eq!((reading.lines, reading.first_malformed), (3, vec![2]));
}

proptest! {
    #[test]
    fn every_line_is_counted_once_however_the_bytes_come(
        kinds in prop::collection::vec(0..4_u8, 0..40),
        step in 1..5_000_usize,
        ends in any::<bool>(),
    ) {
        let good = line("a", "2026-11-21T09:40:00Z").to_string();
        let long = "y".repeat(LINE_MAX + 1);
        let lines: Vec<&str> = kinds
            .iter()
            .map(|kind| match kind { 0 => &*good, 1 => "{}", 2 => "", _ => &*long })
            .collect();
        let text = lines.join("\n") + if ends { "\n" } else { "" };
        let mut logs: Vec<Box<dyn Read + '_>> = vec![Box::new(Slow(text.as_bytes(), step))];
        let reading = read(&mut logs, Span::default(), Wanted::default(), &Nowhere).unwrap();
        let of = |kind| kinds.iter().filter(|it| **it == kind).count() as u64;
        prop_assert_eq!(reading.facts.values().map(|it| it.count).sum::<u64>(), of(0));
        prop_assert_eq!(reading.malformed, of(3));
        prop_assert_eq!(reading.passed_over.values().sum::<u64>(), of(1));
        prop_assert_eq!(reading.lines, of(0) + of(1) + of(3));
    }

    #[test]
    fn no_bytes_bring_it_down(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let lines = bytes.split(|byte| *byte == b'\n').filter(|it| !it.trim_ascii().is_empty());
        let expected = lines.count() as u64;
        let reading = reading(&bytes, Wanted::default(), Span::default());
        prop_assert_eq!(reading.lines, expected);
    }
}
