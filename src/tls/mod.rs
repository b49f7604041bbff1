//! Handshakes by X.509-SVID in both directions: the one place where a [`Peer`] is made. And those
//! with callers who have no SVID, and with servers that are known by their name.
//!
//! TLS 1.3 unless told otherwise, key exchange that also withstands quantum computers, mutual
//! authentication unless told otherwise. No resumption and no early data: every connection is
//! judged by the trust of its moment. Knows nothing of requests and policy, and never reads the
//! clock for a verdict on a peer.

mod error;
mod alpn;
mod rules;
mod x509;
mod leaf;
mod peer;
mod chain;
mod memory;
mod trust;
mod verifier;
mod context;
mod roots;
mod certificate;
mod session;
mod stream;
mod server;
mod client;
mod named;
mod public_key;

pub use alpn::Alpn;
pub use certificate::{
    Certificate, CertificateError, CertificateFiles, CertificateStatus, certificate,
};
pub use client::{Connected, Connector};
pub use context::{Context, Own, OwnTerms, contexts};
pub use error::{HandshakeError, SvidError, peer_alert};
pub use named::{HostName, Named, NamedConnector};
pub use peer::Peer;
pub use public_key::public_keys_of_pem;
pub use roots::{Roots, RootsError, RootsFrom, roots};
pub use server::{Accepted, Acceptor, Callers, Presented};
pub use session::Session;
pub use stream::{ClientStream, ServerStream, TlsStream};

use rustls::pki_types::CertificateDer;

/// How handshakes are made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings {
    /// Speak TLS 1.2 with peers that cannot do better.
    pub allow_tls12: bool,
}

/// The SPIFFE ID in a leaf certificate that keeps every leaf rule. It proves nothing about anyone:
/// for tools, and for fuzzing the reader of strangers' certificates.
#[doc(hidden)]
pub fn inspect_leaf(der: &[u8]) -> Result<spiffe::SpiffeId, SvidError> {
    match leaf::read(&CertificateDer::from(der)) {
        Ok(leaf) => Ok(leaf.id),
        Err(rejected) => Err(rejected.reason),
    }
}

#[cfg(test)]
mod tests;
