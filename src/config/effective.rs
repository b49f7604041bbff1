//! The configuration in force, each value with who said so: a line, a variable, or nobody.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::environment::{ENDPOINT, Environment};
use super::jwt::CROSS_TENANT_LIFETIME_TEXT;
use super::problems::Origin;
use super::tree::{Kind, Node, child_key};
use super::{Config, Required, Route, RouteMatch};

/// What holds, in the order of the file. `Display` is YAML with the origins as comments.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Effective {
    settings: Vec<Setting>,
}

/// One value in force.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// Key path such as `inbound[0].limits.idle`.
    pub key: String,
    pub value: Value,
    /// `FILE:LINE`, `environment variable NAME`, or `default`; and that the variable it names holds
    /// a secret, where it does.
    pub origin: String,
}

/// Of a tree that made `config`: it is checked and completed.
pub(super) fn of(
    config: &Config,
    tree: &Node,
    file_name: &str,
    environment: &Environment,
) -> Effective {
    let mut settings = Vec::new();
    flatten(tree, "", file_name, &mut settings);
    let mut add = |key: String, value: Value, origin: &str| {
        if !settings.iter().any(|it: &Setting| it.key == key) {
            settings.push(Setting { key, value, origin: origin.to_owned() });
        }
    };
    // What holds without being a value of the schema: it is worked out, not written.
    for (index, it) in config.inbound.iter().enumerate() {
        add(format!("inbound[{index}].name"), it.name.clone().into(), "default");
    }
    for (index, it) in config.outbound.iter().enumerate() {
        add(format!("outbound[{index}].name"), it.name.clone().into(), "default");
        if let Some(fallback) = &it.fallback {
            let name = fallback.server.to_string();
            add(format!("outbound[{index}].server.name"), name.into(), "default");
        }
    }
    for (index, it) in config.jwt.issuers.iter().enumerate() {
        if it.cross_tenant_max_lifetime.is_some() {
            let key = format!("jwt.issuers[{index}].cross_tenant_max_lifetime");
            add(key, CROSS_TENANT_LIFETIME_TEXT.into(), "default");
        }
    }
    let endpoint =
        config.identity.as_ref().map_or(Value::Null, |it| Value::from(it.endpoint.clone()));
    if environment.endpoint.is_some() {
        let origin = format!("environment variable {ENDPOINT}");
        add("identity.workload_api".to_owned(), endpoint, &origin);
    }
    add("workers".to_owned(), config.workers.into(), "default");
    for (index, it) in config.inbound.iter().enumerate() {
        let documented = it.routes.iter().filter_map(|it| Some((it, it.document.as_deref()?)));
        for (number, (route, document)) in documented.enumerate() {
            let key = format!("inbound[{index}].documented[{number}]");
            settings.push(documented_route(route, document, key));
        }
    }
    settings.sort_by_cached_key(|it| order(&it.key));
    Effective { settings }
}

/// A route that nobody wrote here: the application's own document declares it.
fn documented_route(route: &Route, document: &str, key: String) -> Setting {
    let mut value = serde_json::Map::new();
    let mut add = |key: &str, it: Value| value.insert(key.to_owned(), it);
    if let Some(name) = &route.name {
        add("name", name.as_str().into());
    }
    match &route.matches {
        RouteMatch::Http { path, methods } => {
            add("path", path.as_str().into());
            add("methods", methods.as_slice().into());
        }
        RouteMatch::Grpc { service, method } => {
            let method = method.as_deref().unwrap_or("*");
            add("grpc", format!("{service}/{method}").into());
        }
    }
    match &route.required {
        Required::All(scopes) => add("scopes", scopes.as_slice().into()),
        Required::Any(scopes) => add("any_of", scopes.as_slice().into()),
        Required::AnyOf(lists) => {
            add("any_of", lists.iter().map(|it| Value::from(it.as_slice())).collect())
        }
        Required::NoScope => add("danger_no_scope", true.into()),
    };
    let origin = match route.line {
        0 => document.to_owned(),
        line => format!("{document}:{line}"),
    };
    Setting { key, value: value.into(), origin }
}

