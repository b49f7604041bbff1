//! `/metrics`, for Prometheus.

use std::future::Future;
use std::sync::Arc;

use http::StatusCode;
use tokio::net::TcpListener;

use crate::telemetry::metrics::{CONTENT_TYPE, Metrics};

use super::server::{self, Answer};

/// Answers scrapes until `shutdown` resolves.
pub async fn serve_metrics(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    shutdown: impl Future<Output = ()>,
) {
    let answer = move |path: &str| (path == "/metrics").then(|| page(&metrics));
    server::serve(listener, answer, shutdown).await;
}

fn page(metrics: &Metrics) -> Answer {
    match metrics.encode() {
        Ok(page) => server::text(StatusCode::OK, CONTENT_TYPE, page),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            server::text(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", "")
        }
    }
}
