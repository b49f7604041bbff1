//! Any query against a policy, answered as `opa eval` prints it: for people, never for requests.

use regorus::Value;
use thiserror::Error;

use super::engine;
use super::error::{LoadError, Problem};
use super::growth;
use super::input;
use super::question::IdentityQuestion;
use super::scan;
use super::source::{Source, Text};
use super::stack::on_big_stack;

/// What stands in problems for the file of a query.
const QUERY: &str = "query";

/// What `input` is.
#[derive(Debug, Clone, Copy)]
pub enum Given<'a> {
    Nothing,
    Json(&'a str),
    /// What the policy is asked about an identity.
    Identity(&'a IdentityQuestion<'a>),
}

/// Why a query has no answer.
#[derive(Debug, Error)]
pub enum QueryError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("the input is not JSON: {message}")]
    Input { message: String },
    #[error("{0}")]
    Query(Problem),
}

/// What a query came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// `{"result":[{"expressions":[…]}]}`, or `{}`.
    pub json: String,
    pub is_defined: bool,
}

/// Puts `query` to a policy that could be enforced; what could not is refused.
pub fn query(source: &Source, query: &str, given: Given<'_>) -> Result<Answer, QueryError> {
    on_big_stack(|| Ok(put(source, query, given)))?
}

fn put(source: &Source, query: &str, given: Given<'_>) -> Result<Answer, QueryError> {
    let mut engine = engine::enforced(source)?;
    let text = Text { name: QUERY.to_owned(), text: query.to_owned() };
    if let Some(problem) = scan::check(&[text]).into_iter().next() {
        return Err(QueryError::Query(problem));
    }
    let refused = |file: &str, error: &dyn ToString| {
        QueryError::Query(Problem::from_interpreter(file, &error.to_string()))
    };
    match given {
        Given::Nothing => {}
        Given::Json(json) => {
            let value = Value::from_json_str(json).map_err(|error| QueryError::Input {
                message: error.to_string().lines().next().unwrap_or_default().to_owned(),
            })?;
            engine.set_input(value);
        }
        Given::Identity(question) => engine.set_input(input::identity(question)),
    }
    growth::renew();
    let mut results =
        engine.eval_query(query.to_owned(), false).map_err(|error| refused(QUERY, &error))?;
    // The interpreter keeps what is undefined, and would print it as a string.
    results
        .result
        .retain(|result| result.expressions.iter().all(|it| it.value != Value::Undefined));
    let is_defined = !results.result.is_empty();
    let json = serde_json::to_string_pretty(&results).map_err(|error| refused(QUERY, &error))?;
    Ok(Answer { json, is_defined })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str, asked: &str, given: Given<'_>) -> Result<Answer, QueryError> {
        let files = [("p.rego".to_owned(), text.as_bytes().to_vec())];
        query(&Source::from_files(files).unwrap(), asked, given)
    }

    const POLICY: &str =
        "package sidegate.global\n\ngrant := {\"roles\": [], \"scopes\": [], \"tenant\": null}\n";

    #[test]
    fn answers_have_the_shape_of_opa() {
        let said =
            answer(POLICY, "x := data.sidegate.global.grant.tenant", Given::Nothing).unwrap();
        let json: serde_json::Value = serde_json::from_str(&said.json).unwrap();
        assert_eq!(json["result"][0]["bindings"]["x"], serde_json::Value::Null);
        assert_eq!(json["result"][0]["expressions"][0]["value"], true);
        assert!(said.is_defined);
        let said = answer(POLICY, "input.n + 1", Given::Json("{\"n\": 1}")).unwrap();
        assert!(said.json.contains("\"value\": 2"), "{}", said.json);
    }

    #[test]
    fn what_is_undefined_is_an_empty_answer() {
        for asked in ["data.nothing", "input.n", "data.sidegate.global.nothing"] {
            let said = answer(POLICY, asked, Given::Nothing).unwrap();
            assert_eq!((said.json.as_str(), said.is_defined), ("{}", false), "{asked}");
        }
    }

    #[test]
    fn what_cannot_be_asked_is_said() {
        let nested = "[".repeat(40_000);
        for asked in ["1 +", "nonsense(", nested.as_str(), "to_number(\"x\")"] {
            assert!(matches!(answer(POLICY, asked, Given::Nothing), Err(QueryError::Query(_))));
        }
        assert!(matches!(answer(POLICY, "input", Given::Json("{")), Err(QueryError::Input { .. })));
        assert!(matches!(answer("package x", "1", Given::Nothing), Err(QueryError::Load(_))));
    }
}
