//! The counted process: a sidecar as `sidegate run` starts it, that marks where a count begins.

use std::io::{self, BufRead, Write};
use std::path::Path;
use std::process::ExitCode;

use sidegate::policy::Examiner;
use sidegate::{app, config};

/// The first argument of a process that is to be counted.
pub const MODE: &str = "--sidecar";

/// The function at which the counter writes down what it has and starts anew.
pub const BOUNDARY: &str = "instructions::sidecar::boundary";

/// Says where it listens, then marks a boundary for each line it is sent, until there are no more.
pub fn run(configuration: &Path, listeners: &[String]) -> ExitCode {
    let config = config::load(configuration).unwrap_or_else(|problems| panic!("{problems}"));
    // In this process: the one apart is the program itself, which valgrind does not let run.
    let running = app::start_with(config, &Examiner::default()).expect("a sidecar");
    let mut out = io::stdout();
    for name in listeners {
        let listen = running.inbound(name).or_else(|| running.outbound(name));
        writeln!(out, "{}", listen.expect("a listener of that name")).expect("somebody who reads");
    }
    for (number, line) in io::stdin().lock().lines().enumerate() {
        line.expect("a line");
        boundary(number);
        writeln!(out, "counted").expect("somebody who reads");
    }
    // Not by the way of a shutdown: nothing of it is counted.
    std::process::exit(0)
}

#[inline(never)]
fn boundary(number: usize) -> usize {
    std::hint::black_box(number)
}
