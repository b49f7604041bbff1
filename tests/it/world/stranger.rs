//! A caller without a sidecar of ours: real certificates, any bytes.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sidegate::dev::{Authority, Issued};
use spiffe::SpiffeId;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::client::{Http, Raw};

/// Somebody who connects to an inbound listener on their own.
pub struct Stranger {
    config: ClientConfig,
    address: std::net::SocketAddr,
    server: &'static str,
}

impl Stranger {
    /// With an SVID of this authority; `None` shows no certificate at all.
    pub fn new(
        address: std::net::SocketAddr,
        authority: Option<(&Authority, &str, Duration)>,
    ) -> Self {
        let issued = authority.map(|(authority, id, ttl)| {
            authority.issue(&SpiffeId::new(id).unwrap(), SystemTime::now(), ttl).unwrap()
        });
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody));
        let config = match issued {
            Some(Issued { chain, key, .. }) => builder.with_client_auth_cert(chain, key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        Self { config, address, server: "sidecar.test" }
    }

    /// The name of the server that it says it wants.
    pub fn asking_for(mut self, server: &'static str) -> Self {
        self.server = server;
        self
    }

    /// What the other side shows of itself to a new connection.
    pub async fn is_shown(&self) -> CertificateDer<'static> {
        let stream = self.connect(&[]).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    }

    /// The handshake as far as the client sees it: in TLS 1.3 the server may refuse after it.
    pub async fn connect(&self, alpn: &[&str]) -> io::Result<TlsStream<TcpStream>> {
        let mut config = self.config.clone();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(self.server).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    pub async fn http1(&self) -> Http {
        Http::http1(self.connect(&["http/1.1"]).await.unwrap()).await.unwrap()
    }

    pub async fn http2(&self) -> Http {
        Http::http2(self.connect(&["h2"]).await.unwrap()).await.unwrap()
    }

    /// Bytes as they are, after a handshake that settles on HTTP/1.1.
    pub async fn raw(&self) -> Raw {
        Raw::new(self.connect(&["http/1.1"]).await.unwrap())
    }

    /// Sends these bytes on a connection of their own and reads the answer's status and code.
    pub async fn asks(&self, bytes: impl AsRef<[u8]>) -> (u16, String) {
        let mut raw = self.raw().await;
        raw.send(bytes).await;
        raw.answer().await
    }
}

/// Trusts every server: it is the server that is tried here.
#[derive(Debug)]
pub struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
