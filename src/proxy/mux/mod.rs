//! Raw streams over one connection between two Sidegates: HTTP/2's frames, credits and resets, and
//! none of its requests. Knows a connection and its streams; who may open one, and what it is
//! connected to, is decided elsewhere.

mod heard;
mod stream;
mod client;
mod server;
#[cfg(test)]
mod tests;

pub(super) use client::{Carrier, connect};
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

/// Streams that may stand still with their windows full before those of others on the connection do:
/// what a caller is lent before anything is known of its streams has an end. It is as many as one
/// connection carries before there is another.
const STANDING_STILL: u32 = 32;
/// What unread frames may cost besides their bytes, as the library reckons it: 256 bytes for each
/// that is shorter, less its length. Enough for a stream whose window is full of single bytes: its
/// application may write as it likes, and beyond this the whole connection ends.
const FRAMES_COST: usize = 256 * STREAM_WINDOW as usize;

/// Room for so many streams' windows: whoever does not read stalls nobody else.
fn connection_window(streams: u32) -> u32 {
    const MOST: u32 = i32::MAX.unsigned_abs();
    streams.saturating_mul(STREAM_WINDOW).min(MOST)
}
