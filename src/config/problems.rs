//! All that is wrong with a configuration, with its key and place, told at once.

use std::fmt;

use serde::Serialize;

/// Everything an operator has to change. Never empty when it is returned as an error.
#[derive(Debug, Clone, Serialize)]
pub struct Problems {
    #[serde(skip)]
    file_name: String,
    problems: Vec<Problem>,
    /// Problems past the first [`MOST_PROBLEMS`]: counted, not kept.
    not_shown: usize,
}

/// A file that breaks a rule on each of its lines must not turn into megabytes of text.
const MOST_PROBLEMS: usize = 100;

/// One thing that is wrong, where, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Key path such as `inbound[0].routes[2].scopes`; empty for the file as a whole.
    pub key: String,
    pub line: Option<u64>,
    pub column: Option<u64>,
    /// The name of the file, or `environment variable NAME`.
    pub origin: String,
    pub message: String,
    pub hint: Option<String>,
}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    File {
        line: u64,
        column: u64,
    },
    Environment(String),
    /// By nobody: it is what holds unless somebody says otherwise.
    Default,
    /// Nowhere in particular: the file as a whole.
    Unknown,
}

/// What is wrong with one written value, before its place is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub message: String,
    pub hint: String,
}

impl Problems {
    pub(super) fn new(file_name: &str) -> Self {
        Self { file_name: file_name.to_owned(), problems: Vec::new(), not_shown: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
    }

    pub(super) fn add(&mut self, key: &str, at: &Origin, message: String, hint: Option<String>) {
        if self.problems.len() >= MOST_PROBLEMS {
            self.not_shown = self.not_shown.saturating_add(1);
            return;
        }
        let (line, column, origin) = match at {
            Origin::File { line, column } => (Some(*line), Some(*column), self.file_name.clone()),
            Origin::Environment(name) => (None, None, format!("environment variable {name}")),
            Origin::Default | Origin::Unknown => (None, None, self.file_name.clone()),
        };
        self.problems.push(Problem { key: key.to_owned(), line, column, origin, message, hint });
    }

    /// In another file than the configuration; `at` is line and column.
    pub(super) fn add_in(
        &mut self,
        document: &str,
        at: Option<(u64, u64)>,
        key: &str,
        message: String,
        hint: String,
    ) {
        self.add(key, &Origin::Unknown, message, Some(hint));
        if self.not_shown == 0
            && let Some(problem) = self.problems.last_mut()
        {
            document.clone_into(&mut problem.origin);
            (problem.line, problem.column) = (at.map(|it| it.0), at.map(|it| it.1));
        }
    }

    /// In the order in which an editor would walk through them: the file itself, what has no line
    /// in it, other documents.
    pub(super) fn sort(&mut self) {
        let Self { file_name, problems, .. } = self;
        problems.sort_by_cached_key(|it| {
            let elsewhere = it.line.is_some() && it.origin != *file_name;
            let document = elsewhere.then(|| it.origin.clone());
            (document, it.line.is_none(), it.line, it.column, it.key.clone())
        });
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for problem in &self.problems {
            write!(f, "{separator}{problem}")?;
            separator = "\n";
        }
        if self.not_shown > 0 {
            write!(f, "\n... and {} more", self.not_shown)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl Wrong {
    pub(super) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }
}

/// User input for a message: in backticks, on one line, of bounded length, without control
/// characters that could act on a terminal.
pub(super) fn shown(text: &str) -> String {
    const MOST_CHARACTERS: usize = 80;
    let mut out = String::from("`");
    for (count, character) in text.chars().enumerate() {
        if count == MOST_CHARACTERS {
            out.push_str("...");
            break;
        }
        if character.is_control() || character == '`' {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out.push('`');
    out
}
