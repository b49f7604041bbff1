//! Which application protocol a handshake settled on.

const HTTP_1: &[u8] = b"http/1.1";
const HTTP_2: &[u8] = b"h2";
const STREAMS: &[u8] = b"sidegate-tcp/1";

/// The protocol inside the TLS connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// None was negotiated: the bytes have to tell.
    None,
    Http1,
    Http2,
    /// Raw streams, many on one connection: between two Sidegates only.
    Streams,
}

impl Alpn {
    /// The names to offer. `None` is not a name and offers nothing.
    pub(super) fn wire(offered: &[Self]) -> Vec<Vec<u8>> {
        let name = |alpn: &Self| match alpn {
            Self::None => None,
            Self::Http1 => Some(HTTP_1.to_vec()),
            Self::Http2 => Some(HTTP_2.to_vec()),
            Self::Streams => Some(STREAMS.to_vec()),
        };
        offered.iter().filter_map(name).collect()
    }

    /// The library lets through only names that were offered.
    pub(super) fn negotiated(name: Option<&[u8]>) -> Self {
        match name {
            Some(HTTP_1) => Self::Http1,
            Some(HTTP_2) => Self::Http2,
            Some(STREAMS) => Self::Streams,
            _ => Self::None,
        }
    }
}
