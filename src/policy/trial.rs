//! Asks a candidate about identities that it knows, before real ones are.
//!
//! One that takes too long is refused. One that has no proper answer is only told of: who is asked
//! is not known here, and a policy may be at a loss with the stand-in.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use spiffe::SpiffeId;

use super::answer::EvalError;
use super::engine::Policy;
use super::error::{LoadError, Problem};
use super::holds::EntryReads;
use super::question::{Direction, IdentityQuestion, Local, RequestQuestion, Subject, Workload};
use super::source::Source;

/// Asked about, evenly spread over all that are named.
const IDENTITIES_MAX: usize = 256;
/// Of these, also with a request.
const REQUESTS_MAX: usize = 16;
/// Different ones that are found in the files, at most.
const NAMED_MAX: usize = 100_000;
/// Where the question after the last one is not asked anymore.
const TIME_MAX: Duration = Duration::from_secs(2);
const REMARKS_MAX: usize = 8;
/// A machine may be busy: only what takes too long each time counts.
const ATTEMPTS: usize = 5;
/// Of headers, and of path and query together: as large as the proxy lets them be.
const HEADERS_BYTES: usize = 63 * 1024;
const TARGET_BYTES: usize = 8 * 1024;
const HEADERS: &str = "input.request.headers.";
const SCHEME: &str = "spiffe://";
/// Asked about even if the files name nobody.
const ANYBODY: &str = "spiffe://example.org/somewhere/somebody";

/// What else is to be said; an error if the policy takes too long.
pub(super) fn run(policy: &Policy, source: &Source) -> Result<Vec<String>, LoadError> {
    let began = Instant::now();
    let named = named(source);
    let step = named.len().div_ceil(IDENTITIES_MAX).max(1);
    let mut remarks = Vec::new();
    for (at, id) in named.iter().step_by(step).enumerate() {
        if began.elapsed() > TIME_MAX {
            break;
        }
        let found = patiently(|| ask(policy, id, at < REQUESTS_MAX));
        match found {
            Ok(()) | Err(EvalError::Undefined { .. } | EvalError::NoPolicy) => {}
            Err(error @ EvalError::Timeout { .. }) => {
                let message = format!("asked about `{id}`, {error}");
                return Err(Problem::in_file("policy", message).into());
            }
            Err(error) => {
                if remarks.len() < REMARKS_MAX {
                    remarks.push(format!("asked about `{id}`, {error}"));
                }
            }
        }
    }
    if policy.asks_requests() {
        remarks.extend(at_its_largest(policy));
    }
    Ok(remarks)
}

/// What it says of a request that is as large as can be. Only told: it denies such a request, and
/// where it needs more memory than there is, it has ended this process.
fn at_its_largest(policy: &Policy) -> Option<String> {
    let long = "a".repeat(HEADERS_BYTES);
    let (path, query) = long.split_at_checked(TARGET_BYTES / 2)?;
    let query = query.get(..TARGET_BYTES / 2)?;
    let names: Vec<String> = policy.reads().iter().flat_map(named_headers).collect();
    let each = long.get(..HEADERS_BYTES / names.len().max(1))?;
    let anonymous = [("x-long", each)];
    let headers: Vec<_> = names.iter().map(|name| (name.as_str(), each)).collect();
    let headers = if headers.is_empty() { &anonymous[..] } else { &headers };
    let path = format!("/{path}");
    let query = [("q".to_owned(), query.to_owned())];
    let id = SpiffeId::new(ANYBODY).ok()?;
    let large = Large { path: &path, query: &query, headers };
    match patiently(|| ask_about(policy, &id, large)) {
        Err(error @ (EvalError::Timeout { .. } | EvalError::Evaluate { .. })) => {
            Some(format!("asked about a request as large as can be, {error}"))
        }
        _ => None,
    }
}

/// Of those that the policy calls by name.
fn named_headers(entry: &EntryReads) -> impl Iterator<Item = String> {
    let read = entry.input.iter().filter_map(|path| path.strip_prefix(HEADERS));
    read.map(str::to_owned)
}

fn patiently(ask: impl Fn() -> Result<(), EvalError>) -> Result<(), EvalError> {
    let mut outcome = ask();
    for _ in 1..ATTEMPTS {
        if !matches!(outcome, Err(EvalError::Timeout { .. })) {
            break;
        }
        outcome = ask();
    }
    outcome
}

/// What of a request is as long as its sender likes.
#[derive(Clone, Copy)]
struct Large<'r> {
    path: &'r str,
    query: &'r [(String, String)],
    headers: &'r [(&'r str, &'r str)],
}

fn ask(policy: &Policy, id: &SpiffeId, with_request: bool) -> Result<(), EvalError> {
    let small = Large { path: "/", query: &[], headers: &[] };
    asked(policy, id, true, with_request.then_some(small))
}

fn ask_about(policy: &Policy, id: &SpiffeId, request: Large<'_>) -> Result<(), EvalError> {
    asked(policy, id, false, Some(request))
}

