//! Callers and servers that keep no rule: certificates of any shape, frames that nobody asked for,
//! servers that hang up.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use sidegate::dev::{Authority, Issued};
use spiffe::SpiffeId;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::World;
use super::audit::Line;
use super::client::Raw;
use super::stranger::Anybody;
use super::wait::{until, within};

/// A certificate and its key.
pub struct Shown(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Shown {
    pub fn of_pem(chain: &str, key: &str) -> Self {
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>();
        Self(chain.unwrap(), PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
    }
}

/// One that an authority issued, `ago` before now.
pub fn issued(authority: &Authority, id: &str, ago: Duration, ttl: Duration) -> Shown {
    issued_at(authority, id, SystemTime::now() - ago, ttl)
}

pub fn issued_at(authority: &Authority, id: &str, now: SystemTime, ttl: Duration) -> Shown {
    let id = SpiffeId::new(id).unwrap();
    let Issued { chain, key, .. } = authority.issue(&id, now, ttl).unwrap();
    Shown(chain, key)
}

/// One that signs itself. But for its URI names and whether it is an authority it is an SVID to
/// the letter.
pub fn crafted(uris: &[&str], authority: bool) -> Shown {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "nobody");
    params.subject_alt_names =
        uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.is_ca = IsCa::ExplicitNoCa;
    if authority {
        params.key_usages.push(KeyUsagePurpose::KeyCertSign);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let certificate = params.self_signed(&key).unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    Shown(vec![certificate.der().clone()], key)
}

/// Connects with this certificate, says something, and returns what came back before the end.
pub async fn turned_away(address: SocketAddr, shown: Shown) -> String {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_client_auth_cert(shown.0, shown.1)
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("sidecar.test").unwrap();
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
    // In TLS 1.3 the server judges after the client is done: the refusal may come later.
    match within("a handshake", handshake).await {
        Ok(stream) => heard_by(Raw::new(stream)).await,
        Err(_) => String::new(),
    }
}

/// Asks for something on this connection and returns what came back before the end.
pub async fn heard_by(mut raw: Raw) -> String {
    raw.try_send("GET /orders/7 HTTP/1.1\r\nhost: a\r\n\r\n").await.ok();
    raw.last_words().await
}

impl World {
    /// The only audit line of `service` that has this reason, of a request or connection that its
    /// application never saw: it has seen `requests` others.
    pub async fn refused(&self, service: &str, reason: &str, requests: usize) -> Line {
        let line = self.audit(service).only(reason).await;
        assert_eq!(line.decision, "deny");
        assert_eq!(self.app(service).requests(), requests, "the application was reached");
        line
    }

    /// The policy in force at `service`, after `change` has been noticed.
    pub async fn repoliced(&mut self, service: &str, change: impl FnOnce(&mut Self)) {
        let before = self.policy_in_force(service).await;
        change(self);
        until("the new policy to be in force", async || {
            (self.policy_in_force(service).await != before).then_some(())
        })
        .await;
    }

    async fn policy_in_force(&self, service: &str) -> String {
        let metrics = self.metrics(service).await;
        let mut infos = metrics.samples().filter(|(name, ..)| *name == "sidegate_policy_info");
        infos.next().expect("the policy has a revision").1.to_owned()
    }
}

/// What a server does with a connection once it has a whole request head.
#[derive(Debug, Clone, Copy)]
pub enum Manners {
    /// Answers properly, keeps the connection as it was asked to, and closes it all the same.
    AnswersOnceAndCloses,
    /// Hangs up instead of answering.
    HangsUp,
    /// Never says anything.
    SaysNothing,
    /// Answers as long as it is asked.
    Answers,
}

/// A server with a real SVID that is no sidecar.
pub struct Server {
    heads: mpsc::UnboundedReceiver<String>,
    closed: mpsc::UnboundedReceiver<()>,
    task: JoinHandle<()>,
}

impl Server {
    /// On a socket that is bound already.
    pub fn on(listener: TcpListener, shown: Shown, manners: Manners) -> Self {
        let acceptor = acceptor(shown, &["http/1.1"]);
        let (to_heads, heads) = mpsc::unbounded_channel();
        let (to_closed, closed) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, to_heads, to_closed) =
                    (acceptor.clone(), to_heads.clone(), to_closed.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    converse(Raw::new(stream), manners, &to_heads).await.ok();
                    to_closed.send(()).ok();
                });
            }
        });
        Self { heads, closed, task }
    }

    /// The next request head that came, as it came.
    pub async fn head(&mut self) -> String {
        within("a request at the server", self.heads.recv()).await.unwrap()
    }

    /// Whether a request has come that nobody has looked at yet.
    pub fn was_asked(&mut self) -> bool {
        self.heads.try_recv().is_ok()
    }

    /// Waits until a connection has been closed.
    pub async fn has_closed(&mut self) {
        within("the server to close", self.closed.recv()).await.unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(
    mut raw: Raw,
    manners: Manners,
    heads: &mpsc::UnboundedSender<String>,
) -> io::Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(raw.0.read_u8().await?);
        }
        heads.send(String::from_utf8(head).unwrap()).ok();
        match manners {
            Manners::HangsUp => return Ok(()),
            Manners::SaysNothing => {
                raw.0.read_u8().await?;
                return Ok(());
            }
            Manners::Answers | Manners::AnswersOnceAndCloses => {
                raw.try_send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await?;
            }
        }
        if matches!(manners, Manners::AnswersOnceAndCloses) {
            raw.finish().await;
            return Ok(());
        }
    }
}

pub fn acceptor(Shown(chain, key): Shown, alpn: &[&str]) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// HTTP/2 by hand: frames that no library would send.
pub mod h2 {
    use super::{AsyncReadExt, Raw, within};

    pub const REFUSED_STREAM: u32 = 7;
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const END_STREAM_AND_HEADERS: u8 = 0x5;
    const CANCEL: u32 = 8;

    /// The preface and our settings.
    pub fn hello() -> Vec<u8> {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(SETTINGS, 0, 0, &[]));
        bytes
    }

    /// `GET` as a whole.
    pub fn get(stream: u32, path: &str) -> Vec<u8> {
        // Indexed `:method: GET` and `:scheme: https`, then `:path` and `:authority` literally.
        let mut block = vec![0x82, 0x87, 0x04, u8::try_from(path.len()).unwrap()];
        block.extend_from_slice(path.as_bytes());
        block.extend_from_slice(b"\x01\x01a");
        frame(HEADERS, END_STREAM_AND_HEADERS, stream, &block)
    }

    pub fn reset(stream: u32) -> Vec<u8> {
        frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
    }

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        frame
    }

    /// Reads frames until one stream is reset; says which and why.
    pub async fn reset_seen(raw: &mut Raw) -> (u32, u32) {
        loop {
            let mut head = [0; 9];
            within("a frame", raw.0.read_exact(&mut head)).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            within("a payload", raw.0.read_exact(&mut payload)).await.unwrap();
            if head[3] == RST_STREAM {
                let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
                return (stream, u32::from_be_bytes(payload.try_into().unwrap()));
            }
        }
    }
}
