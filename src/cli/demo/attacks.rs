//! Callers that are not who they should be, or say what they are not, and a server that lies.

use std::io;

use http::HeaderValue;
use http::header::{CONNECTION, HeaderName};
use serde_json::Value;

use super::calls::{self, Told};
use super::report::{Report, Row};
use super::stage::Stage;
use super::stranger;
use super::trail::{self, text};
use super::web::{self, Client, Reply};

pub(super) async fn strangers(stage: &Stage, report: &mut Report) -> io::Result<()> {
    report.group("Strangers: turned away in the handshake")?;
    let rogue = async {
        let port = stage.port("ROGUE_ORDERS")?;
        web::ask(port, calls::get("/orders/17", &calls::new_id())?).await
    };
    report.add(
        turned_away(stage, ("workload of rogue.example", "unknown_trust_domain"), rogue).await,
    )?;

    let plaintext = async {
        let mut client = Client::connect(stage.port("ORDERS_INBOUND")?).await?;
        client.send(calls::get("/orders/17", &calls::new_id())?).await
    };
    report
        .add(turned_away(stage, ("plain HTTP to the inbound port", "not_tls"), plaintext).await)?;

    let nameless = async {
        // At orders itself a caller may come by a machine token; here only by SVID.
        let stream = stranger::connect(stage.port("ARCHIVE_INBOUND")?, None).await?;
        Client::over(stream).await?.send(calls::get("/orders/17", &calls::new_id())?).await
    };
    report.add(turned_away(stage, ("TLS without a certificate", "no_certificate"), nameless).await)
}

