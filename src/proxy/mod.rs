//! The data path: from a verified peer or our own application to where the bytes belong.
//!
//! Inbound and outbound do not know each other. Each worker has its own pools and caches; what
//! changes at run time is read through [`crate::live::Live`].

mod phase;
mod rarely;
mod headers;
mod bearer;
mod arrived;
mod fault;
mod proof;
mod rights;
mod framing;
mod mux;
mod dialled;
mod wire;
mod lifetime;
mod way_out;
mod activity;
mod worker;
mod aside;
mod shadow;
mod guarded;
mod request;
mod cord;
mod open;
mod request_body;
mod lease;
mod response_body;
mod respond;
mod ending;
mod replay;
mod present;
mod dial;
mod upstream;
mod version;
mod carriers;
mod http1;
mod connection;
mod upgrade;
mod forward;
mod gate;
mod beside;
mod session;
mod minder;
mod exchange;
mod inbound;
mod outbound;

use std::time::Duration;

use crate::telemetry::audit;

pub use gate::{InboundSettings, Judges};
pub use inbound::Inbound;
pub use outbound::{Fallback, Outbound, OutboundSettings};
pub use phase::Phase;
pub use shadow::{
    ShadowCount, ShadowDifference, ShadowReport, ShadowWorker, ShadowedListener, Shadowing,
};
pub use way_out::WayOut;
pub use worker::{HANDSHAKE_CODES, OUTCOMES, Worker};

/// Whether a client's bytes frame each request in one way only: for fuzzing the reader of what
/// strangers send.
#[doc(hidden)]
pub fn inspect_framing<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> bool {
    let mut framing = framing::RequestFraming::new(64 * 1024);
    pieces.into_iter().all(|piece| framing.observe(piece).is_ok())
}

/// Takes out of a request's headers what must not pass a hop, as on the way in: for benchmarks.
#[doc(hidden)]
pub fn inspect_headers(headers: &mut http::HeaderMap) -> bool {
    let names = headers::Names::of(headers);
    headers::clean(headers, names, false).is_ok()
}

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http,
    Tcp,
}

impl Protocol {
    /// As audit lines say it, as long as nothing more precise is known.
    fn spoken(self) -> audit::Protocol {
        match self {
            Self::Http => audit::Protocol::Http,
            Self::Tcp => audit::Protocol::Tcp,
        }
    }
}

/// What our application speaks, whatever the caller spoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// The version that the caller used.
    Same,
    Http1,
    Http2,
}

/// Bounds of one listener; each has a default (DP-7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once, over all workers.
    pub connections: usize,
    /// HTTP/2 streams at once on one connection.
    pub streams: u32,
    /// Bytes of a request's or response's head.
    pub header_bytes: usize,
    /// Header lines of a head.
    pub header_count: usize,
    /// From a head's first byte to its last.
    pub header_read: Duration,
    /// A TLS handshake.
    pub handshake: Duration,
    /// Connecting to the application or the far sidecar, TLS not included.
    pub connect: Duration,
    /// From a request to the head of its answer.
    pub request: Duration,
    /// Without a byte on a stream, or without a request on a connection.
    pub idle: Duration,
    /// How long our own pools keep a connection that nobody uses.
    pub upstream_idle: Duration,
    /// After which a connection is drained, however healthy.
    pub connection_age: Duration,
}

/// Head lines that hyper takes by itself, and has room for without asking for memory each time.
const HYPERS_HEADERS: usize = 100;

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            streams: 100,
            header_bytes: 64 * 1024,
            header_count: HYPERS_HEADERS,
            header_read: Duration::from_secs(10),
            handshake: Duration::from_secs(10),
            connect: Duration::from_secs(5),
            request: Duration::from_secs(60),
            idle: Duration::from_secs(300),
            upstream_idle: Duration::from_secs(60),
            connection_age: Duration::from_secs(3_600),
        }
    }
}
