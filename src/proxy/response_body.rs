//! Answers on their way back: streamed frame by frame, and what they hold on to until their end.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::activity::Running;
use super::arrived::Arrived;
use super::cord::Cord;
use super::lease::Lease;
use super::request_body::{BodyError, IdleClock};

/// A response body on its way to whoever asked.
#[derive(Debug)]
pub struct ResponseBody {
    kind: Kind,
    /// Counts the request as running until its answer has gone out.
    running: Option<Running>,
}

#[derive(Debug)]
enum Kind {
    Empty,
    Whole(Option<Bytes>),
    Streamed(Streamed),
}

#[derive(Debug)]
struct Streamed {
    inner: Arrived,
    idle: IdleClock,
    /// Gives the upstream connection back to its pool once the body has been read to its end.
    lease: Option<Lease>,
    cord: Option<Rc<Cord>>,
}

impl ResponseBody {
    pub(super) fn empty() -> Self {
        Self { kind: Kind::Empty, running: None }
    }

    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self { kind: Kind::Whole(Some(bytes.into())), running: None }
    }

    /// A body that comes from upstream. One without content returns the lease at once.
    pub(super) fn streamed(
        inner: Arrived,
        idle: Duration,
        lease: Option<Lease>,
        cord: Option<Rc<Cord>>,
    ) -> Self {
        let ended = inner.is_end_stream();
        let mut lease = lease;
        if ended && let Some(lease) = lease.take() {
            lease.give_back();
        }
        let streamed = Streamed { inner, idle: IdleClock::new(idle), lease, cord };
        Self { kind: Kind::Streamed(streamed), running: None }
    }

    /// Keeps the request counted as running for as long as this body lives.
    pub(super) fn keep(&mut self, running: Running) {
        self.running = Some(running);
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.get_mut().kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Streamed(body) => {
                let cord = body.cord.as_deref();
                if cord.is_some_and(|cord| cord.is_cut(cx)) {
                    return Poll::Ready(Some(Err(BodyError::Withdrawn)));
                }
                let frame = Pin::new(&mut body.inner).poll_frame(cx);
                if let Some(cord) = cord.filter(|_| frame.is_ready()) {
                    cord.answer_has_moved();
                }
                let frame = body.idle.guard(frame, cord, cx);
                match &frame {
                    Poll::Ready(None) => body.finish(),
                    Poll::Ready(Some(Ok(_))) if body.inner.is_end_stream() => body.finish(),
                    Poll::Ready(Some(_)) | Poll::Pending => {}
                }
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Whole(bytes) => bytes.is_none(),
            Kind::Streamed(body) => body.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Kind::Streamed(body) => body.inner.size_hint(),
        }
    }
}

impl Streamed {
    fn finish(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }
}
