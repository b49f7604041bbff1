//! Everything that a candidate has to stand before it may go live.

use std::time::{Duration, Instant};

use super::engine::{self, Policy};
use super::error::{LoadError, Problem};
use super::source::Source;
use super::trial;
use super::unit::{Case, Outcome, TestOptions, run_tests};

/// One test is cut off after this, and none is begun after that: so the failure is told by the name
/// of the test, before the examiner is given up.
const TEST_TIME_MAX: Duration = Duration::from_secs(4);
const TESTS_TIME_MAX: Duration = Duration::from_secs(4);

/// A policy that may go live.
#[derive(Debug)]
pub(super) struct Inspected {
    pub policy: Policy,
    /// How many of its own tests were run.
    pub tests: usize,
    /// What is legal and probably not meant.
    pub remarks: Vec<String>,
}

/// Needs a big stack, and may take as long as the policy wants it to.
pub(super) fn inspect(source: &Source) -> Result<Inspected, LoadError> {
    let policy = engine::compile(source)?;
    let tests = if may_have_tests(source) { test(source)? } else { 0 };
    let remarks = trial::run(&policy, source)?;
    Ok(Inspected { policy, tests, remarks })
}

/// A large document is not read once more for nothing.
fn may_have_tests(source: &Source) -> bool {
    !source.tests.is_empty() || source.modules.iter().any(|it| it.text.contains("test_"))
}

/// How many were run.
fn test(source: &Source) -> Result<usize, LoadError> {
    let options = TestOptions {
        timeout: Some(TEST_TIME_MAX),
        deadline: Instant::now().checked_add(TESTS_TIME_MAX),
        ..TestOptions::default()
    };
    let report = run_tests(source, &options)?;
    if !report.is_good() {
        let problems = report.cases.iter().filter_map(problem).collect();
        return Err(LoadError::Refused { problems });
    }
    Ok(report.count(|it| *it != Outcome::Skipped))
}

fn problem(case: &Case) -> Option<Problem> {
    let test = format!("the test `{}.{}`", case.package, case.name);
    let (line, message) = match &case.outcome {
        Outcome::Passed | Outcome::Skipped => return None,
        Outcome::Failed { line } => (line.unwrap_or(case.line), format!("{test} failed")),
        Outcome::Error(error) => (case.line, format!("{test} could not be run: {error}")),
    };
    Some(Problem { file: case.file.clone(), line, column: 1, message })
}
