//! What a caller may not say, and what we vouch for (design section 6). Pure.

use std::time::Duration;

use http::header::{
    AUTHORIZATION, CONNECTION, COOKIE, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};

use crate::telemetry::{RequestId, TraceParent};

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
pub(super) const CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
pub(super) const SUBJECT: HeaderName = HeaderName::from_static("x-sidegate-subject");
pub(super) const ISSUER: HeaderName = HeaderName::from_static("x-sidegate-issuer");
pub(super) const TENANT: HeaderName = HeaderName::from_static("x-sidegate-tenant");
pub(super) const SCOPES: HeaderName = HeaderName::from_static("x-sidegate-scopes");
pub(super) const METHOD: HeaderName = HeaderName::from_static("x-sidegate-method");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

static HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// What the names in a head call for, as one look at them tells: for nothing, in most.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Names {
    hop_by_hop: bool,
    /// By which a caller could pose as us, or as somebody else.
    claims: bool,
    trace: bool,
}

impl Names {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut names = Self::default();
        for name in headers.keys() {
            let name = name.as_str();
            names.hop_by_hop |= is_hop_by_hop(name);
            names.claims |= is_claim(name, false);
            names.trace |= name == TRACEPARENT.as_str();
        }
        names
    }

    pub(super) fn any_hop_by_hop(self) -> bool {
        self.hop_by_hop
    }
}

/// Removes from a request what concerns one hop, what a caller may not say, and a trace that is none.
pub(super) fn clean(
    headers: &mut HeaderMap,
    names: Names,
    keep_forwarded: bool,
) -> Result<(), ConnectionNamesIdentity> {
    if names.hop_by_hop {
        strip_hop_by_hop(headers)?;
    }
    if names.claims {
        remove_claims_of_identity(headers, keep_forwarded);
    }
    if names.trace {
        keep_valid_trace(headers);
    }
    Ok(())
}

/// The caller listed in `Connection` a header that we vouch for, or that concerns the other end,
/// hoping that we strip it after it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ConnectionNamesIdentity;

/// Removes the headers that concern one hop only (RFC 9110 section 7.6.1). `TE: trailers` is put
/// back, because gRPC needs it at each hop.
fn strip_hop_by_hop(headers: &mut HeaderMap) -> Result<(), ConnectionNamesIdentity> {
    if headers.contains_key(CONNECTION) {
        let named = named_in_connection(headers);
        let for_the_end = |name: &HeaderName| {
            is_ours(name.as_str())
                || name.as_str().starts_with("content-")
                || [REQUEST_ID, TRACEPARENT, HOST, AUTHORIZATION, COOKIE].contains(name)
        };
        if named.iter().any(for_the_end) {
            return Err(ConnectionNamesIdentity);
        }
        for name in named {
            headers.remove(name);
        }
    }
    let trailers = headers.get_all(TE).iter().any(|value| {
        value.to_str().is_ok_and(|te| {
            te.split(',').any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
        })
    });
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    Ok(())
}

