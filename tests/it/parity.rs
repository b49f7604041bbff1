//! What `docs/rego.md` says is refused is refused.

use std::fs;

use sidegate::policy::load;
use tempfile::TempDir;

const HEAD: &str = "package sidegate.global\n\n\
    default grant := {\"roles\": [], \"scopes\": [], \"tenant\": null}\n\n\
    deny contains \"x\" if p\n\n";

/// By the beginning of their row in the page.
const REFUSED: &[(&str, &[&str])] = &[
    (
        "`not x in data.list`",
        &[
            "p if not input.peer.service in data.list",
            "p if not f(data.name)\nf(x) if x == 1",
            "p if { service := data.service; not service.count > 1 }",
        ],
    ),
    ("`not data.list[_] == 1`", &["p if not data.list[_] == 1", "p if { some x; not x == 1 }"]),
    (
        "a pattern of `glob.match`",
        &[
            "p if glob.match(data.x, [\"/\"], input.peer.path)",
            "p if glob.match(\"a\", [\".\"], input.peer.path)",
            "p if glob.match(\"a?\", [\"/\"], input.peer.path)",
            "p if glob.match(\"[a]\", [\"/\"], input.peer.path)",
            "p if glob.match(\"a/**/b\", [\"/\"], input.peer.path)",
            "p if glob.match(\"{a*,b}\", [\"/\"], input.peer.path)",
            "p if glob.match(\"{a,}\", [\"/\"], input.peer.path)",
        ],
    ),
    ("a regular expression that is not plain", &["p if regex.match(data.x, input.peer.path)"]),
    (
        "`\\d` `\\w` `\\s` `\\b`",
        &[
            "p if regex.match(`\\d`, input.peer.path)",
            "p if regex.match(`\\w`, input.peer.path)",
            "p if regex.match(`\\s`, input.peer.path)",
            "p if regex.match(`a\\b`, input.peer.path)",
        ],
    ),
    (
        "`\\p{…}`",
        &[
            "p if regex.match(`\\pL`, input.peer.path)",
            "p if regex.match(`[a&&b]`, input.peer.path)",
            "p if regex.match(`a++`, input.peer.path)",
            "p if regex.match(`{`, input.peer.path)",
        ],
    ),
    ("`regex.split` by what", &["p := regex.split(`a*`, input.peer.path)"]),
    ("`sprintf` with other", &["p := sprintf(\"%d\", [1])", "p := sprintf(\"%v\", [1, 2])"]),
    (
        "`replace` and `regex.replace`",
        &[
            "p := replace(h, \"a\", replace(h, \"a\", h)) if h := input.peer.path",
            "p := regex.replace(\"a\", \"a\", input.peer.path)",
        ],
    ),
    (
        "an object with variables",
        &["p if { {\"a\": x} := data.o; x }", "p := f(data.o)\nf({\"a\": x}) := x"],
    ),
    ("numbers beyond", &["p := 99999999999999999999", "p := 0.12345678901234567"]),
    (
        "`json.marshal`",
        &[
            "p := json.marshal(1)",
            "p := object.subset([1], [])",
            "p := strings.count(\"a\", \"\")",
            "p := time.add_date(0, 1, 1, 1)",
            "p := units.parse(\"1k\")",
            "p := urlquery.decode(\"a\")",
            "p := yaml.unmarshal(\"a\")",
        ],
    ),
    (
        "two defaults",
        &[
            "default p := 1\ndefault p := 2",
            "p := 1\np contains 1",
            "p := f(1)\nf(x) := x\nf(x, y) := y",
            "default p := set()\np contains 1",
            "p := q\nq[x] := 1 if { some x in [1] } else := 2",
        ],
    ),
    ("a call with too", &["p := q\nq := 1\nr if { false; count(1, 2, 3) }", "p := data.lib.f(1)"]),
    (
        "a rule called",
        &["p if not equal\nequal if false", "p if time.weekday(0) == time\ntime := 1"],
    ),
    ("recursion", &["p if q\nq if p", "p if input.peer.path with input as {}", "p if print(1)"]),
    (
        "body-less functions",
        &["p if f(\"a\", 1)\nf(\"a\", _)", "p := $\"a{1}\"", "p := -x if { x := 1 }"],
    ),
    ("a local name", &["p if { lib := 1; lib }"]),
    ("data at the place", &["p := data.lib.rule"]),
];

fn loads(rules: &str) -> Result<(), String> {
    let folder = TempDir::new().unwrap();
    let head = HEAD.replacen("\n\n", "\n\nimport data.lib\n\n", 1);
    fs::write(folder.path().join("global.rego"), format!("{head}{rules}\n")).unwrap();
    if rules.contains("lib.rule") {
        fs::write(folder.path().join("lib.rego"), "package lib\n\nrule := 1\n").unwrap();
        fs::write(folder.path().join("data.json"), r#"{"lib": {"rule": 2}}"#).unwrap();
    }
    load(folder.path()).map(drop).map_err(|error| error.full())
}

#[test]
fn every_row_of_the_page_has_policies_that_are_refused() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/rego.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, rows) = page.split_once("## What is refused").unwrap();
    let (rows, _) = rows.split_once("## What is left").unwrap();
    let rows: Vec<_> = rows.lines().filter_map(|line| line.strip_prefix("| ")).skip(1).collect();
    for row in &rows {
        let known = REFUSED.iter().any(|(begins, _)| row.starts_with(begins));
        assert!(known, "no policy is tried for: {row}");
    }
    for (begins, policies) in REFUSED {
        assert!(rows.iter().any(|row| row.starts_with(begins)), "the page lacks: {begins}");
        for rules in *policies {
            assert!(loads(rules).is_err(), "{rules}");
        }
    }
}

#[test]
fn the_same_policy_without_what_is_refused_is_taken() {
    for rules in
        ["p := 1", "p if lib.x == 1", "p if { list := data.list; not input.peer.service in list }"]
    {
        assert_eq!(loads(rules), Ok(()), "{rules}");
    }
}
