//! Public keys that others wrote down, for signatures that have nothing to do with a handshake.

use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;

/// Every `PUBLIC KEY` of a PEM file, in DER (RFC 5280 section 4.1.2.7). `None` if it is no PEM.
pub fn public_keys_of_pem(pem: &[u8]) -> Option<Vec<Vec<u8>>> {
    let keys = SubjectPublicKeyInfoDer::pem_slice_iter(pem);
    keys.map(|key| key.ok().map(|key| key.as_ref().to_vec())).collect()
}
