//! The program's own log, on standard error: for people, or JSON for collectors.

use std::io::{self, IsTerminal};

use thiserror::Error;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One compact line an event, colored on a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

/// The log was asked for in words that mean nothing.
#[derive(Debug, Error)]
#[error("log level `{level}` is neither a level nor a list of `target=level`")]
pub struct LogError {
    level: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Starts logging. `level` is a word (`info`: that for our own code, warnings of libraries) or a
/// list of `target=level`. A second call changes nothing, so that tests may each call it.
pub fn init(level: &str, format: Format) -> Result<(), LogError> {
    let filter = filter(level)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let first = match format {
        Format::Human => lines.compact().with_ansi(colored()).try_init(),
        Format::Json => lines.json().flatten_event(true).with_current_span(false).try_init(),
    };
    if first.is_err() {
        tracing::debug!("logging was already set up; the first setup stays");
    }
    Ok(())
}

fn filter(level: &str) -> Result<EnvFilter, LogError> {
    let word = level.bytes().all(|byte| byte.is_ascii_alphabetic());
    let directives = match level {
        "trace" | "debug" | "info" => format!("warn,sidegate={level}"),
        "" => "warn,sidegate=info".to_owned(),
        // A bare word that is no level would be taken for the name of a target.
        _ if word && !matches!(level, "warn" | "error" | "off") => format!("={level}"),
        _ => level.to_owned(),
    };
    EnvFilter::builder()
        .parse(directives)
        .map_err(|source| LogError { level: level.to_owned(), source })
}

/// Only where a person reads it, and never against their wish (no-color.org).
fn colored() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && !unwanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_the_level_of_our_own_code_and_directives_are_taken_as_they_are() {
        let shown = |level| filter(level).map(|filter| filter.to_string());
        assert_eq!(shown("debug").unwrap(), "sidegate=debug,warn");
        assert_eq!(shown("error").unwrap(), "error");
        assert_eq!(shown("hyper=trace").unwrap(), "hyper=trace");
    }

    #[test]
    fn nonsense_is_named_in_the_error() {
        for level in ["loud", "sidegate=loud", "=info=info"] {
            let error = filter(level).unwrap_err();
            assert!(error.to_string().contains(level), "{error}");
        }
    }

    #[test]
    fn a_second_setup_is_harmless() {
        init("info", Format::Json).unwrap();
        init("debug", Format::Human).unwrap();
    }
}
