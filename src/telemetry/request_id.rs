//! The id that ties together a request's audit line, logs and answer.

use std::fmt;
use std::str;
use std::sync::Arc;

/// Cheap to clone: our own ids are stored in place, a caller's is shared.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Form);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Form {
    // INVARIANT: lower-case hex digits.
    Ours([u8; 32]),
    // INVARIANT: 8 to 128 of `[A-Za-z0-9._-]`.
    Given(Arc<str>),
}

impl RequestId {
    /// A new one: 16 random bytes in hex.
    pub fn random() -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut bits = fastrand::u128(..);
        let mut hex = [b'0'; 32];
        for slot in &mut hex {
            *slot = DIGITS.get((bits & 0xf) as usize).copied().unwrap_or(b'0');
            bits >>= 4;
        }
        Self(Form::Ours(hex))
    }

    /// The caller's own id, if it is harmless in a header, a log and a shell:
    /// 8 to 128 of `[A-Za-z0-9._-]`.
    pub fn given(id: &[u8]) -> Option<Self> {
        let fits = (8..=128).contains(&id.len());
        let harmless = id
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        let text = str::from_utf8(id).ok()?;
        (fits && harmless).then(|| Self(Form::Given(Arc::from(text))))
    }

    pub fn as_str(&self) -> &str {
        match &self.0 {
            Form::Ours(hex) => str::from_utf8(hex).unwrap_or_default(),
            Form::Given(id) => id,
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl AsRef<str> for RequestId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_random_id_is_32_hex_digits_and_never_the_same_twice() {
        let (one, other) = (RequestId::random(), RequestId::random());
        assert_eq!(one.as_str().len(), 32);
        assert!(one.as_str().bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
        assert_ne!(one, other);
    }

    #[test]
    fn a_callers_id_is_kept_only_if_it_is_harmless() {
        for good in ["12345678", "a.b_c-d.E", &"x".repeat(128)] {
            assert_eq!(RequestId::given(good.as_bytes()).unwrap().as_str(), good);
        }
        for bad in ["", "1234567", &"x".repeat(129), "12345678\n", "1234 5678", "größe-12345"] {
            assert!(RequestId::given(bad.as_bytes()).is_none(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_themselves_or_nothing(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(id) = RequestId::given(&bytes) {
                prop_assert_eq!(id.as_str().as_bytes(), &bytes[..]);
                prop_assert!((8..=128).contains(&bytes.len()));
                prop_assert!(!bytes.iter().any(|b| b.is_ascii_control() || *b == b' ' || *b >= 128));
            }
        }

        #[test]
        fn every_id_of_the_alphabet_is_kept(id in "[A-Za-z0-9._-]{8,128}") {
            prop_assert_eq!(RequestId::given(id.as_bytes()).unwrap().to_string(), id);
        }
    }
}
