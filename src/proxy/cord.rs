//! What the two bodies of one exchange share: when anything last moved, when the request had been
//! sent, and whether the exchange may go on at all.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::Method;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::authz::{Denial, Permit};
use crate::telemetry::{RequestId, audit};

/// Ties the ends of one exchange together, on one worker.
#[derive(Debug)]
pub(super) struct Cord {
    moved: Cell<Instant>,
    sent: Cell<Option<Instant>>,
    denial: RefCell<Option<Denial>>,
    waiting: RefCell<Vec<Waker>>,
    watcher: RefCell<Option<AbortHandle>>,
    /// By what the exchange was let in, where it may be cut for that.
    admission: Option<Admission>,
}

/// What the audit lines of one request say of it.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) protocol: audit::Protocol,
    pub(super) request_id: RequestId,
    pub(super) method: Method,
    pub(super) path: Box<str>,
}

/// What an exchange is judged by for as long as it is open.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) permit: Rc<Permit>,
    pub(super) asked: Rc<Asked>,
    /// Before anybody looked at the rules: any later change is one that it has to stand.
    pub(super) began: Instant,
}

impl Cord {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            moved: Cell::new(Instant::now()),
            sent: Cell::new(None),
            denial: RefCell::default(),
            waiting: RefCell::default(),
            watcher: RefCell::default(),
            admission: None,
        })
    }

    /// Of an exchange that may be cut.
    pub(super) fn admitted(admission: Admission) -> Rc<Self> {
        Rc::new(Self {
            moved: Cell::new(admission.began),
            sent: Cell::new(None),
            denial: RefCell::default(),
            waiting: RefCell::default(),
            watcher: RefCell::default(),
            admission: Some(admission),
        })
    }

    pub(super) fn admission(&self) -> Option<&Admission> {
        self.admission.as_ref()
    }

    /// The exchange may not go on from now on.
    pub(super) fn cut_for(&self, denial: Denial) {
        self.denial.replace(Some(denial));
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    /// Cuts the exchange once `refused` resolves. The watch ends with the exchange.
    pub(super) fn watch(self: &Rc<Self>, refused: impl Future<Output = Denial> + 'static) {
        let cord = Rc::downgrade(self);
        let watcher = tokio::task::spawn_local(async move {
            let denial = refused.await;
            if let Some(cord) = cord.upgrade() {
                cord.cut_for(denial);
            }
        });
        self.watcher.replace(Some(watcher.abort_handle()));
    }

    /// Ends the watch before the exchange does.
    pub(super) fn unwatch(&self) {
        if let Some(watcher) = self.watcher.take() {
            watcher.abort();
        }
    }

    /// The exchange may not go on. If it may, the task that asks is woken when that changes.
    pub(super) fn is_cut(&self, cx: &mut Context<'_>) -> bool {
        if self.denial.borrow().is_some() {
            return true;
        }
        if self.admission.is_some() {
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
        }
        false
    }

    /// Resolves when the exchange is cut, for whoever still waits for the head of the answer.
    pub(super) async fn cut(&self) -> Denial {
        poll_fn(|cx| {
            if self.is_cut(cx)
                && let Some(denial) = self.denial.borrow().clone()
            {
                return Poll::Ready(denial);
            }
            Poll::Pending
        })
        .await
    }

    /// A frame of the request has come.
    pub(super) fn request_has_moved(&self) {
        self.moved.set(Instant::now());
    }

    /// A frame of the answer has come: news for a request that is still on its way, and for nobody
    /// after that. The clock is looked at for no other.
    pub(super) fn answer_has_moved(&self) {
        if self.sent.get().is_none() {
            self.moved.set(Instant::now());
        }
    }

    pub(super) fn last_moved(&self) -> Instant {
        self.moved.get()
    }

    /// The request's body has been taken in to its end, at this moment.
    pub(super) fn has_been_sent(&self, now: Instant) {
        if self.sent.get().is_none() {
            self.sent.set(Some(now));
        }
    }

    /// How long the answer has kept us waiting; `None` while the request is still on its way.
    pub(super) fn waited(&self) -> Option<Duration> {
        self.sent.get().map(|sent| sent.elapsed())
    }
}

impl Drop for Cord {
    fn drop(&mut self) {
        self.unwatch();
    }
}
