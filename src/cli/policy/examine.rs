//! `sidegate policy examine`: what a sidecar starts beside itself for each candidate.

use std::io;
use std::process::ExitCode;

use crate::cli::print;
use crate::policy;

pub(super) fn run() -> anyhow::Result<ExitCode> {
    print(&policy::examine_as_child(io::stdin().lock()))?;
    Ok(ExitCode::SUCCESS)
}
