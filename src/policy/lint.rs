//! What is legal in a policy and probably not meant.
//!
//! Only what can be read off the files: whom it leaves without a route is the business of `review`.

mod answers;
mod data;
mod fields;
mod look;
mod rules;
mod values;

use std::collections::HashMap;

use super::error::Problem;
use super::met;
use super::source::Source;
use super::stack::on_big_stack;
use super::study::Study;
use super::syntax::{head_path, imports_of, package_of};
use super::walk::{Definition, definitions};

/// One remark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub level: Level,
    /// Stable, in kebab case, as it stands in the docs: `reads-roles`.
    pub code: &'static str,
    pub problem: Problem,
    /// What to do about it.
    pub remedy: String,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Warning,
    /// `policy check` says no.
    Error,
}

impl Finding {
    fn error(code: &'static str, place: &Problem, message: String, remedy: &str) -> Self {
        Self::new(Level::Error, code, place, message, remedy)
    }

    fn warning(code: &'static str, place: &Problem, message: String, remedy: &str) -> Self {
        Self::new(Level::Warning, code, place, message, remedy)
    }

    fn new(
        level: Level,
        code: &'static str,
        place: &Problem,
        message: String,
        remedy: &str,
    ) -> Self {
        let problem = Problem { message, ..place.clone() };
        Self { level, code, problem, remedy: remedy.to_owned() }
    }
}

/// Everything that can be said of the files by themselves. What does not load is not looked at.
pub fn lint(source: &Source) -> Vec<Finding> {
    on_big_stack(|| {
        let study = Study::of(source);
        let complete = study.modules.len() == source.modules.len();
        Ok(if complete { findings(&study) } else { Vec::new() })
    })
    .unwrap_or_default()
}

fn findings(study: &Study) -> Vec<Finding> {
    let definitions = definitions(&study.modules);
    let mut findings = Vec::new();
    for module in &study.modules {
        let (package, imports) = (package_of(module), imports_of(module));
        for rule in &module.policy {
            let path: Vec<String> = package.iter().cloned().chain(head_path(rule)).collect();
            let mut look = look::Look::new(&imports, study);
            met::rule(rule, &mut |met| look.meet(met));
            findings.extend(look.found);
            answers::check(rule, &path, study, &mut findings);
        }
    }
    for module in study.modules.iter().chain(&study.tests) {
        rules::imports(module, &mut findings);
    }
    rules::check(study, &definitions, &mut findings);
    data::check(study, &definitions, &mut findings);
    // One remark a place and kind: parts of a longer expression are met again.
    findings.sort_by(|one, other| {
        (&one.problem, one.code, &one.remedy).cmp(&(&other.problem, other.code, &other.remedy))
    });
    let mut seen: HashMap<(String, u32, &'static str, String), ()> = HashMap::new();
    findings.retain(|it| {
        let problem = &it.problem;
        let key = (problem.file.clone(), problem.line, it.code, problem.message.clone());
        seen.insert(key, ()).is_none()
    });
    findings
}

fn name(definition: &Definition) -> String {
    definition.path.join(".")
}

#[cfg(test)]
mod tests;