/// The same for an answer, where nobody is refused.
pub(super) fn strip_response(headers: &mut HeaderMap) {
    if !headers.keys().any(|name| is_hop_by_hop(name.as_str())) {
        return;
    }
    for name in named_in_connection(headers) {
        headers.remove(name);
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// By length and then by the whole, which takes less than to compare with each.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// How long the caller of a gRPC method is willing to wait (`grpc-timeout`).
pub(super) fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3_600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

fn named_in_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .collect()
}

/// The protocol that a request asks to switch to, when it asks properly (HTTP/1.1 `Upgrade`). A
/// wish for another version of HTTP, or for TLS, is passed over, as a server may: behind it requests
/// would reach the application that nobody has judged.
pub(super) fn upgrade_wanted(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut wishes = headers.get_all(UPGRADE).iter();
    let upgrade = wishes.next()?;
    if wishes.next().is_some() || !named_in_connection(headers).contains(&UPGRADE) {
        return None;
    }
    let hides_requests = |protocol: &str| {
        let name = protocol.split('/').next().unwrap_or_default().trim();
        ["h2", "h2c", "h3", "http", "https", "tls", "hbone"]
            .iter()
            .any(|hidden| name.eq_ignore_ascii_case(hidden))
    };
    let text = upgrade.to_str().ok()?;
    (!text.split(',').any(hides_requests)).then(|| upgrade.clone())
}

/// Whether the far side has switched to what was asked for, and to nothing else.
pub(super) fn switched_as_asked(headers: &HeaderMap, asked: &HeaderValue) -> bool {
    let mut said = headers.get_all(UPGRADE).iter();
    let (Some(said), None) = (said.next(), said.next()) else {
        return false;
    };
    let (Ok(said), Ok(asked)) = (said.to_str(), asked.to_str()) else {
        return false;
    };
    asked.split(',').any(|protocol| protocol.trim().eq_ignore_ascii_case(said.trim()))
}

/// Removes every header by which a caller could pose as us, in each spelling that an application
/// might take for the same (CGI and WSGI read `_` as `-`). `keep_forwarded` leaves
/// `x-forwarded-*` and `forwarded` of a proxy that is trusted by configuration.
pub(super) fn remove_claims_of_identity(headers: &mut HeaderMap, keep_forwarded: bool) {
    let is_unwanted = |name: &&HeaderName| is_claim(name.as_str(), keep_forwarded);
    let unwanted: Vec<HeaderName> = headers.keys().filter(is_unwanted).cloned().collect();
    for name in unwanted {
        headers.remove(name);
    }
}

/// Each begins with an `x`, however it is spelled, but for one.
fn is_claim(name: &str, keep_forwarded: bool) -> bool {
    match name.as_bytes().first() {
        Some(b'x') => {
            is_ours(name)
                || overrides_method(name)
                || (!keep_forwarded && is_forwarded(name))
                || is_respelled(name)
        }
        Some(b'f') if name == FORWARDED.as_str() => !keep_forwarded,
        _ => false,
    }
}

fn is_ours(name: &str) -> bool {
    name == CLIENT_CERT.as_str() || name.starts_with("x-sidegate-")
}

/// By these a framework takes a request for one of another method than was judged.
fn overrides_method(name: &str) -> bool {
    matches!(name, "x-http-method-override" | "x-http-method" | "x-method-override")
}

fn is_forwarded(name: &str) -> bool {
    name.starts_with("x-forwarded-") && name != CLIENT_CERT.as_str() || name == "x-real-ip"
}

/// A name that becomes one of those we set once `_` is read as `-`.
fn is_respelled(name: &str) -> bool {
    if !name.as_bytes().contains(&b'_') {
        return false;
    }
    let name = name.replace('_', "-");
    is_ours(&name) || overrides_method(&name) || is_forwarded(&name) || name == "x-request-id"
}

/// Removes from a request's trailers what only we may say, and what concerns one hop.
pub(super) fn clean_trailers(trailers: &mut HeaderMap) {
    remove_claims_of_identity(trailers, false);
    for name in [REQUEST_ID, TRACEPARENT, TRACESTATE].iter().chain(&HOP_BY_HOP) {
        trailers.remove(name);
    }
}

/// Leaves a well-formed `traceparent` as it came and removes any other, with its `tracestate`
/// (W3C Trace Context section 4.3).
fn keep_valid_trace(headers: &mut HeaderMap) {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let valid = values.next().is_some_and(|value| TraceParent::is_valid(value.as_bytes()))
        && values.next().is_none();
    if !valid {
        headers.remove(TRACEPARENT);
        headers.remove(TRACESTATE);
    }
}

/// The id that came with the request, if it is harmless, or a new one.
pub(super) fn request_id(headers: &HeaderMap) -> RequestId {
    headers
        .get(REQUEST_ID)
        .and_then(|value| RequestId::given(value.as_bytes()))
        .unwrap_or_else(RequestId::random)
}

/// Says the id of a request. Most come with it.
pub(super) fn say_request_id(headers: &mut HeaderMap, id: &RequestId) {
    let mut said = headers.get_all(REQUEST_ID).iter();
    let only = said.next().filter(|_| said.next().is_none());
    if only.is_some_and(|only| only.as_bytes() == id.as_str().as_bytes()) {
        return;
    }
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        headers.insert(REQUEST_ID, id);
    }
}

