//! What is found in policies without asking them.

use regorus::Engine;

use super::{Findings, Reads, analyze};

fn findings(modules: &[&str]) -> Findings {
    let mut engine = Engine::new();
    for (n, module) in modules.iter().enumerate() {
        engine.add_policy(format!("m{n}.rego"), (*module).to_owned()).unwrap();
    }
    analyze(engine.get_modules())
}

/// A policy whose `deny` is `body`.
fn deny(body: &str) -> Findings {
    findings(&[&format!("package sidegate.global\nimport rego.v1\ngrant := 1\n{body}")])
}

fn problems(findings: &Findings) -> Vec<String> {
    findings.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn time_and_address_are_noticed_however_they_are_read() {
    let (none, time, address) = (
        Reads::default(),
        Reads { time: true, ..Reads::default() },
        Reads { address: true, ..Reads::default() },
    );
    let both = Reads { time: true, address: true, local: true, unlogged: true };
    for (body, reads) in [
        ("deny contains \"x\" if input.peer.service == \"a\"", none),
        ("deny contains \"x\" if input[\"peer\"][\"service\"] == \"a\"", none),
        ("deny contains \"x\" if input.time.hour > 3", time),
        ("deny contains \"x\" if input[\"time\"].hour > 3", time),
        ("deny contains \"x\" if { t := input.time; t.hour > 3 }", time),
        ("deny contains \"x\" if late\nlate if input.time.hour > 3", time),
        ("deny contains \"x\" if late(1)\nlate(_) if input.time.hour > 3", time),
        ("deny contains \"x\" if data.sidegate.global.late\nlate if input.time.hour > 3", time),
        ("deny contains \"x\" if input.peer.address == \"::1\"", address),
        ("deny contains \"x\" if { p := input.peer; p.address == \"::1\" }", address),
        ("deny contains \"x\" if { some k; input.peer[k] == \"::1\" }", address),
        ("deny contains \"x\" if { some k; input[k].hour == 1 }", both),
        ("deny contains \"x\" if { walk(input, [_, v]); v == 1 }", both),
        ("deny contains \"x\" if count([y | y := input.time.hour]) > 0", time),
        (
            "deny contains \"x\" if { every s in input.peer.segments { s != input.time.weekday } }",
            time,
        ),
        ("deny contains input.time.weekday if true", time),
        ("deny contains x if { x := {\"code\": \"a\", \"message\": input.time.weekday} }", time),
        ("deny contains \"x\" if data.blocked[input.time.weekday]", time),
        ("deny contains \"x\" if not input.time.hour > 3", time),
        ("default deny := set()", none),
    ] {
        let found = deny(body);
        assert_eq!(problems(&found), Vec::<String>::new(), "{body}");
        assert_eq!(found.identity_reads, reads, "{body}");
    }
}

#[test]
fn what_no_audit_line_holds_is_noticed_where_requests_are_asked_about() {
    for (body, unlogged) in [
        ("input.request.path == \"/a\"", false),
        ("input.request.headers[\"a\"]", true),
        ("input.request.query.a", true),
        ("startswith(input.request.host, \"a\")", true),
        ("r := input.request; r.method == \"GET\"", true),
    ] {
        let request = format!(
            "package sidegate.request\nimport rego.v1\ndeny contains \"x\" if {{ {body} }}"
        );
        let found = findings(&["package sidegate.global\ngrant := 1", &request]);
        assert_eq!(problems(&found), Vec::<String>::new(), "{body}");
        assert_eq!(found.request_reads.unlogged, unlogged, "{body}");
    }
}

#[test]
fn imports_are_followed() {
    let found = findings(&[
        "package sidegate.global\nimport rego.v1\nimport data.lib.clock\nimport input.time as now\n\
         grant := clock.late\ndeny contains \"x\" if now.hour > 3",
        "package lib.clock\nimport rego.v1\nlate if input.peer.address == \"::1\"",
    ]);
    assert_eq!(problems(&found), Vec::<String>::new());
    assert_eq!(found.identity_reads, Reads { time: true, address: true, ..Reads::default() });
}

#[test]
fn what_only_requests_read_does_not_make_identities_short_lived() {
    let found = findings(&[
        "package sidegate.global\nimport rego.v1\ngrant := 1",
        "package sidegate.request\nimport rego.v1\n\
         deny contains \"x\" if { input.time.hour > 3; input.request.headers[\"x-tier\"] }",
    ]);
    assert_eq!(problems(&found), Vec::<String>::new());
    assert_eq!(found.identity_reads, Reads::default());
}

#[test]
fn fields_that_are_never_there_are_refused_with_a_suggestion() {
    for (body, expected) in [
        ("input.peer.sevice == 1", "`input.peer.sevice` does not exist, did you mean `service`?"),
        ("input.per.service == 1", "`input.per` does not exist, did you mean `peer`?"),
        ("input.nonsense", "`input.nonsense` does not exist"),
        ("input.peer[\"addres\"]", "`input.peer.addres` does not exist, did you mean `address`?"),
        ("input.request.path == \"/\"", "`input.request` exists only for"),
        ("input.grant.tenant == \"a\"", "`input.grant` exists only for"),
    ] {
        let found = problems(&deny(&format!("deny contains \"x\" if {body}")));
        assert_eq!(found.len(), 1, "{body}: {found:?}");
        assert!(found[0].starts_with("m0.rego:4:"), "{found:?}");
        assert!(found[0].contains(expected), "{found:?}");
    }
}

#[test]
fn a_misspelled_answer_is_refused() {
    for (module, expected) in [
        (
            "package sidegate.global\nimport rego.v1\ndenny contains \"x\" if true",
            "`data.sidegate.global.denny` is neither asked for nor used by what is, did you mean \
             `data.sidegate.global.deny`?",
        ),
        (
            "package sidegate.tennant\nimport rego.v1\nlimit := []",
            "did you mean `data.sidegate.tenant.limit`?",
        ),
        ("package sidegate.team\nlimits := []", "did you mean `data.sidegate.team.limit`?"),
        ("package sidegte.team\nlimit := []", "did you mean `data.sidegate.team.limit`?"),
        ("package sidegate.global\nlimits := []", "did you mean `data.sidegate.global.limit`?"),
        ("package sidegate.request\nlimit := []", "`data.sidegate.request.limit` is neither"),
        ("package sidegate\nx := 1", "`data.sidegate.x` is neither"),
    ] {
        let found = findings(&["package sidegate.global\ngrant := 1", module]);
        let found = problems(&found);
        assert_eq!(found.len(), 1, "{module}: {found:?}");
        assert!(found[0].contains(expected), "{module}: {found:?}");
    }
}

#[test]
fn a_rule_that_would_revoke_nothing_is_refused() {
    for module in ["package revocations\ntokens := []", "package revocations.tokens\nx := 1"] {
        let found = problems(&findings(&["package sidegate.global\ngrant := 1", module]));
        assert_eq!(found.len(), 1, "{module}: {found:?}");
        assert!(found[0].contains("`data.revocations` stands in data files"), "{found:?}");
    }
}

#[test]
fn what_the_limit_of_everybody_reads_counts_like_any_other() {
    for (module, reads) in [
        ("limit := [\"a:b\"] if input.time.hour > 3", Reads { time: true, ..Reads::default() }),
        ("limit := [\"a:b\"] if input.peer.address", Reads { address: true, ..Reads::default() }),
        ("limit := most\nmost := [\"a:b\"] if input.peer.method == \"jwt\"", Reads::default()),
    ] {
        let found = deny(module);
        assert_eq!(problems(&found), Vec::<String>::new(), "{module}");
        assert_eq!(found.identity_reads, reads, "{module}");
    }
    let found = problems(&deny("limit := [\"a:b\"] if input.request.path == \"/\""));
    assert!(found[0].contains("`input.request` exists only for"), "{found:?}");
}

#[test]
fn helpers_and_libraries_are_fine() {
    let found = findings(&[
        "package sidegate.global\nimport rego.v1\nimport data.company.lib\n\
         default grant := {}\ngrant := x if { x := lib.of(service) }\n\
         service := input.peer.service\ndeny contains m if { some m in data.sidegate.notes.all }",
        "package sidegate.notes\nall := []",
        "package company.lib\nimport rego.v1\nof(x) := {\"tenant\": x}\nunused(x) := x",
    ]);
    assert_eq!(problems(&found), Vec::<String>::new());
    assert!(found.defines("data.sidegate.global.grant"));
    assert!(!found.defines("data.sidegate.team.limit"));
}

#[test]
fn a_variable_of_the_same_name_as_a_rule_is_no_recursion() {
    for body in [
        "deny contains \"x\" if { service := input.peer.service; service == \"a\" }\n\
         service := 1",
        "deny contains tenant if { tenant := 1 }\ntenant if { tenant := 2; tenant > 1 }",
        "deny contains \"x\" if f(1)\nf(f1) if { some f in [f1]; f > 1 }",
        "deny contains \"x\" if { [y | y := 1][0] > y }\ny := 1",
        "deny contains \"x\" if g(1)\ng(deny) if deny > 1",
    ] {
        let found = problems(&deny(body));
        assert!(!found.iter().any(|it| it.contains("refers to itself")), "{body}: {found:?}");
    }
}

#[test]
fn recursion_is_found_however_it_hides() {
    for body in [
        "deny contains \"x\" if f(1)\nf(n) := f(n)",
        "deny contains \"x\" if f(1)\nf(n) := g(n)\ng(n) := [m | m := f(n)]",
        "deny contains \"x\" if { y := x; x := 1 }\nx := deny",
        "deny contains \"x\" if data.sidegate.global.deny",
        "deny contains \"x\" if data.sidegate[\"global\"].deny",
        "deny contains \"x\" if { some p; data.sidegate[p].deny }",
        "deny contains \"x\" if count(data) > 0",
        "deny contains \"x\" if { every a in [1] { a in deny } }",
        "deny contains y if { y := {z | some z in deny} }",
        "x[a] := b if { some a, b in x }\ndeny contains \"x\" if x",
        "default x(_) := 1\nx(a) := b if { b := x(a) }\ndeny contains \"x\" if x(1)",
    ] {
        let found = problems(&deny(body));
        assert!(found.iter().any(|it| it.contains("refers to itself")), "{body}: {found:?}");
    }
}

#[test]
fn what_depends_on_more_than_the_input_is_refused() {
    for (body, expected) in [
        ("time.now_ns() > 1", "`time.now_ns` reads the clock: use `input.time`"),
        ("rand.intn(\"a\", 2) == 1", "`rand.intn` answers by chance"),
        ("http.send({}).status_code == 200", "`http.send` reaches outside the policy"),
        ("no_such(1)", "`no_such` is not a function that a policy can call"),
        ("print(\"x\")", "`print` belongs into tests only"),
        ("input.peer.service == \"x\" with input as {}", "`with` belongs into tests only"),
        ("count(numbers.range(1, input.time.hour)) > 1", "takes plain numbers"),
        ("sprintf(input.peer.path, []) == \"a\"", "takes its format as plain text"),
        ("sprintf(\"%99999d\", [1]) == \"a\"", "too wide a field"),
    ] {
        let found = problems(&deny(&format!("deny contains \"x\" if {body}")));
        assert!(found.iter().any(|it| it.contains(expected)), "{body}: {found:?}");
    }
    let fine = deny("deny contains \"x\" if sprintf(\"%v %05d %s\", [1, 2, 3]) == \"a\"");
    assert_eq!(problems(&fine), Vec::<String>::new());
}

#[test]
fn every_problem_is_told_at_once() {
    let found = problems(&deny(
        "deny contains \"x\" if time.now_ns() > 1\ndeny contains \"y\" if input.peer.nam\nodd := 1",
    ));
    assert_eq!(found.len(), 3, "{found:?}");
}

#[test]
fn a_name_that_nothing_gives_a_value_is_refused() {
    for body in [
        "deny contains \"x\" if blockd\nblocked if input.peer.service == \"a\"",
        "deny contains \"x\" if blocked.now",
        "deny contains \"x\" if not blocked",
        "deny contains reason if input.peer.service == \"a\"",
        "deny contains \"x\" if { y == 1 }",
        "deny contains \"x\" if startswith(y, \"a\")",
        "deny contains \"x\" if { count([z | z := y]) > 0 }",
        "deny contains \"x\" if { x := y; y := 1 }",
    ] {
        let found = problems(&deny(body));
        assert!(
            found.iter().any(|it| it.contains("neither a rule nor a var")),
            "{body}: {found:?}"
        );
    }
    for body in [
        "deny contains \"x\" if data.list[i] == 1",
        "deny contains i if data.list[i]",
        "deny contains \"x\" if { [a, b] = data.list; a > b }",
        "deny contains \"x\" if { walk(data.list, [path, value]); value == path }",
        "deny contains \"x\" if { split(input.peer.path, \"/\", parts); parts[0] == \"\" }",
        "deny contains \"x\" if { some k, v in data.list; k == v }",
        "deny contains \"x\" if { data.list[_] == 1 }",
        "deny contains \"x\" if { data.list == {\"a\": x}; y = x; y == 1; 1 = x }",
    ] {
        assert_eq!(problems(&deny(body)), Vec::<String>::new(), "{body}");
    }
}

#[test]
fn nothing_hides_the_input() {
    let found = deny("deny contains \"x\" if late({\"time\": 1})\nlate(input) if input.time.hour");
    assert!(found.identity_reads.time || !found.problems.is_empty());
    let found = findings(&[
        "package sidegate.global\nimport rego.v1\nimport data.lib.x as input\ngrant := input",
        "package lib\nx := 1",
    ]);
    assert!(problems(&found)[0].contains("nothing can be imported as `input`"));
}

#[test]
fn what_only_the_decision_log_asks_may_read_an_events_fields() {
    let mask = "package system.log\nimport rego.v1\nmask contains \"/input/peer/address\" if \
                input.input.direction == \"inbound\"\ndrop if input.result.allowed";
    assert_eq!(problems(&findings(&[mask])), Vec::<String>::new());
    let stray = "package other\nimport rego.v1\nx if input.input.direction == \"inbound\"";
    assert_eq!(problems(&findings(&[stray])).len(), 1);
}

#[test]
fn what_each_entry_point_reads_is_listed_with_what_it_uses() {
    let found = findings(&[
        "package sidegate.global\nimport rego.v1\ngrant := data.services[input.peer.service]\n\
         deny contains \"late\" if late\nlate if { input.time.hour > 20; input.peer.path != \"\" }",
        "package sidegate.request\nimport rego.v1\n\
         deny contains \"x\" if input.request.headers[\"x-tier\"][_] == \"a\"\n\
         deny contains \"y\" if { input.request.headers; input.grant.tenant == \"b\" }",
    ]);
    assert_eq!(problems(&found), [""; 0]);
    let told: Vec<_> =
        found.entries.iter().map(|it| (it.name, it.input.join(" "), it.holds())).collect();
    let minute = "for an identity, until the minute ends";
    let expected = [
        ("data.sidegate.global.grant", "input.peer.service", minute),
        ("data.sidegate.global.deny", "input.peer.path input.time.hour", minute),
        (
            "data.sidegate.request.deny",
            "input.grant.tenant input.request.headers",
            "for one request",
        ),
    ];
    assert_eq!(told, expected.map(|(name, input, holds)| (name, input.to_owned(), holds)));
    assert_eq!(found.request_reads, Reads { unlogged: true, ..Reads::default() });
}
