//! The end that dialled: it opens streams.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Ping, PingPong};
use http::{Method, Request, Uri};
use tokio::io::{AsyncRead, AsyncWrite, BufWriter};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::heard::Heard;
use super::stream::{MuxStream, Receiver};
use super::{
    FRAME_BYTES, FRAMES_COST, HEAD_BYTES, MISTAKES, MOST_STREAMS, SEND_BUFFER, STREAM_WINDOW,
    TORN_AT_ONCE, WRITE_BUFFER, connection_window,
};
use crate::http2::{KeepAlive, PING_PATIENCE};

/// Opens streams on one connection, for as long as it lives.
#[derive(Clone)]
pub(in crate::proxy) struct Carrier {
    sender: SendRequest<Bytes>,
}

/// A connection as a carrier of streams, and the future that has to run for it. The receiver says
/// when the other end has taken us for what we are.
pub(in crate::proxy) async fn connect<IO>(
    io: IO,
) -> Result<(Carrier, impl Future<Output = ()>, oneshot::Receiver<()>), h2::Error>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let io = Heard::new(io);
    let heard = io.last();
    let (sender, mut connection) = Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(connection_window(MOST_STREAMS))
        .data_frame_budget(FRAMES_COST)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(HEAD_BYTES)
        .max_frame_size(FRAME_BYTES)
        .max_concurrent_reset_streams(TORN_AT_ONCE)
        .max_local_error_reset_streams(Some(MISTAKES))
        .handshake(BufWriter::with_capacity(WRITE_BUFFER, io))
        .await?;
    let pings = connection.ping_pong();
    let (let_in, waiting) = oneshot::channel();
    let driven = async move {
        let mut greeted = pin!(greeted(pings, let_in));
        let keep_alive = tokio::select! {
            _ = &mut connection => return,
            answered = &mut greeted => answered,
        };
        let Some(mut keep_alive) = keep_alive else { return };
        // The streams of a connection whose other end has vanished would wait forever.
        poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => keep_alive.poll_gone(cx, heard.get(), true),
        })
        .await;
    };
    Ok((Carrier { sender }, driven, waiting))
}

impl Carrier {
    /// Asks for a stream. What is written to it is on its way before the other end has answered.
    pub(in crate::proxy) fn open(&self) -> Result<MuxStream, h2::Error> {
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = Uri::from_static("tcp");
        let (answer, sender) = self.sender.clone().send_request(request, false)?;
        Ok(MuxStream::new(sender, Receiver::Asked(answer)))
    }

    /// How many streams the connection may carry.
    pub(in crate::proxy) fn capacity(&self) -> usize {
        self.sender.current_max_send_streams().min(MOST_STREAMS as usize)
    }
}

impl std::fmt::Debug for Carrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Carrier").finish_non_exhaustive()
    }
}

/// Tells when the other end has answered for the first time, which it does after its settings, and so
/// after it has looked at our certificate. `None`: it did not.
async fn greeted(pings: Option<PingPong>, let_in: oneshot::Sender<()>) -> Option<KeepAlive> {
    let mut pings = pings?;
    timeout(PING_PATIENCE, pings.ping(Ping::opaque())).await.ok()?.ok()?;
    // Nobody waits any more: then nobody has to know.
    let_in.send(()).ok();
    Some(KeepAlive::new(pings))
}
