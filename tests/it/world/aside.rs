//! A caller's sidecar that a test configures itself, once issuer and folders are there; and servers
//! that are not what such a caller should talk to.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use sidegate::app::{self, Running};
use sidegate::config;
use sidegate::dev::WebAuthority;
use sidegate::net::Listen;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::client::{Http, Raw, Reply};
use super::hostile::{Shown, acceptor};
use super::side::{self, Metrics};
use super::wait::until;
use super::{World, audit::Audit, secrets};

/// The sidecar, outside SPIFFE unless told otherwise, with one destination.
pub struct Aside {
    pub folder: PathBuf,
    running: Running,
}

impl World {
    /// Calls `orders` by token. `say` goes into the outbound listener as it is.
    pub fn aside(&self, say: Value) -> Aside {
        self.aside_in(say, json!({}), &[])
    }

    /// The same with more keys at the top of the configuration, and with environment variables.
    pub fn aside_in(&self, say: Value, top: Value, variables: &[(&str, &str)]) -> Aside {
        let folder = tempfile::tempdir_in(self.folder.path()).unwrap().keep();
        let mut outbound = json!({
            "name": "orders",
            "listen": "127.0.0.1:0",
            "authenticate_with": ["jwt"],
            "server": {"name": "orders.test", "ca": self.path("ca.pem")},
        });
        if say.get("connect_to").is_none() {
            outbound["connect_to"] = json!(self.address("orders").to_string());
        }
        outbound.as_object_mut().unwrap().extend(say.as_object().unwrap().clone());
        let mut configuration = json!({
            "tenant": "acme",
            "workers": 1,
            "outbound": [outbound],
            "policy": self.path("orders").join("policy"),
            "audit": {"to": folder.join("audit.jsonl")},
            "health": {"listen": "127.0.0.1:0"},
            "metrics": {"listen": "127.0.0.1:0"},
        });
        configuration.as_object_mut().unwrap().extend(top.as_object().unwrap().clone());
        let text = configuration.to_string();
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let config = config::parse(&text, "aside.yaml", variables.iter().map(own))
            .unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        let running = app::start(config).unwrap_or_else(|error| panic!("{error:#}"));
        Aside { folder, running }
    }

    /// A folder for what a test hands to such a sidecar.
    pub fn hand(&self) -> PathBuf {
        tempfile::tempdir_in(self.folder.path()).unwrap().keep()
    }

    /// A certificate for any name, and its key, as `tls.crt` and `tls.key`.
    pub fn certify_as(&self, name: &str, folder: &Path) {
        let (chain, key) = self.web.issue(&[name], Duration::from_secs(3_600)).unwrap();
        secrets::keep("a sidecar's TLS key", &key);
        super::issuer::write_private(&folder.join("tls.key"), key.expose());
        super::issuer::write_private(&folder.join("tls.crt"), &chain);
    }

    /// What a server with this name shows that callers trust.
    pub fn shown(&self, name: &str, ttl: Duration) -> Shown {
        shown_by(&self.web, name, ttl)
    }
}

/// A server certificate by any authority.
pub fn shown_by(authority: &WebAuthority, name: &str, ttl: Duration) -> Shown {
    let (chain, key) = authority.issue(&[name], ttl).unwrap();
    secrets::keep("a server's TLS key", &key);
    Shown::of_pem(&chain, key.expose())
}

impl Aside {
    fn address(&self) -> SocketAddr {
        match self.running.outbound("orders").unwrap() {
            Listen::Tcp(address) => *address,
            Listen::Unix(path) => panic!("{} is no TCP address", path.display()),
        }
    }

    async fn stream(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.unwrap()
    }

    pub async fn raw(&self) -> Raw {
        Raw::new(self.stream().await)
    }

    pub async fn http1(&self) -> Http {
        Http::http1(self.stream().await).await.unwrap()
    }

    pub async fn http2(&self) -> Http {
        Http::http2(self.stream().await).await.unwrap()
    }

    /// On a connection of its own.
    pub async fn get(&self, path: &str) -> Reply {
        self.http1().await.get(path).await
    }

