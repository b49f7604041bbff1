//! One question to a policy: a prepared interpreter, asked by copies of it, bounded in time, and
//! harmless if it gives up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use regorus::{Engine, Value};

use super::answer::{Answer, EvalError};
use super::budget::Budget;
use super::error::{LoadError, Problem};
use super::growth;
use super::prepare::{is_overtime, timer};

/// One question that the policy answers.
pub(super) struct Entry {
    path: &'static str,
    /// Prepared, and never asked itself: each question has a copy of its own, which shares all that
    /// is large.
    engine: Engine,
}

impl Entry {
    pub(super) fn path(&self) -> &'static str {
        self.path
    }

    pub(super) fn new(path: &'static str, mut engine: Engine) -> Result<Self, LoadError> {
        engine
            .compile_with_entrypoint(&path.into())
            .map_err(|error| Problem::from_interpreter(path, &error.to_string()))?;
        Ok(Self { path, engine })
    }

    pub(super) fn ask<T>(
        &self,
        input: &Value,
        budget: Budget,
        decode: impl FnOnce(&Answer<'_>) -> Result<T, EvalError>,
    ) -> Result<T, EvalError> {
        let entry = || self.path.to_owned();
        let limit = budget.left().ok_or_else(|| EvalError::Timeout { entry: entry() })?;
        let mut evaluated = self.evaluate(input, limit);
        if let (Err(Stopped::Overtime), Some(more)) = (&evaluated, budget.once_more(limit)) {
            evaluated = self.evaluate(input, more);
        }
        let value = evaluated.map_err(|stopped| match stopped {
            Stopped::Overtime => EvalError::Timeout { entry: entry() },
            Stopped::Failed(message) => EvalError::Evaluate { entry: entry(), message },
        })?;
        decode(&Answer { entry: self.path, value: &value })
    }

    fn evaluate(&self, input: &Value, limit: Duration) -> Result<Value, Stopped> {
        let mut engine = self.engine.clone();
        engine.set_execution_timer_config(timer(limit));
        engine.set_input(input.clone());
        // What a panic leaves behind is the copy, which nobody sees again.
        let path = self.path.to_owned();
        unharmed(|| engine.eval_rule(path)).map_err(|error| match error {
            None => Stopped::Failed("the interpreter gave up".to_owned()),
            Some(error) if is_overtime(error.downcast_ref(), &error) => Stopped::Overtime,
            Some(error) => {
                let problem = Problem::from_interpreter("policy", &error.to_string());
                Stopped::Failed(problem.to_string())
            }
        })
    }
}

/// Why an evaluation came to no value.
enum Stopped {
    Overtime,
    Failed(String),
}

/// `None`: it has panicked. What one answer may make is counted from here.
pub(super) fn unharmed<T, E>(evaluate: impl FnOnce() -> Result<T, E>) -> Result<T, Option<E>> {
    growth::renew();
    match catch_unwind(AssertUnwindSafe(evaluate)) {
        Ok(evaluated) => evaluated.map_err(Some),
        Err(_) => Err(None),
    }
}
