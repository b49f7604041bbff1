//! What of the demo can be known without running it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::folder::{self, Folder, Names};
use super::issuer::Issuer;
use super::report::{Form, Report, Row, brief, cut, render, render_skipped};
use super::sidecar::Figures;
use super::stage::{DATA, WORKLOADS};
use super::trail::{self, Trail};
use super::{
    attacks, cache, change, fallback, hand, issuer, ledger, load, orders, sidecar, stage, web,
};

fn denied() -> Value {
    json!({
        "time": "2026-11-21T04:44:19.000Z",
        "request_id": "demo-1",
        "decision": "deny",
        "reason": "insufficient_scope",
        "detail": null,
        "source": {"spiffe_id": "spiffe://example.org/demo/reports", "address": "127.0.0.1"},
        "tenant": "acme",
        "required_scopes": "orders:read",
        "held_scopes": "ledger:read",
    })
}

fn row(ok: bool) -> Row {
    Row {
        name: "reports  GET /orders/17".to_owned(),
        expected: "403 insufficient_scope".to_owned(),
        happened: if ok { "403 insufficient_scope" } else { "200 from orders" }.to_owned(),
        ok,
        why: trail::why(&denied()),
        audit: Some(("orders", denied())),
    }
}

#[test]
fn a_row_shows_what_was_tried_what_happened_why_and_the_line() {
    let text = render(&row(true), Form::Plain);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].starts_with("  ✓ reports  GET /orders/17"), "{text}");
    assert!(lines[0].contains("403 insufficient_scope"), "{text}");
    assert!(lines[0].ends_with("reports lacks orders:read"), "{text}");
    assert!(lines[1].starts_with("    orders: deny insufficient_scope · "), "{text}");
}

#[test]
fn a_row_that_failed_says_what_was_expected() {
    let text = render(&row(false), Form::Plain);
    assert!(text.starts_with("  ✗ "), "{text}");
    assert!(text.contains("expected 403 insufficient_scope, but 200 from orders"), "{text}");
}

#[test]
fn color_comes_only_in_the_colored_form() {
    assert!(render(&row(true), Form::Color).contains('\x1b'));
    assert!(!render(&row(true), Form::Plain).contains('\x1b'));
}

#[test]
fn what_a_peer_wrote_cannot_reach_the_terminal() {
    let mut row = row(true);
    row.happened = "\x1b[2J\r\n".to_owned();
    row.why = "\x07".to_owned();
    assert!(!render(&row, Form::Plain).trim_end().contains(['\x1b', '\r', '\x07']));
}

#[test]
fn one_failure_makes_the_whole_document_fail() {
    let mut report = Report::new(true);
    assert!(!report.ok(), "nothing shown is nothing proven");
    report.group("Refused").unwrap();
    report.add(row(true)).unwrap();
    assert!(report.ok());
    report.add(row(false)).unwrap();
    let document = report.document();
    assert_eq!(document["ok"], false);
    assert_eq!(document["rows"][0]["group"], "Refused");
    assert_eq!(document["rows"][0]["decided_by"], "orders");
    assert_eq!(document["rows"][1]["audit"]["request_id"], "demo-1");
}

#[test]
fn what_was_not_tried_is_neither_a_success_nor_a_failure() {
    let mut report = Report::new(true);
    report.skip("SVIDs rotate", "no time").unwrap();
    assert!(!report.ok(), "nothing shown is nothing proven");
    report.add(row(true)).unwrap();
    assert!(report.ok());
    let document = report.document();
    assert_eq!(document["rows"].as_array().unwrap().len(), 1);
    assert_eq!(
        document["skipped"][0],
        json!({"group": "", "name": "SVIDs rotate", "why": "no time"})
    );
    assert!(hand::closing(&report).contains("Not tried: 1."));

    let text = render_skipped("SVIDs rotate", "no time", Form::Plain);
    assert!(text.starts_with("  – SVIDs rotate") && text.contains("not tried"), "{text}");
    assert!(text.contains("no time") && !text.contains('✓'), "{text}");
}

