//! `sidegate policy explain`: tells why a decision is what it is, step by step.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use serde_json::json;

use super::super::print;
use super::audit::Line;
use super::inputs::{self, Caller, Parsed, Request, Service};
use super::read;
use super::table::{Paint, hung, visible};
use crate::app::ServedRoutes;
use crate::authz::{Assumed, Guard, Tenant};
use crate::policy::{self, Policy, Rules, Tracer};
use crate::review::{Asker, Case, Explanation, Passing, explain};

/// Values longer than this are cut for people; `--json` has them whole.
const VALUE_MAX: usize = 400;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Folder, `.rego` file or bundle.
    policy: PathBuf,
    #[command(flatten)]
    caller: Caller,
    #[command(flatten)]
    request: Request,
    /// A line of the audit log in place of caller and request: the line itself, `@FILE`, or `-` for
    /// standard input.
    #[arg(long, value_name = "LINE", conflicts_with_all = ["id", "token", "request", "at"])]
    audit: Option<String>,
    /// Print for programs.
    #[arg(long)]
    json: bool,
}

/// Who asked for what, wherever that was said.
struct Asked {
    name: Arc<str>,
    assumed: Assumed,
    asker: Asker,
    now: SystemTime,
    serial: Option<String>,
    listener: Option<String>,
    /// What the audit line does not tell, or tells otherwise.
    remarks: Vec<String>,
    recorded: Option<(String, String)>,
    /// For people, of the audit line.
    detail: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    inputs::settled(told(arguments))
}

