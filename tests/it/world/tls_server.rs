//! HTTP/1.1 over TLS on loopback, for servers that the world needs beside sidecars: it can be taken
//! away, and comes back at the same address.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::wait;

/// What a server says.
pub trait Answers: Send + Sync + 'static {
    fn answer(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<Full<Bytes>>> + Send;

    /// Something else than HTTP to be said on a connection, and then it ends. `None`: HTTP.
    fn instead(&self) -> Option<&'static [u8]> {
        None
    }
}

/// Dropping it takes the server away.
pub struct TlsServer<A> {
    port: u16,
    tls: Arc<ServerConfig>,
    what: Arc<A>,
    running: Mutex<Option<JoinHandle<()>>>,
}

impl<A: Answers> TlsServer<A> {
    pub fn start(listener: TcpListener, tls: Arc<ServerConfig>, what: &Arc<A>) -> Self {
        let port = listener.local_addr().unwrap().port();
        let server = Self { port, tls, what: Arc::clone(what), running: Mutex::default() };
        server.serve(listener);
        server
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn stop(&self) {
        stop(&self.running);
    }

    /// Brings it back to the same address.
    pub async fn back(&self) {
        let bind = async || TcpListener::bind(("127.0.0.1", self.port)).await.ok();
        let listener = wait::until("the server's port", bind).await;
        self.serve(listener);
    }

    fn serve(&self, listener: TcpListener) {
        let (what, acceptor) = (Arc::clone(&self.what), TlsAcceptor::from(Arc::clone(&self.tls)));
        let running = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (what, acceptor) = (Arc::clone(&what), acceptor.clone());
                connections.spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        talk(stream, what).await;
                    }
                });
            }
        });
        *self.running.lock().unwrap() = Some(running);
    }
}

async fn talk(mut stream: TlsStream<TcpStream>, what: Arc<impl Answers>) {
    if let Some(bytes) = what.instead() {
        stream.write_all(bytes).await.ok();
        stream.shutdown().await.ok();
        return;
    }
    let service = service_fn(|request| {
        let what = Arc::clone(&what);
        async move { Ok::<_, Infallible>(what.answer(request).await) }
    });
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
}

fn stop(running: &Mutex<Option<JoinHandle<()>>>) {
    if let Some(running) = running.lock().unwrap().take() {
        running.abort();
    }
}

impl<A> Drop for TlsServer<A> {
    fn drop(&mut self) {
        stop(&self.running);
    }
}
