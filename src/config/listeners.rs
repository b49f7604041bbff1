//! `inbound` and `outbound`: one listener at a time, and the names of all.

use std::collections::BTreeMap;
use std::time::Duration;

use spiffe::SpiffeId;

use super::file::{InboundFile, LimitsFile, OutboundFile, ProtocolFile};
use super::file_values::OneOrSeveral;
use super::jwt::Tokens;
use super::problems::{Problems, shown};
use super::proof;
use super::reading::{Surroundings, each, one_or_several, period};
use super::terms::{self, Terms};
use super::tree::Place;
use super::values;
use super::{Inbound, Outbound};
use crate::identity::Settings;
use crate::net::{Listen, Target};
use crate::proxy::{Limits, Protocol};

/// Names of listeners: logs, metrics and the audit log tell them apart by nothing else.
#[derive(Default)]
pub(super) struct Names {
    taken: BTreeMap<String, String>,
}

impl Names {
    /// Claims a name that the operator gave.
    pub(super) fn claim(&mut self, name: &str, at: &Place<'_>, problems: &mut Problems) {
        if let Some(first) = self.taken.get(name) {
            let message = format!("{} is the name of {first} already", shown(name));
            at.report(problems, message, "give each listener a name of its own");
            return;
        }
        self.taken.insert(name.to_owned(), at.path().trim_end_matches(".name").to_owned());
    }

    /// Finds a name for a listener that has none.
    fn derive(&mut self, direction: &str, listen: &Listen, at: &Place<'_>) -> String {
        let tail = match listen {
            Listen::Tcp(address) => address.port().to_string(),
            Listen::Unix(path) => path
                .file_stem()
                .map(|stem| stem.to_string_lossy().to_ascii_lowercase())
                .unwrap_or_default()
                .chars()
                .map(|it| if it.is_ascii_alphanumeric() { it } else { '-' })
                .take(40)
                .collect(),
        };
        let base = format!("{direction}-{tail}");
        let mut name = base.clone();
        let mut number = 2_usize;
        while self.taken.contains_key(&name) {
            name = format!("{base}-{number}");
            number = number.saturating_add(1);
        }
        self.taken.insert(name.clone(), at.path().to_owned());
        name
    }
}

pub(super) fn inbound(
    file: &InboundFile,
    at: &Place<'_>,
    around: &Around<'_>,
    names: &mut Names,
    problems: &mut Problems,
) -> Option<Inbound> {
    let listen = file
        .listen
        .as_deref()
        .and_then(|text| at.key("listen").accept(problems, values::listen(text)));
    let forward_to = forward_to(file, at, problems);
    let limits = limits(file.limits.as_ref(), &at.key("limits"), problems);
    let proof = proof::inbound(file, at, around.surroundings, around.tokens, problems);
    let trust_forwarded_from = trusted_proxies(file, at, problems);
    let terms = terms::of(file, at, around.surroundings, problems);

    let listen = listen?;
    let name = match &file.name {
        Some(name) => name.clone(),
        None => names.derive("inbound", &listen, at),
    };
    let Terms { protocol, speaks, routes, notes, required } = terms?;
    let (accept, certificate) = proof?;
    let multiplex = multiplex(file.multiplex, protocol, &at.key("multiplex"), problems);
    Some(Inbound {
        name,
        listen,
        forward_to: forward_to?,
        protocol,
        speaks,
        routes,
        notes,
        required,
        trust_forwarded_from: trust_forwarded_from?,
        multiplex,
        accept,
        certificate,
        limits: limits?,
    })
}

fn trusted_proxies(
    file: &InboundFile,
    at: &Place<'_>,
    problems: &mut Problems,
) -> Option<Vec<SpiffeId>> {
    let Some(list) = file.trust_forwarded_from.as_deref().filter(|list| !list.is_empty()) else {
        return Some(Vec::new());
    };
    each(list, &at.key("trust_forwarded_from"), problems, values::workload_id)
}

