//! What is sent: forms, and the credentials of a client.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use form_urlencoded::{Serializer, byte_serialize};
use http::HeaderValue;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// User name and password of a client (RFC 6749 section 2.3.1): form-encoded before base64.
#[derive(Debug, Clone)]
pub struct Basic {
    pub user: String,
    pub password: Secret,
}

impl Basic {
    /// Marked as sensitive, so that it never shows.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        let user: String = byte_serialize(self.user.as_bytes()).collect();
        let password = byte_serialize(self.password.expose().as_bytes());
        let password: Zeroizing<String> = Zeroizing::new(password.collect());
        let both = Zeroizing::new(format!("{user}:{}", *password));
        let encoded = Zeroizing::new(format!("Basic {}", STANDARD.encode(both.as_bytes())));
        let mut value = HeaderValue::from_str(&encoded).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// Marked as sensitive, so that it never shows (RFC 6750 section 2.1).
pub(super) fn bearer(token: &Secret) -> Option<HeaderValue> {
    let text = Zeroizing::new(format!("Bearer {}", token.expose()));
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// `fields` as `application/x-www-form-urlencoded`.
pub(super) fn encode(fields: &[(&str, &str)]) -> Bytes {
    // Room for the worst from the start: growing would leave copies of secrets behind.
    let plain: usize = fields.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    let mut form = Serializer::new(String::with_capacity(plain.saturating_mul(3)));
    form.extend_pairs(fields);
    Bytes::from_owner(Zeroizing::new(form.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_escapes_what_would_end_a_field() {
        let form = encode(&[("a", "x&y=z"), ("b c", "ü+ %"), ("empty", "")]);
        assert_eq!(form, "a=x%26y%3Dz&b+c=%C3%BC%2B+%25&empty=");
        assert_eq!(encode(&[]), "");
    }

    #[test]
    fn credentials_are_encoded_as_a_form_first() {
        let basic = Basic {
            user: "https://a.example:1".to_owned(),
            password: Secret::new("p:a ß%".to_owned()),
        };
        let value = basic.header().unwrap();
        let encoded = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
        let text = String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap();
        assert_eq!(text, "https%3A%2F%2Fa.example%3A1:p%3Aa+%C3%9F%25");
        assert!(value.is_sensitive());
    }

    #[test]
    fn credentials_do_not_show() {
        let basic = Basic { user: "me".to_owned(), password: Secret::new("hunter2".to_owned()) };
        let shown = format!("{basic:?} {:?}", basic.header());
        assert!(!shown.contains("hunter2") && !shown.contains("bWU6"), "{shown}");
    }
}
