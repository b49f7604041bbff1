//! Adds the workers' counters up and writes each metric out.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::control::{Control, unix_seconds};
use super::exposition::{Exposition, Pair};
use super::histogram::{Bounds, DECISION, Histogram, REQUEST, Sum};
use super::worker::{Listener, WorkerMetrics};
use super::{ConnectionResult, Flow, Sums, UpstreamResult, process};

/// Reads [`Sums`] whenever the registry is encoded.
#[derive(Debug)]
pub(super) struct Collect(pub(super) Arc<Sums>);

impl Collector for Collect {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let workers = self.0.workers().clone();
        let totals = Totals { sums: &self.0, workers: &workers };
        let out = &mut Exposition(encoder);
        totals.requests(out)?;
        totals.connections(out)?;
        totals.upstreams(out)?;
        totals.audit(out)?;
        totals.control(out, &self.0.control)?;
        self.0.control.told().iter().try_for_each(|told| told.write(out))?;
        totals.process(out)
    }
}

/// All workers at one moment.
struct Totals<'a> {
    sums: &'a Sums,
    workers: &'a [Arc<WorkerMetrics>],
}

impl Totals<'_> {
    fn requests(&self, out: &mut Exposition<'_>) -> fmt::Result {
        let mut requests = Vec::new();
        for (place, label) in self.sums.labels.listeners.iter().enumerate() {
            let totals = self.codes(place, self.sums.labels.outcomes, |it| &it.requests);
            for (outcome, total) in totals {
                let direction = label.direction.as_str();
                let labels = [
                    ("listener", label.name.as_str()),
                    ("direction", direction),
                    ("outcome", outcome),
                ];
                requests.push((labels, total));
            }
        }
        out.counter(
            "sidegate_requests",
            "Requests and opaque streams, by how they were answered.",
            &requests,
        )?;
        self.histogram(
            out,
            "sidegate_request_duration_seconds",
            "Time from a request's head to its response's head.",
            REQUEST,
            |it| &it.request_duration,
        )?;
        self.histogram(
            out,
            "sidegate_decision_duration_seconds",
            "Time to decide on a request.",
            DECISION,
            |it| &it.decision_duration,
        )?;
        let across = self.by_listener(|place| {
            self.total(place, |listener| listener.cross_tenant.load(Ordering::Relaxed))
        });
        out.counter(
            "sidegate_cross_tenant_uses",
            "Requests let in by a right to reach into another tenant.",
            &across,
        )?;
        let hits = self.sum(|worker| &worker.grant_hits);
        out.counter(
            "sidegate_grant_cache_hits",
            "Identities whose grant was known.",
            &[([], hits)],
        )?;
        let misses = self.sum(|worker| &worker.grant_misses);
        out.counter(
            "sidegate_grant_cache_misses",
            "Identities whose grant the policy was asked for.",
            &[([], misses)],
        )
    }

    fn connections(&self, out: &mut Exposition<'_>) -> fmt::Result {
        let open = self.by_listener(|place| self.total(place, Listener::open));
        out.gauge("sidegate_connections_open", "Connections open now.", &open)?;
        let results = self.by_kind(
            "result",
            &ConnectionResult::ALL.map(ConnectionResult::as_str),
            |listener| &listener.connections,
        );
        out.counter(
            "sidegate_connections",
            "Connections taken from the kernel, by how they began.",
            &results,
        )?;
        let codes = self.sums.labels.handshake_codes;
        let mut failures = Vec::new();
        for (place, label) in self.sums.labels.listeners.iter().enumerate() {
            for (code, total) in self.codes(place, codes, |it| &it.handshake_failures) {
                failures.push(([("listener", label.name.as_str()), ("code", code)], total));
            }
        }
        out.counter(
            "sidegate_handshake_failures",
            "TLS handshakes that failed, by cause.",
            &failures,
        )?;
        let flows = self.by_kind("flow", &Flow::ALL.map(Flow::as_str), |it| &it.bytes);
        out.counter(
            "sidegate_bytes",
            "Payload bytes received from and sent to those who connected to us.",
            &flows,
        )
    }

    fn upstreams(&self, out: &mut Exposition<'_>) -> fmt::Result {
        let results =
            self.by_kind("result", &UpstreamResult::ALL.map(UpstreamResult::as_str), |listener| {
                &listener.upstreams
            });
        out.counter(
            "sidegate_upstream_connections",
            "New connections to upstreams, by how they went.",
            &results,
        )?;
        let open = self.workers.iter().map(|worker| worker.upstreams_open()).sum();
        out.gauge(
            "sidegate_upstream_connections_open",
            "Connections to upstreams open now.",
            &[([], open)],
        )
    }

    fn audit(&self, out: &mut Exposition<'_>) -> fmt::Result {
        let Some(audit) = self.sums.audit.get() else {
            return Ok(());
        };
        out.counter(
            "sidegate_audit_lines",
            "Audit lines that their destination has taken.",
            &[([], audit.lines())],
        )?;
        out.counter(
            "sidegate_audit_write_errors",
            "Attempts to write audit lines that failed; the lines were kept.",
            &[([], audit.errors())],
        )
    }

    fn control(&self, out: &mut Exposition<'_>, control: &Control) -> fmt::Result {
        let reloads = control.policy_reloads().map(|(result, total)| ([("result", result)], total));
        out.counter("sidegate_policy_reloads", "Candidate policies, by their fate.", &reloads)?;
        if let Some(revision) = control.revision() {
            out.info("sidegate_policy", "The policy in force.", [("revision", &revision)])?;
        }
        if let Some(expiry) = control.svid_expiry() {
            out.gauge(
                "sidegate_svid_not_after_timestamp_seconds",
                "When the SVID in use runs out, in seconds since 1970.",
                &[([], expiry)],
            )?;
        }
        out.counter(
            "sidegate_svid_rotations",
            "SVIDs that replaced another.",
            &[([], control.svid_rotations())],
        )?;
        let states: Vec<_> = control
            .agent_states
            .iter()
            .enumerate()
            .map(|(place, state)| ([("state", *state)], u64::from(control.is_agent_state(place))))
            .collect();
        out.gauge(
            "sidegate_agent_state",
            "1 for the SPIFFE agent's state, 0 for others.",
            &states,
        )?;
        out.counter(
            "sidegate_agent_disconnects",
            "Times the SPIFFE agent's stream was lost.",
            &[([], control.agent_disconnects())],
        )
    }

    /// Under the names that every Prometheus client uses, so that ready-made dashboards work.
    fn process(&self, out: &mut Exposition<'_>) -> fmt::Result {
        let version = self.sums.labels.version;
        out.info("sidegate_build", "This program.", [("version", version)])?;
        out.gauge(
            "process_start_time_seconds",
            "When the process started, in seconds since 1970.",
            &[([], unix_seconds(self.sums.started))],
        )?;
        if let Some(bytes) = process::resident_memory() {
            out.gauge("process_resident_memory_bytes", "Memory in use.", &[([], bytes)])?;
        }
        if let Some(files) = process::open_files() {
            out.gauge("process_open_fds", "Open file descriptors.", &[([], files)])?;
        }
        Ok(())
    }

    /// Each code with its total; the last one, for codes not listed, only once it has happened.
    fn codes<'l>(
        &self,
        place: usize,
        codes: &'l [&'l str],
        counters: impl Fn(&Listener) -> &[AtomicU64],
    ) -> Vec<(&'l str, u64)> {
        let mut totals: Vec<_> =
            codes.iter().map(|code| (*code, 0)).chain([("other", 0)]).collect();
        for listener in self.workers.iter().filter_map(|worker| worker.listeners.get(place)) {
            for ((_, total), counter) in totals.iter_mut().zip(counters(listener)) {
                *total += counter.load(Ordering::Relaxed);
            }
        }
        totals.pop_if(|(_, total)| *total == 0);
        totals
    }

    fn by_kind(
        &self,
        key: &'static str,
        kinds: &[&'static str],
        counters: impl Fn(&Listener) -> &[AtomicU64],
    ) -> Vec<([Pair<'_>; 2], u64)> {
        let listeners = self.sums.labels.listeners.iter().enumerate();
        listeners
            .flat_map(|(place, label)| {
                let totals = kinds.iter().enumerate().map(|(kind, name)| {
                    let total = self.total(place, |listener| {
                        counters(listener).get(kind).map_or(0, |it| it.load(Ordering::Relaxed))
                    });
                    ([("listener", label.name.as_str()), (key, *name)], total)
                });
                totals.collect::<Vec<_>>()
            })
            .collect()
    }

    fn by_listener(&self, total: impl Fn(usize) -> u64) -> Vec<([Pair<'_>; 1], u64)> {
        let listeners = self.sums.labels.listeners.iter().enumerate();
        listeners
            .map(|(place, label)| ([("listener", label.name.as_str())], total(place)))
            .collect()
    }

    fn total(&self, place: usize, value: impl Fn(&Listener) -> u64) -> u64 {
        self.workers.iter().filter_map(|worker| worker.listeners.get(place)).map(value).sum()
    }

    fn sum(&self, counter: impl Fn(&WorkerMetrics) -> &AtomicU64) -> u64 {
        self.workers.iter().map(|worker| counter(worker).load(Ordering::Relaxed)).sum()
    }

    fn histogram(
        &self,
        out: &mut Exposition<'_>,
        name: &str,
        help: &str,
        bounds: &'static Bounds,
        part: impl Fn(&Listener) -> &Histogram,
    ) -> fmt::Result {
        let listeners = self.sums.labels.listeners.iter().enumerate();
        let sums: Vec<_> = listeners
            .map(|(place, label)| {
                let parts = self.workers.iter().filter_map(|worker| worker.listeners.get(place));
                ([("listener", label.name.as_str())], Sum::of(bounds, parts.map(&part)))
            })
            .collect();
        out.histogram(name, help, &sums)
    }
}
