//! One call of each kind, held against what was told of it: the answer, whether the application
//! was reached, and the one audit line.

use anyhow::ensure;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::Value;
use tonic::Status;

use super::report::Row;
use super::sidecar::Sidecar;
use super::stage::Stage;
use super::trail::{self, text};
use super::web::{self, Reply};
use super::{cache, ledger};

/// What is told of a call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told<'a> {
    pub(super) name: &'static str,
    /// The listener that the caller's application calls, by its port's name.
    pub(super) through: &'static str,
    /// `allowed`, or the code of the refusal.
    pub(super) reason: &'static str,
    /// The sidecar that decides.
    pub(super) judge: &'a Sidecar,
}

impl Told<'_> {
    pub(super) fn allowed(&self) -> bool {
        self.reason == "allowed"
    }

    /// Whether a line is the one that we look for, its request id aside.
    pub(super) fn decided(&self, line: &Value) -> bool {
        let decision = if self.allowed() { "allow" } else { "deny" };
        text(line, "decision") == decision && text(line, "reason") == self.reason
    }
}

/// A request id that nobody else uses.
pub(super) fn new_id() -> String {
    format!("{}{:016x}", web::SINGLE, fastrand::u64(..))
}

/// An HTTP request to orders that is to be answered with `status`.
pub(super) async fn http(
    stage: &Stage,
    told: Told<'_>,
    (method, path, body): (Method, &str, &'static str),
    status: u16,
) -> Row {
    let asked = async {
        let id = new_id();
        let request = web::request(method, path, &id, body)?;
        let port = stage.port(told.through)?;
        let sent = async {
            let reply = web::ask(port, request).await?;
            let echoed = reply.json().get("body").and_then(Value::as_str) == Some(body);
            ensure!(echoed || !told.allowed(), "another body came back than was sent");
            Ok(reply)
        };
        http_with(stage, told, &id, status, sent).await
    };
    let expected = expected(&told, status);
    asked.await.unwrap_or_else(|error| Row::broken(told.name, &expected, &error))
}

/// The same with a request that is sent in a way of its own.
pub(super) async fn http_with(
    stage: &Stage,
    told: Told<'_>,
    id: &str,
    status: u16,
    sent: impl Future<Output = anyhow::Result<Reply>>,
) -> anyhow::Result<Row> {
    let mark = told.judge.audit.mark();
    let reply = sent.await?;
    let reached = stage.orders.was_asked(id);
    let of_ours = |line: &Value| text(line, "request_id") == id;
    let lines = told.judge.audit.matching(mark, 1, of_ours).await?;

    let body = reply.json();
    let field = |name: &str| body.get(name).and_then(Value::as_str);
    let code = match (field("error"), field("service")) {
        (Some(code), _) => code.to_owned(),
        (None, service) => format!("from {}", service.unwrap_or("?")),
    };
    let mut happened = format!("{} {code}", reply.status);
    let mut ok = reply.status == status
        && code == if told.allowed() { "from orders" } else { told.reason }
        && reached == told.allowed();
    if reached && !told.allowed() {
        happened.push_str(", and the application was reached");
    }
    if told.reason == "insufficient_scope" {
        let challenge = reply.header("www-authenticate");
        if !challenge.contains("error=\"insufficient_scope\"") {
            happened.push_str(", no WWW-Authenticate");
            ok = false;
        }
    }
    let row = Row {
        name: told.name.to_owned(),
        expected: expected(&told, status),
        happened,
        ok,
        why: String::new(),
        audit: None,
    };
    Ok(with_line(row, &told, lines))
}

fn expected(told: &Told<'_>, status: u16) -> String {
    match told.allowed() {
        true => format!("{status} from orders"),
        false => format!("{status} {}, application not reached", told.reason),
    }
}

/// Attaches the line: there must be one, it must say what was told, and no other.
pub(super) fn with_line(mut row: Row, told: &Told<'_>, lines: Vec<Value>) -> Row {
    match lines.as_slice() {
        [line] if told.decided(line) => {}
        [] => {
            row.ok = false;
            row.happened.push_str(", without an audit line");
        }
        [line] => {
            row.ok = false;
            let (decision, reason) = (text(line, "decision"), text(line, "reason"));
            row.happened.push_str(&format!(", audited as {decision} {reason}"));
        }
        more => {
            row.ok = false;
            row.happened.push_str(&format!(", with {} audit lines", more.len()));
        }
    }
    if let Some(line) = lines.into_iter().next() {
        row.why = trail::why(&line);
        row.audit = Some((told.judge.name, line));
    }
    row
}

/// Which of the ledger's methods.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rpc {
    Balance,
    Watch,
    Post,
}

