//! The shadow policy at work: where its decisions are counted, and how it stands with it.

use std::sync::Arc;

use anyhow::Context as _;

use crate::config::Config;
use crate::live::Live;
use crate::policy::PolicyStatus;
use crate::proxy::{InboundSettings, ShadowedListener, Shadowing};
use crate::telemetry::metrics::{Kind, Told};

/// `None` where no shadow policy is configured.
pub(super) fn start(
    config: &Config,
    inbound: &[Arc<InboundSettings>],
) -> anyhow::Result<Option<Shadowing>> {
    if config.shadow.is_none() {
        return Ok(None);
    }
    let listeners = inbound.iter().map(|listener| {
        let routes = listener.routes.routes().iter().chain(&listener.stream);
        let routes = routes.map(|route| Arc::clone(route.name())).collect();
        ShadowedListener { name: Arc::clone(&listener.name), routes }
    });
    let shadowing = Shadowing::start(listeners.collect());
    shadowing.map(Some).context("cannot start the shadow policy's thread")
}

/// Nothing where no shadow policy is configured.
pub(super) fn figures(
    status: Option<&Live<PolicyStatus>>,
    shadowing: Option<&Shadowing>,
) -> Vec<Told> {
    let (Some(status), Some(shadowing)) = (status, shadowing) else { return Vec::new() };
    let status = status.load();
    let counts = shadowing.counts().into_iter().map(|it| {
        let labels = vec![
            ("listener", it.listener.to_string()),
            ("route", it.route.to_string()),
            ("outcome", it.outcome.to_owned()),
        ];
        (labels, it.count)
    });
    let revision = status.revision.iter();
    let revision = revision.map(|it| (vec![("revision", it.to_string())], 1)).collect();
    let mut told = vec![
        Told {
            name: "sidegate_shadow_decisions",
            help: "What the shadow policy would have decided, beside what was decided.",
            kind: Kind::Counter,
            series: counts.collect(),
        },
        Told {
            name: "sidegate_shadow_policy",
            help: "1 for the shadow policy that is asked.",
            kind: Kind::Gauge,
            series: revision,
        },
    ];
    told.retain(|told| !told.series.is_empty());
    told
}
