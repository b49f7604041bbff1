//! The process in which a candidate is examined: poor in rights, bounded in time and memory, and
//! nobody's loss if the policy brings it down.

use std::fs;
use std::io::{self, BufReader, Read};

use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};
use serde::{Deserialize, Serialize};

use super::error::{LoadError, Problem};
use super::inspect::inspect;
use super::parcel;
use super::stack::on_big_stack;

/// Address space: the largest policy that may be read takes less than half of it.
pub(super) const MEMORY_MAX: u64 = 1024 * 1024 * 1024;
pub(super) const CPU_SECONDS_MAX: u64 = 10;
/// Traffic comes first.
const NICENESS: i32 = 5;
const PROBLEMS_MAX: usize = 50;
const TEXT_CHARS_MAX: usize = 1000;

/// What the examiner has to say.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Verdict {
    /// The digest of what was examined.
    pub content: String,
    pub tests: usize,
    pub remarks: Vec<String>,
    /// Why it may not go live.
    pub problems: Vec<Problem>,
    /// Why nothing can be said about it.
    pub trouble: Option<String>,
}

/// Gives this process up to the examination of one candidate, which `input` brings. The verdict is
/// for the [`Examiner`](super::Examiner) that started it. It stands back for traffic unless it is the
/// first, which all that is to come waits for.
pub fn examine_as_child(input: impl Read, at_start: bool) -> String {
    let verdict = match confine(at_start) {
        Ok(()) => examine(input),
        Err(error) => {
            Verdict { trouble: Some(format!("no limits: {error}")), ..Verdict::default() }
        }
    };
    serde_json::to_string(&verdict).unwrap_or_default()
}

fn examine(input: impl Read) -> Verdict {
    let source = match parcel::read(&mut BufReader::new(input)) {
        Ok(source) => source,
        Err(error) => return Verdict::default().because(error),
    };
    let content = source.content.to_string();
    let outcome = on_big_stack(move || {
        let inspected = inspect(&source)?;
        Ok((inspected.tests, inspected.remarks))
    });
    let verdict = Verdict { content, ..Verdict::default() };
    match outcome {
        Ok((tests, remarks)) => {
            let remarks = remarks.iter().map(|remark| shortened(remark)).collect();
            Verdict { tests, remarks, ..verdict }
        }
        Err(error) => verdict.because(error),
    }
}

impl Verdict {
    fn because(self, error: LoadError) -> Self {
        match error {
            LoadError::Refused { mut problems } => {
                problems.truncate(PROBLEMS_MAX);
                for problem in &mut problems {
                    problem.message = shortened(&problem.message);
                }
                Self { problems, ..self }
            }
            error if error.is_about_the_policy() => {
                let problem = Problem::in_file("policy", shortened(&error.full()));
                Self { problems: vec![problem], ..self }
            }
            error => Self { trouble: Some(shortened(&error.full())), ..self },
        }
    }
}

/// No way back for this process.
fn confine(at_start: bool) -> io::Result<()> {
    // Where memory runs out for the whole container, this one goes first. Not everywhere allowed.
    fs::write("/proc/self/oom_score_adj", "1000").ok();
    if !at_start {
        nice(NICENESS).ok();
    }
    limit(Resource::Core, 0, 0)?;
    limit(Resource::As, MEMORY_MAX, MEMORY_MAX)?;
    limit(Resource::Cpu, CPU_SECONDS_MAX, CPU_SECONDS_MAX + 1)?;
    // Those that are open stay so.
    limit(Resource::Nofile, 0, 0)
}

/// Never above what is set already.
fn limit(resource: Resource, current: u64, maximum: u64) -> io::Result<()> {
    let most = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let limit = Rlimit { current: Some(current.min(most)), maximum: Some(maximum.min(most)) };
    Ok(setrlimit(resource, limit)?)
}

fn shortened(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}
