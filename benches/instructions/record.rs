//! What was recorded, and how far from it is too far.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use serde::{Deserialize, Serialize};

/// More instructions than recorded, by this part of them, is a regression.
const MOST: f64 = 0.03;

/// Instructions for one call, by workload and side.
pub type Figures = BTreeMap<String, u64>;

/// Machines and toolchains whose figures can be compared.
#[derive(Debug, PartialEq, Eq)]
pub struct Class(String);

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Record(BTreeMap<String, Figures>);

impl Class {
    /// The compiler decides which instructions there are. Valgrind shows programs a processor of
    /// its own, in one of two kinds, whatever the machine has beyond.
    pub fn of_this_machine() -> Self {
        let rustc = Command::new("rustc").arg("--version").output().expect("a compiler");
        let rustc = String::from_utf8_lossy(&rustc.stdout).into_owned();
        let version = rustc.split_whitespace().nth(1).unwrap_or("unknown");
        let version = version.rsplit_once('.').map_or(version, |(minor, _patch)| minor);
        Self(format!("{} rustc {version}", processor()))
    }
}

#[cfg(target_arch = "x86_64")]
fn processor() -> &'static str {
    match std::arch::is_x86_feature_detected!("avx2") {
        true => "x86_64 avx2",
        false => "x86_64",
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn processor() -> &'static str {
    std::env::consts::ARCH
}

impl Record {
    pub fn read() -> Self {
        let text = fs::read_to_string(path()).unwrap_or_else(|_none_yet| "{}".to_owned());
        serde_json::from_str(&text).expect("a record")
    }

    pub fn figures(&self, class: &Class) -> Option<&Figures> {
        self.0.get(&class.0)
    }

    pub fn set(&mut self, class: &Class, figures: Figures) {
        self.0.insert(class.0.clone(), figures);
    }

    pub fn write(&self) {
        let text = serde_json::to_string_pretty(self).expect("a record") + "\n";
        fs::write(path(), text).expect("a file that can be written");
    }

    /// Fails if any figure is too far above its record.
    pub fn verdict(&self, class: &Class, figures: &Figures) -> ExitCode {
        let recorded = self.figures(class).expect("a record of this class");
        let mut worse = false;
        let mut better = false;
        println!("{:24} {:>10} {:>10}   ({class})", "", "recorded", "now");
        for (name, now) in figures {
            let Some(then) = recorded.get(name) else {
                println!("{name:24} {:>10} {now:>10}   not recorded", "-");
                worse = true;
                continue;
            };
            let change = *now as f64 / *then as f64 - 1.0;
            let says = if change > MOST { "  too many" } else { "" };
            println!("{name:24} {then:>10} {now:>10}   {:+.1} %{says}", change * 100.0);
            worse |= change > MOST;
            better |= change < -MOST;
        }
        if better && !worse {
            println!(
                "better than recorded: `cargo bench --bench instructions -- --record` keeps it"
            );
        }
        if worse { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

fn path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions/recorded.json"))
}
