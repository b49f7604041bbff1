//! The one way into force: whatever brings a policy offers it here. It is checked and compiled aside,
//! then swapped in; a candidate that is refused changes nothing, and is told once.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tracing::{debug, error, info, warn};

use super::engine::Policy;
use super::error::LoadError;
use super::examine::{Examined, Examiner};
use super::rules::Desk;
use super::source::Source;
use super::warm;
use crate::live::{Live, Publisher, live};

/// How often it is looked whether a policy of before is still in use.
const RETIREMENT_GLANCE: Duration = Duration::from_secs(1);
/// An examiner that could not be had may be had a moment later.
const ATTEMPTS: usize = 3;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(300);

/// Of why a candidate was refused: a policy may have any number of faults.
const MESSAGE_CHARS_MAX: usize = 16 * 1024;

/// How it stands with the policy of one lane.
#[derive(Debug, Clone)]
pub struct PolicyStatus {
    /// Of the policy in force; `None` while there has been none.
    pub revision: Option<Arc<str>>,
    /// What the makers of the bundle count it by, if it came in one that says so.
    pub bundle_revision: Option<Arc<str>>,
    pub loaded_at: Option<SystemTime>,
    /// What is legal in the policy in force and probably not meant.
    pub remarks: Vec<String>,
    /// Why what was offered last is not in force; `None` if it is.
    pub last_error: Option<String>,
    /// Of what was offered last and is not in force, if it could be read.
    pub candidate: Option<Arc<str>>,
    /// When something else than before was last offered.
    pub last_attempt: SystemTime,
    /// Candidates that came into force.
    pub taken: u64,
    /// Candidates that did not.
    pub refused: u64,
}

/// What a policy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    Enforced,
    /// Asked and never obeyed.
    Shadow,
}

/// Takes candidates for one lane, one after the other.
#[derive(Debug)]
pub struct Intake {
    desk: Desk,
    lane: Lane,
    examiner: Examiner,
    status: PolicyStatus,
    statuses: Publisher<PolicyStatus>,
    in_force: Option<InForce>,
    tried: Tried,
}

/// The digests of what is in force. The revision is too short to compare by.
#[derive(Debug)]
struct InForce {
    enforced: Arc<str>,
    /// With the tests that it passed.
    content: Arc<str>,
}

/// What became of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offered {
    /// It is in force from now on.
    Taken,
    /// It is in force already.
    InForce,
    /// It was refused before, and is not looked at again.
    Known,
    /// Why the one before stays.
    Refused(String),
}

/// What was offered last, so that it is neither compiled nor told again.
#[derive(Debug, PartialEq, Eq)]
enum Tried {
    /// What is in force.
    Live,
    /// A candidate with this content, which was refused.
    Refused(Arc<str>),
    /// Something that could not even be read.
    Unreadable(String),
}

impl Intake {
    /// `first`: what is in force already, if anything is.
    pub fn new(
        desk: Desk,
        lane: Lane,
        examiner: Examiner,
        first: Option<&Policy>,
    ) -> (Self, Live<PolicyStatus>) {
        if let Some(first) = first {
            tell_reads(first);
        }
        let now = SystemTime::now();
        let first = first.filter(|first| !first.is_closed());
        let status = PolicyStatus {
            revision: first.map(|first| Arc::clone(first.revision())),
            bundle_revision: first.and_then(|first| first.bundle_revision().cloned()),
            loaded_at: first.map(|_| now),
            remarks: Vec::new(),
            last_error: None,
            candidate: None,
            last_attempt: now,
            taken: 0,
            refused: 0,
        };
        let (statuses, seen) = live(status.clone());
        let in_force = first.map(InForce::of);
        (Self { desk, lane, examiner, status, statuses, in_force, tried: Tried::Live }, seen)
    }

    /// Of what is in force in this lane.
    pub fn revision(&self) -> Option<&Arc<str>> {
        self.status.revision.as_ref()
    }

