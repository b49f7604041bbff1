//! The YAML text as a tree in which every key and value knows where it was written.
//!
//! Knows nothing of which keys exist: `structure` judges that.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Location, MessageFormatter, NonFiniteFloatPolicy, Spanned};
use std::fmt;

use super::problems::{Origin, Problems, Wrong};

/// One value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub kind: Kind,
    pub origin: Origin,
    /// The text of an environment variable as it was set: wins over what YAML made of it
    /// wherever text is wanted, since nobody quotes twice in an environment.
    pub raw: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Already reported as a problem: reads as absent and is never reported twice.
    Faulty,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    pub key_origin: Origin,
    pub value: Node,
}

/// A spot in the tree by its key path, whether or not something is written there.
#[derive(Debug, Clone)]
pub(super) struct Place<'a> {
    key: String,
    node: Option<&'a Node>,
    /// Of the node, or of the nearest one around it that was written.
    origin: &'a Origin,
}

/// Reads a document; a syntax error is one problem and no tree.
pub(super) fn read(text: &str, problems: &mut Problems) -> Option<Node> {
    match parse(text) {
        Ok(node) => Some(node),
        Err(error) => {
            let error = error.without_snippet();
            let at = error.location().map_or(Origin::Unknown, origin);
            let message = serde_saphyr::UserMessageFormatter.format_message(error).into_owned();
            let message = format!("not readable as YAML: {message}");
            let hint = syntax_hint(text, &at).map(str::to_owned);
            problems.add("", &at, message, hint);
            None
        }
    }
}

/// The slips that our own format invites.
fn syntax_hint(text: &str, at: &Origin) -> Option<&'static str> {
    let Origin::File { line, .. } = at else { return None };
    let line = text.lines().nth(usize::try_from(*line).ok()?.checked_sub(1)?)?;
    if line.contains('\t') {
        Some("indent with spaces; YAML does not take tabs")
    } else if line.contains("/{") {
        Some("inside `{ ... }` a path with braces needs quotes: `path: \"/users/{id}\"`")
    } else if line.contains("**") || line.contains(": *") || line.contains("[*") {
        Some("a value that begins with `*` needs quotes")
    } else {
        None
    }
}

/// Reads the value of an environment variable. What is not YAML (`[::]:8443`) is text.
pub(super) fn read_variable(name: &str, text: &str) -> Node {
    let mut node = parse(text).unwrap_or_else(|_| Node::new(Kind::Text(text.to_owned())));
    node.set_origin(&Origin::Environment(name.to_owned()));
    node.raw = Some(text.to_owned());
    node
}

fn parse(text: &str) -> Result<Node, serde_saphyr::Error> {
    // A file of a million anchors, or one alias that unfolds into gigabytes, ends here.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 32,
            flow_nesting_limit: 32,
            max_events: 200_000,
            max_nodes: 100_000,
            max_anchors: 1_000,
            max_aliases: 10_000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
            max_replay_stack_depth: 8,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        emit_comments: false,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        reject_unsupported_tags: true,
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options)
}

