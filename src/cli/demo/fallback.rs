//! The fallback: courier's agent is taken away until courier has no SVID, and comes back; courier
//! keeps calling all the while, and no call may be lost.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use http::header::AUTHORIZATION;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::calls::{self, Told};
use super::courier::{self, Calls, Seen};
use super::issuer::TOKEN_LIFE;
use super::load::milliseconds;
use super::report::{Report, Row};
use super::sidecar::{Figures, Sidecar};
use super::stage::{SVID_LIFE, Stage};
use super::stranger;
use super::trail::{Mark, text};
use super::web::{Client, Reply};
use crate::dev::WorkloadSocket;
use crate::secret::Secret;

/// Calls that are seen in each state before the next begins: about a second of them.
const ENOUGH: u64 = 80;
/// Lifetime of the last SVID before the agent goes. Nobody has to wait long for its end, and a fifth
/// of it, which a call under way then still has, is long even where every core is busy.
const LAST_SVID_LIFE: Duration = Duration::from_secs(4);
/// No wait here takes as long unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(5);
/// Between two looks at another process.
const LONG_PAUSE: Duration = Duration::from_millis(50);
const LISTENERS: [&str; 2] = ["orders", "ledger"];
const RENEWALS: &str = "sidegate_token_renewals_total";
const SWITCHES: &str = "sidegate_outbound_method_switches_total";

pub(super) async fn agent_away(stage: &Stage, report: &mut Report) -> anyhow::Result<()> {
    report.group("Fallback: courier's agent is away until the SVID has run out, and comes back")?;
    let marks = [&stage.sidecars.orders, &stage.sidecars.ledger].map(|it| it.audit.mark());
    let (seen, going) = (Rc::new(RefCell::new(Seen::default())), Rc::new(Cell::new(true)));
    let callers = courier::callers(stage, &seen, &going)?;
    let start = Instant::now();
    let agent = stage.agent_of("courier").context("courier has no agent")?;
    let play = Play { stage, courier: &stage.sidecars.courier, agent, marks, seen: &seen };
    let away = callers.run_until(play.perform(report)).await;
    going.set(false);
    callers.await;
    report.progress("");
    let took = start.elapsed();
    let away = match away {
        Ok(away) => away,
        Err(error) => return Ok(report.add(Row::broken("the fallback", "all of it", &error))?),
    };
    report.add(play.no_call_failed(took))?;
    report.add(play.audited().await?)?;
    let seen = seen.borrow();
    report.summarize(json!({ "fallback": {
        "seconds": took.as_secs_f64(),
        "agent_away_seconds": away.as_secs_f64(),
        "requests": seen.all(),
        "by_svid": seen.by_svid.all(),
        "by_token": seen.by_token.all(),
        "http": seen.by_svid.http + seen.by_token.http,
        "grpc": seen.by_svid.grpc + seen.by_token.grpc,
        "failed": seen.failed,
        "slowest_ms": milliseconds(seen.slowest),
    }}));
    Ok(())
}

/// The acts, one after the other, while courier keeps calling.
struct Play<'a> {
    stage: &'a Stage,
    courier: &'a Sidecar,
    agent: &'a WorkloadSocket,
    /// In the audit logs of orders and ledger, at the beginning.
    marks: [Mark; 2],
    seen: &'a RefCell<Seen>,
}

