//! Serving, draining, cut: how a shutdown reaches every connection.

use tokio_util::sync::CancellationToken;

/// One direction's view of the shutdown. Inbound drains first; outbound goes on until our
/// application has finished what it was asked, because it may need other services for that.
#[derive(Debug, Clone, Default)]
pub struct Phase {
    draining: CancellationToken,
    cut: CancellationToken,
}

impl Phase {
    /// Another direction that drains on its own and is cut at the same moment.
    pub fn sibling(&self) -> Self {
        Self { draining: CancellationToken::new(), cut: self.cut.clone() }
    }

    /// Accept nothing more; let what runs finish.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// End everything now.
    pub fn end(&self) {
        self.draining.cancel();
        self.cut.cancel();
    }

    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    pub(super) async fn draining(&self) {
        self.draining.cancelled().await;
    }

    pub(super) async fn cut(&self) {
        self.cut.cancelled().await;
    }
}
