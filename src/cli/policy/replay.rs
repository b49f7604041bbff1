//! `sidegate policy replay`: runs recorded decisions against a policy, and tells which would change.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context as _;

use super::inputs::{Service, settled, time};
use super::logs;
use super::review::{FailOn, Format};
use crate::app::ServedRoutes;
use crate::authz::Tenant;
use crate::cli::{NO, USAGE, print, tell};
use crate::review::{Replay, Replayed, Served, Side, Site, SiteRoutes, Span};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Audit logs: JSON lines, in any number of files; `-` is standard input.
    #[arg(required = true, value_name = "LOG")]
    logs: Vec<PathBuf>,
    /// The policy as it would be: folder, `.rego` file or bundle.
    #[arg(long, value_name = "NEW")]
    policy: PathBuf,
    /// The policy as it was: compares with its answers in place of those in the log.
    #[arg(long, value_name = "OLD")]
    baseline: Option<PathBuf>,
    /// Configuration of a service in the log: its tenant and its routes. May be repeated.
    #[arg(long = "config", short, value_name = "FILE")]
    configs: Vec<PathBuf>,
    /// Tenant of the services in the log, where no configuration tells.
    #[arg(long, value_name = "TENANT")]
    service_tenant: Option<Tenant>,
    /// Only decisions from then on, for instance `2026-11-21T09:40:00Z`.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<SystemTime>,
    /// Only decisions before then.
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<SystemTime>,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Exit with 1 if a decision would change.
    #[arg(long, value_enum, value_name = "WHAT")]
    fail_on: Option<FailOn>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    settled(replay(arguments).and_then(|replayed| show(arguments, &replayed)))
}

fn show(arguments: &Arguments, replayed: &Replayed) -> anyhow::Result<ExitCode> {
    match arguments.format.style() {
        Some(style) => print(&replayed.told(style))?,
        None => print(&serde_json::to_string_pretty(replayed)?)?,
    }
    if replayed.replayed == 0 && arguments.fail_on.is_some() {
        // Nothing changes where nothing was tried.
        tell("error: no decision was replayed");
        return Ok(ExitCode::from(USAGE));
    }
    if replayed.malformed > 0 && arguments.fail_on.is_some() {
        // What could not be read may be just what changes.
        tell("error: lines of the log are malformed, so nothing can be said for sure");
        return Ok(ExitCode::from(USAGE));
    }
    let (gained, lost) = (replayed.gained > 0, replayed.lost > 0);
    let fails = arguments.fail_on.is_some_and(|it| it.fails(gained, lost, replayed.changed() > 0));
    Ok(if fails { ExitCode::from(NO) } else { ExitCode::SUCCESS })
}

fn replay(arguments: &Arguments) -> anyhow::Result<Replayed> {
    let side = |path: &PathBuf| {
        Side::load(super::read(path)?)
            .with_context(|| format!("`{}` is not usable", path.display()))
    };
    let new = side(&arguments.policy)?;
    let old = arguments.baseline.as_ref().map(side).transpose()?;
    let sites = arguments.configs.iter().map(|path| site(path)).collect::<anyhow::Result<Vec<_>>>();
    let sites = sites?;
    let mut logs = logs::open(&arguments.logs)?;
    let replay = Replay {
        new: &new,
        old: old.as_ref(),
        sites: &sites,
        service_tenant: arguments.service_tenant.clone(),
        span: Span { since: arguments.since, until: arguments.until },
    };
    replay.run(&mut logs).context("the log cannot be read")
}

fn site(path: &Path) -> anyhow::Result<Site> {
    let service = Service::load(path)?;
    let own = service.config.identity.and_then(|identity| identity.spiffe_id);
    let listeners = service.served.into_iter().map(|served| Served {
        listener: Arc::from(served.listener.as_str()),
        routes: match served.routes {
            ServedRoutes::Http(table) => SiteRoutes::Http(table),
            ServedRoutes::Stream(route) => SiteRoutes::Stream(route),
        },
    });
    Ok(Site {
        local: own.map(|id| Arc::from(id.to_string())),
        tenant: Tenant::parse(&service.config.tenant)?,
        listeners: listeners.collect(),
    })
}
