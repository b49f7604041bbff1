//! HTTP/1.1 as we serve it: the library's part of a connection, and the buffers that come with it,
//! exist only while there is something to do.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1::{Builder, UpgradeableConnection};
use hyper::service::HttpService;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
use tokio::time::sleep;

use super::activity::Activity;
use super::guarded::{Guarded, RestFlag};
use super::rarely::Rarely;
use super::response_body::ResponseBody;
use super::{HYPERS_HEADERS, Limits};

/// Without a request for this long, a connection rests. So taking the library's part down and
/// building it anew is rare on a connection that is in use.
const REST_AFTER: Duration = Duration::from_secs(1);
/// What ends a rest is read in one piece if it is no longer than most requests.
const FIRST_BYTES: usize = 2048;

/// A connection as the library serves it.
pub(super) type Working<S> = Pin<Box<UpgradeableConnection<TokioIo<Box<Guarded>>, S>>>;

/// How a connection is left that shall take nothing new, for the reason `T`.
pub(super) enum Left<S: Service, T> {
    /// It has ended by itself.
    Over,
    Working(Working<S>, T),
    /// Between two requests, with nothing to be sent.
    Resting(Box<Guarded>, T),
}

enum Pause<S: Service, T> {
    Over,
    Retired(Working<S>, T),
    Quiet(Box<Guarded>, S),
}

/// Serves requests until the connection ends or `retirement` comes.
pub(super) async fn until_retired<S, T>(
    mut io: Box<Guarded>,
    mut service: S,
    limits: &Limits,
    activity: &Activity,
    mut retirement: Pin<&mut impl Future<Output = T>>,
) -> Left<S, T>
where
    S: Service,
{
    loop {
        let working = Box::pin(work(io, service, limits, activity, retirement.as_mut()));
        (io, service) = match working.await {
            Pause::Over => return Left::Over,
            Pause::Retired(connection, why) => return Left::Working(connection, why),
            Pause::Quiet(io, service) => (io, service),
        };
        let next = tokio::select! {
            biased;
            next = poll_fn(|cx| poll_next(&mut io, cx)) => next,
            why = retirement.as_mut() => return Left::Resting(io, why),
        };
        match next {
            Ok(true) => {}
            Ok(false) => {
                tokio::select! {
                    _ = io.shutdown() => {}
                    _ = retirement.as_mut() => {}
                }
                return Left::Over;
            }
            Err(error) => {
                tracing::debug!(%error, "connection ended");
                return Left::Over;
            }
        }
    }
}

/// What answers requests.
pub(super) trait Service:
    HttpService<Incoming, ResBody = ResponseBody, Error = Infallible, Future: Unpin> + Unpin
{
}

impl<S> Service for S where
    S: HttpService<Incoming, ResBody = ResponseBody, Error = Infallible, Future: Unpin> + Unpin
{
}

/// Until there has been nothing to do for a while.
async fn work<S: Service, T>(
    io: Box<Guarded>,
    service: S,
    limits: &Limits,
    activity: &Activity,
    mut retirement: Pin<&mut impl Future<Output = T>>,
) -> Pause<S, T> {
    let resting = io.rest_flag();
    let connection = builder(limits).serve_connection(TokioIo::new(io), service);
    let mut connection = Box::pin(connection.with_upgrades());
    let mut quiet = pin!(quiet(activity, &resting));
    // Both are asked only when they have news.
    let mut news = Rarely::new(poll_fn(|cx| {
        if let Poll::Ready(why) = retirement.as_mut().poll(cx) {
            return Poll::Ready(Some(why));
        }
        quiet.as_mut().poll(cx).map(|()| None)
    }));
    let why = tokio::select! {
        biased;
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(%error, "connection ended");
            }
            return Pause::Over;
        }
        why = &mut news => why,
    };
    if let Some(why) = why {
        return Pause::Retired(connection, why);
    }
    let Some(parts) = Pin::into_inner(connection).into_parts() else { return Pause::Over };
    if !parts.read_buf.is_empty() {
        // Of what else these bytes would be a part, nobody can say any more.
        tracing::debug!("connection ended: bytes are left over between two requests");
        return Pause::Over;
    }
    Pause::Quiet(parts.io.into_inner(), parts.service)
}

/// Resolves once nothing has run for a while, and nothing has been begun either.
async fn quiet(activity: &Activity, resting: &RestFlag) {
    loop {
        activity.idle_for(REST_AFTER).await;
        if resting.is_raised() && !activity.is_uploading() {
            return;
        }
        sleep(REST_AFTER).await;
    }
}

/// Waits for the first bytes of a request, and leaves them to whoever reads next. `false`: the
/// client is done.
fn poll_next(io: &mut Guarded, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
    let mut room = [0; FIRST_BYTES];
    let mut read = ReadBuf::new(&mut room);
    ready!(Pin::new(&mut *io).poll_read(cx, &mut read))?;
    let come = read.filled();
    if come.is_empty() {
        return Poll::Ready(Ok(false));
    }
    io.put_back(come.to_vec());
    Poll::Ready(Ok(true))
}

fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .half_close(true)
        .max_buf_size(limits.header_bytes.max(8 * 1024));
    if limits.header_count != HYPERS_HEADERS {
        builder.max_headers(limits.header_count);
    }
    builder
}

#[cfg(test)]
mod tests;
