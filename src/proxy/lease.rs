//! The use of an upstream connection by one request, and where the connection waits in between.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Weak;
use std::time::Duration;

use hyper::client::conn::http1;
use tokio::time::Instant;

use super::request_body::RequestBody;
use crate::http2::InUse;
use crate::tls::Roots;

/// A connection that has lain idle for less than this is not expected to have been closed.
const FRESH: Duration = Duration::from_millis(200);
/// Idle connections kept for each destination and worker.
const MOST_IDLE: usize = 512;

/// Idle HTTP/1.1 connections to one destination, the one used last at the end.
pub(super) type IdlePool = Rc<RefCell<Vec<Idle>>>;

#[derive(Debug)]
pub(super) struct Idle {
    pub(super) sender: http1::SendRequest<RequestBody>,
    pub(super) terms: Terms,
    pub(super) since: Instant,
}

/// Until when, and under which own SVID, a connection may take new requests.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) retire_at: Instant,
    pub(super) generation: u64,
    /// Whose word was taken for the server, where requests have to carry our token.
    pub(super) vouched_by: Option<Weak<Roots>>,
}

/// The use of an upstream connection by one request.
#[derive(Debug)]
pub(super) enum Lease {
    Http1 {
        sender: http1::SendRequest<RequestBody>,
        terms: Terms,
        pool: IdlePool,
    },
    /// Only counted: the connection is shared.
    Http2(InUse),
}

impl Lease {
    /// Leaves the connection to the next request. Dropping a lease instead closes an HTTP/1.1
    /// connection, which is right for an answer that nobody read to its end.
    pub(super) fn give_back(self) {
        match self {
            Self::Http1 { sender, terms, pool } => {
                let mut pool = pool.borrow_mut();
                if !sender.is_closed() && pool.len() < MOST_IDLE {
                    pool.push(Idle { sender, terms, since: Instant::now() });
                }
            }
            Self::Http2(stream) => drop(stream),
        }
    }
}

impl Idle {
    pub(super) fn may_have_been_closed(&self) -> bool {
        self.since.elapsed() > FRESH
    }
}

impl Terms {
    pub(super) fn hold(&self, generation: u64) -> bool {
        self.hold_at(Instant::now(), generation)
    }

    /// For many at one moment.
    pub(super) fn hold_at(&self, now: Instant, generation: u64) -> bool {
        self.generation == generation && now < self.retire_at
    }

    /// Requests have to carry our token.
    pub(super) fn by_token(&self) -> bool {
        self.vouched_by.is_some()
    }
}
