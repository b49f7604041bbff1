//! `sidegate policy check`: tells what is wrong or doubtful in a policy.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use serde_json::json;

use super::super::{NO, USAGE, print};
use super::inputs::{self, Asking, Others, Service};
use super::read;
use super::table::{Paint, columns, hung, visible};
use crate::app::ServedRoutes;
use crate::config::Accept;
use crate::policy::{self, EntryReads, Finding, Level, LoadError, Problem};
use crate::review::{Asker, Callee, KNOWN_MAX, check, known};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Folder, `.rego` file or bundle.
    policy: PathBuf,
    /// The configuration of a service whose routes are looked at; may be repeated.
    #[arg(long, value_name = "FILE")]
    config: Vec<PathBuf>,
    #[command(flatten)]
    others: Others,
    /// When, as in `2026-11-21T10:00:00Z`; else now.
    #[arg(long, value_name = "TIME", value_parser = inputs::time)]
    at: Option<SystemTime>,
    /// Print for programs.
    #[arg(long)]
    json: bool,
    /// Exit with 1 for warnings too.
    #[arg(long)]
    strict: bool,
}

/// What was found.
struct Outcome {
    revision: Option<Arc<str>>,
    findings: Vec<Finding>,
    reads: Vec<EntryReads>,
    identities: usize,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    inputs::settled(checked(arguments))
}

fn checked(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let services: Vec<Service> =
        arguments.config.iter().map(|path| Service::load(path)).collect::<Result<_, _>>()?;
    let source = read(&arguments.policy)?;
    let compiled = match policy::compile(source.clone()) {
        Ok(compiled) => compiled,
        Err(LoadError::Refused { problems }) => {
            let findings = problems.into_iter().map(refused).collect();
            let outcome = Outcome { revision: None, findings, reads: Vec::new(), identities: 0 };
            tell(arguments, &outcome)?;
            return Ok(ExitCode::from(USAGE));
        }
        Err(error) => bail!("{}", error.full()),
    };
    let mut findings = policy::lint(&source);
    let tenant = services.first().map(|it| it.config.tenant.clone());
    let known = known(&source, &arguments.others.extra(tenant)?);
    let callees: Vec<Callee> = services.iter().flat_map(callees).collect();
    let now = arguments.at.unwrap_or_else(SystemTime::now);
    findings.extend(check(&compiled, &known, &callees, now));
    let outcome = Outcome {
        revision: Some(Arc::clone(compiled.revision())),
        findings,
        reads: compiled.reads().to_vec(),
        identities: known.len(),
    };
    tell(arguments, &outcome)?;
    let worst = outcome.findings.iter().map(|it| it.level).max();
    Ok(match worst {
        Some(Level::Error) => ExitCode::from(NO),
        Some(Level::Warning) if arguments.strict => ExitCode::from(NO),
        _ => ExitCode::SUCCESS,
    })
}

/// What keeps a policy from being taken into service at all.
fn refused(problem: Problem) -> Finding {
    let remedy = "the policy is not taken into service before this is repaired".to_owned();
    Finding { level: Level::Error, code: "refused", problem, remedy }
}

/// Every listener of a service by itself: each has its own routes and callers.
fn callees(service: &Service) -> Vec<Callee> {
    let asking = Asking { local: None, service_tenant: None, at: None, address: None };
    let asker = asking.asker(Some(service));
    let listeners = service.config.inbound.iter().zip(&service.served);
    let callee = |(inbound, served): (&crate::config::Inbound, &crate::app::Served)| {
        let place = |index: usize, name: &str| {
            let line = service.declared_line(&served.listener, index, name)?;
            Some((service.path.display().to_string(), line))
        };
        let routes = match &served.routes {
            ServedRoutes::Stream(route) => vec![(Arc::clone(route), None)],
            ServedRoutes::Http(table) => table
                .routes()
                .iter()
                .map(|route| (Arc::clone(route), place(route.index(), route.name())))
                .collect(),
        };
        Callee {
            name: service.path.display().to_string(),
            asker: Asker { tenant: Arc::clone(&asker.tenant), ..asker.clone() },
            takes_workloads: inbound.accept != Accept::Jwt,
            takes_tokens: inbound.accept != Accept::Spiffe,
            routes,
        }
    };
    listeners.map(callee).collect()
}

fn tell(arguments: &Arguments, outcome: &Outcome) -> anyhow::Result<()> {
    if arguments.json {
        return print(&serde_json::to_string_pretty(&as_json(outcome))?);
    }
    let text = text(outcome, Paint::stdout());
    print(text.trim_end()).context("cannot print")
}

fn as_json(outcome: &Outcome) -> serde_json::Value {
    let findings = outcome.findings.iter().map(|it| {
        json!({
            "level": level(it.level), "code": it.code, "file": it.problem.file,
            "line": it.problem.line, "column": it.problem.column, "message": it.problem.message,
            "remedy": it.remedy,
        })
    });
    let reads = outcome
        .reads
        .iter()
        .map(|it| json!({ "entry": it.name, "fields": it.input, "kept": it.holds() }));
    json!({
        "revision": outcome.revision, "identities": outcome.identities,
        "findings": findings.collect::<Vec<_>>(), "reads": reads.collect::<Vec<_>>(),
    })
}

fn text(outcome: &Outcome, paint: Paint) -> String {
    let mut out = String::new();
    for finding in &outcome.findings {
        let level = match finding.level {
            Level::Error => paint.bad("error"),
            Level::Warning => paint.doubtful("warning"),
        };
        let Problem { file, line, column, message } = &finding.problem;
        let place = match line {
            0 => visible(file),
            line => format!("{}:{line}:{column}", visible(file)),
        };
        out.push_str(&format!("{place}: {level}: {}\n", finding.code));
        out.push_str(&hung("    ", 4, message));
        out.push('\n');
        out.push_str(&hung("    → ", 6, &finding.remedy));
        out.push('\n');
    }
    if !outcome.reads.is_empty() {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&answers(&outcome.reads));
        out.push('\n');
    }
    let count = |level| outcome.findings.iter().filter(|it| it.level == level).count();
    let (errors, warnings) = (count(Level::Error), count(Level::Warning));
    let known = match outcome.identities {
        KNOWN_MAX => format!("the first {KNOWN_MAX} identities"),
        count => format!("{count} identities"),
    };
    let (errors, warnings) = (counted(errors, "error"), counted(warnings, "warning"));
    out.push_str(&format!("{errors}, {warnings}; {known} looked at\n"));
    out
}

/// Which fields each question looks at, and for how long its answer is kept.
fn answers(reads: &[EntryReads]) -> String {
    let mut rows = vec![["asked", "answer is kept"].map(str::to_owned).to_vec()];
    let mut fields = vec!["reads".to_owned()];
    for read in reads {
        let entry = read.name.strip_prefix("data.sidegate.").unwrap_or(read.name);
        rows.push(vec![entry.to_owned(), read.holds().to_owned()]);
        let short = |field: &String| field.strip_prefix("input.").unwrap_or(field).to_owned();
        let short: Vec<String> = read.input.iter().map(short).collect();
        fields.push(if short.is_empty() { "nothing".to_owned() } else { short.join(" ") });
    }
    let left = columns(&rows);
    let width = left.lines().map(|line| line.chars().count()).max().unwrap_or_default() + 2;
    let lines = left.lines().zip(&fields);
    lines.map(|(left, fields)| hung(&format!("{left:<width$}"), width, fields) + "\n").collect()
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warning => "warning",
    }
}
