//! Two trust domains, ourselves, and strangers who present what they like.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
};
use spiffe::{SpiffeId, TrustDomain};
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::testkit::{Draft, HOUR, Issued, at, now};
use crate::files::SecretFile;
use crate::identity::{Identity, Material, Svid, TrustBundles};
use crate::live::{Live, Publisher, live};
use crate::secret::Secret;
use crate::tls::certificate::{CertificateFiles, Followed, OnDisk};
use crate::tls::{
    Accepted, Acceptor, Alpn, Callers, Connected, Connector, Context, HandshakeError, Peer, Roots,
    Settings, contexts, roots,
};

pub const US: &str = "spiffe://example.org/prod/us";
pub const THEM: &str = "spiffe://example.org/prod/them";
pub const PARTNER: &str = "spiffe://partner.example/prod/partner";

/// All roots have the same subject name: only keys tell them apart.
pub struct World {
    pub root: Issued,
    pub partner: Issued,
    /// Of web servers. In no trust bundle.
    pub web: Issued,
}

impl World {
    pub fn new() -> Self {
        Self {
            root: Issued::root(&Draft::authority("spiffe://example.org", "root")),
            partner: Issued::root(&Draft::authority("spiffe://partner.example", "root")),
            web: Issued::root(&Draft::authority("", "root").with(|draft| draft.san = None)),
        }
    }

    pub fn bundles(&self) -> TrustBundles {
        BTreeMap::from([
            (domain("example.org"), self.root.chain.clone()),
            (domain("partner.example"), self.partner.chain.clone()),
        ])
    }

    pub fn material(&self, generation: u64, bundles: TrustBundles) -> Material {
        let svid = Some(Arc::new(svid(US, &self.root.issue(&Draft::leaf(US)))));
        Material { generation, svid, bundles: Arc::new(bundles) }
    }

    pub fn roots(&self) -> Live<Roots> {
        let pem = self.web.chain_pem().into_bytes();
        roots::Followed::start(Path::new("web.pem"), pem).unwrap().roots.live()
    }

    /// What we make of this world.
    pub fn ours(&self) -> Live<Context> {
        self.ours_with(self.bundles(), Settings::default())
    }

    pub fn ours_with(&self, bundles: TrustBundles, settings: Settings) -> Live<Context> {
        contexts(&identity(self.material(1, bundles)).1, settings)
    }
}

pub fn domain(name: &str) -> TrustDomain {
    TrustDomain::new(name).unwrap()
}

pub fn id(text: &str) -> SpiffeId {
    SpiffeId::new(text).unwrap()
}

pub fn svid(name: &str, issued: &Issued) -> Svid {
    Svid {
        id: id(name),
        chain: issued.chain.clone(),
        key: issued.key_der(),
        not_before: at(-HOUR),
        not_after: at(HOUR),
    }
}

/// What is in the files of a certificate.
pub fn on_disk(chain: &Issued, key: &Issued) -> OnDisk {
    OnDisk { chain: chain.chain_pem().into_bytes(), key: Secret::new(key.key_pem()) }
}

/// A certificate from files, without the files.
pub fn followed(issued: &Issued) -> Followed {
    let key = SecretFile { path: "tls.key".into(), danger_readable_by_others: false };
    let files = CertificateFiles { chain: "tls.crt".into(), key };
    Followed::start(files, on_disk(issued, issued), now()).unwrap()
}

pub fn identity(material: Material) -> (Publisher<Material>, Identity) {
    let (publisher, material) = live(material);
    let identity = Identity { material, ..Identity::absent() };
    (publisher, identity)
}

/// Nothing here waits for anything but the other side: what takes longer never ends.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("a handshake that ends")
}

pub fn pipe() -> (DuplexStream, DuplexStream) {
    tokio::io::duplex(256 * 1024)
}

/// What we made of a peer, and how the peer saw it end.
pub struct Outcome {
    pub ours: Result<Peer, HandshakeError>,
    /// `None` if the peer saw no refusal.
    pub theirs: Option<String>,
}

/// Both directions: the stranger calls us, and we call the stranger whoever it may be.
pub async fn meet(ours: &Live<Context>, stranger: &Issued, expect: &[&str]) -> [Outcome; 2] {
    [soon(called_by(ours, stranger)).await, soon(call(ours, stranger, expect)).await]
}

