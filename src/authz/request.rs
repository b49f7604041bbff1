//! A request as the policy sees it: total, bounded, and without anything secret.

use std::fmt;
use std::iter;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, Method};

use crate::policy::{
    AskedFor, Budget, DenyReason, EvalError, IdentityQuestion, KeptRequest, Local, Policy,
    RequestQuestion, Subject,
};

use super::claims::Claims;
use super::routes::Route;
use super::target::Target;

/// All that a verdict on an HTTP request may depend on, beside who asks.
#[derive(Debug, Clone, Copy)]
pub struct HttpFacts<'a> {
    pub method: &'a Method,
    pub target: &'a Target<'a>,
    /// The authority that was asked for, without user information.
    pub host: &'a str,
    pub headers: &'a HeaderMap,
    /// The content type begins with `application/grpc`.
    pub is_grpc: bool,
    /// Of the peer; `None` on a Unix socket.
    pub address: Option<IpAddr>,
    pub local: &'a Local,
    /// Of the peer's certificate, if it showed one.
    pub serial: Option<&'a str>,
    pub now: SystemTime,
}

/// Never shown to a policy, whose inputs may end up in logs: they carry secrets, or say what only
/// the verified identity may say.
const HIDDEN_HEADERS: [&str; 14] = [
    "authorization",
    "cookie",
    "forwarded",
    "proxy-authenticate",
    "proxy-authorization",
    "set-cookie",
    "www-authenticate",
    "x-access-token",
    "x-amz-security-token",
    "x-api-key",
    "x-auth-token",
    "x-csrf-token",
    "x-forwarded-client-cert",
    "x-xsrf-token",
];
/// Bytes of headers that a policy is shown, and that are kept for as long as a stream is open.
const SHOWN_MAX: usize = 64 * 1024;
const HIDDEN_PREFIX: &str = "x-sidegate-";

/// From where somebody asks, and when.
#[derive(Debug, Clone, Copy)]
pub struct Standpoint<'a> {
    pub address: Option<IpAddr>,
    pub local: &'a Local,
    /// Of the peer's certificate, if it showed one.
    pub serial: Option<&'a str>,
    pub now: SystemTime,
}

impl<'a> HttpFacts<'a> {
    pub(super) fn standpoint(&self) -> Standpoint<'a> {
        let Self { address, local, serial, now, .. } = *self;
        Standpoint { address, local, serial, now }
    }
}

/// The request as policies see it. An error is a sentence for the audit line.
pub(super) fn shown(route: &Route, facts: &HttpFacts<'_>) -> Result<KeptRequest, String> {
    asked_for(route, &Seen::of(facts)?, KeptRequest::of)
}

/// What is kept of a request that no policy has asked about, for one that may come while it is open:
/// copied in one piece, since most requests are over before anybody wants to see it. Without what
/// no policy is shown.
#[derive(Debug)]
pub(super) struct Head {
    method: Method,
    is_grpc: bool,
    text: Text,
}

/// Path, query, host, then names and values of headers, one after the other, each after its length.
struct Text(Vec<u8>);

impl fmt::Debug for Text {
    /// Headers and query are nobody's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Text").finish_non_exhaustive()
    }
}

impl Text {
    fn with_room(parts: usize, bytes: usize) -> Self {
        Self(Vec::with_capacity(parts * size_of::<usize>() + bytes))
    }

    fn push(&mut self, part: &[u8]) {
        self.0.extend_from_slice(&part.len().to_ne_bytes());
        self.0.extend_from_slice(part);
    }

    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.0.as_slice();
        iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk()?;
            let (part, after) = after.split_at_checked(usize::from_ne_bytes(*length))?;
            rest = after;
            Some(part)
        })
    }
}

impl Head {
    /// An error says why no policy could judge it.
    pub(super) fn of(facts: &HttpFacts<'_>) -> Result<Self, String> {
        let asked = [facts.target.path(), facts.target.query().unwrap_or_default(), facts.host];
        let parts = asked.len() + 2 * facts.headers.len();
        let bytes: usize = asked.iter().map(|part| part.len()).sum();
        let said: usize =
            facts.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let mut text = Text::with_room(parts, bytes + said.min(SHOWN_MAX));
        for part in asked {
            text.push(part.as_bytes());
        }
        let mut bytes = 0;
        for (name, value) in facts.headers {
            let name = name.as_str();
            if is_hidden(name) {
                continue;
            }
            bytes = within_shown(bytes + name.len() + value.len())?;
            text.push(name.as_bytes());
            text.push(value.as_bytes());
        }
        Ok(Self { method: facts.method.clone(), is_grpc: facts.is_grpc, text })
    }

