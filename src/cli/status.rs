//! `sidegate status`: is it working, and if not, why. One screen.

use std::process::ExitCode;

use clap::Args;
use http::Method;
use serde_json::Value;

use super::admin_socket::{Answer, Socket};
use super::{NO, print, tell};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    socket: Socket,
    /// Print for programs.
    #[arg(long)]
    json: bool,
}

/// 0 when it is ready, 1 when it is not.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let status = match arguments.socket.ask(Method::GET, "/v1/status", String::new())? {
        Answer::Done(status) => status,
        Answer::Refused(code, message) => {
            tell(&format!("error: {message} ({code})"));
            return Ok(ExitCode::from(NO));
        }
    };
    if arguments.json {
        print(&serde_json::to_string_pretty(&status)?)?;
    } else {
        print(screen(&status).trim_end())?;
    }
    let ready = status.get("ready").and_then(Value::as_bool).unwrap_or_default();
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

fn screen(status: &Value) -> String {
    let text = |pointer: &str| status.pointer(pointer).and_then(Value::as_str);
    let list = |pointer: &str| {
        let list = status.pointer(pointer).and_then(Value::as_array);
        list.map_or(&[][..], Vec::as_slice)
    };
    let ready = status.get("ready").and_then(Value::as_bool).unwrap_or_default();
    let mut lines = vec![match (ready, text("/version")) {
        (true, version) => format!("ready, version {}", version.unwrap_or("unknown")),
        (false, version) => format!("NOT READY, version {}", version.unwrap_or("unknown")),
    }];
    let mut row = |name: &str, value: String| lines.push(format!("  {name:<12}{value}"));
    for reason in list("/reasons") {
        row("because", notice(reason));
    }
    for note in list("/notes") {
        row("note", notice(note));
    }
    let agent = text("/agent/state").unwrap_or("unknown");
    let svid = text("/agent/svid_not_after").map(|it| format!(", SVID until {it}"));
    let detail = text("/agent/detail").map(|it| format!(" ({it})"));
    row("identity", format!("{agent}{}{}", svid.unwrap_or_default(), detail.unwrap_or_default()));
    for lane in ["policy", "shadow"] {
        let Some(of) = status.get(lane).filter(|it| it.is_object()) else { continue };
        let text = |key: &str| of.get(key).and_then(Value::as_str);
        let since = text("since").map(|it| format!(" since {it}")).unwrap_or_default();
        row(lane, format!("{}{since}", text("revision").unwrap_or("none")));
        for (at, line) in text("error").unwrap_or_default().lines().enumerate() {
            row("", if at == 0 { format!("candidate refused: {line}") } else { line.to_owned() });
        }
        if let Some(decisions) = of.get("decisions").and_then(Value::as_object) {
            let counts = decisions.iter().map(|(outcome, count)| format!("{outcome} {count}"));
            let counts: Vec<String> = counts.collect();
            let none = counts.is_empty().then(|| "nothing decided yet".to_owned());
            row("", none.unwrap_or_else(|| counts.join(", ")));
        }
    }
    let revoked = status.get("revocations").and_then(Value::as_u64).unwrap_or_default();
    row("revoked", format!("{revoked} at run time"));
    for listener in list("/listeners") {
        let text = |key: &str| listener.get(key).and_then(Value::as_str).unwrap_or_default();
        row(text("direction"), format!("{} on {}", text("name"), text("address")));
    }
    lines.join("\n")
}

fn notice(notice: &Value) -> String {
    let text = |key: &str| notice.get(key).and_then(Value::as_str);
    let since = text("since").map(|it| format!(" since {it}")).unwrap_or_default();
    let (code, message) = (text("code"), text("message"));
    format!("{} ({}){since}", message.unwrap_or_default(), code.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::screen;

    #[test]
    fn the_screen_says_first_whether_it_works_and_then_why_not() {
        let status = json!({
            "ready": false,
            "version": "1.2.3",
            "reasons": [{"code": "identity_expired", "message": "the SVID has run out",
                "since": "2026-01-01T00:00:00.000Z"}],
            "notes": [{"code": "keys_stale", "message": "old keys", "since": null}],
            "policy": {"revision": "abc", "since": "2026-01-02T00:00:00.000Z",
                "error": "a.rego:1:2: no\nb.rego: never"},
            "shadow": {"revision": "def", "since": null, "error": null,
                "decisions": {"same": 7, "would_deny": 2}},
            "agent": {"state": "expired", "detail": "not renewed", "svid_not_after": null},
            "listeners": [{"name": "http", "direction": "inbound", "address": "[::]:8443"}],
            "revocations": 2,
        });
        let expected = "\
NOT READY, version 1.2.3
  because     the SVID has run out (identity_expired) since 2026-01-01T00:00:00.000Z
  note        old keys (keys_stale)
  identity    expired (not renewed)
  policy      abc since 2026-01-02T00:00:00.000Z
              candidate refused: a.rego:1:2: no
              b.rego: never
  shadow      def
              same 7, would_deny 2
  revoked     2 at run time
  inbound     http on [::]:8443";
        assert_eq!(screen(&status), expected);
    }
}
