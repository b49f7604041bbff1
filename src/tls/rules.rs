//! What holds for every handshake, whoever is on the other end: suites, groups, versions, and that
//! nothing is resumed.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};

use super::Settings;

/// In order of preference. AES-128 moves bulk data a tenth faster than AES-256.
const SUITES: &[SupportedCipherSuite] = &[
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS13_AES_256_GCM_SHA384,
    cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
];
const SUITES_TLS12: &[SupportedCipherSuite] = &[
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];
const ONLY_TLS13: &[&SupportedProtocolVersion] = &[&TLS13];
const TLS13_AND_TLS12: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
/// The hybrid first: what is recorded today should stay secret from tomorrow's computers.
const GROUPS: &[&dyn SupportedKxGroup] =
    &[kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];

/// What does not change with identity and trust.
#[derive(Debug)]
pub(super) struct Rules {
    provider: Arc<CryptoProvider>,
    versions: &'static [&'static SupportedProtocolVersion],
    pub allow_tls12: bool,
}

impl Rules {
    pub(super) fn new(settings: Settings) -> Self {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites = SUITES.to_vec();
        provider.kx_groups = GROUPS.to_vec();
        let mut versions = ONLY_TLS13;
        if settings.allow_tls12 {
            provider.cipher_suites.extend_from_slice(SUITES_TLS12);
            versions = TLS13_AND_TLS12;
        }
        Self { provider: Arc::new(provider), versions, allow_tls12: settings.allow_tls12 }
    }

    pub(super) fn provider(&self) -> &Arc<CryptoProvider> {
        &self.provider
    }

    pub(super) fn algorithms(&self) -> WebPkiSupportedAlgorithms {
        self.provider.signature_verification_algorithms
    }

    /// The key with its chain, if the two belong together.
    pub(super) fn certified(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<CertifiedKey, rustls::Error> {
        let key = self.provider.key_provider.load_private_key(key)?;
        let key = CertifiedKey::new(chain, key);
        key.keys_match()?;
        Ok(key)
    }

    /// For one connection: the TLS library ties a verifier to a configuration.
    pub(super) fn server(
        &self,
        verifier: Arc<dyn ClientCertVerifier>,
        shown: Arc<dyn ResolvesServerCert>,
        alpn: &[Vec<u8>],
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(self.versions)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(shown);
        config.alpn_protocols = alpn.to_vec();
        config.ignore_client_order = true;
        // Every connection is judged by today's trust: nothing is resumed, nothing comes early.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_tls13_tickets = 0;
        config.max_early_data_size = 0;
        config.require_ems = true;
        config.cert_compressors = Vec::new();
        config.cert_decompressors = Vec::new();
        Ok(Arc::new(config))
    }

    /// Without server name indication: who wants it switches it on.
    pub(super) fn client(
        &self,
        verifier: Arc<dyn ServerCertVerifier>,
        shown: Option<Arc<SingleCertAndKey>>,
    ) -> Result<ClientConfig, rustls::Error> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(self.versions)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match shown {
            Some(key) => builder.with_client_cert_resolver(key),
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        config.enable_sni = false;
        config.require_ems = true;
        config.cert_compressors = Vec::new();
        config.cert_decompressors = Vec::new();
        Ok(config)
    }
}
