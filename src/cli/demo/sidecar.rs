//! One sidecar: this same program, run as a process of its own with a configuration file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tokio::process::{Child, Command};

use super::trail::Trail;
use super::web::{self, Reply};

/// How long a sidecar may take until it is ready, identity and all.
const START: Duration = Duration::from_secs(15);

/// A running sidecar. It is killed when dropped.
#[derive(Debug)]
pub(super) struct Sidecar {
    pub(super) name: &'static str,
    /// One line a decision.
    pub(super) audit: Trail,
    /// The program's own log.
    pub(super) log: Trail,
    health: u16,
    metrics: u16,
    child: Child,
}

impl Sidecar {
    /// Starts the process, and returns before it is ready.
    pub(super) fn start(
        folder: &Path,
        name: &'static str,
        health: u16,
        metrics: u16,
    ) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let child = Command::new(&program)
            .arg("run")
            .arg("--config")
            .arg(config(folder, name))
            .env_clear() // what is set here for other sidecars must not reach these
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run `{}`", program.display()))?;
        let audit = Trail::new(folder.join(format!("{name}.audit.jsonl")));
        Ok(Self { name, audit, log: Trail::new(log), health, metrics, child })
    }

    /// Resolves once it says that it is ready.
    pub(super) async fn ready(&mut self) -> anyhow::Result<()> {
        let until = Instant::now() + START;
        loop {
            let answer = match self.readiness().await {
                Ok(reply) if reply.status == 200 => return Ok(()),
                Ok(reply) => format!("{} {}", reply.status, reply.text().trim()),
                Err(error) => format!("{error:#}"),
            };
            if let Some(status) = self.child.try_wait()? {
                bail!("the sidecar of {} ended with {status}: {}", self.name, self.last_words());
            }
            if Instant::now() >= until {
                let words = self.last_words();
                bail!("the sidecar of {} is not ready: {answer}; it says: {words}", self.name);
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// What it says of its readiness.
    pub(super) async fn readiness(&self) -> anyhow::Result<Reply> {
        web::get(self.health, "/ready", "ready").await
    }

    /// One scrape of its metrics.
    pub(super) async fn figures(&self) -> anyhow::Result<Figures> {
        let reply = web::get(self.metrics, "/metrics", "metrics").await?;
        ensure!(reply.status == 200, "the metrics of {} answer {}", self.name, reply.status);
        Ok(Figures(reply.text().into_owned()))
    }

    /// Waits until the process is gone.
    pub(super) async fn stop(mut self) {
        if let Err(error) = self.child.kill().await {
            tracing::warn!(%error, sidecar = self.name, "cannot end the sidecar");
        }
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.log.path()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n  ")
    }
}

/// The metrics of a sidecar at one moment.
#[derive(Debug)]
pub(super) struct Figures(pub(super) String);

impl Figures {
    /// The sum over all samples of this name that have all of the labels.
    pub(super) fn sum(&self, name: &str, labels: &[&str]) -> u64 {
        let samples = self.0.lines().filter_map(|line| line.rsplit_once(' '));
        let ours = samples.filter(|(series, _)| {
            let (found, said) = series.split_once('{').unwrap_or((series, ""));
            found == name && labels.iter().all(|label| said.contains(label))
        });
        ours.filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
    }
}

pub(super) fn config(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.yaml"))
}
