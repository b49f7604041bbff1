//! Holds the tree against the JSON Schema: unknown keys, wrong types, missing keys.
//!
//! The schema comes from the types in `file`, so the two cannot drift apart. What is wrong is
//! reported and marked faulty, and the rest is judged on: one run shows every problem.

use serde_json::Value;

use super::problems::{Origin, Problems, shown};
use super::tree::{Entry, Kind, Node, child_key};

/// Keys of the design that this version refuses by name, with what to do instead.
/// `[]` stands for any element of a list.
const LATER_KEYS: &[(&str, &str)] = &[
    ("admin", "remove it; `health` and `metrics` are listeners of their own"),
    ("forward_proxy", "declare each destination under `outbound`"),
    ("inbound[].openapi", "declare the routes and their scopes under `routes`"),
    ("jwt", "remove it; workloads authenticate by SPIFFE"),
];

/// Values of the design that this version refuses by name.
const LATER_VALUES: &[(&str, &str, &str)] = &[
    ("inbound[].accept[]", "jwt", "write `accept: [spiffe]`, or leave the key out"),
    (
        "outbound[].authenticate_with[]",
        "jwt",
        "write `authenticate_with: [spiffe]`, or leave the key out",
    ),
];

/// Reports everything in which `tree` is not as `schema` says, and marks it faulty.
pub(super) fn check(tree: &mut Node, schema: &Value, problems: &mut Problems) {
    node(tree, schema, "", problems);
}

fn node(it: &mut Node, schema: &Value, key: &str, problems: &mut Problems) {
    let branch = branches(schema).find(|branch| fits(it, branch));
    if let Some(branch) = branch {
        let before = &it.kind;
        let wrong = match before {
            Kind::Text(text) => wrong_text(text, branch, key),
            Kind::Number(number) => wrong_number(number, branch),
            Kind::Null | Kind::Bool(_) | Kind::List(_) | Kind::Map(_) | Kind::Faulty => None,
        };
        match wrong {
            Some((message, hint)) => spoil(it, key, message, hint, problems),
            None => inside(it, branch, key, problems),
        }
        return;
    }
    // What an environment variable holds is text before it is anything else.
    if let Some(raw) = it.raw.take()
        && !matches!(it.kind, Kind::Text(_))
        && branches(schema).any(|branch| allows(branch, "string"))
    {
        it.kind = Kind::Text(raw);
        return node(it, schema, key, problems);
    }
    let (message, hint) = mismatch(it, schema);
    spoil(it, key, message, hint, problems);
}

fn spoil(it: &mut Node, key: &str, message: String, hint: String, problems: &mut Problems) {
    problems.add(key, &it.origin, message, Some(hint));
    it.kind = Kind::Faulty;
}

/// The alternatives of a schema, or the schema itself.
fn branches(schema: &Value) -> impl Iterator<Item = &Value> {
    let alternatives = schema.get("anyOf").and_then(Value::as_array);
    let itself = if alternatives.is_none() { Some(schema) } else { None };
    alternatives.into_iter().flatten().chain(itself)
}

fn allows(schema: &Value, name: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(one)) => one == name,
        Some(Value::Array(several)) => several.iter().any(|one| one == name),
        Some(_) | None => false,
    }
}

fn fits(it: &Node, schema: &Value) -> bool {
    match &it.kind {
        Kind::Faulty => true,
        Kind::Null => allows(schema, "null"),
        Kind::Bool(_) => allows(schema, "boolean"),
        Kind::Number(number) => {
            allows(schema, "number") || (allows(schema, "integer") && !number.is_f64())
        }
        Kind::Text(_) => allows(schema, "string"),
        Kind::List(_) => allows(schema, "array"),
        Kind::Map(_) => allows(schema, "object"),
    }
}

fn inside(it: &mut Node, schema: &Value, key: &str, problems: &mut Problems) {
    match &mut it.kind {
        Kind::List(nodes) => {
            let Some(items) = schema.get("items") else { return };
            for (index, element) in nodes.iter_mut().enumerate() {
                node(element, items, &format!("{key}[{index}]"), problems);
            }
        }
        Kind::Map(entries) => {
            let written: Vec<String> = entries.iter().map(|entry| entry.key.clone()).collect();
            entries.retain_mut(|entry| known(entry, schema, key, &written, problems));
            missing(entries, &it.origin, schema, key, problems);
        }
        Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) | Kind::Faulty => {}
    }
}