fn forward_to(file: &InboundFile, at: &Place<'_>, problems: &mut Problems) -> Option<Target> {
    let text = file.forward_to.as_deref()?;
    let at = at.key("forward_to");
    let application = at.accept(problems, values::application(text))?;
    if let Target::Tcp(address) = &application
        && !address.ip().is_loopback()
        && file.danger_forward_to_network != Some(true)
    {
        let hint = format!(
            "the hop to the application is plaintext; use `127.0.0.1:{}` or `unix:/path`, or say \
             `danger_forward_to_network: true`",
            address.port()
        );
        at.report(problems, format!("{} is not on this machine", shown(text)), hint);
        return None;
    }
    Some(application)
}

/// What listeners are judged by besides themselves.
pub(super) struct Around<'a> {
    pub surroundings: &'a Surroundings<'a>,
    pub tokens: &'a Tokens,
    pub trust: Trust<'a>,
}

/// Whom the trust domains of `expect` may belong to.
pub(super) struct Trust<'a> {
    own: Option<&'a SpiffeId>,
    federates_with: &'a [spiffe::TrustDomain],
    /// `false` when `identity` has problems of its own: then nothing is said of trust domains.
    known: bool,
}

impl<'a> Trust<'a> {
    /// Of what `identity` came to: `None` where it has problems of its own.
    pub(super) fn of(identity: Option<&'a Option<Settings>>) -> Self {
        let settings = identity.and_then(Option::as_ref);
        Self {
            own: settings.and_then(|it| it.spiffe_id.as_ref()),
            federates_with: settings.map(|it| it.federates_with.as_slice()).unwrap_or_default(),
            known: identity.is_some(),
        }
    }
}

pub(super) fn outbound(
    file: &OutboundFile,
    at: &Place<'_>,
    around: &Around<'_>,
    names: &mut Names,
    problems: &mut Problems,
) -> Option<Outbound> {
    let listen = local_listen(file, at, problems);
    let connect_to = file
        .connect_to
        .as_deref()
        .and_then(|text| at.key("connect_to").accept(problems, values::destination(text)));
    let (surroundings, tokens) = (around.surroundings, around.tokens);
    let proof = proof::outbound(file, at, connect_to.as_ref(), surroundings, tokens, problems);
    let spiffe = proof.as_ref().map(|it| it.spiffe);
    let expect = expect(file, spiffe, &at.key("expect"), &around.trust, problems);
    let host =
        file.host.as_deref().map(|text| at.key("host").accept(problems, values::authority(text)));
    let limits = limits(file.limits.as_ref(), &at.key("limits"), problems);
    let protocol = match file.protocol? {
        ProtocolFile::Http => Protocol::Http,
        ProtocolFile::Tcp => Protocol::Tcp,
    };
    if protocol == Protocol::Tcp && host.is_some() {
        let hint = "remove it; bytes pass as they come";
        at.key("host").report(problems, "does not go with `protocol: tcp`", hint);
    }
    let multiplex = multiplex(file.multiplex, protocol, &at.key("multiplex"), problems);

    let listen = listen?;
    let name = match &file.name {
        Some(name) => name.clone(),
        None => names.derive("outbound", &listen, at),
    };
    let host = match host {
        Some(given) => Some(given?),
        None => None,
    };
    Some(Outbound {
        name,
        listen,
        protocol,
        connect_to: connect_to?,
        expect: expect?,
        fallback: proof?.fallback,
        multiplex,
        host,
        limits: limits?,
    })
}

fn multiplex(
    asked: Option<bool>,
    protocol: Protocol,
    at: &Place<'_>,
    problems: &mut Problems,
) -> bool {
    let asked = asked == Some(true);
    if asked && protocol == Protocol::Http {
        let hint = "remove it; requests share connections anyway";
        at.report(problems, "does not go with `protocol: http`", hint);
    }
    asked
}

