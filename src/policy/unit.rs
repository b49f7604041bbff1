//! Runs a policy's own tests, by the engine that enforces it (POL-1).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use regex::Regex;
use regorus::unstable::Module;
use regorus::{Engine, Value};

use super::cases::{self, Test};
use super::coverage::{self, Coverage, Touched};
use super::differences;
use super::error::{LoadError, Problem};
use super::growth;
use super::imports;
use super::prepare::{add, bound_the_interpreter, is_overtime, mounted, parsed, timer};
use super::reads;
use super::scan;
use super::source::{Source, Text};
use super::stack::on_big_stack;

const TIMEOUT: Duration = Duration::from_secs(5);
/// What is kept of what one test prints.
const PRINTED_MAX: usize = 1000;

/// Which tests, and what is to be measured.
#[derive(Debug, Clone, Default)]
pub struct TestOptions {
    /// Only tests whose full name (`data.sidegate.global_test.test_x`) this regular expression finds.
    pub run: Option<String>,
    pub coverage: bool,
    /// For each test by itself; five seconds if nothing is said.
    pub timeout: Option<Duration>,
    /// What has not begun by then fails.
    pub deadline: Option<Instant>,
}

/// What came of all tests.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub cases: Vec<Case>,
    /// By file, if it was asked for: enforced files only.
    pub coverage: BTreeMap<String, Coverage>,
}

/// One test.
#[derive(Debug, Clone)]
pub struct Case {
    /// As in `data.sidegate.global_test`.
    pub package: String,
    /// A second definition of `test_x` is `test_x#01`.
    pub name: String,
    pub file: String,
    /// From 1.
    pub line: u32,
    pub outcome: Outcome,
    pub took: Duration,
    /// What `print` said, a line each.
    pub printed: Vec<String>,
    /// The statement that was not true, if it is known.
    pub statement: Option<String>,
    /// The cases of `test_x[note]`.
    pub parts: Vec<Part>,
}

/// One of the cases that a single test goes through.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// More than one for `test_x[group][note]`.
    pub path: Vec<String>,
    pub passed: bool,
}

/// How a test ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    /// Undefined or false, and where the body stopped, if that is known.
    Failed {
        line: Option<u32>,
    },
    Error(String),
    /// Its name begins with `todo_`.
    Skipped,
}

impl Report {
    /// Of tests; those with cases count as one.
    pub fn count(&self, wanted: impl Fn(&Outcome) -> bool) -> usize {
        self.cases.iter().filter(|case| wanted(&case.outcome)).count()
    }

    /// Whether nothing failed.
    pub fn is_good(&self) -> bool {
        self.count(|it| matches!(it, Outcome::Failed { .. } | Outcome::Error(_))) == 0
    }

    /// Of all lines together.
    pub fn percent(&self) -> f64 {
        let sum = |lines: fn(&Coverage) -> usize| self.coverage.values().map(lines).sum();
        coverage::percent(sum(|it| it.covered.len()), sum(|it| it.not_covered.len()))
    }
}

/// Runs them. Blocks for as long as that takes. A policy that would be refused is refused here too,
/// except that it need not be complete: a library has tests as well.
pub fn run_tests(source: &Source, options: &TestOptions) -> Result<Report, LoadError> {
    on_big_stack(|| Runner::new(source, options)?.run())
}

struct Runner<'a> {
    options: &'a TestOptions,
    engine: Engine,
    tests: Vec<Test>,
    touched: Touched,
}

