//! The side door, for operators: probes and metrics, each on a listener of its own.
//!
//! It only reads, and it knows no identity, policy or request: the assembler hands it what to
//! say.

mod server;
mod health;
mod metrics;

pub use health::{Checks, Reason, serve_health};
pub use metrics::serve_metrics;
