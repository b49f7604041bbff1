//! Steady traffic while SVIDs rotate: nothing may fail, and everything is audited.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::LocalSet;
use tokio::time::{MissedTickBehavior, interval};

use super::report::{Report, Row};
use super::stage::{SVID_LIFE, Stage};
use super::trail::text;
use super::web::{Client, Reply};
use super::{cache, calls, ledger};

/// Long enough for three rotations.
pub(super) const DEFAULT: Duration = Duration::from_secs(35);

const HTTP_CONNECTIONS: u32 = 8;
/// Of each connection.
const HTTP_EVERY: Duration = Duration::from_millis(80);
const GRPC_EVERY: Duration = Duration::from_millis(50);
const TCP_EVERY: Duration = Duration::from_millis(250);
const MARGIN: Duration = Duration::from_secs(2);
/// At half of their life.
const RENEWED_EVERY: Duration = Duration::from_secs(SVID_LIFE.as_secs() / 2);
const SHOWN_FAILURES: usize = 3;

/// What the callers have seen so far.
#[derive(Debug, Default)]
struct Tally {
    http: u64,
    grpc: u64,
    tcp: u64,
    failed: u64,
    /// The first few, in words.
    failures: Vec<String>,
    took: Vec<Duration>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Http,
    Grpc,
    Tcp,
}

impl Tally {
    fn count(&mut self, kind: Kind, took: Duration, outcome: anyhow::Result<()>) {
        match kind {
            Kind::Http => self.http += 1,
            Kind::Grpc => self.grpc += 1,
            Kind::Tcp => self.tcp += 1,
        }
        match outcome {
            // Only HTTP is measured: one kind, one distribution.
            Ok(()) => {
                if matches!(kind, Kind::Http) {
                    self.took.push(took);
                }
            }
            Err(error) => {
                self.failed += 1;
                if self.failures.len() < SHOWN_FAILURES {
                    self.failures.push(format!("{kind:?}: {error:#}"));
                }
            }
        }
    }

    fn all(&self) -> u64 {
        self.http + self.grpc + self.tcp
    }
}

pub(super) async fn rotations(
    stage: &Stage,
    time: Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    report.group("Rotation under load: every SVID lives 20 s and is renewed at half of it")?;
    let judge = &stage.sidecars.orders;
    let mark = judge.audit.mark();
    let seen_before = stage.orders.certificates();
    let issued_before = ["shop", "orders"].map(|name| stage.issued(name));

    let tally = traffic(stage, time, report).await?;

    let issued = ["shop", "orders"].map(|name| stage.issued(name));
    let [shop, orders] = [issued[0] - issued_before[0], issued[1] - issued_before[1]];
    let certificates = stage.orders.certificates().difference(&seen_before).count();
    report.add(failures(&tally, time))?;
    match rotations_in(time) {
        0 => report.skip(ROTATE, &too_short(time))?,
        wanted => report.add(rotated(shop.min(orders), certificates, wanted))?,
    }
    let wanted = usize::try_from(tally.http)?;
    let is_ours = |line: &Value| {
        text(line, "decision") == "allow" && text(line, "request_id").starts_with(PREFIX)
    };
    let mut lines = judge.audit.matching(mark, wanted, is_ours).await?;
    report.add(Row {
        name: "each request has its audit line".to_owned(),
        expected: format!("{} lines", tally.http),
        happened: format!("{} lines", lines.len()),
        ok: lines.len() == wanted,
        why: "one line a decision, none lost".to_owned(),
        audit: lines.pop().map(|line| (judge.name, line)),
    })?;
    let mut took = tally.took.clone();
    took.sort_unstable();
    report.summarize(json!({
        "seconds": time.as_secs_f64(),
        "rotations": shop.min(orders),
        "client_certificates_seen": certificates,
        "requests": tally.all(),
        "http": tally.http,
        "grpc": tally.grpc,
        "tcp": tally.tcp,
        "failed": tally.failed,
        "p50_ms": milliseconds(percentile(&took, 50)),
        "p99_ms": milliseconds(percentile(&took, 99)),
    }));
    Ok(())
}

/// Request ids of this traffic begin so.
const PREFIX: &str = "load-";

fn failures(tally: &Tally, time: Duration) -> Row {
    let counts = format!("{} HTTP, {} gRPC, {} TCP", tally.http, tally.grpc, tally.tcp);
    Row {
        name: format!("shop keeps calling for {} s", time.as_secs()),
        expected: "no call fails".to_owned(),
        happened: match tally.failed {
            0 => format!("{} calls, 0 failed", tally.all()),
            failed => format!("{failed} of {} failed: {:?}", tally.all(), tally.failures),
        },
        ok: tally.failed == 0 && tally.http > 0 && tally.grpc > 0 && tally.tcp > 0,
        why: counts,
        audit: None,
    }
}

const ROTATE: &str = "SVIDs of shop and orders rotate";

/// So many there must be in this time. One in the last moments may come too late to be seen.
pub(super) fn rotations_in(time: Duration) -> u64 {
    time.saturating_sub(MARGIN).as_secs() / RENEWED_EVERY.as_secs()
}

/// Why nothing can be said of rotations.
pub(super) fn too_short(time: Duration) -> String {
    let (every, least) = (RENEWED_EVERY.as_secs(), (RENEWED_EVERY + MARGIN).as_secs());
    let time = time.as_secs_f64();
    format!(
        "SVIDs are renewed every {every} s, and the load ran {time} s: take --for {least}s or more"
    )
}

