//! Why there is no answer.

use std::error::Error;
use std::time::Duration;

use thiserror::Error as ThisError;

/// Why there is no answer. Never holds any of what was sent.
#[derive(Debug, ThisError)]
pub enum WebError {
    #[error("cannot connect to `{to}`: {cause}")]
    Connect { to: String, cause: String },
    #[error("`{to}` is not the server that it should be: {cause}")]
    Unverified { to: String, cause: String },
    #[error("`{to}` broke off: {cause}")]
    Broken { to: String, cause: String },
    #[error("`{to}` did not answer within {} s", limit.as_secs())]
    Timeout { to: String, limit: Duration },
    #[error("the answer of `{to}` is larger than {limit} bytes")]
    TooLarge { to: String, limit: usize },
}

/// An error with its causes. Those of the network, of TLS and of HTTP quote nothing of what was
/// said.
pub(super) fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Wrappers like to say again what they wrap.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
