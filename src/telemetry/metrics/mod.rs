//! Numbers for Prometheus. Counting touches only the worker's own memory; a scrape adds up.
//!
//! Labels are bounded: listeners and codes are fixed at start. No identity, path or tenant is
//! ever a label.

mod histogram;
mod worker;
mod exposition;
mod told;
mod control;
mod process;
mod collect;

pub use control::Control;
pub use told::{Kind, Told};
pub use worker::{ConnectionResult, Flow, OpenConnection, UpstreamResult, WorkerMetrics};

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use super::{Direction, audit};

/// A listener as it shows in labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerLabel {
    pub name: String,
    pub direction: Direction,
}

/// Everything that may ever be a label's value.
#[derive(Debug, Clone)]
pub struct Labels {
    /// Workers count by a listener's place in this list.
    pub listeners: Vec<ListenerLabel>,
    /// `allowed`, and every code of a refusal or fault.
    pub outcomes: &'static [&'static str],
    /// Every code of a failed handshake.
    pub handshake_codes: &'static [&'static str],
    /// Every state of the SPIFFE agent.
    pub agent_states: &'static [&'static str],
    /// This program's version.
    pub version: &'static str,
}

/// All counters of the process.
pub struct Metrics {
    registry: Registry,
    sums: Arc<Sums>,
}

/// What a scrape reads.
struct Sums {
    labels: Labels,
    workers: Mutex<Vec<Arc<WorkerMetrics>>>,
    control: Control,
    audit: OnceLock<Arc<audit::Counters>>,
    refresh: OnceLock<Refresh>,
    started: SystemTime,
}

type Refresh = Box<dyn Fn(&Control) + Send + Sync>;

/// The content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Metrics {
    /// `started` is when this process began.
    pub fn new(labels: Labels, started: SystemTime) -> Self {
        let sums = Arc::new(Sums {
            control: Control::new(labels.agent_states),
            labels,
            workers: Mutex::default(),
            audit: OnceLock::new(),
            refresh: OnceLock::new(),
            started,
        });
        let mut registry = Registry::default();
        registry.register_collector(Box::new(collect::Collect(Arc::clone(&sums))));
        Self { registry, sums }
    }

    /// Counters of one worker's own. Call it on the worker's thread, so that the memory is near,
    /// and hand it to nobody else.
    pub fn worker(&self) -> Arc<WorkerMetrics> {
        let worker = Arc::new(WorkerMetrics::new(&self.sums.labels));
        self.sums.workers().push(Arc::clone(&worker));
        worker
    }

    /// What the control plane sets.
    pub fn control(&self) -> &Control {
        &self.sums.control
    }

    /// The audit log whose lines are counted. The first one stays.
    pub fn watch_audit(&self, counters: Arc<audit::Counters>) {
        self.sums.audit.get_or_init(|| counters);
    }

    /// Called at the start of each scrape, to set what is cheaper read than told. The first one
    /// stays.
    pub fn before_scrape(&self, refresh: impl Fn(&Control) + Send + Sync + 'static) {
        self.sums.refresh.get_or_init(|| Box::new(refresh));
    }

    /// The place of `code` among the outcomes; of an unknown one, the place counted as `other`.
    pub fn outcome(&self, code: &str) -> usize {
        place(self.sums.labels.outcomes, code)
    }

    /// The place of `code` among the handshake codes; of an unknown one, that of `other`.
    pub fn handshake_code(&self, code: &str) -> usize {
        place(self.sums.labels.handshake_codes, code)
    }

    /// The whole exposition, in OpenMetrics text.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        if let Some(refresh) = self.sums.refresh.get() {
            refresh(&self.sums.control);
        }
        let mut text = String::with_capacity(32 * 1024);
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Sums {
    fn workers(&self) -> std::sync::MutexGuard<'_, Vec<Arc<WorkerMetrics>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("labels", &self.sums.labels).finish_non_exhaustive()
    }
}

impl fmt::Debug for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sums").field("labels", &self.labels).finish_non_exhaustive()
    }
}

fn place(codes: &[&str], code: &str) -> usize {
    codes.iter().position(|known| *known == code).unwrap_or(codes.len())
}

#[cfg(test)]
mod tests;
