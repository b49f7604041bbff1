//! Asks the other end whether it is still there, once nothing has come from it for a while.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};

use super::{PING_AFTER, PING_PATIENCE};

#[derive(Debug)]
pub(super) struct KeepAlive {
    ping: PingPong,
    timer: Pin<Box<Sleep>>,
    waiting: bool,
}

impl KeepAlive {
    pub(super) fn new(ping: PingPong) -> Self {
        Self { ping, timer: Box::pin(sleep(PING_AFTER)), waiting: false }
    }

    /// Ready once the other end has not answered in time. `heard` says when anything came from it
    /// last; where nothing depends on the connection, it is not `needed` to ask.
    pub(super) fn poll_gone(
        &mut self,
        cx: &mut Context<'_>,
        heard: Instant,
        needed: bool,
    ) -> Poll<()> {
        loop {
            if self.waiting && self.ping.poll_pong(cx).is_ready() {
                self.waiting = false;
                self.timer.as_mut().reset(Instant::now() + PING_AFTER);
            }
            ready!(self.timer.as_mut().poll(cx));
            if self.waiting {
                return Poll::Ready(());
            }
            let now = Instant::now();
            let due = heard + PING_AFTER;
            if due > now {
                self.timer.as_mut().reset(due);
            } else if needed && self.ping.send_ping(Ping::opaque()).is_ok() {
                self.waiting = true;
                self.timer.as_mut().reset(now + PING_PATIENCE);
            } else {
                self.timer.as_mut().reset(now + PING_AFTER);
            }
        }
    }
}
