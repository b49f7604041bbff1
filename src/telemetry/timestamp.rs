//! Times as everything that we show writes them.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// UTC with milliseconds. A clock outside the years 1970 to 9999 shows as 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rfc3339(pub SystemTime);

/// A time as text, without asking for memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text([u8; 24]);

impl Text {
    pub(super) fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Rfc3339 {
    /// Once for each audit line, so by hand rather than by the formatter.
    pub(super) fn text(self) -> Text {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = i64::try_from(since.as_secs())
            .ok()
            .and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok())
            .unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut rest = text.as_mut_slice();
        for (digits, value) in [
            (4, at.year().unsigned_abs()),
            (2, u32::from(u8::from(at.month()))),
            (2, u32::from(at.day())),
            (2, u32::from(at.hour())),
            (2, u32::from(at.minute())),
            (2, u32::from(at.second())),
            (3, since.subsec_millis()),
        ] {
            rest = put(rest, digits, value);
        }
        Text(text)
    }
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_str())
    }
}

/// The number in so many digits; what comes after the separator that follows it.
fn put(text: &mut [u8], digits: usize, mut value: u32) -> &mut [u8] {
    let Some((number, rest)) = text.split_at_mut_checked(digits) else { return &mut [] };
    for digit in number.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
    rest.get_mut(1..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use time::OffsetDateTime;
    use time::format_description::well_known;

    use super::*;

    fn shown(millis: u64) -> String {
        Rfc3339(UNIX_EPOCH + Duration::from_millis(millis)).to_string()
    }

    #[test]
    fn each_part_has_all_its_digits() {
        assert_eq!(shown(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(shown(951_782_400_007), "2000-02-29T00:00:00.007Z");
        assert_eq!(shown(253_402_300_799_999), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn a_clock_out_of_all_reason_shows_as_1970() {
        assert_eq!(shown(253_402_300_800_000), "1970-01-01T00:00:00.000Z");
    }

    proptest! {
        #[test]
        fn another_reader_finds_the_same_time(millis in 0_u64..253_402_300_800_000) {
            let read = OffsetDateTime::parse(&shown(millis), &well_known::Rfc3339).unwrap();
            prop_assert_eq!(read.unix_timestamp_nanos(), i128::from(millis) * 1_000_000);
        }
    }
}
