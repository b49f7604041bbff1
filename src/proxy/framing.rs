//! Refuses HTTP/1.1 requests that two parsers could frame differently, before hyper sees them.
//!
//! hyper drops `Content-Length` when `Transfer-Encoding` stands beside it, as RFC 9112 section 6.3
//! allows, and a service on top cannot tell that both were there. An honest client never sends
//! both, so this reader follows the framing of the requests as they pass and breaks off at such a
//! head. It changes no byte; what it does not understand it leaves to hyper, which refuses it.

use memchr::memchr;

/// The first line of an HTTP/2 connection (RFC 9113 section 3.4): it is not ours to follow.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// Follows the requests of one connection.
#[derive(Debug)]
pub(super) struct RequestFraming {
    state: State,
    line: Vec<u8>,
    /// No line may be longer, in bytes.
    longest: usize,
    head: Head,
}

/// A head that declares its length in more than one way, or in one that we do not take apart, or a
/// line that is too long to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ambiguous;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Sized(u64),
    ChunkSize,
    ChunkData(u64),
    Trailers,
    /// Another protocol, or nonsense: nothing more is looked at.
    Opaque,
}

#[derive(Debug, Default)]
struct Head {
    begun: bool,
    /// Empty lines before the request line: tolerated, but they begin the head.
    padded: bool,
    length: Option<u64>,
    bad_length: bool,
    chunked: bool,
}

impl RequestFraming {
    pub(super) fn new(longest: usize) -> Self {
        Self { state: State::Head, line: Vec::new(), longest, head: Head::default() }
    }

    /// For a connection that is not HTTP/1.1, or no longer.
    pub(super) fn opaque() -> Self {
        Self { state: State::Opaque, ..Self::new(0) }
    }

    /// The connection has switched to another protocol. Until then it is HTTP/1.1, whatever a request
    /// wished for: most wishes are passed over or refused.
    pub(super) fn switched(&mut self) {
        self.state = State::Opaque;
    }

    /// Part of a request's head has come, and part of it has not.
    pub(super) fn is_inside_head(&self) -> bool {
        self.state == State::Head && (self.head.begun || self.head.padded || !self.line.is_empty())
    }

    /// All requests that were begun have come whole.
    pub(super) fn is_between_requests(&self) -> bool {
        self.state == State::Head && !self.is_inside_head()
    }

    /// Takes in what was just read from the client.
    pub(super) fn observe(&mut self, mut bytes: &[u8]) -> Result<(), Ambiguous> {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Opaque => return Ok(()),
                State::Sized(left) => self.skip(bytes, left, State::Sized, State::Head),
                State::ChunkData(left) => {
                    self.skip(bytes, left, State::ChunkData, State::ChunkSize)
                }
                State::Head | State::ChunkSize | State::Trailers => self.line(bytes)?,
            };
        }
        Ok(())
    }

    fn skip<'a>(
        &mut self,
        bytes: &'a [u8],
        left: u64,
        more: fn(u64) -> State,
        then: State,
    ) -> &'a [u8] {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left - taken as u64;
        self.state = if left == 0 { then } else { more(left) };
        bytes.get(taken..).unwrap_or_default()
    }

    /// Completes at most one line; returns what comes after it.
    fn line<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Ambiguous> {
        let Some(end) = memchr(b'\n', bytes) else {
            if self.line.len() + bytes.len() > self.longest {
                return Err(Ambiguous);
            }
            self.line.extend_from_slice(bytes);
            return Ok(&[]);
        };
        let (piece, rest) = bytes.split_at(end);
        if self.line.len() + piece.len() > self.longest {
            return Err(Ambiguous);
        }
        if self.line.is_empty() {
            self.complete(piece)?;
        } else {
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(piece);
            let outcome = self.complete(&line);
            line.clear();
            self.line = line;
            outcome?;
        }
        Ok(rest.get(1..).unwrap_or_default())
    }

    fn complete(&mut self, line: &[u8]) -> Result<(), Ambiguous> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match self.state {
            State::Head => self.head_line(line),
            State::ChunkSize => {
                self.state = match chunk_size(line) {
                    Some(0) => State::Trailers,
                    // The line end after the data is skipped with it.
                    Some(size) => State::ChunkData(size.saturating_add(2)),
                    None => State::Opaque,
                };
                Ok(())
            }
            State::Trailers => {
                if line.is_empty() {
                    self.state = State::Head;
                }
                Ok(())
            }
            State::Sized(_) | State::ChunkData(_) | State::Opaque => Ok(()),
        }
    }

    fn head_line(&mut self, line: &[u8]) -> Result<(), Ambiguous> {
        if line.is_empty() {
            // Empty lines before a request line are tolerated (RFC 9112 section 2.2).
            if self.head.begun {
                self.state = std::mem::take(&mut self.head).body()?;
            } else {
                self.head.padded = true;
            }
            return Ok(());
        }
        if !std::mem::replace(&mut self.head.begun, true) {
            if line == HTTP2_PREFACE {
                self.state = State::Opaque;
            }
            return Ok(());
        }
        // Each name that counts begins with one of these, unless somebody put a space before it.
        let may_count = |first: &u8| {
            matches!(first, b'c' | b'C' | b't' | b'T' | b'u' | b'U') || first.is_ascii_whitespace()
        };
        if !line.first().is_some_and(may_count) {
            return Ok(());
        }
        let Some(colon) = memchr(b':', line) else {
            return Ok(());
        };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            match number(value, 10) {
                Some(length) if self.head.length.is_none_or(|before| before == length) => {
                    self.head.length = Some(length);
                }
                _ => self.head.bad_length = true,
            }
        } else if name.trim_ascii().eq_ignore_ascii_case(b"transfer-encoding") {
            // Any other coding would have to be taken off, or said again, at each hop.
            if self.head.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Ambiguous);
            }
            self.head.chunked = true;
        }
        Ok(())
    }
}

