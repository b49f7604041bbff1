//! The steps of a decision as they are shown.

use serde::Serialize;

/// One step of a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Stable: `authenticated`, `revoked`, `policy`, `rights`, `tenant`, `route`, `denials`,
    /// `scopes` or `request`.
    pub step: &'static str,
    pub outcome: Passing,
    pub summary: String,
    pub notes: Vec<Note>,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Passing {
    Passed,
    Failed,
    /// An earlier one had failed.
    NotReached,
}

/// What had a part in a step, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// File, and line where it is known.
    pub at: Option<String>,
    pub text: String,
}

/// Steps on the way to the one that failed.
pub(super) struct Steps<'a> {
    failed: Option<&'static str>,
    why: &'a str,
    over: bool,
    steps: Vec<Step>,
}

impl Note {
    pub(super) fn at(at: Option<String>, text: String) -> Self {
        Self { at, text }
    }

    pub(super) fn plain(text: String) -> Self {
        Self { at: None, text }
    }
}

impl<'a> Steps<'a> {
    pub(super) fn until(failed: Option<&'static str>, why: &'a str) -> Self {
        Self { failed, why, over: false, steps: Vec::new() }
    }

    /// `fine` is what is said of it if it passed.
    pub(super) fn add(&mut self, step: &'static str, fine: String, notes: Vec<Note>) {
        let outcome = match self.failed {
            _ if self.over => Passing::NotReached,
            Some(failed) if failed == step => Passing::Failed,
            _ => Passing::Passed,
        };
        self.over |= outcome == Passing::Failed;
        let (summary, notes) = match outcome {
            Passing::Passed => (fine, notes),
            Passing::Failed => (self.why.to_owned(), notes),
            Passing::NotReached => ("not reached".to_owned(), Vec::new()),
        };
        self.steps.push(Step { step, outcome, summary, notes });
    }

    pub(super) fn done(self) -> Vec<Step> {
        self.steps
    }
}
