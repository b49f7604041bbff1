//! `sidegate policy test` as its user meets it: what it prints, and its exit codes.

use std::fs;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli::{Said, says};

const LIB: &str = "package lib

default open := false

open if {
	input.peer.service == \"front\"
	data.doors[input.peer.service]
}

never if {
	open == 5
}
";

const TESTS: &str = "package lib_test

import data.lib

test_front_is_open if lib.open with input as {\"peer\": {\"service\": \"front\"}}

test_back_is_closed if {
	not lib.open with input as {\"peer\": {\"service\": \"back\"}}
}

test_doors_may_be_others if {
	lib.open with input.peer.service as \"front\" with data.doors as {\"front\": true}
}

test_time if time.now_ns() == 5 with time.now_ns as 5
";

fn folder(tests: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("lib.rego"), LIB).unwrap();
    fs::write(folder.path().join("lib_test.rego"), tests).unwrap();
    fs::write(folder.path().join("data.json"), r#"{"doors": {"front": true}}"#).unwrap();
    folder
}

fn test(folder: &Path, more: &[&str]) -> Said {
    let mut arguments = vec!["policy", "test", folder.to_str().unwrap()];
    arguments.extend(more);
    says(&arguments)
}

fn results(said: &Said) -> Vec<Value> {
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

/// Without durations.
fn steady(text: &str) -> String {
    let lines = text.lines().map(|line| line.split(" (").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn tests_that_pass_are_counted() {
    let folder = folder(TESTS);
    let said = test(folder.path(), &[]);
    assert_eq!((said.code, said.out.trim_end()), (Some(0), "PASS: 4/4"), "{said:?}");
}

#[test]
fn a_failing_test_tells_where_it_stopped_and_what_it_printed() {
    let folder = folder(
        "package lib_test\n\nimport data.lib\n\ntest_wrong if {\n\tx := 1\n\tprint(\"x is\", x)\n\tx == 2\n\tlib.open\n}\n\n\
         todo_test_later if false\n\ntest_broken if 1 / 0 == 1\n",
    );
    let said = test(folder.path(), &[]);
    assert_eq!(said.code, Some(2), "{said:?}");
    let file = folder.path().join("lib_test.rego");
    let file = file.to_str().unwrap();
    let expected = format!(
        "{file}:5:\ndata.lib_test.test_wrong: FAIL\n  {file}:8: not true: x == 2\n\n  x is 1\n\n\
         {file}:12:\ndata.lib_test.todo_test_later: SKIPPED\n\
         {file}:14:\ndata.lib_test.test_broken: ERROR\n  {file}:14:18: divide by zero\n{}\n\
         FAIL: 1/3\nERROR: 1/3\nSKIPPED: 1/3",
        "-".repeat(80),
    );
    assert_eq!(steady(&said.out), expected);
}

#[test]
fn every_definition_and_every_case_is_a_test() {
    let folder = folder(
        "package lib_test\ntest_quoted[name] if {\n\t\"a\" == \"a\"\n\tsome name in [\"x\", \"y\"]\n\tname == \"x\"\n}\n\
         test_twice if true\ntest_twice if false\n\
         test_cases[name] if {\n\tsome name, case in {\"good\": 1, \"bad\": 2}\n\tcase == 1\n}\n",
    );
    let said = test(folder.path(), &["--format", "json"]);
    assert_eq!(said.code, Some(2));
    let results = results(&said);
    let names: Vec<_> = results.iter().map(|it| (it["name"].clone(), it["fail"].clone())).collect();
    let (yes, none) = (json!(true), Value::Null);
    let expected = [
        (json!("test_quoted"), yes.clone()),
        (json!("test_twice"), none),
        (json!("test_twice#01"), yes.clone()),
        (json!("test_cases"), yes),
    ];
    assert_eq!(names, expected);
    let cases = json!({"good": {"name": "good"}, "bad": {"name": "bad", "fail": true}});
    assert_eq!(results[3]["sub_results"], cases);
    assert_eq!(results[1]["location"]["row"], 7);
    assert_eq!(results[0]["package"], "data.lib_test");
    assert!(results[0]["duration"].is_u64());
}

#[test]
fn only_the_tests_that_are_asked_for_run() {
    let folder = folder(TESTS);
    let said = test(folder.path(), &["--run", "is_(open|closed)", "-v"]);
    assert!(said.out.ends_with("PASS: 2/2\n"), "{said:?}");
    let nothing = test(folder.path(), &["--run", "nothing"]);
    assert_eq!((nothing.code, &*nothing.err), (Some(0), "no tests were run\n"));
    assert_eq!(test(folder.path(), &["--run", "nothing", "--fail-on-empty"]).code, Some(1));
}

#[test]
fn coverage_tells_the_lines_that_nothing_evaluated() {
    let folder = folder(TESTS);
    fs::write(folder.path().join("untouched.rego"), "package other\n\nx := 1\n").unwrap();
    let said = test(folder.path(), &["--coverage", "--format", "json"]);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    let file = |name: &str| &report["files"][folder.path().join(name).to_str().unwrap()];
    assert_eq!(
        file("lib.rego")["not_covered"],
        json!([{"start": {"row": 11}, "end": {"row": 11}}])
    );
    assert_eq!(file("untouched.rego")["coverage"], 0.0);
    assert_eq!(file("lib_test.rego"), &Value::Null);
    let few = test(folder.path(), &["--threshold", "90"]);
    assert_eq!(few.code, Some(2));
    assert!(few.out.contains("not covered: 11\n"), "{few:?}");
    assert!(few.err.starts_with("code coverage threshold not met: got"), "{few:?}");
    assert_eq!(test(folder.path(), &["--threshold", "10"]).code, Some(0));
}

#[test]
fn junit_says_the_same_and_is_well_formed() {
    let folder = folder("package lib_test\n\ntest_a if {\n\tprint(\"<&>\")\n\t\"<\" == \"&\"\n}\n");
    let said = test(folder.path(), &["--format", "junit"]);
    assert_eq!(said.code, Some(2));
    let counts = "tests=\"1\" failures=\"1\" errors=\"0\" skipped=\"0\"";
    assert!(said.out.contains(&format!("<testsuite name=\"data.lib_test\" {counts}")), "{said:?}");
    assert!(said.out.contains("not true: &quot;&lt;&quot; == &quot;&amp;&quot;"), "{said:?}");
    assert!(said.out.contains("<system-out>&lt;&amp;&gt;</system-out>"), "{said:?}");
    let opened = said.out.matches("<test").count();
    assert_eq!(opened, said.out.matches("</test").count());
}

#[test]
fn a_test_that_goes_on_is_cut_off() {
    let folder = folder(
        "package lib_test\ntest_long if {\n\
         \tx := [1 | some a in numbers.range(1, 10000); some b in numbers.range(1, 10000); a * b == 7]\n\
         \tcount(x) == 3\n}\n",
    );
    let began = Instant::now();
    let said = test(folder.path(), &["--timeout", "100ms"]);
    assert!(began.elapsed().as_secs() < 20);
    assert_eq!(said.code, Some(2));
    assert!(said.out.contains("data.lib_test.test_long: ERROR"), "{said:?}");
    assert!(said.out.contains("not done after 100ms"), "{said:?}");
}

#[test]
fn what_cannot_be_used_is_no_failed_test() {
    let folder = folder("package lib_test\ntest_a if {\n");
    let said = test(folder.path(), &[]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("lib_test.rego:"), "{said:?}");
    let empty = TempDir::new().unwrap();
    assert_eq!(test(empty.path(), &[]).code, Some(2));
    assert_eq!(test(&folder.path().join("nowhere"), &[]).code, Some(1));
    fs::write(folder.path().join("lib_test.rego"), "package t\nf(x) := f(x)\ntest_a if f(1)\n")
        .unwrap();
    let said = test(folder.path(), &[]);
    assert!(said.err.contains("refers to itself"), "{said:?}");
    let mocks = "package lib\nf(x) := x\ntest_a if f(1) == 2 with data.lib.f as 2\n";
    fs::write(folder.path().join("lib_test.rego"), mocks).unwrap();
    let said = test(folder.path(), &[]);
    assert!(said.err.contains("a function of the policy cannot be replaced"), "{said:?}");
}

#[test]
fn several_files_make_one_policy() {
    let folder = folder(TESTS);
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (lib, tests, data) = (path("lib.rego"), path("lib_test.rego"), path("data.json"));
    let said = says(&["policy", "test", &lib, &tests, &data]);
    assert_eq!((said.code, said.out.trim_end()), (Some(0), "PASS: 4/4"), "{said:?}");
}
