//! Values that the file takes in more than one place: one or several texts, lengths of time, sizes.

use schemars::JsonSchema;
use serde::Deserialize;

/// One or several; an element that was faulty reads as `None`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrSeveral {
    One(String),
    Several(Vec<Option<String>>),
}

/// [`OneOrSeveral`] that has to be given: schema only.
#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
#[expect(dead_code, reason = "only its schema is of use")]
pub(super) enum OneOrSeveralSchema {
    One(String),
    Several(Vec<String>),
}

/// [`OneOrSeveral`] that may be left out: schema only.
#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
#[expect(dead_code, reason = "only its schema is of use")]
pub(super) enum OneSeveralOrNone {
    One(String),
    Several(Vec<String>),
    Nothing,
}

/// A length of time as it is written: schema only.
#[derive(JsonSchema)]
#[schemars(inline, transparent, example = &"10s")]
#[expect(dead_code, reason = "only its schema is of use")]
pub(super) struct Period(#[schemars(regex(pattern = r"^[0-9]+(ms|s|m|h)$"))] String);

/// A number of bytes as it is written: schema only.
#[derive(JsonSchema)]
#[schemars(inline, transparent, example = &"64KiB")]
#[expect(dead_code, reason = "only its schema is of use")]
pub(super) struct Size(#[schemars(regex(pattern = r"^[0-9]+(B|KiB|MiB)$"))] String);