/// No answer of the application, which is not reached, and a line with the cause at the server's
/// sidecar.
async fn turned_away(
    stage: &Stage,
    (name, cause): (&'static str, &str),
    call: impl Future<Output = anyhow::Result<Reply>>,
) -> Row {
    const EXPECTED: &str = "handshake refused, application not reached";
    let judge = &stage.sidecars.orders;
    let told = Told { name, through: "", reason: "unauthenticated", judge };
    let (mark, before) = (judge.audit.mark(), stage.orders.reached());
    let (happened, refused) = match call.await {
        // This is what its own sidecar makes of the refusal.
        Ok(reply) if [502, 503].contains(&reply.status) => {
            let error = reply.json();
            let code = error.get("error").and_then(Value::as_str).unwrap_or("?");
            (format!("{} {code}", reply.status), true)
        }
        Ok(reply) => (format!("{} {}", reply.status, reply.text()), false),
        Err(_) => ("cut off".to_owned(), true),
    };
    let ok = refused && stage.orders.reached() == before;
    let (name, expected) = (name.to_owned(), EXPECTED.to_owned());
    let is_told = |line: &Value| told.decided(line) && text(line, "detail").contains(cause);
    match judge.audit.matching(mark, 1, is_told).await {
        Ok(mut lines) => {
            // Its sidecar may try again; one line will do.
            lines.truncate(1);
            let row = Row { name, expected, happened, ok, why: String::new(), audit: None };
            calls::with_line(row, &told, lines)
        }
        Err(error) => Row::broken(told.name, EXPECTED, &error.into()),
    }
}

/// Headers that only a sidecar may set, as an attacker would set them.
const SPOOFED: [(&str, &str); 6] = [
    ("x-sidegate-subject", "spiffe://example.org/demo/admin"),
    ("x-sidegate-tenant", "umbrella"),
    ("x-sidegate-scopes", "*:*"),
    ("x_sidegate_scopes", "*:*"),
    ("x-sidegate-method", "jwt"),
    ("x-forwarded-client-cert", "Hash=00;URI=spiffe://example.org/demo/admin"),
];

pub(super) async fn lies(stage: &Stage, report: &mut Report) -> io::Result<()> {
    report.group("Lies: shop's genuine SVID, stolen and used without a sidecar")?;
    report.add(spoofed(stage).await.unwrap_or_else(|error| {
        Row::broken("spoofed identity headers", "arrive cleaned", &error)
    }))?;
    report.add(named_in_connection(stage).await.unwrap_or_else(|error| {
        Row::broken("Connection: x-sidegate-tenant", "400 bad_request", &error)
    }))?;

    report.group("A server that is not the expected one, and one that is not there")?;
    report.add(impostor(stage).await.unwrap_or_else(|error| {
        Row::broken("shop, to an impostor", "502 upstream_identity", &error)
    }))?;
    report.add(
        down(stage).await.unwrap_or_else(|error| {
            Row::broken("shop, to an application that is down", "503", &error)
        }),
    )
}

async fn spoofed(stage: &Stage) -> anyhow::Result<Row> {
    let id = calls::new_id();
    let mut request = calls::get("/orders/17", &id)?;
    for (name, value) in SPOOFED {
        let name = HeaderName::from_static(name);
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let stream = stranger::connect(stage.port("ORDERS_INBOUND")?, Some(stage.stolen()?)).await?;
    let mut client = Client::over(stream).await?;
    let told = Told {
        name: "spoofed identity headers",
        through: "",
        reason: "allowed",
        judge: &stage.sidecars.orders,
    };
    let mut arrived = Value::Null;
    let sent = async {
        let reply = client.send(request).await?;
        arrived = reply.json();
        Ok(reply)
    };
    let mut row = calls::http_with(stage, told, &id, 200, sent).await?;
    row.expected = "200, and orders sees only what is true".to_owned();
    match believed(&arrived) {
        None => row.happened = "200, all six arrive cleaned".to_owned(),
        Some(lie) => {
            row.ok = false;
            row.happened = format!("200, but orders was told {lie}");
        }
    }
    Ok(row)
}

/// The first lie that the application was told.
pub(super) fn believed(arrived: &Value) -> Option<String> {
    let shop = "spiffe://example.org/demo/shop";
    let headers = arrived.get("headers");
    for (name, lie) in SPOOFED {
        let values = headers.and_then(|headers| headers.get(name)).and_then(Value::as_array);
        let values: Vec<&str> = values.into_iter().flatten().filter_map(Value::as_str).collect();
        let truth = match (name, values.as_slice()) {
            ("x_sidegate_scopes", values) => values.is_empty(),
            ("x-sidegate-subject", [value]) => *value == shop,
            ("x-sidegate-tenant", [value]) => *value == "acme",
            ("x-sidegate-method", [value]) => *value == "spiffe",
            ("x-sidegate-scopes", [value]) => {
                value.split(' ').any(|scope| scope == "orders:read") && !value.contains('*')
            }
            ("x-forwarded-client-cert", [value]) => {
                value.contains(&format!("URI={shop}"))
                    && !value.contains(lie)
                    && !value.contains("admin")
            }
            (_, _) => false,
        };
        if !truth {
            return Some(format!("{name}: {}", values.join(" and ")));
        }
    }
    None
}

/// Would have made a naive proxy remove the header that it had just set.
async fn named_in_connection(stage: &Stage) -> anyhow::Result<Row> {
    let id = calls::new_id();
    let mut request = calls::get("/orders/17", &id)?;
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("x-sidegate-tenant"));
    let stream = stranger::connect(stage.port("ORDERS_INBOUND")?, Some(stage.stolen()?)).await?;
    let mut client = Client::over(stream).await?;
    let told = Told {
        name: "Connection: x-sidegate-tenant",
        through: "",
        reason: "bad_request",
        judge: &stage.sidecars.orders,
    };
    calls::http_with(stage, told, &id, 400, client.send(request)).await
}

async fn impostor(stage: &Stage) -> anyhow::Result<Row> {
    let told = Told {
        name: "shop calls orders, ledger answers",
        through: "SHOP_IMPOSTOR",
        reason: "upstream_identity",
        judge: &stage.sidecars.shop,
    };
    let before = stage.ledger.reached();
    let id = calls::new_id();
    let sent = web::ask(stage.port(told.through)?, calls::get("/orders/17", &id)?);
    let mut row = calls::http_with(stage, told, &id, 502, sent).await?;
    if row.why.contains("spiffe://example.org/demo/ledger") {
        row.why = "the server proved to be ledger".to_owned();
    } else {
        row.ok = false;
    }
    if stage.ledger.reached() != before {
        row.ok = false;
        row.happened.push_str(", and the impostor was told the request");
    }
    Ok(row)
}

/// A fault, not a refusal: the call was permitted, and then there was nobody to take it.
async fn down(stage: &Stage) -> anyhow::Result<Row> {
    let judge = &stage.sidecars.orders;
    let mark = judge.audit.mark();
    let id = calls::new_id();
    let reply = web::ask(stage.port("SHOP_ARCHIVE")?, calls::get("/archive/17", &id)?).await?;
    let lines = judge.audit.matching(mark, 1, |line| text(line, "request_id") == id).await?;
    let error = reply.json();
    let code = error.get("error").and_then(Value::as_str).unwrap_or("?");
    let line = lines.into_iter().next();
    Ok(Row {
        name: "shop calls orders, which is down".to_owned(),
        expected: "503 upstream_unreachable".to_owned(),
        happened: format!("{} {code}", reply.status),
        ok: reply.status == 503 && code == "upstream_unreachable" && line.is_some(),
        why: line.as_ref().map(trail::why).unwrap_or_default(),
        audit: line.map(|line| (judge.name, line)),
    })
}
