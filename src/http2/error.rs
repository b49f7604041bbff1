//! Why a stream or its connection ended before its time.

use std::error::Error;

use h2::Reason;

/// The protocol's word for it, or the network's.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StreamError(#[from] pub(super) h2::Error);

/// What to tell the other end of a body that broke off: what we were told ourselves, where it came
/// by HTTP/2, too. `NO_ERROR` it is not: clients take that for an end, and what they have of an
/// answer without a length for the whole of it.
pub(super) fn reason(error: &(dyn Error + 'static)) -> Reason {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(StreamError(told)) = error.downcast_ref() {
            let told = told.reason().filter(|reason| *reason != Reason::NO_ERROR);
            return told.unwrap_or(Reason::INTERNAL_ERROR);
        }
        cause = error.source();
    }
    Reason::INTERNAL_ERROR
}
