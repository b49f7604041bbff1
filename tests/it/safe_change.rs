//! Candidates that must not go live, looked at by the program itself in a process of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use sidegate::policy::{Examined, Examiner, LoadError, Source};

use crate::world::World;
use crate::world::side;
use crate::world::wait::until;

const GRANT: &str = "package sidegate.global\n\n\
    default grant := {\"roles\": [], \"scopes\": [], \"tenant\": null}\n\n\
    grant := data.identities[input.peer.spiffe_id]\n";
const ORDERS: &str = "spiffe://example.org/prod/orders";
const DATA: &str = r#"{"identities": {"spiffe://example.org/prod/orders":
    {"roles": [], "scopes": ["stock:read"], "tenant": "acme"}}}"#;

fn source(files: &[(&str, &str)]) -> Arc<Source> {
    let files = files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()));
    Arc::new(Source::from_files(files).unwrap())
}

fn sidegate() -> Examiner {
    Examiner::by(env!("CARGO_BIN_EXE_sidegate").into())
}

fn examine(files: &[(&str, &str)]) -> Result<Examined, LoadError> {
    sidegate().look(source(files))
}

fn refusal(files: &[(&str, &str)]) -> String {
    let error = examine(files).map(|it| it.policy).unwrap_err();
    assert!(error.is_about_the_policy(), "{error:?}");
    error.to_string()
}

