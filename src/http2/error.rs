//! Why a stream or its connection ended before its time.

use std::error::Error;

use h2::Reason;

/// The protocol's word for it, or the network's.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StreamError(#[from] h2::Error);

/// What to tell the other end of a body that broke off: what we were told ourselves, where it came
/// by HTTP/2, too.
pub(super) fn reason(error: &(dyn Error + 'static)) -> Reason {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(StreamError(told)) = error.downcast_ref() {
            return told.reason().unwrap_or(Reason::INTERNAL_ERROR);
        }
        cause = error.source();
    }
    Reason::INTERNAL_ERROR
}
