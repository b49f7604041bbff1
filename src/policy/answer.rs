//! What a policy answers, decoded strictly: no field unknown, nothing mistyped, everything bounded.

use std::collections::BTreeMap;
use std::time::Duration;

use regorus::Value;
use thiserror::Error;

const SCOPES_MAX: usize = 256;
const ROLES_MAX: usize = 64;
const TEAMS_MAX: usize = 64;
const REASONS_MAX: usize = 64;
const TEXT_MAX: usize = 1024;
const TTL_SECONDS_MAX: u64 = 86_400;

/// Why a question has no answer that could be relied on. Whoever asked must refuse.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EvalError {
    #[error("`{entry}` is undefined")]
    Undefined { entry: String },
    #[error("`{entry}` took too long")]
    Timeout { entry: String },
    #[error("`{entry}` cannot be evaluated: {message}")]
    Evaluate { entry: String, message: String },
    #[error("`{entry}` answers something else than its contract: {message}")]
    Shape { entry: String, message: String },
    #[error("no policy has been received yet")]
    NoPolicy,
}

/// Everything the policy says of an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityAnswer {
    pub grant: GrantAnswer,
    /// Scope patterns of each layer that the policy defines; each narrows the ones before.
    pub limits: Vec<Limit>,
    /// Any reason at all means that nothing is allowed.
    pub denials: Vec<DenyReason>,
}

/// What the policy leaves of what a token brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ceiling {
    /// As in [`IdentityAnswer`].
    pub limits: Vec<Limit>,
    pub denials: Vec<DenyReason>,
}

/// The answer of `data.sidegate.global.grant`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GrantAnswer {
    pub roles: Vec<String>,
    pub scopes: Vec<String>,
    pub tenant: Option<String>,
    pub teams: Vec<String>,
    pub cross_tenant: bool,
    pub ttl: Option<Duration>,
}

/// The most that one layer leaves to an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    pub layer: &'static str,
    pub patterns: Vec<String>,
}

/// Why a policy says no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DenyReason {
    /// `global`, `team`, `resource`, `tenant` or `request`.
    pub layer: &'static str,
    pub code: Option<String>,
    pub message: String,
}

/// Role names with the scope patterns that they stand for, includes expanded.
pub(super) type Roles = BTreeMap<String, Vec<String>>;

/// One entry point's raw answer on its way to a type.
pub(super) struct Answer<'a> {
    pub entry: &'a str,
    pub value: &'a Value,
}

