//! Addresses of servers that prove their name.

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use thiserror::Error;

use crate::net::Target;
use crate::tls::HostName;

const SCHEME: &str = "https://";
const BYTES_MAX: usize = 2048;
const PORT: u16 = 443;
/// Printable, but no part of any URI (RFC 3986 section 2).
const FOREIGN: &[u8] = br#""<>\^`{|}"#;

/// An absolute `https` address without user information or fragment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpsUrl(Uri);

/// What is wrong with an address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct UrlError(pub &'static str);

impl HttpsUrl {
    /// The host is a DNS name or an IP address, IPv6 in brackets. No more than 2048 bytes.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if text.len() > BYTES_MAX {
            return Err(UrlError("it is longer than 2048 bytes"));
        }
        let Some(rest) = text.strip_prefix(SCHEME) else {
            return Err(UrlError("it does not begin with `https://`"));
        };
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && !FOREIGN.contains(&byte)) {
            return Err(UrlError("it holds a character that no URL may hold"));
        }
        // The library would drop it without a word.
        if text.contains('#') {
            return Err(UrlError("it has a fragment"));
        }
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(UrlError("it has user information"));
        }
        let (host, port) = split(authority)?;
        if HostName::parse(host).is_none() {
            return Err(UrlError("its host is no DNS name or IP address"));
        }
        // The library would take a wrong port for none.
        if port.is_some_and(|port| number(port).is_none()) {
            return Err(UrlError("its port is no number from 1 to 65535"));
        }
        let Ok(uri) = text.parse::<Uri>() else {
            return Err(UrlError("it is no URL"));
        };
        if uri.authority().map(http::uri::Authority::as_str) != Some(authority) {
            return Err(UrlError("it is no URL"));
        }
        Ok(Self(uri))
    }

    pub fn as_uri(&self) -> &Uri {
        &self.0
    }

    /// IPv6 without brackets.
    fn host(&self) -> &str {
        let host = self.0.host().unwrap_or_default();
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// Whom the server has to prove to be. Parsing has seen to it that there is one.
    pub(super) fn server(&self) -> Option<HostName> {
        HostName::parse(self.host())
    }

    pub(super) fn target(&self) -> Target {
        let port = self.0.port_u16().unwrap_or(PORT);
        match self.host().parse::<IpAddr>() {
            Ok(ip) => Target::Tcp((ip, port).into()),
            Err(_) => Target::Name { host: self.host().to_owned(), port },
        }
    }

    /// For errors: without the query, which may hold what is not for logs.
    pub(super) fn shown(&self) -> String {
        let authority = self.0.authority().map_or("", |it| it.as_str());
        format!("{SCHEME}{authority}{}", self.0.path())
    }
}

/// Host without brackets, and what stands behind the colon.
fn split(authority: &str) -> Result<(&str, Option<&str>), UrlError> {
    let Some(bracketed) = authority.strip_prefix('[') else {
        return Ok(match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        });
    };
    match bracketed.split_once(']') {
        Some((host, "")) if host.contains(':') => Ok((host, None)),
        Some((host, port)) if host.contains(':') && port.starts_with(':') => {
            Ok((host, port.strip_prefix(':')))
        }
        _ => Err(UrlError("its host is no DNS name or IP address")),
    }
}

fn number(port: &str) -> Option<u16> {
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    port.parse().ok().filter(|number| digits && *number > 0)
}

