//! The library limit: what a pair costs that does mTLS, checks one SPIFFE ID each way, and nothing
//! else. No policy, audit, metrics, limits, timeouts, rotation or drain: not a product, a bound.

mod tls;
mod http;
mod tcp;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;

use crate::net;
use tls::Identity;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// hyper to hyper by HTTP/1.1.
    Http1,
    /// hyper to hyper by HTTP/2.
    Http2,
    /// Bytes, by an event loop.
    Tcp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Side {
    /// Plaintext in, mTLS out.
    Client,
    /// mTLS in, plaintext out.
    Server,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    mode: Mode,
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    connect: SocketAddr,
    #[arg(long)]
    side: Side,
    /// As written by `bench certs`.
    #[arg(long)]
    certs: PathBuf,
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    #[arg(long, default_value = "example.org")]
    trust_domain: String,
}

/// A thread for each core, each with a socket of its own. Prints the address once all listen.
pub(crate) fn run(args: &Args) -> Result<()> {
    net::raise_open_files();
    let identity = Identity::load(&args.certs, &args.trust_domain, args.side)?;
    let listeners = net::listen(args.listen, args.threads.into())?;
    if let Some(listener) = listeners.first() {
        println!("{}", serde_json::json!({ "listen": listener.local_addr()?.to_string() }));
    }
    let (mode, connect) = (args.mode, args.connect);
    net::on_threads(listeners.into_iter().map(|listener| {
        let identity = identity.clone();
        move || match mode {
            Mode::Http1 => net::serve(listener, |it| http::serve_http1(it, connect, identity)),
            Mode::Http2 => net::serve(listener, |it| http::serve_http2(it, connect, identity)),
            Mode::Tcp => tcp::serve(listener, connect, &identity),
        }
    }))
}