    /// What the makers of the bundle in force count it by.
    pub fn bundle_revision(&self) -> Option<&Arc<str>> {
        self.status.bundle_revision.as_ref()
    }

    /// Whether a candidate would be looked at: it is neither in force nor refused already.
    pub fn is_news(&self, source: &Source) -> bool {
        !self.is_refused(source) && !self.is_in_force(source)
    }

    /// Whether nothing was learned from the last offer, so that the same may fare better.
    pub fn wants_another(&self) -> bool {
        matches!(self.tried, Tried::Unreadable(_))
    }

    /// Puts a candidate in force if it is good. Does not block the runtime.
    pub async fn offer(&mut self, source: Source) -> Offered {
        if self.is_refused(&source) {
            return Offered::Known;
        }
        if self.is_in_force(&source) {
            self.mended();
            self.renamed(&source);
            return Offered::InForce;
        }
        let source = Arc::new(source);
        match self.look(&source).await {
            Ok(examined) if self.is_enforced(&examined.policy) => {
                // Its tests are others than before, and nothing else.
                self.in_force = Some(InForce::of(&examined.policy));
                self.mended();
                self.renamed(&source);
                Offered::InForce
            }
            Ok(examined) => {
                self.take(examined);
                Offered::Taken
            }
            Err(error) if error.is_about_the_policy() => {
                self.status.candidate = Some(Arc::clone(&source.revision));
                self.refuse(Tried::Refused(Arc::clone(&source.content)), error.full())
            }
            Err(error) => self.unreadable(error.full()),
        }
    }

    async fn look(&self, source: &Arc<Source>) -> Result<Examined, LoadError> {
        let mut attempt = 1;
        loop {
            let (examiner, source) = (self.examiner.clone(), Arc::clone(source));
            let desk = self.desk.clone();
            let examined = tokio::task::spawn_blocking(move || {
                let examined = examiner.look(source)?;
                let policy = warm::warmed(examined.policy, &desk.rules().snapshot().policy);
                Ok::<_, LoadError>(Examined { policy, ..examined })
            });
            let examined = examined.await;
            match examined {
                Ok(Err(error)) if !error.is_about_the_policy() && attempt < ATTEMPTS => {
                    attempt += 1;
                    tokio::time::sleep(ATTEMPT_PAUSE).await;
                }
                Ok(outcome) => return outcome,
                Err(panic) => return Err(LoadError::Examiner { what: panic.to_string() }),
            }
        }
    }

    /// Whether what was offered last was judged, and is refused for what it says. What could not
    /// even be looked at may be good a moment later.
    pub fn has_judged(&self) -> bool {
        !matches!(self.tried, Tried::Unreadable(_))
    }

    /// Nothing could be offered, and why.
    pub fn unreadable(&mut self, message: String) -> Offered {
        if self.tried == Tried::Unreadable(message.clone()) {
            return Offered::Known;
        }
        self.status.candidate = None;
        self.refuse(Tried::Unreadable(message.clone()), message)
    }

    /// There is nothing any more where the candidates came from. What is enforced stays: a shadow
    /// goes with its source.
    pub fn gone(&mut self, message: String) -> Offered {
        if self.lane == Lane::Shadow && self.status.revision.take().is_some() {
            info!("there is no shadow policy any more");
            self.desk.put_in_shadow(None);
            self.status.loaded_at = None;
            self.in_force = None;
            self.tried = Tried::Live;
        }
        self.unreadable(message)
    }

    fn is_refused(&self, source: &Source) -> bool {
        matches!(&self.tried, Tried::Refused(content) if *content == source.content)
    }

    fn is_in_force(&self, source: &Source) -> bool {
        self.in_force.as_ref().is_some_and(|it| it.content == source.content)
    }

    fn is_enforced(&self, policy: &Policy) -> bool {
        self.in_force.as_ref().is_some_and(|it| it.enforced == *policy.digest())
    }

