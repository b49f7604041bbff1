//! One written value, one type: durations, sizes, addresses, identities, scopes, paths.
//!
//! Pure, and total over any text: what cannot be parsed comes back with what to write instead.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use spiffe::{SpiffeId, TrustDomain};

use super::problems::{Wrong, shown};
use crate::net::{Listen, Target};

/// A whole number and a unit. Zero is left to the caller to judge.
pub(super) fn duration(text: &str) -> Result<Duration, Wrong> {
    const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
    let (number, unit) = split_unit(text);
    let scale = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let milliseconds = number.zip(scale).and_then(|(number, scale)| number.checked_mul(scale));
    milliseconds.map(Duration::from_millis).filter(|it| *it <= LONGEST).ok_or_else(|| {
        let message = format!("{} is not a duration", shown(text));
        Wrong::new(message, "write a whole number and a unit: `250ms`, `10s`, `5m`, `1h`")
    })
}

/// A length of time as the configuration writes it, for other places where one is asked for.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    duration(text).map_err(|wrong| format!("{}: {}", wrong.message, wrong.hint))
}

/// A whole number and a unit, in powers of two.
pub(super) fn size(text: &str) -> Result<usize, Wrong> {
    let (number, unit) = split_unit(text);
    let scale = match unit {
        "B" => Some(1),
        "KiB" => Some(1024),
        "MiB" => Some(1024 * 1024),
        _ => None,
    };
    let bytes = number.zip(scale).and_then(|(number, scale)| number.checked_mul(scale));
    bytes.and_then(|bytes| usize::try_from(bytes).ok()).ok_or_else(|| {
        let message = format!("{} is not a size", shown(text));
        Wrong::new(message, "write a whole number and a unit: `512B`, `64KiB`, `1MiB`")
    })
}

fn split_unit(text: &str) -> (Option<u64>, &str) {
    let end = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end).unwrap_or((text, ""));
    (number.parse().ok(), unit)
}

/// A tenant, or a listener's name: safe as a label anywhere.
pub(super) fn label(text: &str, what: &str) -> Result<String, Wrong> {
    let lower_case = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit();
    let first = text.bytes().next().is_some_and(lower_case);
    if first && text.len() <= 63 && text.bytes().all(|it| lower_case(it) || it == b'-') {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(
        format!("{} is not a valid {what}", shown(text)),
        "use lower-case letters, digits and `-`, beginning with a letter or digit, at most 63",
    ))
}

/// A scope that is required: `resource:action`, both sides literal.
pub(super) fn required_scope(text: &str) -> Result<String, Wrong> {
    if text.contains('*') {
        return Err(Wrong::new(
            format!("{} has a wildcard, and this is what a caller needs", shown(text)),
            "name the scope in full, such as `users:read`; wildcards belong in what policy grants",
        ));
    }
    let sides = text.split_once(':');
    if sides.is_some_and(|(resource, action)| scope_side(resource) && scope_side(action)) {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(
        format!("{} is not a scope", shown(text)),
        "write `resource:action`, each a lower-case letter and then letters, digits, `.`, `_`, `-`",
    ))
}

fn scope_side(text: &str) -> bool {
    let rest =
        |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || matches!(it, b'.' | b'_' | b'-');
    text.len() <= 63
        && text.bytes().next().is_some_and(|it| it.is_ascii_lowercase())
        && text.bytes().all(rest)
}

/// The SPIFFE ID of a workload, spelled as it will be compared (SPIFFE-ID section 2).
pub(super) fn workload_id(text: &str) -> Result<SpiffeId, Wrong> {
    let example = "write it in full, such as `spiffe://example.org/prod/billing`";
    if text.len() > 2048 {
        return Err(Wrong::new(format!("{} is longer than 2048 bytes", shown(text)), example));
    }
    let id = SpiffeId::new(text).map_err(|reason| {
        Wrong::new(format!("{} is not a SPIFFE ID: {reason}", shown(text)), example)
    })?;
    if id.path().is_empty() {
        let message = format!("{} names a trust domain, not a workload", shown(text));
        return Err(Wrong::new(message, example));
    }
    let canonical = id.to_string();
    if canonical != text {
        let message = format!("{} is not in lower case before the path", shown(text));
        return Err(Wrong::new(message, format!("write `{canonical}`")));
    }
    Ok(id)
}

pub(super) fn trust_domain(text: &str) -> Result<TrustDomain, Wrong> {
    let parsed = TrustDomain::new(text).ok();
    if let Some(domain) = parsed.as_ref().filter(|domain| domain.as_str() == text) {
        return Ok(domain.clone());
    }
    let hint = parsed.map_or_else(
        || "write its name, such as `partner.example`".to_owned(),
        |domain| format!("write `{domain}`"),
    );
    Err(Wrong::new(format!("{} is not the name of a trust domain", shown(text)), hint))
}

/// The Workload API's address (Workload Endpoint section 4). It hands out private keys, so it
/// never leaves the machine.
pub(super) fn workload_api(text: &str) -> Result<String, Wrong> {
    let hint = "write `unix:///path/to/api.sock`";
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        let path = unix_path(path, text)?;
        return Ok(format!("unix://{}", path.display()));
    }
    let Some(address) = text.strip_prefix("tcp://") else {
        return Err(Wrong::new(format!("{} is not a Workload API address", shown(text)), hint));
    };
    match address.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() && address.port() != 0 => Ok(text.to_owned()),
        Ok(_) => {
            let message = format!("{} would carry private keys in plaintext", shown(text));
            Err(Wrong::new(message, format!("{hint}, or a loopback address with a port")))
        }
        Err(_) => Err(Wrong::new(format!("{} is not `tcp://ip:port`", shown(text)), hint)),
    }
}

