//! `sidegate policy diff`: tells who gains and who loses what between two policies.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context as _;

use super::inputs::{Others, settled, time};
use super::logs;
use super::places::Services;
use super::review::{FailOn, Format};
use crate::cli::{NO, USAGE, print, tell};
use crate::review::{self, Diff, Side};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The policy as it is: folder, `.rego` file or bundle.
    old: PathBuf,
    /// The policy as it would be.
    new: PathBuf,
    #[command(flatten)]
    services: Services,
    #[command(flatten)]
    others: Others,
    /// An audit log: its callers are asked about as well. May be repeated.
    #[arg(long = "audit", value_name = "LOG")]
    logs: Vec<PathBuf>,
    /// The time at which both policies are asked, for instance `2026-11-21T09:40:00Z`.
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<SystemTime>,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Exit with 1 if somebody gains or loses.
    #[arg(long, value_enum, value_name = "WHAT")]
    fail_on: Option<FailOn>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    settled(compare(arguments).and_then(|diff| show(arguments, &diff)))
}

fn show(arguments: &Arguments, diff: &Diff) -> anyhow::Result<ExitCode> {
    match arguments.format.style() {
        Some(style) => print(&diff.told(style))?,
        None => print(&serde_json::to_string_pretty(diff)?)?,
    }
    if diff.compared == 0 && arguments.fail_on.is_some() {
        // Nobody gains anything where nobody was asked about.
        tell("error: no identity is known: name some with `--identities` or `--audit`");
        return Ok(ExitCode::from(USAGE));
    }
    let (gained, lost) = (diff.gains(), diff.loses());
    let fails = arguments.fail_on.is_some_and(|it| it.fails(gained, lost, !diff.is_empty()));
    Ok(if fails { ExitCode::from(NO) } else { ExitCode::SUCCESS })
}

fn compare(arguments: &Arguments) -> anyhow::Result<Diff> {
    let side = |path: &PathBuf| {
        Side::load(super::read(path)?)
            .with_context(|| format!("`{}` is not usable", path.display()))
    };
    let (old, new) = (side(&arguments.old)?, side(&arguments.new)?);
    let places = arguments.services.places()?;
    let of_place =
        || places.first().map(|it| it.local.tenant.to_string()).filter(|it| !it.is_empty());
    let tenant = arguments.services.tenant().map(str::to_owned).or_else(of_place);
    let mut extra = arguments.others.extra(tenant)?;
    extra.identities.extend(logs::callers(&arguments.logs)?);
    let at = arguments.at.unwrap_or_else(SystemTime::now);
    Ok(review::diff(&old, &new, &extra, &places, at))
}
