//! The proof that a workload is on the other end of a connection.

use std::sync::Arc;
use std::time::SystemTime;

use spiffe::{SpiffeId, TrustDomain};

use super::leaf::Leaf;

/// This workload is on the other end: it holds the key of a certificate that its own trust domain
/// vouched for when the connection began.
///
/// Cheap to clone. Made only in this room, after a completed handshake. It does not say that the
/// certificate still holds: see [`Peer::not_after`].
#[derive(Debug, Clone)]
pub struct Peer(Arc<Leaf>);

impl Peer {
    /// For a handshake that is complete: both the chain and the possession of the key are checked.
    pub(super) fn proven(leaf: &Arc<Leaf>) -> Self {
        Self(Arc::clone(leaf))
    }

    pub fn id(&self) -> &SpiffeId {
        &self.0.id
    }

    /// The SPIFFE ID in canonical form, without formatting it anew.
    pub fn uri(&self) -> &str {
        &self.0.uri
    }

    pub fn shared_uri(&self) -> Arc<str> {
        Arc::clone(&self.0.uri)
    }

    pub fn trust_domain(&self) -> &TrustDomain {
        self.0.id.trust_domain()
    }

    /// Of the leaf certificate in DER form.
    pub fn leaf_sha256(&self) -> &[u8; 32] {
        &self.0.sha256
    }

    /// In lower-case hexadecimal.
    pub fn serial(&self) -> &str {
        &self.0.serial
    }

    pub fn not_before(&self) -> SystemTime {
        self.0.validity.not_before
    }

    pub fn not_after(&self) -> SystemTime {
        self.0.validity.not_after
    }
}
