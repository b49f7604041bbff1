//! Follows a policy on disk, and offers what it finds there.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use tokio::time::timeout;

use super::error::LoadError;
use super::intake::Intake;
use super::source::Source;
use crate::files::Follow;

/// How often a folder that keeps changing is read again before it is taken as it is.
const SETTLE_TRIES: usize = 10;
/// Between two of these readings.
const SETTLE_PAUSE: Duration = Duration::from_millis(50);

/// Until what could not be read is read again.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Follows the folder or file from now on. Runs on the current tokio runtime.
pub fn follow(path: PathBuf, intake: Intake) {
    drop(tokio::spawn(Follower { path, intake }.run()));
}

struct Follower {
    path: PathBuf,
    intake: Intake,
}

impl Follower {
    async fn run(mut self) {
        // The first change is told at once: it may have come since the first load.
        let mut follow = Follow::tree(self.path.clone());
        loop {
            if self.intake.wants_another() {
                // It may be read again although no change of it is seen.
                timeout(RETRY_PAUSE, follow.changed()).await.ok();
            } else {
                follow.changed().await;
            }
            self.attempt().await;
        }
    }

    async fn attempt(&mut self) {
        match self.read(|path| Source::read(&path)).await {
            Ok(source) if !self.intake.is_news(&source) => {
                // It may be what is in force, after something else had been refused.
                self.intake.offer(source).await;
            }
            Ok(source) => match self.read(move |path| settled(&path, source)).await {
                Ok(source) => drop(self.intake.offer(source).await),
                Err(message) => drop(self.intake.unreadable(message)),
            },
            Err(message) if self.is_gone().await => drop(self.intake.gone(message)),
            Err(message) => drop(self.intake.unreadable(message)),
        }
    }

    async fn is_gone(&self) -> bool {
        let missing = tokio::fs::try_exists(&self.path).await;
        missing.is_ok_and(|exists| !exists)
    }

    async fn read(
        &self,
        read: impl FnOnce(PathBuf) -> Result<Source, LoadError> + Send + 'static,
    ) -> Result<Source, String> {
        let path = self.path.clone();
        match tokio::task::spawn_blocking(move || read(path)).await {
            Ok(source) => source.map_err(|error| error.full()),
            Err(panic) => Err(panic.to_string()),
        }
    }
}

/// A set that is still being written may well compile without the half that is to come.
fn settled(path: &Path, mut source: Source) -> Result<Source, LoadError> {
    for _ in 0..SETTLE_TRIES {
        thread::sleep(SETTLE_PAUSE);
        let again = Source::read(path)?;
        if again.content == source.content {
            break;
        }
        source = again;
    }
    Ok(source)
}

#[cfg(test)]
mod tests;
