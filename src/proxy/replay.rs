//! Whether a request may be sent a second time, on another connection. Pure.

use std::error::Error as _;
use std::io::{self, ErrorKind};

use http::{Method, Request};

use super::request_body::RequestBody;

/// The connection ended before a byte of the answer, as one does that the server closed while it
/// lay idle.
pub(super) fn was_closed(error: &hyper::Error) -> bool {
    let gone = |kind| matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
    error.is_incomplete_message()
        || error.is_canceled()
        || error.is_closed()
        || error
            .source()
            .and_then(|source| source.downcast_ref::<io::Error>())
            .is_some_and(|source| gone(source.kind()))
}

/// A copy of a request that may be sent a second time should the kept connection turn out to be
/// closed: idempotent (RFC 9110 section 9.2.2) and without a body.
pub(super) fn replayable(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    use http_body::Body as _;
    let safe = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    );
    if !safe || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(RequestBody::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    // What was noted of it, too: which of its tokens is ours, to be taken off again.
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}
