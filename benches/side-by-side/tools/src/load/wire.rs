//! One HTTP/1.1 response at a time, counted and not kept. Knows no socket.

use super::tally::Failure;

/// The longest head that a proxy may send back.
const HEAD_LIMIT: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

/// What is known of the response under way.
#[derive(Debug, Default)]
pub(super) struct Response {
    /// A head that came in parts. Most come whole and are never copied.
    head: Vec<u8>,
    body: Option<Body>,
}

#[derive(Debug, Clone, Copy)]
struct Body {
    length: u64,
    left: u64,
}

impl Response {
    /// The length of the body when the response is complete, and then ready for the next one.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Option<u64>, Failure> {
        let (mut body, got) = match self.body {
            Some(body) => (body, bytes.len()),
            None => match self.read_head(bytes)? {
                Some(read) => read,
                None => return Ok(None),
            },
        };
        body.left = (body.left)
            .checked_sub(got as u64)
            .ok_or(Failure::Malformed("more came than `content-length` says"))?;
        self.body = (body.left > 0).then_some(body);
        Ok((body.left == 0).then_some(body.length))
    }

    /// The body that follows, and how much of it is in `bytes` already.
    fn read_head(&mut self, bytes: &[u8]) -> Result<Option<(Body, usize)>, Failure> {
        if self.head.is_empty() {
            if let Some((length, size)) = parse(bytes)? {
                return Ok(Some((Body { length, left: length }, bytes.len().saturating_sub(size))));
            }
            self.head.extend_from_slice(bytes);
        } else {
            self.head.extend_from_slice(bytes);
            if let Some((length, size)) = parse(&self.head)? {
                let got = self.head.len().saturating_sub(size);
                self.head.clear();
                return Ok(Some((Body { length, left: length }, got)));
            }
        }
        if self.head.len() > HEAD_LIMIT {
            return Err(Failure::Malformed("its head is too long"));
        }
        Ok(None)
    }
}

/// The content length, and the size of the head.
fn parse(bytes: &[u8]) -> Result<Option<(u64, usize)>, Failure> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(bytes)?;
    let httparse::Status::Complete(size) = parsed else { return Ok(None) };
    match response.code {
        Some(200) => {}
        code => return Err(Failure::Status(code.unwrap_or_default())),
    }
    let length = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok())
        .ok_or(Failure::Malformed("no `content-length`"))?;
    Ok(Some((length, size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

    #[test]
    fn a_response_is_complete_however_it_is_cut() {
        for cut in 0..WHOLE.len() {
            let mut response = Response::default();
            let (first, second) = WHOLE.split_at(cut);

            assert_eq!(response.feed(first).unwrap(), None, "cut at {cut}");
            assert_eq!(response.feed(second).unwrap(), Some(5), "cut at {cut}");
            assert_eq!(response.feed(WHOLE).unwrap(), Some(5), "the next one, cut at {cut}");
        }
    }

    #[test]
    fn an_empty_body_ends_with_the_head() {
        let mut response = Response::default();
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

        assert_eq!(response.feed(head).unwrap(), Some(0));
    }

    #[test]
    fn what_is_not_an_answer_is_a_failure() {
        let cases: [&[u8]; 4] = [
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nxx",
            b"\x15\x03\x03\x00\x02",
        ];
        for case in cases {
            assert!(Response::default().feed(case).is_err(), "{case:?}");
        }
    }

    #[test]
    fn a_head_without_end_is_a_failure() {
        let mut response = Response::default();
        response.feed(b"HTTP/1.1 200 OK\r\nx: ").unwrap();

        assert!((0..20).any(|_| response.feed(&[b'x'; 1024]).is_err()));
    }
}
