//! Metrics in the forms that `prometheus-client` writes.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::histogram::Sum;

/// One scrape's text, as it grows.
pub(super) struct Exposition<'a>(pub(super) DescriptorEncoder<'a>);

/// A label's key and value.
pub(super) type Pair<'a> = (&'a str, &'a str);

impl Exposition<'_> {
    pub(super) fn counter<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        series: &[([Pair<'_>; N], u64)],
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, total) in series {
            if N == 0 {
                metric.encode_counter::<NoLabelSet, _, u64>(total, None)?;
            } else {
                let mut family = metric.encode_family(labels)?;
                family.encode_counter::<NoLabelSet, _, u64>(total, None)?;
            }
        }
        Ok(())
    }

    pub(super) fn gauge<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        series: &[([Pair<'_>; N], u64)],
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in series {
            if N == 0 {
                metric.encode_gauge(value)?;
            } else {
                metric.encode_family(labels)?.encode_gauge(value)?;
            }
        }
        Ok(())
    }

    /// Like [`Self::gauge`], with as many labels as there are.
    pub(super) fn gauges(
        &mut self,
        name: &str,
        help: &str,
        series: &[(Vec<Pair<'_>>, u64)],
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in series {
            metric.encode_family(&labels.as_slice())?.encode_gauge(value)?;
        }
        Ok(())
    }

    /// Like [`Self::counter`], with as many labels as there are.
    pub(super) fn counters(
        &mut self,
        name: &str,
        help: &str,
        series: &[(Vec<Pair<'_>>, u64)],
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, total) in series {
            let labels = labels.as_slice();
            let mut family = metric.encode_family(&labels)?;
            family.encode_counter::<NoLabelSet, _, u64>(total, None)?;
        }
        Ok(())
    }

    pub(super) fn info(&mut self, name: &str, help: &str, labels: [Pair<'_>; 1]) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(&labels)
    }

    pub(super) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        series: &[([Pair<'_>; 1], Sum)],
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, sum) in series {
            metric.encode_family(labels)?.encode_histogram::<NoLabelSet>(
                sum.seconds(),
                sum.count(),
                &sum.buckets(),
                None,
            )?;
        }
        Ok(())
    }
}