fn told(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Some(config) = &arguments.request.config else {
        bail!("a decision needs routes: `--config` names the file of the service that is called");
    };
    let service = Service::load(config)?;
    let source = read(&arguments.policy)?;
    let tracer = Tracer::new(&source).context("the policy is not usable")?;
    let policy = policy::compile(source).context("the policy is not usable")?;
    let line = arguments.audit.as_deref().map(Line::read).transpose()?;
    let mut asked = match &line {
        Some(line) => from_line(line, arguments, &service, &policy)?,
        None => from_arguments(arguments, &service)?,
    };
    let of_line = line.as_ref().and_then(Line::request);
    let parsed = match &of_line {
        Some((method, path)) => Some(Parsed::new(method, path)?),
        None => arguments.request.parse()?,
    };
    let revision = Arc::clone(policy.revision());
    let explanation = explained(&mut asked, &service, &tracer, Rules::of(policy), parsed.as_ref())?;
    if arguments.json {
        let recorded = asked
            .recorded
            .as_ref()
            .map(|(decision, reason)| json!({ "decision": decision, "reason": reason }));
        let answer = json!({
            "revision": revision, "explanation": explanation, "remarks": asked.remarks,
            "recorded": recorded,
        });
        print(&serde_json::to_string_pretty(&answer)?)?;
    } else {
        print(text(&explanation, &asked, Paint::stdout()).trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn from_arguments(arguments: &Arguments, service: &Service) -> anyhow::Result<Asked> {
    let assumed = arguments.caller.assumed();
    let asker = arguments.caller.asking.asker(Some(service));
    let mut remarks = Vec::new();
    if asker.workload.is_none() {
        let text = "asked by a service in the caller's own environment; `--local` names another";
        remarks.push(text.to_owned());
    }
    Ok(Asked {
        name: arguments.caller.name(),
        assumed: assumed.context("who asks? give `--id`, `--token` or `--audit`")?,
        asker,
        now: arguments.caller.asking.now(),
        serial: None,
        listener: arguments.request.listener.clone(),
        remarks,
        recorded: None,
        detail: None,
    })
}

fn from_line(
    line: &Line,
    arguments: &Arguments,
    service: &Service,
    policy: &Policy,
) -> anyhow::Result<Asked> {
    let (name, assumed) = line.assumed()?;
    let mut remarks = line.unknown(policy.asks_requests());
    let revision = policy.revision();
    match line.policy_revision.as_deref() {
        Some(then) if then == &**revision => {}
        Some(then) => remarks.push(format!(
            "decided by policy revision `{then}`, which is not the one at hand, `{revision}`"
        )),
        None => remarks.push("the line does not say which policy revision decided".to_owned()),
    }
    let asker = arguments.caller.asking.asker(Some(service));
    Ok(Asked {
        name,
        assumed,
        asker: Asker {
            workload: line.local()?.or(asker.workload),
            address: line.address(),
            ..asker
        },
        now: line.time()?,
        serial: line.source.serial.clone(),
        listener: arguments.request.listener.clone().or_else(|| Some(line.listener.clone())),
        remarks,
        recorded: Some((line.decision.clone(), line.reason.clone())),
        detail: line.detail.clone(),
    })
}

fn explained(
    asked: &mut Asked,
    service: &Service,
    tracer: &Tracer,
    rules: Rules,
    parsed: Option<&Parsed<'_>>,
) -> anyhow::Result<Explanation> {
    let served = service.listener(asked.listener.as_deref())?;
    let local = asked.asker.local(&asked.assumed);
    // A line about a whole connection may still name the method that opened it.
    let parsed = parsed.filter(|_| matches!(served.routes, ServedRoutes::Http(_)));
    let serial = asked.serial.as_deref();
    let facts = parsed.map(|parsed| parsed.facts(&local, &asked.asker, serial, asked.now));
    let request = parsed.map_or_else(
        || format!("a connection to `{}`", served.listener),
        |parsed| format!("{} {}", parsed.method, parsed.target.path()),
    );
    let guard = Guard::new(Tenant::parse(&asked.asker.tenant)?);
    let explanation = explain(&Case {
        rules: &rules,
        tracer,
        guard: &guard,
        id: Arc::clone(&asked.name),
        assumed: &asked.assumed,
        asker: &asked.asker,
        asked: inputs::asked(served, facts.as_ref())?,
        request,
        now: asked.now,
        declared: &|index, name| service.declared(&served.listener, index, name),
    });
    if let Some((_, reason)) = &asked.recorded
        && reason == "revoked"
        && explanation.reason != "revoked"
    {
        return Ok(explanation.revoked_at_run_time(asked.detail.clone()));
    }
    if let Some((decision, reason)) = &asked.recorded
        && *reason != explanation.reason
    {
        let now = explanation.reason;
        let remark = format!("the line says {decision}, `{reason}`; decided anew it is `{now}`");
        asked.remarks.push(remark);
    }
    Ok(explanation)
}

fn text(explanation: &Explanation, asked: &Asked, paint: Paint) -> String {
    let id = visible(&asked.name);
    let at = crate::telemetry::Rfc3339(asked.now);
    let mut out = format!("{id} asks for {} at {at}\n\n", visible(&explanation.request));
    for remark in &asked.remarks {
        out.push_str(&hung(&format!("{} ", paint.doubtful("note:")), 6, remark));
        out.push('\n');
    }
    if !asked.remarks.is_empty() {
        out.push('\n');
    }
    for step in &explanation.steps {
        let mark = match step.outcome {
            Passing::Passed => paint.good("✓"),
            Passing::Failed => paint.bad("✗"),
            Passing::NotReached => "–".to_owned(),
        };
        out.push_str(&hung(&format!("{mark} {:<14}", step.step), 16, &step.summary));
        out.push('\n');
        for note in &step.notes {
            let said = shortened(&note.text);
            let said = match &note.at {
                Some(at) => format!("{at}  {said}"),
                None => said,
            };
            out.push_str(&hung("    ", 6, &said));
            out.push('\n');
        }
    }
    let verdict = if explanation.allowed {
        paint.good("allowed")
    } else {
        paint.bad(&format!("denied: {}", explanation.reason))
    };
    out.push_str(&format!("\n{verdict}\n"));
    if let Some(remedy) = &explanation.remedy {
        out.push_str(&hung("To be let in: ", 14, remedy));
        out.push('\n');
    }
    out
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(VALUE_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
