//! What was tried and what came of it: a table for people, or one JSON document.

use std::io::{self, IsTerminal, Write};

use serde_json::{Value, json};

use super::trail;

/// One thing tried.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) expected: String,
    pub(super) happened: String,
    pub(super) ok: bool,
    pub(super) why: String,
    /// The sidecar that decided, and its line.
    pub(super) audit: Option<(&'static str, Value)>,
}

/// Rows are printed as they come, or kept for the one document at the end.
#[derive(Debug)]
pub(super) struct Report {
    rows: Vec<(&'static str, Row)>,
    /// What there was no way to try: group, name, and why.
    skipped: Vec<(&'static str, &'static str, String)>,
    group: &'static str,
    summary: Value,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Plain,
    Color,
}

impl Row {
    /// Something went wrong before there was anything to compare.
    pub(super) fn broken(name: &str, expected: &str, error: &anyhow::Error) -> Self {
        Self {
            name: name.to_owned(),
            expected: expected.to_owned(),
            happened: format!("{error:#}"),
            ok: false,
            why: String::new(),
            audit: None,
        }
    }
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let form = match json {
            true => Form::Json,
            false if no_color || !io::stdout().is_terminal() => Form::Plain,
            false => Form::Color,
        };
        Self { rows: Vec::new(), skipped: Vec::new(), group: "", summary: json!({}), form }
    }

    /// Text that belongs to the table only.
    pub(super) fn say(&self, text: &str) -> io::Result<()> {
        match self.form {
            Form::Json => Ok(()),
            Form::Plain | Form::Color => {
                self.progress("");
                print(text)
            }
        }
    }

    /// Text about what goes on, over which the next one writes. Nobody needs it afterwards.
    pub(super) fn progress(&self, text: &str) {
        if self.form != Form::Json && io::stderr().is_terminal() {
            // A lost progress message is no loss.
            drop(write!(io::stderr(), "\r\x1b[K{text}"));
        }
    }

    pub(super) fn group(&mut self, group: &'static str) -> io::Result<()> {
        self.group = group;
        self.say(&format!("\n{}\n", self.form.bold(group)))
    }

    pub(super) fn add(&mut self, row: Row) -> io::Result<()> {
        self.say(&render(&row, self.form))?;
        self.rows.push((self.group, row));
        Ok(())
    }

    /// Something that could not be tried this time: neither as told nor otherwise.
    pub(super) fn skip(&mut self, name: &'static str, why: &str) -> io::Result<()> {
        self.say(&render_skipped(name, why, self.form))?;
        self.skipped.push((self.group, name, why.to_owned()));
        Ok(())
    }

    /// Numbers for the end, and for the document.
    pub(super) fn summarize(&mut self, more: Value) {
        if let (Value::Object(summary), Value::Object(more)) = (&mut self.summary, more) {
            summary.extend(more);
        }
    }

    pub(super) fn skipped(&self) -> usize {
        self.skipped.len()
    }

    pub(super) fn sums(&self) -> &Value {
        &self.summary
    }

    pub(super) fn ok(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|(_, row)| row.ok)
    }

    pub(super) fn form(&self) -> Form {
        self.form
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().map(|(_, row)| row)
    }

    /// The one document, if that is what was asked for.
    pub(super) fn finish(&self) -> io::Result<()> {
        match self.form {
            Form::Json => print(&format!("{:#}\n", self.document())),
            Form::Plain | Form::Color => Ok(()),
        }
    }

    pub(super) fn document(&self) -> Value {
        let row = |(group, row): &(&str, Row)| {
            let (decided_by, audit) = row.audit.as_ref().map(|(by, line)| (*by, line)).unzip();
            json!({
                "group": group,
                "name": row.name,
                "expected": row.expected,
                "happened": row.happened,
                "ok": row.ok,
                "why": row.why,
                "decided_by": decided_by,
                "audit": audit,
            })
        };
        let rows: Vec<Value> = self.rows.iter().map(row).collect();
        let skipped = |(group, name, why): &(&str, &str, String)| json!({ "group": group, "name": name, "why": why });
        let skipped: Vec<Value> = self.skipped.iter().map(skipped).collect();
        json!({ "ok": self.ok(), "rows": rows, "skipped": skipped, "summary": self.summary })
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Nobody reads on: no reason to break off, for the exit code still says how it went.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

const WIDTH: usize = 100;
const NAME: usize = 36;
const HAPPENED: usize = 28;
const MARGIN: usize = 4;

/// What the columns are.
pub(super) fn heading(form: Form) -> String {
    let heading = format!(
        "    {} {} why, and the audit line",
        column("what was tried", NAME),
        column("what happened", HAPPENED),
    );
    format!("\n{}\n", form.dim(&heading))
}

/// A row of two lines, three if it went wrong.
pub(super) fn render(row: &Row, form: Form) -> String {
    let mark = match row.ok {
        true => form.green("✓"),
        false => form.red("✗"),
    };
    let why = WIDTH - MARGIN - NAME - HAPPENED - 2;
    let mut text = format!(
        "  {mark} {} {} {}\n",
        column(&row.name, NAME),
        column(&row.happened, HAPPENED),
        cut(brief(&row.why), why),
    );
    if !row.ok {
        let told = format!("expected {}, but {}", row.expected, row.happened);
        text.push_str(&format!("    {}\n", form.red(&told)));
    }
    if let Some((by, line)) = &row.audit {
        let line = format!("{by}: {}", trail::shortened(line));
        text.push_str(&format!("    {}\n", form.dim(&cut(&line, WIDTH - MARGIN))));
    }
    text
}

/// The same for what was not tried.
pub(super) fn render_skipped(name: &str, why: &str, form: Form) -> String {
    let why = form.dim(&cut(why, WIDTH - MARGIN));
    format!("  – {} not tried\n    {why}\n", column(name, NAME))
}

/// The code in parentheses, where there is one: the whole sentence is in the audit line.
pub(super) fn brief(why: &str) -> &str {
    let inside = why.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    inside.map_or(why, |(code, _)| code)
}

fn column(text: &str, width: usize) -> String {
    let text = cut(text, width);
    let pad = width - text.chars().count();
    text + &" ".repeat(pad)
}

/// At most so many characters, on one line, without anything that a terminal would obey.
pub(super) fn cut(text: &str, width: usize) -> String {
    let clean = |it: char| if it.is_control() { ' ' } else { it };
    if text.chars().count() <= width {
        return text.chars().map(clean).collect();
    }
    text.chars().map(clean).take(width.saturating_sub(1)).chain(['…']).collect()
}

impl Form {
    pub(super) fn bold(self, text: &str) -> String {
        self.paint(text, "1")
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.paint(text, "2")
    }

    pub(super) fn green(self, text: &str) -> String {
        self.paint(text, "32")
    }

    pub(super) fn red(self, text: &str) -> String {
        self.paint(text, "31")
    }

    fn paint(self, text: &str, code: &str) -> String {
        match self {
            Self::Color => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Plain | Self::Json => text.to_owned(),
        }
    }
}
