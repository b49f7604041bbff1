//! Asks again where a policy had no answer: on a busy machine an evaluation may be cut off for the
//! time that others took, and that says nothing about the policy.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::authz::{Assumed, Standing, outline};
use crate::policy::{IdentityQuestion, Policy};

const TIMES: u32 = 4;
/// Of a policy that never answers not everything is asked again.
const IN_ALL: u32 = 200;

/// How much of it is left.
#[derive(Debug)]
pub(super) struct Patience(AtomicU32);

impl Default for Patience {
    fn default() -> Self {
        Self(AtomicU32::new(IN_ALL))
    }
}

impl Patience {
    /// The first answer that did not fail, or else the last.
    pub(super) fn ask<T>(&self, mut ask: impl FnMut() -> T, failed: impl Fn(&T) -> bool) -> T {
        let mut answer = ask();
        for _ in 1..TIMES {
            if !failed(&answer) || self.0.load(Ordering::Relaxed) == 0 {
                break;
            }
            answer = ask();
            if failed(&answer) {
                let less = |left: u32| Some(left.saturating_sub(1));
                self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok();
            }
        }
        answer
    }

    pub(super) fn outline(
        &self,
        policy: &Policy,
        assumed: &Assumed,
        question: &IdentityQuestion<'_>,
    ) -> Standing {
        self.ask(|| outline(policy, assumed, question), |standing| standing.error.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_for_the_moment_is_none() {
        let mut answers = [Err(1), Err(2), Ok(3)].into_iter();
        let answer = Patience::default().ask(|| answers.next().unwrap(), Result::is_err);
        assert_eq!(answer, Ok(3));
    }

    #[test]
    fn who_never_answers_is_asked_again_for_a_while_only() {
        let patience = Patience::default();
        let mut asked = 0;
        for _ in 0..10_000 {
            patience.ask(|| asked += 1, |()| true);
        }
        assert!(asked <= 10_000 + IN_ALL, "{asked}");
    }
}
