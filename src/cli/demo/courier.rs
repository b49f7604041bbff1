//! Courier's traffic: HTTP and gRPC without a pause, counted by how it was proven to be courier's.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;
use tokio::task::LocalSet;
use tokio::time::sleep;

use super::load;
use super::stage::Stage;
use super::trail::text;
use super::web::Reply;

const HTTP_CONNECTIONS: u32 = 6;
/// Of each connection.
const HTTP_EVERY: Duration = Duration::from_millis(100);
const GRPC_EVERY: Duration = Duration::from_millis(50);
const SHOWN_FAILURES: usize = 3;
/// Request ids of this traffic begin so.
const PREFIX: &str = "courier-";

/// What courier's calls came to, by what the services were told of their proof.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) by_svid: Calls,
    pub(super) by_token: Calls,
    pub(super) failed: u64,
    /// The first few, in words.
    pub(super) failures: Vec<String>,
    pub(super) slowest: Duration,
    /// Since courier has said that its SVID has run out, and until the agent is back.
    pub(super) without_svid: Option<Instant>,
    /// Calls by SVID that began when there was none.
    pub(super) impossible: u64,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Calls {
    pub(super) http: u64,
    pub(super) grpc: u64,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Http,
    Grpc,
}

impl Calls {
    pub(super) fn all(self) -> u64 {
        self.http + self.grpc
    }

    /// Whether since `before` there were as many, and some of either kind.
    pub(super) fn grew(self, before: Self, by: u64) -> bool {
        self.all() >= before.all() + by && self.http > before.http && self.grpc > before.grpc
    }

    fn add(&mut self, kind: Kind) {
        match kind {
            Kind::Http => self.http += 1,
            Kind::Grpc => self.grpc += 1,
        }
    }
}

impl Seen {
    pub(super) fn all(&self) -> u64 {
        self.by_svid.all() + self.by_token.all() + self.failed
    }

    fn count(&mut self, kind: Kind, start: Instant, method: anyhow::Result<Option<String>>) {
        let method = method.and_then(|it| it.context("the service was not told of any proof"));
        let word = method.as_deref().map_err(|error| format!("{error:#}"));
        match word {
            Ok("spiffe") => {
                self.by_svid.add(kind);
                self.impossible += u64::from(self.without_svid.is_some_and(|it| it <= start));
            }
            Ok("jwt") => self.by_token.add(kind),
            Ok(other) => self.fail(kind, &format!("the service was told of `{other}`")),
            Err(error) => self.fail(kind, &error),
        }
        self.slowest = self.slowest.max(start.elapsed());
    }

    fn fail(&mut self, kind: Kind, how: &str) {
        self.failed += 1;
        if self.failures.len() < SHOWN_FAILURES {
            self.failures.push(format!("{kind:?}: {how}"));
        }
    }
}

/// Courier's applications: they call as long as `going` says so.
pub(super) fn callers(
    stage: &Stage,
    seen: &Rc<RefCell<Seen>>,
    going: &Rc<Cell<bool>>,
) -> anyhow::Result<LocalSet> {
    let (http, grpc) = (stage.port("COURIER_ORDERS")?, stage.port("COURIER_LEDGER")?);
    let callers = LocalSet::new();
    for number in 0..HTTP_CONNECTIONS {
        let (seen, going) = (Rc::clone(seen), Rc::clone(going));
        callers.spawn_local(async move {
            // Not all at once.
            sleep(HTTP_EVERY * number / HTTP_CONNECTIONS).await;
            let count = |start, outcome: anyhow::Result<Reply>| {
                let method = outcome.map(|reply| told_method(&reply));
                seen.borrow_mut().count(Kind::Http, start, method);
            };
            load::keep_getting(http, (PREFIX, HTTP_EVERY), || going.get(), count).await;
        });
    }
    let (seen, going) = (Rc::clone(seen), Rc::clone(going));
    callers.spawn_local(async move {
        let count = |start, method| seen.borrow_mut().count(Kind::Grpc, start, method);
        load::keep_asking(grpc, (PREFIX, GRPC_EVERY), || going.get(), count).await;
    });
    Ok(callers)
}

/// What orders was told of how its caller proved itself; it answers with all headers it saw.
fn told_method(reply: &Reply) -> Option<String> {
    let body = reply.json();
    body.pointer("/headers/x-sidegate-method/0").and_then(Value::as_str).map(str::to_owned)
}

/// Whether an audit line is of a call of this traffic that was let in.
pub(super) fn let_in(line: &Value) -> bool {
    text(line, "decision") == "allow" && text(line, "request_id").starts_with(PREFIX)
}
