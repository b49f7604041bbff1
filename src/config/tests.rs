//! What one written value means, by table and by property.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::{any, proptest};
use serde_json::Value;

use super::problems::{Problem, shown};
use super::{Config, Problems, schema_with, token_values, values};

/// Whatever the outcome, it can be told.
fn judged(text: &str, name: &str, env: impl Iterator<Item = (String, String)>) {
    if let Err(problems) = super::parse(text, name, env) {
        assert!(!problems.is_empty());
        assert!(!problems.to_string().is_empty());
    }
}

proptest! {
    #[test]
    fn no_text_makes_a_value_parser_panic(text in any::<String>()) {
        drop(values::duration(&text));
        drop(values::size(&text));
        drop(values::label(&text, "tenant"));
        drop(values::required_scope(&text));
        drop(values::workload_id(&text));
        drop(values::trust_domain(&text));
        drop(values::workload_api(&text));
        drop(values::listen(&text));
        drop(values::application(&text));
        drop(values::destination(&text));
        drop(values::authority(&text));
        drop(token_values::https_url(&text));
        drop(token_values::discoverable(&text));
        drop(token_values::issuer(&text));
        drop(token_values::name(&text));
        drop(token_values::client_id(&text));
        drop(token_values::asked_scope(&text));
        drop(token_values::uri(&text));
        drop(token_values::host_name(&text));
        drop(token_values::algorithm(&text));
        drop(token_values::path(&text, Path::new("/base")));
        drop(token_values::variable(&text));
    }

    /// Whatever stands where a path or a variable's name should: it may be a token.
    #[test]
    fn what_may_be_a_secret_is_never_repeated(
        secret in "[A-Za-z0-9_-]{8,20}",
        head in "eyJ[A-Za-z0-9_-]{4,20}\\.[A-Za-z0-9_-]{4,20}\\.",
    ) {
        let path = token_values::path(&format!("{head}{secret}"), Path::new("/base"));
        assert!(!format!("{:?}", path.unwrap_err()).contains(&secret));
        let variable = token_values::variable(&format!("{head}{secret}"));
        assert!(!format!("{:?}", variable.unwrap_err()).contains(&secret));
        let url = token_values::https_url(&format!("https://me:{secret}@auth.example"));
        assert!(!format!("{:?}", url.unwrap_err()).contains(&secret));
    }

    #[test]
    fn a_scope_that_is_asked_for_is_one_word(scope in "[!#-\\[\\]-~]{1,50}", space in "[ \"\\\\\t]") {
        assert_eq!(token_values::asked_scope(&scope), Ok(scope.clone()));
        assert!(token_values::asked_scope(&format!("{scope}{space}{scope}")).is_err());
    }

    #[test]
    fn a_duration_reads_back_as_it_was_written(number in 0..31_000_000_u64) {
        for (unit, scale) in [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)] {
            let parsed = values::duration(&format!("{number}{unit}")).ok();
            let expected = Duration::from_millis(number * scale);
            let bounded = expected <= Duration::from_secs(366 * 24 * 3600);
            assert_eq!(parsed, bounded.then_some(expected));
        }
    }

    #[test]
    fn a_size_reads_back_as_it_was_written(number in 0..1_000_000_usize) {
        for (unit, scale) in [("B", 1), ("KiB", 1024), ("MiB", 1024 * 1024)] {
            assert_eq!(values::size(&format!("{number}{unit}")), Ok(number * scale));
        }
    }

    #[test]
    fn a_number_without_a_known_unit_is_neither_duration_nor_size(
        number in any::<u64>(),
        unit in "[a-zA-Z ]{0,3}",
    ) {
        let text = format!("{number}{unit}");
        if !["ms", "s", "m", "h"].contains(&unit.as_str()) {
            assert!(values::duration(&text).is_err(), "{text}");
        }
        if !["B", "KiB", "MiB"].contains(&unit.as_str()) {
            assert!(values::size(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_scope_has_two_plain_sides(
        resource in "[a-z][a-z0-9._-]{0,62}",
        action in "[a-z][a-z0-9._-]{0,62}",
    ) {
        let scope = format!("{resource}:{action}");
        assert_eq!(values::required_scope(&scope), Ok(scope.clone()));
        for wrong in [format!("{resource}:*"), format!("*:{action}"), resource, format!("{scope}:")] {
            assert!(values::required_scope(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_shown_of_a_value_is_short_and_without_control_characters(text in any::<String>()) {
        let shown = shown(&text);
        assert!(!shown.chars().any(char::is_control));
        assert!(shown.chars().count() <= 1_000);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>(), value in any::<String>()) {
        let env = [("SIDEGATE__INBOUND".to_owned(), value)];
        judged(&text, "fuzz.yaml", env.into_iter());
    }

    #[test]
    fn no_text_in_the_shape_of_yaml_makes_the_reader_panic(
        lines in proptest::collection::vec(
            "( |  |    )?(- )?(tenant|inbound|routes|limits|idle|expect|policy|jwt|issuers|keys|present|\
             certificate|accept|<<): ?(\\[|\\{|&a|\\*a|5m|x|jwt)?",
            0..20,
        ),
    ) {
        let env = [("SPIFFE_ENDPOINT_SOCKET".to_owned(), "unix:///run/api.sock".to_owned())];
        judged(&lines.join("\n"), "fuzz.yaml", env.into_iter());
    }

    #[test]
    fn any_variable_is_applied_or_refused(
        steps in proptest::collection::vec("[A-Z_0-9]{0,4}|INBOUND|0|LISTEN|9999999999999999999", 1..6),
        value in any::<String>(),
    ) {
        let name = format!("SIDEGATE__{}", steps.join("__"));
        let text = "tenant: acme\ninbound:\n  - listen: 127.0.0.1:1\n";
        judged(text, "fuzz.yaml", [(name, value)].into_iter());
    }
}

#[test]
fn durations_and_sizes_are_strict() {
    for text in ["", "s", "5", "5 s", "+5s", "-5s", "5S", "1h30m", "1.5h", "5d", "９s"] {
        assert!(values::duration(text).is_err(), "{text}");
    }
    for text in ["", "KiB", "64", "64 KiB", "64kb", "64K", "1GiB", "0x10B"] {
        assert!(values::size(text).is_err(), "{text}");
    }
}

#[test]
fn a_listener_takes_an_address_or_an_absolute_path() {
    for text in ["0.0.0.0:0", "[::]:8443", "localhost:80", "unix:/a", "unix:///a/b.sock"] {
        assert!(values::listen(text).is_ok(), "{text}");
    }
    for text in [
        "",
        "8443",
        ":8443",
        "localhost",
        "localhost:+80",
        "LOCALHOST:80",
        "example.org:80",
        "1.2.3.4",
        "1.2.3.4:65536",
        "::1:80",
        "unix:",
        "unix:a",
        "unix:/",
        "unix:/a\0b",
        "tcp://1.2.3.4:80",
    ] {
        assert!(values::listen(text).is_err(), "{text}");
    }
    assert!(values::listen(&format!("unix:/{}", "a".repeat(107))).is_err());
}

#[test]
fn a_destination_is_a_host_and_a_port() {
    let parsed = |text: &str| values::destination(text).ok();
    assert_eq!(parsed("a.b_c-d:443"), Some(("a.b_c-d".to_owned(), 443)));
    assert_eq!(parsed("10.0.0.1:443"), Some(("10.0.0.1".to_owned(), 443)));
    assert_eq!(parsed("[::1]:443"), Some(("::1".to_owned(), 443)));
    for text in [
        "",
        "a",
        "a:",
        ":443",
        "a:0",
        "a:99999",
        "a b:443",
        "a/b:443",
        "user@a:443",
        "::1:443",
        "1.2.3:443",
        "1.2.3.256:443",
        "a..b:443",
        "-a:443",
        "[::1:443",
        "https://a:443",
    ] {
        assert_eq!(parsed(text), None, "{text}");
    }
}

#[test]
fn the_workload_api_is_local() {
    let parsed = |text: &str| values::workload_api(text).ok();
    assert_eq!(parsed("unix:/a.sock").as_deref(), Some("unix:///a.sock"));
    assert_eq!(parsed("unix:///a.sock").as_deref(), Some("unix:///a.sock"));
    assert_eq!(parsed("tcp://127.0.0.1:8081").as_deref(), Some("tcp://127.0.0.1:8081"));
    for text in ["tcp://10.0.0.1:8081", "tcp://localhost:8081", "/a.sock", "unix://a.sock"] {
        assert_eq!(parsed(text), None, "{text}");
    }
}

fn with_route(route: &str) -> Result<Config, Problems> {
    let text = format!(
        "tenant: acme\npolicy: /p\ninbound:\n  - listen: 0.0.0.0:8443\n    \
         forward_to: 127.0.0.1:8080\n    routes: [{route}]\n"
    );
    let env = [("SPIFFE_ENDPOINT_SOCKET".to_owned(), "unix:///run/api.sock".to_owned())];
    super::parse(&text, "sidegate.yaml", env.into_iter())
}

#[test]
fn a_path_pattern_is_what_a_normalized_target_can_look_like() {
    let route =
        |path: &str| with_route(&format!("{{ path: \"{path}\", methods: [GET], scopes: [a:b] }}"));
    for path in ["/", "/a", "/a/", "/a/{id}", "/{a}/{b-c}", "/**", "/a/**", "/v1:act,x=1/@me"] {
        assert!(route(path).is_ok(), "{path}: {}", route(path).unwrap_err());
    }
    for path in [
        "", "a", "//", "/a//b", "/.", "/../a", "/a?b", "/a#b", "/a%20b", "/a b", "/é", "/{}",
        "/{a b}", "/a{id}", "/{id}a", "/*", "/a*", "/**/a", "/{a}/{a}", "/a\\\\b",
    ] {
        assert!(route(path).is_err(), "{path}");
    }
}

/// A schema keyword that the structural check does not know would be a rule that nobody keeps.
#[test]
fn the_schema_uses_only_what_the_structural_check_understands() {
    const KNOWN: &[&str] = &[
        "$schema",
        "title",
        "description",
        "examples",
        "default",
        "format",
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "enum",
        "anyOf",
        "minimum",
        "maximum",
        // Kept by `values`, in better words.
        "pattern",
    ];
    fn walk(schema: &Value, unknown: &mut BTreeSet<String>) {
        for (keyword, value) in schema.as_object().into_iter().flatten() {
            match keyword.as_str() {
                "properties" => {
                    value.as_object().unwrap().values().for_each(|it| walk(it, unknown))
                }
                "items" => walk(value, unknown),
                "anyOf" => value.as_array().unwrap().iter().for_each(|it| walk(it, unknown)),
                "additionalProperties" => assert_eq!(value, &Value::Bool(false)),
                other if KNOWN.contains(&other) => {}
                other => {
                    unknown.insert(other.to_owned());
                }
            }
        }
    }
    let mut unknown = BTreeSet::new();
    walk(&schema_with(true), &mut unknown);
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn a_thousand_mistakes_are_counted_but_not_all_told() {
    let text: String = (0..1_000).map(|number| format!("zzz{number}: 1\n")).collect();
    let problems = super::parse(&text, "sidegate.yaml", std::iter::empty()).unwrap_err();
    assert_eq!(problems.iter().count(), 100);
    assert!(problems.to_string().ends_with("more"));
}

#[test]
fn problems_are_data_for_programs_too() {
    let problems = super::parse("tenant: 1\n", "a.yaml", std::iter::empty()).unwrap_err();
    let first: &Problem = problems.iter().find(|it| it.key == "tenant").unwrap();
    assert_eq!((first.line, first.column), (Some(1), Some(9)));
    let json = serde_json::to_value(&problems).unwrap();
    assert_eq!(json["not_shown"], 0);
    assert!(json["problems"].as_array().unwrap().iter().any(|it| it["key"] == "tenant"));
}
