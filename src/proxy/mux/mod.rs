//! Raw streams over one connection between two Sidegates: HTTP/2's frames, credits and resets, and
//! none of its requests. Knows a connection and its streams; who may open one, and what it is
//! connected to, is decided elsewhere.

mod in_use;
mod stream;
mod client;
mod server;

pub(super) use client::{Carrier, connect};
pub(super) use in_use::InUse;
pub(super) use server::{Asked, Carried};
pub(super) use stream::MuxStream;

/// What one stream may hold unread: a reader who stands still stalls itself, at this point.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Streams of one connection, unless its other end allows less.
const MOST_STREAMS: u32 = 100;
/// What one stream may have written and not yet sent.
const SEND_BUFFER: usize = 256 * 1024;
/// Frames of all streams that are ready are sealed and sent together.
const WRITE_BUFFER: usize = 64 * 1024;
/// As long as that buffer, which a longer frame goes past: a large transfer is copied once less. What
/// others may have to wait for behind it is no more than this.
const FRAME_BYTES: u32 = 64 * 1024;
/// Torn streams of the last second whose bytes may still be on their way. The library takes those of
/// more for its peer's mistakes, and ends the connection for [`MISTAKES`].
const TORN_AT_ONCE: usize = 4096;
const MISTAKES: usize = 256;
/// A head says nothing here.
const HEAD_BYTES: u32 = 1024;

/// Room for every stream's window: whoever does not read stalls nobody else.
fn connection_window(streams: u32) -> u32 {
    const MOST: u32 = i32::MAX.unsigned_abs();
    streams.saturating_mul(STREAM_WINDOW).min(MOST)
}
