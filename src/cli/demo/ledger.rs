//! The gRPC service and its client, on messages written by hand instead of generated.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use anyhow::Context;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::client;
use tonic::server::{Grpc, ServerStreamingService, StreamingService, UnaryService};
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

use super::web::{PATIENCE, REQUEST_ID};

const BALANCE: &str = "/demo.ledger.v1.Ledger/Balance";
const WATCH: &str = "/demo.ledger.v1.Ledger/Watch";
const POST: &str = "/demo.ledger.v1.Ledger/Post";

/// The trailer that says what all entries of a stream add up to.
const SUM: &str = "x-ledger-sum";

/// The header that says what the ledger was told of how its caller proved itself.
const METHOD: &str = "x-ledger-caller-method";

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Entry {
    #[prost(string, tag = "1")]
    pub(super) account: String,
    #[prost(int64, tag = "2")]
    pub(super) cents: i64,
}

type Codec = ProstCodec<Entry, Entry>;
type Entries = Pin<Box<dyn Stream<Item = Result<Entry, Status>> + Send>>;

#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) address: SocketAddr,
    calls: Arc<AtomicU64>,
}

impl Ledger {
    pub(super) async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let calls = Arc::new(AtomicU64::new(0));
        tokio::spawn(serve(listener, Arc::clone(&calls)));
        Ok(Self { address, calls })
    }

    /// Calls that arrived, whoever made them.
    pub(super) fn reached(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }
}

async fn serve(listener: TcpListener, calls: Arc<AtomicU64>) {
    while let Ok((stream, _)) = listener.accept().await {
        let calls = Arc::clone(&calls);
        let answer = service_fn(move |request: Request<Incoming>| {
            calls.fetch_add(1, Ordering::Relaxed);
            let method = request.headers().get("x-sidegate-method").cloned();
            async move {
                let mut response = answer(request).await?;
                if let Some(method) = method {
                    response.headers_mut().insert(METHOD, method);
                }
                Ok::<_, Infallible>(response)
            }
        });
        tokio::spawn(async move {
            let server = http2::Builder::new(TokioExecutor::new());
            if let Err(error) = server.serve_connection(TokioIo::new(stream), answer).await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let mut grpc = Grpc::new(Codec::default());
    let sum = Arc::new(AtomicI64::new(0));
    Ok(match request.uri().path() {
        BALANCE => grpc.unary(Balance, request).await,
        WATCH => with_sum(grpc.server_streaming(Watch(Arc::clone(&sum)), request).await, sum),
        POST => with_sum(grpc.streaming(Post(Arc::clone(&sum)), request).await, sum),
        _ => Status::unimplemented("no such method").into_http(),
    })
}

/// Adds the sum to the trailers, which come when the last entry has gone.
fn with_sum(response: Response<Body>, sum: Arc<AtomicI64>) -> Response<Body> {
    response.map(|body| {
        Body::new(body.map_frame(move |mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                trailers.insert(SUM, HeaderValue::from(sum.load(Ordering::Relaxed)));
            }
            frame
        }))
    })
}

struct Balance;

impl UnaryService<Entry> for Balance {
    type Response = Entry;
    type Future = Ready<Result<tonic::Response<Entry>, Status>>;

    fn call(&mut self, request: tonic::Request<Entry>) -> Self::Future {
        let account = request.into_inner().account;
        ready(Ok(tonic::Response::new(Entry { account, cents: 4_200 })))
    }
}

/// Answers one request with five entries.
struct Watch(Arc<AtomicI64>);

impl ServerStreamingService<Entry> for Watch {
    type Response = Entry;
    type ResponseStream = Entries;
    type Future = Ready<Result<tonic::Response<Entries>, Status>>;

    fn call(&mut self, request: tonic::Request<Entry>) -> Self::Future {
        let account = request.into_inner().account;
        let sum = Arc::clone(&self.0);
        let entries = tokio_stream::iter(1..=5).map(move |number| {
            let cents = number * 100;
            sum.fetch_add(cents, Ordering::Relaxed);
            Ok(Entry { account: account.clone(), cents })
        });
        ready(Ok(tonic::Response::new(Box::pin(entries))))
    }
}

/// Answers each entry with the sum so far, as it comes.
struct Post(Arc<AtomicI64>);

impl StreamingService<Entry> for Post {
    type Response = Entry;
    type ResponseStream = Entries;
    type Future = Ready<Result<tonic::Response<Entries>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<Entry>>) -> Self::Future {
        let sum = Arc::clone(&self.0);
        let entries = request.into_inner().map(move |entry| {
            let Entry { account, cents } = entry?;
            let cents = sum.fetch_add(cents, Ordering::Relaxed) + cents;
            Ok(Entry { account, cents })
        });
        ready(Ok(tonic::Response::new(Box::pin(entries))))
    }
}

