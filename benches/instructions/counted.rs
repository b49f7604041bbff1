//! One sidecar under the counter: its totals, and whether it has come to rest.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::sidecar::{BOUNDARY, MODE};

/// For a step of a process that runs fifty times slower than it would.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Counted {
    process: Child,
    say: ChildStdin,
    hear: BufReader<ChildStdout>,
    out: PathBuf,
    marks: u32,
}

impl Counted {
    /// Starts it, and says where its listeners are, in the order of their names.
    pub fn start(configuration: &Path, listeners: &[&str]) -> (Self, Vec<String>) {
        let out = configuration.with_extension("callgrind");
        let mut process = Command::new("valgrind")
            .args(["--quiet", "--tool=callgrind"])
            .arg(format!("--callgrind-out-file={}", out.display()))
            .arg(format!("--dump-before={BOUNDARY}*"))
            .arg(std::env::current_exe().expect("our own file"))
            .arg(MODE)
            .arg(configuration)
            .args(listeners)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("valgrind");
        let say = process.stdin.take().expect("a pipe");
        let mut hear = BufReader::new(process.stdout.take().expect("a pipe"));
        let addresses = listeners.iter().map(|_| line(&mut hear)).collect();
        (Self { process, say, hear, out, marks: 0 }, addresses)
    }

    /// Instructions in user space since it was asked last.
    pub fn total(&mut self) -> u64 {
        writeln!(self.say, "count").expect("a process that listens");
        assert_eq!(line(&mut self.hear), "counted");
        self.marks += 1;
        let path = format!("{}.{}", self.out.display(), self.marks);
        let text = fs::read_to_string(&path).expect("what was counted");
        let total = text.lines().find_map(|line| line.strip_prefix("summary: "));
        total.and_then(|it| it.trim().parse().ok()).expect("a total")
    }

    /// Returns once all of its threads wait for something. The next request then always finds the
    /// process at the same place, and takes the same way.
    pub async fn rest(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut looks = 0;
        while looks < 3 {
            assert!(Instant::now() < deadline, "the sidecar does not come to rest");
            looks = if self.is_at_rest() { looks + 1 } else { 0 };
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
    }

    fn is_at_rest(&self) -> bool {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.process.id())) else {
            panic!("the sidecar has ended");
        };
        threads.flatten().all(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            // The state stands behind the name, which may hold anything.
            stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('S'))
        })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn line(from: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    from.read_line(&mut line).expect("a line");
    assert!(!line.is_empty(), "the sidecar has ended");
    line.trim().to_owned()
}
