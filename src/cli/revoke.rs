//! `sidegate revoke`: an identity, token or certificate is believed no longer, from now on.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::{Map, Value, json};

use super::admin_socket::{Answer, Socket};
use super::{NO, USAGE, print, tell};
use crate::policy::{RevocationEntry, RevokedBy};

const PAGE: &str = "/v1/revocations";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    socket: Socket,
    /// A workload, or with `/*` at its end all that are below a path.
    #[arg(long, value_name = "ID")]
    spiffe_id: Vec<String>,
    /// Whatever a token names as its subject, with all its tokens.
    #[arg(long, value_name = "SUBJECT")]
    subject: Vec<String>,
    /// A token, by its `jti` or by the fingerprint in the audit log. Never the token itself.
    #[arg(long, value_name = "JTI")]
    token: Vec<String>,
    /// A certificate, by its serial number.
    #[arg(long, value_name = "HEX")]
    serial: Vec<String>,
    /// Until it lapses by itself. Default: until it is lifted.
    #[arg(long = "for", value_name = "DURATION", value_parser = crate::config::parse_duration)]
    duration: Option<Duration>,
    /// Why, for the log and the list.
    #[arg(long)]
    reason: Option<String>,
    /// Believe them again.
    #[arg(long, conflicts_with_all = ["duration", "reason"])]
    lift: bool,
    /// Show all that is revoked at run time.
    #[arg(
        long,
        conflicts_with_all = ["spiffe_id", "subject", "token", "serial", "lift", "duration", "reason"]
    )]
    list: bool,
    /// Print the sidecar's answer as it is.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.list {
        return match ask(arguments, Method::GET, String::new())? {
            Ok(answer) if arguments.json => shown(&answer),
            Ok(answer) => listed(&answer),
            Err(exit) => Ok(exit),
        };
    }
    let order = match arguments.order() {
        Ok(order) => order,
        Err(message) => {
            tell(&format!("error: {message}"));
            return Ok(ExitCode::from(USAGE));
        }
    };
    let method = if arguments.lift { Method::DELETE } else { Method::POST };
    let answer = match ask(arguments, method, order.to_string())? {
        Ok(answer) => answer,
        Err(exit) => return Ok(exit),
    };
    if arguments.json {
        print(&serde_json::to_string_pretty(&answer)?)?;
    }
    if !arguments.lift {
        if !arguments.json {
            print(&format!("revoked: {}, in force", count(&answer, "revoked")))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let unknown = answer.get("unknown").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if !arguments.json {
        print(&format!("lifted: {}", count(&answer, "lifted")))?;
        for entry in unknown {
            let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
            tell(&format!("not revoked at run time: {} in `{}`", text("entry"), text("list")));
        }
    }
    Ok(if unknown.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

/// The answer, or the exit code after the refusal was told.
fn ask(
    arguments: &Arguments,
    method: Method,
    body: String,
) -> anyhow::Result<Result<Value, ExitCode>> {
    Ok(match arguments.socket.ask(method, PAGE, body)? {
        Answer::Done(answer) => Ok(answer),
        Answer::Refused(code, message) => {
            tell(&format!("error: {message} ({code})"));
            Err(ExitCode::from(NO))
        }
    })
}

impl Arguments {
    /// Looked at here already: an entry that could never match is wrong usage.
    fn order(&self) -> Result<Value, String> {
        let mut order = Map::new();
        for (list, option, texts) in [
            (RevokedBy::SpiffeId, "--spiffe-id", &self.spiffe_id),
            (RevokedBy::Subject, "--subject", &self.subject),
            (RevokedBy::Token, "--token", &self.token),
            (RevokedBy::Serial, "--serial", &self.serial),
        ] {
            for text in texts {
                RevocationEntry::parse(list, text).map_err(|what| format!("{option} {what}"))?;
            }
            if !texts.is_empty() {
                order.insert(list.name().to_owned(), json!(texts));
            }
        }
        if order.is_empty() {
            return Err("name what to revoke, such as `--spiffe-id ID`, or `--list`".to_owned());
        }
        if let Some(duration) = self.duration {
            // A part of a second counts as a whole one.
            let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
            order.insert("ttl_seconds".to_owned(), json!(seconds));
        }
        if let Some(reason) = &self.reason {
            order.insert("reason".to_owned(), json!(reason));
        }
        Ok(Value::Object(order))
    }
}

fn shown(answer: &Value) -> anyhow::Result<ExitCode> {
    print(&serde_json::to_string_pretty(answer)?)?;
    Ok(ExitCode::SUCCESS)
}

fn listed(answer: &Value) -> anyhow::Result<ExitCode> {
    let entries = answer.get("revocations").and_then(Value::as_array);
    let entries = entries.map_or(&[][..], Vec::as_slice);
    if entries.is_empty() {
        print("nothing is revoked at run time")?;
    }
    for entry in entries {
        let text = |key: &str| entry.get(key).and_then(Value::as_str);
        let until = text("until").map_or_else(|| "lifted".to_owned(), str::to_owned);
        let reason = text("reason").map(|it| format!(": {it}")).unwrap_or_default();
        let line = format!(
            "{:<10}  {}  since {} until {until} by {}{reason}",
            text("list").unwrap_or_default(),
            text("entry").unwrap_or_default(),
            text("since").unwrap_or_default(),
            text("by").unwrap_or_default(),
        );
        // A subject is anything: it must not get to command the terminal.
        print(&line.replace(char::is_control, "\u{fffd}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn count(answer: &Value, key: &str) -> u64 {
    answer.get(key).and_then(Value::as_u64).unwrap_or_default()
}
