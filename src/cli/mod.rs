//! The commands. The only room that prints: data on stdout, everything else on stderr.

mod admin_socket;
mod check;
pub(crate) mod demo;
mod dev_agent;
mod policy;
mod revoke;
mod run;
mod status;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, Parser, Subcommand};

/// The answer is no: something was checked and does not hold.
const NO: u8 = 1;
/// Wrong usage or configuration.
const USAGE: u8 = 2;

/// A sidecar that gives a service a verified identity, and lets in only whom policy allows.
#[derive(Debug, Parser)]
#[command(name = "sidegate", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the sidecar until SIGTERM or SIGINT, then drains.
    Run {
        /// The configuration, one YAML file.
        #[arg(long, short, value_name = "FILE", env = "SIDEGATE_CONFIG")]
        config: PathBuf,
    },
    /// Checks configuration and policy, and tells every problem at once.
    Check {
        /// The configuration, one YAML file.
        #[arg(long, short, value_name = "FILE", env = "SIDEGATE_CONFIG")]
        config: PathBuf,
        /// Print the effective configuration with the origin of each value.
        #[arg(long)]
        show: bool,
        /// Print for programs.
        #[arg(long)]
        json: bool,
    },
    /// Shows the main job on this machine: services, sidecars, an embedded Workload API, real
    /// calls. Exits with 0 only if each outcome was as told.
    Demo {
        /// How long the load runs while SVIDs rotate.
        #[arg(long = "for", value_name = "DURATION", value_parser = crate::config::parse_duration)]
        duration: Option<Duration>,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
        /// Leave everything running afterwards, and print commands to try by hand.
        #[arg(long, conflicts_with = "json")]
        keep: bool,
    },
    /// Tools for those who write and review policies.
    #[command(subcommand)]
    Policy(Box<policy::Command>),
    /// Tells whether a running sidecar works, and if not, why. Exits with 1 if it does not.
    Status(status::Arguments),
    /// Revokes an identity, token or certificate at a running sidecar, at once.
    Revoke(revoke::Arguments),
    /// An embedded SPIFFE Workload API for laptops and tests. Never for production.
    DevAgent(dev_agent::Arguments),
    /// Prints the JSON Schema of the configuration file.
    Schema,
    /// Prints a completion script for a shell.
    Completions { shell: clap_complete::Shell },
}

/// Reads the arguments, runs the command, and gives the exit code: 0 fine, 1 the answer is no,
/// 2 wrong usage or configuration.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Command::Run { config } => run::run(&config),
        Command::Check { config, show, json } => check::check(&config, show, json),
        Command::Demo { duration, json, keep } => {
            demo::run(&demo::Options { json, keep, duration })
                .map(|as_told| if as_told { ExitCode::SUCCESS } else { ExitCode::from(NO) })
        }
        Command::Status(arguments) => status::run(&arguments),
        Command::Revoke(arguments) => revoke::run(&arguments),
        Command::DevAgent(arguments) => dev_agent::run(&arguments),
        Command::Policy(command) => policy::run(&command),
        Command::Schema => schema(),
        Command::Completions { shell } => completions(shell),
    };
    outcome.unwrap_or_else(|error| {
        tell(&format!("error: {error:#}"));
        ExitCode::from(NO)
    })
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<ExitCode> {
    // Gathered first: the generator panics where a reader has gone away.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "sidegate", &mut script);
    print(String::from_utf8(script)?.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

fn schema() -> anyhow::Result<ExitCode> {
    let text = serde_json::to_string_pretty(&crate::config::schema())?;
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// A line of data. A reader that has gone away is no error of ours.
fn print(text: &str) -> anyhow::Result<()> {
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        outcome => Ok(outcome?),
    }
}

/// A line for the person at the terminal.
fn tell(text: &str) {
    // Nobody is left to be told that standard error cannot be written to.
    writeln!(std::io::stderr().lock(), "{text}").ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