fn origin(location: Location) -> Origin {
    match location.line() {
        0 => Origin::Unknown,
        line => Origin::File { line, column: location.column() },
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Kind>::deserialize(deserializer)?;
        // Not where an alias is used: where the text stands that has to be edited.
        Ok(Self { kind: spanned.value, origin: origin(spanned.defined), raw: None })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_none<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        Kind::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Number(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Kind, E> {
        Ok(Kind::Text(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Kind, E> {
        Ok(Kind::Text(value.to_string()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Kind, E> {
        serde_json::Number::from_f64(value)
            .map(Kind::Number)
            .ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Kind, E> {
        Ok(Kind::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Kind, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = elements.next_element()? {
            list.push(node);
        }
        Ok(Kind::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Kind, A::Error> {
        let mut map: Vec<Entry> = Vec::new();
        while let Some(key) = entries.next_key::<Spanned<String>>()? {
            // The parser refuses duplicates already; a silent second value would be a hole.
            if map.iter().any(|entry| entry.key == key.value) {
                return Err(A::Error::custom(format!("duplicate key `{}`", key.value)));
            }
            let value = entries.next_value()?;
            map.push(Entry { key: key.value, key_origin: origin(key.defined), value });
        }
        Ok(Kind::Map(map))
    }
}

impl Node {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, origin: Origin::Unknown, raw: None }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match &self.kind {
            Kind::Map(entries) => {
                entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
            }
            Kind::Null
            | Kind::Bool(_)
            | Kind::Number(_)
            | Kind::Text(_)
            | Kind::List(_)
            | Kind::Faulty => None,
        }
    }

    pub(super) fn item(&self, index: usize) -> Option<&Self> {
        match &self.kind {
            Kind::List(nodes) => nodes.get(index),
            Kind::Null
            | Kind::Bool(_)
            | Kind::Number(_)
            | Kind::Text(_)
            | Kind::Map(_)
            | Kind::Faulty => None,
        }
    }

    /// The plain value, faults left out.
    pub(super) fn to_value(&self) -> serde_json::Value {
        use serde_json::Value;
        match &self.kind {
            Kind::Null | Kind::Faulty => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(value) => Value::Number(value.clone()),
            Kind::Text(value) => Value::String(value.clone()),
            Kind::List(nodes) => Value::Array(nodes.iter().map(Self::to_value).collect()),
            Kind::Map(entries) => Value::Object(
                entries.iter().map(|it| (it.key.clone(), it.value.to_value())).collect(),
            ),
        }
    }

    fn set_origin(&mut self, origin: &Origin) {
        self.origin = origin.clone();
        match &mut self.kind {
            Kind::List(nodes) => nodes.iter_mut().for_each(|node| node.set_origin(origin)),
            Kind::Map(entries) => {
                for entry in entries {
                    entry.key_origin = origin.clone();
                    entry.value.set_origin(origin);
                }
            }
            Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::Text(_) | Kind::Faulty => {}
        }
    }
}

impl<'a> Place<'a> {
    pub(super) fn root(tree: &'a Node) -> Self {
        Self { key: String::new(), node: Some(tree), origin: &tree.origin }
    }

    pub(super) fn key(&self, name: &str) -> Self {
        let key = child_key(&self.key, name);
        self.step(key, self.node.and_then(|node| node.get(name)))
    }

    pub(super) fn item(&self, index: usize) -> Self {
        let key = format!("{}[{index}]", self.key);
        self.step(key, self.node.and_then(|node| node.item(index)))
    }

    fn step(&self, key: String, node: Option<&'a Node>) -> Self {
        let origin = match node.map(|node| &node.origin) {
            None | Some(Origin::Default) => self.origin,
            Some(origin) => origin,
        };
        Self { key, node, origin }
    }

    pub(super) fn path(&self) -> &str {
        &self.key
    }

    /// The line in the file, 0 when it was not written there.
    pub(super) fn line(&self) -> u32 {
        match self.origin {
            Origin::File { line, .. } => u32::try_from(*line).unwrap_or(u32::MAX),
            Origin::Environment(_) | Origin::Default | Origin::Unknown => 0,
        }
    }

    /// Something here, or around it, was reported already: to call it absent would be noise.
    pub(super) fn is_faulty(&self) -> bool {
        self.node.is_some_and(|node| node.kind == Kind::Faulty)
    }

    /// Somebody wrote something here, be it right or wrong.
    pub(super) fn is_written(&self) -> bool {
        self.node.is_some_and(|node| node.kind != Kind::Null && node.origin != Origin::Default)
    }

    pub(super) fn report(
        &self,
        problems: &mut Problems,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        problems.add(&self.key, self.origin, message.into(), Some(hint.into()));
    }

    /// The value, or its problem on record.
    pub(super) fn accept<T>(&self, problems: &mut Problems, parsed: Result<T, Wrong>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.report(problems, wrong.message, wrong.hint);
                None
            }
        }
    }
}

pub(super) fn child_key(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}
