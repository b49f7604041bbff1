//! What commands that review a change have in common: how they print, and when they say no.

use clap::ValueEnum;

use crate::review::Style;

/// How findings are printed.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(super) enum Format {
    /// For a terminal.
    #[default]
    Table,
    /// For programs, with everything.
    Json,
    /// For a comment on a pull request.
    Markdown,
}

/// What makes a command exit with 1.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum FailOn {
    /// Somebody may do more.
    Gained,
    /// Somebody may do less.
    Lost,
    /// Anything is otherwise.
    Any,
}

impl Format {
    /// `None`: for programs.
    pub(super) fn style(self) -> Option<Style> {
        match self {
            Self::Table => Some(Style::Terminal),
            Self::Json => None,
            Self::Markdown => Some(Style::Markdown),
        }
    }
}

impl FailOn {
    pub(super) fn fails(self, gained: bool, lost: bool, any: bool) -> bool {
        match self {
            Self::Gained => gained,
            Self::Lost => lost,
            Self::Any => any,
        }
    }
}