/// It is in force without being a key that could be written.
fn is_documented(key: &str) -> bool {
    key.contains("].documented[")
}

fn flatten(node: &Node, key: &str, file_name: &str, settings: &mut Vec<Setting>) {
    match &node.kind {
        Kind::Map(entries) => {
            for entry in entries {
                flatten(&entry.value, &child_key(key, &entry.key), file_name, settings);
            }
        }
        // A list of plain values reads best on one line.
        Kind::List(nodes) if nodes.iter().any(|it| matches!(it.kind, Kind::Map(_))) => {
            for (index, element) in nodes.iter().enumerate() {
                flatten(element, &format!("{key}[{index}]"), file_name, settings);
            }
        }
        Kind::Null | Kind::Faulty => {}
        Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) | Kind::List(_) => {
            let mut origin = match &node.origin {
                Origin::File { line, .. } => format!("{file_name}:{line}"),
                Origin::Environment(name) => format!("environment variable {name}"),
                Origin::Default | Origin::Unknown => "default".to_owned(),
            };
            // The name of a variable, which is there: what it holds is nobody's business.
            if key.ends_with("present.env") {
                origin.push_str(", where it is ***");
            }
            let value = match &node.kind {
                Kind::Text(text) if may_hold_a_secret(key) => without_query(text).into(),
                _ => node.to_value(),
            };
            settings.push(Setting { key: key.to_owned(), value, origin });
        }
    }
}

/// Some servers are asked with a key of theirs in the address.
fn may_hold_a_secret(key: &str) -> bool {
    key.ends_with(".token_endpoint") || key.ends_with(".url")
}

fn without_query(address: &str) -> String {
    match address.split_once('?') {
        Some((before, _)) => format!("{before}?***"),
        None => address.to_owned(),
    }
}

/// Keys of the file in the order of the reference; elements of lists by number.
fn order(key: &str) -> Vec<(usize, String)> {
    const TOP: &[&str] =
        &["tenant", "identity", "jwt", "inbound", "outbound", "policy", "bundle", "shadow"];
    const WITHIN: &[&str] =
        &["name", "issuer", "listen", "forward_to", "connect_to", "expect", "path"];
    key.split(['.', '['])
        .enumerate()
        .map(|(depth, part)| {
            if let Some(number) = part.strip_suffix(']') {
                return (number.parse().unwrap_or(usize::MAX), String::new());
            }
            let known = if depth == 0 { TOP } else { WITHIN };
            let rank = known.iter().position(|it| *it == part).unwrap_or(known.len());
            (rank, part.to_owned())
        })
        .collect()
}

impl Effective {
    pub fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.settings.iter()
    }
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const COLUMN: usize = 56;
        let mut open: Vec<String> = Vec::new();
        for setting in &self.settings {
            if is_documented(&setting.key) {
                let line = format!("{}# documented: {}", indent(&open, false), setting.value);
                writeln!(f, "{line:COLUMN$} # {}", setting.origin)?;
                continue;
            }
            let parts = parts(&setting.key);
            let Some((last, parents)) = parts.split_last() else { continue };
            let common = open.iter().zip(parents).take_while(|(a, b)| a == b).count();
            open.truncate(common);
            let mut dash = false;
            for part in parents.iter().skip(common) {
                if part.starts_with('[') {
                    dash = true;
                } else {
                    let indent = indent(&open, std::mem::take(&mut dash));
                    writeln!(f, "{indent}{part}:")?;
                }
                open.push(part.clone());
            }
            let line = format!("{}{last}: {}", indent(&open, dash), setting.value);
            writeln!(f, "{line:COLUMN$} # {}", setting.origin)?;
        }
        Ok(())
    }
}

/// `inbound[0].limits.idle` becomes `inbound`, `[0]`, `limits`, `idle`.
fn parts(key: &str) -> Vec<String> {
    let spread = key.replace('[', ".[");
    spread.split('.').map(str::to_owned).collect()
}

fn indent(open: &[String], dash: bool) -> String {
    let mut indent = "  ".repeat(open.len());
    if dash {
        indent.truncate(indent.len().saturating_sub(2));
        indent.push_str("- ");
    }
    indent
}
