//! What is said of a request beside its address.

use std::time::Duration;

use bytes::Bytes;

use crate::secret::Secret;

/// What is wanted, and what is known already.
#[derive(Debug, Default)]
pub struct Wants<'a> {
    /// Media types, in place of `application/json`.
    pub accept: Option<&'static str>,
    /// Sent only to a server that has proven its name, as all of a request is.
    pub bearer: Option<&'a Secret>,
    /// The tag of what we have: an answer may then be 304 (RFC 9110 section 13.1.2).
    pub known: Option<&'a str>,
    /// RFC 7240.
    pub prefer: Option<String>,
    /// How long it may take altogether; a server may be asked to wait for news.
    pub within: Option<Duration>,
}

/// Bytes for a server.
#[derive(Debug)]
pub struct Post<'a> {
    pub content_type: &'static str,
    /// Such as `gzip`.
    pub encoding: Option<&'static str>,
    pub bearer: Option<&'a Secret>,
    pub body: Bytes,
    pub within: Option<Duration>,
}
