//! `sidegate policy test`: runs a policy's own tests, as `opa test` does.

mod json;
mod junit;
mod pretty;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use tokio::sync::mpsc;

use super::super::{NO, USAGE, print, tell};
use crate::config::parse_duration;
use crate::files::Follow;
use crate::opa;
use crate::policy::{LoadError, Outcome, Report, Source, TestOptions, run_tests};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Folders and files: modules, their tests, and data. Or one bundle.
    #[arg(default_value = ".")]
    paths: Vec<PathBuf>,
    /// Tell of every test, and what it printed.
    #[arg(long, short)]
    verbose: bool,
    /// Only tests whose full name this regular expression finds.
    #[arg(long, short, value_name = "REGEX")]
    run: Option<String>,
    /// Tell which lines of the policy were evaluated.
    #[arg(long, short)]
    coverage: bool,
    /// Fail if less than so many percent of the lines were evaluated.
    #[arg(long, value_name = "PERCENT", value_parser = percentage)]
    threshold: Option<f64>,
    #[arg(long, short, value_enum, default_value_t = Format::Pretty)]
    format: Format,
    /// Fail if there is no test.
    #[arg(long)]
    fail_on_empty: bool,
    /// Skipped tests are no failure.
    #[arg(long, short = 'z')]
    exit_zero_on_skipped: bool,
    /// How long one test may take.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    timeout: Duration,
    /// Run again whenever a file changes, until Ctrl-C.
    #[arg(long, short)]
    watch: bool,
}

/// How the outcome is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Pretty,
    /// As `opa test --format json`.
    Json,
    /// For build servers.
    Junit,
}

/// A test failed, or too little was evaluated: the same exit code as `opa test` has.
const FAILED: u8 = 2;

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.watch {
        return watch(arguments);
    }
    once(arguments)
}

fn once(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let coverage = arguments.coverage || arguments.threshold.is_some();
    let options = TestOptions {
        run: arguments.run.clone(),
        coverage,
        timeout: Some(arguments.timeout),
        ..TestOptions::default()
    };
    let source = match read(&arguments.paths) {
        Ok(source) => source,
        Err(error) => {
            tell(&format!("error: {error:#}"));
            return Ok(ExitCode::from(USAGE));
        }
    };
    let ran = source.and_then(|source| run_tests(&source, &options));
    let report = match ran {
        Ok(report) => report,
        Err(error @ LoadError::Empty { .. }) => {
            tell(&format!("error: {error}"));
            return Ok(ExitCode::from(USAGE));
        }
        Err(error) => {
            tell(&format!("error: {}", error.full()));
            return Ok(ExitCode::from(NO));
        }
    };
    let text = match arguments.format {
        Format::Pretty => pretty::report(&report, arguments.verbose),
        // Whoever asks OPA for coverage gets it in place of the results, once they are good.
        Format::Json if coverage && report.is_good() => json::coverage(&report)?,
        Format::Json => json::results(&report)?,
        Format::Junit => junit::report(&report),
    };
    if !text.is_empty() {
        print(text.trim_end())?;
    }
    Ok(verdict(arguments, &report))
}

/// What is wrong with files is what is tested; what is wrong with an archive keeps them from it.
fn read(paths: &[PathBuf]) -> anyhow::Result<Result<Source, LoadError>> {
    match paths {
        [path] if opa::is_archive(path) => super::read(path).map(Ok),
        paths => {
            if let Some(archive) = paths.iter().find(|path| opa::is_archive(path)) {
                bail!("`{}` is a bundle, and a bundle is tested by itself", archive.display());
            }
            Ok(Source::read_as_given(paths))
        }
    }
}

fn verdict(arguments: &Arguments, report: &Report) -> ExitCode {
    if report.cases.is_empty() {
        tell("no tests were run");
        if arguments.fail_on_empty {
            return ExitCode::from(NO);
        }
    }
    let skipped = report.count(|it| *it == Outcome::Skipped) > 0;
    if !report.is_good() || (skipped && !arguments.exit_zero_on_skipped) {
        return ExitCode::from(FAILED);
    }
    let percent = report.percent();
    if let Some(threshold) = arguments.threshold
        && percent < threshold
    {
        tell(&format!(
            "code coverage threshold not met: got {percent:.2} instead of {threshold:.2}"
        ));
        return ExitCode::from(FAILED);
    }
    ExitCode::SUCCESS
}

fn watch(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let (tell_change, mut changes) = mpsc::channel(1);
        for path in &arguments.paths {
            let mut follow = match opa::is_archive(path) {
                true => Follow::new(vec![path.clone()]),
                false => Follow::tree(path.clone()),
            };
            let tell_change = tell_change.clone();
            drop(tokio::spawn(async move {
                loop {
                    follow.changed().await;
                    // One that waits already will do for this one too.
                    tell_change.try_send(()).ok();
                }
            }));
        }
        loop {
            tokio::select! {
                ended = tokio::signal::ctrl_c() => {
                    ended?;
                    return Ok(ExitCode::SUCCESS);
                }
                _ = changes.recv() => {
                    tell(&format!("{} running the tests", "=".repeat(8)));
                    tokio::task::block_in_place(|| once(arguments))?;
                    tell(&format!("{} waiting for changes, Ctrl-C ends", "=".repeat(8)));
                }
            }
        }
    })
}

fn percentage(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("not a number from 0 to 100".to_owned()),
    }
}
