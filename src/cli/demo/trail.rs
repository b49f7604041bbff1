//! A sidecar's audit log, read as it grows.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a line may take from the decision to the file.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(10);

/// A file of JSON lines that another process writes: an audit log, or a log.
#[derive(Debug, Clone)]
pub(super) struct Trail(PathBuf);

/// A place in a [`Trail`]: what is written from now on comes after it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark(u64);

impl Trail {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn path(&self) -> &std::path::Path {
        &self.0
    }

    pub(super) fn mark(&self) -> Mark {
        Mark(std::fs::metadata(&self.0).map_or(0, |file| file.len()))
    }

    /// Whole lines after the mark. What is no JSON object is passed over.
    pub(super) fn since(&self, mark: Mark) -> io::Result<Vec<Value>> {
        let mut file = match File::open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(mark.0))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(lines(&bytes))
    }

    /// The lines after the mark that match, as soon as there are as many as wanted; fewer if
    /// they do not come in time.
    pub(super) async fn matching(
        &self,
        mark: Mark,
        wanted: usize,
        matches: impl Fn(&Value) -> bool,
    ) -> io::Result<Vec<Value>> {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut lines = self.since(mark)?;
            lines.retain(&matches);
            if lines.len() >= wanted || Instant::now() >= until {
                return Ok(lines);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    // A last line without its end is still being written.
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').and_then(|end| bytes.get(..end));
    let lines = whole.unwrap_or_default().split(|byte| *byte == b'\n');
    lines.filter_map(|line| serde_json::from_slice(line).ok()).filter(Value::is_object).collect()
}

/// A field of a line, `a.b` for one inside another; empty if there is none.
pub(super) fn text<'a>(line: &'a Value, field: &str) -> &'a str {
    let found = field.split('.').try_fold(line, |value, key| value.get(key));
    found.and_then(Value::as_str).unwrap_or_default()
}

/// What a table has room for, the most telling first.
pub(super) fn shortened(line: &Value) -> String {
    let mut decision = text(line, "decision").to_owned();
    if text(line, "reason") != "allowed" {
        decision = format!("{decision} {}", text(line, "reason"));
    }
    let called = format!("{} {}", text(line, "method"), text(line, "path"));
    let caller = match text(line, "source.method") {
        "jwt" => format!("{} by token of {}", text(line, "source.subject"), issuer(line)),
        _ => text(line, "source.spiffe_id").trim_start_matches("spiffe://").to_owned(),
    };
    let (held, detail) = (text(line, "held_scopes"), text(line, "detail"));
    let rest = match text(line, "decision") {
        "allow" => format!("policy {}", text(line, "policy_revision")),
        _ if held.is_empty() => detail.to_owned(),
        _ => format!("holds {held}"),
    };
    let parts = [decision.as_str(), called.trim(), &caller, text(line, "tenant"), &rest];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" · ")
}

/// Why the decision fell as it did, in words.
pub(super) fn why(line: &Value) -> String {
    let caller = match text(line, "source.spiffe_id") {
        "" => text(line, "source.subject"),
        id => last_segment(id),
    };
    let needed = text(line, "required_scopes");
    let (reason, detail) = (text(line, "reason"), text(line, "detail"));
    match (text(line, "decision"), reason) {
        ("allow", _) if needed.is_empty() => format!("{caller} is who it should be"),
        ("allow", _) => format!("{caller} holds {needed}"),
        (_, "insufficient_scope") => format!("{caller} lacks {needed}"),
        (_, "tenant_mismatch") => format!("{caller} is of tenant {}", text(line, "tenant")),
        (_, "no_route") => "no such route is declared".to_owned(),
        _ if detail.is_empty() => reason.to_owned(),
        _ => detail.to_owned(),
    }
}

fn issuer(line: &Value) -> &str {
    text(line, "source.issuer").trim_start_matches("https://")
}

fn last_segment(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}
