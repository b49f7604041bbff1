//! Why a policy was not taken into service.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a policy was not taken into service. The one in force stays in force.
#[derive(Debug, Error)]
pub enum LoadError {
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("`{}` holds no policy: no file ends in `.rego`", path.display())]
    Empty { path: PathBuf },
    #[error("`{}` is one too many: at most {max} are read", path.display())]
    TooMany { path: PathBuf, max: usize },
    #[error("`{}` brings the policy over its bound of {max} bytes", path.display())]
    TooLarge { path: PathBuf, max: usize },
    #[error("`{}` lies more than {max} folders deep", path.display())]
    TooDeep { path: PathBuf, max: usize },
    #[error("{}", one_a_line(problems))]
    Refused { problems: Vec<Problem> },
    #[error("the policy {what}")]
    Harmful { what: String },
    #[error("cannot start a thread to compile the policy")]
    Thread { source: io::Error },
    #[error("the policy could not be examined: {what}")]
    Examiner { what: String },
}

/// One thing that is wrong with a policy, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Problem {
    pub file: String,
    /// From 1; 0 when it is about the file as a whole.
    pub line: u32,
    pub column: u32,
    pub message: String,
}

impl LoadError {
    pub(super) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    /// Says something about the policy, so that another attempt would end in the same way.
    pub fn is_about_the_policy(&self) -> bool {
        !matches!(self, Self::Thread { .. } | Self::Examiner { .. })
    }

    /// With its causes, for a status line.
    pub fn full(&self) -> String {
        match self {
            Self::Read { source, .. } | Self::Thread { source } => format!("{self}: {source}"),
            _ => self.to_string(),
        }
    }
}

impl From<Problem> for LoadError {
    fn from(problem: Problem) -> Self {
        Self::Refused { problems: vec![problem] }
    }
}

impl Problem {
    pub(super) fn in_file(file: &str, message: String) -> Self {
        Self { file: file.to_owned(), line: 0, column: 0, message }
    }

    /// The interpreter writes `--> file:line:column`, the line itself, and `error: …`. Without the
    /// first it does not know where.
    pub(super) fn from_interpreter(file: &str, text: &str) -> Self {
        let place = text.lines().find_map(|line| line.trim().strip_prefix("--> "));
        let mut place = place.unwrap_or_default().rsplitn(3, ':');
        let column = place.next().and_then(|it| it.parse().ok());
        let line = place.next().and_then(|it| it.parse().ok());
        let named = place.next().unwrap_or(file);
        let said = text.lines().find_map(|line| line.trim().strip_prefix("error: "));
        let message = said.unwrap_or(text).trim();
        Self {
            file: named.to_owned(),
            line: line.unwrap_or_default(),
            column: column.unwrap_or_default(),
            message: message.to_owned(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}:{}: {}", self.file, self.column, self.message),
        }
    }
}

fn one_a_line(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
