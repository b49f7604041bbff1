//! HTTP/2: plain requests, gRPC calls and gRPC streams, many on each connection.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderValue, Method, Request, Response, Version, header};
use tokio::task::JoinSet;

use super::Period;
use super::tally::{Failure, Shared};
use crate::net;

const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// What every stream does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Call {
    Get,
    Unary { message: usize },
    Stream { message: usize },
}

/// One connection with `streams` requests in flight. A connection that fails is not replaced: each
/// of its streams counts as an error.
pub(super) async fn run(
    to: SocketAddr,
    turn: u32,
    streams: u32,
    call: Call,
    period: Period,
    tally: Shared,
) {
    let requests = match open(to, turn).await {
        Ok(requests) => requests,
        Err(failure) => return tally.borrow_mut().failed(&failure),
    };
    let mut tasks = JoinSet::new();
    for _ in 0..streams {
        let (requests, tally) = (requests.clone(), Rc::clone(&tally));
        tasks.spawn_local(async move {
            let ended = match call {
                Call::Get => gets(requests, period, &tally).await,
                Call::Unary { message } => unary(requests, message, period, &tally).await,
                Call::Stream { message } => stream(requests, message, period, &tally).await,
            };
            if let Err(failure) = ended {
                tally.borrow_mut().failed(&failure);
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        if ended.is_err() {
            tally.borrow_mut().failed(&Failure::Panicked);
        }
    }
}

async fn open(to: SocketAddr, turn: u32) -> Result<SendRequest<Bytes>, Failure> {
    let stream = net::connect(to, turn).await.map_err(Failure::Connect)?;
    let (requests, connection) = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(stream)
        .await?;
    // How it ends is told by its streams.
    tokio::task::spawn_local(async { connection.await.ok() });
    Ok(requests)
}

async fn gets(
    mut requests: SendRequest<Bytes>,
    period: Period,
    tally: &Shared,
) -> Result<(), Failure> {
    let request = request(Method::GET, "/x");
    while !period.is_over() {
        requests = requests.ready().await?;
        let began = Instant::now();
        let (response, _) = requests.send_request(request.clone(), true)?;
        let mut body = ok(response.await?)?.into_body();
        let got = read(&mut body, u64::MAX).await?;
        length(got, 1024)?;
        tally.borrow_mut().answered(began, got);
    }
    Ok(())
}

async fn unary(
    mut requests: SendRequest<Bytes>,
    message: usize,
    period: Period,
    tally: &Shared,
) -> Result<(), Failure> {
    let request = grpc("/bench.Echo/Unary");
    let message = framed(message);
    while !period.is_over() {
        requests = requests.ready().await?;
        let began = Instant::now();
        let (response, mut send) = requests.send_request(request.clone(), false)?;
        send.send_data(message.clone(), true)?;
        let mut body = ok(response.await?)?.into_body();
        let got = read(&mut body, u64::MAX).await?;
        length(got, message.len() as u64)?;
        grpc_status(&mut body).await?;
        tally.borrow_mut().answered(began, got);
    }
    Ok(())
}

/// One message there and back at a time, on a stream that lasts as long as the load.
async fn stream(
    requests: SendRequest<Bytes>,
    message: usize,
    period: Period,
    tally: &Shared,
) -> Result<(), Failure> {
    let message = framed(message);
    let mut requests = requests.ready().await?;
    let (response, mut send) = requests.send_request(grpc("/bench.Echo/Stream"), false)?;
    let mut began = Instant::now();
    send.send_data(message.clone(), false)?;
    // Some proxies hold back the head of a response until there is a body.
    let mut body = head(response).await?;
    loop {
        let due = message.len() as u64;
        length(read(&mut body, due).await?, due)?;
        tally.borrow_mut().answered(began, due);
        if period.is_over() {
            break;
        }
        began = Instant::now();
        send.send_data(message.clone(), false)?;
    }
    finish(&mut send, &mut body).await
}

async fn finish(send: &mut SendStream<Bytes>, body: &mut RecvStream) -> Result<(), Failure> {
    send.send_data(Bytes::new(), true)?;
    length(read(body, u64::MAX).await?, 0)?;
    grpc_status(body).await
}

async fn head(response: ResponseFuture) -> Result<RecvStream, Failure> {
    Ok(ok(response.await?)?.into_body())
}

fn request(method: Method, path: &'static str) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = http::Uri::builder()
        .scheme("http")
        .authority("orders.internal")
        .path_and_query(path)
        .build()
        .unwrap_or_default();
    request
}

fn grpc(path: &'static str) -> Request<()> {
    let mut request = request(Method::POST, path);
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    request
}

/// A message as gRPC puts it on the wire: not compressed, its length, itself.
fn framed(size: usize) -> Bytes {
    let size = u32::try_from(size).unwrap_or(u32::MAX);
    let mut framed = BytesMut::with_capacity(size as usize + 5);
    framed.put_u8(0);
    framed.put_u32(size);
    framed.put_bytes(b'x', size as usize);
    framed.freeze()
}

fn ok(response: Response<RecvStream>) -> Result<Response<RecvStream>, Failure> {
    match response.status().as_u16() {
        200 => Ok(response),
        status => Err(Failure::Status(status)),
    }
}

/// Until `enough` bytes came or the body ends.
async fn read(body: &mut RecvStream, enough: u64) -> Result<u64, Failure> {
    let mut got = 0;
    while got < enough {
        let Some(data) = body.data().await else { break };
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        got += data.len() as u64;
    }
    Ok(got)
}

fn length(got: u64, expected: u64) -> Result<(), Failure> {
    if got == expected { Ok(()) } else { Err(Failure::Length { got, expected }) }
}

async fn grpc_status(body: &mut RecvStream) -> Result<(), Failure> {
    let trailers = body.trailers().await?;
    match trailers.as_ref().and_then(|trailers| trailers.get("grpc-status")) {
        Some(status) if status == "0" => Ok(()),
        Some(status) => Err(Failure::GrpcStatus(format!("{status:?}"))),
        None => Err(Failure::GrpcStatus("missing".to_owned())),
    }
}
