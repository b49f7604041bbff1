//! The writer thread, and the handles that workers write through.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use thiserror::Error;

use super::buffers::{Buffers, Lines, Worker, WriteError};
use super::output::{Destination, Output};
use super::record::Record;
use super::tap::{self, Tap, Tapped};

/// Why the audit log cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error("cannot open the audit log `{}`", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("cannot write the audit log to this process's standard streams")]
    Stream(#[source] io::Error),
    #[error("cannot start the audit log's writer")]
    Thread(#[source] io::Error),
}

/// The last lines could not be written in time.
#[derive(Debug, Error)]
#[error("{lines} audit lines could not be written")]
pub struct CloseError {
    pub lines: u64,
}

/// The audit log. Clones are the same log.
#[derive(Debug, Clone)]
pub struct Sink(Arc<Shared>);

/// One worker's way into the log, with a buffer of its own. Clones share that buffer, so take one
/// [`Sink::handle`] for each worker rather than clones across workers.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    worker: Arc<Worker>,
}

/// What the writer has done so far.
#[derive(Debug, Default)]
pub struct Counters {
    lines: AtomicU64,
    errors: AtomicU64,
}

#[derive(Debug)]
struct Shared {
    buffers: Arc<Buffers>,
    counters: Arc<Counters>,
    tap: Arc<Mutex<Option<Tap>>>,
    writer: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    thread: JoinHandle<()>,
    finished: mpsc::Receiver<()>,
}

/// All lines on their way together. At 500 bytes a line this is some 16,000 decisions.
const IN_FLIGHT: usize = 8 * 1024 * 1024;
/// How long a first line waits for company before it is written.
const LINGER: Duration = Duration::from_millis(15);

impl Sink {
    /// Opens the destination and starts the writer.
    pub fn open(destination: Destination) -> Result<Self, OpenError> {
        Self::with_limit(destination, IN_FLIGHT)
    }

    pub(super) fn with_limit(destination: Destination, limit: usize) -> Result<Self, OpenError> {
        let path = match &destination {
            Destination::File(path) => Some(path.clone()),
            Destination::Stdout | Destination::Stderr | Destination::Channel(_) => None,
        };
        let output = Output::open(destination).map_err(|source| match path {
            Some(path) => OpenError::File { path, source },
            None => OpenError::Stream(source),
        })?;
        let buffers = Arc::new(Buffers::new(limit));
        let counters = Arc::new(Counters::default());
        let tap = Arc::new(Mutex::new(None));
        let (done, finished) = mpsc::channel();
        let mut writer = Writer {
            buffers: Arc::clone(&buffers),
            counters: Arc::clone(&counters),
            tap: Arc::clone(&tap),
            output,
            complained: None,
        };
        let thread = thread::Builder::new()
            .name("sidegate-audit".to_owned())
            .spawn(move || {
                writer.run();
                // Nobody listens if nobody closes the log: then there is nothing to tell.
                done.send(()).ok();
            })
            .map_err(OpenError::Thread)?;
        let writer = Mutex::new(Some(Running { thread, finished }));
        Ok(Self(Arc::new(Shared { buffers, counters, tap, writer })))
    }

    /// A buffer for one worker. Its lines are written even if the worker goes away.
    pub fn handle(&self) -> Handle {
        Handle { shared: Arc::clone(&self.0), worker: self.0.buffers.worker() }
    }

    /// A second reader of all lines from now on, which holds up to `limit` bytes. There can be one:
    /// `None` for whoever comes second.
    pub fn tap(&self, limit: usize) -> Option<Tapped> {
        let mut place = self.0.tap.lock().unwrap_or_else(PoisonError::into_inner);
        if place.is_some() {
            return None;
        }
        let (tap, tapped) = tap::tap(limit);
        *place = Some(tap);
        Some(tapped)
    }

    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.0.counters)
    }

    /// Opens a file destination anew, as log rotation asks for (SIGHUP).
    pub fn reopen(&self) {
        self.0.buffers.ring(|bell| bell.reopen = true);
    }

    /// Takes no more lines, writes those taken, and waits up to `limit` for that. Blocks: call it
    /// when the workers are gone. A second call has nothing left to do.
    pub fn close(&self, limit: Duration) -> Result<(), CloseError> {
        let running = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(running) = running else {
            return Ok(());
        };
        self.0.buffers.ring(|bell| bell.close = true);
        match running.finished.recv_timeout(limit) {
            Err(mpsc::RecvTimeoutError::Timeout) => {
                Err(CloseError { lines: self.0.buffers.waiting() })
            }
            // Disconnected without a word: the writer panicked, and `join` tells.
            Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => running
                .thread
                .join()
                .map_err(|_panic| CloseError { lines: self.0.buffers.waiting() }),
        }
    }
}