#[test]
fn a_load_too_short_for_a_rotation_says_so() {
    let seconds = Duration::from_secs;
    assert_eq!(
        [2, 11, 12, 21, 22, 35].map(|it| load::rotations_in(seconds(it))),
        [0, 0, 1, 1, 2, 3]
    );
    let why = load::too_short(seconds(2));
    assert!(why.contains("ran 2 s") && why.contains("--for 12s"), "{why}");
    let mut report = Report::new(true);
    report.summarize(json!({"rotations": 0, "requests": 5}));
    report.summarize(json!({"fallback": {"requests": 7}}));
    let said = hand::closing(&report);
    assert!(said.contains("no time for a rotation · 5 calls"), "{said}");
    assert!(said.contains("7 calls") && !said.contains("0 rotations"), "{said}");
}

proptest! {
    #[test]
    fn no_line_of_a_row_is_wider_than_the_table(name in ".{0,80}", happened in ".{0,80}") {
        let text = render(&Row { name, happened, ..row(true) }, Form::Plain);
        prop_assert!(text.lines().all(|line| line.chars().count() <= 100), "{}", text);
        prop_assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn a_cut_is_no_longer_than_asked(text in ".*", width in 1_usize..60) {
        prop_assert!(cut(&text, width).chars().count() <= width);
    }

    #[test]
    fn the_cache_answers_any_line(line in "[^\n]{0,80}") {
        prop_assert!(!cache::answer(&line, &mut BTreeMap::new()).contains('\n'));
    }

    #[test]
    fn a_percentile_is_one_of_the_values(mut values in prop::collection::vec(0_u64..1000, 1..50)) {
        values.sort_unstable();
        let times: Vec<_> = values.iter().copied().map(Duration::from_millis).collect();
        for percent in [1, 50, 99, 100] {
            prop_assert!(times.contains(&load::percentile(&times, percent)));
        }
        prop_assert_eq!(load::percentile(&times, 100), *times.last().unwrap());
    }
}

#[test]
fn a_percentile_of_nothing_is_nothing() {
    assert_eq!(load::percentile(&[], 99), Duration::ZERO);
}

#[test]
fn the_shortened_line_says_what_was_decided_about_whom() {
    let line = "deny insufficient_scope · example.org/demo/reports · acme · holds ledger:read";
    assert_eq!(trail::shortened(&denied()), line);
    let stranger = json!({
        "decision": "deny",
        "reason": "unauthenticated",
        "detail": "the peer does not speak TLS (not_tls)",
        "source": {"spiffe_id": null, "address": "127.0.0.1:5"},
    });
    let line = "deny unauthenticated · the peer does not speak TLS (not_tls)";
    assert_eq!(trail::shortened(&stranger), line);
    assert_eq!(brief(&trail::why(&stranger)), "not_tls");
}

#[test]
fn a_caller_without_an_svid_is_named_by_its_token() {
    let line = json!({
        "decision": "allow",
        "reason": "allowed",
        "required_scopes": "orders:read",
        "source": {"spiffe_id": null, "method": "jwt", "subject": "courier", "issuer": "https://issuer.demo.test"},
        "policy_revision": "b7c9",
    });
    assert_eq!(
        trail::shortened(&line),
        "allow · courier by token of issuer.demo.test · policy b7c9"
    );
    assert_eq!(trail::why(&line), "courier holds orders:read");
}

#[test]
fn figures_are_added_up_by_name_and_labels() {
    let figures = Figures(
        "# TYPE a counter\na_total{listener=\"x\",to=\"jwt\"} 1\na_total{listener=\"y\",to=\"jwt\"} 2\n\
         a_total{listener=\"x\",to=\"spiffe\"} 4\na_totals 8\nb 16\n# EOF\n"
            .to_owned(),
    );
    assert_eq!(figures.sum("a_total", &[]), 7);
    assert_eq!(figures.sum("a_total", &["listener=\"x\"", "to=\"jwt\""]), 1);
    assert_eq!((figures.sum("b", &[]), figures.sum("c", &[])), (16, 0));
}

#[test]
fn a_note_of_the_readiness_is_found_by_its_code() {
    let reply = |body: Value| web::Reply {
        status: 200,
        headers: HeaderMap::new(),
        body: body.to_string().into(),
    };
    let noted = reply(json!({"ready": true, "notes": [{"code": "a"}, {"code": "b"}]}));
    assert_eq!(fallback::notes(&noted).into_iter().collect::<Vec<_>>(), ["a", "b"]);
    assert!(fallback::notes(&reply(json!({"ready": true}))).is_empty());
}

#[tokio::test]
async fn a_trail_yields_whole_lines_after_the_mark_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let trail = Trail::new(path.clone());
    assert!(trail.since(trail.mark()).unwrap().is_empty(), "no file yet");

    std::fs::write(&path, "{\"n\":1}\n").unwrap();
    let mark = trail.mark();
    std::fs::write(&path, "{\"n\":1}\n{\"n\":2}\nno json\n[3]\n{\"n\":4").unwrap();
    let lines = trail.matching(mark, 1, |_| true).await.unwrap();
    assert_eq!(lines, [json!({"n": 2})]);
}

