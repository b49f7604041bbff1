//! Request bodies on their way through: streamed frame by frame, never gathered, cut when they
//! stall.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use thiserror::Error;
use tokio::time::{Instant, Sleep, sleep_until};

use super::activity::Activity;
use super::arrived::{Arrived, Broken};
use super::cord::Cord;
use super::headers;
use crate::http2::InUse;

/// Why a body ended before its end.
#[derive(Debug, Error)]
pub enum BodyError {
    #[error("the body broke off")]
    BrokenOff(#[from] Broken),
    #[error("nothing of the body came within the idle limit")]
    Stalled,
    #[error("the policy does not allow it any more")]
    Withdrawn,
}

impl BodyError {
    /// The body of the request is why an exchange with an upstream ended.
    pub(super) fn ended(error: &hyper::Error) -> bool {
        let cause = std::error::Error::source(error).and_then(|it| it.downcast_ref());
        error.is_user() && matches!(cause, Some(Self::BrokenOff(_)))
    }
}

/// A request body on its way to an upstream.
#[derive(Debug)]
pub struct RequestBody {
    inner: Option<Arrived>,
    idle: IdleClock,
    cord: Option<Rc<Cord>>,
    upload: Option<InUse>,
}

impl RequestBody {
    pub(super) fn new(inner: Arrived, idle: Duration, cord: Option<Rc<Cord>>) -> Self {
        let body = Self { inner: Some(inner), idle: IdleClock::new(idle), cord, upload: None };
        if body.is_end_stream()
            && let Some(cord) = &body.cord
        {
            cord.has_been_sent(Instant::now());
        }
        body
    }

    /// Counts it as on its way for as long as it lives, unless there is nothing of it.
    pub(super) fn count(&mut self, activity: &Activity) {
        if !self.is_end_stream() {
            self.upload = Some(activity.upload());
        }
    }

    pub(super) fn empty() -> Self {
        Self { inner: None, idle: IdleClock::new(Duration::MAX), cord: None, upload: None }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let Some(inner) = &mut this.inner else {
            return Poll::Ready(None);
        };
        let cord = this.cord.as_deref();
        if cord.is_some_and(|cord| cord.is_cut(cx)) {
            return Poll::Ready(Some(Err(BodyError::Withdrawn)));
        }
        let frame = Pin::new(&mut *inner).poll_frame(cx);
        if let Some(cord) = cord.filter(|_| frame.is_ready()) {
            cord.request_has_moved();
        }
        let mut frame = this.idle.guard(frame, cord, cx);
        if let Poll::Ready(Some(Ok(frame))) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            headers::clean_trailers(trailers);
        }
        if frame.is_ready()
            && (matches!(frame, Poll::Ready(None)) || inner.is_end_stream())
            && let Some(cord) = cord
        {
            cord.has_been_sent(cord.last_moved());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

/// Cuts a body for which nothing has come within the limit, in neither direction of its exchange.
/// No timer exists before the first wait, and none is moved for each frame.
#[derive(Debug)]
pub(super) struct IdleClock {
    limit: Duration,
    /// Since when we wait without a break. Time in which nobody asked for a frame is not waiting.
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

type Framed = Poll<Option<Result<Frame<Bytes>, Broken>>>;

impl IdleClock {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, since: None, timer: None }
    }

    pub(super) fn guard(
        &mut self,
        frame: Framed,
        cord: Option<&Cord>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = frame {
            self.since = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(BodyError::BrokenOff)));
        }
        let limit = self.limit;
        let since = *self.since.get_or_insert_with(Instant::now);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(since + limit)));
        while timer.as_mut().poll(cx).is_ready() {
            let still = cord.map_or(since, |cord| since.max(cord.last_moved()));
            if still.elapsed() >= limit {
                return Poll::Ready(Some(Err(BodyError::Stalled)));
            }
            timer.as_mut().reset(still + limit);
        }
        Poll::Pending
    }
}
