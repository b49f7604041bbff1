//! Reads below the fields of the input: deeper than the loader looks.

use super::super::error::Problem;
use super::Finding;
use super::values::{Shape, shape};

/// `parts` are those after `input`, as far as they are known.
pub(super) fn check(parts: &[String], place: &Problem) -> Option<Finding> {
    let [section, field, below, rest @ ..] = parts else { return None };
    let name = format!("input.{section}.{field}");
    let missing = |message: String, remedy: &str| {
        Some(Finding::error("unknown-field", place, message, remedy))
    };
    let below_of = format!("`{name}.{below}` does not exist: ");
    match shape(section, field)? {
        Shape::Text | Shape::OneOf(_) => {
            missing(format!("{below_of}`{name}` is text"), "compare the text itself")
        }
        Shape::Number(_) => {
            missing(format!("{below_of}`{name}` is a number"), "compare the number itself")
        }
        Shape::Texts => missing(
            format!("{below_of}`{name}` is a list"),
            "name an entry by its place, `[0]`, or ask with `in`",
        ),
        Shape::Object(fields) if !fields.contains(&below.as_str()) => {
            let fields = fields.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ");
            missing(format!("{below_of}`{name}` has {fields}"), "use one of its fields")
        }
        Shape::Object(_) if !rest.is_empty() => {
            missing(format!("`{name}.{below}` is text"), "compare the text itself")
        }
        Shape::Object(_) => None,
        Shape::Lists if field == "headers" && below.chars().any(|it| it.is_ascii_uppercase()) => {
            let remedy = format!("write `{}`", below.to_ascii_lowercase());
            let message = format!("header `{below}` is never there: names are in lower case");
            missing(message, &remedy)
        }
        Shape::Lists if !rest.is_empty() => missing(
            format!("`{name}.{below}` is a list of values"),
            "name a value by its place, `[0]`, or ask with `in`",
        ),
        Shape::Lists => None,
    }
}
