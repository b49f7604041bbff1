//! Reads a policy into the interpreter as it is enforced: checked, and with its imports written out.
//! Whatever evaluates a policy, for requests or for people, begins with this.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::Once;
use std::time::Duration;

use regorus::utils::limits::{
    ExecutionTimerConfig, LimitError, set_fallback_execution_timer_config,
};
use regorus::{Engine, Value};

use super::budget::ASIDE;
use super::differences;
use super::error::{LoadError, Problem};
use super::growth;
use super::imports;
use super::reads::{self, Findings};
use super::roots;
use super::scan;
use super::source::{Data, Format, Source, Text};
use super::yaml;

/// Steps between two looks at the clock. Few, because a value may grow tenfold and more with each.
const TIMER_CHECK_INTERVAL: NonZeroU32 = NonZeroU32::MIN.saturating_add(3);
/// What the interpreter's error says.
const OVERTIME: &str = "execution exceeded time limit";
const PATTERN_CACHE: usize = 4096;
/// The root of the `data` document under which answers are asked for.
const ROOT: &str = "sidegate";

/// All that is checked whatever the policy answers, with the data files as `documents` gives them,
/// asked once the rules are sound. Needs a big stack.
pub(super) fn checked(
    source: &Source,
    documents: impl FnOnce() -> Result<Vec<Value>, LoadError>,
) -> Result<(Engine, Findings), LoadError> {
    bound_the_interpreter();
    let scanned = scan::check(&source.modules);
    if !scanned.is_empty() {
        return Err(LoadError::Refused { problems: scanned });
    }
    let mut engine = parsed(&source.modules, &HashMap::new())?;
    let findings = reads::analyze(engine.get_modules());
    let mut problems = findings.problems.clone();
    problems.extend(differences::check(engine.get_modules()));
    problems.extend(roots::check(source.roots.as_deref(), engine.get_modules()));
    if !problems.is_empty() {
        return Err(LoadError::Refused { problems });
    }
    let mut engine = parsed(&source.modules, &imports::written_out(engine.get_modules()))?;
    for (data, document) in source.data.iter().zip(documents()?) {
        roots::check_data(source.roots.as_deref(), &data.file.name, &document)?;
        add(&mut engine, &data.file.name, document)?;
    }
    let problems = differences::check_data(&findings.rules, &engine.get_data());
    if !problems.is_empty() {
        return Err(LoadError::Refused { problems });
    }
    Ok((engine, findings))
}

/// The modules, each in its own wording or in another.
pub(super) fn parsed<'t>(
    modules: impl IntoIterator<Item = &'t Text>,
    wordings: &HashMap<String, String>,
) -> Result<Engine, LoadError> {
    let mut engine = Engine::new();
    engine.set_strict_builtin_errors(true);
    let mut texts = Vec::new();
    for module in modules {
        let text = wordings.get(&module.name).unwrap_or(&module.text);
        engine
            .add_policy(module.name.clone(), text.clone())
            .map_err(|error| Problem::from_interpreter(&module.name, &error.to_string()))?;
        texts.push(text.as_str());
    }
    growth::bound(&mut engine, &texts);
    Ok(engine)
}

/// Merges a data file into what is there.
pub(super) fn add(engine: &mut Engine, file: &str, document: Value) -> Result<(), Problem> {
    engine.add_data(document).map_err(|error| Problem::in_file(file, first_line(&error)))
}

/// Every data file as part of the whole document, in the order of `source`.
pub(super) fn documents(source: &Source) -> Result<Vec<Value>, LoadError> {
    source.data.iter().map(mounted).collect()
}

/// Looks at the clock as often as it takes.
pub(super) fn timer(limit: Duration) -> ExecutionTimerConfig {
    ExecutionTimerConfig { limit, check_interval: TIMER_CHECK_INTERVAL }
}

/// The time was over, going by what an error is and what it says: inside a function the interpreter
/// makes another error of the text.
pub(super) fn is_overtime(limit: Option<&LimitError>, text: &impl ToString) -> bool {
    match limit {
        Some(limit) => matches!(limit, LimitError::TimeLimitExceeded { .. }),
        None => text.to_string().starts_with(OVERTIME),
    }
}

/// What belongs to the process: the limit of whatever is asked without a budget, as tools do, and the
/// memory of compiled patterns.
pub(super) fn bound_the_interpreter() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        set_fallback_execution_timer_config(Some(timer(ASIDE)));
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
        Format::Json => Value::from_json_str(&data.file.text).map_err(|error| first_line(&error)),
        Format::Yaml => yaml::read(&data.file.text),
    };
    let mut value = parsed.map_err(|message| Problem::in_file(name, message))?;
    for folder in data.mount.iter().rev() {
        let fields = BTreeMap::from([(folder.as_str().into(), value)]);
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
