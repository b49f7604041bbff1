//! The metrics of what listeners need beside SPIFFE, as they are at a scrape.

use std::time::{SystemTime, UNIX_EPOCH};

use super::outside::Outside;
use super::switches::{Switches, word};
use crate::telemetry::metrics::{Kind, Told};
use crate::tls::Context;
use crate::token::KeysState;

type Labels = Vec<(&'static str, String)>;

/// Nothing where nothing of the kind is configured.
pub(super) fn figures(outside: &Outside, switches: &Switches, context: &Context) -> Vec<Told> {
    let mut told = ways_out(outside, switches, context);
    told.extend(tokens(outside));
    told.extend(keys(outside));
    told.extend(certificates(outside));
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

fn gauge(name: &'static str, help: &'static str, series: Vec<(Labels, u64)>) -> Told {
    Told { name, help, kind: Kind::Gauge, series }
}

fn counter(name: &'static str, help: &'static str, series: Vec<(Labels, u64)>) -> Told {
    Told { name, help, kind: Kind::Counter, series }
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
