//! A fixed rate, whatever the answers do: latency counts from when a request was due, so that a
//! stall is seen by every request that it held up.
//!
//! A thread for each connection that blocks in the kernel: nothing of a runtime is in the figures,
//! and its timer is precise to 0.1 ms where tokio's is to 1 ms.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::http1::GET;
use super::tally::{Failure, Tally};
use super::wire::Response;
use super::{Args, GRACE, MEASURING, Period};
use crate::net;

/// The kernel wakes a sleeper up to this much late; the rest is waited for awake. More of it would
/// take a core from those who are measured.
const AWAKE: Duration = Duration::from_micros(120);
const MAX_THREADS: u32 = 1024;

/// When each request is due. Connections take the next one when they are free, so a slow answer
/// holds up its own connection alone.
#[derive(Debug)]
struct Schedule {
    from: Instant,
    interval: f64,
    next: AtomicU64,
}

impl Schedule {
    fn next(&self) -> Instant {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.from + Duration::from_secs_f64(turn as f64 * self.interval)
    }
}

pub(super) fn run(args: &Args) -> Result<Tally> {
    ensure!(args.rate > 0.0 && args.rate.is_finite(), "`--rate` must be above 0");
    ensure!(args.connections <= MAX_THREADS, "a thread each: {MAX_THREADS} connections at most");
    // Each connection is open and warm before the first request is due.
    let opened: Vec<_> = (0..args.connections).map(|turn| (turn, warm(args.to, turn))).collect();
    let period = Period::starts_now(args)?;
    let schedule = Arc::new(Schedule {
        from: Instant::now(),
        interval: 1.0 / args.rate,
        next: AtomicU64::new(0),
    });
    let mut tally = Tally::new(period);
    let mut threads = Vec::with_capacity(opened.len());
    for (turn, opened) in opened {
        let kept = opened.map_err(|failure| tally.failed(&failure)).ok();
        let (to, schedule) = (args.to, Arc::clone(&schedule));
        threads.push(thread::spawn(move || connection(to, turn, kept, &schedule, period)));
    }
    wait_until(period.from);
    println!("{MEASURING}");
    for thread in threads {
        let Ok(counted) = thread.join() else { bail!("a thread panicked") };
        tally.add(&counted)?;
    }
    Ok(tally)
}

fn warm(to: SocketAddr, turn: u32) -> Result<TcpStream, Failure> {
    Ok(request(to, turn, None, &mut [0; 4096])?.0)
}

fn connection(
    to: SocketAddr,
    turn: u32,
    mut kept: Option<TcpStream>,
    schedule: &Schedule,
    period: Period,
) -> Tally {
    let mut tally = Tally::new(period);
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let due = schedule.next();
        if due >= period.until {
            return tally;
        }
        wait_until(due);
        tally.sent(due.elapsed());
        match request(to, turn, kept.take(), &mut buffer) {
            Ok((stream, bytes)) => {
                tally.answered(due, bytes);
                kept = Some(stream);
            }
            Err(failure) => tally.failed(&failure),
        }
    }
}

fn wait_until(due: Instant) {
    let left = due.saturating_duration_since(Instant::now());
    if left > AWAKE {
        thread::sleep(left - AWAKE);
    }
    while Instant::now() < due {
        // Whoever has work goes first.
        thread::yield_now();
    }
}

fn request(
    to: SocketAddr,
    turn: u32,
    kept: Option<TcpStream>,
    buffer: &mut [u8],
) -> Result<(TcpStream, u64), Failure> {
    let mut stream = match kept {
        Some(stream) => stream,
        None => open(to, turn).map_err(Failure::Connect)?,
    };
    stream.write_all(GET)?;
    let mut response = Response::default();
    loop {
        let count = stream.read(buffer)?;
        let bytes = buffer.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            return Err(Failure::Closed);
        }
        if let Some(got) = response.feed(bytes)? {
            return Ok((stream, got));
        }
    }
}

fn open(to: SocketAddr, turn: u32) -> std::io::Result<TcpStream> {
    let stream = net::connect_blocking(to, turn)?;
    stream.set_read_timeout(Some(GRACE))?;
    Ok(stream)
}
