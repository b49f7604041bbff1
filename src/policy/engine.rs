//! Compiles a policy and asks it. Only the tree interpreter, with strict builtin errors: the
//! faster virtual machine turns errors into "undefined", and a `not` over that opens the door.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Once};
use std::time::Duration;

use regorus::utils::limits::{
    ExecutionTimerConfig, LimitError, set_fallback_execution_timer_config,
};
use regorus::{CompiledPolicy, Engine, Value};

use super::answer::{Answer, Ceiling, DenyReason, EvalError, IdentityAnswer, Roles};
use super::contract::{GRANT, LAYERS, REQUEST_DENY};
use super::error::{LoadError, Problem};
use super::input;
use super::question::{IdentityQuestion, RequestQuestion};
use super::reads::{self, Findings, Reads};
use super::revocations::{self, Revocations};
use super::roles;
use super::scan;
use super::source::{Data, Format, Source};

/// A backstop against loops, not a target: an answer takes microseconds.
const EVALUATION_TIME_MAX: Duration = Duration::from_millis(100);
const TIMER_CHECK_INTERVAL: NonZeroU32 = NonZeroU32::MIN.saturating_add(31);
const PATTERN_CACHE: usize = 4096;
/// The root of the `data` document under which answers are asked for.
const ROOT: &str = "sidegate";

/// A compiled policy: immutable, shared by all workers.
pub struct Policy {
    revision: Arc<str>,
    grant: Entry,
    layers: Vec<LayerRules>,
    request_deny: Option<Entry>,
    roles: Roles,
    revocations: Revocations,
    identity_reads: Reads,
}

struct LayerRules {
    layer: &'static str,
    limit: Option<Entry>,
    deny: Option<Entry>,
}

/// One question that the policy answers.
struct Entry {
    path: &'static str,
    compiled: CompiledPolicy,
}

/// Runs the checks and compiles what stands in `source`. Needs a big stack.
pub(super) fn compile(source: &Source) -> Result<Policy, LoadError> {
    bound_the_interpreter();
    let scanned = scan::check(&source.modules);
    if !scanned.is_empty() {
        return Err(LoadError::Refused { problems: scanned });
    }
    let mut engine = Engine::new();
    engine.set_strict_builtin_errors(true);
    for module in &source.modules {
        engine
            .add_policy(module.name.clone(), module.text.clone())
            .map_err(|error| Problem::from_interpreter(&module.name, &error.to_string()))?;
    }
    let findings = reads::analyze(engine.get_modules());
    if !findings.problems.is_empty() {
        return Err(LoadError::Refused { problems: findings.problems });
    }
    for data in &source.data {
        engine
            .add_data(mounted(data)?)
            .map_err(|error| Problem::in_file(&data.file.name, first_line(&error)))?;
    }
    assemble(&engine, &findings, &source.revision)
}

fn assemble(
    engine: &Engine,
    findings: &Findings,
    revision: &Arc<str>,
) -> Result<Policy, LoadError> {
    let in_data = |message| Problem::in_file("data", message);
    let data = engine.get_data();
    let roles = roles::expand(&data).map_err(in_data)?;
    let revocations = revocations::read(&data).map_err(in_data)?;
    let entry = |path: &'static str| -> Result<Option<Entry>, LoadError> {
        if !findings.defines(path) {
            return Ok(None);
        }
        let compiled = engine
            .clone()
            .compile_with_entrypoint(&path.into())
            .map_err(|error| Problem::from_interpreter(path, &error.to_string()))?;
        Ok(Some(Entry { path, compiled }))
    };
    let Some(grant) = entry(GRANT)? else {
        let message = format!("`{GRANT}` is not defined, so nobody could be let in");
        return Err(Problem::in_file("policy", message).into());
    };
    let mut layers = Vec::new();
    for layer in LAYERS {
        let (limit, deny) = (entry(layer.limit)?, entry(layer.deny)?);
        if limit.is_some() || deny.is_some() {
            layers.push(LayerRules { layer: layer.name, limit, deny });
        }
    }
    Ok(Policy {
        revision: Arc::clone(revision),
        grant,
        layers,
        request_deny: entry(REQUEST_DENY)?,
        roles,
        revocations,
        identity_reads: findings.identity_reads,
    })
}

impl Policy {
    /// Short, and made from the content: the same files have the same revision everywhere.
    pub fn revision(&self) -> &Arc<str> {
        &self.revision
    }

