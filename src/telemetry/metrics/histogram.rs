//! A histogram with fixed bounds that one worker fills and a scrape adds up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The bounds, in nanoseconds, ascending. One more bucket, for all that is longer, is implied.
pub(super) type Bounds = [u64];

const MICROSECOND: u64 = 1_000;
const MILLISECOND: u64 = 1_000_000;

/// From a local call to a slow report.
pub(super) const REQUEST: &Bounds = &[
    250 * MICROSECOND,
    500 * MICROSECOND,
    MILLISECOND,
    2 * MILLISECOND + 500 * MICROSECOND,
    5 * MILLISECOND,
    10 * MILLISECOND,
    25 * MILLISECOND,
    50 * MILLISECOND,
    100 * MILLISECOND,
    250 * MILLISECOND,
    500 * MILLISECOND,
    1_000 * MILLISECOND,
    2_500 * MILLISECOND,
    5_000 * MILLISECOND,
    10_000 * MILLISECOND,
    30_000 * MILLISECOND,
];

/// From a cached grant to a policy that takes its time.
pub(super) const DECISION: &Bounds = &[
    MICROSECOND,
    2 * MICROSECOND + 500,
    5 * MICROSECOND,
    10 * MICROSECOND,
    25 * MICROSECOND,
    50 * MICROSECOND,
    100 * MICROSECOND,
    250 * MICROSECOND,
    500 * MICROSECOND,
    MILLISECOND,
    5 * MILLISECOND,
    25 * MILLISECOND,
    100 * MILLISECOND,
];

#[derive(Debug)]
pub(super) struct Histogram {
    bounds: &'static Bounds,
    nanoseconds: AtomicU64,
    /// One more than there are bounds.
    buckets: Box<[AtomicU64]>,
}

/// Histograms added up.
#[derive(Debug)]
pub(super) struct Sum {
    bounds: &'static Bounds,
    nanoseconds: u64,
    buckets: Vec<u64>,
}

impl Histogram {
    pub(super) fn new(bounds: &'static Bounds) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, nanoseconds: AtomicU64::new(0), buckets }
    }

    pub(super) fn observe(&self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // A bound belongs to its bucket: Prometheus says `le`.
        let bucket = self.bounds.partition_point(|bound| *bound < nanoseconds);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
            self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        }
    }
}

impl Sum {
    pub(super) fn of<'a>(
        bounds: &'static Bounds,
        parts: impl Iterator<Item = &'a Histogram>,
    ) -> Self {
        let mut sum = Self { bounds, nanoseconds: 0, buckets: vec![0; bounds.len() + 1] };
        for part in parts {
            sum.nanoseconds =
                sum.nanoseconds.wrapping_add(part.nanoseconds.load(Ordering::Relaxed));
            for (total, bucket) in sum.buckets.iter_mut().zip(&part.buckets) {
                *total += bucket.load(Ordering::Relaxed);
            }
        }
        sum
    }

    pub(super) fn seconds(&self) -> f64 {
        self.nanoseconds as f64 / 1e9
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Upper bound in seconds and count, as `prometheus-client` wants them: not cumulative, the
    /// last one without bound.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = self.bounds.iter().map(|bound| *bound as f64 / 1e9);
        bounds.chain([f64::INFINITY]).zip(self.buckets.iter().copied()).collect()
    }
}
