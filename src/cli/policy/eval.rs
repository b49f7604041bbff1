//! `sidegate policy eval`: tells what a policy answers.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde_json::json;

use super::super::{NO, print, tell};
use super::inputs::{self, Caller, Request, Service};
use super::read;
use super::table::hung;
use crate::authz::{Assumed, Guard, Outcome, Tenant, decide};
use crate::policy::{self, Given, IdentityQuestion, Rules, Source};
use crate::review::{Asker, Shown, shown};

/// Columns before a value.
const LABEL: usize = 11;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Folder, `.rego` file or bundle.
    policy: PathBuf,
    /// A Rego query, answered as `opa eval` does. Without one: how the caller stands.
    query: Option<String>,
    /// The `input` of the query, a JSON file; `-` is standard input.
    #[arg(long, value_name = "FILE", requires = "query", conflicts_with_all = ["id", "token"])]
    input: Option<PathBuf>,
    #[command(flatten)]
    caller: Caller,
    #[command(flatten)]
    request: Request,
    /// Exit with 1 if the answer is a denial, or undefined.
    #[arg(long)]
    fail: bool,
    /// Print for programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    inputs::settled(evaluate(arguments))
}

fn evaluate(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let source = read(&arguments.policy)?;
    let service = arguments.request.config.as_deref().map(Service::load).transpose()?;
    let assumed = arguments.caller.assumed();
    let asker = arguments.caller.asking.asker(service.as_ref());
    let refused = match (&arguments.query, &assumed) {
        (Some(query), _) => ask(arguments, &source, query, assumed.as_ref(), &asker)?,
        (None, Some(assumed)) => stand(arguments, source, service.as_ref(), assumed, &asker)?,
        (None, None) => bail!("nothing is asked: give a query, `--id` or `--token`"),
    };
    Ok(if arguments.fail && refused { ExitCode::from(NO) } else { ExitCode::SUCCESS })
}

/// Whether the answer is undefined.
fn ask(
    arguments: &Arguments,
    source: &Source,
    query: &str,
    assumed: Option<&Assumed>,
    asker: &Asker,
) -> anyhow::Result<bool> {
    if arguments.request.request.is_some() {
        bail!("a query is not about a request: leave one of them out");
    }
    let text = arguments.input.as_deref().map(inputs::text).transpose()?;
    let answer = match (text.as_deref(), assumed) {
        (Some(text), _) => policy::query(source, query, Given::Json(text)),
        (None, None) => policy::query(source, query, Given::Nothing),
        (None, Some(assumed)) => {
            let local = asker.local(assumed);
            let now = arguments.caller.asking.now();
            let (subject, address) = (&assumed.subject, asker.address);
            let question = IdentityQuestion { subject, address, local: &local, now };
            policy::query(source, query, Given::Identity(&question))
        }
    };
    let answer = answer.context("no answer")?;
    print(&answer.json)?;
    Ok(!answer.is_defined)
}

/// Whether the caller is refused.
fn stand(
    arguments: &Arguments,
    source: Source,
    service: Option<&Service>,
    assumed: &Assumed,
    asker: &Asker,
) -> anyhow::Result<bool> {
    let policy = policy::compile(source).context("the policy is not usable")?;
    let now = arguments.caller.asking.now();
    let standing = asker.standing(&policy, assumed, now);
    let told = shown(&arguments.caller.name(), assumed, &standing);
    let revision = Arc::clone(policy.revision());
    let outcome = decision(arguments, Rules::of(policy), service, assumed, asker)?;
    let refused = match &outcome {
        Some(outcome) => outcome.verdict.is_err(),
        None => standing.error.is_some() || !standing.denials.is_empty(),
    };
    if arguments.json {
        let decision = outcome.as_ref().map(as_json);
        let answer = json!({ "revision": revision, "standing": told, "decision": decision });
        print(&serde_json::to_string_pretty(&answer)?)?;
    } else {
        print(text(&told, outcome.as_ref()).trim_end())?;
        if asker.workload.is_none() {
            tell(
                "note: asked by a service in the caller's own environment; `--local` names another",
            );
        }
    }
    Ok(refused)
}

fn decision(
    arguments: &Arguments,
    rules: Rules,
    service: Option<&Service>,
    assumed: &Assumed,
    asker: &Asker,
) -> anyhow::Result<Option<Outcome>> {
    let parsed = arguments.request.parse()?;
    let Some(service) = service else {
        return match parsed {
            None => Ok(None),
            Some(_) => bail!("a decision needs routes: `--config` names the service's file"),
        };
    };
    let served = service.listener(arguments.request.listener.as_deref())?;
    let (local, now) = (asker.local(assumed), arguments.caller.asking.now());
    let facts = parsed.as_ref().map(|parsed| parsed.facts(&local, asker, None, now));
    if facts.is_none() && matches!(served.routes, crate::app::ServedRoutes::Http(_)) {
        return Ok(None);
    }
    let asked = inputs::asked(served, facts.as_ref())?;
    let guard = Guard::new(Tenant::parse(&asker.tenant)?);
    Ok(Some(decide(&guard, &rules, assumed, &local, asker.address, asked, now)))
}

fn as_json(outcome: &Outcome) -> serde_json::Value {
    match &outcome.verdict {
        Ok((route, required)) => json!({
            "allowed": true, "reason": "allowed", "route": route, "required_scopes": required,
            "cross_tenant": outcome.cross_tenant,
        }),
        Err(denial) => json!({
            "allowed": false, "reason": denial.reason.code(), "detail": denial.detail,
            "route": denial.route.as_ref().map(|it| &it.name),
            "required_scopes": denial.required(),
        }),
    }
}

/// A standing for people.
fn text(told: &Shown, outcome: Option<&Outcome>) -> String {
    let mut out = format!("{}\n", told.id);
    let mut line = |label: &str, value: &str| {
        out.push_str(&hung(&format!("  {label:<9}"), LABEL, value));
        out.push('\n');
    };
    let none = |scopes: &[String]| match scopes {
        [] => "nothing".to_owned(),
        scopes => scopes.join(" "),
    };
    if let Some(error) = &told.error {
        line("error", error);
    } else {
        line("tenant", told.tenant.as_deref().unwrap_or("none"));
        if told.cross_tenant {
            line("", "may reach into other tenants");
        }
        for (label, names) in [("roles", &told.roles), ("teams", &told.teams)] {
            if !names.is_empty() {
                line(label, &names.join(" "));
            }
        }
        line("brought", &none(&told.brought));
        for layer in &told.layers {
            line(layer.layer, &format!("leaves {}", none(&layer.left)));
        }
        line("scopes", &none(&told.scopes));
        line(
            "holds",
            &told
                .expires
                .as_deref()
                .map_or("until the policy changes".to_owned(), |at| format!("until {at}")),
        );
    }
    for denial in &told.denials {
        let code = denial.code.as_deref().map_or(String::new(), |code| format!("{code}: "));
        line("denied", &format!("by layer {}: {code}{}", denial.layer, denial.message));
    }
    match outcome.map(|outcome| &outcome.verdict) {
        None => {}
        Some(Ok((route, required))) => {
            line("decision", &format!("allowed on `{route}`, which asks for `{required}`"));
        }
        Some(Err(denial)) => {
            line("decision", &format!("denied: {} ({})", denial.reason.code(), denial.detail));
        }
    }
    out
}