impl Drop for Shared {
    /// The last user is gone: the writer writes what it has and ends.
    fn drop(&mut self) {
        self.buffers.ring(|bell| bell.close = true);
    }
}

impl Handle {
    /// Takes the line, or says why not; then the decision must not be acted on. The line is with
    /// the operating system within some 20 ms.
    pub fn write(&self, record: &Record<'_>) -> Result<(), WriteError> {
        self.shared.buffers.write(&self.worker, record)
    }

    /// Resolves once a line of usual length would be taken, to hold back new work until then. To
    /// write one, use [`Handle::write_when_ready`].
    pub async fn ready(&self) {
        self.shared.buffers.ready().await;
    }

    /// Takes the line as soon as there is space for it. The caller sets the time limit.
    pub async fn write_when_ready(&self, record: &Record<'_>) -> Result<(), WriteError> {
        self.shared.buffers.write_when_ready(&self.worker, record).await
    }
}

impl Counters {
    /// Lines that the destination has taken.
    pub fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Attempts that the destination refused. Their lines are not lost: they are tried again.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }
}

/// The thread that owns the destination.
struct Writer {
    buffers: Arc<Buffers>,
    counters: Arc<Counters>,
    tap: Arc<Mutex<Option<Tap>>>,
    output: Output,
    complained: Option<Instant>,
}

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

impl Writer {
    fn run(&mut self) {
        let buffers = Arc::clone(&self.buffers);
        let mut spare = Lines::default();
        loop {
            let asked = buffers.wait(LINGER);
            self.follow();
            buffers.collect(asked.close, &mut spare, |lines| self.write(lines));
            if asked.close {
                break;
            }
        }
        // Its reader learns by that that no line follows.
        self.tap.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Err(error) = self.output.sync() {
            self.complain(&error);
        }
    }

    /// Does not return before every line is out: there is nowhere else to put them.
    fn write(&mut self, lines: &Lines) {
        if let Some(tap) = &*self.tap.lock().unwrap_or_else(PoisonError::into_inner) {
            tap.offer(&lines.bytes, lines.count);
        }
        let mut done = 0;
        let mut pause = FIRST_PAUSE;
        while let Some(rest) = lines.bytes.get(done..).filter(|rest| !rest.is_empty()) {
            match self.output.write(rest) {
                Ok(written) => {
                    done += written;
                    pause = FIRST_PAUSE;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // A reader that is slow for a moment, on a pipe that does not block.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.counters.errors.fetch_add(1, Ordering::Relaxed);
                    self.complain(&error);
                }
            }
            self.buffers.pause(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
            if self.follow() {
                // The new file gets the whole of the line that the old one has a part of.
                done = line_start(&lines.bytes, done);
            }
        }
        self.counters.lines.fetch_add(lines.count, Ordering::Relaxed);
    }

    fn follow(&mut self) -> bool {
        match self.output.follow() {
            Ok(changed) => changed,
            Err(error) => {
                self.counters.errors.fetch_add(1, Ordering::Relaxed);
                self.complain(&error);
                false
            }
        }
    }

    fn complain(&mut self, error: &io::Error) {
        let quiet = self.complained.is_some_and(|last| last.elapsed() < COMPLAIN_EVERY);
        if !quiet {
            self.complained = Some(Instant::now());
            tracing::error!(%error, "the audit log cannot be written; its lines wait, and when there is no more space for them requests are refused");
        }
    }
}

/// Where the line begins that `at` is in the middle of.
fn line_start(bytes: &[u8], at: usize) -> usize {
    let before = bytes.get(..at).unwrap_or_default();
    before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1)
}

#[cfg(test)]
mod tests;
