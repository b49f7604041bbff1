//! Each program as the harness runs it: load, bare client side, bare server side, application.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail"
)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

const BENCH: &str = env!("CARGO_BIN_EXE_bench");

/// A program that runs until it is dropped.
struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(BENCH)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line:?}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

struct World {
    certs: TempDir,
    origin: Value,
    running: Vec<Running>,
}

impl World {
    fn start() -> Self {
        let any = "127.0.0.1:0";
        let mut origin = Running::start(&["origin", "--http", any, "--h2", any, "--tcp", any]);
        let listening = origin.line();
        Self { certs: certs("example.org"), origin: listening, running: vec![origin] }
    }

    fn application(&self, name: &str) -> String {
        text(&self.origin[name])
    }

    /// Where the client side of a new pair listens.
    fn pair(&mut self, mode: &str, application: &str) -> String {
        let application = self.application(application);
        let certs = self.certs.path().to_owned();
        let server = self.bare(mode, "server", &application, &certs);
        self.bare(mode, "client", &server, &certs)
    }

    fn bare(&mut self, mode: &str, side: &str, connect: &str, certs: &Path) -> String {
        let certs = certs.to_str().unwrap();
        let mut bare = Running::start(&[
            "bare",
            mode,
            "--side",
            side,
            "--listen",
            "127.0.0.1:0",
            "--connect",
            connect,
            "--certs",
            certs,
        ]);
        let listen = text(&bare.line()["listen"]);
        self.running.push(bare);
        listen
    }
}

fn certs(trust_domain: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    let written = Command::new(BENCH)
        .args(["certs", dir.path().to_str().unwrap(), "--trust-domain", trust_domain])
        .status()
        .unwrap();
    assert!(written.success());
    dir
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// For half a second, on three connections.
fn load(kind: &str, to: &str, more: &[&str]) -> Value {
    let args = ["load", kind, "--to", to, "--seconds", "0.5", "--connections", "3"];
    let output = Command::new(BENCH).args(args).args(more).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut lines =
        output.stdout.lines().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    assert_eq!(lines.next(), Some(json!({ "measuring": true })));
    let report = lines.next().unwrap();
    assert_eq!(lines.next(), None);
    report
}

/// What has to hold whatever the load was.
fn assert_served(report: &Value) {
    assert_eq!(report["errors"], 0, "{report}");
    assert!(report["requests"].as_u64().unwrap() > 0, "{report}");
    assert!(report["bytes"].as_u64().unwrap() > 0, "{report}");
    assert!(report["per_second"].as_f64().unwrap() > 0.0, "{report}");
    let latency = |name: &str| report[name].as_f64().unwrap();
    assert!(latency("p50_us") > 0.0, "{report}");
    assert!(latency("p50_us") <= latency("p99_us"), "{report}");
    assert!(latency("p99_us") <= latency("p999_us"), "{report}");
    assert!(latency("p999_us") <= latency("max_us") * 1.001, "{report}");
}

const HTTP1_LOADS: [(&str, &[&str]); 5] = [
    ("http1", &[]),
    ("connect", &[]),
    ("rate", &["--rate", "200"]),
    ("download", &["--bytes", "3000000"]),
    ("upload", &["--bytes", "3000000"]),
];

#[test]
fn http1_loads_are_served_straight_by_bare_http_and_by_the_bare_event_loop() {
    let mut world = World::start();
    let ways = [world.application("http"), world.pair("http1", "http"), world.pair("tcp", "tcp")];

    for way in &ways {
        for (kind, more) in HTTP1_LOADS {
            assert_served(&load(kind, way, more));
        }
    }
}

#[test]
fn http2_and_grpc_loads_are_served_straight_and_by_bare_http2() {
    let mut world = World::start();
    let ways = [world.application("h2"), world.pair("http2", "h2")];

    for way in &ways {
        for kind in ["http2", "grpc", "grpc-stream"] {
            assert_served(&load(kind, way, &["--streams", "8"]));
        }
    }
}

#[test]
fn a_fixed_rate_is_kept() {
    let world = World::start();

    let report = load("rate", &world.application("http"), &["--rate", "200"]);

    assert_eq!(report["requests"], 100);
}

#[test]
fn idle_connections_are_counted_when_they_stand_and_again_at_the_end() {
    let mut world = World::start();
    let way = world.pair("tcp", "tcp");
    let mut idle = Running::start(&["load", "idle", "--to", &way, "--connections", "50"]);

    let standing = idle.line();
    assert_eq!((&standing["alive"], &standing["errors"]), (&50.into(), &0.into()), "{standing}");
    // Both sides of the pair and the application go, and with them every connection.
    world.running.clear();
    drop(idle.child.stdin.take());

    let ended = idle.line();
    assert_eq!((&ended["alive"], &ended["errors"]), (&0.into(), &50.into()), "{ended}");
}

#[test]
fn an_address_that_another_program_has_is_not_shared_with_it() {
    let world = World::start();
    let taken = world.application("http");

    let second = Command::new(BENCH).args(["origin", "--http", &taken]).output().unwrap();

    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains(&taken), "{second:?}");
}

#[test]
fn what_nobody_answers_is_an_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = listener.local_addr().unwrap();
    // Ends with the process.
    std::thread::spawn(move || listener.incoming().for_each(drop));

    for kind in ["http1", "connect", "rate", "http2"] {
        let report = load(kind, &nobody.to_string(), &[]);
        assert_eq!(report["requests"], 0, "{report}");
        assert!(report["errors"].as_u64().unwrap() > 0, "{report}");
    }
}

#[test]
fn the_bare_pair_refuses_whom_it_does_not_expect() {
    let mut world = World::start();
    let application = world.application("http");
    // Another authority; and the right one, but the name of the server on both sides.
    let strangers = certs("example.org");
    let impostor = certs_with_the_server_as_client(world.certs.path());
    let genuine = world.certs.path().to_owned();

    for mode in ["http1", "tcp"] {
        let server = world.bare(mode, "server", &application, &genuine);
        for certs in [strangers.path(), impostor.path()] {
            let client = world.bare(mode, "client", &server, certs);
            let report = load("connect", &client, &[]);
            assert_eq!(report["requests"], 0, "{mode}: {report}");
            assert!(report["errors"].as_u64().unwrap() > 0, "{mode}: {report}");
        }
    }
}

fn certs_with_the_server_as_client(genuine: &Path) -> TempDir {
    let dir = TempDir::new().unwrap();
    for (from, to) in
        [("ca.pem", "ca.pem"), ("server.pem", "client.pem"), ("server.key", "client.key")]
    {
        std::fs::copy(genuine.join(from), dir.path().join(to)).unwrap();
    }
    dir
}
