//! The programs of the side-by-side benchmark in one binary: certificates, the application behind
//! the proxies, the load before them, and the bare library limit that they are compared with.

mod certs;
mod origin;
mod load;
mod bare;
mod net;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
#[command(about, version)]
struct Cli {
    #[command(subcommand)]
    program: Program,
}

#[derive(Debug, Subcommand)]
enum Program {
    /// Write a certificate authority and the identities of both sides into a directory.
    Certs(certs::Args),
    /// Serve as the application behind the proxies.
    Origin(origin::Args),
    /// Put load on an address, and print what came of it as one line of JSON.
    Load(load::Args),
    /// Serve as one side of the bare pair: mTLS and nothing else.
    Bare(bare::Args),
}

fn main() -> Result<()> {
    match Cli::parse().program {
        Program::Certs(args) => certs::run(&args),
        Program::Origin(args) => origin::run(&args),
        Program::Load(args) => load::run(&args),
        Program::Bare(args) => bare::run(&args),
    }
}
