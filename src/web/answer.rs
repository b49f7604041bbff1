//! What a server answered.

use std::fmt;
use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, RETRY_AFTER};

const MAX_AGE_MOST: Duration = Duration::from_secs(365 * 24 * 3600);
const RETRY_AFTER_MOST: Duration = Duration::from_secs(3600);
const CONTENT_TYPE_BYTES_MAX: usize = 128;
const ETAG_BYTES_MAX: usize = 1024;

/// What a server answered, whatever its status.
pub struct Answer {
    pub status: u16,
    /// The media type alone, without parameters, in lower case.
    pub content_type: Option<String>,
    pub body: Vec<u8>,
    /// `max-age` of `cache-control`, bounded to a year; zero for `no-store` and `no-cache`.
    pub max_age: Option<Duration>,
    /// `retry-after` in seconds, bounded to an hour.
    pub retry_after: Option<Duration>,
    /// `etag` as it is written, with its quotes and a `W/`; `None` if it is longer than 1024 bytes.
    pub etag: Option<String>,
}

impl Answer {
    pub(super) fn new(status: u16, headers: &HeaderMap, body: Vec<u8>) -> Self {
        Self {
            status,
            content_type: content_type(headers),
            body,
            max_age: max_age(headers),
            retry_after: texts(headers, RETRY_AFTER)
                .find_map(seconds)
                .map(|it| it.min(RETRY_AFTER_MOST)),
            etag: etag(headers),
        }
    }
}

/// The body may be a token.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("content_type", &self.content_type)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .field("max_age", &self.max_age)
            .field("retry_after", &self.retry_after)
            .field("etag", &self.etag)
            .finish()
    }
}

/// The values of all fields of that name; one that is no text counts as empty.
fn texts(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).into_iter().map(|value| value.to_str().unwrap_or_default().trim())
}

fn content_type(headers: &HeaderMap) -> Option<String> {
    let text = texts(headers, CONTENT_TYPE).next()?;
    let essence = text.split(';').next().unwrap_or_default().trim();
    let known = !essence.is_empty() && essence.len() <= CONTENT_TYPE_BYTES_MAX;
    known.then(|| essence.to_ascii_lowercase())
}

fn etag(headers: &HeaderMap) -> Option<String> {
    let tag = texts(headers, ETAG).next()?;
    (!tag.is_empty() && tag.len() <= ETAG_BYTES_MAX).then(|| tag.to_owned())
}

/// Where directives contradict each other, or cannot be read, the least is believed (RFC 9111
/// section 4.2.1).
fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let directives = texts(headers, CACHE_CONTROL).flat_map(|value| value.split(','));
    directives
        .filter_map(|directive| {
            let (name, value) = match directive.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim())),
                None => (directive.trim(), None),
            };
            if name.eq_ignore_ascii_case("no-store") || name.eq_ignore_ascii_case("no-cache") {
                return Some(Duration::ZERO);
            }
            if !name.eq_ignore_ascii_case("max-age") {
                return None;
            }
            let age = value.and_then(|value| seconds(unquoted(value))).unwrap_or_default();
            Some(age.min(MAX_AGE_MOST))
        })
        .min()
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

/// Digits only. More of them than fit are the greatest number.
fn seconds(text: &str) -> Option<Duration> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| Duration::from_secs(text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn answer(fields: &[(HeaderName, &str)]) -> Answer {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Answer::new(200, &headers, Vec::new())
    }

    fn cached(values: &[&str]) -> Option<u64> {
        let fields: Vec<_> = values.iter().map(|value| (CACHE_CONTROL, *value)).collect();
        answer(&fields).max_age.map(|it| it.as_secs())
    }

    #[test]
    fn the_age_of_an_answer_is_read_from_any_of_its_directives() {
        for value in
            ["max-age=300", "public, Max-Age=300", "max-age=\"300\"", "a=b , max-age = 300"]
        {
            assert_eq!(cached(&[value]), Some(300), "{value}");
        }
        assert_eq!(cached(&["public", "max-age=300"]), Some(300));
        assert_eq!(cached(&["public", "s-maxage=300", "x-max-age=1"]), None);
        assert_eq!(cached(&[]), None);
    }

    #[test]
    fn an_age_is_bounded() {
        for huge in ["max-age=31536001", "max-age=99999999999999999999999999999"] {
            assert_eq!(cached(&[huge]), Some(31_536_000));
        }
    }

    #[test]
    fn what_must_not_be_kept_or_cannot_be_read_has_no_age() {
        for value in [
            "no-store",
            "NO-CACHE",
            "max-age=300, no-store",
            "no-cache=\"set-cookie\", max-age=300",
            "max-age=-1",
            "max-age=+1",
            "max-age=1.5",
            "max-age",
            "max-age=",
            "max-age=\"3",
            "max-age=300, max-age=0",
        ] {
            assert_eq!(cached(&[value]), Some(0), "{value}");
        }
        assert_eq!(cached(&["max-age=300", "no-store"]), Some(0));
    }

    #[test]
    fn a_server_says_in_seconds_when_to_come_back() {
        let after =
            |value: &str| answer(&[(RETRY_AFTER, value)]).retry_after.map(|it| it.as_secs());
        assert_eq!((after("0"), after("120"), after("3601")), (Some(0), Some(120), Some(3600)));
        assert_eq!(after("999999999999999999999999"), Some(3600));
        for other in ["", "-1", "1.5", "Fri, 31 Dec 1999 23:59:59 GMT", "12 s", "é"] {
            assert_eq!(after(other), None, "{other}");
        }
    }

    #[test]
    fn a_media_type_stands_without_its_parameters() {
        let kind = |value: &str| answer(&[(CONTENT_TYPE, value)]).content_type;
        assert_eq!(kind("Application/JSON; charset=utf-8").as_deref(), Some("application/json"));
        assert_eq!(kind("application/jwk-set+json").as_deref(), Some("application/jwk-set+json"));
        assert_eq!((kind(""), kind(";x"), kind("é"), kind(&"x".repeat(129))), Default::default());
    }

    #[test]
    fn a_tag_is_kept_as_it_is_written_and_bounded() {
        let tag = |value: &str| answer(&[(ETAG, value)]).etag;
        assert_eq!(tag("\"a b\"").as_deref(), Some("\"a b\""));
        assert_eq!(tag("W/\"a\"").as_deref(), Some("W/\"a\""));
        assert_eq!((tag(""), tag("é"), tag(&"x".repeat(1025))), Default::default());
    }

    #[test]
    fn the_body_does_not_show() {
        let mut answer = answer(&[]);
        answer.body = b"hunter2".to_vec();
        let shown = format!("{answer:?} {answer:#?}");
        assert!(shown.contains("7 bytes") && !shown.contains("hunter2"), "{shown}");
        assert!(!shown.contains("104"), "{shown}");
    }

    proptest! {
        #[test]
        fn no_header_brings_the_reader_down_or_beyond_its_bounds(
            cache in "[ -~]{0,40}|(max-age|no-store|[=,\" 0-9]){0,8}",
            retry in "[ -~]{0,40}|[0-9]{0,40}",
        ) {
            let answer = answer(&[(CACHE_CONTROL, &cache), (RETRY_AFTER, &retry)]);
            prop_assert!(answer.max_age.is_none_or(|it| it <= MAX_AGE_MOST));
            prop_assert!(answer.retry_after.is_none_or(|it| it <= RETRY_AFTER_MOST));
        }
    }
}
