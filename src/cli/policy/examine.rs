//! `sidegate policy examine`: what a sidecar starts beside itself for each candidate.

use std::io;
use std::process::ExitCode;

use crate::cli::print;
use crate::policy;

pub(super) fn run(at_start: bool) -> anyhow::Result<ExitCode> {
    print(&policy::examine_as_child(io::stdin().lock(), at_start))?;
    Ok(ExitCode::SUCCESS)
}
