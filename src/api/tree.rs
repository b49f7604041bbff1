//! The text of an OpenAPI document, YAML or JSON, as a tree that knows where each part stands.
//!
//! Only what routes depend on is kept. Schemas, examples and responses are most of a document and
//! are passed over, after a look at their keys: a key that comes twice is refused everywhere.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Location, MessageFormatter, NonFiniteFloatPolicy, Spanned};

use super::contract::{Fault, Spot};

/// One value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub value: Value,
    pub at: Option<Spot>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Nothing, a number, a boolean: nothing that routes are made of.
    Other,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    pub at: Option<Spot>,
    pub value: Node,
}

/// How much of a value is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Document,
    Components,
    PathItems,
    PathItem,
    Operation,
    Whole,
    /// Only that it is there.
    Nothing,
}

/// The methods of a path item.
pub(super) const METHODS: &[(&str, &str)] = &[
    ("get", "GET"),
    ("put", "PUT"),
    ("post", "POST"),
    ("delete", "DELETE"),
    ("options", "OPTIONS"),
    ("head", "HEAD"),
    ("patch", "PATCH"),
    ("trace", "TRACE"),
];

/// A syntax error is one fault and no tree.
pub(super) fn read(text: &str) -> Result<Node, Fault> {
    // Bounds that no honest document of our size reaches, and that end an alias which unfolds into
    // gigabytes.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 100,
            flow_nesting_limit: 100,
            max_events: 6_000_000,
            max_nodes: 3_000_000,
            max_total_scalar_bytes: 32 * 1024 * 1024,
            max_anchors: 10_000,
            max_aliases: 50_000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 1_000_000,
            max_replay_stack_depth: 8,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        emit_comments: false,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        strict_booleans: true,
        with_snippet: false,
    };
    let read = serde_saphyr::with_deserializer_from_str_with_options(text, options, |it| {
        Kept(Shape::Document).deserialize(it)
    });
    read.map(|value| Node { value, at: None }).map_err(|error| {
        let error = error.without_snippet();
        let at = error.location().and_then(spot);
        let message = serde_saphyr::UserMessageFormatter.format_message(error).into_owned();
        let message = format!("not readable as YAML or JSON: {message}");
        Fault::new(at, "", message, "check the document with a linter of OpenAPI")
    })
}

fn spot(location: Location) -> Option<Spot> {
    let (line, column) = (location.line(), location.column());
    (line > 0).then_some(Spot { line, column })
}

impl Shape {
    /// How much is kept of what stands under a key; `None`: not even the key.
    fn below(self, key: &str) -> Option<Self> {
        match (self, key) {
            (Self::Whole | Self::Nothing, _) => None,
            (_, extension) if extension.starts_with("x-") => None,
            (Self::Document, "openapi" | "swagger" | "servers" | "security") => Some(Self::Whole),
            (Self::Document, "paths") | (Self::Components, "pathItems") => Some(Self::PathItems),
            (Self::Document, "components") => Some(Self::Components),
            (Self::Components, "securitySchemes") => Some(Self::Whole),
            (Self::PathItems, _) => Some(Self::PathItem),
            (Self::PathItem, "$ref" | "servers") => Some(Self::Whole),
            (Self::PathItem, "summary" | "description" | "parameters") => None,
            (Self::PathItem, key) if METHODS.iter().any(|(method, _)| *method == key) => {
                Some(Self::Operation)
            }
            // A method that we do not know must not get lost.
            (Self::PathItem, _) => Some(Self::Nothing),
            (Self::Operation, "operationId" | "security" | "servers") => Some(Self::Whole),
            (Self::Document | Self::Components | Self::Operation, _) => None,
        }
    }
}

/// Reads what its shape keeps.
struct Kept(Shape);

impl<'de> DeserializeSeed<'de> for Kept {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Kept {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a part of an OpenAPI document")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        match self.0 {
            Shape::Nothing => Ok(Value::Other),
            _ => Ok(Value::Text(value.to_owned())),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        if self.0 != Shape::Whole {
            while elements.next_element_seed(Self(Shape::Nothing))?.is_some() {}
            return Ok(Value::List(Vec::new()));
        }
        let mut list = Vec::new();
        while let Some(node) = elements.next_element()? {
            list.push(node);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        let mut seen = HashSet::new();
        while let Some(Spanned { value: key, defined, .. }) =
            entries.next_key::<Spanned<String>>()?
        {
            // The parser refuses duplicates already; a silent second value would be a hole.
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format!("duplicate key `{key}`")));
            }
            let at = spot(defined);
            let value = match self.0.below(&key) {
                _ if self.0 == Shape::Whole => entries.next_value()?,
                Some(Shape::Whole) => entries.next_value()?,
                Some(shape) => Node { value: entries.next_value_seed(Self(shape))?, at },
                None => {
                    drop(entries.next_value_seed(Self(Shape::Nothing))?);
                    continue;
                }
            };
            map.push(Entry { key, at, value });
        }
        Ok(Value::Map(map))
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        // Not where an alias is used: where the text stands that has to be edited.
        Ok(Self { value: spanned.value, at: spot(spanned.defined) })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Kept(Shape::Whole).deserialize(deserializer)
    }
}

impl Node {
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.map()?.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    pub(super) fn map(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    pub(super) fn list(&self) -> Option<&[Self]> {
        match &self.value {
            Value::List(nodes) => Some(nodes),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}