    /// Who this is to us: grant, limits and denials of every layer.
    pub fn identity(&self, question: &IdentityQuestion<'_>) -> Result<IdentityAnswer, EvalError> {
        let input = input::identity(question);
        let grant = self.grant.ask(&input, |answer| answer.grant())?;
        let Ceiling { limits, denials } = self.ceiling_over(&input)?;
        Ok(IdentityAnswer { grant, limits, denials })
    }

    /// What is left to somebody who brings rights of their own: limits and denials of every layer.
    pub fn ceiling(&self, question: &IdentityQuestion<'_>) -> Result<Ceiling, EvalError> {
        self.ceiling_over(&input::identity(question))
    }

    fn ceiling_over(&self, input: &Value) -> Result<Ceiling, EvalError> {
        let (mut limits, mut denials) = (Vec::new(), Vec::new());
        for rules in &self.layers {
            if let Some(limit) = &rules.limit {
                limits.push(limit.ask(input, |answer| answer.limit(rules.layer))?);
            }
            if let Some(deny) = &rules.deny {
                denials.extend(deny.ask(input, |answer| answer.denials(rules.layer))?);
            }
        }
        Ok(Ceiling { limits, denials })
    }

    /// Who and what is believed no longer (AZ-11).
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// What is against this request; nothing if the policy has no such rule.
    pub fn request_denials(
        &self,
        question: &RequestQuestion<'_>,
    ) -> Result<Vec<DenyReason>, EvalError> {
        let Some(deny) = &self.request_deny else { return Ok(Vec::new()) };
        deny.ask(&input::request(question), |answer| answer.denials("request"))
    }

    /// The policy wants to see every request.
    pub fn asks_requests(&self) -> bool {
        self.request_deny.is_some()
    }

    /// Answers about identities hold for a minute only.
    pub fn reads_time(&self) -> bool {
        self.identity_reads.time
    }

    /// Answers about identities differ by the peer's address.
    pub fn reads_address(&self) -> bool {
        self.identity_reads.address
    }

    /// The scope patterns of a role, includes expanded.
    pub fn role(&self, name: &str) -> Option<&[String]> {
        self.roles.get(name).map(Vec::as_slice)
    }
}

impl Entry {
    fn ask<T>(
        &self,
        input: &Value,
        decode: impl FnOnce(&Answer<'_>) -> Result<T, EvalError>,
    ) -> Result<T, EvalError> {
        let value = self.compiled.eval_with_input(input.clone()).map_err(|error| {
            let entry = self.path.to_owned();
            if error.downcast_ref::<LimitError>().is_some() {
                return EvalError::Timeout { entry };
            }
            let problem = Problem::from_interpreter("policy", &error.to_string());
            EvalError::Evaluate { entry, message: problem.to_string() }
        })?;
        decode(&Answer { entry: self.path, value: &value })
    }
}

/// The limits belong to the process: compiled policies have none of their own.
fn bound_the_interpreter() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        set_fallback_execution_timer_config(Some(ExecutionTimerConfig {
            limit: EVALUATION_TIME_MAX,
            check_interval: TIMER_CHECK_INTERVAL,
        }));
        regorus::cache::configure(regorus::cache::Config {
            regex: PATTERN_CACHE,
            glob: PATTERN_CACHE,
        });
    });
}

/// A data file as part of the whole document, at the place where its folder is.
pub(super) fn mounted(data: &Data) -> Result<Value, LoadError> {
    let name = &data.file.name;
    let parsed = match data.format {
        Format::Json => Value::from_json_str(&data.file.text),
        Format::Yaml => Value::from_yaml_str(&data.file.text),
    };
    let mut value = parsed.map_err(|error| Problem::in_file(name, first_line(&error)))?;
    for folder in data.mount.iter().rev() {
        let fields = std::collections::BTreeMap::from([(folder.as_str().into(), value)]);
        value = fields.into();
    }
    match &value {
        Value::Object(object) if object.contains_key(&ROOT.into()) => {
            let message = format!("data under `{ROOT}` would stand in for the policy's answers");
            Err(Problem::in_file(name, message).into())
        }
        Value::Object(_) => Ok(value),
        _ => Err(Problem::in_file(name, "the document is not an object".to_owned()).into()),
    }
}

fn first_line(error: &impl ToString) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("revision", &self.revision).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
