//! A body that comes by HTTP/2. What is taken out of it makes room for more.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};

use super::error::StreamError;

/// The rest of a request or of an answer.
#[derive(Debug)]
pub struct Received {
    stream: RecvStream,
    /// What its head has promised and has not come yet.
    left: Option<u64>,
    data_done: bool,
    ended: Cell<bool>,
}

impl Received {
    pub(super) fn new(stream: RecvStream, head: &HeaderMap) -> Self {
        let left = head.get(CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok());
        Self { stream, left, data_done: false, ended: Cell::new(false) }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let this = self.get_mut();
        if !this.data_done {
            match ready!(this.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Of a stream that has ended meanwhile there is nothing to make room for.
                    this.stream.flow_control().release_capacity(data.len()).ok();
                    this.left = this.left.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => this.data_done = true,
            }
        }
        let trailers = ready!(this.stream.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        // Asked often, and the answer is behind a lock. Once it is yes it stays so.
        if !self.ended.get() {
            self.ended.set(self.stream.is_end_stream());
        }
        self.ended.get()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() {
            return SizeHint::with_exact(0);
        }
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