/// A caller of the ledger through one connection.
#[derive(Debug, Clone)]
pub(super) struct Client(Channel);

/// What came over a stream, and the sum that its trailers told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Streamed {
    pub(super) cents: Vec<i64>,
    pub(super) sum: Option<i64>,
}

impl Client {
    pub(super) async fn connect(port: u16) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?;
        let channel = endpoint.timeout(PATIENCE).connect().await;
        Ok(Self(channel.context("no connection to the sidecar")?))
    }

    pub(super) async fn balance(&self, id: &str) -> Result<i64, Status> {
        Ok(self.balance_told(id).await?.0)
    }

    /// The same, and what the ledger was told of how the caller proved itself.
    pub(super) async fn balance_told(&self, id: &str) -> Result<(i64, Option<String>), Status> {
        let request = tagged(tonic::Request::new(entry(0)), id)?;
        let path = PathAndQuery::from_static(BALANCE);
        let answer = self.ready().await?.unary(request, path, Codec::default()).await?;
        let method = answer.metadata().get(METHOD).and_then(|method| method.to_str().ok());
        let method = method.map(str::to_owned);
        Ok((answer.into_inner().cents, method))
    }

    pub(super) async fn watch(&self, id: &str) -> Result<Streamed, Status> {
        let request = tagged(tonic::Request::new(entry(0)), id)?;
        let path = PathAndQuery::from_static(WATCH);
        let answer = self.ready().await?.server_streaming(request, path, Codec::default()).await?;
        read(answer.into_inner()).await
    }

    pub(super) async fn post(&self, id: &str, cents: &[i64]) -> Result<Streamed, Status> {
        let entries: Vec<Entry> = cents.iter().copied().map(entry).collect();
        let request = tagged(tonic::Request::new(tokio_stream::iter(entries)), id)?;
        let path = PathAndQuery::from_static(POST);
        let answer = self.ready().await?.streaming(request, path, Codec::default()).await?;
        read(answer.into_inner()).await
    }

    async fn ready(&self) -> Result<client::Grpc<Channel>, Status> {
        let mut grpc = client::Grpc::new(self.0.clone());
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(grpc)
    }
}

fn entry(cents: i64) -> Entry {
    Entry { account: "acme".to_owned(), cents }
}

fn tagged<T>(mut request: tonic::Request<T>, id: &str) -> Result<tonic::Request<T>, Status> {
    let id = id.parse().map_err(|error| Status::internal(format!("request id: {error}")))?;
    request.metadata_mut().insert(REQUEST_ID, id);
    Ok(request)
}

async fn read(mut stream: Streaming<Entry>) -> Result<Streamed, Status> {
    let mut cents = Vec::new();
    while let Some(entry) = stream.message().await? {
        cents.push(entry.cents);
    }
    let trailers = stream.trailers().await?;
    let sum = trailers.as_ref().and_then(|it| it.get(SUM)).and_then(|it| it.to_str().ok());
    Ok(Streamed { cents, sum: sum.and_then(|it| it.parse().ok()) })
}