    /// What is offered is what is in force.
    fn mended(&mut self) {
        if self.tried != Tried::Live {
            let revision = self.status.revision.as_deref().unwrap_or_default();
            let lane = self.lane.as_str();
            info!(%revision, lane, "policy mended: what was in force all along is offered again");
            self.accepted();
            self.told();
        }
    }

    /// The same may come in a bundle that is counted anew.
    fn renamed(&mut self, source: &Source) {
        if self.status.bundle_revision != source.bundle_revision {
            self.status.bundle_revision.clone_from(&source.bundle_revision);
            self.told();
        }
    }

    fn accepted(&mut self) {
        self.tried = Tried::Live;
        self.status.last_error = None;
        self.status.candidate = None;
    }

    fn take(&mut self, examined: Examined) {
        let lane = self.lane.as_str();
        let took_ms = examined.took_ms();
        let Examined { policy, tests, mut remarks, .. } = examined;
        let before = self.before();
        if let Some(before) = &before {
            let drops = policy.drops_of(before);
            let drops = drops.into_iter().map(|it| format!("{it} is gone, which the last had"));
            remarks.extend(drops);
        }
        let mended = self.tried != Tried::Live;
        let bundle_revision = policy.bundle_revision().map(tracing::field::display);
        let revision = policy.revision();
        info!(%revision, bundle_revision, lane, tests, took_ms, mended, "policy in force");
        for remark in &remarks {
            warn!(revision = %policy.revision(), lane, "policy in force, but {remark}");
        }
        self.in_force = Some(InForce::of(&policy));
        self.status.revision = Some(Arc::clone(policy.revision()));
        self.status.bundle_revision = policy.bundle_revision().cloned();
        self.status.loaded_at = Some(SystemTime::now());
        self.status.remarks = remarks;
        self.status.taken += 1;
        self.accepted();
        tell_reads(&policy);
        let policy = Arc::new(policy);
        match self.lane {
            Lane::Enforced => self.desk.put_in_force(policy),
            Lane::Shadow => self.desk.put_in_shadow(Some(policy)),
        }
        self.told();
        if let Some(before) = before {
            tokio::spawn(retire(before));
        }
    }

    /// What the candidate takes the place of.
    fn before(&self) -> Option<Arc<Policy>> {
        let rules = self.desk.rules();
        let rules = rules.load();
        match self.lane {
            Lane::Enforced => Some(Arc::clone(&rules.policy)),
            Lane::Shadow => rules.shadow.clone(),
        }
    }

    fn refuse(&mut self, tried: Tried, message: String) -> Offered {
        let message: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
        let in_force = self.status.revision.as_deref().unwrap_or("none");
        let candidate = self.status.candidate.as_deref().unwrap_or("none");
        let lane = self.lane.as_str();
        error!(%in_force, %candidate, lane, "policy refused, the old one stays: {message}");
        self.tried = tried;
        self.status.last_error = Some(message.clone());
        self.status.refused += 1;
        self.told();
        Offered::Refused(message)
    }

    fn told(&mut self) {
        self.status.last_attempt = SystemTime::now();
        self.statuses.publish(self.status.clone());
    }
}

impl InForce {
    fn of(policy: &Policy) -> Self {
        Self { enforced: Arc::clone(policy.digest()), content: Arc::clone(policy.content()) }
    }
}

/// Sees to it that a large policy is not torn down by whichever worker is the last to use it.
async fn retire(policy: Arc<Policy>) {
    while Arc::strong_count(&policy) > 1 {
        tokio::time::sleep(RETIREMENT_GLANCE).await;
    }
    drop(tokio::task::spawn_blocking(move || drop(policy)));
}

/// What its answers depend on, and so how long they hold.
fn tell_reads(policy: &Policy) {
    for entry in policy.reads() {
        let (entry, reads, holds) = (entry.name, &entry.input, entry.holds());
        debug!(entry, ?reads, holds, "the policy answers");
    }
}

impl Lane {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforced => "enforced",
            Self::Shadow => "shadow",
        }
    }
}

#[cfg(test)]
mod tests;
