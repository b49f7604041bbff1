//! HTTP/1.1: small requests, large bodies, and a connection for each request.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Period;
use super::tally::{Failure, Shared};
use super::wire::Response;
use crate::net;

pub(super) const GET: &[u8] = b"GET /x HTTP/1.1\r\nHost: orders.internal\r\n\r\n";
const GET_AND_CLOSE: &[u8] =
    b"GET /x HTTP/1.1\r\nHost: orders.internal\r\nConnection: close\r\n\r\n";
/// What one upload writes at a time.
const CHUNK: &[u8] = &[b'x'; 256 * 1024];
const SMALL_BUFFER: usize = 16 * 1024;
const LARGE_BUFFER: usize = 256 * 1024;
/// How long nothing is tried after a connection failed: who is down should not cost a core.
const PAUSE: Duration = Duration::from_millis(10);

/// A request as it goes out, again and again.
#[derive(Debug)]
pub(super) struct Exchange {
    head: Vec<u8>,
    upload: u64,
    /// `None` for answers whose length does not matter.
    expected: Option<u64>,
    buffer: usize,
}

impl Exchange {
    pub(super) fn small() -> Self {
        Self { head: GET.to_vec(), upload: 0, expected: Some(1024), buffer: SMALL_BUFFER }
    }

    pub(super) fn download(bytes: u64) -> Self {
        let head = format!("GET /bytes/{bytes} HTTP/1.1\r\nHost: orders.internal\r\n\r\n");
        Self { head: head.into(), upload: 0, expected: Some(bytes), buffer: LARGE_BUFFER }
    }

    pub(super) fn upload(bytes: u64) -> Self {
        let head = format!(
            "POST /sink HTTP/1.1\r\nHost: orders.internal\r\nContent-Length: {bytes}\r\n\r\n"
        );
        Self { head: head.into(), upload: bytes, expected: None, buffer: SMALL_BUFFER }
    }
}

/// One connection, request after request; a new one if it fails.
pub(super) async fn keep_alive(
    to: SocketAddr,
    turn: u32,
    exchange: Exchange,
    period: Period,
    tally: Shared,
) {
    let mut buffer = vec![0; exchange.buffer];
    while !period.is_over() {
        let failure = match net::connect(to, turn).await {
            Ok(stream) => match requests(stream, &exchange, &mut buffer, period, &tally).await {
                Ok(()) => return,
                Err(failure) => failure,
            },
            Err(error) => Failure::Connect(error),
        };
        tally.borrow_mut().failed(&failure);
        tokio::time::sleep(PAUSE).await;
    }
}

async fn requests(
    mut stream: TcpStream,
    exchange: &Exchange,
    buffer: &mut [u8],
    period: Period,
    tally: &Shared,
) -> Result<(), Failure> {
    let mut response = Response::default();
    while !period.is_over() {
        let began = Instant::now();
        stream.write_all(&exchange.head).await?;
        upload(&mut stream, exchange.upload).await?;
        let got = receive(&mut stream, &mut response, buffer).await?;
        match exchange.expected {
            Some(expected) if got != expected => return Err(Failure::Length { got, expected }),
            Some(_) | None => {}
        }
        tally.borrow_mut().answered(began, got.max(exchange.upload));
    }
    Ok(())
}

async fn upload(stream: &mut TcpStream, mut left: u64) -> Result<(), Failure> {
    while left > 0 {
        let size = usize::try_from(left).map_or(CHUNK.len(), |left| left.min(CHUNK.len()));
        let chunk = CHUNK.get(..size).unwrap_or(CHUNK);
        stream.write_all(chunk).await?;
        left -= chunk.len() as u64;
    }
    Ok(())
}

pub(super) async fn receive(
    stream: &mut TcpStream,
    response: &mut Response,
    buffer: &mut [u8],
) -> Result<u64, Failure> {
    loop {
        let count = stream.read(buffer).await?;
        let bytes = buffer.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            return Err(Failure::Closed);
        }
        if let Some(got) = response.feed(bytes)? {
            return Ok(got);
        }
    }
}

/// A connection for each request, closed by the server as it was asked to.
pub(super) async fn connect(to: SocketAddr, turn: u32, step: u32, period: Period, tally: Shared) {
    let mut buffer = vec![0; SMALL_BUFFER];
    let mut turn = turn;
    while !period.is_over() {
        let began = Instant::now();
        let result = connection(to, turn, &mut buffer).await;
        // Each connection in flight has a source of its own, and none comes back soon.
        turn = turn.wrapping_add(step);
        match result {
            Ok(bytes) => tally.borrow_mut().answered(began, bytes),
            Err(failure) => {
                tally.borrow_mut().failed(&failure);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(to: SocketAddr, turn: u32, buffer: &mut [u8]) -> Result<u64, Failure> {
    let mut stream = net::connect(to, turn).await.map_err(Failure::Connect)?;
    stream.write_all(GET_AND_CLOSE).await?;
    let got = receive(&mut stream, &mut Response::default(), buffer).await?;
    match stream.read(buffer).await? {
        0 => Ok(got),
        _ => Err(Failure::Malformed("more came than `content-length` says")),
    }
}