/// `content-type: application/grpc`, with any suffix or parameter.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(http::header::CONTENT_TYPE).is_some_and(|value| {
        value
            .as_bytes()
            .strip_prefix(b"application/grpc")
            .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap())
            })
            .collect()
    }

    #[test]
    fn what_concerns_one_hop_goes_and_trailers_stay_announced() {
        let mut headers = map(&[
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "gzip, Trailers"),
            ("transfer-encoding", "chunked"),
            ("accept", "text/html"),
        ]);
        strip_hop_by_hop(&mut headers).unwrap();
        assert_eq!(headers, map(&[("accept", "text/html"), ("te", "trailers")]));
    }

    #[test]
    fn one_look_finds_all_that_has_to_be_looked_at_again() {
        let sent = [
            ("connection", "x-private"),
            ("x-private", "1"),
            ("te", "gzip"),
            ("x-sidegate-tenant", "umbrella"),
            ("x_forwarded_for", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
            ("x-real-ip", "10.0.0.1"),
            ("x-http-method", "DELETE"),
            ("traceparent", "00-0-0-00"),
        ];
        for (name, value) in sent {
            let mut headers = map(&[(name, value), ("accept", "text/html")]);
            let names = Names::of(&headers);
            clean(&mut headers, names, false).unwrap();
            assert_eq!(headers.contains_key(name), name == "x-private", "{name}");
            assert!(headers.contains_key("accept"), "{name}");
        }
        let mut all = map(&sent);
        let names = Names::of(&all);
        clean(&mut all, names, false).unwrap();
        assert!(all.is_empty(), "{all:?}");
    }

    #[test]
    fn a_request_says_its_id_once() {
        let id = RequestId::given(b"4f1c2a9b").unwrap();
        for sent in [
            &[][..],
            &[("x-request-id", "4f1c2a9b")],
            &[("x-request-id", "4f1c2a9b"), ("x-request-id", "4f1c2a9b")],
            &[("x-request-id", "4f1c2a9b"), ("x-request-id", "another1")],
            &[("x-request-id", "no id")],
        ] {
            let mut headers = map(sent);
            say_request_id(&mut headers, &id);
            let said: Vec<_> = headers.get_all(REQUEST_ID).iter().collect();
            assert_eq!(said, ["4f1c2a9b"], "{sent:?}");
        }
    }

    #[test]
    fn a_connection_header_that_names_ours_is_refused() {
        for name in
            ["x-sidegate-tenant", "X-Forwarded-Client-Cert", "x-request-id", "Host", "content-type"]
        {
            let mut headers = map(&[("connection", name)]);
            assert_eq!(strip_hop_by_hop(&mut headers), Err(ConnectionNamesIdentity), "{name}");
        }
    }

    #[test]
    fn no_spelling_of_an_identity_header_survives() {
        let mut headers = map(&[
            ("X-Sidegate-Tenant", "umbrella"),
            ("x_sidegate_tenant", "umbrella"),
            ("X-SIDEGATE_SCOPES", "*:*"),
            ("x-forwarded-client-cert", "URI=spiffe://example.org/prod/admin"),
            ("x_forwarded-client_cert", "URI=spiffe://example.org/prod/admin"),
            ("x-forwarded-for", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
            ("x-http-method-override", "DELETE"),
            ("x_http_method", "DELETE"),
            ("authorization", "Bearer end-user"),
        ]);
        remove_claims_of_identity(&mut headers, false);
        assert_eq!(headers, map(&[("authorization", "Bearer end-user")]));
    }

    #[test]
    fn a_trusted_proxy_keeps_its_forwarded_headers_and_nothing_else() {
        let mut headers = map(&[
            ("x-forwarded-for", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
            ("x-forwarded-client-cert", "URI=x"),
            ("x-sidegate-subject", "y"),
        ]);
        remove_claims_of_identity(&mut headers, true);
        assert_eq!(headers, map(&[("x-forwarded-for", "10.0.0.1"), ("forwarded", "for=10.0.0.1")]));
    }

    #[test]
    fn an_upgrade_counts_only_when_connection_names_it() {
        assert!(upgrade_wanted(&map(&[("upgrade", "websocket")])).is_none());
        let asked = map(&[("upgrade", "websocket"), ("connection", "keep-alive, Upgrade")]);
        assert_eq!(upgrade_wanted(&asked).unwrap(), "websocket");
    }

    #[test]
    fn nobody_leaves_for_another_http_unseen() {
        for protocol in ["h2c", "H2C", "websocket, h2c", "HTTP/2.0", "TLS/1.2", "http/3"] {
            let asked = map(&[("upgrade", protocol), ("connection", "upgrade")]);
            assert!(upgrade_wanted(&asked).is_none(), "{protocol}");
        }
        let twice = map(&[("upgrade", "a"), ("upgrade", "b"), ("connection", "upgrade")]);
        assert!(upgrade_wanted(&twice).is_none());
    }

    #[test]
    fn only_a_switch_to_what_was_asked_for_counts() {
        let asked = HeaderValue::from_static("WebSocket, chat");
        for (said, expected) in [
            (map(&[("upgrade", "websocket")]), true),
            (map(&[("upgrade", "chat")]), true),
            (map(&[("upgrade", "h2c")]), false),
            (map(&[("upgrade", "chat"), ("upgrade", "h2c")]), false),
            (map(&[]), false),
        ] {
            assert_eq!(switched_as_asked(&said, &asked), expected, "{said:?}");
        }
    }

    #[test]
    fn grpc_is_told_by_its_content_type() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(is_grpc(&map(&[("content-type", value)])), expected, "{value}");
        }
    }

    #[test]
    fn a_grpc_deadline_is_read_in_each_unit_and_nonsense_is_no_deadline() {
        for (value, expected) in [
            ("5S", Some(Duration::from_secs(5))),
            ("250m", Some(Duration::from_millis(250))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3_600))),
            ("100000000S", None),
            ("S", None),
            ("", None),
            ("-1S", None),
            ("5s", None),
        ] {
            assert_eq!(grpc_timeout(&map(&[("grpc-timeout", value)])), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_reads_as_ours_is_left(
            name in "[xX][-_][sS]idegate[-_][a-z_-]{1,12}",
            value in "[ -~]{0,20}",
        ) {
            let mut headers = map(&[(name.as_str(), value.as_str())]);
            remove_claims_of_identity(&mut headers, false);
            prop_assert!(headers.is_empty());
        }
    }
}
