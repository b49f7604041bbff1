//! Which remarks are made, and which are not.

use super::*;

const DATA: &str = r#"{"services": {"a": {"tenant": "t"}}, "blocked": {}, "list": ["a"], "name": "x",
    "roles": {"reader": {"scopes": ["*:read"]}}}"#;

/// A policy without remarks, with `more` in its global module.
fn policy(more: &str) -> Source {
    let text = format!(
        "package sidegate.global\n\ndefault grant := {{\"roles\": [], \"scopes\": [], \"tenant\": null}}\n\ndefault limit := []\n\nlimit := [\"*:*\"] if input.peer.method == \"spiffe\"\n\n{more}\n"
    );
    source(&[("global.rego", &text), ("data.json", DATA), ("global_test.rego", "package t\n")])
}

fn source(files: &[(&str, &str)]) -> Source {
    let files = files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()));
    Source::from_files(files).unwrap()
}

fn codes(source: &Source) -> Vec<(Level, &'static str, u32)> {
    lint(source).iter().map(|it| (it.level, it.code, it.problem.line)).collect()
}

#[test]
fn the_shipped_policy_has_no_remarks() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    assert_eq!(lint(&Source::read(&folder).unwrap()), []);
}

#[test]
fn a_plain_policy_has_no_remarks() {
    for more in [
        "",
        "deny contains \"x\" if data.blocked[input.peer.spiffe_id]",
        "deny contains \"x\" if not data.services[input.peer.service]",
        "deny contains \"x\" if { some it in data.list; it == input.peer.service }",
        "deny contains \"x\" if input.peer.service in data.list",
        "deny contains \"x\" if startswith(input.peer.spiffe_id, \"spiffe://t/prod/\")",
        "deny contains \"x\" if regex.match(`^/prod/[a-z]+$`, input.peer.path)",
        "deny contains \"x\" if { [\"prod\", _] = input.peer.segments; input.peer.service == \"a\" }",
        "deny contains \"x\" if { input.time.hour < 6; input.time.weekday in {\"Sunday\"} }",
        "deny contains \"x\" if input.peer.service == null",
        "deny contains data.name if input.peer.segments[0] == \"dev\"",
    ] {
        assert_eq!(codes(&policy(more)), [], "{more}");
    }
}

#[test]
fn each_doubt_is_found_at_its_line() {
    use Level::{Error, Warning};
    for (more, level, code) in [
        ("deny contains \"x\" if data.bloked[input.peer.spiffe_id]", Error, "unknown-data"),
        ("deny contains \"x\" if data.services.b.tenant", Warning, "unknown-data-path"),
        ("deny contains \"x\" if data.list.a", Error, "misshaped-lookup"),
        ("deny contains \"x\" if data.list[input.peer.service]", Error, "misshaped-lookup"),
        ("deny contains \"x\" if input.peer.service in data.services", Warning, "misshaped-lookup"),
        ("deny contains \"x\" if input.peer.method == \"mtls\"", Error, "impossible-value"),
        ("deny contains \"x\" if input.peer.method != \"mtls\"", Error, "impossible-value"),
        ("deny contains \"x\" if input.time.weekday in {\"monday\"}", Error, "impossible-value"),
        ("deny contains \"x\" if input.time.hour == \"9\"", Error, "impossible-value"),
        ("deny contains \"x\" if input.time.hour == 24", Error, "impossible-value"),
        (
            "deny contains \"x\" if input.peer.spiffe_id == \"spiffe://t/a/\"",
            Error,
            "impossible-value",
        ),
        (
            "deny contains \"x\" if input.peer.trust_domain == \"spiffe://t\"",
            Error,
            "impossible-value",
        ),
        ("deny contains \"x\" if input.peer.segments == \"prod\"", Error, "impossible-value"),
        ("deny contains \"x\" if input.peer.address == \"10.0.0.1:80\"", Error, "impossible-value"),
        ("deny contains \"x\" if input.peer.service.name == \"a\"", Error, "unknown-field"),
        ("deny contains \"x\" if 1 == 2", Error, "never-matches"),
        ("deny contains \"x\" if false", Error, "never-matches"),
        ("deny contains \"x\" if not true", Error, "never-matches"),
        (
            "deny contains \"x\" if { input.peer.service == \"a\"; input.peer.service == \"b\" }",
            Error,
            "never-matches",
        ),
        (
            "deny contains \"x\" if { [_, _, _] = input.peer.segments; input.peer.service == \"a\" }",
            Error,
            "never-matches",
        ),
        (
            "deny contains \"x\" if { count(input.peer.segments) == 4; input.peer.environment == \"a\" }",
            Error,
            "never-matches",
        ),
        (
            "deny contains \"x\" if startswith(input.peer.spiffe_id, \"spiffe://t/prod\")",
            Warning,
            "loose-match",
        ),
        (
            "deny contains \"x\" if endswith(input.peer.trust_domain, \"corp.example\")",
            Warning,
            "loose-match",
        ),
        ("deny contains \"x\" if regex.match(`prod`, input.peer.path)", Warning, "loose-match"),
        ("deny contains \"x\" if contains(input.peer.path, \"prod\")", Warning, "loose-match"),
        ("deny contains \"x\" if data.roles.reader", Warning, "reads-roles"),
        (
            "deny contains \"x\" if { s := data.services[input.peer.service]; \"a\" in s.roles }",
            Warning,
            "reads-roles",
        ),
        ("deny := [\"x\"] if input.peer.service == \"a\"", Error, "missing-default"),
        (
            "grant := {\"roles\": [\"writer\"], \"scopes\": [], \"tenant\": null} if data.name == \"y\"",
            Error,
            "unknown-role",
        ),
        (
            "grant := {\"roles\": [], \"scopes\": [\"Orders:read\"], \"tenant\": null} if data.name == \"y\"",
            Error,
            "malformed-scope",
        ),
        ("limit := [\"orders\"] if data.name == \"y\"", Error, "malformed-scope"),
    ] {
        assert_eq!(codes(&policy(more)), [(level, code, 9)], "{more}");
    }
}