impl<'a> Runner<'a> {
    fn new(source: &'a Source, options: &'a TestOptions) -> Result<Self, LoadError> {
        let filter = options.run.as_deref().map(Regex::new).transpose().map_err(|error| {
            let message = format!("`run` is no regular expression: {error}");
            Problem::in_file("tests", message)
        })?;
        bound_the_interpreter();
        let problems = scan::check(&source.modules).into_iter().chain(scan::check(&source.tests));
        let problems: Vec<_> = problems.collect();
        if !problems.is_empty() {
            return Err(LoadError::Refused { problems });
        }
        let mut plain = parsed(all(source), &HashMap::new())?;
        let enforced: BTreeSet<_> = source.modules.iter().map(|it| it.name.as_str()).collect();
        let modules = plain.get_modules();
        let policy: Vec<_> =
            modules.iter().filter(|it| enforced.contains(file_of(it))).cloned().collect();
        let mut problems = reads::analyze(&policy).problems;
        problems.extend(differences::check(&policy));
        problems.extend(reads::analyze_tests(modules, |file| !enforced.contains(file)));
        problems.extend(differences::check_tests(modules, |file| !enforced.contains(file)));
        if !problems.is_empty() {
            return Err(LoadError::Refused { problems });
        }
        let (mut tests, wordings) = cases::find(modules);
        let touched = Touched::new(policy.iter().map(|it| &**it));
        let engine = prepared(source, &wordings)?;
        if let Some(filter) = filter {
            tests.retain(|it| filter.is_match(&format!("{}.{}", it.package.join("."), it.name)));
        }
        Ok(Self { options, engine, tests, touched })
    }

    fn run(mut self) -> Result<Report, LoadError> {
        let mut cases = Vec::with_capacity(self.tests.len());
        for test in std::mem::take(&mut self.tests) {
            cases.push(self.one(&test)?);
        }
        let coverage = if self.options.coverage { self.touched.by_file() } else { BTreeMap::new() };
        Ok(Report { cases, coverage })
    }

    fn one(&mut self, test: &Test) -> Result<Case, LoadError> {
        let mut case = Case {
            package: test.package.join("."),
            name: test.name.clone(),
            file: test.file.clone(),
            line: test.line,
            outcome: Outcome::Skipped,
            took: Duration::ZERO,
            printed: Vec::new(),
            statement: None,
            parts: Vec::new(),
        };
        if test.skipped {
            return Ok(case);
        }
        let Some(limit) = self.time_left() else {
            case.outcome = Outcome::Error("no time was left for it".to_owned());
            return Ok(case);
        };
        let mut engine = self.engine.clone();
        engine.set_execution_timer_config(timer(limit));
        engine.set_enable_coverage(self.options.coverage);
        engine.set_gather_prints(true);
        let began = Instant::now();
        let answer = ask(&mut engine, test, &test.rule);
        case.took = began.elapsed();
        case.printed = printed(&mut engine);
        match answer {
            Ok(value) => self.judge(test, &value, &mut case, &mut engine),
            Err(Fault::Time) => {
                case.outcome = Outcome::Error(format!("not done after {limit:?}"));
            }
            Err(Fault::Said(text)) => {
                let problem = Problem::from_interpreter(&test.file, &text);
                case.outcome = Outcome::Error(problem.to_string());
            }
        }
        if self.options.coverage
            && let Ok(report) = engine.get_coverage_report()
        {
            self.touched.add(report);
        }
        Ok(case)
    }

    fn judge(&self, test: &Test, value: &Value, case: &mut Case, engine: &mut Engine) {
        let mut left = *value == Value::Undefined;
        if test.levels > 0 {
            let begun = test.helper.as_deref().and_then(|helper| ask(engine, test, helper).ok());
            let ended = parts(test.levels, value, None).len();
            case.parts = parts(test.levels, value, begun.as_ref());
            left |= case.parts.len() > ended;
        }
        let passed = match test.levels {
            0 => *value == Value::Bool(true),
            // Nothing was tried, so nothing was shown.
            _ => !case.parts.is_empty() && case.parts.iter().all(|part| part.passed),
        };
        if passed {
            case.outcome = Outcome::Passed;
            return;
        }
        // Otherwise the body was true to its end, and the value is not.
        let stopped = left.then(|| self.stopped_at(test)).flatten();
        case.outcome = Outcome::Failed { line: stopped.as_ref().map(|(line, _)| *line) };
        case.statement = stopped.and_then(|(_, text)| text);
    }

