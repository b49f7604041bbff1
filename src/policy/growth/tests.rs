//! Calls that would fill the memory, and those that come to what they always did.

use std::time::{Duration, Instant};

use regorus::Value;

use super::*;
use crate::policy::entry::unharmed;

/// What `x` comes to where `h` is `length` letters.
fn answer(rules: &str, length: usize) -> Result<Value, String> {
    let module = format!("package t\nimport rego.v1\nh := input.h\n{rules}");
    let mut engine = Engine::new();
    engine.set_strict_builtin_errors(true);
    engine.add_policy("p.rego".to_owned(), module.clone()).unwrap();
    bound(&mut engine, &[&module]);
    engine.set_input(Value::from(std::collections::BTreeMap::from([(
        Value::from("h"),
        Value::from("a".repeat(length)),
    )])));
    let began = Instant::now();
    let answer = unharmed(|| engine.eval_rule("data.t.x".to_owned()));
    assert!(began.elapsed() < Duration::from_secs(10), "{rules}");
    answer.map_err(|error| Problem::from_interpreter("", &error.unwrap().to_string()).to_string())
}

#[test]
fn what_would_fill_the_memory_is_an_error_before_it_does() {
    let doubled: String = (1..40).map(|n| format!("d{n} := [d{}, d{}]\n", n - 1, n - 1)).collect();
    for (rules, name) in [
        ("x := replace(h, \"a\", replace(h, \"a\", replace(h, \"a\", h)))".to_owned(), "replace"),
        ("x := replace(h, \"\", h)".to_owned(), "replace"),
        ("x := regex.replace(h, \"a\", h)".to_owned(), "regex.replace"),
        ("x := concat(h, split(h, \"\"))".to_owned(), "concat"),
        ("x := concat(\"\", [h | some i in numbers.range(1, 1000); i > 0])".to_owned(), "concat"),
        (
            "x := concat(\"\", [sprintf(\"%v%v\", [i, h]) | some i in numbers.range(1, 1000)])"
                .to_owned(),
            "sprintf",
        ),
        (
            "x := sprintf(\"%v\", [[h | some i in numbers.range(1, 1000); i > 0]])".to_owned(),
            "sprintf",
        ),
        (format!("d0 := [h, h]\n{doubled}x := sprintf(\"%v\", [d39])"), "sprintf"),
        (format!("d0 := [h, h]\n{doubled}x if {{ walk(d39, [_, v]); v == 1 }}"), "walk"),
        (format!("x := {}h{}", "hex.encode(".repeat(10), ")".repeat(10)), "hex.encode"),
        (format!("x := {}h{}", "base64.encode(".repeat(24), ")".repeat(24)), "base64.encode"),
        ("x := split(concat(\"\", [h, h, h, h, h, h, h]), \"\")".to_owned(), "split"),
    ] {
        let said = answer(&rules, 60_000).map(|_| "an answer").unwrap_err();
        let expected = format!("`{name}` makes more than 16777216 bytes");
        assert!(said.contains(&expected), "{rules}: {said}");
    }
}

#[test]
fn what_is_made_for_one_answer_counts_together_and_the_next_begins_anew() {
    let rules =
        "x := count([t | some i in numbers.range(1, LAST); t := concat(\"\", [h, \"b\"]); i > 0])";
    for _ in 0..3 {
        let fits = answer(&rules.replace("LAST", "200"), 60_000);
        assert_eq!(fits, Ok(Value::from(200)));
        let said = answer(&rules.replace("LAST", "300"), 60_000).unwrap_err();
        assert!(said.starts_with("p.rego:4:"), "{said}");
        assert!(said.contains("`concat` makes more than"), "{said}");
    }
}

#[test]
fn what_is_small_comes_to_what_the_interpreter_says() {
    for (call, json) in [
        ("concat(\"-\", [h, \"b\"])", "\"aaa-b\""),
        ("concat(\"-\", {h, \"b\"})", "\"aaa-b\""),
        ("replace(h, \"a\", \"xy\")", "\"xyxyxy\""),
        ("regex.replace(h, \"a\", \"<$0>\")", "\"<a><a><a>\""),
        ("split(\"a/b\", \"/\")", "[\"a\",\"b\"]"),
        ("regex.split(\"b\", \"xby\")", "[\"x\",\"y\"]"),
        ("regex.find_n(\"a\", h, 2)", "[\"a\",\"a\"]"),
        ("regex.find_all_string_submatch_n(\"(a)a\", h, -1)", "[[\"aa\",\"a\"]]"),
        (
            "sprintf(\"%v and %s\", [[1, {\"k\": h}], h])",
            "\"[1, {\\\"k\\\": \\\"aaa\\\"}] and aaa\"",
        ),
        ("array.concat([1], [h])", "[1,\"aaa\"]"),
        ("{v | walk({\"k\": [h]}, [_, v]); is_string(v)}", "[\"aaa\"]"),
        ("[y | split(\"a/b\", \"/\", y)]", "[[\"a\",\"b\"]]"),
    ] {
        let said = answer(&format!("x := {call}"), 3).unwrap();
        assert_eq!(
            said.to_json_str().unwrap().replace(['\n', ' '], ""),
            json.replace(' ', ""),
            "{call}"
        );
    }
}

#[test]
fn what_a_function_cannot_take_is_told_where_it_is_called() {
    let said = answer("x := concat(1, [h])", 3).unwrap_err();
    assert!(said.starts_with("p.rego:4:"), "{said}");
    assert!(said.contains("`concat` expects string argument"), "{said}");
}
