//! Holds the tree against the JSON Schema: unknown keys, wrong types, missing keys.
//!
//! The schema comes from the types in `file`, so the two cannot drift apart. What is wrong is
//! reported and marked faulty, and the rest is judged on: one run shows every problem.

use serde_json::Value;

use super::problems::{Origin, Problems, shown};
use super::refused;
use super::tree::{Entry, Kind, Node, child_key};

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
    let (message, hint) = mismatch(it, schema, key);
    spoil(it, key, message, hint, problems);
}

fn spoil(it: &mut Node, key: &str, message: String, hint: String, problems: &mut Problems) {
    problems.add(key, &it.origin, message, Some(hint));
    it.kind = Kind::Faulty;
}

/// The alternatives of a schema, or the schema itself.
pub(super) fn branches(schema: &Value) -> impl Iterator<Item = &Value> {
    let alternatives = schema.get("anyOf").and_then(Value::as_array);
    let itself = if alternatives.is_none() { Some(schema) } else { None };
    alternatives.into_iter().flatten().chain(itself)
}

pub(super) fn allows(schema: &Value, name: &str) -> bool {
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
    if let Some((message, hint)) = refused::key(&generalized(&path), &entry.key) {
        problems.add(&path, &entry.key_origin, message, Some(hint));
        return false;
    }
    if let Some(inline) = refused::inline_secret(&entry.key, &keys(schema)) {
        problems.add(&path, &entry.key_origin, inline.message, Some(inline.hint));
        let Some(meant) = inline.meant.filter(|meant| !written.iter().any(|key| key == meant))
        else {
            return false;
        };
        entry.key = meant.to_owned();
        entry.value.kind = Kind::Faulty;
        return true;
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
    let maps = branches(schema).filter_map(|it| it.get("properties").and_then(Value::as_object));
    maps.flatten().map(|(key, _)| key.as_str()).collect()
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

fn mismatch(it: &Node, schema: &Value, key: &str) -> (String, String) {
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
        // Not repeated: somebody may have put the secret itself there.
        Kind::Text(_) if refused::may_be_secret(key) => "text".to_owned(),
        Kind::Number(_) if refused::may_be_secret(key) => "a number".to_owned(),
        Kind::Number(value) => format!("the number `{value}`"),
        Kind::Text(value) => format!("the text {}", shown(value)),
        Kind::List(_) => "a list".to_owned(),
        Kind::Map(_) => "a map of keys".to_owned(),
    };
    if let (Kind::Text(_) | Kind::Number(_), Some(hint)) =
        (&it.kind, refused::instead_of_secret(key))
    {
        return (format!("expected {}, found {found}", wanted.join(" or ")), hint.to_owned());
    }
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
    if let Some(refused) = refused::value(&generalized(key), text) {
        return Some(refused);
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
