//! `SIDEGATE__A__B=value`: the environment's word laid over the file's, key by key.
//!
//! Which keys exist is not known here: an override is judged with the file, by `structure`.

use std::collections::BTreeMap;

use super::problems::{Origin, Problems, Wrong, shown};
use super::tree::{self, Entry, Kind, Node};
use crate::secret::Secret;

/// What the environment says that matters to a configuration.
#[derive(Debug, Default)]
pub(super) struct Environment {
    /// Name to value of every variable that begins with [`PREFIX`].
    overrides: BTreeMap<String, String>,
    /// The Workload API's address by the standard's own variable (Workload Endpoint section 4).
    pub endpoint: Option<String>,
    /// Everybody else's, for what names one of them to find a token in.
    others: BTreeMap<String, Secret>,
}

pub(super) const PREFIX: &str = "SIDEGATE__";
pub(super) const ENDPOINT: &str = "SPIFFE_ENDPOINT_SOCKET";

const MOST_OVERRIDES: usize = 1_000;
const LONGEST_VALUE: usize = 64 * 1024;
const DEEPEST: usize = 16;

/// One segment of a variable's name. Lists sort by number, so that an element is never set
/// before the one it follows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Index(usize),
    Key(String),
}

impl Environment {
    pub(super) fn new(variables: impl Iterator<Item = (String, String)>) -> Self {
        let mut it = Self::default();
        for (name, value) in variables {
            if name == ENDPOINT {
                it.endpoint = Some(value).filter(|value| !value.is_empty());
            } else if name.starts_with(PREFIX) {
                it.overrides.insert(name, value);
            } else {
                it.others.insert(name, Secret::new(value));
            }
        }
        it
    }

    /// The token in a variable, without white space at either end. No message repeats it, nor the
    /// name, in place of which the token itself may stand.
    pub(super) fn token(&self, name: &str) -> Result<Secret, Wrong> {
        if name.starts_with(PREFIX) {
            let message = format!("names a variable that begins with `{PREFIX}`");
            return Err(Wrong::new(message, "those set keys of the configuration; choose another"));
        }
        let Some(value) = self.others.get(name) else {
            let hint = "set it before the start, or name another source";
            return Err(Wrong::new("names a variable that is not set, or not text", hint));
        };
        let token = value.expose().trim();
        if token.is_empty() {
            let hint = "put the token into it, or name another source";
            return Err(Wrong::new("names a variable that is empty", hint));
        }
        if !token.bytes().all(|it| it.is_ascii_graphic()) {
            let hint = "put the token into it and nothing else";
            return Err(Wrong::new("names a variable that holds no token", hint));
        }
        Ok(Secret::new(token.to_owned()))
    }

    /// Lays the overrides over the tree, the shorter key first.
    pub(super) fn apply(&self, tree: &mut Node, problems: &mut Problems) {
        if self.overrides.len() > MOST_OVERRIDES {
            let message = format!("more than {MOST_OVERRIDES} variables begin with `{PREFIX}`");
            problems.add("", &Origin::Unknown, message, None);
            return;
        }
        let mut seen: BTreeMap<Vec<Step>, (&str, &str)> = BTreeMap::new();
        for (name, value) in &self.overrides {
            match steps(name, value) {
                Ok(steps) => {
                    if let Some((first, _)) = seen.insert(steps, (name, value)) {
                        let message = format!("sets the same key as `{first}`");
                        add(problems, name, Wrong::new(message, "keep one of the two"));
                    }
                }
                Err(wrong) => add(problems, name, wrong),
            }
        }
        for (steps, (name, value)) in &seen {
            if let Err(wrong) = set(tree, steps, tree::read_variable(name, value)) {
                add(problems, name, wrong);
            }
        }
    }
}

fn add(problems: &mut Problems, name: &str, wrong: Wrong) {
    let at = Origin::Environment(name.to_owned());
    problems.add("", &at, wrong.message, Some(wrong.hint));
}

fn steps(name: &str, value: &str) -> Result<Vec<Step>, Wrong> {
    if value.is_empty() {
        return Err(Wrong::new("is set to nothing", "unset it, or give it a value"));
    }
    if value.len() > LONGEST_VALUE {
        let message = format!("is longer than {} KiB", LONGEST_VALUE / 1024);
        return Err(Wrong::new(message, "put a value of this size into the file"));
    }
    let path = name.strip_prefix(PREFIX).unwrap_or(name);
    let steps: Vec<Step> = path.split("__").map(step).collect();
    let blank = steps.iter().any(|step| matches!(step, Step::Key(key) if key.is_empty()));
    if blank || steps.len() > DEEPEST {
        let hint = "write keys in capitals with `__` between them, such as \
                    `SIDEGATE__INBOUND__0__LISTEN`";
        return Err(Wrong::new("does not name a key", hint));
    }
    Ok(steps)
}

fn step(text: &str) -> Step {
    match text.parse() {
        Ok(index) if text.bytes().all(|byte| byte.is_ascii_digit()) => Step::Index(index),
        Ok(_) | Err(_) => Step::Key(text.to_ascii_lowercase()),
    }
}

fn set(node: &mut Node, steps: &[Step], value: Node) -> Result<(), Wrong> {
    let Some((first, rest)) = steps.split_first() else {
        *node = value;
        return Ok(());
    };
    // Something other than a list or a map in the way is what the override replaces.
    if !matches!(node.kind, Kind::Map(_) | Kind::List(_)) {
        node.origin = value.origin.clone();
        node.raw = None;
        node.kind = match first {
            Step::Index(_) => Kind::List(Vec::new()),
            Step::Key(_) => Kind::Map(Vec::new()),
        };
    }
    match (&mut node.kind, first) {
        (Kind::List(nodes), Step::Index(index)) => {
            if *index == nodes.len() {
                let origin = value.origin.clone();
                nodes.push(Node { kind: Kind::Null, origin, raw: None });
            }
            let count = nodes.len();
            let Some(element) = nodes.get_mut(*index) else {
                let message = format!("element {index} of a list that has {count}");
                return Err(Wrong::new(message, format!("count from 0; the next is {count}")));
            };
            set(element, rest, value)
        }
        (Kind::List(_), Step::Key(key)) => {
            let message = format!("{} inside a list", shown(key));
            Err(Wrong::new(message, "name an element of a list by its number, from 0"))
        }
        (Kind::Map(entries), step) => {
            let key = match step {
                Step::Index(index) => index.to_string(),
                Step::Key(key) => key.clone(),
            };
            if let Some(entry) = entries.iter_mut().find(|entry| entry.key == key) {
                return set(&mut entry.value, rest, value);
            }
            let origin = value.origin.clone();
            let mut child = Node { kind: Kind::Null, origin: origin.clone(), raw: None };
            set(&mut child, rest, value)?;
            entries.push(Entry { key, key_origin: origin, value: child });
            Ok(())
        }
        (Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) | Kind::Faulty, _) => Ok(()),
    }
}
