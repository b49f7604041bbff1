//! The examples under `deploy/`: each is accepted as it stands, and together they show every key.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use sidegate::config;

fn examples() -> Vec<(PathBuf, String)> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/examples");
    let mut examples: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "yaml"))
        .map(|path| (path.clone(), fs::read_to_string(&path).unwrap()))
        .collect();
    examples.sort();
    examples
}

fn agent() -> impl Iterator<Item = (String, String)> {
    [("SPIFFE_ENDPOINT_SOCKET".to_owned(), "unix:///run/api.sock".to_owned())].into_iter()
}

#[test]
fn every_example_is_accepted() {
    let examples = examples();
    assert!(examples.len() >= 8, "only {} examples", examples.len());
    for (path, text) in examples {
        let name = path.display().to_string();
        config::parse(&text, &name, agent()).unwrap_or_else(|problems| panic!("{problems}"));
    }
}

#[test]
fn a_service_outside_spiffe_needs_no_agent() {
    let (path, text) =
        examples().into_iter().find(|(path, _)| path.ends_with("outside-spiffe.yaml")).unwrap();
    let name = path.display().to_string();
    let config = config::parse(&text, &name, std::iter::empty())
        .unwrap_or_else(|problems| panic!("{problems}"));
    assert!(config.identity.is_none());
}

#[test]
fn an_example_is_loaded_from_where_it_lies() {
    let (path, _) =
        examples().into_iter().find(|(path, _)| path.ends_with("unix-sockets.yaml")).unwrap();
    let config = config::load(&path).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(
        config.identity.as_ref().unwrap().endpoint,
        "unix:///run/spire/agent/sockets/api.sock"
    );
    let effective = config::load_effective(&path).unwrap_or_else(|problems| panic!("{problems}"));
    let tenant = effective.iter().find(|it| it.key == "tenant").unwrap();
    assert_eq!(tenant.origin, format!("{}:2", path.display()));
}

#[test]
fn every_example_keeps_to_the_published_schema() {
    let validator = jsonschema::validator_for(&config::schema()).unwrap();
    for (path, text) in examples() {
        let value: Value = serde_saphyr::from_str(&text).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(&value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", path.display());
    }
}

#[test]
fn the_smallest_example_has_ten_lines() {
    let (_, text) =
        examples().into_iter().find(|(path, _)| path.ends_with("minimal.yaml")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(lines <= 10, "{lines} lines");
}

#[test]
fn the_full_example_shows_every_key() {
    let (_, text) = examples().into_iter().find(|(path, _)| path.ends_with("full.yaml")).unwrap();
    let value: Value = serde_saphyr::from_str(&text).unwrap();
    let mut shown = BTreeSet::new();
    keys_of_value("", &value, &mut shown);
    let mut known = BTreeSet::new();
    let schema = config::schema();
    keys_of_schema("", &schema, &schema, &mut known);
    // On a listener these two exclude each other, and the routes show them both.
    known.remove("inbound[].scopes");
    // Would ask for a variable of that name, and stands there as a comment.
    known.remove("jwt.present.env");
    // Stand there as comments, beside what they exclude.
    for other in ["bundle.file", "bundle.signed_by.key", "shadow.policy"] {
        known.remove(other);
    }
    let missing: Vec<_> = known.difference(&shown).collect();
    assert!(missing.is_empty(), "not in full.yaml: {missing:?}");
}

fn keys_of_value(path: &str, value: &Value, keys: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let path = shared(join(path, key));
                keys.insert(path.clone());
                keys_of_value(&path, inner, keys);
            }
        }
        Value::Array(list) => {
            list.iter().for_each(|inner| keys_of_value(&format!("{path}[]"), inner, keys));
        }
        _ => {}
    }
}

fn keys_of_schema(path: &str, schema: &Value, root: &Value, keys: &mut BTreeSet<String>) {
    for branch in schema["anyOf"].as_array().into_iter().flatten() {
        keys_of_schema(path, branch, root, keys);
    }
    if let Some(pointer) = schema["$ref"].as_str() {
        let shared = root.pointer(pointer.strip_prefix('#').unwrap()).unwrap();
        keys_of_schema(path, shared, root, keys);
    }
    for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
        let path = shared(join(path, key));
        keys.insert(path.clone());
        keys_of_schema(&path, inner, root, keys);
    }
    if let Some(items) = schema.get("items") {
        keys_of_schema(&format!("{path}[]"), items, root, keys);
    }
}

/// Keys that exclude each other, of which each place can show one, count as one key.
fn shared(path: String) -> String {
    [
        ("outbound[].present", "jwt.present"),
        ("token_exchange.", "client_credentials."),
        ("subject_token.", "assertion."),
        ("shadow.bundle", "bundle"),
    ]
    .into_iter()
    .fold(path, |path, (one, other)| path.replace(one, other))
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
