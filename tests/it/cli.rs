//! The program as its operator meets it: arguments in; output, exit code and signals out.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::world::app::App;
use crate::world::audit::Line;
use crate::world::client::{Http, get, with_headers};
use crate::world::policy::PolicyFolder;
use crate::world::side;
use crate::world::wait::{LIMIT, until};

const ORDERS: &str = "spiffe://example.org/prod/orders";

fn sidegate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidegate"));
    for (name, _) in std::env::vars() {
        if name.starts_with("SIDEGATE_") || name.starts_with("SPIFFE_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command to its end, which has to come by itself.
pub fn says(arguments: &[&str]) -> Said {
    Program(Some(sidegate(arguments).spawn().unwrap())).ends()
}

/// What a command printed, and its exit code.
#[derive(Debug)]
pub struct Said {
    pub out: String,
    pub err: String,
    pub code: Option<i32>,
}

/// A command that runs; it does not outlive its test.
pub struct Program(Option<Child>);

impl Program {
    pub fn run(config: &Path) -> Self {
        Self(Some(sidegate(&["run", "--config", config.to_str().unwrap()]).spawn().unwrap()))
    }

    pub fn signal(&self, name: &str) {
        let id = self.0.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    pub fn ends(mut self) -> Said {
        let mut child = self.0.take().unwrap();
        let deadline = Instant::now() + LIMIT;
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                child.kill().unwrap();
                panic!("it does not end: {:?}", child.wait_with_output());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { out: text(stdout), err: text(stderr), code: status.code() }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// A folder with policy and configuration of a service that calls itself.
struct Place {
    folder: TempDir,
    config: Value,
    health: SocketAddr,
    outbound: SocketAddr,
}

impl Place {
    fn new(forward_to: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [inbound, outbound, health] = free_ports();
        let grant = json!({"tenant": "acme", "roles": [], "scopes": ["orders:read"]});
        PolicyFolder::new(folder.path().join("policy"), json!({ORDERS: grant}));
        let config = json!({
            "tenant": "acme",
            "identity": {
                "workload_api": format!("unix://{}", folder.path().join("agent.sock").display()),
                "danger_accept_dev_agent": true,
            },
            "inbound": [{
                "listen": inbound.to_string(),
                "forward_to": forward_to,
                "routes": [{"path": "/**", "methods": ["GET"], "scopes": ["orders:read"]}],
            }],
            "outbound": [{
                "name": "myself",
                "listen": outbound.to_string(),
                "connect_to": inbound.to_string(),
                "expect": ORDERS,
            }],
            "policy": folder.path().join("policy"),
            "health": {"listen": health.to_string()},
            "log": {"level": "debug", "format": "json"},
            "workers": 1,
        });
        Self { folder, config, health, outbound }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// The configuration file as it stands now.
    fn config(&self) -> PathBuf {
        self.write("sidegate.yaml", self.config.to_string())
    }

    async fn agent(&self) -> Program {
        let workload = format!("{ORDERS}={}", self.path("agent.sock").display());
        let mut command = sidegate(&["dev-agent", "--workload", &workload]);
        let agent = Program(Some(command.spawn().unwrap()));
        until("the agent's socket", async || self.path("agent.sock").exists().then_some(())).await;
        agent
    }

    /// Waits until the sidecar answers probes, and then until it is ready.
    async fn is_ready(&self) {
        until("the sidecar to be ready", async || {
            TcpStream::connect(self.health).await.ok()?;
            side::reasons(self.health, "/ready").await.is_empty().then_some(())
        })
        .await;
    }

    async fn myself(&self) -> Http {
        Http::http1(TcpStream::connect(self.outbound).await.unwrap()).await.unwrap()
    }
}

/// Ports that nobody listens on. Held together, so that no two are the same.
pub fn free_ports<const N: usize>() -> [SocketAddr; N] {
    let held: [_; N] =
        std::array::from_fn(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    held.map(|listener| listener.local_addr().unwrap())
}

const FAULTY: &str = "\
tenant: Not A Tenant
inbound:
  - listen: 127.0.0.1
    forward_to: 127.0.0.1:8080
    routs: []
policy: /etc/sidegate/policies
identity: { workload_api: \"unix:///run/agent.sock\" }
workers: many
";

#[test]
fn check_tells_every_problem_with_its_line() {
    let place = Place::new("127.0.0.1:9");
    let file = place.write("faulty.yaml", FAULTY);
    let name = file.to_str().unwrap();

    let said = says(&["check", "--config", name]);

    assert_eq!(said.code, Some(2), "{said:?}");
    assert_eq!(said.out, "", "problems are for people, not for pipes");
    for line in [1, 3, 5, 8] {
        assert!(said.err.contains(&format!("{name}:{line}:")), "line {line} in {}", said.err);
    }
    assert!(said.err.contains("routes"), "a hint what may have been meant: {}", said.err);
}

#[test]
fn check_tells_programs_the_same_as_people() {
    let place = Place::new("127.0.0.1:9");
    let file = place.write("faulty.yaml", FAULTY);

    let said = says(&["check", "--json", "--config", file.to_str().unwrap()]);

    assert_eq!(said.code, Some(2), "{said:?}");
    let told: Value = serde_json::from_str(&said.out).unwrap();
    let lines: Vec<_> =
        told["problems"].as_array().unwrap().iter().map(|it| it["line"].as_u64()).collect();
    for line in [1, 3, 5, 8] {
        assert!(lines.contains(&Some(line)), "line {line} in {told}");
    }
}

#[test]
fn check_is_content_with_what_run_would_take() {
    let place = Place::new("127.0.0.1:9");
    let file = place.config();

    let said = says(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(
        (said.out.as_str(), said.err.as_str()),
        (&*format!("{}: fine\n", file.display()), "")
    );

    let said = says(&["check", "--json", "--config", file.to_str().unwrap()]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(serde_json::from_str::<Value>(&said.out).unwrap(), json!({"problems": []}));
}

#[test]
fn check_shows_each_value_with_its_origin() {
    let mut place = Place::new("127.0.0.1:9");
    place.config["drain"] = json!({"timeout": "7s"});
    let file = place.config();
    let mut command = sidegate(&["check", "--show", "--config", file.to_str().unwrap()]);
    command.env("SIDEGATE__TENANT", "globex");

    let said = Program(Some(command.spawn().unwrap())).ends();

    assert_eq!(said.code, Some(0), "{said:?}");
    let origin = |value: &str| {
        let line = said.out.lines().find(|line| line.contains(value));
        line.unwrap_or_else(|| panic!("{value} in {}", said.out)).rsplit('#').next().unwrap().trim()
    };
    assert_eq!(origin("tenant: "), "environment variable SIDEGATE__TENANT");
    assert_eq!(origin("timeout: \"7s\""), format!("{}:1", file.display()));
    assert_eq!(origin("connection_age: "), "default");
    assert!(said.out.contains("globex") && !said.out.contains("acme"), "{}", said.out);
}

#[test]
fn a_broken_policy_is_refused_at_the_start_and_named() {
    let place = Place::new("127.0.0.1:9");
    std::fs::write(place.path("policy").join("broken.rego"), "package a\n\nallow := {\n").unwrap();
    let file = place.config();

    for command in ["run", "check"] {
        let said = says(&[command, "--config", file.to_str().unwrap()]);
        assert_eq!(said.code, Some(2), "{command}: {said:?}");
        assert!(said.err.contains("broken.rego:"), "{command}: {}", said.err);
    }
}

#[test]
fn a_policy_that_is_not_there_is_refused_at_the_start() {
    let mut place = Place::new("127.0.0.1:9");
    place.config["policy"] = json!(place.path("nowhere"));

    let said = says(&["run", "--config", place.config().to_str().unwrap()]);

    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("nowhere"), "{}", said.err);
}

#[test]
fn a_configuration_that_is_not_there_is_refused_by_its_name() {
    for command in ["run", "check"] {
        let said = says(&[command, "--config", "/nowhere/sidegate.yaml"]);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.err.contains("/nowhere/sidegate.yaml"), "{}", said.err);
    }
}

#[test]
fn a_port_that_somebody_else_has_is_refused() {
    let place = Place::new("127.0.0.1:9");
    let address = place.config["inbound"][0]["listen"].as_str().unwrap();
    let _somebody = TcpListener::bind(address).unwrap();

    let said = says(&["run", "--config", place.config().to_str().unwrap()]);

    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains(address), "{}", said.err);
}

#[tokio::test]
async fn a_port_that_another_sidecar_has_is_refused() {
    let mut place = Place::new("127.0.0.1:9");
    let _agent = place.agent().await;
    let first = Program::run(&place.config());
    place.is_ready().await;
    let [outbound, health] = free_ports();
    place.config["outbound"][0]["listen"] = json!(outbound.to_string());
    place.config["health"]["listen"] = json!(health.to_string());
    let address = place.config["inbound"][0]["listen"].as_str().unwrap().to_owned();

    let said = says(&["run", "--config", place.config().to_str().unwrap()]);

    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains(&address), "{}", said.err);
    place.is_ready().await;
    drop(first);
}

#[tokio::test]
async fn a_sidecar_writes_its_audit_to_stdout_and_its_log_to_stderr_and_no_secret_to_either() {
    let app = App::on_tcp().await;
    let place = Place::new(&app.address());
    let _agent = place.agent().await;
    let sidecar = Program::run(&place.config());
    place.is_ready().await;

    let secrets = [("authorization", "Bearer hunter2"), ("cookie", "session=hunter3")];
    let reply =
        place.myself().await.send(with_headers(get("/orders/7?key=hunter4"), &secrets)).await;
    assert_eq!(reply.status(), 200);
    assert_eq!(app.last().header("authorization"), Some("Bearer hunter2"), "it was there to leak");
    sidecar.signal("TERM");
    let said = sidecar.ends();

    assert_eq!(said.code, Some(0), "{said:?}");
    let lines: Vec<Line> =
        said.out.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let inbound: Vec<_> = lines.iter().filter(|line| line.direction == "inbound").collect();
    let [line] = inbound.as_slice() else { panic!("one request, one line: {lines:#?}") };
    assert_eq!(line.source.spiffe_id.as_deref(), Some(ORDERS));
    assert_eq!(line.path.as_deref(), Some("/orders/7"));
    for line in said.err.lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    for secret in ["hunter", "PRIVATE KEY", "PrivateKey"] {
        assert!(!said.out.contains(secret), "{secret} in {}", said.out);
        assert!(!said.err.contains(secret), "{secret} in {}", said.err);
    }
}

#[tokio::test]
async fn sigterm_lets_requests_in_flight_finish_and_ends_with_0() {
    let app = App::on_tcp().await;
    let place = Place::new(&app.address());
    let _agent = place.agent().await;
    let sidecar = Program::run(&place.config());
    place.is_ready().await;
    let mut connection = place.myself().await;
    let mut held = tokio::spawn(async move { connection.get("/held-head").await });
    tokio::select! {
        answer = &mut held => panic!("answered before its time: {answer:?}"),
        () = app.reached(1) => {}
    }

    sidecar.signal("TERM");
    until("it to drain", async || {
        (side::reasons(place.health, "/ready").await == ["draining"]).then_some(())
    })
    .await;
    app.release();

    assert_eq!(held.await.unwrap().status(), 200);
    assert_eq!(sidecar.ends().code, Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_a_drain_at_once() {
    let app = App::on_tcp().await;
    let place = Place::new(&app.address());
    let _agent = place.agent().await;
    let sidecar = Program::run(&place.config());
    place.is_ready().await;
    let mut connection = place.myself().await;
    let mut held = tokio::spawn(async move { connection.try_send(get("/held-head")).await });
    tokio::select! {
        answer = &mut held => panic!("answered before its time: {answer:?}"),
        () = app.reached(1) => {}
    }

    sidecar.signal("TERM");
    until("it to drain", async || {
        (side::reasons(place.health, "/ready").await == ["draining"]).then_some(())
    })
    .await;
    sidecar.signal("INT");

    assert_eq!(sidecar.ends().code, Some(1));
    held.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn the_development_agent_is_refused_unless_it_was_asked_for() {
    let mut place = Place::new("127.0.0.1:9");
    place.config["identity"].as_object_mut().unwrap().remove("danger_accept_dev_agent");
    let _agent = place.agent().await;
    let sidecar = Program::run(&place.config());

    until("the sidecar to say what is wrong", async || {
        TcpStream::connect(place.health).await.ok()?;
        let body = side::ask(place.health, "/ready").await.json();
        let [reason] = body["reasons"].as_array().unwrap().as_slice() else {
            panic!("it must not be ready: {body}")
        };
        reason["message"].as_str().unwrap().contains("danger_accept_dev_agent").then_some(())
    })
    .await;
    let refusal = place.myself().await.get("/orders/7").await;
    assert_eq!(refusal.refusal(), (503, "identity_unavailable".to_owned()));
    sidecar.signal("TERM");
    assert_eq!(sidecar.ends().code, Some(0));
}

#[test]
fn the_schema_is_json_and_takes_a_real_configuration() {
    let said = says(&["schema"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let schema: Value = serde_json::from_str(&said.out).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut place = Place::new("127.0.0.1:9");
    assert!(validator.is_valid(&place.config), "{}", place.config);
    place.config["inbuond"] = json!([]);
    assert!(!validator.is_valid(&place.config));
}

#[test]
fn what_is_not_understood_is_wrong_usage() {
    for arguments in [&["fly"][..], &[], &["run"], &["run", "--fast"], &["dev-agent"]] {
        let said = says(arguments);
        assert_eq!(said.code, Some(2), "{arguments:?}: {said:?}");
        assert_eq!(said.out, "", "{arguments:?}");
        assert!(said.err.contains("Usage"), "{arguments:?}: {}", said.err);
    }
}

#[test]
fn help_and_version_are_data() {
    let said = says(&["--version"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    assert_eq!(said.out, format!("sidegate {}\n", env!("CARGO_PKG_VERSION")));
    let said = says(&["--help"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    for command in ["run", "check", "demo", "dev-agent", "schema", "completions"] {
        assert!(said.out.contains(command), "{command} in {}", said.out);
    }
    let said = says(&["completions", "bash"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    assert!(said.out.contains("sidegate"), "{}", said.out);
}

#[test]
fn a_sidecar_whose_policy_fails_its_own_tests_does_not_start() {
    let place = Place::new("127.0.0.1:9");
    let tests = "package t\n\ntest_nobody if {\n\tdata.sidegate.global.grant.tenant == \"acme\" \
        with input.peer.spiffe_id as \"spiffe://example.org/x\"\n}\n";
    for (tests, expected) in [
        (tests, "global_test.rego:4:1: the test `data.t.test_nobody` failed"),
        ("package t\n\ntest_x if {", "global_test.rego:3:12: expecting expression"),
    ] {
        place.write("policy/global_test.rego", tests);
        let config = place.config();
        let started = Program::run(&config).ends();
        let checked = says(&["check", "--config", config.to_str().unwrap()]);
        for said in [started, checked] {
            assert_eq!(said.code, Some(2), "{said:?}");
            assert!(said.err.contains("the policy is not usable"), "{}", said.err);
            assert!(said.err.contains(expected), "{}", said.err);
        }
    }
}

#[tokio::test]
async fn a_running_sidecar_stays_with_its_policy_until_an_edit_stands_examination() {
    let app = App::on_tcp().await;
    let place = Place::new(&app.address());
    let _agent = place.agent().await;
    let sidecar = Program::run(&place.config());
    place.is_ready().await;
    assert_eq!(place.myself().await.get("/orders/7").await.status(), 200);

    let test = "package t\n\ntest_x if {\n\tdata.sidegate.global.grant.tenant == \"globex\" \
        with input.peer.spiffe_id as \"spiffe://example.org/prod/orders\"\n}\n";
    place.write("policy/global_test.rego", test);
    until("the edit to be refused", async || {
        (side::notes(place.health).await == ["policy_refused"]).then_some(())
    })
    .await;
    assert_eq!(place.myself().await.get("/orders/7").await.status(), 200);
    let data = json!({"identities": {ORDERS: {"tenant": "globex", "roles": [], "scopes": []}},
        "blocked": {}});
    place.write("policy/data.json", data.to_string());
    until("the edit that its test agrees with to be in force", async || {
        (place.myself().await.get("/orders/7").await.status() == 403).then_some(())
    })
    .await;
    assert!(side::notes(place.health).await.is_empty());
    sidecar.signal("TERM");

    let said = sidecar.ends().err;
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = |what: &str| -> Vec<&Value> {
        let says =
            |line: &&Value| line["message"].as_str().is_some_and(|text| text.starts_with(what));
        lines.iter().filter(says).collect()
    };
    let [first, second] = told("policy in force")[..] else { panic!("{said}") };
    assert_eq!(first["tests"], json!(0));
    assert_eq!((&second["tests"], &second["mended"]), (&json!(1), &json!(true)));
    assert_eq!(told("policy examined").len(), 2, "each in a process of its own: {said}");
    let [refused] = told("policy refused")[..] else { panic!("{said}") };
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("global_test.rego:4:1: the test `data.t.test_x` failed"), "{message}");
}
