//! From what the file says to a [`Config`]: parse, don't validate, and miss no problem.
//!
//! Works on a tree that `structure` has checked and completed. What is `None` here was reported
//! there; every value is parsed before the first `?`, so that one run shows all that is wrong.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;
use std::path::{Path, PathBuf};

use super::TlsConfig;
use super::admin;
use super::environment::Environment;
use super::file::{File, FormatFile, LevelFile, SideListenerFile};
use super::identity;
use super::jwt;
use super::listeners::{self, Around, Names, Trust};
use super::opa;
use super::problems::{Problems, shown};
use super::proof;
use super::reading::{Surroundings, period};
use super::reports;
use super::tree::{Node, Place};
use super::values;
use super::{AuditTo, Config, Inbound, Log, LogFormat, LogLevel, Outbound};
use crate::net::{Listen, Target};

/// `None` only when a problem was added.
pub(super) fn config(
    tree: &Node,
    file_name: &str,
    environment: &Environment,
    problems: &mut Problems,
) -> Option<Config> {
    let file: File = match serde_json::from_value(tree.to_value()) {
        Ok(file) => file,
        Err(error) => {
            problems.add("", &tree.origin, format!("not a configuration: {error}"), None);
            return None;
        }
    };
    let at = Place::root(tree);
    let base = Path::new(file_name).parent().unwrap_or(Path::new(""));

    let tenant = file
        .tenant
        .as_deref()
        .and_then(|text| at.key("tenant").accept(problems, values::label(text, "tenant")));
    let place = at.key("identity");
    let given = identity::is_given(&place, environment);
    let wanted =
        proof::spiffe_is_used(&file) || identity::is_written(file.identity.as_ref(), &place);
    let around = Surroundings { base, environment, no_agent: !given && !wanted };
    let tokens = jwt::jwt(file.jwt.as_ref(), &at.key("jwt"), &around, problems);
    proof::tokens_are_used(&file, &at, problems);
    let identity = if given || wanted {
        let bundles = tokens.jwt.as_ref().is_some_and(|it| it.svid.is_some());
        identity::identity(file.identity.as_ref(), &place, environment, bundles, problems).map(Some)
    } else {
        Some(None)
    };
    let decision_log = reports::decision_log(
        file.decision_log.as_ref(),
        &at.key("decision_log"),
        &around,
        problems,
    );
    let status = reports::status(file.status.as_ref(), &at.key("status"), &around, problems);
    let policies = opa::policies(&file, &at, &around, problems);
    let trust = Trust::of(identity.as_ref());
    let around = Around { surroundings: &around, tokens: &tokens, trust };
    let (inbound, outbound) = all_listeners(&file, &at, &around, problems);
    let health = side_listener(file.health.as_ref(), &at.key("health"), problems);
    let metrics = side_listener(file.metrics.as_ref(), &at.key("metrics"), problems);
    let admin = admin::admin(file.admin.as_ref(), &at.key("admin"), base, problems);
    conflicts(&file, &at, problems);
    let audit = audit(&file, &at, problems);
    let drain_timeout = file.drain.as_ref().and_then(|drain| {
        period(drain.timeout.as_deref(), &at.key("drain").key("timeout"), problems)
    });

    let (policy, shadow) = policies?;
    Some(Config {
        tenant: tenant?,
        identity: identity?,
        jwt: tokens.jwt?,
        tls: TlsConfig { allow_tls12: file.tls.as_ref()?.allow_tls12? },
        policy,
        shadow,
        inbound,
        outbound,
        health,
        metrics,
        admin: admin?,
        audit: audit?,
        decision_log: decision_log?,
        status: status?,
        log: log(&file)?,
        drain_timeout: drain_timeout?,
        workers: match file.workers {
            Some(count) => usize::try_from(count).ok()?,
            None => std::thread::available_parallelism().map_or(1, NonZero::get),
        },
    })
}

fn all_listeners(
    file: &File,
    at: &Place<'_>,
    around: &Around<'_>,
    problems: &mut Problems,
) -> (Vec<Inbound>, Vec<Outbound>) {
    let (inbound, outbound) = (at.key("inbound"), at.key("outbound"));
    let inbound_files = file.inbound.as_deref().unwrap_or_default();
    let outbound_files = file.outbound.as_deref().unwrap_or_default();
    let absent = inbound_files.is_empty() && outbound_files.is_empty();
    if absent && !inbound.is_faulty() && !outbound.is_faulty() {
        let hint = "add a listener to `inbound` or `outbound`";
        at.report(problems, "neither `inbound` nor `outbound`: nothing to do", hint);
    }

    let mut names = Names::default();
    let mut claim = |index: usize, list: &Place<'_>, name: Option<&String>| {
        let place = list.item(index).key("name");
        let name = name.and_then(|it| place.accept(problems, values::label(it, "name")));
        if let Some(name) = name {
            names.claim(&name, &place, problems);
        }
    };
    for (index, it) in inbound_files.iter().enumerate() {
        claim(index, &inbound, it.as_ref().and_then(|it| it.name.as_ref()));
    }
    for (index, it) in outbound_files.iter().enumerate() {
        claim(index, &outbound, it.as_ref().and_then(|it| it.name.as_ref()));
    }

    let inbound = inbound_files.iter().enumerate().filter_map(|(index, it)| {
        let place = inbound.item(index);
        listeners::inbound(it.as_ref()?, &place, around, &mut names, problems)
    });
    let inbound: Vec<Inbound> = inbound.collect();
    let outbound = outbound_files.iter().enumerate().filter_map(|(index, it)| {
        let place = outbound.item(index);
        listeners::outbound(it.as_ref()?, &place, around, &mut names, problems)
    });
    (inbound, outbound.collect())
}

