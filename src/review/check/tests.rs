//! What is said of callers and routes.

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::authz::Scope;
use crate::policy::{Source, compile};
use crate::review::{Extra, known};

const GLOBAL: &str = r#"package sidegate.global

default grant := {"roles": [], "scopes": [], "tenant": null}

grant := {"roles": it.roles, "scopes": it.scopes, "tenant": it.tenant} if {
	it := data.services[input.peer.service]
	input.peer.trust_domain == "t.example"
}

deny contains "blocked" if data.blocked[input.peer.spiffe_id]
"#;

const DATA: &str = r#"{
    "roles": {"reader": {"scopes": ["*:read"]}, "spare": {"scopes": ["spare:use"]}},
    "services": {
        "a": {"roles": ["reader"], "scopes": [], "tenant": "acme"},
        "b": {"roles": [], "scopes": ["jobs:run"], "tenant": "acme"},
        "c": {"roles": ["reader"], "scopes": [], "tenant": "other"}
    },
    "blocked": {}
}"#;

fn told(files: &[(&str, &str)], routes: &[(&str, &str)], tenant: &str) -> Vec<(Level, String)> {
    let files = files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()));
    let source = Source::from_files(files).unwrap();
    let extra = Extra { environments: vec!["prod".to_owned()], ..Extra::default() };
    let known = known(&source, &extra);
    let route = |(at, (name, scope)): (usize, &(&str, &str))| {
        let required = Required::All(vec![Scope::parse(scope).unwrap()]);
        let line = u32::try_from(at).unwrap() + 7;
        (Arc::new(Route::new(name, required).unwrap()), Some(("c.yaml".to_owned(), line)))
    };
    let callee = Callee {
        name: "c.yaml".to_owned(),
        asker: Asker { tenant: Arc::from(tenant), ..Asker::default() },
        takes_workloads: true,
        takes_tokens: false,
        routes: routes.iter().enumerate().map(route).collect(),
    };
    let callees = if routes.is_empty() { vec![] } else { vec![callee] };
    let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let found = check(&compile(source).unwrap(), &known, &callees, now);
    found.iter().map(|it| (it.level, format!("{}: {}", it.code, it.problem))).collect()
}

fn codes(told: &[(Level, String)]) -> Vec<&str> {
    told.iter().map(|(_, text)| text.split(':').next().unwrap()).collect()
}

#[test]
fn who_reaches_nothing_and_what_nobody_asks_for_is_told() {
    let files = [("g.rego", GLOBAL), ("data.json", DATA)];
    let told = told(&files, &[("GET /a", "orders:read"), ("POST /a", "orders:write")], "acme");
    assert_eq!(
        codes(&told),
        ["unused-role", "no-route-left", "no-route-left", "ungranted-scope", "unasked-scope"],
        "{told:#?}"
    );
    let text: Vec<&str> = told.iter().map(|(_, text)| text.as_str()).collect();
    assert!(text[0].contains("`spare`"));
    assert!(text[1].contains("prod/b") && text[2].contains("prod/c"), "{text:#?}");
    assert!(text[3].contains("c.yaml:8:1") && text[3].contains("`orders:write`"), "{text:#?}");
    assert!(text[4].contains("`jobs:run`"));
    assert!(told.iter().all(|(level, _)| *level == Level::Warning));
}

#[test]
fn a_policy_that_fails_for_somebody_is_an_error() {
    let data = DATA.replace("\"scopes\": [\"jobs:run\"]", "\"scopes\": [\"Jobs\"]");
    let told = told(&[("g.rego", GLOBAL), ("data.json", &data)], &[], "acme");
    assert_eq!(told[0].0, Level::Error);
    assert!(told[0].1.starts_with("identity-error: g.rego:3"), "{told:#?}");
    assert!(told[0].1.contains("spiffe://t.example/prod/b"), "{told:#?}");
}

#[test]
fn a_layer_that_leaves_nothing_is_told() {
    let layer = |limit: &str| format!("package sidegate.tenant\n\nlimit := {limit}\n");
    for (limit, level) in [("[]", Level::Error), ("[\"jobs:run\"]", Level::Warning)] {
        let layer = layer(limit);
        let files = [("g.rego", GLOBAL), ("data.json", DATA), ("t.rego", layer.as_str())];
        let told = told(&files, &[], "acme");
        let of_layer: Vec<_> =
            told.iter().filter(|(_, text)| text.starts_with("layer-takes-all: t.rego:3")).collect();
        assert_eq!(of_layer.len(), 1, "{told:#?}");
        assert_eq!(of_layer[0].0, level, "{told:#?}");
    }
}

#[test]
fn a_tenant_that_nobody_has_is_told() {
    let told = told(&[("g.rego", GLOBAL), ("data.json", DATA)], &[("GET /", "a:read")], "acne");
    assert!(codes(&told).contains(&"tenant-nobody-has"), "{told:#?}");
}

#[test]
fn many_remarks_of_one_kind_are_cut_short() {
    let services: Vec<String> = (0..60)
        .map(|it| {
            format!("\"s{it}\": {{\"roles\": [], \"scopes\": [\"x:y\"], \"tenant\": \"acme\"}}")
        })
        .collect();
    let data = format!("{{\"services\": {{{}}}, \"blocked\": {{}}}}", services.join(","));
    let told = told(&[("g.rego", GLOBAL), ("data.json", &data)], &[("GET /", "a:read")], "acme");
    let count = codes(&told).iter().filter(|code| **code == "no-route-left").count();
    assert_eq!(count, REMARKS_MAX + 1);
    assert!(told.iter().any(|(_, text)| text.contains("and 40 more like this")), "{told:#?}");
}