/// Checks one entry of a map; `false` when there is no such key. A key that looks misspelled is
/// read as the one that was meant, so that its value is judged and its absence not reported too.
fn known(
    entry: &mut Entry,
    schema: &Value,
    key: &str,
    written: &[String],
    problems: &mut Problems,
) -> bool {
    let path = child_key(key, &entry.key);
    let properties = schema.get("properties");
    if let Some(inner) = properties.and_then(|it| it.get(&entry.key)) {
        node(&mut entry.value, inner, &path, problems);
        return true;
    }
    let general = generalized(&path);
    if let Some((_, instead)) = LATER_KEYS.iter().find(|(name, _)| *name == general) {
        let message = format!("{} is not supported by this version yet", shown(&entry.key));
        problems.add(&path, &entry.key_origin, message, Some((*instead).to_owned()));
        return false;
    }
    let possible = keys(schema);
    let meant = nearest(&entry.key, &possible);
    let hint = suggestion(meant, &possible, "keys here are");
    let message = format!("unknown key {}", shown(&entry.key));
    problems.add(&path, &entry.key_origin, message, Some(hint));
    let Some(meant) = meant.filter(|meant| !written.iter().any(|key| key == meant)) else {
        return false;
    };
    if let Some(inner) = properties.and_then(|it| it.get(meant)) {
        node(&mut entry.value, inner, &child_key(key, meant), problems);
    }
    entry.key = meant.to_owned();
    true
}

/// `inbound[3].openapi` becomes `inbound[].openapi`.
fn generalized(path: &str) -> String {
    let mut inside = false;
    path.chars()
        .filter(|character| {
            inside = (inside || *character == '[') && *character != ']';
            !inside || *character == '['
        })
        .collect()
}

fn keys(schema: &Value) -> Vec<&str> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.into_iter().flatten().map(|(key, _)| key.as_str()).collect()
}

fn nearest<'a>(written: &str, possible: &[&'a str]) -> Option<&'a str> {
    const NEAR: f64 = 0.8;
    let likeness = |word: &&'a str| strsim::jaro_winkler(&written.to_lowercase(), word);
    let near = possible.iter().map(|word| (likeness(word), *word));
    let near = near.filter(|(likeness, _)| *likeness >= NEAR);
    near.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, word)| word)
}

