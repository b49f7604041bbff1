//! Metrics that are told as a whole at each scrape: few series, whose labels the configuration
//! bounds.

use std::fmt;

use super::exposition::{Exposition, Pair};

/// One metric with all its series.
#[derive(Debug, Clone)]
pub struct Told {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    /// Labels and value; the labels' keys are the same in each.
    pub series: Vec<(Vec<(&'static str, String)>, u64)>,
}

/// What a scraper may do with the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Gauge,
    /// Only ever grows. The name is without `_total`.
    Counter,
}

impl Told {
    pub(super) fn write(&self, out: &mut Exposition<'_>) -> fmt::Result {
        let series: Vec<(Vec<Pair<'_>>, u64)> = self
            .series
            .iter()
            .map(|(own, value)| {
                (own.iter().map(|(key, value)| (*key, value.as_str())).collect(), *value)
            })
            .collect();
        match self.kind {
            Kind::Gauge => out.gauges(self.name, self.help, &series),
            Kind::Counter => out.counters(self.name, self.help, &series),
        }
    }
}
