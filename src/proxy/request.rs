//! Makes of a request as it came the request as it goes on. Pure.

use http::header::{COOKIE, HOST};
use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, Uri, Version};

use super::Speaks;
use super::fault::Fault;

/// Refuses a request that names its host in more than one way, or not at all (RFC 9112 section
/// 3.2, RFC 9113 section 8.3.1).
pub(super) fn check_authority<B>(request: &Request<B>) -> Result<(), Fault> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Fault::BadRequest("duplicate_host"));
    }
    match (host, request.uri().authority()) {
        (None, None) => Err(Fault::BadRequest("missing_host")),
        (Some(host), None) if is_plain(host.as_bytes()) => Ok(()),
        (None, Some(authority)) if is_host(authority) => Ok(()),
        (None, Some(_)) => Err(Fault::BadRequest("malformed_host")),
        (Some(host), None) => parse_host(host).map(drop),
        (Some(host), Some(authority)) => {
            let host = parse_host(host)?;
            if host.as_str().eq_ignore_ascii_case(authority.as_str()) {
                Ok(())
            } else {
                Err(Fault::BadRequest("host_mismatch"))
            }
        }
    }
}

/// A name or an address, with or without a port: as most are, and nothing for a parser to object to.
fn is_plain(host: &[u8]) -> bool {
    let is_name = |name: &[u8]| {
        !name.is_empty()
            && name.iter().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'.'))
    };
    match host.iter().position(|byte| *byte == b':').and_then(|colon| host.split_at_checked(colon))
    {
        None => is_name(host),
        Some((name, port)) => {
            is_name(name)
                && (2..=5).contains(&port.len())
                && port.iter().skip(1).all(u8::is_ascii_digit)
        }
    }
}

fn parse_host(host: &HeaderValue) -> Result<Authority, Fault> {
    Authority::try_from(host.as_bytes())
        .ok()
        .filter(is_host)
        .ok_or(Fault::BadRequest("malformed_host"))
}

/// Without user information, and with a port that is one, if any (RFC 9110 section 7.2).
fn is_host(authority: &Authority) -> bool {
    let Some(rest) = authority.as_str().strip_prefix(authority.host()) else {
        return false;
    };
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit())
            && (port.is_empty() || port.parse::<u16>().is_ok())
    };
    rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port)
}

/// The version to forward with.
pub(super) fn version_onward(speaks: Speaks, came: Version) -> Version {
    match speaks {
        Speaks::Http1 => Version::HTTP_11,
        Speaks::Http2 => Version::HTTP_2,
        Speaks::Same if came == Version::HTTP_2 => Version::HTTP_2,
        Speaks::Same => Version::HTTP_11,
    }
}

/// Where a request goes on to.
#[derive(Debug)]
pub(super) struct Onward<'a> {
    pub(super) version: Version,
    pub(super) scheme: &'a Scheme,
    /// The normalised target, when it differs from what came.
    pub(super) target: Option<&'a str>,
    /// What to say as the host instead of what the caller said.
    pub(super) host: Option<&'a HeaderValue>,
}

/// Puts target, host and version in the form that the next hop reads: origin form with `Host` for
/// HTTP/1.1, pseudo-headers for HTTP/2.
pub(super) fn readdress<B>(request: &mut Request<B>, onward: &Onward<'_>) -> Result<(), Fault> {
    if request.version() == Version::HTTP_2 && onward.version == Version::HTTP_11 {
        join_cookies(request.headers_mut());
    }
    *request.version_mut() = onward.version;
    let has_authority = request.uri().authority().is_some();
    let unchanged = onward.target.is_none() && onward.host.is_none();
    if onward.version == Version::HTTP_11 && unchanged && !has_authority {
        return Ok(());
    }

    let Parts { authority, path_and_query, .. } = std::mem::take(request.uri_mut()).into_parts();
    let host = match (onward.host, request.headers_mut().remove(HOST), authority) {
        (Some(host), _, _) => Some(host.clone()),
        (None, Some(host), _) => Some(host),
        (None, None, Some(authority)) => HeaderValue::from_str(authority.as_str()).ok(),
        (None, None, None) => None,
    };
    let path = match onward.target {
        Some(target) => PathAndQuery::try_from(target).ok(),
        None => path_and_query,
    };
    let path = path.ok_or(Fault::BadRequest("malformed_target"))?;

    let mut parts = Parts::default();
    parts.path_and_query = Some(path);
    if onward.version == Version::HTTP_2 {
        let host = host.ok_or(Fault::BadRequest("missing_host"))?;
        parts.authority = Some(parse_host(&host)?);
        parts.scheme = Some(onward.scheme.clone());
    } else if let Some(host) = host {
        request.headers_mut().insert(HOST, host);
    }
    *request.uri_mut() = Uri::from_parts(parts).or(Err(Fault::BadRequest("malformed_target")))?;
    Ok(())
}