fn rotated(rotations: u64, certificates: usize, wanted: u64) -> Row {
    Row {
        name: ROTATE.to_owned(),
        expected: format!("at least {wanted} rotations, each seen by orders"),
        happened: format!("{rotations} rotations"),
        ok: rotations >= wanted && u64::try_from(certificates).is_ok_and(|it| it >= wanted),
        why: format!("orders saw {certificates} new certificates"),
        audit: None,
    }
}

async fn traffic(stage: &Stage, time: Duration, report: &Report) -> anyhow::Result<Tally> {
    let tally = Rc::new(RefCell::new(Tally::default()));
    let end = Instant::now() + time;
    let [http, grpc, tcp] =
        [stage.port("SHOP_ORDERS")?, stage.port("SHOP_LEDGER")?, stage.port("SHOP_CACHE")?];
    let callers = LocalSet::new();
    for number in 0..HTTP_CONNECTIONS {
        let tally = Rc::clone(&tally);
        callers.spawn_local(async move {
            // Not all at once.
            tokio::time::sleep(HTTP_EVERY * number / HTTP_CONNECTIONS).await;
            call_orders(http, end, &tally).await;
        });
    }
    let counted = Rc::clone(&tally);
    callers.spawn_local(async move { call_ledger(grpc, end, &counted).await });
    let counted = Rc::clone(&tally);
    callers.spawn_local(async move { call_cache(tcp, end, &counted).await });

    let issued = stage.issued("shop");
    let watch = async {
        let mut tick = interval(Duration::from_millis(250));
        loop {
            tick.tick().await;
            let left = end.saturating_duration_since(Instant::now()).as_secs();
            let tally = tally.borrow();
            report.progress(&format!(
                "    {} calls, {} failed, {} rotations; {left} s to go",
                tally.all(),
                tally.failed,
                stage.issued("shop") - issued,
            ));
        }
    };
    tokio::select! {
        () = callers => {}
        () = watch => {}
    }
    report.progress("");
    Ok(tally.take())
}

async fn call_orders(port: u16, end: Instant, tally: &RefCell<Tally>) {
    let going = || Instant::now() < end;
    keep_getting(port, (PREFIX, HTTP_EVERY), going, |start, outcome| {
        tally.borrow_mut().count(Kind::Http, start.elapsed(), outcome.map(drop));
    })
    .await;
}

/// Gets an order as often as told, and hands on what came of each try and when it began. One
/// connection after the other is kept for as long as it lasts.
pub(super) async fn keep_getting(
    port: u16,
    (prefix, every): (&str, Duration),
    going: impl Fn() -> bool,
    mut hand_on: impl FnMut(Instant, anyhow::Result<Reply>),
) {
    let mut kept: Option<Client> = None;
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while going() {
        tick.tick().await;
        let start = Instant::now();
        let outcome = async {
            let mut client = match kept.take().filter(|client| !client.is_closed()) {
                Some(client) => client,
                None => Client::connect(port).await?,
            };
            let id = format!("{prefix}{:016x}", fastrand::u64(..));
            let reply = client.send(calls::get("/orders/17", &id)?).await?;
            anyhow::ensure!(reply.status == 200, "{} {}", reply.status, reply.text().trim());
            kept = Some(client);
            Ok(reply)
        };
        hand_on(start, outcome.await);
    }
}

async fn call_ledger(port: u16, end: Instant, tally: &RefCell<Tally>) {
    let going = || Instant::now() < end;
    keep_asking(port, (PREFIX, GRPC_EVERY), going, |start, outcome| {
        tally.borrow_mut().count(Kind::Grpc, start.elapsed(), outcome.map(drop));
    })
    .await;
}

/// Asks for the balance as often as told on one connection, and hands on what the ledger was told of
/// how we proved ourselves, and when the call began.
pub(super) async fn keep_asking(
    port: u16,
    (prefix, every): (&str, Duration),
    going: impl Fn() -> bool,
    mut hand_on: impl FnMut(Instant, anyhow::Result<Option<String>>),
) {
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut kept: Option<ledger::Client> = None;
    while going() {
        tick.tick().await;
        let start = Instant::now();
        let outcome = async {
            let client = match kept.clone() {
                Some(client) => client,
                None => ledger::Client::connect(port).await?,
            };
            kept = Some(client.clone());
            let id = format!("{prefix}{:016x}", fastrand::u64(..));
            Ok(client.balance_told(&id).await?.1)
        };
        hand_on(start, outcome.await);
    }
}

async fn call_cache(port: u16, end: Instant, tally: &RefCell<Tally>) {
    let mut tick = interval(TCP_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < end {
        tick.tick().await;
        let start = Instant::now();
        let outcome = async {
            let heard = cache::call(port, "SET color blue\nGET color\n").await?;
            anyhow::ensure!(heard == "OK\nblue\nBYE\n", "heard {heard:?}");
            Ok(())
        };
        let outcome = outcome.await;
        tally.borrow_mut().count(Kind::Tcp, start.elapsed(), outcome);
    }
}

/// Of sorted values, by nearest rank; nothing of nothing.
pub(super) fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

pub(super) fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 100_000.0).round() / 100.0
}
