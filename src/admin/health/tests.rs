//! Probes and scrapes over real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;
use crate::admin::serve_metrics;
use crate::telemetry::metrics::{Labels, Metrics};

const PATIENCE: Duration = Duration::from_secs(10);

struct Probes {
    address: SocketAddr,
    ready: Arc<AtomicBool>,
    stop: oneshot::Sender<()>,
}

async fn probes() -> Probes {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let ready = Arc::new(AtomicBool::new(false));
    let is_ready = Arc::clone(&ready);
    let checks = Checks {
        notes: Box::new(Vec::new),
        startup: Box::new(Vec::new),
        ready: Box::new(move || {
            let starting = Reason {
                code: "identity_starting",
                message: "waiting for the agent at `unix:///run/\"agent\"`".to_owned(),
                since: Some(UNIX_EPOCH + Duration::from_millis(1_500)),
            };
            if is_ready.load(Ordering::SeqCst) { Vec::new() } else { vec![starting] }
        }),
    };
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(serve_health(listener, checks, async {
        stopped.await.ok();
    }));
    Probes { address, ready, stop }
}

/// Sends `request` as it is and reads to the end.
async fn raw(address: SocketAddr, request: &[u8]) -> String {
    let talk = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        // A reset after the answer, where we sent more than was read, is an end like any other.
        stream.read_to_end(&mut answer).await.ok();
        String::from_utf8(answer).unwrap()
    };
    timeout(PATIENCE, talk).await.unwrap()
}

async fn ask(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let request = format!("{method} {path} HTTP/1.1\r\nhost: probe\r\n\r\n");
    let answer = raw(address, request.as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

#[tokio::test]
async fn readiness_says_why_not_and_turns_as_soon_as_it_is() {
    let probes = probes().await;
    let (status, body) = ask(probes.address, "GET", "/ready").await;
    assert_eq!(status, 503);
    assert_eq!(
        body,
        concat!(
            r#"{"ready":false,"reasons":[{"code":"identity_starting","#,
            r#""message":"waiting for the agent at `unix:///run/\"agent\"`","#,
            r#""since":"1970-01-01T00:00:01.500Z"}]}"#
        )
    );
    probes.ready.store(true, Ordering::SeqCst);
    let (status, body) = ask(probes.address, "GET", "/ready").await;
    assert_eq!((status, body.as_str()), (200, r#"{"ready":true,"reasons":[]}"#));
}

#[tokio::test]
async fn startup_and_live_do_not_depend_on_readiness() {
    let probes = probes().await;
    let startup = ask(probes.address, "GET", "/startup").await;
    assert_eq!(startup, (200, r#"{"started":true,"reasons":[]}"#.to_owned()));
    let live = ask(probes.address, "GET", "/live?from=kubelet").await;
    assert_eq!(live, (200, r#"{"live":true,"reasons":[]}"#.to_owned()));
}

#[tokio::test]
async fn only_reading_the_three_probes_is_answered() {
    let probes = probes().await;
    assert_eq!(ask(probes.address, "HEAD", "/ready").await, (503, String::new()));
    assert_eq!(ask(probes.address, "HEAD", "/live").await, (200, String::new()));
    for path in ["/", "/healthz", "/live/", "/metrics", "//live"] {
        assert_eq!(ask(probes.address, "GET", path).await, (404, String::new()), "{path}");
    }
    for method in ["POST", "DELETE", "OPTIONS"] {
        assert_eq!(ask(probes.address, method, "/ready").await, (405, String::new()), "{method}");
    }
}

#[tokio::test]
async fn too_many_headers_are_refused_and_nonsense_is_too() {
    let probes = probes().await;
    let many: String = (0..100).map(|place| format!("x-{place}: y\r\n")).collect();
    let long = format!("x: {}\r\n", "y".repeat(64 * 1024));
    for headers in [many, long] {
        let request = format!("GET /live HTTP/1.1\r\nhost: probe\r\n{headers}\r\n");
        let answer = raw(probes.address, request.as_bytes()).await;
        assert!(!answer.contains("200 OK"), "{answer}");
    }
    let answer = raw(probes.address, b"\x16\x03\x01\x00\xee\x01\x00\x00\xea\x03\x03\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(ask(probes.address, "GET", "/live").await.0, 200);
}

#[tokio::test]
async fn after_shutdown_nobody_is_let_in() {
    let probes = probes().await;
    assert_eq!(ask(probes.address, "GET", "/live").await.0, 200);
    probes.stop.send(()).unwrap();
    let refused = async {
        while TcpStream::connect(probes.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, refused).await.unwrap();
}

#[tokio::test]
async fn prometheus_reads_open_metrics() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let labels = Labels {
        listeners: Vec::new(),
        outcomes: &[],
        handshake_codes: &[],
        agent_states: &[],
        version: "0",
    };
    let metrics = Arc::new(Metrics::new(labels, UNIX_EPOCH));
    tokio::spawn(serve_metrics(listener, metrics, std::future::pending()));
    let answer = raw(address, b"GET /metrics HTTP/1.1\r\nhost: prometheus\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"));
    assert!(answer.ends_with("# EOF\n"), "{answer}");
    assert_eq!(ask(address, "GET", "/").await.0, 404);
    assert_eq!(ask(address, "POST", "/metrics").await.0, 405);
}
