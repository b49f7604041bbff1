//! Who is found, and by which names.

use super::*;

fn policy(files: &[(&str, &str)]) -> Source {
    Source::from_files(
        files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())),
    )
    .unwrap()
}

fn ids(source: &Source, extra: &Extra) -> Vec<String> {
    known(source, extra).iter().map(|it| it.id.to_string()).collect()
}

#[test]
fn services_of_the_shipped_policy_are_known_in_every_environment() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let source = Source::read(&folder).unwrap();
    let ids = ids(&source, &Extra::default());
    for expected in [
        "spiffe://example.org/prod/orders",
        "spiffe://example.org/prod/storefront",
        "spiffe://example.org/ops/break-glass",
        "https://auth.example.org deployer",
        "https://auth.example.org (any other subject)",
    ] {
        assert!(ids.iter().any(|id| id == expected), "{expected} in {ids:#?}");
    }
    assert!(!ids.iter().any(|id| id.contains("evil.example")), "{ids:#?}");
}

#[test]
fn a_rule_that_names_a_part_of_the_callers_id_says_what_a_name_is() {
    let source = policy(&[
        (
            "data.json",
            r#"{"services": {"orders": {}}, "by": {"dev": {"x": 1}}, "other": {"y": 1}}"#,
        ),
        ("ids.rego", "package lib.ids\npeer := {\"service\": \"\", \"environment\": \"\"}\n"),
        (
            "p.rego",
            "package p\nimport data.lib.ids\nr if data.services[ids.peer.service]\n\
             s if data.by[ids.peer.environment].x\nt if data.other[ids.peer]\n",
        ),
    ]);
    let extra = Extra { trust_domains: vec!["example.org".to_owned()], ..Extra::default() };
    assert_eq!(ids(&source, &extra), ["spiffe://example.org/dev/orders"]);
}

#[test]
fn ids_are_found_in_data_rules_and_tests() {
    let source = policy(&[
        ("data.json", r#"{"a": {"spiffe://a.example/x/key": ["spiffe://a.example/x/value"]}}"#),
        ("p.rego", "package p\nr if input.peer.spiffe_id == \"spiffe://a.example/x/rule\"\n"),
        ("p_test.rego", "package p_test\ntest_x if \"spiffe://a.example/x/test\" == \"\"\n"),
    ]);
    let known = known(&source, &Extra::default());
    let told: Vec<_> = known.iter().map(|it| (&*it.id, it.from.as_str())).collect();
    assert_eq!(
        told,
        [
            ("spiffe://a.example/x/key", "data.json"),
            ("spiffe://a.example/x/rule", "p.rego:2"),
            ("spiffe://a.example/x/test", "p_test.rego:2"),
            ("spiffe://a.example/x/value", "data.json"),
        ]
    );
}

#[test]
fn lookups_say_what_a_name_is() {
    let data = r#"{"by": {"prod": {"a": 1}, "dev": {"b": 1}}, "list": ["c"], "paths": {"/ns/x/sa/y": 1},
        "domains": {"other.example": {"svc": {"e": 1}}}}"#;
    for (rule, expected) in [
        (
            "r if data.by[input.peer.environment][input.peer.service]",
            &["spiffe://t.example/dev/b", "spiffe://t.example/prod/a"][..],
        ),
        ("r if input.peer.service in data.list", &["spiffe://t.example/qa/c"]),
        ("r if { some s in data.list; s == input.peer.service }", &["spiffe://t.example/qa/c"]),
        ("r if { n := input.peer.service; data.by.dev[n] }", &["spiffe://t.example/qa/b"]),
        ("r if object.get(data.by.prod, input.peer.service, false)", &["spiffe://t.example/qa/a"]),
        ("r if data.paths[input.peer.path]", &["spiffe://t.example/ns/x/sa/y"]),
        ("r if input.peer.service in {\"d\"}", &["spiffe://t.example/qa/d"]),
        (
            "r if data.domains[input.peer.trust_domain].svc[input.peer.service]",
            &["spiffe://other.example/qa/e"],
        ),
    ] {
        let source = policy(&[("data.json", data), ("p.rego", &format!("package p\n{rule}\n"))]);
        let by_lookup = rule.contains("[input.peer.environment]");
        let extra = Extra {
            trust_domains: vec!["t.example".to_owned()],
            environments: if by_lookup { vec![] } else { vec!["qa".to_owned()] },
            ..Extra::default()
        };
        assert_eq!(ids(&source, &extra), expected, "{rule}");
    }
}

#[test]
fn a_list_that_is_given_counts_too() {
    let source = policy(&[("p.rego", "package p\nr := 1\n")]);
    let id = SpiffeId::new("spiffe://t.example/prod/x").unwrap();
    let extra = Extra { identities: vec![id.clone(), id], ..Extra::default() };
    let known = known(&source, &extra);
    assert_eq!(known.len(), 1);
    assert_eq!(known[0].from, "given");
}

#[test]
fn more_identities_than_the_bound_are_cut_off() {
    let services: Vec<_> = (0..60_000).map(|it| format!("\"s{it}\"")).collect();
    let data = format!("{{\"list\": [{}]}}", services.join(","));
    let rule = "package p\nr if input.peer.service in data.list\n";
    let source = policy(&[("data.json", &data), ("p.rego", rule)]);
    let extra = Extra {
        trust_domains: vec!["t.example".to_owned()],
        environments: vec!["a".to_owned(), "b".to_owned()],
        ..Extra::default()
    };
    assert_eq!(known(&source, &extra).len(), KNOWN_MAX);
}

#[test]
fn a_file_that_does_not_parse_hides_no_other() {
    let source = policy(&[
        ("a.rego", "package a\nnonsense ((((\n"),
        ("b.rego", "package b\nr := \"spiffe://t.example/prod/x\"\n"),
    ]);
    assert_eq!(ids(&source, &Extra::default()), ["spiffe://t.example/prod/x"]);
}
