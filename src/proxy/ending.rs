//! How a raw stream ends: in order when both sides said so, by a reset in every other case, so
//! that nobody takes a torn stream for a finished one.

use std::pin::pin;
use std::time::Duration;

use super::lifetime::Lifetime;
use super::rarely::Rarely;
use super::wire::Wire;
use super::worker::Worker;
use crate::net::{SpliceEnd, splice};

/// Carries bytes until both sides are done. Dropped before that, it resets both.
pub(super) async fn carry(worker: &Worker, near: Wire, far: Wire, idle: Duration) {
    let mut ends = Ends { near, far, in_order: false };
    let (flow, end) = splice(&mut ends.near, &mut ends.far, idle).await;
    worker.carried(flow);
    ends.in_order = matches!(end, SpliceEnd::Finished);
    if !ends.in_order {
        tracing::debug!(?end, "stream ended before its time");
    }
}

/// Resolves when the connection with this lifetime has to end. A plaintext hop has none.
pub(super) fn ended(lifetime: impl Into<Option<Lifetime>>) -> impl Future<Output = ()> {
    // Kept in one place: as an argument of an asynchronous function it would be kept twice.
    let mut lifetime = lifetime.into();
    async move {
        match &mut lifetime {
            Some(lifetime) => {
                let retired = lifetime.retired().await;
                lifetime.cut(retired).await;
            }
            None => std::future::pending().await,
        }
    }
}

/// Drives a connection until it ends by itself, or its lifetime does.
pub(super) async fn until_cut(connection: impl Future, lifetime: Option<Lifetime>) {
    let ended = pin!(ended(lifetime));
    let mut ended = Rarely::new(ended);
    tokio::select! {
        biased;
        _ = connection => {}
        () = &mut ended => {}
    }
}

struct Ends {
    near: Wire,
    far: Wire,
    in_order: bool,
}

impl Drop for Ends {
    fn drop(&mut self) {
        if !self.in_order {
            self.near.reset_on_drop();
            self.far.reset_on_drop();
        }
    }
}
