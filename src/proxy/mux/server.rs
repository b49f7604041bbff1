//! The end that accepted: it is asked for streams.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::{Method, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, BufWriter};
use tokio::time::Instant;

use super::heard::Heard;
use super::stream::{MuxStream, Receiver};
use super::{
    FRAME_BYTES, FRAMES_COST, HEAD_BYTES, MISTAKES, SEND_BUFFER, STANDING_STILL, STREAM_WINDOW,
    TORN_AT_ONCE, WRITE_BUFFER, connection_window,
};
use crate::http2::KeepAlive;

/// A connection whose other end asks for streams.
pub(in crate::proxy) struct Carried<IO> {
    connection: Connection<BufWriter<Heard<IO>>, Bytes>,
    keep_alive: Option<KeepAlive>,
    heard: Rc<Cell<Instant>>,
}

/// A stream that the other end has asked for. Dropped, it is refused.
pub(in crate::proxy) struct Asked {
    bytes: RecvStream,
    answer: SendResponse<Bytes>,
}

impl<IO> Carried<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    pub(in crate::proxy) async fn accept(io: IO, streams: u32) -> Result<Self, h2::Error> {
        let io = Heard::new(io);
        let heard = io.last();
        let mut connection = Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(connection_window(streams.min(STANDING_STILL)))
            .data_frame_budget(FRAMES_COST)
            .max_concurrent_streams(streams)
            .max_send_buffer_size(SEND_BUFFER)
            .max_header_list_size(HEAD_BYTES)
            .max_frame_size(FRAME_BYTES)
            .max_concurrent_reset_streams(TORN_AT_ONCE)
            .max_local_error_reset_streams(Some(MISTAKES))
            // Of one moment: an application may well open many connections and tear them at once.
            .max_pending_accept_reset_streams(usize::try_from(streams).unwrap_or(usize::MAX))
            .handshake(BufWriter::with_capacity(WRITE_BUFFER, io))
            .await?;
        let keep_alive = connection.ping_pong().map(KeepAlive::new);
        Ok(Self { connection, keep_alive, heard })
    }

    /// The next stream asked for. It has to be waited for all the time: the bytes of all streams
    /// move by it. `None` once the connection is over, or its other end has vanished.
    pub(in crate::proxy) async fn next(&mut self) -> Result<Option<Asked>, h2::Error> {
        let Self { connection, keep_alive, heard } = self;
        let mut accepted = poll_fn(|cx| match connection.poll_accept(cx) {
            Poll::Pending => match keep_alive {
                Some(it) => it.poll_gone(cx, heard.get(), true).map(|()| None),
                None => Poll::Pending,
            },
            accepted => accepted,
        });
        while let Some(asked) = (&mut accepted).await {
            let (request, mut answer): (Request<RecvStream>, _) = asked?;
            if *request.method() == Method::CONNECT {
                return Ok(Some(Asked { bytes: request.into_body(), answer }));
            }
            answer.send_reset(Reason::PROTOCOL_ERROR);
        }
        Ok(None)
    }

    /// Asks the other end to open no more streams; those that are open go on.
    pub(in crate::proxy) fn retire(&mut self) {
        self.connection.graceful_shutdown();
    }
}

impl Asked {
    /// Resolves once nobody waits for the answer any more: the stream has been reset, or the
    /// connection is over.
    pub(in crate::proxy) async fn gone(&mut self) {
        // Why does not matter.
        poll_fn(|cx| self.answer.poll_reset(cx)).await.ok();
    }

    pub(in crate::proxy) fn open(mut self) -> Result<MuxStream, h2::Error> {
        let sender = self.answer.send_response(Response::new(()), false)?;
        Ok(MuxStream::new(sender, Receiver::Open(self.bytes)))
    }
}

impl<IO> std::fmt::Debug for Carried<IO> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Carried").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked").finish_non_exhaustive()
    }
}
