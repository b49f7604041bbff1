//! The SPIFFE Workload API, and nothing else: who we are, and whom we could believe.
//!
//! Publishes [`Material`] (our SVID and the trust bundles) and [`AgentStatus`] (how the agent
//! is). Knows nothing of TLS, policy or requests.

mod material;
mod endpoint;
mod backoff;
mod channel;
mod select;
mod update;
mod jwt;
mod jwt_bundles;
mod standing;
mod source;

use spiffe::{SpiffeId, TrustDomain};

use crate::live::Live;

pub use endpoint::SourceError;
pub use jwt::{JwtBundles, JwtSvid, JwtSvidError, JwtSvids};
pub use material::{AgentState, AgentStatus, Material, Svid, TrustBundles};
pub use source::start;

/// The organization in the subject of every authority of the development agent. An agent whose
/// trust bundles show it is refused, unless [`Settings::danger_accept_dev_agent`].
pub const DEV_AGENT_MARKER: &str = "sidegate dev-agent, not for production";

/// How the `kid` of every key for JWT-SVIDs of the development agent begins. Bundles and tokens
/// that show it are refused alike.
pub const DEV_KEY_PREFIX: &str = "sidegate-dev-agent/";

/// Where SVIDs come from and which of them is ours.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Workload API endpoint, `unix:///path` or `tcp://ip:port` (Workload Endpoint section 4).
    pub endpoint: String,
    /// Which SVID is ours when the agent gives several; else the one with `hint`; else the first.
    pub spiffe_id: Option<SpiffeId>,
    /// The SPIRE hint of the SVID to use.
    pub hint: Option<String>,
    /// Foreign trust domains whose federated bundles we accept, by name (ID-4).
    pub federates_with: Vec<TrustDomain>,
    /// Accept identities of the embedded development agent. Never in production (ID-8).
    pub danger_accept_dev_agent: bool,
    /// Follow the JWT trust bundles, too.
    pub jwt_bundles: bool,
}

/// What the rest of the program reads of our identity.
#[derive(Debug, Clone)]
pub struct Identity {
    pub material: Live<Material>,
    pub status: Live<AgentStatus>,
    /// Empty unless [`Settings::jwt_bundles`].
    pub jwt_bundles: Live<JwtBundles>,
    /// Asks the agent for JWT-SVIDs of our own.
    pub jwt_svids: JwtSvids,
}

impl Identity {
    /// For a machine outside SPIFFE: there is no agent, and nobody is asked. The state is
    /// [`AgentState::Absent`] for ever.
    pub fn absent() -> Self {
        let mut status = AgentStatus::starting(std::time::SystemTime::now());
        status.state = AgentState::Absent;
        Self {
            material: Live::fixed(Material::nothing()),
            status: Live::fixed(status),
            jwt_bundles: Live::fixed(JwtBundles::new()),
            jwt_svids: JwtSvids::absent(),
        }
    }
}

#[cfg(test)]
mod tests;
