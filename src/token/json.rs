//! JSON from strangers, read strictly: bounded, and without a name that stands twice.
//!
//! RFC 8259 leaves open what a repeated name means, so two readers of one token could differ on it:
//! here it is an error at every level (RFC 7515 section 4, RFC 7519 section 4).

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Nesting of a whole document, itself included.
const DEPTH_MAX: usize = 8;
const MEMBERS_MAX: usize = 128;
const ITEMS_MAX: usize = 512;

/// What a document says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    /// Finite. Beyond 2^53 not exact, but nothing that we ask of a number is so large.
    Number(f64),
    Text(String),
    Array(Vec<Self>),
    Object(Object),
}

/// Members in the order of the document; no name stands twice.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Object(Vec<(String, Json)>);

/// Why bytes are no document that we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JsonError {
    /// Not JSON, not an object, or beyond a bound.
    Malformed,
    DuplicateMember,
}

impl Json {
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub fn as_array(&self) -> Option<&[Self]> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }

    pub fn as_object(&self) -> Option<&Object> {
        if let Self::Object(object) = self { Some(object) } else { None }
    }
}

impl Object {
    /// A document whose outermost value is an object.
    pub fn read(bytes: &[u8]) -> Result<Self, JsonError> {
        let duplicate = Cell::new(false);
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let value = Value { depth: DEPTH_MAX, duplicate: &duplicate }.deserialize(&mut reader);
        match value.and_then(|value| reader.end().map(|()| value)) {
            Ok(Json::Object(object)) => Ok(object),
            Err(_) if duplicate.get() => Err(JsonError::DuplicateMember),
            Ok(_) | Err(_) => Err(JsonError::Malformed),
        }
    }

    pub fn get(&self, name: &str) -> Option<&Json> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

/// One value, with as many levels as are left to it.
#[derive(Clone, Copy)]
struct Value<'a> {
    depth: usize,
    /// Set when a name stands twice: `serde_json` has errors of its own only.
    duplicate: &'a Cell<bool>,
}

impl Value<'_> {
    fn within<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("nested too deep"))?;
        Ok(Self { depth, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value as f64))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value as f64))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Json, E> {
        if value.is_finite() { Ok(Json::Number(value)) } else { Err(E::custom("not finite")) }
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let inner = self.within()?;
        let mut read = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            if read.len() >= ITEMS_MAX {
                return Err(A::Error::custom("too many items"));
            }
            read.push(item);
        }
        Ok(Json::Array(read))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let inner = self.within()?;
        let mut read: Vec<(String, Json)> = Vec::new();
        while let Some(name) = members.next_key::<String>()? {
            if read.iter().any(|(known, _)| *known == name) {
                self.duplicate.set(true);
                return Err(A::Error::custom("a name stands twice"));
            }
            if read.len() >= MEMBERS_MAX {
                return Err(A::Error::custom("too many members"));
            }
            read.push((name, members.next_value_seed(inner)?));
        }
        Ok(Json::Object(Object(read)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Object, JsonError> {
        Object::read(text.as_bytes())
    }

    #[test]
    fn an_object_is_read_as_it_is_written() {
        let object = read(r#" {"a":[1,-2.5,true,null],"b":{"c":"\u0061"}} "#).unwrap();
        assert_eq!(object.names().collect::<Vec<_>>(), ["a", "b"]);
        let items = object.get("a").and_then(Json::as_array).unwrap();
        assert_eq!(items, [Json::Number(1.0), Json::Number(-2.5), Json::Bool(true), Json::Null]);
        let inner = object.get("b").and_then(Json::as_object).unwrap();
        assert_eq!(inner.get("c").and_then(Json::as_text), Some("a"));
        assert!(!object.has("c"));
    }

    #[test]
    fn a_name_that_stands_twice_is_refused_at_every_level_however_it_is_spelled() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"a":1,"a":1}}"#,
            r#"{"x":[[{"a":1,"b":2,"a":1}]]}"#,
        ] {
            assert_eq!(read(text), Err(JsonError::DuplicateMember), "{text}");
        }
    }

    #[test]
    fn what_is_no_bounded_object_is_refused() {
        let many = |count: usize| (0..count).map(|n| format!("\"{n}\":0")).collect::<Vec<_>>();
        let members = |count| format!("{{{}}}", many(count).join(","));
        let items = |count: usize| format!("{{\"a\":[{}]}}", vec!["0"; count].join(","));
        let deep = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        for text in [members(128), items(512), deep(7)] {
            assert!(read(&text).is_ok(), "{text}");
        }
        for text in [members(129), items(513), deep(8), deep(100_000)] {
            assert_eq!(read(&text), Err(JsonError::Malformed));
        }
        for text in [
            "",
            " ",
            "[]",
            "1",
            "null",
            "\"{}\"",
            "{",
            "{}}",
            "{} {}",
            "{,}",
            "{\"a\":1,}",
            "{a:1}",
            "{'a':1}",
            "{\"a\":01}",
            "{\"a\":+1}",
            "{\"a\":1e400}",
            "{\"a\":NaN}",
            "{\"a\":\"\n\"}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\\x41\"}",
            "{/**/}",
            "\u{feff}{}",
        ] {
            assert_eq!(read(text), Err(JsonError::Malformed), "{text}");
        }
        assert_eq!(Object::read(b"{\"a\":\"\xff\"}"), Err(JsonError::Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(Object::read(&bytes));
        }

        #[test]
        fn what_is_read_is_what_stands_there(
            text in r#"\{("a":-?[1-9][0-9]{0,2}(,"b":(true|null|"[a-z]{0,3}"|\[1?\]))?)?\}"#,
        ) {
            let theirs: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert!(same(&Json::Object(read(&text).unwrap()), &theirs));
        }
    }

    fn same(ours: &Json, theirs: &serde_json::Value) -> bool {
        match ours {
            Json::Null => theirs.is_null(),
            Json::Bool(value) => theirs.as_bool() == Some(*value),
            Json::Number(value) => theirs.as_f64() == Some(*value),
            Json::Text(value) => theirs.as_str() == Some(value),
            Json::Array(items) => {
                let theirs = theirs.as_array().unwrap();
                items.len() == theirs.len() && items.iter().zip(theirs).all(|(a, b)| same(a, b))
            }
            Json::Object(object) => {
                object.names().count() == theirs.as_object().unwrap().len()
                    && object.names().all(|it| same(object.get(it).unwrap(), &theirs[it]))
            }
        }
    }
}