fn side_listener(
    file: Option<&SideListenerFile>,
    at: &Place<'_>,
    problems: &mut Problems,
) -> Option<SocketAddr> {
    let text = file?.listen.as_deref()?;
    at.key("listen").accept(problems, values::tcp_listen(text))
}

/// No two listeners on one address, and no listener that forwards into ourselves. Looks at what
/// is written, since a listener with another problem takes its address all the same.
fn conflicts(file: &File, at: &Place<'_>, problems: &mut Problems) {
    let inbound = file.inbound.as_deref().unwrap_or_default().iter().enumerate();
    let outbound = file.outbound.as_deref().unwrap_or_default().iter().enumerate();
    let mut written: Vec<(Place<'_>, Option<&String>)> = Vec::new();
    for (index, it) in inbound.clone() {
        let text = it.as_ref().and_then(|it| it.listen.as_ref());
        written.push((at.key("inbound").item(index).key("listen"), text));
    }
    for (index, it) in outbound {
        let text = it.as_ref().and_then(|it| it.listen.as_ref());
        written.push((at.key("outbound").item(index).key("listen"), text));
    }
    for (name, it) in [("health", &file.health), ("metrics", &file.metrics)] {
        let text = it.as_ref().and_then(|it| it.listen.as_ref());
        written.push((at.key(name).key("listen"), text));
    }
    let text = file.admin.as_ref().and_then(|it| it.listen.as_ref());
    written.push((at.key("admin").key("listen"), text));
    let listens: Vec<(String, Listen, Place<'_>)> = written
        .into_iter()
        .filter_map(|(place, text)| {
            Some((place.path().to_owned(), values::listen(text?).ok()?, place))
        })
        .collect();

    for (index, (_, listen, place)) in listens.iter().enumerate() {
        let before = listens.iter().take(index).find(|(_, other, _)| collide(listen, other));
        if let Some((other, ..)) = before {
            let message = format!("takes the same address as {other}");
            place.report(problems, message, "give each listener a port or a path of its own");
        }
    }
    for (index, it) in inbound {
        let Some(text) = it.as_ref().and_then(|it| it.forward_to.as_deref()) else { continue };
        let target = match values::application(text) {
            Ok(Target::Tcp(address)) => Listen::Tcp(address),
            Ok(Target::Unix(path)) => Listen::Unix(path),
            Ok(Target::Name { .. }) | Err(_) => continue,
        };
        if let Some((own, ..)) = listens.iter().find(|(_, listen, _)| collide(listen, &target)) {
            let message = format!("{} is our own {own}", shown(text));
            let hint = "name the address at which the application itself listens";
            at.key("inbound").item(index).key("forward_to").report(problems, message, hint);
        }
    }
}

/// Whether both cannot be bound at once. `[::]` takes IPv4 with it, as is usual on Linux.
fn collide(one: &Listen, other: &Listen) -> bool {
    match (one, other) {
        (Listen::Unix(one), Listen::Unix(other)) => one == other,
        (Listen::Tcp(one), Listen::Tcp(other)) => {
            let every = |it: IpAddr| match it {
                IpAddr::V4(_) => false,
                IpAddr::V6(it) => it.is_unspecified(),
            };
            let same_family = one.is_ipv4() == other.is_ipv4();
            let (a, b) = (one.ip(), other.ip());
            one.port() == other.port()
                && one.port() != 0
                && (a == b
                    || every(a)
                    || every(b)
                    || (same_family && (a.is_unspecified() || b.is_unspecified())))
        }
        (Listen::Unix(_), Listen::Tcp(_)) | (Listen::Tcp(_), Listen::Unix(_)) => false,
    }
}

fn audit(file: &File, at: &Place<'_>, problems: &mut Problems) -> Option<AuditTo> {
    let text = file.audit.as_ref()?.to.as_deref()?;
    match text {
        "stdout" => Some(AuditTo::Stdout),
        "stderr" => Some(AuditTo::Stderr),
        // A relative path here is more likely a slip of the pen.
        path if path.starts_with('/') && !path.ends_with('/') && !path.contains('\0') => {
            Some(AuditTo::File(PathBuf::from(path)))
        }
        _ => {
            let hint = "write `stdout`, `stderr`, or an absolute path such as \
                        `/var/log/sidegate/audit.jsonl`";
            let message = format!("{} is not a destination", shown(text));
            at.key("audit").key("to").report(problems, message, hint);
            None
        }
    }
}

fn log(file: &File) -> Option<Log> {
    let log = file.log.as_ref()?;
    let level = match log.level? {
        LevelFile::Error => LogLevel::Error,
        LevelFile::Warn => LogLevel::Warn,
        LevelFile::Info => LogLevel::Info,
        LevelFile::Debug => LogLevel::Debug,
        LevelFile::Trace => LogLevel::Trace,
    };
    let format = match log.format? {
        FormatFile::Human => LogFormat::Human,
        FormatFile::Json => LogFormat::Json,
    };
    Some(Log { level, format })
}
