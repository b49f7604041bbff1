//! Which version of HTTP a client speaks whose connection has not settled it: by its first bytes.

use std::io;

use tokio::io::AsyncReadExt as _;

use super::guarded::Guarded;
use crate::tls::Alpn;

/// How an HTTP/2 connection begins (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads until it is clear, and leaves what was read to whoever reads next.
pub(super) async fn spoken(io: &mut Guarded) -> io::Result<Alpn> {
    let mut first = Vec::with_capacity(PREFACE.len());
    loop {
        if !PREFACE.starts_with(&first) {
            io.put_back(first);
            return Ok(Alpn::Http1);
        }
        if first.len() == PREFACE.len() {
            io.put_back(first);
            return Ok(Alpn::Http2);
        }
        let missing = PREFACE.len() - first.len();
        let read = (&mut *io).take(missing as u64).read_buf(&mut first).await?;
        if read == 0 {
            io.put_back(first);
            return Ok(Alpn::Http1);
        }
    }
}
