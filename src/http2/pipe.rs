//! Sends a body on a stream, as fast as the other end takes it in.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use http_body::{Body, Frame};

use super::error::reason;

/// What is handed over before anybody asks whether the other end takes it in. Most bodies are
/// smaller, and a stream that has only just begun has nobody to ask: its head has to leave first.
const UNASKED: usize = 16 * 1024;

/// What the shortest piece counts for: each takes up room of its own in the library.
const LEAST_PIECE: usize = 1024;

/// Resolves when the body has been handed over, or either end has broken it off.
#[derive(Debug)]
pub(super) struct Pipe<B> {
    body: B,
    stream: SendStream<Bytes>,
    /// What is left of [`UNASKED`].
    unasked: usize,
}

/// Either end has broken it off, and the other knows.
struct Broken;

impl<B> Pipe<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Error + 'static,
{
    pub(super) fn new(body: B, stream: SendStream<Bytes>) -> Self {
        Self { body, stream, unasked: UNASKED }
    }

    fn poll_all(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            if self.unasked == 0 {
                ready!(self.poll_room(cx))?;
            }
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                return self.poll_broken(cx);
            };
            let Some(frame) = frame else {
                return Poll::Ready(self.send(Bytes::new(), true));
            };
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => {
                    self.stream.send_reset(reason(&error));
                    return Poll::Ready(Err(Broken));
                }
            };
            match frame.into_data().map_err(Frame::into_trailers) {
                Ok(data) => {
                    let last = self.body.is_end_stream();
                    self.unasked = self.unasked.saturating_sub(data.len().max(LEAST_PIECE));
                    self.send(data, last)?;
                    if last {
                        return Poll::Ready(Ok(()));
                    }
                }
                Err(Ok(trailers)) => {
                    if self.unasked == 0 {
                        // Nothing more is to be sent for which room would be needed.
                        self.stream.reserve_capacity(0);
                    }
                    let sent = self.stream.send_trailers(trailers);
                    return Poll::Ready(sent.or(Err(Broken)));
                }
                Err(Err(_unknown)) => {}
            }
        }
    }

    /// Whether the other end takes in anything at all now. A piece is then taken whole, so that
    /// at most one waits here besides those that nobody asked for.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.stream.reserve_capacity(1);
        if self.stream.capacity() > 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(0)) => {}
                Some(Ok(_)) => return Poll::Ready(Ok(())),
                Some(Err(_)) | None => return Poll::Ready(Err(Broken)),
            }
        }
    }

    /// While nothing comes to be sent, only a reset tells that nobody waits for it.
    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.stream.poll_reset(cx).map(|_| Err(Broken))
    }

    fn send(&mut self, data: Bytes, last: bool) -> Result<(), Broken> {
        self.stream.send_data(data, last).or(Err(Broken))
    }
}

impl<B> Future for Pipe<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Error + 'static,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.get_mut().poll_all(cx).map(|_sent| ())
    }
}