/// HTTP/2 may split what HTTP/1.1 knows as one line (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() < 2 {
        return;
    }
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(version: Version, uri: &str, hosts: &[&str]) -> Request<()> {
        let mut request = Request::builder().version(version).uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn a_host_that_is_said_twice_differently_or_badly_is_refused() {
        let http1 = Version::HTTP_11;
        for (uri, hosts, expected) in [
            ("/", &["a"] as &[_], None),
            ("/", &[], Some("missing_host")),
            ("/", &["a", "a"], Some("duplicate_host")),
            ("/", &["a b"], Some("malformed_host")),
            ("/", &["user@a"], Some("malformed_host")),
            ("/", &["a:"], None),
            ("/", &["a:65535"], None),
            ("/", &["[::1]:80"], None),
            ("/", &["a:65536"], Some("malformed_host")),
            ("/", &["a:b"], Some("malformed_host")),
            ("/", &["a:+80"], Some("malformed_host")),
            ("/", &["[::1]b"], Some("malformed_host")),
            ("http://a/", &["a"], None),
            ("http://a:80/", &["b:80"], Some("host_mismatch")),
            ("http://A/", &["a"], None),
        ] {
            let outcome = check_authority(&request(http1, uri, hosts)).err();
            let code = outcome.map(|fault| match fault {
                Fault::BadRequest(code) => code,
                other => panic!("{other}"),
            });
            assert_eq!(code, expected, "{uri} {hosts:?}");
        }
        for authority in ["user@a", "a:b", "a:65536"] {
            let uri = format!("https://{authority}/");
            assert!(check_authority(&request(Version::HTTP_2, &uri, &[])).is_err(), "{uri}");
        }
    }

    proptest! {
        #[test]
        fn what_is_plain_the_parser_takes_too(host in "[a-zA-Z0-9.:@/ _-]{0,12}(:[0-9]{0,7})?") {
            let parsed = parse_host(&HeaderValue::from_str(&host).unwrap()).is_ok();
            prop_assert!(parsed || !is_plain(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn each_version_is_addressed_in_its_own_form() {
        let to = |version| Onward { version, scheme: &Scheme::HTTP, target: None, host: None };

        let mut absolute = request(Version::HTTP_11, "http://a:1/x?y", &["a:1"]);
        readdress(&mut absolute, &to(Version::HTTP_11)).unwrap();
        assert_eq!(
            (absolute.uri().to_string().as_str(), &absolute.headers()[HOST]),
            ("/x?y", &HeaderValue::from_static("a:1"))
        );

        let mut up = request(Version::HTTP_11, "/x", &["a:1"]);
        readdress(&mut up, &to(Version::HTTP_2)).unwrap();
        assert_eq!(up.uri(), "http://a:1/x");
        assert!(!up.headers().contains_key(HOST));

        let mut down = request(Version::HTTP_2, "https://a:1/x", &[]);
        readdress(&mut down, &to(Version::HTTP_11)).unwrap();
        assert_eq!(
            (down.uri().to_string().as_str(), &down.headers()[HOST]),
            ("/x", &HeaderValue::from_static("a:1"))
        );
    }

    #[test]
    fn cookies_that_http2_split_are_one_line_again() {
        let mut it = request(Version::HTTP_2, "https://a/x", &[]);
        it.headers_mut().append(COOKIE, HeaderValue::from_static("a=1"));
        it.headers_mut().append(COOKIE, HeaderValue::from_static("b=2"));
        let onward =
            Onward { version: Version::HTTP_11, scheme: &Scheme::HTTP, target: None, host: None };
        readdress(&mut it, &onward).unwrap();
        assert_eq!(it.headers().get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }

    #[test]
    fn what_was_decided_on_is_what_goes_on() {
        let mut it = request(Version::HTTP_11, "/%61?q", &["a"]);
        let onward = Onward {
            version: Version::HTTP_11,
            scheme: &Scheme::HTTP,
            target: Some("/a?q"),
            host: Some(&HeaderValue::from_static("orders.internal")),
        };
        readdress(&mut it, &onward).unwrap();
        assert_eq!(it.uri(), "/a?q");
        assert_eq!(it.headers()[HOST], "orders.internal");
    }
}
