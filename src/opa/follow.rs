//! Follows a bundle on its server or on disk, and offers what it finds there.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::digest;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::bundle::read_file;
use super::download::{Download, Fetched};
use super::error::BundleError;
use super::kept::Kept;
use super::settings::{BundleFrom, BundleSettings};
use super::signer::Judge;
use super::status::{BundleStatus, Trouble};
use crate::files::Follow;
use crate::live::{Live, Publisher, live};
use crate::policy::{Intake, Offered};
use crate::tls::RootsError;
use crate::token::Backoff;

/// Servers that were asked to wait and do not are asked no more often than others.
const WAITED_LEAST: Duration = Duration::from_secs(1);
/// Up to so much of the interval is taken off at random.
const JITTER: f64 = 0.1;

/// Follows a bundle from now on. Runs on the current tokio runtime.
pub fn follow(settings: BundleSettings, intake: Intake) -> Result<Live<BundleStatus>, RootsError> {
    let BundleSettings { name, from, trust } = settings;
    let judge = Judge::new(trust, &name)?;
    let (statuses, status) = live(BundleStatus::of(&name));
    let mut taker = Taker {
        status: BundleStatus::of(&name),
        statuses,
        judge,
        intake,
        kept: None,
        judged: None,
        told: None,
        kept_waits: false,
    };
    match from {
        BundleFrom::File(path) => {
            let follow = Follow::new(vec![path.clone()]);
            drop(tokio::spawn(async move { taker.follow_file(path, follow).await }));
        }
        BundleFrom::Server(server) => {
            taker.kept = server.keep.as_deref().map(|folder| Kept::new(folder, &name));
            let every = server.every;
            let download = Download::new(*server)?;
            drop(tokio::spawn(async move { taker.follow_server(download, every).await }));
        }
    }
    Ok(status)
}

/// Judges archives, and tells what became of them.
struct Taker {
    status: BundleStatus,
    statuses: Publisher<BundleStatus>,
    judge: Judge,
    intake: Intake,
    kept: Option<Kept>,
    /// Digest of the archive that was judged last, for servers without tags and for files.
    judged: Option<Vec<u8>>,
    /// The trouble that was told last: each is told once.
    told: Option<String>,
    /// What is kept could not be judged yet, for want of keys.
    kept_waits: bool,
}

/// What became of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    InForce,
    /// Until there is another one.
    Refused,
    /// It could not be judged: the same one may be good a moment later.
    Undecided,
}

impl Taker {
    async fn follow_file(&mut self, path: std::path::PathBuf, mut follow: Follow) {
        let mut backoff = Backoff::new();
        let mut verdict = Verdict::InForce;
        loop {
            let again = match verdict {
                Verdict::Undecided => Some(backoff.delay(fastrand::f64(), None)),
                Verdict::InForce | Verdict::Refused => None,
            };
            tokio::select! {
                () = follow.changed() => backoff.reset(),
                () = self.judge.changed(), if verdict != Verdict::InForce => self.judged = None,
                () = after(again) => {}
            }
            self.status.last_request = Some(SystemTime::now());
            let path = path.clone();
            let read = spawn_blocking(move || read_file(&path)).await;
            verdict = match read.map_err(|panic| BundleError::Broken(panic.to_string())).flatten() {
                Ok(packed) => self.take(packed, None).await,
                Err(error) => self.reject(&error),
            };
            self.tell();
        }
    }

    async fn follow_server(&mut self, mut download: Download, every: Duration) {
        self.start_with_kept().await;
        let mut backoff = Backoff::new();
        loop {
            let began = Instant::now();
            self.status.last_request = Some(SystemTime::now());
            let pause = match download.fetch(self.status.etag.as_deref()).await {
                Ok(fetched) => {
                    let activated = self.status.downloads.activated;
                    if self.answer(fetched).await == Verdict::Undecided {
                        backoff.delay(fastrand::f64(), None).min(every)
                    } else {
                        backoff.reset();
                        let fresh = self.status.downloads.activated > activated;
                        match download.is_waiting() {
                            true if began.elapsed() >= WAITED_LEAST => Duration::ZERO,
                            true if fresh => WAITED_LEAST.min(every),
                            _ => every.mul_f64(1.0 - JITTER * fastrand::f64()),
                        }
                    }
                }
                Err(failure) => {
                    let trouble = Trouble::failed(failure.message, failure.http_code);
                    self.fail(trouble);
                    backoff.delay(fastrand::f64(), failure.retry_after)
                }
            };
            self.tell();
            self.rest(pause).await;
        }
    }

    /// Until it is time to ask again, or what was refused may be believed now.
    async fn rest(&mut self, pause: Duration) {
        let refused = self.status.trouble.as_ref().is_some_and(|trouble| trouble.refused);
        tokio::select! {
            () = sleep(pause) => {}
            () = self.judge.changed(), if refused || self.kept_waits => {
                self.status.etag = None;
                self.judged = None;
                if self.kept_waits {
                    self.start_with_kept().await;
                }
            }
        }
    }

