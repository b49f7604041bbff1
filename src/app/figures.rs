//! The metrics of policies, and of what listeners need beside SPIFFE, as they are at a scrape.

use std::time::{SystemTime, UNIX_EPOCH};

use super::outside::Outside;
use super::policies::Policies;
use super::switches::{Switches, word};
use crate::live::Live;
use crate::opa::BundleStatus;
use crate::policy::{Aside, Lane, Revoker};
use crate::telemetry::metrics::{Kind, Told};
use crate::tls::Context;
use crate::token::KeysState;

pub(super) type Labels = Vec<(&'static str, String)>;

/// What is decided by, beside the policy itself.
#[derive(Debug, Clone)]
pub(super) struct RulesInUse {
    pub(super) revoker: Revoker,
    pub(super) aside: Aside,
}

impl RulesInUse {
    pub(super) fn figures(&self) -> Vec<Told> {
        let (asked, refused) = self.aside.counts();
        let result = |word: &str| vec![("result", word.to_owned())];
        let held = u64::try_from(self.revoker.count()).unwrap_or(u64::MAX);
        vec![
            counter(
                "sidegate_policy_evaluations_aside",
                "Questions too slow for a worker, asked beside it or refused for want of room.",
                vec![(result("asked"), asked), (result("refused"), refused)],
            ),
            gauge(
                "sidegate_runtime_revocations",
                "Entries revoked at run time.",
                vec![(Vec::new(), held)],
            ),
        ]
    }
}

/// Nothing where nothing of the kind is configured.
pub(super) fn figures<'b>(
    outside: &Outside,
    switches: &Switches,
    context: &Context,
    bundles: impl Iterator<Item = &'b Live<BundleStatus>>,
) -> Vec<Told> {
    let mut told = ways_out(outside, switches, context);
    told.extend(tokens(outside));
    told.extend(keys(outside));
    told.extend(certificates(outside));
    told.extend(self::bundles(bundles));
    told.retain(|told| !told.series.is_empty());
    told
}

/// How it stands with the policies that are followed.
pub(super) fn of_policies(policies: &Policies) -> Vec<Told> {
    let (mut loaded, mut refused) = (Vec::new(), Vec::new());
    let lanes =
        [(Lane::Enforced, Some(&policies.enforced)), (Lane::Shadow, policies.shadow.as_ref())];
    for (lane, status) in lanes {
        let Some(status) = status.map(Live::load) else { continue };
        let labels: Labels = vec![("lane", lane.as_str().to_owned())];
        if let Some(at) = status.loaded_at {
            loaded.push((labels.clone(), unix_seconds(at)));
        }
        refused.push((labels, u64::from(status.last_error.is_some())));
    }
    let mut told = vec![
        gauge(
            "sidegate_policy_loaded_timestamp_seconds",
            "When the policy in force came into force, in seconds since 1970.",
            loaded,
        ),
        gauge(
            "sidegate_policy_candidate_refused",
            "1 while what is offered as policy is not in force, 0 otherwise.",
            refused,
        ),
    ];
    told.retain(|told| !told.series.is_empty());
    told
}

fn ways_out(outside: &Outside, switches: &Switches, context: &Context) -> Vec<Told> {
    let now = SystemTime::now();
    let mut methods = Vec::new();
    for ways in outside.outbound.iter().filter(|ways| ways.by_token.is_some()) {
        let way = word(ways.now(context, now));
        for method in ["spiffe", "jwt", "none"] {
            let labels = vec![("listener", ways.name.clone()), ("method", method.to_owned())];
            methods.push((labels, u64::from(method == way)));
        }
    }
    let counts = switches.counts().into_iter();
    let counts =
        counts.map(|(name, to, count)| (vec![("listener", name), ("to", to.to_owned())], count));
    vec![
        gauge(
            "sidegate_outbound_method",
            "1 for how calls prove themselves now, 0 for others.",
            methods,
        ),
        counter(
            "sidegate_outbound_method_switches",
            "Times that calls came to prove themselves in another way.",
            counts.collect(),
        ),
    ]
}