impl Play<'_> {
    /// How long the agent was away.
    async fn perform(&self, report: &mut Report) -> anyhow::Result<Duration> {
        let log = self.courier.log.mark();
        let before = self.courier.figures().await?;
        report.add(self.by_svid(report).await?)?;

        let end = self.last_svid().await?;
        self.agent.stop().await;
        let gone = Instant::now();
        report.add(self.without_agent(gone, end, report).await?)?;

        let (readiness, by_token) = self.without_svid(report).await?;
        report.add(by_token)?;
        report.add(readiness)?;
        for row in self.refused().await? {
            report.add(row)?;
        }

        self.seen.borrow_mut().without_svid = None;
        self.agent.set_ttl(SVID_LIFE);
        self.agent.start()?;
        let away = gone.elapsed();
        report.add(self.back(report).await?)?;
        report.add(self.told_of(log, &before).await?)?;
        Ok(away)
    }

    async fn by_svid(&self, report: &Report) -> anyhow::Result<Row> {
        let none = Calls::default();
        let fine = self.until(report, |seen| seen.by_svid.grew(none, ENOUGH)).await;
        let seen = self.seen();
        let (by_svid, by_token) = (seen.by_svid.all(), seen.by_token.all());
        Ok(Row {
            name: "courier calls with its SVID".to_owned(),
            expected: format!("{ENOUGH} calls, all by SVID"),
            happened: format!("{by_svid} calls, {by_token} by token"),
            ok: fine && by_token == 0 && seen.failed == 0,
            why: "services saw the method spiffe".to_owned(),
            audit: self.line_of("spiffe").await?,
        })
    }

    /// Gives courier an SVID that ends soon; when that is.
    async fn last_svid(&self) -> anyhow::Result<SystemTime> {
        self.agent.set_ttl(LAST_SVID_LIFE);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let figures = self.courier.figures().await?;
            let end = figures.sum("sidegate_svid_not_after_timestamp_seconds", &[]);
            let end = UNIX_EPOCH + Duration::from_secs(end);
            if end < SystemTime::now() + SVID_LIFE / 2 {
                return Ok(end);
            }
            ensure!(Instant::now() < deadline, "courier does not take its new SVID into use");
            sleep(PAUSE).await;
        }
    }

    async fn without_agent(
        &self,
        gone: Instant,
        end: SystemTime,
        report: &Report,
    ) -> anyhow::Result<Row> {
        let fine = self.until(report, |seen| seen.by_token.all() > 0).await;
        let (after, now) = (gone.elapsed(), SystemTime::now());
        let why = match end.duration_since(now) {
            Ok(left) => format!("{:.1} s before the SVID's end", left.as_secs_f64()),
            Err(late) => format!("{:.1} s after the SVID's end", late.duration().as_secs_f64()),
        };
        Ok(Row {
            name: "its agent is gone, its SVID runs out".to_owned(),
            expected: "calls go on by machine token".to_owned(),
            happened: match fine {
                true => format!("by token after {:.1} s", after.as_secs_f64()),
                false => "no call by token".to_owned(),
            },
            ok: fine,
            why,
            audit: None,
        })
    }

    /// From the SVID's end until calls were made with more than one token.
    async fn without_svid(&self, report: &Report) -> anyhow::Result<(Row, Row)> {
        let renewals = self.renewals().await?;
        let codes = ["fallback_in_use", "identity_expired"];
        let noted = |reply: &Reply| codes.iter().all(|code| notes(reply).contains(*code));
        let deadline = Instant::now() + PATIENCE;
        let readiness = loop {
            let reply = self.courier.readiness().await?;
            if noted(&reply) || Instant::now() >= deadline {
                break reply;
            }
            sleep(PAUSE).await;
        };
        self.seen.borrow_mut().without_svid = Some(Instant::now());
        let fine = self.renewed(renewals, report).await?;
        let before = self.seen().by_token;
        let fine = fine && self.until(report, |seen| seen.by_token.grew(before, ENOUGH / 2)).await;
        let seen = self.seen();
        let tokens = self.tokens()?;
        let by_token = Row {
            name: "courier calls with machine tokens".to_owned(),
            expected: "calls by token only, by more than one, and none fails".to_owned(),
            happened: format!("{} calls, {} failed", seen.by_token.all(), seen.failed),
            ok: fine && seen.impossible == 0 && seen.failed == 0 && tokens > 1,
            why: format!("{tokens} tokens of {} s, from a file", TOKEN_LIFE.as_secs()),
            audit: self.line_of("jwt").await?,
        };
        let [first, second] = codes;
        let readiness_row = Row {
            name: "courier's readiness meanwhile".to_owned(),
            expected: format!("200 with the notes {first} and {second}"),
            happened: match noted(&readiness) {
                true => format!("{}, note {first}", readiness.status),
                false => format!("{} {}", readiness.status, readiness.text()),
            },
            ok: readiness.status == 200 && noted(&readiness),
            why: format!("and {second}"),
            audit: None,
        };
        Ok((readiness_row, by_token))
    }

    /// Without an SVID, and without a token that holds, at the listener that takes both.
    async fn refused(&self) -> anyhow::Result<[Row; 2]> {
        let judge = &self.stage.sidecars.orders;
        let told = |name, reason| Told { name, through: "", reason, judge };
        let none = told("a call with no SVID and no token", "unauthenticated");
        let forged = told("a token that somebody else signed", "invalid_token");
        let token = self.stage.issuer.forged()?;
        Ok([self.ask(none, None).await?, self.ask(forged, Some(token)).await?])
    }

    async fn ask(&self, told: Told<'_>, token: Option<Secret>) -> anyhow::Result<Row> {
        let id = calls::new_id();
        let mut request = calls::get("/orders/17", &id)?;
        if let Some(token) = token {
            let value = format!("Bearer {}", token.expose()).parse()?;
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let stream = stranger::connect(self.stage.port("ORDERS_INBOUND")?, None).await?;
        let mut client = Client::over(stream).await?;
        calls::http_with(self.stage, told, &id, 401, client.send(request)).await
    }

    async fn back(&self, report: &Report) -> anyhow::Result<Row> {
        let (start, before) = (Instant::now(), self.seen().by_svid);
        let fine = self.until(report, |seen| seen.by_svid.all() > before.all()).await;
        let after = start.elapsed();
        let fine = fine && self.until(report, |seen| seen.by_svid.grew(before, ENOUGH)).await;
        let readiness = self.courier.readiness().await?;
        let left = notes(&readiness).len();
        Ok(Row {
            name: "its agent is back".to_owned(),
            expected: "calls go on by SVID, and no note is left".to_owned(),
            happened: match fine {
                true => format!("by SVID after {:.1} s", after.as_secs_f64()),
                false => "no call by SVID".to_owned(),
            },
            ok: fine && readiness.status == 200 && left == 0,
            why: format!("ready, with {left} notes"),
            audit: self.line_of("spiffe").await?,
        })
    }

    /// Both switches must be in courier's log and in its metrics.
    async fn told_of(&self, log: Mark, before: &Figures) -> anyhow::Result<Row> {
        let switch = |line: &Value| text(line, "message").starts_with("calls go out by");
        let lines = self.courier.log.matching(log, 2, switch).await?;
        let after = self.courier.figures().await?;
        let mut ways = Vec::new();
        let mut ok = true;
        for listener in LISTENERS {
            let of_it = lines.iter().filter(|line| text(line, "listeners").contains(listener));
            ways = of_it.map(|line| text(line, "to")).collect();
            for way in ["jwt", "spiffe"] {
                let labels = [format!("listener=\"{listener}\""), format!("to=\"{way}\"")];
                let count = |it: &Figures| it.sum(SWITCHES, &labels.each_ref().map(|it| &**it));
                let counted = count(&after).saturating_sub(count(before));
                let logged = ways.iter().filter(|to| **to == way).count();
                ok &= logged > 0 && u64::try_from(logged).is_ok_and(|it| it == counted);
            }
            ok &= ways.last() == Some(&"spiffe");
        }
        Ok(Row {
            name: "courier tells of each switch".to_owned(),
            expected: "log lines there and back, and as many in the metrics".to_owned(),
            happened: format!("{} log lines, in the metrics", lines.len()),
            ok,
            why: format!("spiffe → {}", ways.join(" → ")),
            audit: None,
        })
    }

    fn no_call_failed(&self, took: Duration) -> Row {
        let seen = self.seen();
        Row {
            name: format!("courier kept calling for {:.1} s", took.as_secs_f64()),
            expected: "no call fails".to_owned(),
            happened: match seen.failed {
                0 => format!("{} calls, 0 failed", seen.all()),
                failed => format!("{failed} of {} failed: {:?}", seen.all(), seen.failures),
            },
            ok: seen.failed == 0,
            why: format!("{} by SVID, {} by token", seen.by_svid.all(), seen.by_token.all()),
            audit: None,
        }
    }

    async fn audited(&self) -> anyhow::Result<Row> {
        let seen = self.seen();
        let wanted =
            [seen.by_svid.http + seen.by_token.http, seen.by_svid.grpc + seen.by_token.grpc];
        let sidecars = [&self.stage.sidecars.orders, &self.stage.sidecars.ledger];
        let (mut calls, mut by_token) = (0, 0);
        for ((sidecar, mark), wanted) in sidecars.into_iter().zip(self.marks).zip(wanted) {
            let wanted = usize::try_from(wanted)?;
            let lines = sidecar.audit.matching(mark, wanted, courier::let_in).await?;
            // A call that was tried again because a connection ended has two.
            let ids = |lines: &[&Value]| {
                lines.iter().map(|line| text(line, "request_id")).collect::<BTreeSet<_>>().len()
            };
            calls += ids(&lines.iter().collect::<Vec<_>>());
            let has_token = |line: &&Value| !text(line, "source.token").is_empty();
            by_token += ids(&lines.iter().filter(has_token).collect::<Vec<_>>());
        }
        let (calls, by_token) = (u64::try_from(calls)?, u64::try_from(by_token)?);
        Ok(Row {
            name: "each of its calls has its audit line".to_owned(),
            expected: format!("lines of {} calls", seen.all()),
            happened: format!("lines of {calls} calls"),
            ok: calls == seen.all() && by_token >= seen.by_token.all(),
            why: format!("{by_token} with a token's mark"),
            audit: None,
        })
    }

    /// Different tokens that orders let calls in by, going by their fingerprints.
    fn tokens(&self) -> anyhow::Result<usize> {
        let [mark, _] = self.marks;
        let lines = self.stage.sidecars.orders.audit.since(mark)?;
        let lines = lines.iter().filter(|line| courier::let_in(line));
        let tokens = lines.map(|line| text(line, "source.token")).filter(|token| !token.is_empty());
        Ok(tokens.collect::<BTreeSet<_>>().len())
    }

    /// The latest call that orders let in by this method.
    async fn line_of(&self, method: &str) -> anyhow::Result<Option<(&'static str, Value)>> {
        let judge = &self.stage.sidecars.orders;
        let [mark, _] = self.marks;
        let by_method =
            |line: &Value| courier::let_in(line) && text(line, "source.method") == method;
        let mut lines = judge.audit.matching(mark, 1, by_method).await?;
        Ok(lines.pop().map(|line| (judge.name, line)))
    }

    /// Tokens that courier has read so far.
    async fn renewals(&self) -> anyhow::Result<u64> {
        Ok(self.courier.figures().await?.sum(RENEWALS, &[]))
    }

    /// Whether courier takes another token into use than the so many before.
    async fn renewed(&self, before: u64, report: &Report) -> anyhow::Result<bool> {
        let deadline = Instant::now() + PATIENCE;
        while self.renewals().await? <= before {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            self.progress(report);
            sleep(LONG_PAUSE).await;
        }
        Ok(true)
    }

    /// Whether it came about in time.
    async fn until(&self, report: &Report, done: impl Fn(&Seen) -> bool) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while !done(&self.seen.borrow()) {
            if Instant::now() >= deadline {
                return false;
            }
            self.progress(report);
            sleep(PAUSE).await;
        }
        true
    }

    fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    fn progress(&self, report: &Report) {
        let Seen { by_svid, by_token, failed, .. } = self.seen();
        let (by_svid, by_token) = (by_svid.all(), by_token.all());
        report.progress(&format!(
            "    {by_svid} calls by SVID, {by_token} by token, {failed} failed"
        ));
    }
}

/// The codes of what a sidecar has to remark although it is ready.
pub(super) fn notes(reply: &Reply) -> BTreeSet<String> {
    let body = reply.json();
    let notes = body.get("notes").and_then(Value::as_array);
    notes.into_iter().flatten().map(|note| text(note, "code").to_owned()).collect()
}
