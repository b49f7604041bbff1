//! HTTP/2 as a proxy speaks it: many short streams on few connections, written once a turn.
//!
//! The protocol itself, with its flow control and its defenses, is the `h2` crate's. This room
//! replaces what a general client and server put on top of it: a queue and a task for each
//! connection and for each request, and a write for each piece of a body. It knows nothing of
//! identities or decisions.

mod cork;
mod in_use;
mod error;
mod heads;
mod received;
mod keep_alive;
mod pipe;
mod server;
mod client;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use client::{Dialled, Requester, dial};
pub use error::StreamError;
pub use in_use::InUse;
pub use keep_alive::KeepAlive;
pub use received::Received;
pub use server::{Accepted, accept};

/// Bounds of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Time in which a client must have begun to speak.
    pub greeting: Duration,
    /// Streams at once that a client may open.
    pub streams: u32,
    /// Bytes of a head or of trailers.
    pub header_bytes: u32,
    /// What the other end may send ahead on one stream.
    pub stream_window: u32,
    /// And on all of them together.
    pub connection_window: u32,
}

/// Serves what a stranger may send, to its end or until nothing more happens: for fuzzing.
#[doc(hidden)]
pub async fn inspect(bytes: &[u8]) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let limits = Limits {
        greeting: Duration::from_secs(1),
        streams: 16,
        header_bytes: 16 * 1024,
        stream_window: 1 << 16,
        connection_window: 1 << 18,
    };
    let (near, far) = tokio::io::duplex(4 * 1024);
    let echo =
        |request: http::Request<Received>| async { http::Response::new(request.into_body()) };
    let (mut answers, mut requests) = tokio::io::split(far);
    let asked = async {
        requests.write_all(bytes).await.ok();
        requests.shutdown().await.ok();
    };
    let answered = async {
        let mut answer = Vec::new();
        answers.read_to_end(&mut answer).await.ok();
    };
    tokio::task::LocalSet::new()
        .run_until(async { tokio::join!(accept(near, limits, echo), asked, answered).0.ok() })
        .await;
}

/// After so long without a byte the other end is asked whether it is there.
const PING_AFTER: Duration = Duration::from_secs(20);
/// And has so long to answer.
pub const PING_PATIENCE: Duration = Duration::from_secs(10);
/// How long somebody who has only just connected may still begin once no more is taken: what they
/// are about to ask gets a goodbye, rather than a connection that closes as they send.
const LAST_CALL: Duration = Duration::from_millis(500);
