//! Our SVID and the trust bundles at one moment: immutable, one generation.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use spiffe::{SpiffeId, TrustDomain};
use zeroize::Zeroize;

/// X.509 authorities by trust domain. Never pooled (X509-SVID section 5.1).
pub type TrustBundles = BTreeMap<TrustDomain, Vec<CertificateDer<'static>>>;

/// Everything the agent last told us, as one value.
#[derive(Debug, Clone)]
pub struct Material {
    /// Grows by one with each change; 0 is "nothing received yet".
    pub generation: u64,
    /// `None` until the agent has given one, after it denied us, and once it has expired.
    pub svid: Option<Arc<Svid>>,
    /// Our own trust domain's bundle and those of `federates_with` that the agent delivered.
    pub bundles: Arc<TrustBundles>,
}

/// Our own X.509-SVID with its key. The key never leaves memory (ID-1) and never shows in `Debug`.
pub struct Svid {
    pub id: SpiffeId,
    /// Leaf first, then intermediates.
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

/// How things stand between us and the agent (design section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentState {
    /// Nothing has been received since start.
    Starting,
    /// The stream is up and the SVID is valid.
    Fresh,
    /// The agent is unreachable or silent past its time; the SVID is still valid and in use.
    Stale,
    /// The agent says that we have no identity: nothing is used any more.
    Denied,
    /// The SVID has run out: nothing is used any more.
    Expired,
    /// No Workload API is configured.
    Absent,
}

/// An [`AgentState`] with since when and why.
#[derive(Debug, Clone)]
pub struct AgentStatus {
    pub state: AgentState,
    pub since: SystemTime,
    /// One line for the operator, `None` when all is well.
    pub detail: Option<String>,
    /// When the last complete update arrived.
    pub last_update: Option<SystemTime>,
    /// When the SVID in use runs out.
    pub svid_not_after: Option<SystemTime>,
    /// Updates received since start, of the SVID or of trust bundles.
    pub updates: u64,
    /// SVIDs that took another's place since start.
    pub rotations: u64,
    /// Times the stream was lost since start.
    pub disconnects: u64,
}

impl Material {
    /// Before the first word from the agent.
    pub fn nothing() -> Self {
        Self { generation: 0, svid: None, bundles: Arc::default() }
    }
}

impl AgentStatus {
    pub fn starting(now: SystemTime) -> Self {
        Self {
            state: AgentState::Starting,
            since: now,
            detail: None,
            last_update: None,
            svid_not_after: None,
            updates: 0,
            rotations: 0,
            disconnects: 0,
        }
    }
}

impl AgentState {
    /// Every state's word.
    pub const WORDS: &[&str] = &["starting", "fresh", "stale", "denied", "expired", "absent"];

    /// The word used in readiness, metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Absent => "absent",
        }
    }
}

impl fmt::Debug for Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Svid")
            .field("id", &self.id.to_string())
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// The key does not stay behind in freed memory.
impl Drop for Svid {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}
