//! How servers of the world prove themselves to those who know their authority.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sidegate::dev::WebAuthority;

use super::secrets;

/// TLS of a server on `localhost`.
pub fn localhost(authority: &WebAuthority) -> Arc<ServerConfig> {
    let (chain, key) = authority.issue(&["localhost"], Duration::from_secs(3_600)).unwrap();
    secrets::keep("a server's TLS key", &key);
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>();
    let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.unwrap(), key);
    Arc::new(config.unwrap())
}