/// The good policy with these tests.
fn with_tests(tests: &str) -> [(&'static str, String); 3] {
    [
        ("g.rego", GRANT.to_owned()),
        ("data.json", DATA.to_owned()),
        ("g_test.rego", tests.to_owned()),
    ]
}

fn refusal_of_tests(tests: &str) -> String {
    let files = with_tests(tests);
    refusal(&files.each_ref().map(|(name, text)| (*name, text.as_str())))
}

#[test]
fn a_good_policy_comes_through_whole() {
    let files = with_tests(
        "package sidegate.global_test\n\n\
         test_orders if {\n\tprint(\"asked\")\n\
         \tdata.sidegate.global.grant.tenant == \"acme\" with input.peer.spiffe_id as \
         \"spiffe://example.org/prod/orders\"\n}\n",
    );
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let examined = examine(&files).unwrap();
    assert_eq!(examined.policy.revision(), source(&files).revision());
    assert_eq!(examined.tests, 1);
    assert!(examined.remarks.is_empty(), "{:?}", examined.remarks);
}

#[test]
fn an_identity_that_the_policy_fails_for_is_told_of() {
    let data = r#"{"identities": {"spiffe://example.org/prod/orders": {"roles": 7}}}"#;
    let examined = examine(&[("g.rego", GRANT), ("data.json", data)]).unwrap();
    let [remark] = examined.remarks.as_slice() else { panic!("{:?}", examined.remarks) };
    assert!(remark.contains(ORDERS) && remark.contains("`roles` is a number"), "{remark}");
}

#[test]
fn what_would_kill_or_stall_the_parser_is_refused_with_its_place() {
    for (open, times) in [("[\n", 15_000), ("[", 24), ("{", 24)] {
        let module = format!("package sidegate.global\ngrant := {}", open.repeat(times));
        let told = refusal(&[("g.rego", &module)]);
        assert!(told.starts_with("g.rego:") && told.contains("nested too deeply"), "{told}");
        let tests = format!("package t\nx := {}", open.repeat(times));
        let told = refusal_of_tests(&tests);
        assert!(told.starts_with("g_test.rego:") && told.contains("nested too deeply"), "{told}");
    }
}

#[test]
fn a_policy_that_fills_its_memory_is_cut_off() {
    let mut module =
        "package sidegate.global\nx0 := \"0123456789abcdef0123456789abcdef\"\n".to_owned();
    for at in 1..=17 {
        let before = at - 1;
        module += &format!("x{at} := hex.encode(x{before})\n");
    }
    // Copies of four megabytes, which no single function makes more of than it is given.
    module += "many := [y | some i in numbers.range(1, 10000); y := upper(x17)]\n\
        grant := {\"roles\": [], \"scopes\": [], \"tenant\": null} if count(many) > 0";
    let told = refusal(&[("g.rego", &module)]);
    // Whichever bound comes first on this machine.
    assert!(told.contains("more memory than 1 GiB") || told.contains("too long"), "{told}");
}

#[test]
fn a_policy_that_takes_too_long_for_a_known_identity_is_refused() {
    let module = "package sidegate.global\n\
        grant := {\"roles\": [], \"scopes\": [], \"tenant\": \"acme\"} if {\n\
        \tcount([1 | some a in numbers.range(1, 9000); some b in numbers.range(1, 9000); \
        a + b < 0]) == 0\n}";
    let told = refusal(&[("g.rego", module)]);
    assert!(told.contains("`data.sidegate.global.grant` took too long"), "{told}");
}

#[test]
fn tests_that_do_not_parse_or_reach_outside_are_refused() {
    let told = refusal_of_tests("package t\n\ntest_x if {");
    assert!(told.starts_with("g_test.rego:3:"), "{told}");
    let told = refusal_of_tests("package t\n\ntest_x if http.send({})");
    assert!(told.starts_with("g_test.rego:3:") && told.contains("reaches outside"), "{told}");
}

#[test]
fn failing_tests_are_named_with_their_place() {
    let told = refusal_of_tests(
        "package sidegate.global_test\n\ntest_good if true\n\n\
         test_bad if {\n\tdata.sidegate.global.grant.tenant == \"acme\" with input as {}\n}\n\n\
         test_broken if to_number(\"x\") == 1\n",
    );
    assert!(told.contains("test_bad` failed"), "{told}");
    assert!(told.contains("test_broken` could not be run"), "{told}");
    assert!(!told.contains("test_good"), "{told}");
    let places: Vec<_> = told.lines().filter(|line| line.starts_with("g_test.rego:")).collect();
    assert_eq!(places.len(), 2, "{told}");
}

#[test]
fn a_test_that_runs_on_and_on_is_cut_off() {
    let began = Instant::now();
    let told = refusal_of_tests(
        "package t\n\ntest_slow if {\n\
         \tcount([1 | some a in numbers.range(1, 9000); some b in numbers.range(1, 9000); \
         some c in numbers.range(1, 9000); a + b + c < 0]) == 0\n}\n",
    );
    assert!(told.contains("test_slow") || told.contains("longer than"), "{told}");
    assert!(began.elapsed() < Duration::from_secs(20), "it took {:?}", began.elapsed());
}

/// A program in place of `sidegate`, for what no policy is known to do to it.
struct Stand {
    folder: tempfile::TempDir,
    program: PathBuf,
}

impl Stand {
    fn new(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("sidegate");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder, program }
    }

    fn look(&self) -> LoadError {
        let examiner = Examiner::by(self.program.clone()).patience(Duration::from_millis(1_500));
        let source = source(&[("g.rego", GRANT), ("data.json", DATA)]);
        examiner.look(source).map(|it| it.policy).unwrap_err()
    }
}

#[test]
fn an_examiner_that_dies_or_hangs_refuses_the_policy() {
    for (script, expected) in [
        ("kill -6 $$", "the policy killed its examiner (signal 6)"),
        ("kill -9 $$", "the policy killed its examiner (signal 9)"),
        ("kill -24 $$", "the policy needed more than 10 s of processor time to be examined"),
        ("exec /bin/sleep 60", "the policy took longer than 1.5 s to be examined"),
        ("exec 1>&-; exec /bin/sleep 60", "the policy killed its examiner (signal 9)"),
        (
            "echo 'memory allocation of 9 bytes failed' >&2; kill -6 $$",
            "the policy needed more memory than 1 GiB to be examined",
        ),
    ] {
        let error = Stand::new(script).look();
        assert_eq!(error.to_string(), expected, "{script}");
        assert!(error.is_about_the_policy());
    }
}

