//! Where the Workload API is: the address forms of SPIFFE Workload Endpoint section 4, no others.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use thiserror::Error;

/// The kernel's bound on a socket path, less the closing NUL.
const MAX_PATH: usize = 107;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// Why an address is not one of a Workload API.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SourceError {
    #[error("Workload API endpoint `{0}` must begin with `unix:///` or `tcp://`")]
    Scheme(String),

    #[error("Workload API endpoint `{0}` must have an absolute path after `unix://`, no host")]
    UnixPath(String),

    #[error("Workload API endpoint `{0}` has a query, fragment, escape or control character")]
    UnixExtra(String),

    #[error("Workload API endpoint `{0}` names a socket of more than {MAX_PATH} bytes")]
    UnixLong(String),

    #[error("Workload API endpoint `{0}` must be `tcp://` with an IP address and a port, no more")]
    Tcp(String),
}

impl Endpoint {
    pub(super) fn parse(text: &str) -> Result<Self, SourceError> {
        if let Some(path) = text.strip_prefix("unix:") {
            unix(text, path)
        } else if let Some(address) = text.strip_prefix("tcp://") {
            match address.parse::<SocketAddr>() {
                Ok(address) if address.port() != 0 => Ok(Self::Tcp(address)),
                Ok(_) | Err(_) => Err(SourceError::Tcp(text.escape_debug().to_string())),
            }
        } else {
            Err(SourceError::Scheme(text.escape_debug().to_string()))
        }
    }

    /// Section 3: over TCP an agent cannot tell who is calling, unless the caller is this very
    /// machine, or on its own link.
    pub(super) fn is_exposed(&self) -> bool {
        match self {
            Self::Unix(_) => false,
            Self::Tcp(address) => match address.ip() {
                IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
                IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
            },
        }
    }
}

/// `unix:///path`, and `unix:/path`, which is common and means the same.
fn unix(text: &str, rest: &str) -> Result<Endpoint, SourceError> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    let is_absolute = path.starts_with('/') && !path.starts_with("//") && !path.ends_with('/');
    if !is_absolute {
        return Err(SourceError::UnixPath(text.escape_debug().to_string()));
    }
    // A `%` would be an escape, which is nobody's intention in the name of a socket.
    if path.contains(['?', '#', '%']) || path.contains(char::is_control) {
        return Err(SourceError::UnixExtra(text.escape_debug().to_string()));
    }
    if path.len() > MAX_PATH {
        return Err(SourceError::UnixLong(text.escape_debug().to_string()));
    }
    Ok(Endpoint::Unix(PathBuf::from(path)))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    fn unix(path: &str) -> Result<Endpoint, ()> {
        Ok(Endpoint::Unix(path.into()))
    }

    fn tcp(address: &str) -> Result<Endpoint, ()> {
        Ok(Endpoint::Tcp(address.parse().unwrap()))
    }

    #[test]
    fn an_endpoint_has_one_of_two_forms() {
        let cases = [
            ("unix:///run/spire/api.sock", unix("/run/spire/api.sock")),
            ("unix:/run/spire/api.sock", unix("/run/spire/api.sock")),
            ("unix:///run/with space.sock", unix("/run/with space.sock")),
            ("tcp://127.0.0.1:8000", tcp("127.0.0.1:8000")),
            ("tcp://[::1]:8000", tcp("[::1]:8000")),
            ("", Err(())),
            ("/run/api.sock", Err(())),
            ("UNIX:///run/api.sock", Err(())),
            ("http://127.0.0.1:8000", Err(())),
            ("unix:", Err(())),
            ("unix://", Err(())),
            ("unix:///", Err(())),
            ("unix://host/run/api.sock", Err(())),
            ("unix:run/api.sock", Err(())),
            ("unix:////run/api.sock", Err(())),
            ("unix:///run/", Err(())),
            ("unix:///run/api.sock?x=1", Err(())),
            ("unix:///run/api.sock#x", Err(())),
            ("unix:///run/api%2esock", Err(())),
            ("unix:///run/api\n.sock", Err(())),
            ("tcp://localhost:8000", Err(())),
            ("tcp://127.0.0.1", Err(())),
            ("tcp://127.0.0.1:0", Err(())),
            ("tcp://127.0.0.1:8000/", Err(())),
            ("tcp://127.0.0.1:8000/foo", Err(())),
            ("tcp://user@127.0.0.1:8000", Err(())),
            ("tcp://127.0.0.1:8000?x", Err(())),
            ("tcp://127.0.0.1:99999", Err(())),
            ("tcp:127.0.0.1:8000", Err(())),
        ];
        for (text, wanted) in cases {
            assert_eq!(Endpoint::parse(text).map_err(drop), wanted, "{text}");
        }
    }

    #[test]
    fn a_path_that_no_socket_can_have_is_refused_with_its_reason() {
        let long = format!("unix:///{}", "x".repeat(MAX_PATH));
        assert_eq!(Endpoint::parse(&long), Err(SourceError::UnixLong(long.clone())));
    }

    #[test]
    fn only_addresses_beyond_this_machine_and_its_link_are_exposed() {
        let cases = [
            ("unix:///a", false),
            ("tcp://127.0.0.1:1", false),
            ("tcp://[::1]:1", false),
            ("tcp://169.254.1.2:1", false),
            ("tcp://[fe80::1]:1", false),
            ("tcp://10.0.0.1:1", true),
            ("tcp://[2001:db8::1]:1", true),
        ];
        for (text, exposed) in cases {
            assert_eq!(Endpoint::parse(text).unwrap().is_exposed(), exposed, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_means_the_same_when_written_again(text in any::<String>()) {
            if let Ok(endpoint) = Endpoint::parse(&text) {
                prop_assert_eq!(Endpoint::parse(&endpoint.to_string()), Ok(endpoint));
            }
        }

        #[test]
        fn what_is_accepted_is_written_back_and_read_alike(path in "unix:(//)?/[a-z/%?.]{0,12}") {
            if let Ok(endpoint) = Endpoint::parse(&path) {
                prop_assert_eq!(Endpoint::parse(&endpoint.to_string()), Ok(endpoint));
            }
        }
    }
}
