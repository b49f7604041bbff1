//! Policy edited while everything runs: a good edit counts at once, a broken one changes nothing.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use super::calls;
use super::folder::Folder;
use super::report::{Report, Row};
use super::stage::{DATA, POLICY, Stage};
use super::trail::{self, text};
use super::web;

/// By when an edit is in force (design section 8).
const IN_FORCE: Duration = Duration::from_secs(1);
/// By when we stop waiting for it.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn policy(
    stage: &Stage,
    folder: &Folder,
    report: &mut Report,
) -> anyhow::Result<()> {
    report.group("Policy edited while all runs: nothing is restarted")?;
    let (name, expected) = ("reports is granted orders:read", "403 becomes 200 within 1 s");
    let granted = edited(stage, folder, &with_grant()?, 200, (name, expected)).await;
    report.add(granted.unwrap_or_else(|error| Row::broken(name, expected, &error)))?;

    let (name, expected) = ("global.rego is broken", "all answers stay, and the log says why");
    let broken = broken(stage, folder, (name, expected)).await;
    report.add(broken.unwrap_or_else(|error| Row::broken(name, expected, &error)))?;
    folder.write_policy("global.rego", POLICY)?;

    let (name, expected) = ("mended, and the grant taken back", "200 becomes 403 within 1 s");
    let revoked = edited(stage, folder, DATA, 403, (name, expected)).await;
    report.add(revoked.unwrap_or_else(|error| Row::broken(name, expected, &error)))?;
    Ok(())
}

/// The data in which reports may read orders.
pub(super) fn with_grant() -> anyhow::Result<String> {
    let mut data: Value = serde_json::from_str(DATA)?;
    let scopes = data.pointer_mut("/services/reports/scopes").and_then(Value::as_array_mut);
    scopes.context("data.json has no scopes for reports")?.push("orders:read".into());
    Ok(format!("{data:#}\n"))
}

/// Writes the data and asks until the answer is as wanted.
async fn edited(
    stage: &Stage,
    folder: &Folder,
    data: &str,
    wanted: u16,
    (name, expected): (&str, &str),
) -> anyhow::Result<Row> {
    let judge = &stage.sidecars.orders;
    let before = ask(stage, "REPORTS_ORDERS").await?.0;
    folder.write_policy("data.json", data)?;
    let start = Instant::now();
    let (status, id, mark) = loop {
        let mark = judge.audit.mark();
        let (status, id) = ask(stage, "REPORTS_ORDERS").await?;
        if status == wanted || start.elapsed() > PATIENCE {
            break (status, id, mark);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let took = start.elapsed();
    let lines = judge.audit.matching(mark, 1, |line| text(line, "request_id") == id).await?;
    let line = lines.into_iter().next();
    Ok(Row {
        name: name.to_owned(),
        expected: expected.to_owned(),
        happened: format!("{before} became {status} in {} ms", took.as_millis()),
        ok: before != wanted && status == wanted && took <= IN_FORCE && line.is_some(),
        why: line.as_ref().map(trail::why).unwrap_or_default(),
        audit: line.map(|line| (judge.name, line)),
    })
}

/// With the grant in force, breaks the policy and asks all callers again.
async fn broken(
    stage: &Stage,
    folder: &Folder,
    (name, expected): (&str, &str),
) -> anyhow::Result<Row> {
    let judge = &stage.sidecars.orders;
    let (mark, log_mark) = (judge.audit.mark(), judge.log.mark());
    let id = ask(stage, "REPORTS_ORDERS").await?.1;
    let old = judge.audit.matching(mark, 1, |line| text(line, "request_id") == id).await?;
    let old = old.first().map(|line| text(line, "policy_revision").to_owned());

    folder.write_policy("global.rego", "package sidegate.global\n\ngrant := {\"roles\": [\n")?;
    let complaint = |line: &Value| {
        let level = text(line, "level").to_ascii_lowercase();
        ["warn", "error"].contains(&level.as_str()) && line.to_string().contains("policy")
    };
    let complained = !judge.log.matching(log_mark, 1, complaint).await?.is_empty();

    let mark = judge.audit.mark();
    let mut answers = Vec::new();
    let mut last_id = String::new();
    for through in ["SHOP_ORDERS", "INTRUDER_ORDERS", "REPORTS_ORDERS"] {
        let (status, id) = ask(stage, through).await?;
        answers.push(status);
        last_id = id;
    }
    let lines = judge.audit.matching(mark, 1, |line| text(line, "request_id") == last_id).await?;
    let line = lines.into_iter().next();
    let revision = line.as_ref().map(|line| text(line, "policy_revision").to_owned());
    let kept = answers == [200, 403, 200] && revision.is_some() && revision == old;
    let happened = match (kept, complained) {
        (true, true) => "same answers, fault logged".to_owned(),
        (true, false) => "same answers, nothing logged".to_owned(),
        (false, _) => format!("answers {answers:?}, revision {revision:?}"),
    };
    Ok(Row {
        name: name.to_owned(),
        expected: expected.to_owned(),
        happened,
        ok: kept && complained,
        why: format!("{} stays in force", revision.unwrap_or_default()),
        audit: line.map(|line| (judge.name, line)),
    })
}

async fn ask(stage: &Stage, through: &str) -> anyhow::Result<(u16, String)> {
    let id = calls::new_id();
    let reply = web::ask(stage.port(through)?, calls::get("/orders/17", &id)?).await?;
    Ok((reply.status, id))
}