async fn called_by(ours: &Live<Context>, stranger: &Issued) -> Outcome {
    let (near, far) = pipe();
    let acceptor = Acceptor::new(ours.clone(), &[], Callers::Verified);
    let theirs = async {
        let connector = TlsConnector::from(Arc::new(rude_client(Some(stranger))));
        let mut stream = match connector.connect(any_name(), far).await {
            Ok(stream) => stream,
            Err(error) => return Some(error.to_string()),
        };
        // Only the first read shows what the server made of our certificate.
        stream.read_u8().await.err().map(|error| error.to_string())
    };
    let (accepted, theirs) = tokio::join!(greet(acceptor.accept(near, now())), theirs);
    Outcome { ours: accepted, theirs }
}

/// Says one byte to whoever was accepted.
async fn greet(
    accept: impl Future<Output = Result<Accepted<DuplexStream>, HandshakeError>>,
) -> Result<Peer, HandshakeError> {
    let mut accepted = accept.await?;
    tokio::io::AsyncWriteExt::write_all(&mut accepted.stream, b"!").await.unwrap();
    tokio::io::AsyncWriteExt::flush(&mut accepted.stream).await.unwrap();
    Ok(accepted.peer.unwrap())
}

async fn call(ours: &Live<Context>, stranger: &Issued, expect: &[&str]) -> Outcome {
    let (near, far) = pipe();
    let expect = expect.iter().filter_map(|text| SpiffeId::new(text).ok()).collect();
    let connector = Connector::new(ours.clone(), &[], expect);
    let acceptor = TlsAcceptor::from(Arc::new(rude_server(stranger)));
    let (connected, theirs) = tokio::join!(connector.connect(near, now()), acceptor.accept(far));
    Outcome {
        ours: connected.map(|connected| connected.peer),
        theirs: theirs.err().map(|error| error.to_string()),
    }
}

/// Two of ours with each other.
pub async fn shake(
    acceptor: &Acceptor,
    connector: &Connector,
) -> (Result<Accepted<DuplexStream>, HandshakeError>, Result<Connected<DuplexStream>, HandshakeError>)
{
    let (near, far) = pipe();
    soon(async { tokio::join!(acceptor.accept(near, now()), connector.connect(far, now())) }).await
}

pub fn pair(ours: &Live<Context>, alpn: &[Alpn]) -> (Acceptor, Connector) {
    (
        Acceptor::new(ours.clone(), alpn, Callers::Verified),
        Connector::new(ours.clone(), alpn, vec![id(US)]),
    )
}

/// A client that accepts any server and presents what it is told to.
pub fn rude_client(shown: Option<&Issued>) -> ClientConfig {
    rude_client_with(shown, rustls::ALL_VERSIONS)
}

pub fn rude_client_with(
    shown: Option<&Issued>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone));
    let mut config = match shown {
        Some(shown) => builder.with_client_cert_resolver(Arc::new(resolver(shown))),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::in_memory_sessions(8);
    config
}

pub fn rude_server(shown: &Issued) -> ServerConfig {
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(Arc::new(Anyone))
        .with_cert_resolver(Arc::new(resolver(shown)))
}

/// A server as there are many: it asks nobody for a certificate, and hands out tickets.
pub fn web_server(
    shown: &Issued,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ServerConfig {
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver(shown)))
}

pub fn any_name() -> ServerName<'static> {
    ServerName::try_from("anything.example").unwrap()
}

/// Without the checks that would stop us from presenting a broken certificate.
fn resolver(shown: &Issued) -> SingleCertAndKey {
    let provider = aws_lc_rs::default_provider();
    let key = provider.key_provider.load_private_key(shown.key_der()).unwrap();
    SingleCertAndKey::from(CertifiedKey::new(shown.chain.clone(), key))
}

#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let provider = aws_lc_rs::default_provider();
        verify_tls12_signature(message, cert, dss, &provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let provider = aws_lc_rs::default_provider();
        verify_tls13_signature(message, cert, dss, &provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Anyone {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ServerCertVerifier::verify_tls12_signature(self, message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ServerCertVerifier::supported_verify_schemes(self)
    }
}