    /// As [`shown`] would have it.
    pub(super) fn shown(&self, route: &Route) -> Result<KeptRequest, String> {
        let mut parts = self.text.parts();
        let mut next =
            || parts.next().and_then(|part| str::from_utf8(part).ok()).unwrap_or_default();
        let (path, query, host) = (next(), next(), next());
        let mut headers = Vec::new();
        while let Some(name) = parts.next() {
            // Names are, without exception.
            let name = str::from_utf8(name).unwrap_or_default();
            headers.push((name, shown_value(name, parts.next().unwrap_or_default())?));
        }
        let seen = Seen { method: &self.method, path, query, host, is_grpc: self.is_grpc, headers };
        asked_for(route, &seen, KeptRequest::of)
    }
}

/// What is shown of a request, as it came.
struct Seen<'a> {
    method: &'a Method,
    path: &'a str,
    query: &'a str,
    host: &'a str,
    is_grpc: bool,
    headers: Vec<(&'a str, &'a str)>,
}

impl<'a> Seen<'a> {
    fn of(facts: &HttpFacts<'a>) -> Result<Self, String> {
        Ok(Self {
            method: facts.method,
            path: facts.target.path(),
            query: facts.target.query().unwrap_or_default(),
            host: facts.host,
            is_grpc: facts.is_grpc,
            headers: visible(facts.headers)?,
        })
    }
}

/// Puts the question about this request, for tools. An error says why it cannot be put.
pub(super) fn asked<T>(
    claims: &Claims,
    route: &Route,
    facts: &HttpFacts<'_>,
    ask: impl FnOnce(&RequestQuestion<'_>) -> T,
) -> Result<T, String> {
    let scopes: Vec<_> = claims.scopes().patterns().map(|it| it.to_string()).collect();
    let Standpoint { address, local, now, .. } = facts.standpoint();
    let identity = IdentityQuestion { subject: claims.facts(), address, local, now };
    let tenant = claims.tenant().map(super::Tenant::as_str);
    asked_for(route, &Seen::of(facts)?, |asked| ask(&asked.by(identity, &scopes, tenant)))
}

/// What is asked for, given to `put` for as long as it lasts.
fn asked_for<T>(
    route: &Route,
    seen: &Seen<'_>,
    put: impl FnOnce(&AskedFor<'_>) -> T,
) -> Result<T, String> {
    let query = decode_query(seen.query)?;
    let path = seen.path;
    let grpc = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    let scopes_required: Vec<_> =
        route.required().scopes().iter().map(ToString::to_string).collect();
    Ok(put(&AskedFor {
        protocol: if seen.is_grpc { "grpc" } else { "http" },
        method: seen.method.as_str(),
        path,
        query: &query,
        host: seen.host,
        route: route.name(),
        headers: &seen.headers,
        grpc: grpc.filter(|_| seen.is_grpc),
        scopes_required: &scopes_required,
    }))
}

/// A question about a request, to be asked on whichever thread.
pub(super) struct Inquiry {
    policy: Arc<Policy>,
    subject: Arc<Subject>,
    address: Option<IpAddr>,
    local: Local,
    now: SystemTime,
    request: KeptRequest,
    scopes: Vec<String>,
    tenant: Option<String>,
}

impl Inquiry {
    pub(super) fn new(
        policy: &Arc<Policy>,
        claims: &Claims,
        request: &KeptRequest,
        at: &Standpoint<'_>,
    ) -> Self {
        Self {
            policy: Arc::clone(policy),
            subject: Arc::clone(claims.facts()),
            address: at.address,
            local: at.local.clone(),
            now: at.now,
            request: request.clone(),
            scopes: claims.scopes().patterns().map(|it| it.to_string()).collect(),
            tenant: claims.tenant().map(|tenant| tenant.as_str().to_owned()),
        }
    }

    /// Why the policy is against it.
    pub(super) fn denials(&self, budget: Budget) -> Result<Vec<DenyReason>, EvalError> {
        let identity = IdentityQuestion {
            subject: &self.subject,
            address: self.address,
            local: &self.local,
            now: self.now,
        };
        let tenant = self.tenant.as_deref();
        self.policy.within(budget).request_denials(&identity, &self.request, &self.scopes, tenant)
    }
}

/// A value that is no text cannot be shown truthfully, so such a request is not shown at all.
fn visible(headers: &HeaderMap) -> Result<Vec<(&str, &str)>, String> {
    let mut visible = Vec::with_capacity(headers.len());
    let mut bytes = 0;
    for (name, value) in headers {
        let name = name.as_str();
        if is_hidden(name) {
            continue;
        }
        let value = shown_value(name, value.as_bytes())?;
        bytes = within_shown(bytes + name.len() + value.len())?;
        visible.push((name, value));
    }
    Ok(visible)
}

fn is_hidden(name: &str) -> bool {
    // By length first: few are as long as one of those.
    HIDDEN_HEADERS.iter().any(|hidden| hidden.len() == name.len() && *hidden == name)
        || name.starts_with(HIDDEN_PREFIX)
}

fn shown_value<'a>(name: &str, value: &'a [u8]) -> Result<&'a str, String> {
    let text = str::from_utf8(value).ok();
    text.ok_or_else(|| format!("header `{name}` is not text, so the policy cannot judge it"))
}

