//! A body as it comes in, by whichever version of HTTP.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use thiserror::Error;

use crate::http2::{Received, StreamError};

/// Of a request or of an answer.
#[derive(Debug)]
pub(super) enum Arrived {
    Http1(Incoming),
    Http2(Received),
}

/// An exchange that the other end, or the network, has broken off.
#[derive(Debug, Error)]
pub enum Broken {
    #[error(transparent)]
    Http1(#[from] hyper::Error),
    #[error("the stream has ended")]
    Http2(#[from] StreamError),
}

impl From<Incoming> for Arrived {
    fn from(body: Incoming) -> Self {
        Self::Http1(body)
    }
}

impl From<Received> for Arrived {
    fn from(body: Received) -> Self {
        Self::Http2(body)
    }
}

impl Body for Arrived {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Http1(body) => {
                Pin::new(body).poll_frame(cx).map(|it| it.map(|it| it.map_err(Broken::from)))
            }
            Self::Http2(body) => {
                Pin::new(body).poll_frame(cx).map(|it| it.map(|it| it.map_err(Broken::from)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}
