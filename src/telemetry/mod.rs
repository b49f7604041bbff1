//! What the program tells its operator: audit lines, metrics, logs, and the ids that tie them.
//!
//! Knows nothing of the product's other rooms: they hand over plain text and numbers.

mod timestamp;
pub mod audit;
pub mod log;
pub mod metrics;
mod request_id;
mod traceparent;

pub use request_id::RequestId;
pub use timestamp::Rfc3339;
pub use traceparent::{TraceParent, TraceParentError};

/// Which way a call goes, seen from the application beside us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Inbound,
    Outbound,
}

impl Direction {
    /// The word used in audit lines and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}
