//! What a report says of many identities, and what it forgets.

use std::time::{Duration, UNIX_EPOCH};

use super::*;

fn shadowing() -> Shadowing {
    let routes = vec![Arc::from("orders"), Arc::from("charges")];
    Shadowing::start(vec![ShadowedListener { name: "https".into(), routes }]).unwrap()
}

fn key(subject: &str, allows: bool) -> Key {
    Key { listener: 0, route: Some(1), subject: subject.into(), issuer: None, allows }
}

fn differs(revision: &str, reason: &'static str) -> Differs {
    let detail = Some("held: `a:b`".to_owned());
    Differs { allows: false, reason, detail, revision: revision.into() }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn note(worker: &ShadowWorker, key: Key, differs: &Differs, now: SystemTime) {
    worker.tally.differences().note(key, "spiffe", differs, now);
}

#[test]
fn what_several_workers_saw_of_one_identity_is_added_up() {
    let shadowing = shadowing();
    let (one, other) = (shadowing.worker(), shadowing.worker());
    note(&one, key("orders", false), &differs("r1", "insufficient_scope"), at(10));
    note(&other, key("orders", false), &differs("r1", "policy_denied"), at(5));
    note(&other, key("orders", false), &differs("r1", "tenant_mismatch"), at(30));
    note(&one, key("shop", false), &differs("r1", "policy_denied"), at(20));

    let report = shadowing.report();
    assert_eq!(report.policy_revision.as_deref(), Some("r1"));
    let [orders, shop] = report.differences.as_slice() else { panic!("{report:#?}") };
    assert_eq!((&*orders.subject, orders.count), ("orders", 3));
    assert_eq!((orders.first, orders.last, orders.reason), (at(5), at(30), "tenant_mismatch"));
    assert_eq!(
        (&*orders.listener, &*orders.route, orders.outcome),
        ("https", "charges", "would_deny")
    );
    assert_eq!((&*shop.subject, shop.count), ("shop", 1));
}

#[test]
fn decisions_are_counted_by_route_and_those_without_one_apart() {
    let shadowing = shadowing();
    let (one, other) = (shadowing.worker(), shadowing.worker());
    one.same(0, Some(1));
    other.same(0, Some(1));
    one.skipped(0, None);
    one.skipped(7, Some(1));
    let count = |route: &str, outcome, count| ShadowCount {
        listener: "https".into(),
        route: route.into(),
        outcome,
        count,
    };
    assert_eq!(shadowing.counts(), [count("charges", "same", 2), count("", "skipped", 1)]);
}

#[test]
fn another_revision_of_the_shadow_policy_begins_anew() {
    let shadowing = shadowing();
    let (one, other) = (shadowing.worker(), shadowing.worker());
    note(&one, key("orders", false), &differs("r1", "policy_denied"), at(10));
    note(&other, key("orders", false), &differs("r1", "policy_denied"), at(11));
    note(&one, key("shop", false), &differs("r2", "policy_denied"), at(20));
    let report = shadowing.report();
    assert_eq!(report.policy_revision.as_deref(), Some("r2"));
    let subjects: Vec<_> = report.differences.iter().map(|it| &*it.subject).collect();
    assert_eq!(subjects, ["shop"], "what a worker still says of the one before is left out");
}

#[test]
fn those_who_were_silent_for_longest_make_place_and_are_counted() {
    let shadowing = shadowing();
    let worker = shadowing.worker();
    let denied = differs("r1", "policy_denied");
    for number in 0..DIFFERENCES_MAX {
        note(&worker, key(&number.to_string(), false), &denied, at(number as u64));
    }
    note(&worker, key("0", false), &denied, at(5_000));
    note(&worker, key("new", false), &denied, at(5_001));
    let report = shadowing.report();
    assert_eq!((report.differences.len(), report.forgotten), (DIFFERENCES_MAX, 1));
    let has = |subject: &str| report.differences.iter().any(|it| &*it.subject == subject);
    assert!(has("0") && has("new") && !has("1"));
}

#[test]
fn a_report_is_json_with_times_as_people_write_them() {
    let shadowing = shadowing();
    let worker = shadowing.worker();
    let long = "ä".repeat(TEXT_MAX);
    let differs = Differs { detail: Some(long), ..differs("r1", "policy_denied") };
    note(&worker, key("orders", true), &differs, at(1_795_254_000));
    let json = serde_json::to_value(shadowing.report()).unwrap();
    let difference = &json["differences"][0];
    assert_eq!(difference["first"], "2026-11-21T09:40:00.000Z");
    assert_eq!(difference["outcome"], "would_allow");
    let detail = difference["detail"].as_str().unwrap();
    assert!(detail.ends_with('…') && detail.len() <= TEXT_MAX + 3, "{detail}");
}
