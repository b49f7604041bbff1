//! Each form was asked of OPA and of this interpreter: those that differ are refused, and only those.

use regorus::Engine;

use super::*;

const HELPERS: &str = r#"
sometimes := {"a": 1} if input.peer.service == "orders"
default always := 1
always := 2 if input.peer.service == "orders"
constant := {"a", "b"}
reasons contains "a" if input.peer.service == "orders"
object[x] := 1 if { some x in data.list }
f(x) if x == "a"
default g(_) := 1
g(x) := 2 if x == "a"
"#;

fn problems(body: &str) -> Vec<Problem> {
    let mut engine = Engine::new();
    let text = format!(
        "package sidegate.global\nimport input.peer as who\nimport data.lib\n\
         p if {{\n service := data.services[input.peer.service]\n {body}\n}}\n{HELPERS}"
    );
    engine.add_policy("m.rego".to_owned(), text).unwrap();
    let modules = engine.get_modules();
    check(&modules[0], &Rules::new(modules))
}

#[test]
fn what_always_has_a_value_may_be_an_operand() {
    let fine = [
        "not input.peer.spiffe_id == \"x\"",
        "not startswith(input.peer.path, \"/prod\")",
        "not input.peer.service in {\"a\", \"b\"}",
        "not input.peer.service in constant",
        "not \"a\" in reasons",
        "not who.service in constant",
        "not data.blocked[input.peer.spiffe_id]",
        "not data.blocked[lower(input.peer.service)].until",
        "not data.anything.at.all",
        "not data.anything == input.peer.service",
        "not data.anything = service.owner",
        "not sometimes",
        "not sometimes.a == 1",
        "not service.disabled",
        "not lib.flag",
        "not f(input.peer.service)",
        "not f(service)",
        "not always > 1",
        "not g(service) > 1",
        "not count(reasons) == 0",
        "not count([x | some x in data.list]) == 0",
        "not object.get(service, \"tier\", 1) == 1",
        "not input.time.hour >= 9",
        "not {\"a\": 1}[input.peer.service]",
        "not input.request.headers[\"x-a\"]",
        "some x in data.list; not x in constant",
        "every x in data.list { not x in constant }",
        "not object[input.peer.service] == 1",
    ];
    for fine in fine {
        assert_eq!(problems(fine), [], "{fine}");
    }
}

#[test]
fn what_may_have_no_value_may_not() {
    let bad = [
        ("not input.peer.service in data.list", "data.list"),
        ("not input.peer.service in sometimes", "sometimes"),
        ("not service.env in constant", "service.env"),
        ("not startswith(service.name, \"x\")", "service.name"),
        ("not f(data.list)", "data.list"),
        ("not f(sometimes.a)", "sometimes.a"),
        ("not data.blocked[service.id]", "service.id"),
        ("not data.blocked[data.key] == 1", "data.key"),
        ("not service.count > 1", "service.count"),
        ("not service.count != 1", "service.count"),
        ("not service.count + 1 == 2", "service.count"),
        ("not count(data.list) == 1", "data.list"),
        ("not f(input.peer.service) == true", "f(input.peer.service)"),
        ("not f(input.peer.service).a", "f(input.peer.service)"),
        ("not max(constant) == 1", "max(constant)"),
        ("not [service.a] == [1]", "service.a"),
        ("not {\"a\": service.a} == {}", "service.a"),
        ("not data.list[_] == 1", "_"),
        ("some x; not x == 1", "x"),
        ("some x; not data.list[x]", "x"),
        ("not object.get(service.labels, \"a\", 1) == 1", "service.labels"),
        ("not is_string(service.a)", "service.a"),
        ("not input.request.headers[\"x-a\"][0] in constant", "input.request.headers[\"x-a\"][0]"),
        ("every x in data.list { not x.a > 1 }", "x.a"),
        ("x := [y | some y in data.list; not y.a > 1]; x", "y.a"),
        ("not sum([1, service.a]) == 1", "service.a"),
        ("not input.peer.segments[0] in constant", "input.peer.segments[0]"),
    ];
    for (body, operand) in bad {
        let found = problems(body);
        assert_eq!(found.len(), 1, "{body}: {found:?}");
        assert!(found[0].message.starts_with(&format!("`{operand}` ")), "{body}: {found:?}");
    }
}
