//! The `traceparent` header (W3C Trace Context, level 1 section 3.2): a pure parser.

use std::fmt;

use thiserror::Error;

/// Why a `traceparent` is ignored. Section 3.2.2.3: as if there had been none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TraceParentError {
    #[error("traceparent has a wrong length or misplaced dashes")]
    Shape,
    #[error("traceparent has a character that is not a lower-case hex digit")]
    Hex,
    #[error("traceparent has the forbidden version ff")]
    Version,
    #[error("traceparent has an all-zero trace id or parent id")]
    Zero,
}

/// A valid trace context. Written out as version 00, whatever it was read as (section 3.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    // INVARIANT: neither id is zero.
    trace_id: u128,
    parent_id: u64,
    flags: u8,
}

/// Length of version 00, and the least of any later one.
const LENGTH: usize = 55;
/// The only flag that version 00 defines.
const SAMPLED: u8 = 1;

impl TraceParent {
    /// Version 00 strictly; of a later version, the part that version 00 would have.
    pub fn parse(header: &[u8]) -> Result<Self, TraceParentError> {
        let (known, rest) = header.split_at_checked(LENGTH).ok_or(TraceParentError::Shape)?;
        let mut fields = known.split(|byte| *byte == b'-');
        let mut field = |digits: usize| {
            let field = fields.next().filter(|field| field.len() == digits);
            hex(field.ok_or(TraceParentError::Shape)?)
        };
        let version = field(2)?;
        let trace_id = field(32)?;
        let parent_id = field(16)?;
        let flags = field(2)?;
        match (version, rest.first()) {
            (0xff, _) => return Err(TraceParentError::Version),
            (0, Some(_)) => return Err(TraceParentError::Shape),
            (_, Some(byte)) if *byte != b'-' => return Err(TraceParentError::Shape),
            (_, _) => {}
        }
        let parent_id = u64::try_from(parent_id).unwrap_or_default();
        let flags = u8::try_from(flags).unwrap_or_default();
        if trace_id == 0 || parent_id == 0 {
            return Err(TraceParentError::Zero);
        }
        // Flags that we do not know must not be passed on (section 3.2.2.5.2).
        Ok(Self { trace_id, parent_id, flags: flags & SAMPLED })
    }

    /// Whether [`Self::parse`] takes it, found with less work.
    pub fn is_valid(header: &[u8]) -> bool {
        let Some((known, rest)) = header.split_first_chunk::<LENGTH>() else { return false };
        let [v0, v1, b'-', trace_and_more @ ..] = known else { return false };
        let Some((trace_id, [b'-', parent_and_more @ ..])) =
            trace_and_more.split_first_chunk::<32>()
        else {
            return false;
        };
        let Some((parent_id, [b'-', flags @ ..])) = parent_and_more.split_first_chunk::<16>()
        else {
            return false;
        };
        let are_hex = |digits: &[u8]| {
            let is_hex = |byte: u8| byte.is_ascii_digit() | matches!(byte, b'a'..=b'f');
            digits.iter().fold(true, |all, byte| all & is_hex(*byte))
        };
        let are_zero = |digits: &[u8]| digits.iter().fold(true, |all, byte| all & (*byte == b'0'));
        let known_version = match ([*v0, *v1], rest.first()) {
            ([b'f', b'f'], _) => false,
            ([b'0', b'0'], rest) => rest.is_none(),
            (_, rest) => rest.is_none_or(|byte| *byte == b'-'),
        };
        known_version
            && are_hex(&[*v0, *v1])
            && are_hex(trace_id)
            && are_hex(parent_id)
            && are_hex(flags)
            && !are_zero(trace_id)
            && !are_zero(parent_id)
    }

    /// A new trace that starts here, not sampled.
    pub fn start() -> Self {
        Self { trace_id: fastrand::u128(1..), parent_id: fastrand::u64(1..), flags: 0 }
    }

    /// The same trace, one step further: what to send on if a span of our own was recorded.
    pub fn child(self) -> Self {
        Self { parent_id: fastrand::u64(1..), ..self }
    }

    pub fn trace_id(self) -> u128 {
        self.trace_id
    }