#[test]
fn every_name_in_a_configuration_gets_a_value_and_no_port_twice() {
    let mut names = Names::default();
    names.set("FOLDER", "/tmp/demo");
    names.find_ports(WORKLOADS.map(|(_, _, text)| text)).unwrap();
    let mut ports = BTreeMap::new();
    for (workload, _, text) in WORKLOADS {
        assert!(!names.fill(text).contains("${"), "{workload}");
        for name in folder::names(text).filter(|name| *name != "FOLDER") {
            ports.insert(name, names.port(name).unwrap());
        }
    }
    let distinct: std::collections::BTreeSet<_> = ports.values().collect();
    assert_eq!(distinct.len(), ports.len());
    assert!(names.port("NOWHERE").is_err());
}

#[tokio::test]
async fn what_the_sidecars_are_given_is_valid() {
    let folder = Folder::create().unwrap();
    let mut names = Names::default();
    names.set("FOLDER", folder.path().display());
    names.find_ports(WORKLOADS.map(|(_, _, text)| text)).unwrap();
    stage::write_files(&folder, &names).unwrap();
    let _issuer = Issuer::start(folder.path()).unwrap();
    for (name, _, _) in WORKLOADS {
        let loaded = crate::config::load(&sidecar::config(folder.path(), name));
        assert!(loaded.is_ok(), "{name}: {:?}", loaded.err());
    }
    crate::policy::load(&folder.policies()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn tokens_and_keys_are_private_and_the_token_is_renewed() {
    let folder = Folder::create().unwrap();
    let issuer = Issuer::start(folder.path()).unwrap();
    let token = folder.path().join("courier.token");
    for name in ["courier.token", "orders.key", "ledger.key"] {
        let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let first = std::fs::read_to_string(&token).unwrap();
    tokio::time::sleep(issuer::RENEWED_EVERY * 3 / 2).await;
    let second = std::fs::read_to_string(&token).unwrap();
    assert_ne!(first, second);
    drop(issuer);
    tokio::time::sleep(issuer::RENEWED_EVERY * 3).await;
    assert_eq!(std::fs::read_to_string(&token).unwrap(), second, "nobody renews it any more");
}

#[tokio::test]
async fn a_forged_token_names_the_key_that_signs_true_ones() {
    let folder = Folder::create().unwrap();
    let issuer = Issuer::start(folder.path()).unwrap();
    let true_one = std::fs::read_to_string(folder.path().join("courier.token")).unwrap();
    let forged = issuer.forged().unwrap();
    let head = |token: &str| token.split('.').next().unwrap().to_owned();
    assert_eq!(head(&true_one), head(forged.expose()), "the same key is named");
}

#[test]
fn the_folder_is_private_and_goes_with_its_owner() {
    let folder = Folder::create().unwrap();
    let path = folder.path().to_owned();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    drop(folder);
    assert!(!path.exists());
}

#[test]
fn the_digest_of_a_client_certificate_is_found() {
    let mut headers = HeaderMap::new();
    assert_eq!(orders::client_digest(&headers), None);
    let value = HeaderValue::from_static("By=spiffe://a/b;Hash=0a1b;URI=spiffe://a/c");
    headers.insert("x-forwarded-client-cert", value);
    assert_eq!(orders::client_digest(&headers).as_deref(), Some("0a1b"));
}

#[test]
fn the_edit_grants_one_scope_and_changes_nothing_else() {
    let before: Value = serde_json::from_str(DATA).unwrap();
    let mut after: Value = serde_json::from_str(&change::with_grant().unwrap()).unwrap();
    let scopes = after.pointer_mut("/services/reports/scopes").unwrap().as_array_mut().unwrap();
    assert_eq!(scopes.pop(), Some(json!("orders:read")));
    assert_eq!(after, before);
}

#[tokio::test]
async fn the_services_answer_callers_without_any_sidecar() {
    let service = orders::Orders::start().await.unwrap();
    let reply = web::get(service.address.port(), "/orders/17", "a").await.unwrap();
    assert_eq!((reply.status, service.reached()), (200, 1));
    web::get(service.address.port(), "/orders/17", "demo-1").await.unwrap();
    assert!(service.was_asked("demo-1") && !service.was_asked("demo-2"));
    assert_eq!(reply.json()["headers"]["x-request-id"], json!(["a"]));

    let service = ledger::Ledger::start().await.unwrap();
    let client = ledger::Client::connect(service.address.port()).await.unwrap();
    assert_eq!(client.balance("a").await.unwrap(), 4_200);
    assert_eq!(client.balance_told("a").await.unwrap(), (4_200, None), "no sidecar, no proof");
    let streamed = client.watch("b").await.unwrap();
    assert_eq!((streamed.cents.len(), streamed.sum), (5, Some(1_500)));
    let streamed = client.post("c", &[100, 200, 300]).await.unwrap();
    assert_eq!((streamed.cents.as_slice(), streamed.sum), (&[100, 300, 600][..], Some(600)));
    assert_eq!(service.reached(), 4);

    let service = cache::Cache::start().await.unwrap();
    let heard = cache::call(service.address.port(), "SET a b c\nGET a\nGET b\n?\n").await.unwrap();
    assert_eq!(heard, "OK\nb c\nNIL\nERR\nBYE\n");
    assert_eq!(service.reached(), 1);
}

fn arrived() -> Value {
    json!({"headers": {
        "x-sidegate-subject": ["spiffe://example.org/demo/shop"],
        "x-sidegate-tenant": ["acme"],
        "x-sidegate-scopes": ["cache:use ledger:read orders:read"],
        "x-sidegate-method": ["spiffe"],
        "x-forwarded-client-cert": ["By=spiffe://example.org/demo/orders;Hash=ab;URI=spiffe://example.org/demo/shop"],
    }})
}

#[test]
fn a_lie_that_arrives_is_noticed() {
    assert_eq!(attacks::believed(&arrived()), None);
    assert!(attacks::believed(&Value::Null).is_some());
    for (name, lie) in [
        ("x-sidegate-tenant", json!(["umbrella"])),
        ("x-sidegate-tenant", json!(["acme", "umbrella"])),
        ("x-sidegate-scopes", json!(["orders:read *:*"])),
        ("x_sidegate_scopes", json!(["*:*"])),
        ("x-sidegate-subject", json!([])),
        ("x-forwarded-client-cert", json!(["URI=spiffe://example.org/demo/admin"])),
    ] {
        let mut arrived = arrived();
        arrived["headers"][name] = lie;
        let noticed = attacks::believed(&arrived).unwrap();
        assert!(noticed.starts_with(name), "{noticed}");
    }
}