fn within_shown(bytes: usize) -> Result<usize, String> {
    if bytes > SHOWN_MAX {
        return Err(format!("more than {SHOWN_MAX} bytes of headers, too many for the policy"));
    }
    Ok(bytes)
}

/// As forms are written: `+` is a space. What cannot be decoded cannot be judged.
fn decode_query(query: &str) -> Result<Vec<(String, String)>, String> {
    let undecodable = || "the query cannot be decoded, so the policy cannot judge it".to_owned();
    let mut pairs = Vec::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let name = decode(name).ok_or_else(undecodable)?;
        pairs.push((name, decode(value).ok_or_else(undecodable)?));
    }
    Ok(pairs)
}

fn decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                decoded.push(u8::try_from(high * 16 + low).ok()?);
            }
            other => decoded.push(other),
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::{decode_query, visible};

    #[test]
    fn a_query_is_decoded_as_forms_are_written() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        for (query, pairs) in [
            ("", vec![]),
            ("a=1&b=2&a=3", vec![pair("a", "1"), pair("b", "2"), pair("a", "3")]),
            ("a", vec![pair("a", "")]),
            ("&&a=b=c&", vec![pair("a", "b=c")]),
            ("q=%C3%A4+%2B&%61=x", vec![pair("q", "ä +"), pair("a", "x")]),
        ] {
            assert_eq!(decode_query(query).unwrap(), pairs, "{query}");
        }
        for query in ["a=%", "a=%4", "a=%zz", "a=%ff", "%c3=1"] {
            assert!(decode_query(query).is_err(), "{query}");
        }
    }

    #[test]
    fn secrets_and_identity_headers_are_never_shown() {
        let mut headers = HeaderMap::new();
        for name in super::HIDDEN_HEADERS.iter().chain(&["x-sidegate-scopes", "x-tier"]) {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("v"));
        }
        assert_eq!(visible(&headers).unwrap(), [("x-tier", "v")]);
    }

    #[test]
    fn more_headers_than_a_policy_can_take_are_an_error() {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(&"v".repeat(super::SHOWN_MAX / 2)).unwrap();
        headers.append("x-tier", value.clone());
        assert_eq!(visible(&headers).unwrap().len(), 1);
        headers.append("authorization", value.clone());
        assert_eq!(visible(&headers).unwrap().len(), 1, "what is not shown does not count");
        headers.append("x-tier", value);
        assert!(visible(&headers).unwrap_err().contains("bytes of headers"));
    }

    #[test]
    fn a_header_that_is_not_text_is_an_error() {
        let mut headers = HeaderMap::new();
        headers.append("x-tier", HeaderValue::from_bytes(b"\xff").unwrap());
        assert!(visible(&headers).unwrap_err().contains("`x-tier`"));
    }
}
