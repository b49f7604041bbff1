//! Looks at a candidate before it may go live: aside, bounded, and by its own tests.
//!
//! A policy can kill or stall whoever parses and evaluates it, so a sidecar has that done by
//! another process first, and compiles only what that one survived.

use std::io::{BufWriter, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use regorus::Value;
use rustix::process::Signal;
use tracing::debug;

use super::engine::{self, Policy};
use super::error::LoadError;
use super::inspect::{Inspected, inspect};
use super::parcel;
use super::prepare;
use super::sandbox::{CPU_SECONDS_MAX, MEMORY_MAX, Verdict};
use super::source::{Format, Source};
use super::stack::on_big_stack;

/// Even if the program has been replaced on disk since it was started.
const THIS_PROGRAM: &str = "/proc/self/exe";
const ARGUMENTS: [&str; 2] = ["policy", "examine"];
const AT_START: &str = "--at-start";
/// The allocator would take a gigabyte of addresses at once, which is the whole limit.
const ALLOCATOR_RESERVE: (&str, &str) = ("MIMALLOC_ARENA_RESERVE", "32768");
const PATIENCE: Duration = Duration::from_secs(10);
const VERDICT_BYTES_MAX: u64 = 1024 * 1024;
const COMPLAINT_BYTES_MAX: u64 = 64 * 1024;
/// For a process that has said all and is about to end.
const GLANCE: Duration = Duration::from_micros(200);

/// How candidates are looked at: by default in this process, where a hostile one may do harm.
#[derive(Debug, Clone, Default)]
pub struct Examiner {
    apart: Option<Apart>,
}

#[derive(Debug, Clone)]
struct Apart {
    program: Arc<Path>,
    patience: Duration,
    at_start: bool,
}

/// A policy that may go live.
#[derive(Debug)]
pub struct Examined {
    pub policy: Policy,
    /// How many of its own tests were run; none of them failed.
    pub tests: usize,
    /// What is legal and probably not meant.
    pub remarks: Vec<String>,
    pub took: Duration,
}

impl Examiner {
    /// In a process of its own: this program, which must be `sidegate`.
    pub fn apart() -> Self {
        let this = Path::new(THIS_PROGRAM);
        let own = || std::env::current_exe().unwrap_or_else(|_| this.to_owned());
        Self::by(if this.exists() { this.to_owned() } else { own() })
    }

    /// In a process of its own, by the program `sidegate` at a path.
    pub fn by(program: PathBuf) -> Self {
        Self { apart: Some(Apart { program: program.into(), patience: PATIENCE, at_start: false }) }
    }

    /// How long another process may take; without one it has no effect.
    pub fn patience(mut self, patience: Duration) -> Self {
        if let Some(apart) = &mut self.apart {
            apart.patience = patience;
        }
        self
    }

    /// While there is no traffic yet: the other process need not stand back for it.
    pub fn at_start(mut self) -> Self {
        if let Some(apart) = &mut self.apart {
            apart.at_start = true;
        }
        self
    }

    /// The policy, if it may go live. Blocks for as long as that takes.
    pub fn examine(&self, source: Arc<Source>) -> Result<Policy, LoadError> {
        self.look(source).map(|examined| examined.policy)
    }

    /// The same, with what else there is to tell.
    pub fn look(&self, source: Arc<Source>) -> Result<Examined, LoadError> {
        let began = Instant::now();
        let Inspected { policy, tests, remarks } = match &self.apart {
            None => on_big_stack(move || inspect(&source))?,
            Some(apart) => apart.inspect(source)?,
        };
        Ok(Examined { policy, tests, remarks, took: began.elapsed() })
    }
}

impl Examined {
    /// For the log.
    pub fn took_ms(&self) -> u64 {
        u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Apart {
    fn inspect(&self, source: Arc<Source>) -> Result<Inspected, LoadError> {
        let began = Instant::now();
        let (verdict, documents) = self.ask(&source)?;
        let verdict_ms = millis(began);
        if !verdict.problems.is_empty() {
            return Err(LoadError::Refused { problems: verdict.problems });
        }
        if let Some(what) = verdict.trouble {
            return Err(LoadError::Examiner { what });
        }
        if verdict.content != *source.content {
            return Err(trouble("something else was looked at"));
        }
        let policy = on_big_stack(move || {
            engine::compile_over(&source, || match documents {
                Some(documents) => documents,
                None => prepare::documents(&source),
            })
        })?;
        let compiled_ms = millis(began);
        debug!(revision = %policy.revision(), verdict_ms, compiled_ms, "policy examined");
        Ok(Inspected { policy, tests: verdict.tests, remarks: verdict.remarks })
    }

    /// What the other process has to say, and the data, which is read meanwhile.
    fn ask(&self, source: &Source) -> Result<(Verdict, Option<Documents>), LoadError> {
        let deadline = Instant::now() + self.patience;
        let mut child = Command::new(&*self.program)
            .args(ARGUMENTS)
            .args(self.at_start.then_some(AT_START))
            .env_clear()
            .env(ALLOCATOR_RESERVE.0, ALLOCATOR_RESERVE.1)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(trouble)?;
        let talk = talk(&mut child, source, deadline);
        if talk.is_err() {
            // It has been told nothing to the end; nobody waits for it.
            child.kill().and_then(|()| child.wait()).ok();
        }
        let Talk { verdict, complaint, documents, status } = talk?;
        let Some(verdict) = verdict else {
            let seconds = self.patience.as_secs_f32();
            let what = format!("took longer than {seconds} s to be examined");
            return Err(LoadError::Harmful { what });
        };
        match serde_json::from_slice(&verdict) {
            Ok(verdict) if status.success() => Ok((verdict, documents)),
            _ => Err(post_mortem(status, &complaint)),
        }
    }
}

type Documents = Result<Vec<Value>, LoadError>;

/// What came of it.
struct Talk {
    /// `None` if it did not come in time.
    verdict: Option<Vec<u8>>,
    complaint: Vec<u8>,
    documents: Option<Documents>,
    status: ExitStatus,
}

fn talk(child: &mut Child, source: &Source, deadline: Instant) -> Result<Talk, LoadError> {
    let (Some(stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(trouble("no pipe to talk through"));
    };
    let (said, verdict) = mpsc::channel();
    thread::scope(|scope| {
        let start = |name: &str| thread::Builder::new().name(name.to_owned());
        // One that has ended does not read to the end, which its status tells better.
        start("examiner-in")
            .spawn_scoped(scope, move || parcel::write(source, &mut BufWriter::new(stdin)).ok())
            .map_err(trouble)?;
        start("examiner-out")
            .spawn_scoped(scope, move || said.send(all(stdout, VERDICT_BYTES_MAX)).ok())
            .map_err(trouble)?;
        let complaint = start("examiner-err")
            .spawn_scoped(scope, move || all(stderr, COMPLAINT_BYTES_MAX))
            .map_err(trouble)?;
        // JSON is harmless to read; aliases in YAML are not, nor is any module.
        let harmless = source.data.iter().all(|data| data.format == Format::Json);
        let began = Instant::now();
        let documents = harmless.then(|| prepare::documents(source));
        debug!(took_ms = millis(began), "policy data read");
        let verdict = in_time(&verdict, deadline);
        // Before its pipes are waited for: they end with it.
        let status = end(child, deadline)?;
        let complaint = complaint.join().unwrap_or_default();
        Ok(Talk { verdict, complaint, documents, status })
    })
}

fn in_time(verdict: &Receiver<Vec<u8>>, deadline: Instant) -> Option<Vec<u8>> {
    match verdict.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(verdict) => Some(verdict),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => Some(Vec::new()),
    }
}

/// As much as there is, within a bound; what lies beyond is let go.
fn all(from: impl Read, max: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    from.take(max).read_to_end(&mut bytes).ok();
    bytes
}

/// It is gone when this returns.
fn end(child: &mut Child, deadline: Instant) -> Result<ExitStatus, LoadError> {
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().map_err(trouble)? {
            return Ok(status);
        }
        thread::sleep(GLANCE);
    }
    child.kill().ok();
    child.wait().map_err(trouble)
}

/// Why there is no verdict.
fn post_mortem(status: ExitStatus, complaint: &[u8]) -> LoadError {
    let complaint = String::from_utf8_lossy(complaint);
    let what = if complaint.contains("memory allocation of") {
        let gib = MEMORY_MAX >> 30;
        format!("needed more memory than {gib} GiB to be examined")
    } else if complaint.contains("has overflowed its stack") {
        "overflowed the stack of its examiner".to_owned()
    } else {
        match status.signal() {
            Some(signal) if signal == Signal::XCPU.as_raw() => {
                format!("needed more than {CPU_SECONDS_MAX} s of processor time to be examined")
            }
            Some(signal) => format!("killed its examiner (signal {signal})"),
            None => {
                let said = complaint.lines().next().unwrap_or("nothing");
                return trouble(format!("the examiner ended by itself ({status}), saying: {said}"));
            }
        }
    };
    LoadError::Harmful { what }
}

fn millis(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn trouble(what: impl ToString) -> LoadError {
    LoadError::Examiner { what: what.to_string() }
}
