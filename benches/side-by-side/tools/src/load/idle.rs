//! Connections that stand still: each is used once, held, and used again at the end.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::stream::{self, StreamExt};
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use super::http1::{GET, receive};
use super::tally::Failure;
use super::wire::Response;
use crate::net;

/// As many at once are opened, or asked whether they live.
const AT_ONCE: usize = 32;
/// For one connection, to be opened and answered.
const PATIENCE: Duration = Duration::from_secs(20);

/// The two lines that are printed: when all stand, and at the end.
#[derive(Debug, Serialize)]
struct Report {
    kind: &'static str,
    state: &'static str,
    connections: u32,
    /// Those that were answered.
    alive: usize,
    errors: usize,
    seconds: f64,
}

pub(super) async fn run(to: SocketAddr, connections: u32) -> Result<()> {
    let began = Instant::now();
    let opened: Vec<_> = stream::iter(0..connections)
        .map(|turn| within(open(to, turn)))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let standing = print("standing", connections, began, opened)?;

    until_told().await?;
    let began = Instant::now();
    let alive: Vec<_> = stream::iter(standing)
        .map(|stream| within(ask(stream)))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    for stream in print("ended", connections, began, alive)? {
        net::reset(&stream);
    }
    Ok(())
}

async fn within<T>(step: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(PATIENCE, step).await.unwrap_or(Err(Failure::TimedOut))
}

async fn open(to: SocketAddr, turn: u32) -> Result<TcpStream, Failure> {
    ask(net::connect(to, turn).await.map_err(Failure::Connect)?).await
}

async fn ask(mut stream: TcpStream) -> Result<TcpStream, Failure> {
    // On the heap of none: ten thousand of them stand beside those that are measured.
    let mut buffer = [0; 2048];
    stream.write_all(GET).await?;
    receive(&mut stream, &mut Response::default(), &mut buffer).await?;
    Ok(stream)
}

/// Prints the line, and returns what is alive.
fn print(
    state: &'static str,
    connections: u32,
    began: Instant,
    results: Vec<Result<TcpStream, Failure>>,
) -> Result<Vec<TcpStream>> {
    let mut alive = Vec::with_capacity(results.len());
    let mut failure = None;
    for result in results {
        match result {
            Ok(stream) => alive.push(stream),
            Err(error) => failure = Some(error),
        }
    }
    let report = Report {
        kind: "idle",
        state,
        connections,
        alive: alive.len(),
        errors: connections as usize - alive.len(),
        seconds: began.elapsed().as_secs_f64(),
    };
    println!("{}", serde_json::to_string(&report)?);
    if let Some(failure) = failure {
        eprintln!("{} connections failed, the last one with: {failure}", report.errors);
    }
    Ok(alive)
}

/// Until standard input ends or SIGTERM comes.
async fn until_told() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let (closed, input_ended) = tokio::sync::oneshot::channel();
    // A thread that nobody waits for: tokio's own reader would hold up the end of the runtime.
    std::thread::spawn(move || {
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).ok();
        closed.send(()).ok();
    });
    tokio::select! {
        _ = terminate.recv() => {}
        _ = input_ended => {}
    }
    Ok(())
}