fn asked(
    policy: &Policy,
    id: &SpiffeId,
    with_identity: bool,
    request: Option<Large<'_>>,
) -> Result<(), EvalError> {
    let subject = Subject::spiffe(Workload::new(id));
    let local = Local {
        workload: subject.workload.clone(),
        tenant: "acme".into(),
        direction: Direction::Inbound,
    };
    let now = SystemTime::now();
    let identity = IdentityQuestion { subject: &subject, address: None, local: &local, now };
    if with_identity {
        policy.identity(&identity)?;
    }
    let Some(Large { path, query, headers }) = request else { return Ok(()) };
    let question = RequestQuestion {
        identity,
        protocol: "http",
        method: "GET",
        path,
        query,
        host: "localhost",
        route: "",
        headers,
        grpc: None,
        scopes_required: &[],
        scopes: &[],
        tenant: None,
    };
    policy.request_denials(&question).map(drop)
}

/// The SPIFFE IDs that stand anywhere in the files.
fn named(source: &Source) -> Vec<SpiffeId> {
    let mut named: BTreeSet<&str> = BTreeSet::from([ANYBODY]);
    for file in source.texts() {
        for (at, _) in file.text.match_indices(SCHEME) {
            let Some(found) = file.text.get(at..) else { continue };
            let end = found.find(|it| !is_part(it)).unwrap_or(found.len());
            named.extend(found.get(..end));
        }
        if named.len() > NAMED_MAX {
            break;
        }
    }
    let ids = named.into_iter().take(NAMED_MAX).filter_map(|id| SpiffeId::new(id).ok());
    ids.filter(|id| !id.path().is_empty()).collect()
}

fn is_part(it: char) -> bool {
    it.is_ascii_alphanumeric() || matches!(it, '-' | '.' | '_' | '/' | ':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(module: &str, data: &str) -> Source {
        let file = |name: &str, text: &str| (name.to_owned(), text.as_bytes().to_vec());
        Source::from_files([file("p.rego", module), file("data.json", data)]).unwrap()
    }

    #[test]
    fn identities_are_found_wherever_they_stand() {
        let module = "package sidegate.global\n# spiffe://a.example/x, and\n\
            grant := {\"roles\": [], \"scopes\": [\"spiffe://b.example/y/z\"], \"tenant\": null}";
        let data = r#"{"ids": {"spiffe://c.example/1": ["spiffe://c.example/1", "spiffe://d"]},
            "bad": "spiffe://UPPER/%", "below": "spiffe://e.example/*"}"#;
        let found: Vec<_> = named(&source(module, data)).iter().map(ToString::to_string).collect();
        let expected =
            ["spiffe://a.example/x", "spiffe://b.example/y/z", "spiffe://c.example/1", ANYBODY];
        assert_eq!(found, expected);
    }

    #[test]
    fn an_answer_that_fails_is_told_of_with_its_identity() {
        let module = "package sidegate.global\n\
            grant := {\"roles\": [], \"scopes\": [], \"tenant\": data.tenants[input.peer.spiffe_id]}";
        let data = r#"{"tenants": {"spiffe://c.example/1": 7, "spiffe://c.example/2": "acme"}}"#;
        let source = source(module, data);
        let policy = crate::policy::compile(source.clone()).unwrap();
        let remarks = run(&policy, &source).unwrap();
        let [remark] = remarks.as_slice() else { panic!("{remarks:?}") };
        assert!(remark.starts_with("asked about `spiffe://c.example/1`, "), "{remark}");
        assert!(remark.contains("`tenant` is a number where a string belongs"), "{remark}");
    }

    #[test]
    fn a_policy_that_cannot_take_a_large_request_is_told_of() {
        let grant = "package sidegate.global\n\
            grant := {\"roles\": [], \"scopes\": [], \"tenant\": null}";
        let remarks = |body: &str| {
            let deny = format!("package sidegate.request\ndeny contains \"x\" if {{\n{body}\n}}");
            let file = |name: &str, text: String| (name.to_owned(), text.into_bytes());
            let files = [file("g.rego", grant.to_owned()), file("r.rego", deny)];
            let source = Source::from_files(files).unwrap();
            let policy = crate::policy::compile(source.clone()).unwrap();
            run(&policy, &source).unwrap()
        };
        let squared = "some h in input.request.headers[\"x-tier\"]\n\
            concat(h, split(h, \"\")) == \"x\"";
        let said = remarks(squared);
        let [remark] = said.as_slice() else { panic!("{said:?}") };
        assert!(remark.contains("a request as large as can be"), "{remark}");
        assert!(remark.contains("`concat` makes more than"), "{remark}");
        let fine = "some h in input.request.headers[\"x-tier\"]\nupper(h) == \"X\"";
        assert_eq!(remarks(fine), Vec::<String>::new());
    }

    #[test]
    fn a_policy_that_takes_too_long_for_somebody_is_refused() {
        let module = "package sidegate.global\n\
            grant := {\"roles\": [], \"scopes\": [], \"tenant\": tenant}\n\
            tenant := \"acme\" if not data.slow[input.peer.spiffe_id]\n\
            tenant := \"slow\" if {\n\tdata.slow[input.peer.spiffe_id]\n\
            \tcount([1 | some a in numbers.range(1, 5000); some b in numbers.range(1, 5000); \
            a + b < 0]) == 0\n}";
        let source = source(module, r#"{"slow": {"spiffe://c.example/slow": true}}"#);
        let policy = crate::policy::compile(source.clone()).unwrap();
        let error = run(&policy, &source).unwrap_err().to_string();
        assert!(error.contains("`spiffe://c.example/slow`"), "{error}");
        assert!(error.contains("took too long"), "{error}");
    }
}
