//! One HTTP connection that we accepted, from its first byte to its orderly end.

use std::convert::Infallible;
use std::fmt::Display;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1::UpgradeableConnection;
use hyper::service::Service;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{sleep, timeout};

use super::activity::{Activity, Running};
use super::arrived::Arrived;
use super::guarded::Guarded;
use super::headers::REQUEST_ID;
use super::http1::{self, Left};
use super::lifetime::{Lifetime, Retired};
use super::rarely::Rarely;
use super::response_body::ResponseBody;
use super::{Limits, Phase, version};
use crate::http2::{self, Received};
use crate::telemetry::RequestId;
use crate::tls::Alpn;

/// How long an HTTP/1.1 client that has just been at work may still begin a request.
const LAST_CALL: Duration = Duration::from_millis(500);
const H2_STREAM_WINDOW: u32 = 1 << 18;
const H2_CONNECTION_WINDOW: u32 = 1 << 20;

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
pub(super) async fn serve<A, F>(
    io: Guarded,
    alpn: Alpn,
    limits: Limits,
    activity: Rc<Activity>,
    mut ends: Ends,
    answer: A,
) where
    A: Fn(Request<Arrived>) -> F + Unpin + 'static,
    F: Future<Output = Response<ResponseBody>> + 'static,
{
    // Large, and moved from hand to hand.
    let mut io = Box::new(io);
    let Some(alpn) = settled(alpn, &mut io, &mut ends, &limits, &activity).await else {
        return;
    };
    if alpn == Alpn::Http2 {
        let answer = move |request: Request<Received>| answer(request.map(Arrived::from));
        let mut connection = Box::pin(http2::accept(io, over_http2(&limits), answer));
        let served = Served {
            connection: connection.as_mut(),
            retire: http2::Accepted::retire,
            last_call: None,
        };
        return served.run(&limits, &activity, ends).await;
    }
    let left = {
        let retirement = pin!(retirement(&mut ends, limits.idle, &activity));
        http1::until_retired(io, Each(answer), &limits, &activity, retirement).await
    };
    activity.retire();
    match left {
        Left::Over => {}
        Left::Resting(mut io, retired) => {
            tokio::select! {
                _ = timeout(limits.idle, io.shutdown()) => {}
                () = cut(&mut ends, retired) => {}
            }
        }
        Left::Working(mut connection, retired) => {
            let served = Served {
                connection: connection.as_mut(),
                retire: UpgradeableConnection::graceful_shutdown,
                last_call: Some(LAST_CALL),
            };
            Box::pin(served.finish(&activity, ends, retired)).await;
        }
    }
}

/// Has each request of an HTTP/1.1 connection answered.
struct Each<A>(A);

impl<A, F> Service<Request<Incoming>> for Each<A>
where
    A: Fn(Request<Arrived>) -> F,
    F: Future<Output = Response<ResponseBody>>,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Always<F>;

    fn call(&self, request: Request<Incoming>) -> Always<F> {
        Always(Box::pin((self.0)(request.map(Arrived::from))))
    }
}

/// An answer that comes, whatever happens.
struct Always<F>(Pin<Box<F>>);

impl<F: Future> Future for Always<F> {
    type Output = Result<F::Output, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().0.as_mut().poll(cx).map(Ok)
    }
}

/// Which version the client speaks; `None` if it says nothing in time.
async fn settled(
    alpn: Alpn,
    io: &mut Guarded,
    ends: &mut Ends,
    limits: &Limits,
    activity: &Rc<Activity>,
) -> Option<Alpn> {
    if alpn != Alpn::None {
        return Some(alpn);
    }
    let mut spoken = pin!(version::spoken(io));
    tokio::select! {
        biased;
        spoken = spoken.as_mut() => spoken.ok(),
        // Somebody who has only just connected is about to say something.
        _ = retirement(ends, limits.idle, activity) => timeout(LAST_CALL, spoken).await.ok()?.ok(),
    }
}

/// A connection as an HTTP library serves it.
struct Served<'a, C, R> {
    connection: Pin<&'a mut C>,
    /// How it is told to take nothing new.
    retire: R,
    /// HTTP/1.1 has no way to say goodbye but in an answer. A client in the middle of its work gets
    /// that answer within this time, rather than a connection that closes as it sends.
    last_call: Option<Duration>,
}

impl<C, E, R> Served<'_, C, R>
where
    C: Future<Output = Result<(), E>>,
    E: Display,
    R: Fn(Pin<&mut C>),
{
    async fn run(mut self, limits: &Limits, activity: &Rc<Activity>, mut ends: Ends) {
        let retired = {
            let retirement = pin!(retirement(&mut ends, limits.idle, activity));
            let mut retirement = Rarely::new(retirement);
            tokio::select! {
                biased;
                () = self.ended() => return,
                retired = &mut retirement => retired,
            }
        };
        activity.retire();
        self.finish(activity, ends, retired).await;
    }

    /// Lets what runs come to its end, within bounds.
    async fn finish(mut self, activity: &Activity, mut ends: Ends, retired: Retired) {
        let mut cut = pin!(cut(&mut ends, retired));
        if let Some(last_call) = self.last_call
            && !activity.is_idle_for(last_call)
        {
            tokio::select! {
                biased;
                () = self.ended() => return,
                () = cut.as_mut() => return,
                () = sleep(last_call) => {}
            }
        }
        (self.retire)(self.connection.as_mut());
        tokio::select! {
            biased;
            () = self.ended() => {}
            () = cut => tracing::debug!(?retired, "connection cut with requests running"),
        }
    }

    async fn ended(&mut self) {
        if let Err(error) = self.connection.as_mut().await {
            tracing::debug!(%error, "connection ended");
        }
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

fn over_http2(limits: &Limits) -> http2::Limits {
    http2::Limits {
        greeting: limits.header_read,
        streams: limits.streams,
        header_bytes: u32::try_from(limits.header_bytes).unwrap_or(u32::MAX),
        stream_window: H2_STREAM_WINDOW,
        connection_window: H2_CONNECTION_WINDOW,
    }
}
