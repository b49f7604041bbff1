//! Asks a candidate about everybody who is known, before it goes live: so that a change is not a
//! miss for everybody at once.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use tracing::debug;

use super::engine::Policy;
use super::memory::{Known, Memory};
use super::question::{IdentityQuestion, unix_minute};

/// A change waits for this at most. Who is left over is asked about when they come.
const TIME_MAX: Duration = Duration::from_millis(250);
/// Whoever has not come for so long under the policy before is not expected any more.
const EXPECTED_FOR: Duration = Duration::from_secs(600);

/// The policy, noting from now on whom it is asked about.
pub(super) fn noting(mut policy: Policy) -> Policy {
    policy.memory = Memory::noting(HashMap::new(), None);
    policy
}

/// The candidate, with its answers about those whom the policy in force was asked about. Blocks.
pub(super) fn warmed(mut candidate: Policy, in_force: &Policy) -> Policy {
    if candidate.reads_address() {
        // An answer about somebody elsewhere is no answer.
        return noting(candidate);
    }
    let began = Instant::now();
    let now = SystemTime::now();
    let questions = in_force.memory.questions(EXPECTED_FOR);
    let count = questions.len();
    let mut answers = HashMap::with_capacity(count);
    for asking in questions {
        if began.elapsed() >= TIME_MAX {
            break;
        }
        let (subject, local) = (&asking.subject, &asking.local);
        let question = IdentityQuestion { subject, address: None, local, now };
        let known = if asking.brings {
            candidate.ceiling(&question).map(Known::Ceiling)
        } else {
            candidate.identity(&question).map(Known::Identity)
        };
        // What fails now may not fail when it matters.
        if let Ok(known) = known {
            answers.insert(asking, known);
        }
    }
    let took = began.elapsed();
    debug!(revision = %candidate.revision(), known = count, asked = answers.len(), ?took, "prewarmed");
    let minute = candidate.reads_time().then(|| unix_minute(now));
    candidate.memory = Memory::noting(answers, minute);
    candidate
}

impl Policy {
    /// Whether it has answered this question before it went live, so that asking costs nothing.
    /// `brings`: about what is left of the rights that somebody brings.
    pub fn knows(&self, question: &IdentityQuestion<'_>, brings: bool) -> bool {
        self.memory.knows(question, brings)
    }
}

#[cfg(test)]
mod tests;