    /// The last statement of the body that was looked at, by asking once more.
    fn stopped_at(&self, test: &Test) -> Option<(u32, Option<String>)> {
        let mut engine = self.engine.clone();
        engine.set_execution_timer_config(timer(self.time_left()?));
        engine.set_gather_prints(true);
        engine.set_enable_coverage(true);
        ask(&mut engine, test, &test.rule).ok()?;
        let report = engine.get_coverage_report().ok()?;
        let file = report.files.into_iter().find(|file| file.path == test.file)?;
        let last = test
            .statements
            .iter()
            .rfind(|it| it.lines.iter().any(|line| file.covered.contains(line)))?;
        let line = *last.lines.first()?;
        // Of several on one line it is not known which it was.
        let alone =
            test.statements.iter().filter(|it| it.lines.first() == Some(&line)).count() == 1;
        Some((line, alone.then(|| last.text.clone())))
    }

    /// How long the next test may take. `None` once it is too late.
    fn time_left(&self) -> Option<Duration> {
        let timeout = self.options.timeout.unwrap_or(TIMEOUT);
        match self.options.deadline {
            None => Some(timeout),
            Some(deadline) => deadline
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero())
                .map(|left| left.min(timeout)),
        }
    }
}

fn file_of(module: &Module) -> &str {
    module.package.span.source.file()
}

/// All modules, tests included.
fn all(source: &Source) -> impl Iterator<Item = &Text> {
    source.modules.iter().chain(&source.tests)
}

/// Ready to be cloned for each test.
fn prepared(source: &Source, wordings: &HashMap<String, String>) -> Result<Engine, LoadError> {
    let mut renamed = parsed(all(source), wordings)?;
    let mut wordings = wordings.clone();
    wordings.extend(imports::written_out(renamed.get_modules()));
    let mut engine = parsed(all(source), &wordings)?;
    for data in &source.data {
        add(&mut engine, &data.file.name, mounted(data)?)?;
    }
    // What is wrong with the modules together is told when something is first asked.
    engine
        .eval_query("true".to_owned(), false)
        .map_err(|error| Problem::from_interpreter("policy", &error.to_string()))?;
    Ok(engine)
}

/// Why there is no answer.
enum Fault {
    Time,
    Said(String),
}

fn ask(engine: &mut Engine, test: &Test, rule: &str) -> Result<Value, Fault> {
    let mut path = test.package.clone();
    path.push(rule.to_owned());
    let path = imports::full(&path);
    growth::renew();
    let answer = if test.deep || rule != test.rule {
        // Only a query puts together what several heads define.
        engine.eval_query(path, false).map(|results| {
            let first = results.result.into_iter().next().map(|it| it.expressions);
            let first = first.and_then(|it| it.into_iter().next());
            first.map_or(Value::Undefined, |expression| expression.value)
        })
    } else {
        engine.eval_rule(path)
    };
    answer.map_err(|error| match is_overtime(error.downcast_ref(), &error) {
        true => Fault::Time,
        false => Fault::Said(error.to_string()),
    })
}

/// Every case with how it ended: those that the answer has, and those that were begun.
fn parts(levels: usize, value: &Value, begun: Option<&Value>) -> Vec<Part> {
    let mut ended = BTreeMap::new();
    if let Some(begun) = begun.and_then(|it| it.as_set().ok()) {
        for keys in begun.iter().filter_map(|keys| keys.as_array().ok()) {
            ended.insert(keys.iter().map(label).collect(), false);
        }
    }
    leaves(levels, value, &mut Vec::new(), &mut ended);
    ended.into_iter().map(|(path, passed)| Part { path, passed }).collect()
}

fn leaves(
    levels: usize,
    value: &Value,
    above: &mut Vec<String>,
    ended: &mut BTreeMap<Vec<String>, bool>,
) {
    if levels == 0 {
        ended.insert(above.clone(), *value == Value::Bool(true));
        return;
    }
    let Ok(object) = value.as_object() else { return };
    for (key, value) in object.iter() {
        above.push(label(key));
        leaves(levels - 1, value, above, ended);
        above.pop();
    }
}

fn label(key: &Value) -> String {
    match key {
        Value::String(text) => text.to_string(),
        other => other.to_string(),
    }
}

/// Without the place, which the interpreter puts before it.
fn printed(engine: &mut Engine) -> Vec<String> {
    let said = engine.take_prints().unwrap_or_default();
    let said = said.into_iter().take(PRINTED_MAX);
    said.map(|line| line.splitn(3, ':').nth(2).unwrap_or_default().trim_start().to_owned())
        .collect()
}
