//! A request as the policy sees it: total, bounded, and without anything secret.

use std::net::IpAddr;
use std::time::SystemTime;

use http::{HeaderMap, Method};

use crate::policy::{DenyReason, IdentityQuestion, Local, Policy, RequestQuestion};

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
const HIDDEN_PREFIX: &str = "x-sidegate-";

/// Why the policy is against this request. An error is a sentence for the audit line.
pub(super) fn denials(
    policy: &Policy,
    claims: &Claims,
    route: &Route,
    facts: &HttpFacts<'_>,
) -> Result<Vec<DenyReason>, String> {
    let query = decode_query(facts.target.query().unwrap_or_default())?;
    let headers = visible(facts.headers)?;
    let path = facts.target.path();
    let grpc = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    let scopes_required: Vec<_> =
        route.required().scopes().iter().map(ToString::to_string).collect();
    let scopes: Vec<_> = claims.scopes().patterns().map(|it| it.to_string()).collect();
    let question = RequestQuestion {
        identity: IdentityQuestion {
            subject: claims.facts(),
            address: facts.address,
            local: facts.local,
            now: facts.now,
        },
        protocol: if facts.is_grpc { "grpc" } else { "http" },
        method: facts.method.as_str(),
        path,
        query: &query,
        host: facts.host,
        route: route.name(),
        headers: &headers,
        grpc: grpc.filter(|_| facts.is_grpc),
        scopes_required: &scopes_required,
        scopes: &scopes,
        tenant: claims.tenant().map(super::Tenant::as_str),
    };
    policy.request_denials(&question).map_err(|error| error.to_string())
}

/// A value that is no text cannot be shown truthfully, so such a request is not shown at all.
fn visible(headers: &HeaderMap) -> Result<Vec<(&str, &str)>, String> {
    let mut visible = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        let name = name.as_str();
        if HIDDEN_HEADERS.contains(&name) || name.starts_with(HIDDEN_PREFIX) {
            continue;
        }
        let Ok(value) = std::str::from_utf8(value.as_bytes()) else {
            return Err(format!("header `{name}` is not text, so the policy cannot judge it"));
        };
        visible.push((name, value));
    }
    Ok(visible)
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
    fn a_header_that_is_not_text_is_an_error() {
        let mut headers = HeaderMap::new();
        headers.append("x-tier", HeaderValue::from_bytes(b"\xff").unwrap());
        assert!(visible(&headers).unwrap_err().contains("`x-tier`"));
    }
}
