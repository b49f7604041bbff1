//! What a policy says of events of the decision log: `data.system.log.mask` and
//! `data.system.log.drop`, as OPA knows them. They are asked by the log alone, never by a decision.

use regorus::Value;

use super::answer::{Answer, EvalError, kind};
use super::budget::Budget;
use super::engine::Policy;

const MASKS_MAX: usize = 256;
const PATH_MAX: usize = 1024;

/// A part of an event that is to be removed or replaced.
#[derive(Debug, Clone, PartialEq)]
pub struct Mask {
    /// The first part is `input` or `result`.
    pub path: Vec<String>,
    /// `None`: remove it.
    pub upsert: Option<serde_json::Value>,
}

/// What becomes of an event.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogVerdict {
    pub drop: bool,
    pub masks: Vec<Mask>,
}

impl Policy {
    /// Whether events have to be shown to [`Policy::log_verdict`].
    pub fn asks_log_events(&self) -> bool {
        let rules = self.log_rules();
        rules.mask.is_some() || rules.drop.is_some()
    }

    /// On an error the event must not leave.
    pub fn log_verdict(&self, event: &serde_json::Value) -> Result<LogVerdict, EvalError> {
        let rules = self.log_rules();
        let input = Value::from(event.clone());
        let drop = match &rules.drop {
            Some(entry) => entry.ask(&input, Budget::whole(), dropped)?,
            None => false,
        };
        let masks = match &rules.mask {
            Some(entry) if !drop => entry.ask(&input, Budget::whole(), masks)?,
            Some(_) | None => Vec::new(),
        };
        Ok(LogVerdict { drop, masks })
    }
}

fn dropped(answer: &Answer<'_>) -> Result<bool, EvalError> {
    match answer.value {
        Value::Undefined => Ok(false),
        Value::Bool(drop) => Ok(*drop),
        other => Err(answer.shape(format!("`drop` is {} where a boolean belongs", kind(other)))),
    }
}

fn masks(answer: &Answer<'_>) -> Result<Vec<Mask>, EvalError> {
    let items = match answer.value {
        Value::Undefined => return Ok(Vec::new()),
        value => answer.items("mask", value, MASKS_MAX)?,
    };
    items.into_iter().map(|item| mask(answer, item)).collect()
}

fn mask(answer: &Answer<'_>, item: &Value) -> Result<Mask, EvalError> {
    let text = match item {
        Value::String(text) => return Ok(Mask { path: path(answer, text)?, upsert: None }),
        Value::Object(_) => &item["path"],
        other => {
            return Err(answer.shape(format!("a mask is {} where a path belongs", kind(other))));
        }
    };
    let Value::String(text) = text else {
        return Err(answer.shape("a mask has no `path`".to_owned()));
    };
    let path = path(answer, text)?;
    match &item["op"] {
        Value::String(op) if &**op == "remove" => Ok(Mask { path, upsert: None }),
        Value::String(op) if &**op == "upsert" => {
            let value = match &item["value"] {
                Value::Undefined => serde_json::Value::Null,
                value => serde_json::to_value(value)
                    .map_err(|error| answer.shape(format!("`value` has no JSON form: {error}")))?,
            };
            Ok(Mask { path, upsert: Some(value) })
        }
        _ => Err(answer.shape("a mask's `op` is `remove` or `upsert`".to_owned())),
    }
}

fn path(answer: &Answer<'_>, text: &str) -> Result<Vec<String>, EvalError> {
    let parts = text.strip_prefix('/').filter(|_| text.len() <= PATH_MAX);
    let parts: Vec<String> = parts.unwrap_or_default().split('/').map(str::to_owned).collect();
    match parts.first().map(String::as_str) {
        Some("input" | "result" | "nd_builtin_cache") => Ok(parts),
        _ => Err(answer.shape("a mask's path begins with `/input` or `/result`".to_owned())),
    }
}
