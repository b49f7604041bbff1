//! Data that rules read and nobody wrote, and data that no answer could use.

use std::collections::BTreeSet;

use regorus::Value;

use super::super::answer::shortened;
use super::super::error::Problem;
use super::super::reads::suggestion;
use super::super::roles::is_scope_pattern;
use super::super::study::Study;
use super::super::walk::{Definition, Reference};
use super::Finding;

/// Remarks of one kind on one file: the first few show what is wrong.
const REMARKS_MAX: usize = 20;

pub(super) fn check(study: &Study, definitions: &[Definition], found: &mut Vec<Finding>) {
    let rules: BTreeSet<&[String]> = definitions.iter().map(|it| it.path.as_slice()).collect();
    let roots: BTreeSet<&str> = study.data.iter().flat_map(|(_, value)| keys(value)).collect();
    for definition in definitions {
        for read in &definition.data {
            if !is_ruled(&rules, &read.path.parts) {
                found.extend(missing(read, study, &roots));
            }
        }
    }
    let roles: BTreeSet<&str> =
        study.data.iter().flat_map(|(_, value)| keys_of(&value["roles"])).collect();
    for (file, value) in &study.data {
        let mut lists = Lists { file, roles: &roles, scopes: 0, unknown: 0, found };
        // What stands under `roles` itself was checked when it was read.
        if let Value::Object(fields) = value {
            let others = fields.iter().filter(|(key, _)| **key != Value::from("roles"));
            others.for_each(|(key, value)| lists.field(key, value));
        }
    }
}

/// Whether a rule or package stands at the path, above it or below it.
fn is_ruled(rules: &BTreeSet<&[String]>, path: &[String]) -> bool {
    let above = (2..=path.len()).filter_map(|length| path.get(..length));
    above.into_iter().any(|above| rules.contains(above))
        || rules.range(path..).next().is_some_and(|rule| rule.starts_with(path))
}

fn missing(read: &Reference, study: &Study, roots: &BTreeSet<&str>) -> Option<Finding> {
    let mut parts = read.path.parts.iter().skip(1);
    let root = parts.next()?;
    if !roots.contains(root.as_str()) {
        let hint = suggestion(root, roots.iter().copied());
        let message = format!("no data file has `{root}`{hint}");
        let remedy = "add it, empty if need be: what is missing makes the rule silently never true";
        return Some(Finding::error("unknown-data", &read.place, message, remedy));
    }
    // Where several files define it, one that knows the path is enough.
    let path: Vec<&str> = read.path.parts.iter().skip(1).map(String::as_str).collect();
    let ends: Vec<End> = study.data.iter().map(|(_, value)| walk(value, &path)).collect();
    if ends.iter().any(|end| matches!(end, End::There)) {
        return None;
    }
    let name = format!("data.{}", path.join("."));
    let shape = ends.iter().find_map(|end| match end {
        End::Not(kind, depth) => Some((kind, *depth)),
        _ => None,
    });
    if let Some((kind, depth)) = shape {
        let above = path.get(..depth).unwrap_or_default().join(".");
        let message = format!("`{name}` finds nothing: `data.{above}` is {kind}");
        let remedy = "make it an object, or read it as what it is";
        return Some(Finding::error("misshaped-lookup", &read.place, message, remedy));
    }
    let message = format!("no data file has `{name}`");
    let remedy = "add it to the data: what is missing makes the rule silently never true";
    Some(Finding::warning("unknown-data-path", &read.place, message, remedy))
}

enum End {
    There,
    Missing,
    /// Something other than an object stands on the way, this many steps down.
    Not(&'static str, usize),
}

fn walk(value: &Value, path: &[&str]) -> End {
    let mut value = value;
    for (depth, part) in path.iter().enumerate() {
        match value {
            Value::Object(fields) => match fields.get(&Value::from(*part)) {
                Some(below) => value = below,
                None => return End::Missing,
            },
            other => return End::Not(super::super::answer::kind(other), depth),
        }
    }
    End::There
}

fn keys(value: &Value) -> Vec<&str> {
    keys_of(value)
}

fn keys_of(value: &Value) -> Vec<&str> {
    let Value::Object(fields) = value else { return Vec::new() };
    let names = fields.iter().filter_map(|(key, _)| match key {
        Value::String(key) => Some(&**key),
        _ => None,
    });
    names.collect()
}

/// Lists that answers are most likely made of, by their names.
struct Lists<'a> {
    file: &'a str,
    roles: &'a BTreeSet<&'a str>,
    scopes: usize,
    unknown: usize,
    found: &'a mut Vec<Finding>,
}

impl Lists<'_> {
    /// A data file is no deeper than its parser allows.
    fn field(&mut self, key: &Value, value: &Value) {
        match (key, value) {
            (Value::String(key), Value::Array(items)) => {
                for item in items.iter() {
                    match item {
                        Value::String(text) => self.entry(key, text),
                        other => self.inside(other),
                    }
                }
            }
            (_, value) => self.inside(value),
        }
    }

    fn inside(&mut self, value: &Value) {
        match value {
            Value::Object(fields) => fields.iter().for_each(|(key, value)| self.field(key, value)),
            Value::Array(items) => items.iter().for_each(|item| self.inside(item)),
            _ => {}
        }
    }

    fn entry(&mut self, list: &str, text: &str) {
        let place = Problem::in_file(self.file, String::new());
        let text = shortened(text);
        match list {
            "scopes" | "limit" if !is_scope_pattern(&text) => {
                self.scopes += 1;
                if self.scopes <= REMARKS_MAX {
                    let message = format!("`{text}` in `{list}` is not a scope");
                    let remedy = "write `resource:action` in lower case; an answer with it is \
                                  refused as a whole";
                    self.found.push(Finding::warning("malformed-scope", &place, message, remedy));
                }
            }
            "roles" if !self.roles.contains(text.as_str()) => {
                self.unknown += 1;
                if self.unknown <= REMARKS_MAX {
                    let message = format!("role `{text}` is not defined");
                    let remedy = "define it under `roles`: an unknown role refuses everybody who \
                                  has it";
                    self.found.push(Finding::warning("unknown-role", &place, message, remedy));
                }
            }
            _ => {}
        }
    }
}