impl Answer<'_> {
    pub(super) fn grant(&self) -> Result<GrantAnswer, EvalError> {
        let object = match self.value {
            Value::Undefined => return Err(self.undefined()),
            Value::Object(object) => object,
            other => return Err(self.shape(format!("expected an object, found {}", kind(other)))),
        };
        let (mut roles, mut scopes, mut tenant) = (None, None, None);
        let mut answer = GrantAnswer::default();
        for (key, value) in object.iter() {
            let Value::String(key) = key else {
                return Err(self.shape("a field name is not a string".to_owned()));
            };
            match &**key {
                "roles" => roles = Some(self.strings("roles", value, ROLES_MAX)?),
                "scopes" => scopes = Some(self.strings("scopes", value, SCOPES_MAX)?),
                "tenant" => tenant = Some(self.optional_text("tenant", value)?),
                "teams" => answer.teams = self.strings("teams", value, TEAMS_MAX)?,
                "cross_tenant" => answer.cross_tenant = self.bool("cross_tenant", value)?,
                "ttl_seconds" => answer.ttl = Some(self.ttl(value)?),
                other => {
                    let other = shortened(other);
                    return Err(self.shape(format!("field `{other}` is not part of the contract")));
                }
            }
        }
        let missing = |field: &str| self.shape(format!("field `{field}` is missing"));
        answer.roles = roles.ok_or_else(|| missing("roles"))?;
        answer.scopes = scopes.ok_or_else(|| missing("scopes"))?;
        answer.tenant = tenant.ok_or_else(|| missing("tenant"))?;
        Ok(answer)
    }

    /// A layer that exists but answers nothing allows nothing.
    pub(super) fn limit(&self, layer: &'static str) -> Result<Limit, EvalError> {
        let patterns = match self.value {
            Value::Undefined => Vec::new(),
            value => self.strings("limit", value, SCOPES_MAX)?,
        };
        Ok(Limit { layer, patterns })
    }

    pub(super) fn denials(&self, layer: &'static str) -> Result<Vec<DenyReason>, EvalError> {
        let items = match self.value {
            Value::Undefined => return Err(self.undefined()),
            value => self.items("deny", value, REASONS_MAX)?,
        };
        items.into_iter().map(|item| self.reason(layer, item)).collect()
    }

    fn reason(&self, layer: &'static str, value: &Value) -> Result<DenyReason, EvalError> {
        let Value::Object(object) = value else {
            let message = self.text("a reason", value)?.to_owned();
            return Ok(DenyReason { layer, code: None, message });
        };
        let mut code = None;
        let mut message = String::new();
        for (key, value) in object.iter() {
            match key {
                Value::String(key) if &**key == "code" => {
                    code = Some(self.text("code", value)?.to_owned());
                }
                Value::String(key) if &**key == "message" => {
                    message = self.text("message", value)?.to_owned();
                }
                _ => {
                    let message = "a reason has only `code` and `message`".to_owned();
                    return Err(self.shape(message));
                }
            }
        }
        Ok(DenyReason { layer, code, message })
    }

    fn strings(&self, field: &str, value: &Value, max: usize) -> Result<Vec<String>, EvalError> {
        let items = self.items(field, value, max)?;
        items.into_iter().map(|item| self.text(field, item).map(str::to_owned)).collect()
    }

    pub(super) fn items<'v>(
        &self,
        field: &str,
        value: &'v Value,
        max: usize,
    ) -> Result<Vec<&'v Value>, EvalError> {
        let items: Vec<&Value> = match value {
            Value::Array(array) => array.iter().take(max + 1).collect(),
            Value::Set(set) => set.iter().take(max + 1).collect(),
            other => {
                let kind = kind(other);
                return Err(self.shape(format!("`{field}` is {kind} where a list or set belongs")));
            }
        };
        if items.len() > max {
            return Err(self.shape(format!("`{field}` has more than {max} entries")));
        }
        Ok(items)
    }

    fn text<'v>(&self, field: &str, value: &'v Value) -> Result<&'v str, EvalError> {
        match value {
            // What the interpreter prints for no value at all is never a value.
            Value::String(text) if &**text == "<undefined>" => {
                Err(self.shape(format!("`{field}` is undefined")))
            }
            Value::String(text) if text.len() <= TEXT_MAX => Ok(text),
            Value::String(_) => {
                Err(self.shape(format!("`{field}` is longer than {TEXT_MAX} bytes")))
            }
            other => {
                Err(self.shape(format!("`{field}` is {} where a string belongs", kind(other))))
            }
        }
    }

    fn optional_text(&self, field: &str, value: &Value) -> Result<Option<String>, EvalError> {
        match value {
            Value::Null => Ok(None),
            value => self.text(field, value).map(|text| Some(text.to_owned())),
        }
    }

    fn bool(&self, field: &str, value: &Value) -> Result<bool, EvalError> {
        match value {
            Value::Bool(value) => Ok(*value),
            other => {
                Err(self.shape(format!("`{field}` is {} where a boolean belongs", kind(other))))
            }
        }
    }

    fn ttl(&self, value: &Value) -> Result<Duration, EvalError> {
        match value.as_u64() {
            Ok(seconds @ 1..=TTL_SECONDS_MAX) => Ok(Duration::from_secs(seconds)),
            _ => Err(self
                .shape(format!("`ttl_seconds` is not a whole number from 1 to {TTL_SECONDS_MAX}"))),
        }
    }

    fn undefined(&self) -> EvalError {
        EvalError::Undefined { entry: self.entry.to_owned() }
    }

    pub(super) fn shape(&self, message: String) -> EvalError {
        EvalError::Shape { entry: self.entry.to_owned(), message }
    }
}

pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Set(_) => "a set",
        Value::Object(_) => "an object",
        Value::Undefined => "undefined",
    }
}

pub(super) fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}
