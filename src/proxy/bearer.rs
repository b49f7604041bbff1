//! The machine token in the head of a request (RFC 6750 section 2.1). Pure.
//!
//! It stands in `Authorization`, or in `Proxy-Authorization` (RFC 9110 section 11.7) where the
//! former carries an end user's: see `docs/decisions/0020`.

use std::fmt;

use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION};

use crate::token::is_b64token;

const SCHEME: &str = "bearer ";

/// A token as it came, taken out of the request: whoever the request goes on to never sees it.
pub(super) struct Bearer {
    value: HeaderValue,
}

/// There are credentials, and they cannot be read in one way only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

impl Bearer {
    /// `None` when there is no bearer token: none at all, or credentials of another scheme.
    pub(super) fn take(headers: &mut HeaderMap) -> Result<Option<Self>, Malformed> {
        for name in [PROXY_AUTHORIZATION, AUTHORIZATION] {
            if let Some(value) = only(headers, &name)? {
                headers.remove(&name);
                return Ok(Some(Self { value }));
            }
        }
        Ok(None)
    }

    pub(super) fn token(&self) -> &str {
        let text = self.value.to_str().unwrap_or_default();
        text.get(SCHEME.len()..).unwrap_or_default().trim_start_matches(' ')
    }
}

/// The one value of `name`, if it is a bearer token.
fn only(headers: &HeaderMap, name: &HeaderName) -> Result<Option<HeaderValue>, Malformed> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Malformed);
    }
    let scheme = value.as_bytes().get(..SCHEME.len());
    if !scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME.as_bytes())) {
        // `Bearer` alone is a token that was lost on the way.
        let lost = value.as_bytes().eq_ignore_ascii_case(SCHEME.trim_end().as_bytes());
        return if lost { Err(Malformed) } else { Ok(None) };
    }
    let bearer = Bearer { value: value.clone() };
    if is_b64token(bearer.token()) { Ok(Some(bearer.value)) } else { Err(Malformed) }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(
        pairs: &[(HeaderName, &'static str)],
    ) -> (Result<Option<String>, Malformed>, HeaderMap) {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
        let token = Bearer::take(&mut headers).map(|it| it.map(|it| it.token().to_owned()));
        (token, headers)
    }

    #[test]
    fn a_token_is_taken_out_of_the_request() {
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER   a.b.c"] {
            let (token, left) = taken(&[(AUTHORIZATION, value)]);
            assert_eq!(token, Ok(Some("a.b.c".to_owned())), "{value}");
            assert!(left.is_empty());
        }
    }

    #[test]
    fn an_end_users_token_stays_where_the_machines_stands_beside_it() {
        let (token, left) =
            taken(&[(AUTHORIZATION, "Bearer user"), (PROXY_AUTHORIZATION, "Bearer machine")]);
        assert_eq!(token, Ok(Some("machine".to_owned())));
        assert_eq!(left.get(AUTHORIZATION).unwrap(), "Bearer user");
        assert!(!left.contains_key(PROXY_AUTHORIZATION));
    }

    #[test]
    fn other_schemes_are_no_token_and_stay() {
        let (token, left) = taken(&[(AUTHORIZATION, "Basic dXNlcjpwYXNz")]);
        assert_eq!((token, left.len()), (Ok(None), 1));
        assert_eq!(taken(&[]).0, Ok(None));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_malformed() {
        for pairs in [
            &[(AUTHORIZATION, "Bearer a"), (AUTHORIZATION, "Bearer b")][..],
            &[(AUTHORIZATION, "Bearer ")],
            &[(AUTHORIZATION, "Bearer")],
            &[(AUTHORIZATION, "Bearer a b")],
            &[(AUTHORIZATION, "Bearer a,b")],
            &[(AUTHORIZATION, "Bearer =")],
            &[(PROXY_AUTHORIZATION, "Bearer a b"), (AUTHORIZATION, "Bearer good")],
        ] {
            assert_eq!(taken(pairs).0, Err(Malformed), "{pairs:?}");
        }
    }
}
