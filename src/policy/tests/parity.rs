//! The same policies and inputs through this engine, all checks included, and through OPA, whose
//! answers were recorded by `tests/parity/record`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use regorus::{Engine, Value};
use serde_json::Value as Json;

use crate::policy::COMPILER_STACK_BYTES;
use crate::policy::prepare::{checked, documents};
use crate::policy::source::Source;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn json(path: &Path) -> Json {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    serde_json::from_str(&text).unwrap()
}

fn policy_of(case: &Path) -> PathBuf {
    match case.file_name().unwrap().to_str().unwrap() {
        "examples" => repository().join("policies"),
        _ => case.to_owned(),
    }
}

/// The value, `"undefined"`, or `"error"`, as they are recorded.
fn answer(engine: &Engine, rule: &str) -> Json {
    let mut engine = engine.clone();
    match engine.eval_query(rule.to_owned(), false) {
        Err(_) => "error".into(),
        Ok(results) => match results.result.first().and_then(|it| it.expressions.first()) {
            None => "undefined".into(),
            Some(expression) if expression.value == Value::Undefined => "undefined".into(),
            Some(expression) => {
                let text = expression.value.to_json_str().unwrap();
                serde_json::json!({"value": serde_json::from_str::<Json>(&text).unwrap()})
            }
        },
    }
}

/// `1.0` is `1`.
fn same(one: &Json, other: &Json) -> bool {
    match (one, other) {
        (Json::Number(one), Json::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        (Json::Array(one), Json::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Json::Object(one), Json::Object(other)) => {
            let matches = |(name, value)| other.get(name).is_some_and(|it| same(value, it));
            one.len() == other.len() && one.iter().all(matches)
        }
        _ => one == other,
    }
}

fn differences(case: &Path) -> (usize, Vec<String>) {
    let source = Source::read(&policy_of(case)).unwrap();
    let (engine, _) = match checked(&source, || documents(&source)) {
        Ok(checked) => checked,
        Err(error) => return (0, vec![format!("{}", error.full())]),
    };
    let inputs = case.join("inputs.json");
    let inputs = if inputs.exists() { json(&inputs) } else { serde_json::json!({"none": null}) };
    let recorded = json(&case.join("expected.json"));
    let (mut asked, mut wrong) = (0, Vec::new());
    for (name, input) in inputs.as_object().unwrap() {
        let mut engine = engine.clone();
        engine.set_input(Value::from_json_str(&input.to_string()).unwrap());
        let expected: BTreeMap<String, Json> =
            serde_json::from_value(recorded["answers"][name].clone()).unwrap();
        for (rule, expected) in expected {
            asked += 1;
            let ours = answer(&engine, &rule);
            if !same(&ours, &expected) {
                wrong.push(format!("{rule} for {name}: {ours}, and in OPA {expected}"));
            }
        }
    }
    (asked, wrong)
}

fn agrees(case: &str) {
    let case = repository().join("tests/parity/cases").join(case);
    let look = move || differences(&case);
    let thread = thread::Builder::new().stack_size(COMPILER_STACK_BYTES).spawn(look).unwrap();
    let (asked, wrong) = thread.join().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(asked > 0, "nothing was asked");
}

macro_rules! cases {
    ($($test:ident: $case:literal),* $(,)?) => {
        $(#[test]
        fn $test() {
            agrees($case);
        })*

        #[test]
        fn every_case_is_tried() {
            let cases = fs::read_dir(repository().join("tests/parity/cases")).unwrap();
            let mut there: Vec<_> =
                cases.map(|case| case.unwrap().file_name().into_string().unwrap()).collect();
            there.sort();
            assert_eq!(there, [$($case),*]);
        }
    };
}

cases! {
    collections_are_as_in_opa: "collections",
    the_contract_is_read_as_in_opa: "contract",
    encodings_are_as_in_opa: "encodings",
    the_example_policies_answer_as_in_opa: "examples",
    the_language_is_that_of_opa: "language",
    negation_is_as_in_opa: "negation",
    networks_are_as_in_opa: "networks",
    objects_are_as_in_opa: "objects",
    packages_and_imports_are_as_in_opa: "packages",
    patterns_are_as_in_opa: "patterns",
    strings_are_as_in_opa: "strings",
    times_are_as_in_opa: "times",
    types_and_numbers_are_as_in_opa: "types",
}
