//! Asks the other end whether it is still there, once nothing has come from it for a while.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};

use super::{PING_AFTER, PING_PATIENCE};

/// Asks, and waits for what is heard then. A PONG may be long in coming behind bytes that are on
/// their way: whatever comes tells that somebody is there.
#[derive(Debug)]
pub struct KeepAlive {
    ping: PingPong,
    timer: Pin<Box<Sleep>>,
    /// Since when something has to be heard.
    asked: Option<Instant>,
    /// A PING has had no PONG so far. There is one at a time.
    unanswered: bool,
}

impl KeepAlive {
    pub fn new(ping: PingPong) -> Self {
        Self { ping, timer: Box::pin(sleep(PING_AFTER)), asked: None, unanswered: false }
    }

    /// Ready once nothing has come from the other end in time. `heard` says when anything did last;
    /// where nothing depends on the connection, it is not `needed` to ask.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>, heard: Instant, needed: bool) -> Poll<()> {
        loop {
            if self.unanswered && self.ping.poll_pong(cx).is_ready() {
                self.unanswered = false;
                self.asked = None;
                self.timer.as_mut().reset(Instant::now() + PING_AFTER);
            }
            ready!(self.timer.as_mut().poll(cx));
            if self.asked.take().is_some_and(|asked| heard <= asked) {
                return Poll::Ready(());
            }
            let now = Instant::now();
            let due = heard + PING_AFTER;
            if due > now {
                self.timer.as_mut().reset(due);
            } else if needed && self.ask() {
                self.asked = Some(now);
                self.timer.as_mut().reset(now + PING_PATIENCE);
            } else {
                self.timer.as_mut().reset(now + PING_AFTER);
            }
        }
    }

    /// What has been asked and not been answered stands.
    fn ask(&mut self) -> bool {
        self.unanswered = self.unanswered || self.ping.send_ping(Ping::opaque()).is_ok();
        self.unanswered
    }
}