#[test]
fn requests_are_looked_at_more_closely_than_the_loader_does() {
    for (body, code) in [
        ("input.request.grpc.foo == \"x\"", "unknown-field"),
        ("input.request.headers[\"X-Tier\"]", "unknown-field"),
        ("input.request.headers.tier == \"gold\"", "impossible-value"),
        ("input.request.method == \"delete\"", "impossible-value"),
        ("input.request.protocol == \"https\"", "impossible-value"),
        ("input.grant.scopes == \"a:b\"", "impossible-value"),
    ] {
        let text = format!("package sidegate.request\n\ndeny contains \"x\" if {body}\n");
        let base = policy("");
        let mut files: Vec<_> = base
            .modules
            .iter()
            .chain(&base.tests)
            .map(|it| (it.name.clone(), it.text.clone()))
            .collect();
        files.push(("data.json".to_owned(), DATA.to_owned()));
        files.push(("request.rego".to_owned(), text));
        let files = files.into_iter().map(|(name, text)| (name, text.into_bytes()));
        let source = Source::from_files(files).unwrap();
        assert_eq!(codes(&source), [(Level::Error, code, 3)], "{body}");
    }
}

#[test]
fn what_a_policy_lacks_is_told() {
    let told = |files: &[(&str, &str)]| -> Vec<_> {
        lint(&source(files)).iter().map(|it| it.code).collect()
    };
    let bare = "package sidegate.global\n\ngrant := {\"roles\": [], \"scopes\": [], \"tenant\": \"t\"} if input.peer.service == \"a\"\n";
    assert_eq!(told(&[("g.rego", bare)]), ["missing-default", "missing-layer", "no-tests"]);
    let unused = "package lib\n\nimport data.sidegate.global\n\nhelp := 1\n";
    assert!(told(&[("g.rego", bare), ("lib.rego", unused)]).contains(&"unused-rule"));
    assert!(told(&[("g.rego", bare), ("lib.rego", unused)]).contains(&"unused-import"));
    let limit = "package sidegate.tenant\n\nlimit := [\"*:*\"] if input.peer.service == \"a\"\n";
    let told = told(&[("g.rego", bare), ("t.rego", limit)]);
    assert_eq!(told.iter().filter(|code| **code == "missing-default").count(), 2, "{told:?}");
}

#[test]
fn data_that_no_answer_could_use_is_told() {
    let data = r#"{"services": {"a": {"roles": ["nobody"], "scopes": ["openid"]}}, "roles": {}}"#;
    let base = policy("");
    let text = base.modules[0].text.as_str();
    let found =
        lint(&source(&[("g.rego", text), ("data.json", data), ("t_test.rego", "package t\n")]));
    let told: Vec<_> = found.iter().map(|it| (it.code, it.problem.file.as_str())).collect();
    assert_eq!(told, [("malformed-scope", "data.json"), ("unknown-role", "data.json")]);
}
