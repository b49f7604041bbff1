//! The development agent as a command: which workloads, at which sockets, until stopped.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use spiffe::{SpiffeId, TrustDomain};

use super::authority::Authority;
use super::error::DevError;
use super::workload_api::{Workload, WorkloadApi, WorkloadSocket};

/// What `sidegate dev-agent` is asked for. Unix sockets only, by construction.
#[derive(Debug, Clone)]
pub struct AgentSettings {
    pub trust_domain: TrustDomain,
    /// Further trust domains with authorities of their own; all of them federate with each other.
    pub federate: Vec<TrustDomain>,
    /// Who is served where. Several identities at one path make one workload, the first of them
    /// its default identity.
    pub workloads: Vec<(SpiffeId, PathBuf)>,
    pub ttl: Duration,
}

/// A running development agent. It stops when dropped.
#[derive(Debug)]
pub struct Agent {
    pub sockets: Vec<WorkloadSocket>,
}

/// Listens on every socket, or on none.
pub fn start(settings: &AgentSettings) -> Result<Agent, DevError> {
    let mut agents = BTreeMap::new();
    for trust_domain in std::iter::once(&settings.trust_domain).chain(&settings.federate) {
        let authority = Authority::new(trust_domain.clone())?;
        agents.insert(trust_domain.clone(), WorkloadApi::new(authority));
    }
    for (own, agent) in &agents {
        for (foreign, other) in agents.iter().filter(|(foreign, _)| *foreign != own) {
            tracing::debug!(%own, %foreign, "development agents federate");
            agent.federate(other.authority());
        }
    }

    let mut sockets = Vec::new();
    for (path, ids) in by_path(&settings.workloads) {
        let home = ids.first().and_then(|(id, _)| agents.get(id.trust_domain()));
        let Some(agent) = home.or_else(|| agents.get(&settings.trust_domain)) else {
            return Err(DevError::NoIds);
        };
        sockets.push(agent.serve(path, Workload { ids, ttl: settings.ttl })?);
    }
    Ok(Agent { sockets })
}

/// Runs until the future is dropped.
pub async fn serve(settings: AgentSettings) -> Result<(), DevError> {
    let agent = start(&settings)?;
    tracing::warn!("this is a development agent: anyone who opens a socket is that workload");
    for socket in &agent.sockets {
        tracing::info!(endpoint = socket.endpoint(), "development agent listens");
    }
    std::future::pending().await
}

type Ids = Vec<(SpiffeId, Option<String>)>;

/// Paths in order of first mention.
fn by_path(workloads: &[(SpiffeId, PathBuf)]) -> Vec<(PathBuf, Ids)> {
    let mut grouped: Vec<(PathBuf, Ids)> = Vec::new();
    for (id, path) in workloads {
        match grouped.iter_mut().find(|(known, _)| known == path) {
            Some((_, ids)) => ids.push((id.clone(), None)),
            None => grouped.push((path.clone(), vec![(id.clone(), None)])),
        }
    }
    grouped
}