    pub async fn metrics(&self) -> Metrics {
        Metrics::scrape(self.running.metrics().unwrap()).await
    }

    pub fn audit(&self) -> Audit {
        Audit(self.folder.join("audit.jsonl"))
    }

    pub async fn not_ready(&self) -> Vec<String> {
        side::reasons(self.running.health().unwrap(), "/ready").await
    }

    pub async fn ready(&self) {
        until("it to be ready", async || self.not_ready().await.is_empty().then_some(())).await;
    }

    /// What the probe says in all its words.
    pub async fn says(&self) -> Value {
        side::ask(self.running.health().unwrap(), "/ready").await.json()
    }

    /// Waits until this and nothing else stands in the way.
    pub async fn lacks(&self, code: &str) {
        let what = format!("it to be not ready because of {code}");
        until(&what, async || (self.not_ready().await == [code]).then_some(())).await;
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let audit = std::fs::read(self.folder.join("audit.jsonl")).unwrap_or_default();
        secrets::none_in("the audit log of a sidecar aside", &audit);
        for (address, path) in
            [(self.running.metrics(), "/metrics"), (self.running.health(), "/ready")]
        {
            let answer = super::tokens::asked(address.unwrap(), path);
            secrets::none_in(&format!("{path} of a sidecar aside"), &answer);
        }
    }
}

/// The codes of what is only worth knowing.
pub async fn notes(health: SocketAddr) -> Vec<String> {
    let body = side::ask(health, "/ready").await.json();
    let notes = body["notes"].as_array().cloned().unwrap_or_default();
    notes.iter().map(|note| note["code"].as_str().unwrap().to_owned()).collect()
}

/// A server that remembers every byte that it hears.
pub struct Witness {
    pub address: SocketAddr,
    met: Arc<Mutex<Vec<Met>>>,
    task: JoinHandle<()>,
}

/// One connection, once it has ended.
#[derive(Debug, Clone)]
pub struct Met {
    /// TLS was agreed on.
    pub shaken: bool,
    /// Inside TLS, or all of it where there was none.
    pub heard: Vec<u8>,
}

impl Witness {
    /// Speaks TLS with this certificate; without one it answers in plaintext to whatever comes.
    pub async fn start(shown: Option<Shown>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let met = Arc::new(Mutex::new(Vec::new()));
        let acceptor = shown.map(|shown| acceptor(shown, &["h2", "http/1.1"]));
        let seen = Arc::clone(&met);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
                tokio::spawn(async move {
                    let met = meet(acceptor, stream).await;
                    seen.lock().unwrap().push(met);
                });
            }
        });
        Self { address, met, task }
    }

    /// Everybody that was met, once they are this many.
    pub async fn met(&self, count: usize) -> Vec<Met> {
        let what = format!("{count} connections to have ended");
        until(&what, async || {
            let met = self.met.lock().unwrap();
            (met.len() >= count).then(|| met.clone())
        })
        .await
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn meet(acceptor: Option<tokio_rustls::TlsAcceptor>, mut stream: TcpStream) -> Met {
    let Some(acceptor) = acceptor else {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.ok();
        return Met { shaken: false, heard: all(stream).await };
    };
    match acceptor.accept(stream).await {
        Ok(stream) => Met { shaken: true, heard: all(stream).await },
        Err(_) => Met { shaken: false, heard: Vec::new() },
    }
}

async fn all(mut stream: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        heard.extend_from_slice(&buffer[..read]);
    }
    heard
}

/// The swap by which Kubernetes updates a volume: a new folder, and one link that is replaced.
pub fn swap_volume(volume: &Path, version: &str, name: &str, text: &str) {
    use std::os::unix::fs::symlink;
    let folder = volume.join(format!("..{version}"));
    std::fs::create_dir(&folder).unwrap();
    super::issuer::write_private(&folder.join(name), text);
    symlink(format!("..{version}"), volume.join("..data_tmp")).unwrap();
    std::fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    if volume.join(name).symlink_metadata().is_err() {
        symlink(Path::new("..data").join(name), volume.join(name)).unwrap();
    }
}
