//! Tells that files may have changed: by the system's events, and by looking for where there are
//! none.

use std::mem;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::look::{Sight, Subject};
use super::watch::{Bell, Watch};

/// Changes come in bursts: several files, or a rename after a write.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// For file systems that tell nothing, and for folders that do not exist yet.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Follows paths that may not exist yet. Says only that something may have changed: whoever
/// follows reads again and compares.
#[derive(Debug)]
pub struct Follow {
    told: watch::Receiver<()>,
    _task: AbortOnDropHandle<()>,
}

impl Follow {
    /// Begins to follow files on the current tokio runtime, each by itself.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self::begin(Subject::Files(paths), POLL_INTERVAL)
    }

    /// Begins to follow a folder with all that is in it, or a single file, on the current tokio
    /// runtime.
    pub fn tree(path: PathBuf) -> Self {
        Self::begin(Subject::Tree(path), POLL_INTERVAL)
    }

    fn begin(subject: Subject, poll: Duration) -> Self {
        let (tell, told) = watch::channel(());
        let task = tokio::spawn(run(subject, poll, tell));
        Self { told, _task: AbortOnDropHandle::new(task) }
    }

    /// Resolves when what is at the paths may have changed since the last call, within a second,
    /// and at most every 50 ms. The first call resolves at once, for what changed between reading
    /// and following. Cancel safe.
    pub async fn changed(&mut self) {
        if self.told.changed().await.is_err() {
            // Only when the runtime ends.
            std::future::pending::<()>().await;
        }
    }
}

async fn run(subject: Subject, poll: Duration, tell: watch::Sender<()>) {
    let (bell, mut heard) = Bell::new();
    let mut eye = Eye::new(subject.clone(), bell.clone());
    loop {
        let looked = tokio::task::spawn_blocking(move || {
            let changed = eye.look();
            (eye, changed)
        });
        let changed;
        (eye, changed) = match looked.await {
            Ok(looked) => looked,
            // It has panicked, and forgotten what it saw.
            Err(_) => (Eye::new(subject.clone(), bell.clone()), true),
        };
        if changed {
            tell.send_replace(());
        }
        rest(&mut heard, poll).await;
    }
}

/// Until it is time to look again.
async fn rest(heard: &mut mpsc::Receiver<()>, poll: Duration) {
    if timeout(poll, heard.recv()).await.is_ok() {
        sleep(DEBOUNCE).await;
        // What was heard until now is seen by the look that follows.
        while heard.try_recv().is_ok() {}
    }
}

/// Remembers what it saw.
#[derive(Debug)]
struct Eye {
    subject: Subject,
    bell: Bell,
    seen: Option<Sight>,
    watch: Option<Watch>,
    warned: bool,
}

impl Eye {
    fn new(subject: Subject, bell: Bell) -> Self {
        Self { subject, bell, seen: None, watch: None, warned: false }
    }

    /// Whether something may have changed since the last look; always so at the first one.
    fn look(&mut self) -> bool {
        let certain = self.bell.take_certain();
        let now = self.subject.look();
        let old = self.seen.as_ref();
        let moved = old.is_none_or(|old| (&old.places, &old.names) != (&now.places, &now.names));
        let changed = old != Some(&now);
        // A folder may be another one now, which the old watch does not reach. The insides of a
        // tree are watched one by one, and a link in it may lead elsewhere.
        if moved || (changed && matches!(self.subject, Subject::Tree(_))) {
            self.watch_anew(&now);
            // What happened before the watch began was not heard.
            self.bell.ring(false);
        }
        self.seen = Some(now);
        changed || certain
    }

    fn watch_anew(&mut self, sight: &Sight) {
        let (watch, trouble) = Watch::new(sight, &self.bell);
        self.watch = watch;
        if let Some(error) = trouble
            && !mem::replace(&mut self.warned, true)
        {
            warn!("changes of files are noticed by polling only: {error}");
        }
    }
}

#[cfg(test)]
mod tests;
