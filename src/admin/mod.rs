//! The side door, for operators: probes, metrics and the admin interface, each on a listener of its
//! own.
//!
//! It knows no identity and no request: the assembler hands it what to say. All that it changes is
//! what is revoked at run time.

mod server;
mod health;
mod metrics;
mod refused;
mod revocations;
mod interface;

pub use health::{Checks, Reason, serve_health, told};
pub use interface::{Pages, serve_interface};
pub use metrics::serve_metrics;
