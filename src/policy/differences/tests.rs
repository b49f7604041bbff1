//! What OPA refuses or answers otherwise is refused here.

use super::super::source::{Data, Format, Source, Text};
use super::super::{LoadError, compile};

const GRANT: &str = "package sidegate.global\n\
                     default grant := {\"roles\": [], \"scopes\": [], \"tenant\": null}\n\
                     deny contains \"x\" if p\n";

fn load(modules: &[&str], data: &str) -> Result<(), String> {
    let text = |name: String, text: &str| Text { name, text: text.to_owned() };
    let modules = modules.iter().enumerate();
    let source = Source {
        modules: modules.map(|(at, module)| text(format!("m{at}.rego"), module)).collect(),
        data: vec![Data {
            file: text("data.json".to_owned(), data),
            mount: Vec::new(),
            format: Format::Json,
        }],
        ..Source::default()
    };
    compile(source).map(drop).map_err(|error: LoadError| error.to_string())
}

fn global(rules: &str) -> Result<(), String> {
    load(&[&format!("{GRANT}{rules}")], "{}")
}

#[track_caller]
fn refused(rules: &str, why: &str) {
    let error = global(rules).expect_err(rules);
    assert!(error.contains(why), "{rules}\n{error}");
}

#[test]
fn definitions_that_do_not_go_together_are_refused() {
    refused("default p := 1\ndefault p := 2", "has a default already");
    refused("p := 1\np contains 1", "is defined as something else too");
    refused("p := f(1)\nf(x) := x\nf(x, y) := y", "is defined as something else too");
    refused("p := f\nf := 1\nf(x) := x", "is defined as something else too");
    refused("default p := set()\np contains 1", "is defined as something else too");
    refused("p := {}\np.x := 1", "cannot be a part of it");
    refused("p := contains\ncontains := 1", "cannot be called `contains`");
    refused("p := q\nq[x] := 1 if { some x in [1] } else := 2", "has no `else`");
    refused("p if not equal\nequal if false", "cannot be called `equal`");
    refused("p if time.weekday(0) == time\ntime := \"Monday\"", "hides `time.weekday` in OPA");
    let other = "package sidegate.global.p\nx := 1";
    let error = load(&[&format!("{GRANT}p := 1"), other], "{}").unwrap_err();
    assert!(error.contains("is a rule, and a package too"), "{error}");
}

#[test]
fn data_in_the_place_of_a_rule_is_refused() {
    let modules = [&*format!("{GRANT}p := data.lib.list"), "package lib\nlist := [1]"];
    assert_eq!(load(&modules, r#"{"lib": {"other": 1}}"#), Ok(()));
    for data in [r#"{"lib": {"list": [2]}}"#, r#"{"lib": 5}"#] {
        let error = load(&modules, data).unwrap_err();
        assert!(error.contains("`data.lib.list` is a rule, and stands in the data too"), "{error}");
    }
}

#[test]
fn calls_take_as_many_arguments_as_the_function_has() {
    refused("p := f(1, 2, 3)\nf(x) := x", "takes 1 arguments, not 3");
    refused("p if { false; count(1, 2, 3) }", "takes 1 arguments, not 3");
    refused("p := data.lib.nope(1)", "no such function is defined");
    assert_eq!(global("p if { startswith(\"a\", \"b\", x); x }"), Ok(()));
}

#[test]
fn patterns_and_formats_that_say_something_else_are_refused() {
    refused("p if glob.match(\"a?\", [\"/\"], input.peer.path)", "only `*`, `**`");
    refused("p if glob.match(\"a\", [\".\"], input.peer.path)", "takes the delimiters");
    refused("p if glob.match(data.x, [\"/\"], input.peer.path)", "takes its pattern as plain text");
    refused("p if regex.match(`^\\d+$`, input.peer.path)", "write `[0-9]`");
    refused("p if regex.match(data.x, input.peer.path)", "takes its pattern as plain text");
    refused("p := regex.split(\"a*\", input.peer.path)", "fits the empty text");
    refused("p := sprintf(\"%d\", [1])", "only `%s`, `%v` and `%%`");
    refused("p := sprintf(\"%5s\", [1])", "only `%s`, `%v` and `%%`");
    refused("p := sprintf(\"%s %s\", [1])", "has 2 places for 1 values");
    refused("p if { {\"a\": x} := data.object; x }", "fits more objects here");
    refused("p := f(data.object)\nf({\"a\": x}) := x", "fits more objects here");
    refused("p if { some {\"a\": x} in data.list; x }", "fits more objects here");
    refused("p := 10000000000000000000000", "is rounded here");
    refused("p := 0.12345678901234567", "is rounded here");
    assert_eq!(global("p := [1700000000000000000, 0.125, -3, 1e3]"), Ok(()));
    assert_eq!(global("p if { [x, {\"k\": 1}] := data.pair; x }"), Ok(()));
}

#[test]
fn functions_that_answer_otherwise_are_refused_with_what_to_write() {
    refused("p := json.marshal(input.peer)", "use `sprintf` with `%v`");
    refused("p := strings.count(\"a\", \"\")", "use `indexof_n`");
    refused("p := object.subset([1], [])", "compare field by field");
}

#[test]
fn an_import_has_a_name_of_its_own() {
    let import = |rest: &str| {
        let head = GRANT.replacen('\n', "\nimport data.lib\n", 1);
        load(&[&format!("{head}{rest}")], r#"{"lib": {"x": 1}}"#)
    };
    assert_eq!(import("p := lib.x"), Ok(()));
    for taken in [
        "p := lib\nlib := 1",
        "p if { lib := 1; lib }",
        "p := f(1)\nf(lib) := lib",
        "p if { some lib in [1]; lib }",
        "p if every lib in [1] { lib }",
    ] {
        let error = import(taken).unwrap_err();
        assert!(error.contains("`lib` is imported already"), "{taken}: {error}");
    }
}

#[test]
fn files_of_one_package_have_imports_of_their_own() {
    let first =
        GRANT.replacen('\n', "\nimport data.one as lib\n", 1) + "p if { lib.x == 1; q == 2 }\n";
    let second = "package sidegate.global\nimport data.two as lib\nq := lib.x\n";
    let third =
        "package sidegate.team\nimport data.sidegate.global\ndeny contains \"y\" if global.q == 2";
    assert_eq!(load(&[&first, second, third], r#"{"one": {"x": 1}, "two": {"x": 2}}"#), Ok(()));
}
