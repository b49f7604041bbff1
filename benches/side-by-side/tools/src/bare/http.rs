//! HTTP through hyper on both ends: the cheapest proxy that hyper can be.
//!
//! HTTP/1.1 keeps its upstream connection beside the caller's, and lends it to the next caller of
//! the thread when that one is gone. HTTP/2 has one upstream connection for each thread: measured a
//! few percent cheaper than one for each caller.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use http::header::{CONNECTION, HeaderName};
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::spawn_local;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server as tls_server};

use super::tls::{Identity, server_name};
use crate::net::{self, LocalExecutor};

const XFCC: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// Any of the four connections of a pair.
trait Io: AsyncRead + AsyncWrite + Unpin {}
impl Io for TcpStream {}
impl Io for client::TlsStream<TcpStream> {}
impl Io for tls_server::TlsStream<TcpStream> {}

pub(super) async fn serve_http1(
    listener: TcpListener,
    connect: SocketAddr,
    identity: Identity,
) -> Result<()> {
    let pool = Rc::new(Pool { connect, identity, free: RefCell::default() });
    loop {
        let stream = net::accept(&listener).await;
        let pool = Rc::clone(&pool);
        // A connection that fails is closed: that is all that its caller is told.
        spawn_local(async move {
            match &pool.identity {
                Identity::Client(_) => http1_connection(stream, None, &pool).await,
                Identity::Server(config) => {
                    let stream = TlsAcceptor::from(Arc::clone(config)).accept(stream).await?;
                    let caller = caller(&stream)?;
                    http1_connection(stream, Some(caller), &pool).await
                }
            }
        });
    }
}

/// What the application is told of the caller.
fn caller(stream: &tls_server::TlsStream<TcpStream>) -> Result<HeaderValue> {
    let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let uri = leaf.and_then(super::tls::uri).ok_or_else(|| anyhow!("no peer"))?;
    Ok(HeaderValue::try_from(format!("URI={uri}"))?)
}

/// Upstream connections that no caller has.
struct Pool {
    connect: SocketAddr,
    identity: Identity,
    free: RefCell<Vec<http1::SendRequest<Incoming>>>,
}

async fn http1_connection(
    stream: impl Io + 'static,
    caller: Option<HeaderValue>,
    pool: &Pool,
) -> Result<()> {
    let kept = RefCell::new(None);
    let service = service_fn(async |mut request: Request<Incoming>| {
        prepare(&mut request, caller.as_ref());
        let upstream = kept.take();
        let mut upstream = pool.ready(upstream).await?;
        let mut response = upstream.send_request(request).await?;
        response.headers_mut().remove(CONNECTION);
        kept.replace(Some(upstream));
        anyhow::Ok(response)
    });
    let ended =
        server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    if let Some(upstream) = kept.take() {
        pool.free.borrow_mut().push(upstream);
    }
    Ok(ended?)
}

impl Pool {
    async fn ready(
        &self,
        kept: Option<http1::SendRequest<Incoming>>,
    ) -> Result<http1::SendRequest<Incoming>> {
        let mut next = kept;
        while let Some(mut upstream) = next.or_else(|| self.free.borrow_mut().pop()) {
            if upstream.ready().await.is_ok() {
                return Ok(upstream);
            }
            next = None;
        }
        let stream = dial(self.connect).await?;
        match &self.identity {
            Identity::Client(config) => self.handshake(secure(config, stream).await?).await,
            Identity::Server(_) => self.handshake(stream).await,
        }
    }

    async fn handshake(&self, stream: impl Io + 'static) -> Result<http1::SendRequest<Incoming>> {
        let (upstream, connection) = http1::handshake(TokioIo::new(stream)).await?;
        spawn_local(connection);
        Ok(upstream)
    }
}

async fn dial(connect: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(connect).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn secure(
    config: &Arc<rustls::ClientConfig>,
    stream: TcpStream,
) -> Result<client::TlsStream<TcpStream>> {
    Ok(TlsConnector::from(Arc::clone(config)).connect(server_name(), stream).await?)
}

fn prepare(request: &mut Request<Incoming>, caller: Option<&HeaderValue>) {
    let headers = request.headers_mut();
    // What the caller says of his connection is not about the next one.
    headers.remove(CONNECTION);
    if let Some(caller) = caller {
        headers.insert(XFCC, caller.clone());
    }
}

pub(super) async fn serve_http2(
    listener: TcpListener,
    connect: SocketAddr,
    identity: Identity,
) -> Result<()> {
    let way = Rc::new(Way { connect, identity, upstream: Mutex::default() });
    loop {
        let stream = net::accept(&listener).await;
        let way = Rc::clone(&way);
        spawn_local(async move {
            match &way.identity {
                Identity::Client(_) => http2_connection(stream, None, &way).await,
                Identity::Server(config) => {
                    let stream = TlsAcceptor::from(Arc::clone(config)).accept(stream).await?;
                    let caller = caller(&stream)?;
                    http2_connection(stream, Some(caller), &way).await
                }
            }
        });
    }
}

/// The upstream connection that all callers of a thread share.
struct Way {
    connect: SocketAddr,
    identity: Identity,
    upstream: Mutex<Option<http2::SendRequest<Incoming>>>,
}

impl Way {
    async fn upstream(&self) -> Result<http2::SendRequest<Incoming>> {
        // Held while it is made: whoever comes meanwhile waits for that one.
        let mut kept = self.upstream.lock().await;
        if let Some(upstream) = kept.as_ref().filter(|upstream| !upstream.is_closed()) {
            return Ok(upstream.clone());
        }
        let stream = dial(self.connect).await?;
        let upstream = match &self.identity {
            Identity::Client(config) => http2_upstream(secure(config, stream).await?).await?,
            Identity::Server(_) => http2_upstream(stream).await?,
        };
        *kept = Some(upstream.clone());
        Ok(upstream)
    }
}

async fn http2_upstream(stream: impl Io + 'static) -> Result<http2::SendRequest<Incoming>> {
    let (upstream, connection) = http2::Builder::new(LocalExecutor)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(TokioIo::new(stream))
        .await?;
    spawn_local(connection);
    Ok(upstream)
}

async fn http2_connection(
    stream: impl Io + 'static,
    caller: Option<HeaderValue>,
    way: &Way,
) -> Result<()> {
    let upstream = way.upstream().await?;
    let service = service_fn(move |mut request: Request<Incoming>| {
        prepare(&mut request, caller.as_ref());
        let mut upstream = upstream.clone();
        async move {
            let response: Response<Incoming> = upstream.send_request(request).await?;
            anyhow::Ok(response)
        }
    });
    server::conn::http2::Builder::new(LocalExecutor)
        .max_concurrent_streams(1024)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .serve_connection(TokioIo::new(stream), service)
        .await?;
    Ok(())
}