fn tokens(outside: &Outside) -> Vec<Told> {
    let (mut not_after, mut renewals, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for ways in &outside.outbound {
        let Some(token) = &ways.by_token else { continue };
        let status = token.status.load();
        let labels: Labels = vec![("listener", ways.name.clone())];
        if let Some(expires) = status.expires {
            not_after.push((labels.clone(), unix_seconds(expires)));
        }
        renewals.push((labels.clone(), status.renewals));
        failures.push((labels, status.failures));
    }
    vec![
        gauge(
            "sidegate_token_not_after_timestamp_seconds",
            "When the machine token that we present runs out, in seconds since 1970.",
            not_after,
        ),
        counter("sidegate_token_renewals", "Machine tokens read or obtained.", renewals),
        counter(
            "sidegate_token_failures",
            "Attempts to read or obtain a machine token that failed.",
            failures,
        ),
    ]
}

fn keys(outside: &Outside) -> Vec<Told> {
    let (mut states, mut fetched) = (Vec::new(), Vec::new());
    for keys in &outside.keys {
        let status = keys.load();
        let of_issuer = || ("issuer", status.issuer.clone());
        for (state, word) in [
            (KeysState::Starting, "starting"),
            (KeysState::Fresh, "fresh"),
            (KeysState::Stale, "stale"),
            (KeysState::Expired, "expired"),
        ] {
            let labels = vec![of_issuer(), ("state", word.to_owned())];
            states.push((labels, u64::from(status.state == state)));
        }
        if let Some(at) = status.fetched {
            fetched.push((vec![of_issuer()], unix_seconds(at)));
        }
    }
    vec![
        gauge("sidegate_issuer_keys_state", "1 for the state of an issuer's keys.", states),
        gauge(
            "sidegate_issuer_keys_fetched_timestamp_seconds",
            "When an issuer's keys were last had, in seconds since 1970.",
            fetched,
        ),
    ]
}

fn certificates(outside: &Outside) -> Vec<Told> {
    let certificates = outside.inbound.iter().filter_map(|way| {
        let (certificate, _) = way.certificate.as_ref()?;
        let not_after = unix_seconds(certificate.load().not_after);
        Some((vec![("listener", way.name.clone())], not_after))
    });
    vec![gauge(
        "sidegate_certificate_not_after_timestamp_seconds",
        "When the certificate from files runs out, in seconds since 1970.",
        certificates.collect(),
    )]
}

fn bundles<'b>(bundles: impl Iterator<Item = &'b Live<BundleStatus>>) -> Vec<Told> {
    let (mut downloads, mut answered, mut activated) = (Vec::new(), Vec::new(), Vec::new());
    for bundle in bundles {
        let status = bundle.load();
        let of_bundle = || ("bundle", status.name.clone());
        for (result, count) in status.downloads.by_result() {
            downloads.push((vec![of_bundle(), ("result", result.to_owned())], count));
        }
        answered
            .extend(status.last_successful_request.map(|at| (vec![of_bundle()], unix_seconds(at))));
        activated.extend(
            status.last_successful_activation.map(|at| (vec![of_bundle()], unix_seconds(at))),
        );
    }
    vec![
        counter(
            "sidegate_bundle_downloads",
            "Attempts to get a bundle, by what came of it.",
            downloads,
        ),
        gauge(
            "sidegate_bundle_last_success_timestamp_seconds",
            "When a bundle was last had or known to be the same, in seconds since 1970.",
            answered,
        ),
        gauge(
            "sidegate_bundle_activated_timestamp_seconds",
            "When a bundle was last put in force, in seconds since 1970.",
            activated,
        ),
    ]
}

pub(super) fn gauge(name: &'static str, help: &'static str, series: Vec<(Labels, u64)>) -> Told {
    Told { name, help, kind: Kind::Gauge, series }
}

pub(super) fn counter(name: &'static str, help: &'static str, series: Vec<(Labels, u64)>) -> Told {
    Told { name, help, kind: Kind::Counter, series }
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
