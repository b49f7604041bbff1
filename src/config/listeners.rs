//! `inbound` and `outbound`: one listener at a time, and the names of all.

use std::collections::BTreeMap;
use std::time::Duration;

use spiffe::SpiffeId;

use super::file::{
    ApplicationFile, ExpectFile, InboundFile, LimitsFile, MethodOfProof, OutboundFile, ProtocolFile,
};
use super::problems::{Problems, shown};
use super::routes::{self, each};
use super::tree::Place;
use super::values;
use super::{Inbound, Outbound, Required};
use crate::net::{Listen, Target};
use crate::proxy::{Limits, Protocol, Speaks};

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
    names: &mut Names,
    problems: &mut Problems,
) -> Option<Inbound> {
    let listen = file
        .listen
        .as_deref()
        .and_then(|text| at.key("listen").accept(problems, values::listen(text)));
    let forward_to = forward_to(file, at, problems);
    let limits = limits(file.limits.as_ref(), &at.key("limits"), problems);
    methods_of_proof(file.accept.as_deref(), &at.key("accept"), problems);
    let trust_forwarded_from = trusted_proxies(file, at, problems);
    let terms = file.protocol.and_then(|protocol| match protocol {
        ProtocolFile::Http => http_terms(file, at, problems),
        ProtocolFile::Tcp => tcp_terms(file, at, problems),
    });

    let listen = listen?;
    let name = match &file.name {
        Some(name) => name.clone(),
        None => names.derive("inbound", &listen, at),
    };
    let Terms { protocol, speaks, routes, required } = terms?;
    Some(Inbound {
        name,
        listen,
        forward_to: forward_to?,
        protocol,
        speaks,
        routes,
        required,
        trust_forwarded_from: trust_forwarded_from?,
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

/// What depends on the protocol.
struct Terms {
    protocol: Protocol,
    speaks: Speaks,
    routes: Vec<super::Route>,
    required: Option<Required>,
}

fn http_terms(file: &InboundFile, at: &Place<'_>, problems: &mut Problems) -> Option<Terms> {
    for (key, given) in [("scopes", file.scopes.is_some()), ("any_of", file.any_of.is_some())] {
        if given {
            let hint =
                "move it to each of the `routes`; a whole listener has it with `protocol: tcp`";
            at.key(key).report(problems, "does not go with `protocol: http`", hint);
        }
    }
    let place = at.key("routes");
    let list = file.routes.as_deref().unwrap_or_default();
    if list.is_empty() && !place.is_faulty() {
        let hint = "declare at least one, such as `{ path: /users, methods: [GET], \
                    scopes: [users:read] }`";
        place.report(problems, "has no route, so every request would be refused", hint);
    }
    let routes = routes::routes(list, &place, problems);
    let speaks = match file.application? {
        ApplicationFile::Same => Speaks::Same,
        ApplicationFile::Http1 => Speaks::Http1,
        ApplicationFile::Http2 => Speaks::Http2,
    };
    Some(Terms { protocol: Protocol::Http, speaks, routes, required: None })
}

fn tcp_terms(file: &InboundFile, at: &Place<'_>, problems: &mut Problems) -> Option<Terms> {
    if file.routes.is_some() {
        let hint = "put the scopes a connection needs into `scopes`, or use `protocol: http`";
        at.key("routes").report(problems, "do not go with `protocol: tcp`", hint);
    }
    if !matches!(file.application, None | Some(ApplicationFile::Same)) {
        let hint = "remove it; bytes pass as they come";
        at.key("application").report(problems, "does not go with `protocol: tcp`", hint);
    }
    let none = "add `scopes: [resource:action]`: what a caller needs to connect";
    let required =
        routes::required(file.scopes.as_deref(), file.any_of.as_deref(), at, none, problems);
    Some(Terms {
        protocol: Protocol::Tcp,
        speaks: Speaks::Same,
        routes: Vec::new(),
        required: Some(required?),
    })
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

/// Whom the trust domains of `expect` may belong to.
pub(super) struct Trust<'a> {
    pub own: Option<&'a SpiffeId>,
    pub federates_with: &'a [spiffe::TrustDomain],
    /// `false` when `identity` has problems of its own: then nothing is said of trust domains.
    pub known: bool,
}

pub(super) fn outbound(
    file: &OutboundFile,
    at: &Place<'_>,
    trust: &Trust<'_>,
    names: &mut Names,
    problems: &mut Problems,
) -> Option<Outbound> {
    let listen = local_listen(file, at, problems);
    let connect_to = file
        .connect_to
        .as_deref()
        .and_then(|text| at.key("connect_to").accept(problems, values::destination(text)));
    let expect = expect(file.expect.as_ref(), &at.key("expect"), trust, problems);
    let host =
        file.host.as_deref().map(|text| at.key("host").accept(problems, values::authority(text)));
    let limits = limits(file.limits.as_ref(), &at.key("limits"), problems);
    methods_of_proof(file.authenticate_with.as_deref(), &at.key("authenticate_with"), problems);
    let protocol = match file.protocol? {
        ProtocolFile::Http => Protocol::Http,
        ProtocolFile::Tcp => Protocol::Tcp,
    };
    if protocol == Protocol::Tcp && host.is_some() {
        let hint = "remove it; bytes pass as they come";
        at.key("host").report(problems, "does not go with `protocol: tcp`", hint);
    }

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
        host,
        limits: limits?,
    })
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
    file: Option<&ExpectFile>,
    at: &Place<'_>,
    trust: &Trust<'_>,
    problems: &mut Problems,
) -> Option<Vec<SpiffeId>> {
    let ids = match file? {
        ExpectFile::One(text) => vec![at.accept(problems, values::workload_id(text))?],
        ExpectFile::Several(list) if list.is_empty() => {
            let hint = "name at least one, such as `spiffe://example.org/prod/billing`";
            at.report(problems, "is empty, so no destination could be right", hint);
            return None;
        }
        ExpectFile::Several(list) => each(list, at, problems, values::workload_id)?,
    };
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
            let place = match file? {
                ExpectFile::One(_) => at.clone(),
                ExpectFile::Several(_) => at.item(index),
            };
            let message = format!("trust domain `{domain}` is not ours and not federated with");
            let hint = format!("add `{domain}` to `identity.federates_with`");
            place.report(problems, message, hint);
        }
    }
    Some(ids)
}

/// `[spiffe]` is all there is; an empty list would let nobody in, or prove nothing.
fn methods_of_proof(
    list: Option<&[Option<MethodOfProof>]>,
    at: &Place<'_>,
    problems: &mut Problems,
) {
    let list = list.unwrap_or_default();
    if list.is_empty() && !at.is_faulty() {
        at.report(problems, "is empty", "write `[spiffe]`, or leave the key out");
    } else if list.iter().flatten().count() > 1 {
        at.report(problems, "lists the same thing twice", "write `[spiffe]`");
    }
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

/// A duration that is not zero.
pub(super) fn period(
    text: Option<&str>,
    at: &Place<'_>,
    problems: &mut Problems,
) -> Option<Duration> {
    let text = text?;
    let duration = at.accept(problems, values::duration(text))?;
    if duration.is_zero() {
        let hint = "give it a length, such as `10s`; there is no way to switch it off";
        at.report(problems, format!("{} would leave no time at all", shown(text)), hint);
        return None;
    }
    Some(duration)
}

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