#[test]
fn an_examiner_that_makes_no_sense_is_not_believed() {
    let nothing = r#"{"content":"","tests":0,"remarks":[],"problems":[],"trouble":null}"#;
    for (script, expected) in [
        ("exit 0", "ended by itself"),
        ("echo usage >&2; exit 2", "saying: usage"),
        (&format!("echo '{nothing}'"), "something else was looked at"),
        ("exec /bin/cat", "ended by itself"),
    ] {
        let error = Stand::new(script).look();
        assert!(error.to_string().contains(expected), "{script}: {error}");
        assert!(!error.is_about_the_policy());
    }
    // More than is read of it, without end.
    let error = Stand::new("while echo yes; do echo no; done").look();
    assert!(error.to_string().contains("examine"), "{error}");
}

#[test]
fn an_examiner_inherits_nothing() {
    let stand =
        Stand::new("here=${0%/*}\n/usr/bin/env > $here/env\n/bin/ls -l /proc/$$/fd > $here/fds");
    let secret = stand.folder.path().join("secret");
    let _open = fs::File::create(&secret).unwrap();
    assert!(std::env::vars_os().count() > 1);

    stand.look();

    let env = fs::read_to_string(stand.folder.path().join("env")).unwrap();
    let names: Vec<_> = env.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    // The shell adds some of its own.
    let own = ["MIMALLOC_ARENA_RESERVE", "PWD", "OLDPWD", "SHLVL", "_"];
    assert!(names.iter().all(|name| own.contains(name)), "{names:?}");
    let files = fs::read_to_string(stand.folder.path().join("fds")).unwrap();
    assert!(files.contains("pipe:") && !files.contains("secret"), "{files}");
}

async fn refused(world: &World) -> f64 {
    let metrics = world.metrics("orders").await;
    metrics.sum("sidegate_policy_candidate_refused", &[("lane", "enforced")])
}

#[tokio::test]
async fn a_refused_candidate_shows_in_readiness_and_metrics_until_it_is_mended() {
    let mut world =
        World::new().service("orders", |it| it.route("GET", "/**", "orders:read")).start().await;
    let health = world.service("orders").health();
    assert_eq!(refused(&world).await, 0.0);
    assert!(side::notes(health).await.is_empty());
    let revision = world.metrics("orders").await.revision();

    world.policy("orders").write("global_test.rego", "package t\n\ntest_x if {");
    until("the candidate to be refused", async || (refused(&world).await == 1.0).then_some(()))
        .await;
    let body = side::ask(health, "/ready").await.json();
    let note = &body["notes"][0];
    assert_eq!(
        (body["ready"].clone(), note["code"].clone()),
        (json!(true), json!("policy_refused"))
    );
    let message = note["message"].as_str().unwrap();
    assert!(message.contains("global_test.rego:3:"), "{message}");
    assert!(message.starts_with(&format!("revision {revision} stays")), "{message}");
    assert!(note["since"].is_string());
    let metrics = world.metrics("orders").await;
    assert_eq!(metrics.sum("sidegate_policy_reloads_total", &[("result", "rejected")]), 1.0);
    assert!(metrics.sum("sidegate_policy_loaded_timestamp_seconds", &[]) > 1e9);

    fs::remove_file(world.policy("orders").file("global_test.rego")).unwrap();
    until("the candidate to be mended", async || (refused(&world).await == 0.0).then_some(()))
        .await;
    assert!(side::notes(health).await.is_empty());
    let metrics = world.metrics("orders").await;
    assert_eq!(metrics.sum("sidegate_policy_reloads_total", &[("result", "loaded")]), 0.0);
    assert_eq!(metrics.revision(), revision);
}
