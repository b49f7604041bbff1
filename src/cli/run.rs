//! `sidegate run`: the sidecar, until it is told to stop.

use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{NO, USAGE, tell};
use crate::app;
use crate::config;
use crate::policy::Examiner;

pub(super) fn run(path: &Path) -> anyhow::Result<ExitCode> {
    let config = match config::load(path) {
        Ok(config) => config,
        Err(problems) => {
            tell(&problems.to_string());
            return Ok(ExitCode::from(USAGE));
        }
    };
    crate::telemetry::log::init(config.log.level.as_str(), config.log.format)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "starting");
    let running = match app::start_with(config, &Examiner::apart()) {
        Ok(running) => running,
        Err(error) => {
            tell(&format!("error: {error:#}"));
            return Ok(ExitCode::from(USAGE));
        }
    };
    let signals = Builder::new_current_thread().enable_all().build()?;
    let mut stop = signals.block_on(async { Stop::listen() })?;
    signals.block_on(async {
        let mut ended = pin!(running.ended());
        let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
        loop {
            tokio::select! {
                () = stop.asked() => return anyhow::Ok(()),
                () = &mut ended => anyhow::bail!("the sidecar has ended by itself"),
                _ = hangup.recv() => running.reopen_audit(),
            }
        }
    })?;
    running.drain();
    // A second signal means now.
    std::thread::spawn(move || {
        signals.block_on(stop.asked());
        std::process::exit(i32::from(NO));
    });
    running.wait();
    Ok(ExitCode::SUCCESS)
}

/// SIGTERM or SIGINT.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// Call it within a runtime.
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
