//! What a policy was asked, and what it is known to answer without being asked again.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::answer::{Ceiling, IdentityAnswer};
use super::question::{IdentityQuestion, Local, Subject, unix_minute};

/// Questions that one policy remembers: at most twice as many.
const GENERATION_MAX: usize = 10_000;

/// Of one policy. Looked at only where a worker does not know the answer itself.
#[derive(Default)]
pub(super) struct Memory {
    /// `None`: nothing is noted, as for a policy that only tools ask.
    asked: Option<Mutex<Asked>>,
    answers: HashMap<Asking, Known>,
    /// The only minute in which the answers hold.
    minute: Option<u64>,
    since: Option<Instant>,
}

/// A question about somebody, whatever the time and the address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Asking {
    /// What is left of the rights that they bring, rather than what they are granted.
    pub(super) brings: bool,
    pub(super) subject: Subject,
    pub(super) local: Local,
}

#[derive(Debug)]
pub(super) enum Known {
    Identity(IdentityAnswer),
    Ceiling(Ceiling),
}

/// Two generations: when the younger is full the older is forgotten.
#[derive(Debug, Default)]
struct Asked {
    young: HashSet<Asking>,
    old: HashSet<Asking>,
}

impl Memory {
    /// Notes from now on what is asked, and answers from `answers`.
    pub(super) fn noting(answers: HashMap<Asking, Known>, minute: Option<u64>) -> Self {
        Self { asked: Some(Mutex::default()), answers, minute, since: Some(Instant::now()) }
    }

    pub(super) fn identity(&self, question: &IdentityQuestion<'_>) -> Option<IdentityAnswer> {
        match self.known(question, false)? {
            Known::Identity(answer) => Some(answer.clone()),
            Known::Ceiling(_) => None,
        }
    }

    pub(super) fn ceiling(&self, question: &IdentityQuestion<'_>) -> Option<Ceiling> {
        match self.known(question, true)? {
            Known::Ceiling(ceiling) => Some(ceiling.clone()),
            Known::Identity(_) => None,
        }
    }

    /// Whether the answer would come from here.
    pub(super) fn knows(&self, question: &IdentityQuestion<'_>, brings: bool) -> bool {
        self.holds(question) && self.answers.contains_key(&Asking::of(question, brings))
    }

    /// Who was asked about, and, of a policy that was in force for a short time only, who was
    /// expected to be.
    pub(super) fn questions(&self, short: Duration) -> HashSet<Asking> {
        let mut questions = match &self.asked {
            Some(asked) => {
                let asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
                asked.young.union(&asked.old).cloned().collect()
            }
            None => HashSet::new(),
        };
        if self.since.is_some_and(|since| since.elapsed() < short) {
            let expected =
                self.answers.keys().take((2 * GENERATION_MAX).saturating_sub(questions.len()));
            questions.extend(expected.cloned());
        }
        questions
    }

    fn known(&self, question: &IdentityQuestion<'_>, brings: bool) -> Option<&Known> {
        if self.asked.is_none() && self.answers.is_empty() {
            return None;
        }
        let asking = Asking::of(question, brings);
        let known = self.answers.get(&asking).filter(|_| self.holds(question));
        if let Some(asked) = &self.asked {
            asked.lock().unwrap_or_else(PoisonError::into_inner).note(asking);
        }
        known
    }

    fn holds(&self, question: &IdentityQuestion<'_>) -> bool {
        self.minute.is_none_or(|minute| minute == unix_minute(question.now))
    }
}

impl Asking {
    fn of(question: &IdentityQuestion<'_>, brings: bool) -> Self {
        Self { brings, subject: question.subject.clone(), local: question.local.clone() }
    }
}

impl Asked {
    fn note(&mut self, asking: Asking) {
        if self.young.len() >= GENERATION_MAX && !self.young.contains(&asking) {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(&asking);
        self.young.insert(asking);
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("answers", &self.answers.len()).finish_non_exhaustive()
    }
}
