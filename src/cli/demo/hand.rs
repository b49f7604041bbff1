//! What the table says around its rows: the picture at the top, the sums at the end, and with
//! `--keep` the commands to try by hand.

use std::fmt::Write;

use super::folder::Folder;
use super::issuer::server_name;
use super::report::{self, Form, Report};
use super::stage::Stage;

const PICTURE: &str = "
   shop, reports ─┐                                                            ┌─▶ orders   HTTP
   courier ───────┤                                                            │
   intruder ──────┼─ plaintext ─▶ sidecar ════ mTLS ════▶ sidecar ─ plaintext ─┼─▶ ledger   gRPC
   rogue.example ─┘                  ▲                       ▲                 └─▶ cache    raw TCP
                                     └─── SVIDs of 20 s ─────┘
                       SPIFFE Workload API, a trust domain each for us and rogue.example
                       and for courier a machine token, to be used while it has no SVID
";

pub(super) fn opening(form: Form) -> String {
    let title = form.bold("sidegate demo");
    let said = "3 services, 5 callers, a sidecar process for each; every line below was checked";
    format!("{title}   {said}\n{PICTURE}{}", report::heading(form))
}

/// The last lines of the table.
pub(super) fn closing(report: &Report) -> String {
    let (form, sums) = (report.form(), report.sums());
    let number = |name: &str| sums.pointer(name).cloned().unwrap_or_default();
    let rotations = match number("/rotations").as_u64() {
        Some(0) => "no time for a rotation".to_owned(),
        _ => format!("{} rotations", number("/rotations")),
    };
    let mut text = format!(
        "\n{}  {rotations} · {} calls · {} failed · p50 {} ms · p99 {} ms\n",
        form.bold("Under load"),
        number("/requests"),
        number("/failed"),
        number("/p50_ms"),
        number("/p99_ms"),
    );
    text += &format!(
        "{}  agent away for {:.1} s · {} calls · {} by SVID · {} by token · {} failed\n",
        form.bold("Fallback  "),
        number("/fallback/agent_away_seconds").as_f64().unwrap_or_default(),
        number("/fallback/requests"),
        number("/fallback/by_svid"),
        number("/fallback/by_token"),
        number("/fallback/failed"),
    );
    let (rows, failed) = (report.rows().count(), report.rows().filter(|row| !row.ok).count());
    let skipped = match report.skipped() {
        0 => String::new(),
        skipped => format!(" Not tried: {skipped}."),
    };
    text += &match report.ok() {
        true => form.green(&format!("✓ All {rows} went as told.{skipped}")),
        false => form.red(&format!("✗ {failed} of {rows} did not go as told.{skipped}")),
    };
    text.push('\n');
    text
}

pub(super) fn commands(stage: &Stage, folder: &Folder, form: Form) -> anyhow::Result<String> {
    let here = folder.path().display();
    let orders = |who: &str| anyhow::Ok(format!("http://127.0.0.1:{}", stage.port(who)?));
    let (shop, reports) = (orders("SHOP_ORDERS")?, orders("REPORTS_ORDERS")?);
    let intruder = orders("INTRUDER_ORDERS")?;
    let courier = orders("COURIER_ORDERS")?;
    let metrics = orders("ORDERS_METRICS")?;
    let inbound = stage.port("ORDERS_INBOUND")?;
    let server = server_name("orders");
    let mut text = String::new();
    let mut part = |title: &str, lines: &[String]| {
        writeln!(text, "\n{}", form.bold(title))?;
        lines.iter().try_for_each(|line| writeln!(text, "  {line}"))
    };
    part(
        "Everything still runs. Allowed:",
        &[format!("curl -i {shop}/orders/17"), format!("curl -i {shop}/orders -d lamp")],
    )?;
    part(
        "Allowed by SVID through a sidecar, and by machine token without one:",
        &[
            format!("curl -i {courier}/orders/17"),
            format!(
                "curl -i --http1.1 --cacert {here}/servers-ca.pem --resolve {server}:{inbound}:127.0.0.1 \\"
            ),
            format!("  -H \"Authorization: Bearer $(cat {here}/courier.token)\" \\"),
            format!("  https://{server}:{inbound}/orders/17"),
        ],
    )?;
    part(
        "Refused: for scope, for tenant, for route, for want of any proof:",
        &[
            format!("curl -i {reports}/orders/17"),
            format!("curl -i {intruder}/orders/17"),
            format!("curl -i {shop}/admin"),
            format!("curl -ik https://127.0.0.1:{inbound}/orders/17"),
        ],
    )?;
    part(
        "Why? Take the request id of an answer; without one, the last line will do:",
        &[
            format!("grep REQUEST_ID {here}/orders.audit.jsonl"),
            format!("tail -n 1 {here}/orders.audit.jsonl"),
        ],
    )?;
    part(
        "Change who may do what, and ask again:",
        &[
            format!("$EDITOR {here}/policies/data.json"),
            format!("$EDITOR {here}/policies/global.rego"),
        ],
    )?;
    part(
        "Configuration, logs, numbers:",
        &[format!("ls {here}"), format!("curl {metrics}/metrics")],
    )?;
    writeln!(text, "\nCtrl-C ends it all.")?;
    Ok(text)
}