    async fn start_with_kept(&mut self) {
        self.kept_waits = false;
        let Some(kept) = self.kept.clone() else { return };
        let read = spawn_blocking(move || kept.read()).await;
        let packed = match read.map_err(|panic| BundleError::Broken(panic.to_string())).flatten() {
            Ok(Some(packed)) => Arc::new(packed),
            Ok(None) => return,
            Err(error) => {
                warn!(bundle = self.status.name, "the kept bundle is of no use: {error}");
                return;
            }
        };
        let size = packed.len();
        let source = match self.judge.open(packed).await {
            Ok(source) => source,
            Err(error) => {
                self.kept_waits = error.may_pass();
                warn!(bundle = self.status.name, "the kept bundle is of no use: {error}");
                return;
            }
        };
        match self.intake.offer(source).await {
            Offered::Taken | Offered::InForce => {
                info!(bundle = self.status.name, "the kept bundle is in force");
                self.activated(size);
                self.status.from_kept = true;
            }
            Offered::Known | Offered::Refused(_) => {
                warn!(bundle = self.status.name, "the kept bundle is of no use any more");
            }
        }
        self.tell();
    }

    async fn answer(&mut self, fetched: Fetched) -> Verdict {
        let now = Some(SystemTime::now());
        self.status.last_successful_request = now;
        match fetched {
            Fetched::Unchanged => {
                self.unchanged();
                Verdict::InForce
            }
            Fetched::Archive { packed, etag } => {
                self.status.last_successful_download = now;
                self.take(packed, etag).await
            }
        }
    }

    /// What was refused stays refused.
    fn unchanged(&mut self) {
        self.status.downloads.unchanged += 1;
        let refused = self.status.trouble.as_ref().is_some_and(|trouble| trouble.refused);
        if !refused {
            self.at_peace();
        }
    }

    async fn take(&mut self, packed: Vec<u8>, etag: Option<String>) -> Verdict {
        let digest = digest::digest(&digest::SHA256, &packed).as_ref().to_vec();
        if self.judged.as_ref() == Some(&digest) {
            self.status.etag = etag;
            self.unchanged();
            return Verdict::InForce;
        }
        let packed = Arc::new(packed);
        let source = match self.judge.open(Arc::clone(&packed)).await {
            Ok(source) => source,
            Err(error) => {
                let verdict = self.reject(&error);
                if verdict == Verdict::Refused {
                    self.status.etag = etag;
                    self.judged = Some(digest);
                }
                return verdict;
            }
        };
        match self.intake.offer(source).await {
            Offered::Taken | Offered::InForce => {
                self.status.etag = etag;
                self.judged = Some(digest);
                self.activated(packed.len());
                self.kept_waits = false;
                self.keep(packed).await;
                Verdict::InForce
            }
            // Said when it was refused first.
            Offered::Known => {
                self.status.etag = etag;
                self.judged = Some(digest);
                self.status.downloads.refused += 1;
                let message = "the policy was refused before".to_owned();
                self.status.trouble.get_or_insert_with(|| Trouble::refused(message));
                Verdict::Refused
            }
            Offered::Refused(message) => {
                self.status.downloads.refused += 1;
                self.status.trouble = Some(Trouble::refused(message));
                if !self.intake.has_judged() {
                    return self.undecided();
                }
                self.status.etag = etag;
                self.judged = Some(digest);
                Verdict::Refused
            }
        }
    }

    /// The archive itself is not good; its policy was not even looked at.
    fn reject(&mut self, error: &BundleError) -> Verdict {
        let message = error.to_string();
        self.status.downloads.refused += 1;
        // Says it in the log, readiness and the status of the policy, once.
        self.intake.unreadable(format!("the bundle `{}`: {message}", self.status.name));
        self.status.trouble = Some(Trouble::refused(message));
        if error.may_pass() { self.undecided() } else { Verdict::Refused }
    }

    /// Nothing is known: it has to come again as a whole.
    fn undecided(&mut self) -> Verdict {
        self.status.etag = None;
        self.judged = None;
        Verdict::Undecided
    }

    fn fail(&mut self, trouble: Trouble) {
        self.status.downloads.failed += 1;
        let message = &trouble.message;
        if self.told.as_ref() != Some(message) {
            let bundle = &self.status.name;
            match self.intake.revision() {
                Some(revision) => {
                    warn!(bundle, in_force = %revision, "no bundle could be had: {message}");
                }
                None => error!(bundle, "no bundle could be had, and none is in force: {message}"),
            }
            self.told = Some(message.clone());
        }
        // Of the two, that something was refused is the one to act on.
        if !self.status.trouble.as_ref().is_some_and(|before| before.refused) {
            self.status.trouble = Some(trouble);
        }
    }

    fn activated(&mut self, size: usize) {
        self.status.downloads.activated += 1;
        self.status.last_successful_activation = Some(SystemTime::now());
        self.status.size = Some(size);
        self.status.from_kept = false;
        self.at_peace();
    }

    fn at_peace(&mut self) {
        self.status.trouble = None;
        if self.told.take().is_some() {
            info!(bundle = self.status.name, "the bundle server answers again");
        }
    }

    async fn keep(&mut self, packed: Arc<Vec<u8>>) {
        let Some(kept) = self.kept.clone() else { return };
        match spawn_blocking(move || kept.write(&packed)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => error!(bundle = self.status.name, "the bundle is not kept: {error}"),
            Err(panic) => error!(bundle = self.status.name, "the bundle is not kept: {panic}"),
        }
    }

    fn tell(&mut self) {
        self.status.policy_revision = self.intake.revision().cloned();
        self.status.active_revision = self.intake.bundle_revision().cloned();
        self.statuses.publish(self.status.clone());
    }
}

/// Without a time it never is.
async fn after(pause: Option<Duration>) {
    match pause {
        Some(pause) => sleep(pause).await,
        None => pending().await,
    }
}
