//! Identities for laptops, tests and the demo: a throw-away authority behind a real Workload API.
//!
//! Never in production. Keys live in memory only and end with the process; it listens on Unix
//! sockets only; every authority is marked ([`DEV_AGENT_MARKER`]), and a sidecar refuses marked
//! authorities unless its configuration says `danger_accept_dev_agent`.

mod error;
mod jws;
mod authority;
mod jwt_svids;
mod streams;
mod socket;
mod workload_api;
mod agent;
mod token_issuer;
mod web_authority;

pub use agent::{Agent, AgentSettings, serve, start};
pub use authority::{Authority, DEV_AGENT_MARKER, DEV_KEY_PREFIX, Issued};
pub use error::DevError;
pub use token_issuer::TokenIssuer;
pub use web_authority::WebAuthority;
pub use workload_api::{Workload, WorkloadApi, WorkloadSocket};

#[cfg(test)]
mod tests;
