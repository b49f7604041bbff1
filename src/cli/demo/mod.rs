//! `sidegate demo`: the main job shown on this machine, with real calls, and each outcome checked.
//!
//! Starts an embedded SPIFFE Workload API, three services, and a sidecar process for each
//! workload; takes everything away again at the end.

mod folder;
mod trail;
mod report;
mod web;
mod orders;
mod ledger;
mod cache;
mod sidecar;
mod issuer;
mod stage;
mod calls;
mod rights;
mod stranger;
mod attacks;
mod change;
mod load;
mod courier;
mod fallback;
mod hand;

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::signal::unix::{SignalKind, signal};

use folder::Folder;
use report::Report;
use stage::Stage;

/// What `sidegate demo` was asked for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// One JSON document instead of a table.
    pub json: bool,
    /// Leave everything running until interrupted.
    pub keep: bool,
    /// How long the load runs.
    pub duration: Option<Duration>,
}

/// Runs the demo; whether each outcome was as told.
pub fn run(options: &Options) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(play(options))
}

async fn play(options: &Options) -> anyhow::Result<bool> {
    // Listens from now on, so that no interrupt can leave anything behind.
    let mut interrupted = pin!(interrupted()?);
    let mut folder = Folder::create()?;
    let mut report = Report::new(options.json);
    let performed = tokio::select! {
        performed = perform(options, &folder, &mut report) => performed,
        () = &mut interrupted => return Err(anyhow!("interrupted")),
    };
    let stage = match performed {
        Ok(stage) => stage,
        Err(error) => {
            folder.keep();
            let place = folder.path().display().to_string();
            return Err(error.context(format!("the demo broke off; its logs are in `{place}`")));
        }
    };
    let ok = report.ok();
    close(&report, &folder)?;
    if !ok {
        folder.keep();
    }
    if options.keep {
        let commands = hand::commands(&stage, &folder, report.form())?;
        match options.json {
            true => eprint!("{commands}"),
            false => report.say(&commands)?,
        }
        interrupted.await;
    }
    stage.strike().await;
    Ok(ok)
}

async fn perform(options: &Options, folder: &Folder, report: &mut Report) -> anyhow::Result<Stage> {
    report.say(&hand::opening(report.form()))?;
    report.progress("    starting…");
    let stage = Stage::set(folder).await?;
    rights::allowed(&stage, report).await?;
    rights::refused(&stage, report).await?;
    attacks::strangers(&stage, report).await?;
    attacks::lies(&stage, report).await?;
    change::policy(&stage, folder, report).await?;
    let time = options.duration.unwrap_or(load::DEFAULT);
    load::rotations(&stage, time, report).await?;
    fallback::agent_away(&stage, report).await?;
    Ok(stage)
}

/// The sums, or the document; and where to look if something differed.
fn close(report: &Report, folder: &Folder) -> anyhow::Result<()> {
    let failed = report.rows().filter(|row| !row.ok).count();
    report.say(&hand::closing(report))?;
    if failed > 0 {
        let place = folder.path().display();
        eprintln!("logs, audit logs and configuration are in `{place}`");
    }
    report.finish().context("cannot write the report")
}

/// Resolves at Ctrl-C or a request to end.
fn interrupted() -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut end = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = end.recv() => {}
        }
    })
}

#[cfg(test)]
mod tests;
