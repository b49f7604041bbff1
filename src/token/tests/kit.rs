//! An issuer to talk to over real TLS, and an ear for the log.

use std::convert::Infallible;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

use crate::dev::WebAuthority;
use crate::live::Live;
use crate::tls::RootsFrom;
use crate::web::HttpsUrl;

/// Nothing takes as long on a machine that is only busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `live` holds something that pleases.
pub async fn until<T: fmt::Debug>(live: &Live<T>, pleases: impl Fn(&T) -> bool) -> Arc<T> {
    let mut changes = live.changes();
    let wait = async {
        loop {
            let now = live.snapshot();
            if pleases(&now) {
                return now;
            }
            changes.changed().await;
        }
    };
    let Ok(found) = tokio::time::timeout(PATIENCE, wait).await else {
        panic!("still {:?}", live.snapshot());
    };
    found
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What is logged on this thread, from trace to error.
pub struct Log {
    text: Written,
    _guard: DefaultGuard,
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub fn listen() -> Self {
        let text = Written::default();
        let lines = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .without_time()
            .with_writer(text.clone())
            .finish();
        Self { text, _guard: tracing::subscriber::set_default(lines) }
    }

    pub fn text(&self) -> String {
        String::from_utf8(lock(&self.text.0).clone()).unwrap()
    }

    /// How many lines of this level are about tokens and keys.
    pub fn count(&self, level: &str) -> usize {
        let ours = |line: &&str| line.trim_start().starts_with(level) && line.contains("::token::");
        self.text().lines().filter(ours).count()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Written {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub authorization: Option<String>,
    pub content_type: Option<String>,
    pub body: String,
}

/// What is answered.
#[derive(Debug, Clone)]
pub struct Said {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Said {
    pub fn ok(body: impl Into<String>) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.into() }
    }

    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: String::new() }
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

type Script = Box<dyn FnMut(&Asked) -> Said + Send>;

/// A web server on `127.0.0.1` that proves its name and counts what it is asked.
pub struct Server {
    pub base: String,
    /// The authority that vouches for it.
    pub roots: RootsFrom,
    shared: Arc<Shared>,
    folder: tempfile::TempDir,
}

struct Shared {
    asked: Mutex<Vec<Asked>>,
    script: Mutex<Script>,
}

impl Server {
    /// The script is told the server's own address.
    pub async fn start<S>(script: impl FnOnce(String) -> S) -> Self
    where
        S: FnMut(&Asked) -> Said + Send + 'static,
    {
        let authority = WebAuthority::new().unwrap();
        let (chain, key) = authority.issue(&["127.0.0.1"], Duration::from_secs(3600)).unwrap();
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).unwrap();
        let config =
            ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, authority.certificate_pem()).unwrap();

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("https://{}", listener.local_addr().unwrap());
        let script = Mutex::new(Box::new(script(base.clone())) as Script);
        let shared = Arc::new(Shared { asked: Mutex::default(), script });
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), Arc::clone(&shared)));
        Self { base, roots: RootsFrom::File(ca), shared, folder }
    }

    pub fn url(&self, path: &str) -> HttpsUrl {
        HttpsUrl::parse(&format!("{}{path}", self.base)).unwrap()
    }

    /// From now on.
    pub fn play(&self, script: impl FnMut(&Asked) -> Said + Send + 'static) {
        *lock(&self.shared.script) = Box::new(script);
    }

    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.shared.asked).clone()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            // A caller that does not believe us hangs up.
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = hyper::service::service_fn(|request| answer(request, &shared));
            let served = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            drop(served.await);
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: &Shared,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let header = |name| head.headers.get(name).map(|it| it.to_str().unwrap().to_owned());
    let asked = Asked {
        method: head.method.to_string(),
        path: head.uri.to_string(),
        authorization: header("authorization"),
        content_type: header("content-type"),
        body: String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap(),
    };
    lock(&shared.asked).push(asked.clone());
    let said = lock(&shared.script)(&asked);
    let mut response = Response::builder().status(said.status);
    for (name, value) in said.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::from(said.body)).unwrap())
}
