//! Identities for laptops, tests and the demo: a throw-away authority behind a real Workload API.
//!
//! Never in production. Keys live in memory only and end with the process; it listens on Unix
//! sockets only; every authority is marked ([`DEV_AGENT_MARKER`]), and a sidecar refuses marked
//! authorities unless its configuration says `danger_accept_dev_agent`.

#[rustfmt::skip]
mod pb;
mod error;
mod authority;
mod streams;
mod socket;
mod workload_api;
mod agent;

pub use agent::{Agent, AgentSettings, serve, start};
pub use authority::{Authority, DEV_AGENT_MARKER, Issued};
pub use error::DevError;
pub use workload_api::{Workload, WorkloadApi, WorkloadSocket};

#[cfg(test)]
mod tests;
