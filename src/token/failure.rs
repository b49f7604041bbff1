//! Why an attempt to get keys or a token failed: fit to be shown, and free of what was sent.

use std::error::Error;
use std::time::Duration;

use crate::files::FileError;
use crate::web::{HttpsUrl, WebError};

/// Longer causes are cut: part of them may have been written by a server.
const CAUSE_MOST: usize = 300;

/// Why there is nothing new.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub(super) struct Failure {
    pub(super) cause: String,
    /// When the server wants to be asked again.
    pub(super) retry_after: Option<Duration>,
}

impl Failure {
    pub(super) fn new(cause: impl AsRef<str>) -> Self {
        Self { cause: printable(cause.as_ref(), CAUSE_MOST), retry_after: None }
    }

    /// The server answered, though not with what it was asked for.
    pub(super) fn status(url: &HttpsUrl, status: u16, retry_after: Option<Duration>) -> Self {
        let more =
            if (300..400).contains(&status) { ", and redirects are not followed" } else { "" };
        let cause = format!("`{}` answered with status {status}{more}", shown(url));
        Self { retry_after, ..Self::new(cause) }
    }
}

impl From<WebError> for Failure {
    fn from(error: WebError) -> Self {
        Self::new(chain(&error))
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::new(chain(&error))
    }
}

/// Without the query, in which somebody may have put a key.
pub(super) fn shown(url: &HttpsUrl) -> String {
    let uri = url.as_uri();
    let authority = uri.authority().map_or("", |it| it.as_str());
    format!("https://{authority}{}", uri.path())
}

/// What a server wrote, for people: one line of it.
pub(super) fn printable(text: &str, most: usize) -> String {
    let mut shown = String::new();
    for (at, character) in text.chars().enumerate() {
        if at == most {
            shown.push('…');
            break;
        }
        match character {
            ' '..='~' => shown.push(character),
            _ if character.is_alphanumeric() => shown.push(character),
            _ => shown.extend(character.escape_unicode()),
        }
    }
    shown
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_wrote_is_one_bounded_line() {
        assert_eq!(printable("a\nb\u{1b}[31m ä", 20), "a\\u{a}b\\u{1b}[31m ä");
        assert_eq!(printable("abcdef", 3), "abc…");
        assert_eq!(printable("abc", 3), "abc");
    }

    #[test]
    fn a_file_that_cannot_be_read_says_why() {
        let source = std::io::Error::new(std::io::ErrorKind::NotFound, "gone");
        let failure = Failure::from(FileError::Read { path: "/x".into(), source });
        assert_eq!(failure.cause, "`/x` cannot be read: gone");
    }
}
