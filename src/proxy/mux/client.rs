//! The end that dialled: it opens streams.

use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Ping, PingPong};
use http::{Method, Request, Uri};
use tokio::io::{AsyncRead, AsyncWrite, BufWriter};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::stream::{MuxStream, Receiver};
use super::{
    FRAME_BYTES, HEAD_BYTES, MISTAKES, MOST_STREAMS, SEND_BUFFER, STREAM_WINDOW, TORN_AT_ONCE,
    WRITE_BUFFER, connection_window,
};

/// How often the other end is asked whether it is still there, and how long it may take to say so:
/// the streams of a connection whose other end has vanished would wait forever.
const ASK_EVERY: Duration = Duration::from_secs(20);
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

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
    let (sender, mut connection) = Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(connection_window(MOST_STREAMS))
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
        tokio::select! {
            _ = connection => {}
            () = unanswered(pings, let_in) => {}
        }
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

/// Resolves when the other end does not answer. Its first answer comes after its settings, and so
/// after it has looked at our certificate.
async fn unanswered(pings: Option<PingPong>, let_in: oneshot::Sender<()>) {
    let Some(mut pings) = pings else { return };
    let mut let_in = Some(let_in);
    while let Ok(Ok(_)) = timeout(ANSWERED_WITHIN, pings.ping(Ping::opaque())).await {
        if let Some(let_in) = let_in.take() {
            // Nobody waits any more: then nobody has to know.
            let_in.send(()).ok();
        }
        sleep(ASK_EVERY).await;
    }
}
