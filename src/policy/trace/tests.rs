//! What is traced is what the policy answers.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use spiffe::SpiffeId;

use super::*;
use crate::policy::{Direction, Local, Subject, Workload, compile};

fn source(files: &[(&str, &str)]) -> Source {
    let files = files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()));
    Source::from_files(files).unwrap()
}

fn ask<T>(id: &str, question: impl FnOnce(&IdentityQuestion<'_>) -> T) -> T {
    let subject = Subject::spiffe(Workload::new(&SpiffeId::new(id).unwrap()));
    let local = Local { workload: None, tenant: Arc::from("acme"), direction: Direction::Inbound };
    let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    question(&IdentityQuestion { subject: &subject, address: None, local: &local, now })
}

/// The lines of what applies, by rule.
fn applies(source: &Source, id: &str) -> Vec<(String, u32)> {
    let tracer = Tracer::new(source).unwrap();
    let events = ask(id, |question| tracer.identity(question));
    let applied = events.into_iter().filter(|event| event.value.is_some());
    applied.map(|event| (event.rule.to_owned(), event.line)).collect()
}

const CHAIN: &str = r#"package sidegate.global

default grant := {"roles": [], "scopes": [], "tenant": null}

grant := {"roles": [], "scopes": ["a:b"], "tenant": "acme"} if {
	input.peer.service == "one"
} else := {"roles": [], "scopes": ["c:d"], "tenant": "acme"} if {
	input.peer.service == "two"
} else := {"roles": [], "scopes": [], "tenant": "ümlaut-free"} if input.peer.service == "three"

grant := {"roles": [], "scopes": ["e:f"], "tenant": "acme"} if {
	input.peer.service == "four"
}

deny contains "blocked" if input.peer.service == "two"

deny contains "late" if input.peer.environment == "dev"
"#;

#[test]
fn the_branch_that_applies_is_found_in_every_chain() {
    let source = source(&[("p.rego", CHAIN)]);
    let grant = "data.sidegate.global.grant".to_owned();
    let deny = "data.sidegate.global.deny".to_owned();
    for (service, expected) in [
        ("one", vec![(grant.clone(), 5)]),
        ("two", vec![(grant.clone(), 7), (deny.clone(), 15)]),
        ("three", vec![(grant.clone(), 9)]),
        ("four", vec![(grant.clone(), 11)]),
        ("five", vec![(grant.clone(), 3)]),
    ] {
        let id = format!("spiffe://t.example/prod/{service}");
        assert_eq!(applies(&source, &id), expected, "{service}");
    }
    assert_eq!(
        applies(&source, "spiffe://t.example/dev/two"),
        [(grant, 7), (deny.clone(), 15), (deny, 17)]
    );
}

#[test]
fn definitions_in_several_files_are_told_apart() {
    let source = source(&[
        (
            "a.rego",
            "package sidegate.global\n\ngrant := {\"roles\": [], \"scopes\": [], \"tenant\": null} if input.peer.service == \"a\"\n",
        ),
        (
            "b.rego",
            "package sidegate.global\n\ngrant := {\"roles\": [], \"scopes\": [], \"tenant\": null} if input.peer.service == \"b\"\n",
        ),
        (
            "t.rego",
            "package sidegate.tenant\n\nlimit := [\"*:*\"] if data.sidegate.global.grant.tenant == null\n",
        ),
    ]);
    let tracer = Tracer::new(&source).unwrap();
    let events = ask("spiffe://t.example/prod/b", |question| tracer.identity(question));
    let applied: Vec<_> = events.iter().filter(|it| it.value.is_some()).collect();
    assert_eq!(applied.len(), 2, "{events:#?}");
    assert_eq!((applied[0].file.as_str(), applied[0].line), ("b.rego", 3));
    assert_eq!((applied[1].file.as_str(), applied[1].line), ("t.rego", 3));
}

#[test]
fn a_policy_that_imports_is_traced_as_it_is_enforced() {
    let policies = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/policies"));
    let source = Source::read(policies).unwrap();
    let line = |file: &str, text: &str| {
        let module = source.modules.iter().find(|it| it.name.ends_with(file)).unwrap();
        1 + u32::try_from(module.text.lines().position(|it| it.trim() == text).unwrap()).unwrap()
    };
    let tracer = Tracer::new(&source).unwrap();
    let subject =
        Subject::spiffe(Workload::new(&SpiffeId::new("spiffe://example.org/prod/orders").unwrap()));
    let own = Workload::new(&SpiffeId::new("spiffe://example.org/prod/billing").unwrap());
    let local = Local { workload: Some(own), tenant: "acme".into(), direction: Direction::Inbound };
    let question =
        IdentityQuestion { subject: &subject, address: None, local: &local, now: UNIX_EPOCH };
    let events = tracer.identity(&question);
    let granted = events.iter().find(|it| it.rule.ends_with("global.grant") && it.value.is_some());
    let granted = granted.unwrap();
    assert!(granted.file.ends_with("global.rego"), "{granted:?}");
    assert_eq!(
        (granted.line, granted.text.as_str()),
        (line("global.rego", "grant := {"), "grant := {")
    );
    let grant = compile(source.clone()).unwrap().identity(&question).unwrap().grant;
    let value: serde_json::Value = serde_json::from_str(granted.value.as_ref().unwrap()).unwrap();
    assert_eq!(value["tenant"].as_str(), grant.tenant.as_deref());
    let refused = "deny contains reason if some reason in deny_list.reasons";
    let asked = events.iter().find(|it| it.text == refused).unwrap();
    assert_eq!((asked.line, &asked.value), (line("global.rego", refused), &None));
    assert!(events.iter().all(|it| it.error.is_none()), "{events:#?}");
}

/// The interpreter by itself keeps one list of imports for all files of a package.
#[test]
fn an_import_of_one_file_is_no_import_of_another() {
    let grant =
        "package sidegate.global\n\ngrant := {\"roles\": [], \"scopes\": [], \"tenant\": null}\n";
    let one = "package sidegate.global\n\nimport data.lib.one as lib\n\ndeny contains \"a\" if lib.x == 1\n";
    let two = "package sidegate.global\n\nimport data.lib.two as lib\n\ndeny contains \"b\" if lib.x == 2\n";
    let source = source(&[
        ("g.rego", grant),
        ("one.rego", one),
        ("two.rego", two),
        ("lib_one.rego", "package lib.one\n\nx := 1\n"),
        ("lib_two.rego", "package lib.two\n\nx := 2\n"),
    ]);
    let deny = "data.sidegate.global.deny".to_owned();
    assert_eq!(
        applies(&source, "spiffe://t.example/prod/a"),
        [("data.sidegate.global.grant".to_owned(), 3), (deny.clone(), 5), (deny, 5)]
    );
    let said =
        crate::policy::query(&source, "data.sidegate.global.deny", crate::policy::Given::Nothing);
    let said: serde_json::Value = serde_json::from_str(&said.unwrap().json).unwrap();
    assert_eq!(said["result"][0]["expressions"][0]["value"], serde_json::json!(["a", "b"]));
}

#[test]
fn a_definition_that_fails_says_so() {
    let text = "package sidegate.global\n\ndefault grant := {\"roles\": [], \"scopes\": [], \"tenant\": null}\n\ngrant := {\"roles\": [], \"scopes\": [to_number(input.peer.service)], \"tenant\": null}\n";
    let tracer = Tracer::new(&source(&[("p.rego", text)])).unwrap();
    let events = ask("spiffe://t.example/prod/b", |question| tracer.identity(question));
    assert!(events[0].error.is_some(), "{events:#?}");
    assert_eq!(events[1].value, None, "a default does not stand in for an error");
}

#[test]
fn what_is_not_enforced_is_not_traced() {
    let text = "package sidegate.global\n\ngrant := time.now_ns()\n";
    assert!(Tracer::new(&source(&[("p.rego", text)])).is_err());
}

#[test]
fn data_is_found_in_its_file() {
    let source = source(&[
        ("p.rego", CHAIN),
        ("data.json", r#"{"services": {}}"#),
        ("roles/data.json", r#"{"reader": {"scopes": ["*:read"]}}"#),
    ]);
    let tracer = Tracer::new(&source).unwrap();
    assert_eq!(tracer.data_file(&["roles", "reader"]), Some("roles/data.json"));
    assert_eq!(tracer.data_file(&["services"]), Some("data.json"));
    assert_eq!(tracer.data_file(&["roles", "writer"]), None);
}

/// A condition on the service that many of the callers below meet.
fn condition() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..4_u8).prop_map(|n| format!("input.peer.service == \"s{n}\"")),
        (0..4_u8).prop_map(|n| format!("input.peer.service != \"s{n}\"")),
        Just("not data.none".to_owned()),
        Just("input.peer.environment == \"dev\"".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the chains look like, what applies has the value that the policy answers.
    #[test]
    fn what_applies_is_what_the_policy_answers(
        chains in prop::collection::vec(prop::collection::vec(condition(), 1..4), 1..4),
        service in 0..4_u8,
    ) {
        let mut text = "package sidegate.global\n\ndefault limit := []\n\ngrant := {\"roles\": [], \"scopes\": [], \"tenant\": null}\n".to_owned();
        for (at, chain) in chains.iter().enumerate() {
            for (branch, condition) in chain.iter().enumerate() {
                let head = if branch == 0 { "\nlimit" } else { " else" };
                text.push_str(&format!("{head} := [\"c{at}:b{branch}\"] if {{\n\t{condition}\n}}"));
            }
            text.push('\n');
        }
        let source = source(&[("p.rego", &text)]);
        let tracer = Tracer::new(&source).unwrap();
        let policy = compile(source).unwrap();
        let id = format!("spiffe://t.example/prod/s{service}");
        let (events, answer) =
            ask(&id, |question| (tracer.identity(question), policy.identity(question)));
        let mut values: Vec<_> = events
            .iter()
            .filter(|it| it.rule.ends_with("limit"))
            .filter_map(|it| it.value.clone())
            .collect();
        values.dedup();
        match answer {
            Ok(answer) => {
                let patterns = &answer.limits[0].patterns;
                let expected = Value::from(patterns.iter().map(|it| Value::from(it.as_str())).collect::<Vec<_>>());
                prop_assert_eq!(values, vec![serde_json::to_string(&expected).unwrap()], "{}", text);
            }
            // Two definitions that contradict each other.
            Err(_) => prop_assert!(values.len() > 1, "{}\n{:?}", text, values),
        }
    }
}
