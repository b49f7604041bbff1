//! One HTTP connection that we accepted, from its first byte to its orderly end.

use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::time::sleep;

use super::activity::{Activity, Running};
use super::executor::LocalExecutor;
use super::guarded::Guarded;
use super::headers::REQUEST_ID;
use super::lifetime::{Lifetime, Retired};
use super::rarely::Rarely;
use super::response_body::ResponseBody;
use super::{HYPERS_HEADERS, Limits, Phase};
use crate::telemetry::RequestId;
use crate::tls::Alpn;

/// How long an HTTP/1.1 client that has just been at work may still begin a request.
const LAST_CALL: Duration = Duration::from_millis(500);
const H2_STREAM_WINDOW: u32 = 1 << 18;
const H2_CONNECTION_WINDOW: u32 = 1 << 20;
const H2_PING_EVERY: Duration = Duration::from_secs(20);
const H2_PING_TIMEOUT: Duration = Duration::from_secs(10);

/// What ends a connection besides its peers.
pub(super) struct Ends {
    /// `None` for a plaintext connection from our own application.
    pub(super) lifetime: Option<Lifetime>,
    pub(super) age: Duration,
    pub(super) phase: Phase,
}

/// Serves requests until the client ends it, it has been idle or alive for too long, one of the
/// SVIDs comes to its end, or we are told to stop. All of these but the last moment of an SVID and
/// of the drain limit let running requests finish.
pub(super) async fn serve<S>(
    io: Guarded,
    alpn: Alpn,
    limits: &Limits,
    activity: &Rc<Activity>,
    mut ends: Ends,
    service: S,
) where
    S: Service<Request<Incoming>, Response = Response<ResponseBody>, Error = Infallible> + 'static,
    S::Future: 'static,
{
    let builder = builder(alpn, limits);
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(io), service));

    let retired = {
        let retirement = pin!(retirement(&mut ends, limits.idle, activity));
        let mut retirement = Rarely::new(retirement);
        tokio::select! {
            biased;
            outcome = connection.as_mut() => return log_end(outcome),
            retired = &mut retirement => retired,
        }
    };
    activity.retire();
    let mut cut = pin!(cut(&mut ends, retired));
    if alpn != Alpn::Http2 && !activity.is_idle_for(LAST_CALL) {
        // HTTP/1.1 has no way to say goodbye but in an answer. A client in the middle of its work
        // gets that answer, rather than a connection that closes as it sends.
        tokio::select! {
            biased;
            outcome = connection.as_mut() => return log_end(outcome),
            () = cut.as_mut() => return,
            () = sleep(LAST_CALL) => {}
        }
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        biased;
        outcome = connection.as_mut() => log_end(outcome),
        () = cut => tracing::debug!(?retired, "connection cut with requests running"),
    }
}

/// Finishes an answer: it has the id of its request, so that whoever gets it can ask for the audit
/// line; it keeps the request counted as running until it has gone out; and on an HTTP/1.1
/// connection that takes nothing new it says so.
pub(super) fn dress(
    response: &mut Response<ResponseBody>,
    request_id: &RequestId,
    running: Running,
    http1: bool,
    last: bool,
) {
    if http1 && last && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if !response.headers().contains_key(REQUEST_ID)
        && let Ok(id) = HeaderValue::from_str(request_id.as_str())
    {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response.body_mut().keep(running);
}

async fn retirement(ends: &mut Ends, idle: Duration, activity: &Rc<Activity>) -> Retired {
    let by_lifetime = async {
        match &mut ends.lifetime {
            Some(lifetime) => lifetime.retired().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        retired = by_lifetime => retired,
        () = sleep(ends.age) => Retired::Due,
        () = activity.idle_for(idle) => Retired::Due,
        () = activity.unproven() => Retired::Due,
        () = ends.phase.draining() => Retired::Due,
    }
}

async fn cut(ends: &mut Ends, retired: Retired) {
    let by_lifetime = async {
        match &mut ends.lifetime {
            Some(lifetime) => lifetime.cut(retired).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = by_lifetime => {}
        () = ends.phase.cut() => {}
    }
}

fn builder(alpn: Alpn, limits: &Limits) -> Builder<LocalExecutor> {
    let mut builder = Builder::new(LocalExecutor);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .half_close(true)
        .max_buf_size(limits.header_bytes.max(8 * 1024));
    if limits.header_count != HYPERS_HEADERS {
        builder.http1().max_headers(limits.header_count);
    }
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(256)
        .keep_alive_interval(H2_PING_EVERY)
        .keep_alive_timeout(H2_PING_TIMEOUT);
    match alpn {
        Alpn::Http1 => builder.http1_only(),
        Alpn::Http2 => builder.http2_only(),
        Alpn::None => builder,
    }
}

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn log_end(outcome: Outcome) {
    if let Err(error) = outcome {
        tracing::debug!(%error, "connection ended");
    }
}
