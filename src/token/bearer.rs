//! What a bearer token looks like on the wire (RFC 6750 section 2.1).

use http::HeaderValue;
use zeroize::Zeroizing;

use super::failure::Failure;
use crate::secret::Secret;

/// Longer ones do not fit into the headers that servers take.
pub(super) const TOKEN_MOST: usize = 16 * 1024;

/// Whether a text has the characters of a token, and any at all. How long one may be is for whoever
/// takes it to say.
pub fn is_b64token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !body.is_empty() && body.bytes().all(known)
}

/// One line of `b64token`. What is wrong with it is said without quoting it.
pub(super) fn check(token: &Secret) -> Result<(), Failure> {
    let token = token.expose();
    if token.len() > TOKEN_MOST {
        Err(Failure::new(format!("the token is larger than {TOKEN_MOST} bytes")))
    } else if token.trim_end_matches('=').is_empty() {
        Err(Failure::new("the token is empty"))
    } else if !is_b64token(token) {
        Err(Failure::new("the token is not one line of the characters of RFC 6750"))
    } else {
        Ok(())
    }
}

/// `Bearer …`, which neither logs nor header compression may keep.
pub(super) fn header(token: &Secret) -> Result<HeaderValue, Failure> {
    check(token)?;
    let text = Zeroizing::new(format!("Bearer {}", token.expose()));
    let mut header = HeaderValue::from_str(&text)
        .map_err(|_error| Failure::new("the token does not fit into a header"))?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn a_token_is_one_line_of_the_characters_of_rfc_6750() {
        for good in ["abc", "eyJ.eyJ-_.c2ln", "a+/~b==", &"x".repeat(TOKEN_MOST)] {
            assert!(check(&secret(good)).is_ok());
        }
        let long = "x".repeat(TOKEN_MOST + 1);
        for bad in ["", "=", "a b", "a\nb", "a\r\nx: y", "a=b", "\"a\"", "ä", "a\0", &long] {
            let failure = header(&secret(bad)).unwrap_err();
            assert!(failure.cause.len() < 100, "{failure}");
        }
    }

    #[test]
    fn the_header_is_marked_as_sensitive_and_does_not_show() {
        let header = header(&secret("hunter2")).unwrap();
        assert_eq!(header.to_str().unwrap(), "Bearer hunter2");
        assert!(header.is_sensitive());
        assert!(!format!("{header:?}").contains("hunter2"));
    }

    proptest! {
        #[test]
        fn whatever_passes_is_one_word_and_what_is_refused_is_not_quoted(text in ".{4,40}") {
            match header(&secret(&text)) {
                Ok(header) => {
                    prop_assert_eq!(header.as_bytes().split(|it| *it == b' ').count(), 2);
                }
                Err(failure) => prop_assert!(!failure.cause.contains(&text)),
            }
        }
    }
}