fn suggestion(nearest: Option<&str>, possible: &[&str], all: &str) -> String {
    match nearest {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("{all} {}", quoted(possible)),
    }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn missing(
    entries: &mut Vec<Entry>,
    at: &Origin,
    schema: &Value,
    key: &str,
    problems: &mut Problems,
) {
    let required = schema.get("required").and_then(Value::as_array);
    for name in required.into_iter().flatten().filter_map(Value::as_str) {
        if entries.iter().any(|entry| entry.key == name) {
            continue;
        }
        let inner = schema.get("properties").and_then(|it| it.get(name));
        let hint = match inner.and_then(example) {
            Some(example) => format!("add it, such as `{name}: {example}`"),
            None => format!("add `{name}`"),
        };
        problems.add(&child_key(key, name), at, "is missing".to_owned(), Some(hint));
        // Said once: what builds on it need not say so again.
        let value = Node { kind: Kind::Faulty, origin: at.clone(), raw: None };
        entries.push(Entry { key: name.to_owned(), key_origin: at.clone(), value });
    }
}

fn example(schema: &Value) -> Option<String> {
    let first = schema.get("examples").and_then(Value::as_array).and_then(|it| it.first())?;
    Some(first.as_str().map_or_else(|| first.to_string(), str::to_owned))
}

fn mismatch(it: &Node, schema: &Value) -> (String, String) {
    let example = example(schema);
    let example = example.as_deref();
    if it.kind == Kind::Null {
        let hint = example.map_or("give it a value".to_owned(), |it| format!("such as `{it}`"));
        return ("has no value".to_owned(), hint);
    }
    let mut wanted: Vec<&str> = Vec::new();
    for branch in branches(schema) {
        wanted.extend(WORDS.iter().filter(|(name, _)| allows(branch, name)).map(|(_, word)| word));
    }
    let found = match &it.kind {
        Kind::Null | Kind::Faulty => "nothing".to_owned(),
        Kind::Bool(value) => format!("`{value}`"),
        Kind::Number(value) => format!("the number `{value}`"),
        Kind::Text(value) => format!("the text {}", shown(value)),
        Kind::List(_) => "a list".to_owned(),
        Kind::Map(_) => "a map of keys".to_owned(),
    };
    let hint = remedy(it, schema, &wanted).unwrap_or_else(|| match example {
        Some(example) => format!("such as `{example}`"),
        None => "see docs/configuration.md".to_owned(),
    });
    (format!("expected {}, found {found}", wanted.join(" or ")), hint)
}

/// What to write for what was meant, as far as it can be told from what was written.
fn remedy(it: &Node, schema: &Value, wanted: &[&str]) -> Option<String> {
    let wants = |word: &str| wanted.contains(&word);
    let plain_text = wants("text") && branches(schema).all(|it| it.get("pattern").is_none());
    match &it.kind {
        Kind::Bool(value) if plain_text => Some(format!("for text write \"{value}\"")),
        Kind::Number(value) if plain_text => Some(format!("for text write \"{value}\"")),
        Kind::Text(text) if wants("a list") && text.len() <= 80 => Some(format!("write [{text}]")),
        Kind::Map(_) if wants("a list") && !wants("text") => {
            Some("begin each element with `- `".to_owned())
        }
        _ if wants("`true` or `false`") => Some("write true or false, without quotes".to_owned()),
        _ if wants("a map of keys") => Some(format!("keys here are {}", quoted(&keys(schema)))),
        _ if wants("a whole number") => {
            Some("write digits only, without quotes or unit".to_owned())
        }
        _ => None,
    }
}

const WORDS: &[(&str, &str)] = &[
    ("string", "text"),
    ("boolean", "`true` or `false`"),
    ("integer", "a whole number"),
    ("array", "a list"),
    ("object", "a map of keys"),
];

fn wrong_text(text: &str, schema: &Value, key: &str) -> Option<(String, String)> {
    let possible: Vec<&str> =
        schema.get("enum")?.as_array()?.iter().filter_map(Value::as_str).collect();
    if possible.contains(&text) {
        return None;
    }
    let general = generalized(key);
    let later = LATER_VALUES.iter().find(|(path, value, _)| *path == general && *value == text);
    if let Some((_, value, instead)) = later {
        let message = format!("`{value}` is not supported by this version yet");
        return Some((message, (*instead).to_owned()));
    }
    let message = format!("{} is not one of {}", shown(text), quoted(&possible));
    Some((message, suggestion(nearest(text, &possible), &possible, "write one of")))
}

fn wrong_number(number: &serde_json::Number, schema: &Value) -> Option<(String, String)> {
    let least = schema.get("minimum").and_then(Value::as_u64).unwrap_or(0);
    let most = schema.get("maximum").and_then(Value::as_u64).unwrap_or(u64::MAX);
    if number.as_u64().is_some_and(|value| (least..=most).contains(&value)) {
        return None;
    }
    let message = format!("`{number}` is out of range");
    let mut hint = format!("from {least} to {most}");
    if let Some(default) = schema.get("default") {
        hint = format!("{hint}; leave the key out for {default}");
    }
    Some((message, hint))
}

/// Writes the schema's defaults into a checked tree wherever nothing was said.
pub(super) fn complete(tree: &mut Node, schema: &Value) {
    for branch in branches(schema) {
        match &mut tree.kind {
            Kind::Map(entries) if allows(branch, "object") => {
                let properties = branch.get("properties").and_then(Value::as_object);
                for (name, inner) in properties.into_iter().flatten() {
                    complete_entry(entries, name, inner);
                }
            }
            Kind::List(nodes) if allows(branch, "array") => {
                let Some(items) = branch.get("items") else { continue };
                nodes.iter_mut().for_each(|element| complete(element, items));
            }
            Kind::Null
            | Kind::Bool(_)
            | Kind::Number(_)
            | Kind::Text(_)
            | Kind::List(_)
            | Kind::Map(_)
            | Kind::Faulty => {}
        }
    }
}

fn complete_entry(entries: &mut Vec<Entry>, name: &str, schema: &Value) {
    let found = entries.iter_mut().find(|entry| entry.key == name);
    if let Some(entry) = found {
        if entry.value.kind == Kind::Null {
            entry.value.kind = absent(schema);
            entry.value.origin = Origin::Default;
        }
        return complete(&mut entry.value, schema);
    }
    let kind = absent(schema);
    if kind != Kind::Null {
        let mut value = Node { kind, origin: Origin::Default, raw: None };
        complete(&mut value, schema);
        entries.push(Entry { key: name.to_owned(), key_origin: Origin::Default, value });
    }
}

/// What stands where nothing was said: the default, or a map of nothing but defaults.
fn absent(schema: &Value) -> Kind {
    if let Some(default) = schema.get("default") {
        return kind(default);
    }
    let optional = branches(schema)
        .find(|it| allows(it, "object"))
        .is_some_and(|it| it.get("required").is_none());
    if optional { Kind::Map(Vec::new()) } else { Kind::Null }
}

fn kind(value: &Value) -> Kind {
    match value {
        Value::Null => Kind::Null,
        Value::Bool(value) => Kind::Bool(*value),
        Value::Number(value) => Kind::Number(value.clone()),
        Value::String(value) => Kind::Text(value.clone()),
        Value::Array(values) => Kind::List(values.iter().map(default_node).collect()),
        Value::Object(values) => {
            let entry = |(key, value): (&String, &Value)| Entry {
                key: key.clone(),
                key_origin: Origin::Default,
                value: default_node(value),
            };
            Kind::Map(values.iter().map(entry).collect())
        }
    }
}

fn default_node(value: &Value) -> Node {
    Node { kind: kind(value), origin: Origin::Default, raw: None }
}
