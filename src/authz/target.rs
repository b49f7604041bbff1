//! The normalized request target: one value for the decision and for forwarding.
//!
//! Whatever two readers could understand differently is refused rather than repaired: dot
//! segments, encoded slashes, backslashes, empty segments, path parameters, control characters.
//! What is left is brought to the normal form of RFC 3986 section 6.2.2, so that the path that was
//! judged is, byte for byte, the path that the application sees.

use std::borrow::Cow;

use thiserror::Error;

/// The longest target that is read, path and query together.
pub const TARGET_MAX: usize = 8 * 1024;

/// A path and query in normal form, for example `/v1/users/7?verbose=1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target<'a> {
    text: Cow<'a, str>,
    /// Where `?` stands, else the whole length.
    path_end: usize,
}

/// Why a target is refused. The caller sees `bad_request`; the code is for audit and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TargetError {
    #[error("request target has a character that does not belong into a path")]
    Character,
    #[error("request target has a control character")]
    Control,
    #[error("request target has a `.` or `..` segment")]
    DotSegment,
    #[error("request target has an empty segment")]
    EmptySegment,
    #[error("request target has a backslash")]
    Backslash,
    #[error("request target has an encoded slash")]
    EncodedSlash,
    #[error("request target has a fragment")]
    Fragment,
    #[error("request target has a broken percent-encoding")]
    PercentEncoding,
    #[error("request target has path parameters")]
    PathParameters,
    #[error("request target does not start with `/`")]
    NotOriginForm,
    #[error("request target is longer than {TARGET_MAX} bytes")]
    TooLong,
}

impl<'a> Target<'a> {
    /// Takes the path and query as they came (origin form, RFC 9112 section 3.2.1).
    pub fn parse(path_and_query: &'a str) -> Result<Self, TargetError> {
        if path_and_query.len() > TARGET_MAX {
            return Err(TargetError::TooLong);
        }
        if !path_and_query.starts_with('/') {
            return Err(TargetError::NotOriginForm);
        }
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        check_query(query.unwrap_or_default())?;
        let (text, path_end) = match normal_path(path)? {
            None => (Cow::Borrowed(path_and_query), path.len()),
            Some(mut changed) => {
                let path_end = changed.len();
                if let Some(query) = query {
                    changed.push('?');
                    changed.push_str(query);
                }
                (Cow::Owned(changed), path_end)
            }
        };
        check_segments(text.get(..path_end).unwrap_or_default())?;
        Ok(Self { text, path_end })
    }

    /// Path and query as they are judged and forwarded.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn path(&self) -> &str {
        self.text.get(..self.path_end).unwrap_or_default()
    }

    /// Without the `?`; as it came.
    pub fn query(&self) -> Option<&str> {
        self.text.get(self.path_end + 1..)
    }

    /// The parts between slashes; a trailing slash gives an empty last one.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.path().split('/').skip(1)
    }

    /// The target came in normal form already, so that what came can be forwarded as it is.
    pub fn is_unchanged(&self) -> bool {
        matches!(self.text, Cow::Borrowed(_))
    }

    /// The text to forward in place of what came, if they differ.
    pub fn into_changed(self) -> Option<String> {
        match self.text {
            Cow::Borrowed(_) => None,
            Cow::Owned(text) => Some(text),
        }
    }
}

impl TargetError {
    /// Every kind, for tests that must meet each.
    pub const ALL: [Self; 11] = [
        Self::Backslash,
        Self::Character,
        Self::Control,
        Self::DotSegment,
        Self::EmptySegment,
        Self::EncodedSlash,
        Self::Fragment,
        Self::NotOriginForm,
        Self::PathParameters,
        Self::PercentEncoding,
        Self::TooLong,
    ];

    /// Stable, for audit lines and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::Backslash => "target_backslash",
            Self::Character => "target_character",
            Self::Control => "target_control",
            Self::DotSegment => "target_dot_segment",
            Self::EmptySegment => "target_empty_segment",
            Self::EncodedSlash => "target_encoded_slash",
            Self::Fragment => "target_fragment",
            Self::NotOriginForm => "target_not_origin_form",
            Self::PathParameters => "target_path_parameters",
            Self::PercentEncoding => "target_percent_encoding",
            Self::TooLong => "target_too_long",
        }
    }
}

/// Every byte of the path is allowed to be there; the result is `None` when it is normal as it is.
fn normal_path(path: &str) -> Result<Option<String>, TargetError> {
    let mut changed: Option<String> = None;
    let mut bytes = path.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        if byte != b'%' {
            check_raw(byte)?;
            if let Some(text) = &mut changed {
                text.push(char::from(byte));
            }
            continue;
        }
        let (Some((_, high)), Some((_, low))) = (bytes.next(), bytes.next()) else {
            return Err(TargetError::PercentEncoding);
        };
        let decoded = decode(high, low).ok_or(TargetError::PercentEncoding)?;
        check_encoded(decoded)?;
        if is_plain(decoded) {
            changed.get_or_insert_with(|| before(path, at)).push(char::from(decoded));
            continue;
        }
        if high.is_ascii_lowercase() || low.is_ascii_lowercase() {
            changed.get_or_insert_with(|| before(path, at));
        }
        if let Some(text) = &mut changed {
            text.push('%');
            text.push(char::from(high.to_ascii_uppercase()));
            text.push(char::from(low.to_ascii_uppercase()));
        }
    }
    Ok(changed)
}

fn before(path: &str, at: usize) -> String {
    let mut text = String::with_capacity(path.len());
    text.push_str(path.get(..at).unwrap_or_default());
    text
}

/// `pchar` of RFC 3986 without `;` and with `/`.
fn check_raw(byte: u8) -> Result<(), TargetError> {
    match byte {
        b'/' | b':' | b'@' => Ok(()),
        b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' => Ok(()),
        b';' => Err(TargetError::PathParameters),
        b'\\' => Err(TargetError::Backslash),
        b'#' => Err(TargetError::Fragment),
        0..=0x1f | 0x7f => Err(TargetError::Control),
        other if is_unreserved(other) => Ok(()),
        _ => Err(TargetError::Character),
    }
}

fn check_encoded(byte: u8) -> Result<(), TargetError> {
    match byte {
        b'/' => Err(TargetError::EncodedSlash),
        b'\\' => Err(TargetError::Backslash),
        b';' => Err(TargetError::PathParameters),
        0..=0x1f | 0x7f => Err(TargetError::Control),
        _ => Ok(()),
    }
}

/// Runs on the decoded path, so `%2e` is met as the dot that it is.
fn check_segments(path: &str) -> Result<(), TargetError> {
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "" if segments.peek().is_some() => return Err(TargetError::EmptySegment),
            "." | ".." => return Err(TargetError::DotSegment),
            _ => {}
        }
    }
    Ok(())
}

/// The query is the application's business; it only must not end the request line early.
fn check_query(query: &str) -> Result<(), TargetError> {
    for character in query.chars() {
        match character {
            '#' => return Err(TargetError::Fragment),
            ' ' => return Err(TargetError::Character),
            other if other.is_control() => return Err(TargetError::Control),
            _ => {}
        }
    }
    Ok(())
}

/// What a path may say as it is. Encoded it would be another path to us and the same to most
/// applications, so it is decoded. `%2B` stays: some take a raw `+` for a space.
fn is_plain(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b',' | b'=' | b':' | b'@'
        )
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn decode(high: u8, low: u8) -> Option<u8> {
    let high = char::from(high).to_digit(16)?;
    let low = char::from(low).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

#[cfg(test)]
mod tests;