fn local_listen(file: &OutboundFile, at: &Place<'_>, problems: &mut Problems) -> Option<Listen> {
    let text = file.listen.as_deref()?;
    let at = at.key("listen");
    let listen = at.accept(problems, values::listen(text))?;
    if let Listen::Tcp(address) = &listen
        && !address.ip().is_loopback()
        && file.danger_listen_on_network != Some(true)
    {
        let hint = format!(
            "whoever connects here acts in our name; use `127.0.0.1:{}` or `unix:/path`, or say \
             `danger_listen_on_network: true`",
            address.port()
        );
        at.report(problems, format!("{} is open to other machines", shown(text)), hint);
        return None;
    }
    Some(listen)
}

fn expect(
    file: &OutboundFile,
    spiffe: Option<bool>,
    at: &Place<'_>,
    trust: &Trust<'_>,
    problems: &mut Problems,
) -> Option<Vec<SpiffeId>> {
    if spiffe == Some(false) {
        if at.is_written() {
            let hint = "remove it; the server is known by name: `server: { name: ... }`";
            at.report(problems, "means nothing without `spiffe` in `authenticate_with`", hint);
        }
        return Some(Vec::new());
    }
    let Some(file) = &file.expect else {
        if spiffe == Some(true) && !at.is_faulty() {
            let hint = "add it, such as `expect: spiffe://example.org/prod/billing`";
            at.report(problems, "is missing", hint);
        }
        return None;
    };
    let empty = (
        "is empty, so no destination could be right",
        "name at least one, such as `spiffe://example.org/prod/billing`",
    );
    let ids = one_or_several(Some(file), at, empty, problems, values::workload_id)?;
    if !trust.known {
        return Some(ids);
    }
    let mut own = trust.own.map(SpiffeId::trust_domain);
    for (index, id) in ids.iter().enumerate() {
        let domain = id.trust_domain();
        if trust.federates_with.contains(domain) {
            continue;
        }
        // As long as nobody said which trust domain is ours, one may be.
        let ours = *own.get_or_insert(domain);
        if ours != domain {
            let place = match file {
                OneOrSeveral::One(_) => at.clone(),
                OneOrSeveral::Several(_) => at.item(index),
            };
            let message = format!("trust domain `{domain}` is not ours and not federated with");
            let hint = format!("add `{domain}` to `identity.federates_with`");
            place.report(problems, message, hint);
        }
    }
    Some(ids)
}

fn limits(file: Option<&LimitsFile>, at: &Place<'_>, problems: &mut Problems) -> Option<Limits> {
    let file = file?;
    let mut time =
        |key: &str, text: &Option<String>| period(text.as_deref(), &at.key(key), problems);
    let header_read = time("header_read", &file.header_read);
    let handshake = time("handshake", &file.handshake);
    let connect = time("connect", &file.connect);
    let request = time("request", &file.request);
    let idle = time("idle", &file.idle);
    let connection_age = time("connection_age", &file.connection_age);
    let header_bytes = header_bytes(file.headers.as_deref(), &at.key("headers"), problems);
    Some(Limits {
        connections: usize::try_from(file.connections?).ok()?,
        streams: u32::try_from(file.streams?).ok()?,
        header_bytes: header_bytes?,
        header_count: usize::try_from(file.header_count?).ok()?,
        header_read: header_read?,
        handshake: handshake?,
        connect: connect?,
        request: request?,
        idle: idle?,
        upstream_idle: UPSTREAM_IDLE.min(idle?),
        connection_age: connection_age?,
    })
}

/// How long a connection to the application or a destination is kept without use. Shorter than
/// what most servers allow, so that they seldom close one just as it is used.
const UPSTREAM_IDLE: Duration = Duration::from_secs(55);

fn header_bytes(text: Option<&str>, at: &Place<'_>, problems: &mut Problems) -> Option<usize> {
    /// What the HTTP/1.1 parser needs to read at all, and what no honest caller reaches.
    const BOUNDS: std::ops::RangeInclusive<usize> = 8 * 1024..=1024 * 1024;
    let text = text?;
    let bytes = at.accept(problems, values::size(text))?;
    if !BOUNDS.contains(&bytes) {
        at.report(problems, format!("{} is out of range", shown(text)), "from 8KiB to 1MiB");
        return None;
    }
    Some(bytes)
}
