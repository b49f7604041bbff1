//! Load of every kind, and one line of JSON that says what came of it.
//!
//! All kinds but `rate` are closed loops: a new request starts when the last one is answered. What
//! goes wrong is counted, never retried in silence, and named on standard error.

mod tally;
mod wire;
mod http1;
mod http2;
mod rate;
mod idle;

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::ValueEnum;
use tokio::task::{JoinSet, LocalSet};

use crate::net;
use tally::{Failure, Shared, Tally};

/// How long after its time a request may still be answered. Then it is an error.
const GRACE: Duration = Duration::from_secs(10);

/// The line before the last one: what is paid for from here on, is counted in `requests`.
const MEASURING: &str = r#"{"measuring":true}"#;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// HTTP/1.1 over kept connections.
    Http1,
    /// HTTP/2, `--streams` in flight on each connection.
    Http2,
    /// gRPC unary calls, `--streams` in flight on each connection.
    Grpc,
    /// gRPC streams that stay open, `--streams` on each connection; one request is one message
    /// there and back.
    GrpcStream,
    /// A new connection for each request.
    Connect,
    /// Large bodies down over HTTP/1.1.
    Download,
    /// Large bodies up over HTTP/1.1.
    Upload,
    /// HTTP/1.1 at a fixed rate, whatever the answers do.
    Rate,
    /// Connections that stand still. Reports when all stand, and again when standard input ends
    /// or SIGTERM comes.
    Idle,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    kind: Kind,
    #[arg(long)]
    to: SocketAddr,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// In flight at once on a connection (HTTP/2, gRPC).
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    streams: u32,
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Seconds of load before anything is counted.
    #[arg(long, default_value_t = 0.0)]
    warmup: f64,
    /// Requests per second of `rate`.
    #[arg(long, default_value_t = 1000.0)]
    rate: f64,
    /// Size of a body (64 MiB if not given) or of a gRPC message (128 bytes).
    #[arg(long)]
    bytes: Option<u64>,
}

/// When requests start, and when they count.
#[derive(Debug, Clone, Copy)]
struct Period {
    from: Instant,
    until: Instant,
}

impl Period {
    fn starts_now(args: &Args) -> Result<Self> {
        let from = Instant::now() + Duration::try_from_secs_f64(args.warmup)?;
        Ok(Self { from, until: from + Duration::try_from_secs_f64(args.seconds)? })
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    net::raise_open_files();
    if args.kind == Kind::Idle {
        return net::runtime()?.block_on(idle::run(args.to, args.connections));
    }
    let tally = match args.kind {
        Kind::Rate => rate::run(args)?,
        _ => net::runtime()?.block_on(LocalSet::new().run_until(closed_loop(args)))?,
    };
    let kind = args.kind.to_possible_value();
    let report = tally.report(kind.as_ref().map_or("", |kind| kind.get_name()));
    println!("{}", serde_json::to_string(&report)?);
    tally.name_failures();
    Ok(())
}

async fn closed_loop(args: &Args) -> Result<Tally> {
    let period = Period::starts_now(args)?;
    let tally = Shared::new(Tally::new(period).into());
    let mut tasks = JoinSet::new();
    tasks.spawn_local(announce(period));
    for turn in 0..args.connections {
        let (to, tally) = (args.to, Rc::clone(&tally));
        match args.kind {
            Kind::Connect => {
                tasks.spawn_local(http1::connect(to, turn, args.connections, period, tally));
            }
            Kind::Http2 | Kind::Grpc | Kind::GrpcStream => {
                let call = http2_call(args);
                tasks.spawn_local(http2::run(to, turn, args.streams, call, period, tally));
            }
            Kind::Http1 | Kind::Download | Kind::Upload | Kind::Rate | Kind::Idle => {
                let exchange = http1_exchange(args);
                tasks.spawn_local(http1::keep_alive(to, turn, exchange, period, tally));
            }
        }
    }
    finish(tasks, period, &tally).await;
    Ok(tally.replace(Tally::new(period)))
}

/// Says when requests begin to count, to whoever reads what they cost meanwhile.
async fn announce(period: Period) {
    tokio::time::sleep_until(period.from.into()).await;
    println!("{MEASURING}");
}

fn http1_exchange(args: &Args) -> http1::Exchange {
    let bytes = args.bytes.unwrap_or(64 * 1024 * 1024);
    match args.kind {
        Kind::Download => http1::Exchange::download(bytes),
        Kind::Upload => http1::Exchange::upload(bytes),
        _ => http1::Exchange::small(),
    }
}

fn http2_call(args: &Args) -> http2::Call {
    let message = usize::try_from(args.bytes.unwrap_or(128)).unwrap_or(usize::MAX);
    match args.kind {
        Kind::Grpc => http2::Call::Unary { message },
        Kind::GrpcStream => http2::Call::Stream { message },
        _ => http2::Call::Get,
    }
}

/// Waits for every connection to finish its last request; the ones that hang are errors.
async fn finish(mut tasks: JoinSet<()>, period: Period, tally: &Shared) {
    let limit = tokio::time::Instant::from_std(period.until + GRACE);
    loop {
        match tokio::time::timeout_at(limit, tasks.join_next()).await {
            Ok(Some(Ok(()))) => {}
            Ok(Some(Err(_))) => tally.borrow_mut().failed(&Failure::Panicked),
            Ok(None) => return,
            Err(_) => {
                for _ in 0..tasks.len() {
                    tally.borrow_mut().failed(&Failure::TimedOut);
                }
                return;
            }
        }
    }
}
