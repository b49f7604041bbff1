//! Hostile modules, and ordinary ones that must pass.

use super::{CHAIN_MAX, NESTING_MAX, Text, check};

fn said(text: &str) -> Vec<String> {
    let module = Text { name: "a.rego".to_owned(), text: text.to_owned() };
    check(&[module]).iter().map(ToString::to_string).collect()
}

#[test]
fn an_ordinary_policy_passes() {
    let policy = r#"
        package sidegate.global # brackets in comments: [[[[[[[[[[[[[[[[[[
        import rego.v1
        a := {"x": [1, {"y": {"z": [[2]]}}], "s": "[[[[[[[[[[[[[[[[[\"[[[[["}
        b := `{{{{{{{{{{{{{{{{{{`
        grant := {"roles": [r | some r in data.x[input.peer.service].roles; r != "a"]} if {
            every s in input.peer.segments { s in {"a", "b"} }
            count([1 | some i; data.x[i].y == 1]) > 0
        }
    "#;
    assert_eq!(said(policy), Vec::<String>::new());
    let many_rules = "x contains a.b.c[d] + 1 if e.f == g.h\n".repeat(10_000);
    assert_eq!(said(&many_rules), Vec::<String>::new());
    let many_lines = "[a, b] := split(c.d, \"/\")\n".repeat(10_000);
    assert_eq!(said(&many_lines), Vec::<String>::new());
    let wide = format!("x := [{}]", "[1, 2],\n".repeat(10_000));
    assert_eq!(said(&wide), Vec::<String>::new());
}

#[test]
fn nested_literals_are_refused_where_they_stand() {
    for (open, close) in [("[", "]"), ("{", "}"), ("{\"a\": ", "}"), ("[1 | ", "]"), ("[\n", "]")] {
        let fine = format!("x := {}1{}", open.repeat(NESTING_MAX), close.repeat(NESTING_MAX));
        assert_eq!(said(&fine), Vec::<String>::new(), "{open}");
        let deep = format!("package a\nx := {}1", open.repeat(NESTING_MAX + 1));
        let problems = said(&deep);
        assert_eq!(problems.len(), 1, "{open}");
        assert!(problems[0].ends_with("brackets are nested too deeply"), "{problems:?}");
        assert!(problems[0].starts_with("a.rego:"), "{problems:?}");
    }
    assert!(said(&"[\n".repeat(15_000))[0].starts_with("a.rego:11:"));
    assert_eq!(said(&"f(".repeat(15_000)).len(), 1);
}

#[test]
fn endless_chains_are_refused() {
    for link in ["1 +\n", "1\n+ ", "a.", "a[0]", "- ", "a in ", "f()", "a | ", "a == "] {
        let chain = link.repeat(CHAIN_MAX + 2);
        let chain = chain.replace("a[0]a[0]", "[0][0]").replace("f()f()", "()()");
        assert_eq!(said(&format!("x := {chain}1")).len(), 1, "{link:?}");
    }
}

#[test]
fn many_literals_that_are_each_just_shallow_enough_are_refused() {
    let one = format!("{}1{},\n", "[".repeat(NESTING_MAX - 1), "]".repeat(NESTING_MAX - 1));
    let problems = said(&format!("x := [{}]", one.repeat(5_000)));
    assert_eq!(problems, ["a.rego: the policy has too much in nested lists and sets"]);
}

#[test]
fn any_text_is_scanned_without_panic() {
    proptest::proptest!(|(text in "[\\[\\]{}()\"`\\\\#\n,;:a.+ ]{0,200}")| {
        drop(said(&text));
    });
}

#[test]
fn what_the_parser_would_take_for_the_end_is_refused() {
    for text in ["package p\n\0\ndeny := 1", "package p\n# \0 comment\ndeny := 1"] {
        let modules = [Text { name: "m.rego".to_owned(), text: text.to_owned() }];
        let problems = check(&modules);
        assert_eq!(problems.len(), 1, "{text:?}");
        assert_eq!(problems[0].line, 2);
        assert!(problems[0].message.contains("NUL"), "{problems:?}");
    }
}
