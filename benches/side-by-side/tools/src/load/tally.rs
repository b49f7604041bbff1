//! What was answered, how fast, and what went wrong.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;
use thiserror::Error;

use super::Period;

/// A request that was not answered as it should have been.
#[derive(Debug, Error)]
pub(super) enum Failure {
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("HTTP/2: {0}")]
    Http2(#[from] h2::Error),
    #[error("the connection was closed within a response")]
    Closed,
    #[error("status {0}")]
    Status(u16),
    #[error("gRPC status {0}")]
    GrpcStatus(String),
    #[error("the head of the response: {0}")]
    Head(#[from] httparse::Error),
    #[error("the response is not well formed: {0}")]
    Malformed(&'static str),
    #[error("a body of {got} bytes where {expected} were due")]
    Length { got: u64, expected: u64 },
    #[error("no answer in time")]
    TimedOut,
    #[error("the load itself panicked")]
    Panicked,
}

/// Of all tasks on the thread.
pub(super) type Shared = Rc<RefCell<Tally>>;

#[derive(Debug)]
pub(super) struct Tally {
    period: Period,
    last: Instant,
    nanoseconds: Histogram<u64>,
    late: Histogram<u64>,
    warmup_requests: u64,
    errors: u64,
    bytes: u64,
    failures: BTreeMap<String, u64>,
}

/// The line that is printed.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    kind: &'a str,
    requests: u64,
    errors: u64,
    seconds: f64,
    per_second: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
    bytes: u64,
    mb_per_s: f64,
    /// Answered before `requests` began to be counted.
    warmup_requests: u64,
    /// How late requests of a fixed rate were sent, which is in their latency as well.
    late_p99_us: f64,
}

impl Tally {
    pub(super) fn new(period: Period) -> Self {
        Self {
            period,
            last: period.from,
            nanoseconds: histogram(),
            late: histogram(),
            warmup_requests: 0,
            errors: 0,
            bytes: 0,
            failures: BTreeMap::new(),
        }
    }

    /// `began` is when the request was sent, or when it was due.
    pub(super) fn answered(&mut self, began: Instant, bytes: u64) {
        if began < self.period.from {
            self.warmup_requests += 1;
            return;
        }
        self.last = Instant::now();
        self.bytes += bytes;
        self.nanoseconds.saturating_record(nanoseconds(self.last - began));
    }

    pub(super) fn sent(&mut self, late: Duration) {
        self.late.saturating_record(nanoseconds(late));
    }

    pub(super) fn failed(&mut self, failure: &Failure) {
        self.errors += 1;
        *self.failures.entry(failure.to_string()).or_default() += 1;
    }

    /// What another thread counted in the same period.
    pub(super) fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.last = self.last.max(other.last);
        self.nanoseconds.add(&other.nanoseconds)?;
        self.late.add(&other.late)?;
        self.warmup_requests += other.warmup_requests;
        self.errors += other.errors;
        self.bytes += other.bytes;
        for (failure, count) in &other.failures {
            *self.failures.entry(failure.clone()).or_default() += count;
        }
        Ok(())
    }

    pub(super) fn report<'a>(&self, kind: &'a str) -> Report<'a> {
        // The last answers come after the end of the period: they were paid for, so they count,
        // and so does their time.
        let seconds = self.last.duration_since(self.period.from).as_secs_f64();
        let requests = self.nanoseconds.len();
        let per_second = |amount: f64| if seconds > 0.0 { amount / seconds } else { 0.0 };
        let latency = |quantile| microseconds(self.nanoseconds.value_at_quantile(quantile));
        Report {
            kind,
            requests,
            errors: self.errors,
            seconds,
            per_second: per_second(requests as f64),
            p50_us: latency(0.5),
            p99_us: latency(0.99),
            p999_us: latency(0.999),
            max_us: microseconds(self.nanoseconds.max()),
            bytes: self.bytes,
            mb_per_s: per_second(self.bytes as f64 / 1e6),
            warmup_requests: self.warmup_requests,
            late_p99_us: microseconds(self.late.value_at_quantile(0.99)),
        }
    }

    /// On standard error: the line of JSON stays one line.
    pub(super) fn name_failures(&self) {
        for (failure, count) in &self.failures {
            eprintln!("{count} x {failure}");
        }
    }
}

/// From 1 ns to 100 s (longer counts as that), to three digits.
fn histogram() -> Histogram<u64> {
    match Histogram::new_with_bounds(1, 100_000_000_000, 3) {
        Ok(histogram) => histogram,
        Err(_) => unreachable!("the bounds are constants"),
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}
