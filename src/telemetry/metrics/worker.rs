//! One worker's counters: plain relaxed additions to memory that no other worker touches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Labels;
use super::histogram::{DECISION, Histogram, REQUEST};

/// Counts for one worker. A listener is named by its place in [`Labels::listeners`], a code by its
/// place in its list; a place beyond the list counts as `other`.
#[derive(Debug)]
pub struct WorkerMetrics {
    pub(super) listeners: Box<[Listener]>,
    pub(super) grant_hits: AtomicU64,
    pub(super) grant_misses: AtomicU64,
    upstreams: Open,
}

/// What is counted by listener.
#[derive(Debug)]
pub(super) struct Listener {
    /// By outcome, and one more for `other`.
    pub(super) requests: Box<[AtomicU64]>,
    pub(super) cross_tenant: AtomicU64,
    pub(super) request_duration: Histogram,
    pub(super) decision_duration: Histogram,
    pub(super) connections: [AtomicU64; ConnectionResult::ALL.len()],
    /// By code, and one more for `other`.
    pub(super) handshake_failures: Box<[AtomicU64]>,
    pub(super) bytes: [AtomicU64; Flow::ALL.len()],
    pub(super) upstreams: [AtomicU64; UpstreamResult::ALL.len()],
    open: Open,
}

/// A gauge as two counters, so that each side only ever adds.
#[derive(Debug, Default)]
struct Open {
    opened: AtomicU64,
    closed: AtomicU64,
}

/// How an accepted connection began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionResult {
    /// Ready for requests.
    Accepted,
    /// The TLS handshake failed; `handshake_failures_total` says why.
    HandshakeFailed,
}

/// Which way bytes went, seen from us: on the connections that this listener accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    Received,
    Sent,
}

/// How a new connection to an upstream went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamResult {
    Connected,
    Unreachable,
    TimedOut,
    /// The other end is not who it should be.
    Identity,
    /// The TLS handshake failed for another reason.
    Handshake,
}

impl ConnectionResult {
    pub(super) const ALL: [Self; 2] = [Self::Accepted, Self::HandshakeFailed];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::HandshakeFailed => "handshake_failed",
        }
    }
}

impl Flow {
    pub(super) const ALL: [Self; 2] = [Self::Received, Self::Sent];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Sent => "sent",
        }
    }
}

impl UpstreamResult {
    pub(super) const ALL: [Self; 5] =
        [Self::Connected, Self::Unreachable, Self::TimedOut, Self::Identity, Self::Handshake];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Identity => "identity",
            Self::Handshake => "handshake",
        }
    }
}

impl WorkerMetrics {
    pub(super) fn new(labels: &Labels) -> Self {
        Self {
            listeners: labels.listeners.iter().map(|_| Listener::new(labels)).collect(),
            grant_hits: AtomicU64::new(0),
            grant_misses: AtomicU64::new(0),
            upstreams: Open::default(),
        }
    }

    /// One request or opaque stream, allowed or not; `took` is the time to the response's head.
    pub fn request(&self, listener: usize, outcome: usize, took: Duration) {
        if let Some(listener) = self.listeners.get(listener) {
            add_at(&listener.requests, outcome);
            listener.request_duration.observe(took);
        }
    }

    /// A right to reach into another tenant was used.
    pub fn cross_tenant(&self, listener: usize) {
        if let Some(listener) = self.listeners.get(listener) {
            listener.cross_tenant.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How long it took to decide.
    pub fn decision(&self, listener: usize, took: Duration) {
        if let Some(listener) = self.listeners.get(listener) {
            listener.decision_duration.observe(took);
        }
    }

    /// A connection was accepted by the kernel, and this is what became of it.
    pub fn connection(&self, listener: usize, result: ConnectionResult) {
        if let Some(listener) = self.listeners.get(listener) {
            add_at(&listener.connections, result as usize);
        }
    }

    /// A connection is open for as long as the result lives.
    pub fn open_connection(self: &Arc<Self>, listener: usize) -> OpenConnection {
        OpenConnection::new(Arc::clone(self), Place::Listener(listener))
    }

    pub fn handshake_failure(&self, listener: usize, code: usize) {
        if let Some(listener) = self.listeners.get(listener) {
            add_at(&listener.handshake_failures, code);
        }
    }

    pub fn bytes(&self, listener: usize, flow: Flow, count: u64) {
        let counter = self.listeners.get(listener).and_then(|it| it.bytes.get(flow as usize));
        if let Some(counter) = counter {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// A new connection to an upstream was tried for this listener.
    pub fn upstream(&self, listener: usize, result: UpstreamResult) {
        if let Some(listener) = self.listeners.get(listener) {
            add_at(&listener.upstreams, result as usize);
        }
    }

    /// A connection to an upstream is open for as long as the result lives.
    pub fn open_upstream(self: &Arc<Self>) -> OpenConnection {
        OpenConnection::new(Arc::clone(self), Place::Upstream)
    }

    pub fn grant_hit(&self) {
        self.grant_hits.fetch_add(1, Ordering::Relaxed);
    }

    pub fn grant_miss(&self) {
        self.grant_misses.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn upstreams_open(&self) -> u64 {
        self.upstreams.now()
    }

    fn gauge(&self, place: Place) -> Option<&Open> {
        match place {
            Place::Listener(listener) => self.listeners.get(listener).map(|it| &it.open),
            Place::Upstream => Some(&self.upstreams),
        }
    }
}

impl Listener {
    fn new(labels: &Labels) -> Self {
        Self {
            requests: zeros(labels.outcomes.len() + 1),
            cross_tenant: AtomicU64::new(0),
            request_duration: Histogram::new(REQUEST),
            decision_duration: Histogram::new(DECISION),
            connections: Default::default(),
            handshake_failures: zeros(labels.handshake_codes.len() + 1),
            bytes: Default::default(),
            upstreams: Default::default(),
            open: Open::default(),
        }
    }

    pub(super) fn open(&self) -> u64 {
        self.open.now()
    }
}

impl Open {
    fn now(&self) -> u64 {
        // Read in this order, what closes in between cannot make the difference negative.
        let closed = self.closed.load(Ordering::Acquire);
        self.opened.load(Ordering::Acquire).saturating_sub(closed)
    }
}

/// Counts a connection as open until dropped.
#[derive(Debug)]
#[must_use = "dropping it counts the connection as closed"]
pub struct OpenConnection {
    worker: Arc<WorkerMetrics>,
    place: Place,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Listener(usize),
    Upstream,
}

impl OpenConnection {
    fn new(worker: Arc<WorkerMetrics>, place: Place) -> Self {
        if let Some(gauge) = worker.gauge(place) {
            gauge.opened.fetch_add(1, Ordering::Release);
        }
        Self { worker, place }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if let Some(gauge) = self.worker.gauge(self.place) {
            gauge.closed.fetch_add(1, Ordering::Release);
        }
    }
}

fn zeros(count: usize) -> Box<[AtomicU64]> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

/// A place beyond the list counts in the last one, which stands for `other`.
fn add_at(counters: &[AtomicU64], place: usize) {
    if let Some(counter) = counters.get(place).or_else(|| counters.last()) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
