//! What a peer sends to prove itself, before anyone has looked at it, and how much of it is taken.

use rustls::pki_types::CertificateDer;
use webpki::KeyUsage;

use super::error::SvidError;

/// Leaf and intermediates together.
const CHAIN_MAX: usize = 16;
const CHAIN_BYTES_MAX: usize = 64 * 1024;

/// What the peer sent, and how it is used.
#[derive(Clone, Copy)]
pub(super) struct Chain<'a> {
    pub leaf: &'a CertificateDer<'a>,
    pub intermediates: &'a [CertificateDer<'a>],
    pub role: Role,
}

/// What the peer is on its connection: certificates may be good for one and not for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Client,
    Server,
}

impl Chain<'_> {
    pub(super) fn within_limits(&self) -> Result<(), SvidError> {
        if self.intermediates.len() >= CHAIN_MAX {
            return Err(SvidError::ChainTooLong);
        }
        if self.bytes() > CHAIN_BYTES_MAX {
            return Err(SvidError::ChainTooLarge);
        }
        Ok(())
    }

    pub(super) fn bytes(&self) -> usize {
        self.leaf.len() + self.intermediates.iter().map(|it| it.len()).sum::<usize>()
    }
}

impl Role {
    pub(super) fn usage(self) -> KeyUsage {
        match self {
            Self::Client => KeyUsage::client_auth(),
            Self::Server => KeyUsage::server_auth(),
        }
    }
}