impl Head {
    fn body(self) -> Result<State, Ambiguous> {
        if self.chunked && (self.length.is_some() || self.bad_length) {
            return Err(Ambiguous);
        }
        Ok(match (self.chunked, self.length) {
            _ if self.bad_length => State::Opaque,
            (true, _) => State::ChunkSize,
            (false, Some(0) | None) => State::Head,
            (false, Some(length)) => State::Sized(length),
        })
    }
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
    number(size.trim_ascii(), 16)
}

fn number(digits: &[u8], radix: u32) -> Option<u64> {
    let digits = std::str::from_utf8(digits).ok()?;
    // `from_str_radix` takes a sign, the protocol does not.
    if digits.starts_with('+') {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: usize = 64 * 1024;
    use proptest::prelude::*;

    fn observe(text: &str) -> Result<State, Ambiguous> {
        let mut framing = RequestFraming::new(LONGEST);
        framing.observe(text.as_bytes())?;
        Ok(framing.state)
    }

    #[test]
    fn a_head_with_both_lengths_is_refused_in_either_order_and_any_spelling() {
        for head in [
            "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n",
            "POST / HTTP/1.1\nTRANSFER-ENCODING: identity\nCONTENT-LENGTH:5\n\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nUpgrade: x\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 1\r\n\
             Transfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nPOST / HTTP/1.1\r\n\
             Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 1\r\n\
             Transfer-Encoding: chunked\r\n\r\n",
        ] {
            assert_eq!(observe(head), Err(Ambiguous), "{head}");
        }
    }

    #[test]
    fn a_second_request_behind_a_body_is_looked_at_too() {
        let bad = "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        for first in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nA: b\r\n\r\n",
        ] {
            assert_eq!(observe(&format!("{first}{bad}")), Err(Ambiguous), "{first}");
        }
    }

    #[test]
    fn a_body_that_looks_like_such_a_head_is_only_a_body() {
        let body = "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let head = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
        assert_eq!(observe(&format!("{head}{body}")), Ok(State::Head));
        let chunked = format!(
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        );
        assert_eq!(observe(&chunked), Ok(State::Head));
    }

    #[test]
    fn what_follows_a_switch_is_not_http() {
        let mut framing = RequestFraming::new(LONGEST);
        let wish = "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
        framing.observe(wish.as_bytes()).unwrap();
        framing.switched();
        framing.observe(b"A: b\r\nTransfer-Encoding: x\r\n").unwrap();
        assert!(!framing.is_inside_head());
    }

    #[test]
    fn empty_lines_are_the_beginning_of_a_head() {
        let mut framing = RequestFraming::new(LONGEST);
        framing.observe(b"\r\n").unwrap();
        assert!(framing.is_inside_head());
        framing.observe(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        assert!(!framing.is_inside_head());
    }

    #[test]
    fn http2_is_left_alone() {
        let text = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}";
        assert_eq!(observe(text), Ok(State::Opaque));
    }

    #[test]
    fn a_line_is_too_long_however_it_is_cut() {
        let text = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(LONGEST));
        assert_eq!(observe(&text), Err(Ambiguous));
        let mut cut = RequestFraming::new(LONGEST);
        assert!(text.as_bytes().chunks(1_000).any(|piece| cut.observe(piece).is_err()));
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_makes_no_difference(
            cuts in proptest::collection::vec(0_usize..200, 0..8),
            length in 0_usize..40,
        ) {
            let text = format!(
                "POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{}POST /b HTTP/1.1\r\n\
                 Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /",
                "x".repeat(length)
            );
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % text.len()).collect();
            cuts.push(text.len());
            cuts.sort_unstable();
            let mut framing = RequestFraming::new(LONGEST);
            let mut from = 0;
            for cut in cuts {
                prop_assert_eq!(framing.observe(&text.as_bytes()[from..cut]), Ok(()));
                from = cut;
            }
            prop_assert_eq!(framing.state, State::Head);
            prop_assert_eq!(framing.line, b"GET /");
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _outcome = RequestFraming::new(LONGEST).observe(&bytes);
        }
    }
}