/// Where a listener binds. Port 0 lets the system choose.
pub(super) fn listen(text: &str) -> Result<Listen, Wrong> {
    let hint = "write `ip:port` or `unix:/path`, such as `0.0.0.0:8443`";
    match address(text, hint)? {
        Address::Tcp(address) => Ok(Listen::Tcp(address)),
        Address::Unix(path) => Ok(Listen::Unix(path)),
    }
}

/// Where a listener binds that must be TCP.
pub(super) fn tcp_listen(text: &str) -> Result<SocketAddr, Wrong> {
    let hint = "write `ip:port`, such as `0.0.0.0:15021`";
    match address(text, hint)? {
        Address::Tcp(address) => Ok(address),
        Address::Unix(_) => {
            Err(Wrong::new(format!("{} is not an address and port", shown(text)), hint))
        }
    }
}

/// The local application; whether it is local is judged by the caller.
pub(super) fn application(text: &str) -> Result<Target, Wrong> {
    let hint = "write `127.0.0.1:8080`, `localhost:8080` or `unix:/path`";
    match address(text, hint)? {
        Address::Tcp(address) if address.port() == 0 => {
            Err(Wrong::new(format!("{} has no port to connect to", shown(text)), hint))
        }
        Address::Tcp(address) if address.ip().is_unspecified() => {
            Err(Wrong::new(format!("{} is every address, not one", shown(text)), hint))
        }
        Address::Tcp(address) => Ok(Target::Tcp(address)),
        Address::Unix(path) => Ok(Target::Unix(path)),
    }
}

enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

fn address(text: &str, hint: &str) -> Result<Address, Wrong> {
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return unix_path(path, text).map(Address::Unix);
    }
    if let Some((scheme, _)) = text.split_once("://") {
        let message = format!("{} has the scheme {}", shown(text), shown(scheme));
        return Err(Wrong::new(message, hint));
    }
    if let Ok(address) = text.parse() {
        return Ok(Address::Tcp(address));
    }
    if let Some(port) = text.strip_prefix("localhost:").and_then(port) {
        return Ok(Address::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)));
    }
    let message = if text.parse::<IpAddr>().is_ok() {
        format!("{} has no port", shown(text))
    } else {
        format!("{} is not an IP address and port", shown(text))
    };
    Err(Wrong::new(message, hint))
}

/// Digits only: `u16` itself would let `+80` through.
fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|it| it.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

fn unix_path(path: &str, text: &str) -> Result<PathBuf, Wrong> {
    /// `sun_path` of Linux less its NUL; other systems have a few bytes less.
    const LONGEST: usize = 107;
    let hint = "write an absolute path of at most 107 bytes, such as `unix:/run/app.sock`";
    if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
        return Err(Wrong::new(format!("{} is not the path of a socket", shown(text)), hint));
    }
    if path.len() > LONGEST {
        return Err(Wrong::new(format!("{} is too long for a socket", shown(text)), hint));
    }
    Ok(PathBuf::from(path))
}

/// A destination: host and port, both needed.
pub(super) fn destination(text: &str) -> Result<(String, u16), Wrong> {
    let wrong = |message| Wrong::new(message, "write `host:port`, such as `billing.prod.svc:8443`");
    if let Some((scheme, _)) = text.split_once("://") {
        let scheme = shown(scheme);
        return Err(wrong(format!("{} has the scheme {scheme}; mTLS is implied", shown(text))));
    }
    let Some((host, port_text)) = text.rsplit_once(':') else {
        return Err(wrong(format!("{} has no port", shown(text))));
    };
    let Some(port) = port(port_text).filter(|port| *port != 0) else {
        return Err(wrong(format!("{} has no valid port", shown(text))));
    };
    match host_name(host) {
        Some(host) => Ok((host, port)),
        None => Err(wrong(format!("{} is not a host and port", shown(text)))),
    }
}

/// The authority to send: host, with or without port.
pub(super) fn authority(text: &str) -> Result<String, Wrong> {
    let (host, port_fits) = match text.rsplit_once(':') {
        Some((host, digits)) if !digits.ends_with(']') => {
            (host, port(digits).is_some_and(|port| port != 0))
        }
        Some(_) | None => (text, true),
    };
    if port_fits && host_name(host).is_some() {
        return Ok(text.to_owned());
    }
    let message = format!("{} is not a host", shown(text));
    Err(Wrong::new(message, "write `host` or `host:port`, without scheme or path"))
}

/// A DNS name, an IPv4 address, or an IPv6 address in brackets (which the result is without).
fn host_name(text: &str) -> Option<String> {
    if let Some(inner) = text.strip_prefix('[') {
        let inner = inner.strip_suffix(']')?;
        return inner.parse::<std::net::Ipv6Addr>().ok().map(|address| address.to_string());
    }
    // The underscore is no host name by RFC 1123, and is in use by container networks.
    let letter = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_');
    let part = |part: &str| {
        (1..=63).contains(&part.len()) && !part.starts_with('-') && part.bytes().all(letter)
    };
    let bare = text.strip_suffix('.').unwrap_or(text);
    let numeric = bare.bytes().all(|it| it.is_ascii_digit() || it == b'.');
    if numeric {
        return bare.parse::<Ipv4Addr>().ok().map(|address| address.to_string());
    }
    (bare.len() <= 253 && bare.split('.').all(part)).then(|| text.to_owned())
}

pub(super) fn absolute_path(text: &str, base: &Path) -> Result<PathBuf, Wrong> {
    if text.is_empty() || text.contains('\0') {
        let message = format!("{} is not a path", shown(text));
        return Err(Wrong::new(message, "write a path such as `/etc/sidegate/policies`"));
    }
    Ok(base.join(text))
}
