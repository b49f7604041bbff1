//! What Prometheus sees.

use std::time::{Duration, UNIX_EPOCH};

use super::*;

fn metrics() -> Metrics {
    let listener = |name: &str, direction| ListenerLabel { name: name.to_owned(), direction };
    Metrics::new(
        Labels {
            listeners: vec![
                listener("https", Direction::Inbound),
                listener("ledger", Direction::Outbound),
            ],
            outcomes: &["allowed", "no_route"],
            handshake_codes: &["expired"],
            agent_states: &["starting", "fresh"],
            version: "1.2.3",
        },
        UNIX_EPOCH + Duration::from_secs(77),
    )
}

#[track_caller]
fn assert_has(text: &str, line: &str) {
    assert!(text.lines().any(|it| it == line), "no `{line}` in\n{text}");
}

#[test]
fn what_several_workers_counted_is_added_up() {
    let metrics = metrics();
    let (one, other) = (metrics.worker(), metrics.worker());
    one.request(0, metrics.outcome("allowed"), Duration::from_millis(3));
    other.request(0, metrics.outcome("allowed"), Duration::from_secs(60));
    other.request(1, metrics.outcome("no_route"), Duration::from_micros(250));
    one.decision(0, Duration::from_micros(4));
    one.bytes(0, Flow::Received, 10);
    other.bytes(0, Flow::Received, 5);
    one.connection(0, ConnectionResult::Accepted);
    one.connection(0, ConnectionResult::HandshakeFailed);
    one.handshake_failure(0, metrics.handshake_code("expired"));
    one.upstream(1, UpstreamResult::Identity);
    one.grant_hit();
    other.grant_hit();
    one.grant_miss();

    let text = metrics.encode().unwrap();
    for line in [
        r#"sidegate_requests_total{listener="https",direction="inbound",outcome="allowed"} 2"#,
        r#"sidegate_requests_total{listener="https",direction="inbound",outcome="no_route"} 0"#,
        r#"sidegate_requests_total{listener="ledger",direction="outbound",outcome="no_route"} 1"#,
        r#"sidegate_request_duration_seconds_bucket{le="0.0025",listener="https"} 0"#,
        r#"sidegate_request_duration_seconds_bucket{le="0.005",listener="https"} 1"#,
        r#"sidegate_request_duration_seconds_bucket{le="30.0",listener="https"} 1"#,
        r#"sidegate_request_duration_seconds_bucket{le="+Inf",listener="https"} 2"#,
        r#"sidegate_request_duration_seconds_bucket{le="0.00025",listener="ledger"} 1"#,
        r#"sidegate_request_duration_seconds_count{listener="https"} 2"#,
        r#"sidegate_request_duration_seconds_sum{listener="https"} 60.003"#,
        r#"sidegate_decision_duration_seconds_bucket{le="0.000005",listener="https"} 1"#,
        r#"sidegate_bytes_total{listener="https",flow="received"} 15"#,
        r#"sidegate_connections_total{listener="https",result="accepted"} 1"#,
        r#"sidegate_connections_total{listener="https",result="handshake_failed"} 1"#,
        r#"sidegate_handshake_failures_total{listener="https",code="expired"} 1"#,
        r#"sidegate_upstream_connections_total{listener="ledger",result="identity"} 1"#,
        "sidegate_grant_cache_hits_total 2",
        "sidegate_grant_cache_misses_total 1",
        "process_start_time_seconds 77",
        r#"sidegate_build_info{version="1.2.3"} 1"#,
    ] {
        assert_has(&text, line);
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn an_unknown_code_is_counted_as_other_and_an_unknown_listener_not_at_all() {
    let metrics = metrics();
    let worker = metrics.worker();
    assert!(!metrics.encode().unwrap().contains("\"other\""));
    worker.request(0, metrics.outcome("unheard_of"), Duration::ZERO);
    worker.handshake_failure(1, usize::MAX);
    worker.request(9, 0, Duration::ZERO);
    let text = metrics.encode().unwrap();
    let other =
        r#"sidegate_requests_total{listener="https",direction="inbound",outcome="other"} 1"#;
    assert_has(&text, other);
    assert_has(&text, r#"sidegate_handshake_failures_total{listener="ledger",code="other"} 1"#);
    assert_eq!(text.matches("outcome=\"other\"").count(), 1);
}

#[test]
fn a_connection_is_open_until_it_is_dropped_wherever_that_happens() {
    let metrics = metrics();
    let worker = metrics.worker();
    let (first, second) = (worker.open_connection(0), worker.open_connection(0));
    let upstream = worker.open_upstream();
    drop(first);
    let text = metrics.encode().unwrap();
    assert_has(&text, r#"sidegate_connections_open{listener="https"} 1"#);
    assert_has(&text, "sidegate_upstream_connections_open 1");
    std::thread::spawn(move || drop((second, upstream))).join().unwrap();
    let text = metrics.encode().unwrap();
    assert_has(&text, r#"sidegate_connections_open{listener="https"} 0"#);
    assert_has(&text, "sidegate_upstream_connections_open 0");
}

#[test]
fn the_control_plane_is_asked_at_each_scrape() {
    let metrics = metrics();
    let text = metrics.encode().unwrap();
    assert!(!text.contains("svid_not_after") && !text.contains("sidegate_policy_info"), "{text}");
    assert_has(&text, r#"sidegate_agent_state{state="starting"} 1"#);

    metrics.before_scrape(|control| {
        control.agent_state("fresh");
        control.svid_not_after(Some(UNIX_EPOCH + Duration::from_secs(99)));
        control.policy_revision("9c41e0");
    });
    metrics.control().svid_rotated();
    metrics.control().agent_disconnected();
    metrics.control().policy_reloaded(true);
    metrics.control().policy_reloaded(false);
    metrics.control().policy_reloaded(false);
    let text = metrics.encode().unwrap();
    for line in [
        r#"sidegate_agent_state{state="starting"} 0"#,
        r#"sidegate_agent_state{state="fresh"} 1"#,
        "sidegate_agent_disconnects_total 1",
        "sidegate_svid_not_after_timestamp_seconds 99",
        "sidegate_svid_rotations_total 1",
        r#"sidegate_policy_info{revision="9c41e0"} 1"#,
        r#"sidegate_policy_reloads_total{result="loaded"} 1"#,
        r#"sidegate_policy_reloads_total{result="rejected"} 2"#,
    ] {
        assert_has(&text, line);
    }
}

#[test]
fn audit_lines_are_counted_where_a_log_is_watched() {
    let metrics = metrics();
    assert!(!metrics.encode().unwrap().contains("audit"));
    metrics.watch_audit(Arc::default());
    assert_has(&metrics.encode().unwrap(), "sidegate_audit_lines_total 0");
    assert_has(&metrics.encode().unwrap(), "sidegate_audit_write_errors_total 0");
}

#[test]
fn the_process_is_told_as_the_kernel_knows_it() {
    let value = |text: &str, name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse().unwrap()
    };
    let text = metrics().encode().unwrap();
    assert!(value(&text, "process_resident_memory_bytes ") > 100_000);
    let files = value(&text, "process_open_fds ");
    assert!((3..100_000).contains(&files), "{files}");
}

#[test]
fn every_metric_is_described_once_and_every_name_is_ours_or_the_process() {
    let metrics = metrics();
    metrics.watch_audit(Arc::default());
    metrics.worker();
    let text = metrics.encode().unwrap();
    let mut described = std::collections::BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with("# EOF")) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert!(described.insert(rest.split(' ').next().unwrap().to_owned()), "{line}");
        } else if !line.starts_with('#') {
            assert!(line.starts_with("sidegate_") || line.starts_with("process_"), "{line}");
            assert!(described.iter().any(|name| line.starts_with(name.as_str())), "{line}");
        }
    }
    assert_eq!(text.matches("# HELP").count(), described.len());
}
