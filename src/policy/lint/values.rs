//! Which values the fields of the input can have.

use regorus::Value;
use spiffe::{SpiffeId, TrustDomain};

/// What a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    OneOf(&'static [&'static str]),
    /// From 0 to this.
    Number(u64),
    Texts,
    /// Lists of texts by name.
    Lists,
    Object(&'static [&'static str]),
}

const METHODS: &[&str] = &["jwt", "jwt-svid", "spiffe"];
const WEEKDAYS: &[&str] =
    &["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// `None` for what the contract does not have, which does not load anyway.
pub(super) fn shape(section: &str, field: &str) -> Option<Shape> {
    Some(match (section, field) {
        ("peer", "method") => Shape::OneOf(METHODS),
        ("time", "weekday") => Shape::OneOf(WEEKDAYS),
        ("time", "hour") => Shape::Number(23),
        ("time", "minute") => Shape::Number(59),
        ("time", "unix_minute") => Shape::Number(u64::MAX),
        ("local", "direction") => Shape::OneOf(&["inbound", "outbound"]),
        ("request", "protocol") => Shape::OneOf(&["grpc", "http"]),
        ("peer" | "request", "segments") => Shape::Texts,
        ("request", "scopes_required") | ("grant", "scopes") => Shape::Texts,
        ("request", "headers" | "query") => Shape::Lists,
        ("request", "grpc") => Shape::Object(&["service", "method"]),
        ("peer" | "local" | "request" | "grant", _) => Shape::Text,
        _ => return None,
    })
}

/// Why a field never has this value; the second is what to write instead.
pub(super) fn impossible(parts: &[String], value: &Value) -> Option<(String, String)> {
    let [section, field, below @ ..] = parts else {
        let is_version = parts == ["version"];
        return (is_version && *value != Value::from(1_u64))
            .then(|| ("`input.version` is 1".to_owned(), "compare with 1".to_owned()));
    };
    let name = format!("input.{}", parts.join("."));
    let shape = match (shape(section, field)?, below) {
        (shape, []) => shape,
        (Shape::Lists, [_]) => Shape::Texts,
        (Shape::Object(_), [_]) => Shape::Text,
        _ => return None,
    };
    let kind = super::super::answer::kind(value);
    let is =
        |what: &str, remedy: String| Some((format!("`{name}` is {what}, never {kind}"), remedy));
    match (shape, value) {
        // Fields that are unknown are null.
        (Shape::Text, Value::Null) => None,
        (Shape::Text, Value::String(text)) => impossible_text(&name, section, field, text),
        (Shape::OneOf(known), Value::String(text)) if !known.contains(&&**text) => {
            let known = known.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ");
            let message = format!("`{name}` is never `{}`", super::super::answer::shortened(text));
            Some((message, format!("it is one of {known}")))
        }
        (Shape::OneOf(_), Value::String(_)) => None,
        (Shape::Text | Shape::OneOf(_), _) => is("text", "compare with a string".to_owned()),
        (Shape::Number(most), Value::Number(_)) => {
            let fits = value.as_u64().is_ok_and(|number| number <= most);
            (!fits).then(|| {
                (
                    format!("`{name}` is a whole number from 0 to {most}"),
                    "compare with one that it can have".to_owned(),
                )
            })
        }
        (Shape::Number(_), _) => is("a number", "compare with a number".to_owned()),
        (Shape::Texts, Value::Array(_)) => None,
        (Shape::Texts, _) => is("a list", format!("write `… in {name}`, or compare `{name}[0]`")),
        (Shape::Lists | Shape::Object(_), Value::Object(_)) => None,
        (Shape::Lists | Shape::Object(_), _) => {
            is("an object", "compare one of its fields".to_owned())
        }
    }
}

fn impossible_text(name: &str, section: &str, field: &str, text: &str) -> Option<(String, String)> {
    let never = |remedy: &str| {
        let text = super::super::answer::shortened(text);
        Some((format!("`{name}` is never `{text}`"), remedy.to_owned()))
    };
    match (section, field) {
        ("peer" | "local", "spiffe_id") if SpiffeId::new(text).is_err() => {
            never("write a whole SPIFFE ID: `spiffe://trust-domain/path`")
        }
        ("peer", "trust_domain") if text.contains('/') || TrustDomain::new(text).is_err() => {
            never("write the name alone, in lower case: `example.org`")
        }
        ("peer" | "request", "path") if !text.is_empty() && !text.starts_with('/') => {
            never("a path begins with `/`")
        }
        ("peer" | "local", "environment" | "service") if text.contains('/') => {
            never("it is one segment of the path, without `/`")
        }
        ("request", "method") if text.chars().any(|it| it.is_ascii_lowercase()) => {
            never("methods are written in capitals: `GET`")
        }
        ("peer", "address") if text.parse::<std::net::IpAddr>().is_err() => {
            never("it is an IP address without a port; for a range use `net.cidr_contains`")
        }
        _ => None,
    }
}
