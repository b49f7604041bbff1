//! The end, in order: inbound drains, then outbound, then what is left is cut.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::proxy::Phase;

/// After the cut, how long connections have to notice.
const CUT_GRACE: Duration = Duration::from_secs(2);

/// Shared by everyone who begins, follows or awaits the end.
#[derive(Debug, Clone)]
pub(super) struct Shutdown {
    pub(super) inbound: Phase,
    pub(super) outbound: Phase,
    pub(super) inbound_tasks: TaskTracker,
    pub(super) outbound_tasks: TaskTracker,
    ended: CancellationToken,
    timeout: Duration,
}

impl Shutdown {
    pub(super) fn new(timeout: Duration) -> Self {
        let inbound = Phase::default();
        let outbound = inbound.sibling();
        Self {
            inbound,
            outbound,
            inbound_tasks: TaskTracker::new(),
            outbound_tasks: TaskTracker::new(),
            ended: CancellationToken::new(),
            timeout,
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.inbound.is_draining()
    }

    /// Resolves when workers and servers shall stop.
    pub(super) fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        self.ended.clone().cancelled_owned()
    }

    /// Begins to drain, once.
    pub(super) fn begin(&self, control: &Handle) {
        if self.is_draining() {
            return;
        }
        tracing::info!(timeout = ?self.timeout, "draining");
        self.inbound.drain();
        let this = self.clone();
        control.spawn(async move { this.drain().await });
    }

    /// Our application may need other services to finish what it was asked, so outbound goes on
    /// until inbound is done.
    async fn drain(self) {
        let deadline = Instant::now() + self.timeout;
        self.inbound_tasks.close();
        let in_order = timeout_at(deadline, self.inbound_tasks.wait()).await.is_ok();
        self.outbound.drain();
        self.outbound_tasks.close();
        let in_order = timeout_at(deadline, self.outbound_tasks.wait()).await.is_ok() && in_order;
        if !in_order {
            tracing::warn!("the drain limit has passed, cutting what still runs");
        }
        self.inbound.end();
        self.outbound.end();
        let rest = async {
            self.inbound_tasks.wait().await;
            self.outbound_tasks.wait().await;
        };
        // Whoever has not noticed by then is dropped with its worker.
        tokio::time::timeout(CUT_GRACE, rest).await.ok();
        tracing::info!(in_order, "drained");
        self.ended.cancel();
    }

    /// Ends everything now.
    pub(super) fn cut(&self) {
        self.inbound.end();
        self.outbound.end();
        self.ended.cancel();
    }
}
