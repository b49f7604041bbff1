//! `sidegate policy`: tools for those who write and review policies.

mod table;
mod inputs;
mod audit;
mod places;
mod logs;
mod review;
mod test;
mod check;
mod eval;
mod explain;
mod diff;
mod replay;
mod examine;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;

use crate::opa;
use crate::policy::Source;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Runs a policy's own tests, as `opa test` does.
    Test(test::Arguments),
    /// Tells what is wrong or doubtful in a policy.
    Check(check::Arguments),
    /// Tells what a policy answers.
    Eval(eval::Arguments),
    /// Tells why a decision is what it is, step by step.
    Explain(explain::Arguments),
    /// Tells who gains and who loses what between two policies.
    Diff(diff::Arguments),
    /// Runs recorded decisions against a policy, and tells which would change.
    Replay(replay::Arguments),
    /// Looks at a candidate for a sidecar, from standard input. Not for people.
    #[command(hide = true)]
    Examine {
        /// Do not stand back for traffic: there is none yet.
        #[arg(long)]
        at_start: bool,
    },
}

pub(super) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Test(arguments) => test::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Eval(arguments) => eval::run(arguments),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Diff(arguments) => diff::run(arguments),
        Command::Replay(arguments) => replay::run(arguments),
        Command::Examine { at_start } => examine::run(*at_start),
    }
}

/// A policy from a folder, a `.rego` file, or a bundle.
fn read(path: &Path) -> anyhow::Result<Source> {
    let unusable = || format!("`{}` is not usable", path.display());
    match opa::is_archive(path) {
        true => opa::read(path).with_context(unusable),
        false => Source::read(path).with_context(unusable),
    }
}