    pub fn parent_id(self) -> u64 {
        self.parent_id
    }

    pub fn sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.parent_id, self.flags)
    }
}

/// At most 32 digits, so that nothing overflows.
fn hex(digits: &[u8]) -> Result<u128, TraceParentError> {
    digits.iter().try_fold(0, |value: u128, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return Err(TraceParentError::Hex),
        };
        Ok((value << 4) | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    #[test]
    fn the_example_of_the_specification_is_read_and_written_back() {
        let text = format!("00-{TRACE}-{PARENT}-01");
        let parsed = TraceParent::parse(text.as_bytes()).unwrap();
        assert!(parsed.sampled());
        assert_eq!(parsed.trace_id(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(parsed.parent_id(), 0x00f0_67aa_0ba9_02b7);
        assert_eq!(parsed.to_string(), text);
    }

    #[test]
    fn what_the_specification_forbids_is_refused() {
        use TraceParentError as E;
        let zeros = "0".repeat(32);
        for (text, error) in [
            (String::new(), E::Shape),
            (format!("00-{TRACE}-{PARENT}"), E::Shape),
            (format!("00-{TRACE}-{PARENT}-01-"), E::Shape),
            (format!("00-{TRACE}-{PARENT}-01-more"), E::Shape),
            (format!("00-{TRACE}-{PARENT}-1"), E::Shape),
            (format!("00_{TRACE}-{PARENT}-01"), E::Shape),
            (format!("cc-{TRACE}-{PARENT}-01x"), E::Shape),
            (format!("ff-{TRACE}-{PARENT}-01"), E::Version),
            (format!("00-{}-{PARENT}-01", TRACE.to_uppercase()), E::Hex),
            (format!("0x-{TRACE}-{PARENT}-01"), E::Hex),
            (format!("00-{zeros}-{PARENT}-01"), E::Zero),
            (format!("00-{TRACE}-{}-01", "0".repeat(16)), E::Zero),
        ] {
            assert_eq!(TraceParent::parse(text.as_bytes()), Err(error), "{text}");
            assert!(!TraceParent::is_valid(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_we_know_it_and_sent_on_as_ours() {
        for text in [format!("cc-{TRACE}-{PARENT}-ff"), format!("cc-{TRACE}-{PARENT}-ff-what-ever")]
        {
            let parsed = TraceParent::parse(text.as_bytes()).unwrap();
            assert!(TraceParent::is_valid(text.as_bytes()));
            assert_eq!(parsed.to_string(), format!("00-{TRACE}-{PARENT}-01"));
        }
    }

    #[test]
    fn a_child_stays_in_the_trace_under_a_new_parent() {
        let start = TraceParent::start();
        let child = start.child();
        assert_eq!(child.trace_id(), start.trace_id());
        assert_ne!(child.parent_id(), start.parent_id());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_and_never_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            prop_assert_eq!(TraceParent::is_valid(&bytes), TraceParent::parse(&bytes).is_ok());
            if let Ok(parsed) = TraceParent::parse(&bytes) {
                prop_assert_eq!(TraceParent::parse(parsed.to_string().as_bytes()), Ok(parsed));
            }
        }

        #[test]
        fn what_is_nearly_right_is_read_only_if_it_can_be_written_back(
            text in "[0f][0f]-([0-9a-f]{31}[0-9a-g]|0{32})-([0-9a-f]{15,17}|0{16})-[0-9a-f]{2}(-[a-z]{0,3})?",
        ) {
            let parsed = TraceParent::parse(text.as_bytes());
            prop_assert_eq!(TraceParent::is_valid(text.as_bytes()), parsed.is_ok(), "{}", text);
            if let Ok(parsed) = parsed {
                let written = parsed.to_string();
                prop_assert_eq!(written.get(2..53), text.get(2..53));
                prop_assert!(!text.starts_with("ff"));
            }
        }

        #[test]
        fn every_valid_one_goes_round(trace in 1u128.., parent in 1u64.., flags in 0u8..2) {
            let text = format!("00-{trace:032x}-{parent:016x}-{flags:02x}");
            prop_assert_eq!(TraceParent::parse(text.as_bytes()).unwrap().to_string(), text);
        }
    }
}