impl fmt::Display for HttpsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(text: &str) -> &'static str {
        HttpsUrl::parse(text).expect_err(text).0
    }

    #[test]
    fn an_address_says_whom_to_ask_and_whom_to_expect() {
        for (text, target, server) in [
            ("https://a.example", "a.example:443", "a.example"),
            ("https://a.example/", "a.example:443", "a.example"),
            ("https://a.example?q=1", "a.example:443", "a.example"),
            ("https://a.example:8443/keys?x=@y:z", "a.example:8443", "a.example"),
            ("https://127.0.0.1:1/x", "127.0.0.1:1", "127.0.0.1"),
            ("https://[::1]/x", "[::1]:443", "::1"),
            ("https://[::1]:65535", "[::1]:65535", "::1"),
        ] {
            let url = HttpsUrl::parse(text).expect(text);
            assert_eq!(url.target().to_string(), target);
            assert_eq!(url.server().unwrap().to_string(), server);
        }
    }

    #[test]
    fn an_address_in_an_error_has_no_query() {
        let url = HttpsUrl::parse("https://a.example:1/b?token=hunter2").unwrap();
        assert_eq!(url.shown(), "https://a.example:1/b");
        assert_eq!(url.to_string(), "https://a.example:1/b?token=hunter2");
    }

    #[test]
    fn nothing_but_https_is_an_address() {
        let others = ["", "a.example", "/x", "http://a.example", "HTTPS://a.example", "https:/a"];
        for text in others {
            assert_eq!(refused(text), "it does not begin with `https://`");
        }
    }

    #[test]
    fn an_address_without_a_proper_host_is_refused() {
        let hosts = [
            "",
            ":443",
            "/x",
            "?x",
            "[]",
            "[::1",
            "::1",
            "[a.example]",
            "[127.0.0.1]",
            "[::1]x",
            "[::1%25eth0]",
            "a..b",
            "-a.example",
            "a%2eb",
            "*.a.example",
            "a.example,b",
            "[::g]",
        ];
        for host in hosts {
            assert!(refused(&format!("https://{host}")).starts_with("its host"), "{host}");
        }
    }

    #[test]
    fn an_address_with_a_wrong_port_is_refused() {
        for port in ["", "0", "65536", "x", "+1", "-1", "1:2", "443a"] {
            let reason = refused(&format!("https://a.example:{port}/"));
            assert!(reason.starts_with("its port"), "{port}");
        }
    }

    #[test]
    fn user_information_fragments_and_foreign_characters_are_refused() {
        assert_eq!(refused("https://user:pass@a.example/"), "it has user information");
        assert_eq!(refused("https://a.example@b.example"), "it has user information");
        assert_eq!(refused("https://a.example/#x"), "it has a fragment");
        assert_eq!(refused("https://a.example#@b.example"), "it has a fragment");
        for foreign in [" ", "\n", "\r\nx: y", "\0", "\\", "é", "\u{7f}", "`", "{", "\""] {
            let reason = refused(&format!("https://a.example/{foreign}"));
            assert_eq!(reason, "it holds a character that no URL may hold");
        }
    }

    #[test]
    fn an_address_is_bounded() {
        let path = "x".repeat(BYTES_MAX - "https://a.example/".len());
        HttpsUrl::parse(&format!("https://a.example/{path}")).unwrap();
        assert_eq!(refused(&format!("https://a.example/{path}x")), "it is longer than 2048 bytes");
    }

    proptest! {
        #[test]
        fn whatever_is_taken_is_what_it_says(text in "https://[a-c.:@\\[\\]/?#%0-9é \\\\-]{0,24}") {
            if let Ok(url) = HttpsUrl::parse(&text) {
                let uri = url.as_uri();
                prop_assert_eq!(uri.scheme_str(), Some("https"));
                let authority = uri.authority().unwrap().as_str();
                prop_assert!(!text.contains('#') && !authority.contains('@'));
                // The whole of it, nothing dropped and nothing added but the empty path.
                let whole = url.to_string();
                prop_assert!(whole == text || whole.replacen('/', "", 3) == text.replacen('/', "", 2));
                prop_assert!(url.server().is_some());
                let port = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
                let port = port.map_or(443, |(_, port)| port.parse().unwrap());
                let told = match url.target() {
                    Target::Tcp(address) => address.port(),
                    Target::Name { port, .. } => port,
                    Target::Unix(_) => 0,
                };
                prop_assert_eq!(told, port);
            }
        }

        #[test]
        fn no_text_brings_the_reader_down(text in "\\PC*") {
            drop(HttpsUrl::parse(&text));
            drop(HttpsUrl::parse(&format!("https://{text}")));
        }

        #[test]
        fn a_plain_address_is_taken(
            host in "[a-z][a-z0-9]{0,8}(\\.[a-z][a-z0-9]{0,8}){0,3}",
            port in proptest::option::of(1..=u16::MAX),
            path in "(/[a-zA-Z0-9._~%!$&'()*+,;=:@-]{0,8}){0,4}",
        ) {
            let port = port.map_or(String::new(), |it| format!(":{it}"));
            let text = format!("https://{host}{port}{path}");
            let url = HttpsUrl::parse(&text).unwrap();
            prop_assert_eq!(url.as_uri().host(), Some(host.as_str()));
        }
    }
}
