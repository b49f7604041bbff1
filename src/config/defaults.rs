//! The schema's defaults, written into a checked tree wherever nothing was said.

use serde_json::Value;

use super::problems::Origin;
use super::structure::{allows, branches};
use super::tree::{Entry, Kind, Node};

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

/// What stands where nothing was said: the default, or a map of nothing but defaults. A default of
/// `null` keeps a map away whose mere presence means something.
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