/// A gRPC call; `expected` is how its outcome reads.
pub(super) async fn grpc(
    stage: &Stage,
    told: Told<'_>,
    method: Rpc,
    expected: &'static str,
) -> Row {
    let asked = async {
        let (mark, before) = (told.judge.audit.mark(), stage.ledger.reached());
        let client = ledger::Client::connect(stage.port(told.through)?).await?;
        let id = new_id();
        let happened = match method {
            Rpc::Balance => client.balance(&id).await.map(|cents| format!("OK, {cents} cents")),
            Rpc::Watch => client.watch(&id).await.map(streamed),
            Rpc::Post => client.post(&id, &[100, 200, 300]).await.map(streamed),
        };
        let mut happened = happened.unwrap_or_else(refused);
        let reached = stage.ledger.reached() > before;
        let ok = happened == expected && reached == told.allowed();
        if reached && !told.allowed() {
            happened.push_str(", and the application was reached");
        }
        let of_ours = |line: &Value| text(line, "request_id") == id;
        let lines = told.judge.audit.matching(mark, 1, of_ours).await?;
        let (name, expected) = (told.name.to_owned(), expected.to_owned());
        let row = Row { name, expected, happened, ok, why: String::new(), audit: None };
        anyhow::Ok(with_line(row, &told, lines))
    };
    asked.await.unwrap_or_else(|error| Row::broken(told.name, expected, &error))
}

fn streamed(it: ledger::Streamed) -> String {
    let sum = it.sum.map_or("no trailers".to_owned(), |sum| format!("trailer sum {sum}"));
    format!("{} messages, {sum}", it.cents.len())
}

fn refused(status: Status) -> String {
    format!("status {} {}", i32::from(status.code()), status.message())
}

/// A raw connection to the cache, which is told what to say and what will come back.
pub(super) async fn tcp(stage: &Stage, told: Told<'_>, said: &str, heard: &str) -> Row {
    let expected = match told.allowed() {
        true => format!("{heard:?}"),
        false => "cut off, application not reached".to_owned(),
    };
    let asked = async {
        let (mark, before) = (told.judge.audit.mark(), stage.cache.reached());
        let answer = cache::call(stage.port(told.through)?, said).await;
        let reached = stage.cache.reached() > before;
        let (happened, fine) = match answer {
            Ok(answer) if !answer.is_empty() => {
                (answer.trim_end().replace('\n', ", "), told.allowed() && answer == heard)
            }
            Ok(_) => ("cut off".to_owned(), !told.allowed()),
            Err(_) if !told.allowed() => ("cut off".to_owned(), true),
            Err(error) => return Err(error),
        };
        let ok = fine && reached == told.allowed();
        let lines = told.judge.audit.matching(mark, 1, |_| true).await?;
        let row = Row {
            name: told.name.to_owned(),
            expected: expected.clone(),
            happened,
            ok,
            why: String::new(),
            audit: None,
        };
        anyhow::Ok(with_line(row, &told, lines))
    };
    asked.await.unwrap_or_else(|error| Row::broken(told.name, &expected, &error))
}

/// A request of an ordinary GET.
pub(super) fn get(path: &str, id: &str) -> anyhow::Result<Request<Full<Bytes>>> {
    web::request(Method::GET, path, id, "")
}
