//! How many instructions a request costs: counted, not timed, and held against what was recorded.
//!
//! `cargo bench --bench instructions` compares, `… -- --record` writes the record anew. What is
//! counted and how far to trust it stands in `README.md` beside this file.

#![allow(clippy::print_stdout, reason = "a benchmark talks to whoever runs it")]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a benchmark may fail loudly"
)]

mod callers;
mod counted;
mod record;
mod scene;
mod sidecar;

use std::path::Path;
use std::process::{Command, ExitCode};

use callers::Workload;
use record::{Class, Figures, Record};
use scene::Scene;

/// As the product has it: what it allocates with is part of the path.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// In each round.
const CALLS: u32 = 100;

/// Each workload is counted so often, and the least counts: what runs beside it only adds.
const ROUNDS: u32 = 3;

/// Before anything is counted: caches are filled, connections are open, code has been run once.
const WARM_UP: u32 = 40;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, configuration, listeners @ ..] = &arguments[..]
        && mode == sidecar::MODE
    {
        return sidecar::run(Path::new(configuration), listeners);
    }
    if !Command::new("valgrind").arg("--version").output().is_ok_and(|it| it.status.success()) {
        println!("instructions: skipped, there is no valgrind here");
        return ExitCode::SUCCESS;
    }
    let class = Class::of_this_machine();
    let mut record = Record::read();
    let wants_record = arguments.iter().any(|it| it == "--record");
    if !wants_record && record.figures(&class).is_none() {
        println!("instructions: skipped, nothing is recorded for {class}");
        return ExitCode::SUCCESS;
    }
    let figures = count();
    if wants_record {
        record.set(&class, figures);
        record.write();
        println!("instructions: recorded for {class}");
        return ExitCode::SUCCESS;
    }
    record.verdict(&class, &figures)
}

/// Instructions in user space for one call of each workload, on both sides.
fn count() -> Figures {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut scene = Scene::start().await;
        let mut figures = Figures::new();
        for workload in Workload::ALL {
            let mut caller = scene.caller(workload).await;
            for _ in 0..WARM_UP {
                scene.call(&mut caller).await;
            }
            scene.totals();
            for _ in 0..ROUNDS {
                for _ in 0..CALLS {
                    scene.call(&mut caller).await;
                }
                for (side, total) in scene.totals() {
                    let each = total / u64::from(CALLS);
                    let least = figures.entry(format!("{} {side}", workload.name()));
                    least.and_modify(|it| *it = each.min(*it)).or_insert(each);
                }
            }
        }
        figures
    })
}
