//! A request on its way to the upstream and its answer back: the same in both directions.

use std::cell::RefCell;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body::Body as _;
use hyper::upgrade::OnUpgrade;
use tokio::time::{Instant, Sleep, sleep_until};

use super::activity::Activity;
use super::arrived::Arrived;
use super::cord::Cord;
use super::fault::{Fault, Waited};
use super::lifetime::Lifetime;
use super::request::{Onward, readdress, version_onward};
use super::request_body::RequestBody;
use super::response_body::ResponseBody;
use super::upgrade::{self, Answer};
use super::upstream::Upstream;
use super::{Limits, Speaks, headers};

/// How a request is to go on.
#[derive(Debug)]
pub(super) struct Journey<'a> {
    pub(super) speaks: Speaks,
    pub(super) scheme: Scheme,
    /// The normalised target, where it differs from the one that came.
    pub(super) target: Option<String>,
    /// What to say as the host instead of what the caller said.
    pub(super) host: Option<&'a HeaderValue>,
    /// The protocol that the caller wants to switch to.
    pub(super) upgrade: Option<HeaderValue>,
    pub(super) grpc: bool,
    /// Given where the exchange may be cut while it runs.
    pub(super) cord: Option<Rc<Cord>>,
}

/// What became of it.
pub(super) enum Forwarded {
    Answered(Response<ResponseBody>),
    /// Both sides switch protocols: the answer goes out, then the two streams are to be joined.
    Switched(Response<ResponseBody>, Streams),
}

/// Two connections that have left HTTP behind, or are about to.
pub(super) struct Streams {
    pub(super) near: OnUpgrade,
    pub(super) far: OnUpgrade,
    pub(super) far_lifetime: Option<Lifetime>,
}

/// A request in the form in which it goes on. Kept by whoever waits for its answer, so that it lies
/// in one place until it is sent: futures that hand it to each other would each have room for it.
pub(super) struct Outgoing<'a> {
    upstream: &'a Upstream,
    timer: &'a SpareTimer,
    idle: Duration,
    version: Version,
    patience: Patience,
    cord: Option<Rc<Cord>>,
    request: Option<Request<RequestBody>>,
    upgrade: Option<Box<Upgrade>>,
}

/// Of a caller who wants to switch protocols.
struct Upgrade {
    protocol: HeaderValue,
    near: OnUpgrade,
}

impl<'a> Outgoing<'a> {
    pub(super) fn new(
        upstream: &'a Upstream,
        timer: &'a SpareTimer,
        limits: &Limits,
        journey: Journey<'_>,
        mut request: Request<Arrived>,
    ) -> Result<Self, Fault> {
        let Journey { speaks, scheme, target, host, upgrade, grpc, cord } = journey;
        let version = match &upgrade {
            Some(_) => Version::HTTP_11,
            None => version_onward(speaks, request.version()),
        };
        let onward = Onward { version, scheme: &scheme, target: target.as_deref(), host };
        readdress(&mut request, &onward)?;
        let patience = Patience::new(limits, grpc, request.headers());
        let upgrade = upgrade
            .map(|protocol| Box::new(Upgrade { protocol, near: hyper::upgrade::on(&mut request) }));
        let has_body = upgrade.is_none() && !request.body().is_end_stream();
        if has_body
            && version == Version::HTTP_11
            && !request.headers().contains_key(CONTENT_LENGTH)
        {
            // Said by name, or hyper leaves out the body of methods that seldom have one.
            request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let cord = cord.or_else(|| has_body.then(Cord::new));
        let idle = limits.idle;
        let request = request.map(|body| RequestBody::new(body, idle, cord.clone()));
        let request = Some(request);
        Ok(Self { upstream, timer, idle, version, patience, cord, request, upgrade })
    }

    /// Counts what there is of its body as on its way.
    pub(super) fn count_upload(&mut self, activity: &Activity) {
        if let Some(request) = &mut self.request {
            request.body_mut().count(activity);
        }
    }

    /// Sends it, once, and waits for the head of its answer.
    pub(super) async fn forward(&mut self) -> Result<Forwarded, Fault> {
        if self.upgrade.is_some() {
            return Box::pin(self.switch()).await;
        }
        let sent = pin!(self.upstream.send(self.version, &mut self.request));
        let answer = self.patience.wait(sent, self.cord.as_deref(), self.timer);
        let (mut response, lease) = answer.await?;
        headers::strip_response(response.headers_mut());
        let (idle, cord) = (self.idle, self.cord.take());
        Ok(Forwarded::Answered(
            response.map(|body| ResponseBody::streamed(body, idle, Some(lease), cord)),
        ))
    }

    async fn switch(&mut self) -> Result<Forwarded, Fault> {
        let (Some(upgrade), Some(request)) = (self.upgrade.take(), self.request.take()) else {
            return Err(Fault::WrongProtocol);
        };
        let Upgrade { protocol, near } = *upgrade;
        let asked = pin!(upgrade::ask(self.upstream, request, &protocol));
        let answer = self.patience.wait(asked, self.cord.as_deref(), self.timer).await?;
        Ok(switched(near, answer, &protocol, self.idle, self.cord.take()))
    }
}

/// A timer that one exchange leaves to the next of its connection. To let it go on, and see whether
/// it went off too early, takes less than to start and to stop one each time.
#[derive(Debug, Default)]
pub(super) struct SpareTimer(RefCell<Option<Pin<Box<Sleep>>>>);

impl SpareTimer {
    /// One that goes off by then, or before.
    fn take(&self, deadline: Instant) -> Pin<Box<Sleep>> {
        let mut timer = self.0.take().unwrap_or_else(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        timer
    }

    fn leave(&self, timer: Pin<Box<Sleep>>) {
        self.0.replace(Some(timer));
    }
}

/// How long the head of an answer is waited for.
#[derive(Debug, Clone, Copy)]
struct Patience {
    limit: Duration,
    /// The caller has set a deadline that does not wait for the request to be whole.
    strict: bool,
}

impl Patience {
    /// gRPC says so itself (`grpc-timeout`); without that, a stream that is answered late is
    /// bounded by the idle limit alone.
    fn new(limits: &Limits, grpc: bool, headers: &HeaderMap) -> Self {
        if !grpc {
            return Self { limit: limits.request, strict: false };
        }
        match headers::grpc_timeout(headers) {
            Some(limit) => Self { limit: limit.min(limits.idle), strict: true },
            None => Self { limit: limits.idle, strict: false },
        }
    }

    /// The clock starts when the request has been sent. Until then the idle limit of its body is
    /// what ends it, so that a long upload is not taken for a slow answer.
    async fn wait<T>(
        self,
        mut answer: impl Future<Output = Result<T, Fault>> + Unpin,
        cord: Option<&Cord>,
        spare: &SpareTimer,
    ) -> Result<T, Fault> {
        let mut deadline = Instant::now() + self.limit;
        let mut timer = spare.take(deadline);
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => {
                    spare.leave(timer);
                    return answer;
                }
                () = timer.as_mut() => {}
            }
            let now = Instant::now();
            if now < deadline {
                // It was going for somebody else.
                timer.as_mut().reset(deadline);
                continue;
            }
            let left = match cord.filter(|_| !self.strict).map(Cord::waited) {
                Some(None) => self.limit,
                Some(Some(waited)) if waited < self.limit => self.limit.saturating_sub(waited),
                Some(Some(_)) | None => return Err(Fault::Timeout(Waited::Response)),
            };
            deadline = now + left;
            timer.as_mut().reset(deadline);
        }
    }
}

fn switched(
    near: OnUpgrade,
    answer: Answer,
    protocol: &HeaderValue,
    idle: Duration,
    cord: Option<Rc<Cord>>,
) -> Forwarded {
    match answer {
        Answer::Stayed(mut response) => {
            headers::strip_response(response.headers_mut());
            Forwarded::Answered(
                response.map(|body| ResponseBody::streamed(body.into(), idle, None, cord)),
            )
        }
        Answer::Switched(mut response, far_lifetime) => {
            let far = hyper::upgrade::on(&mut response);
            let streams = Streams { near, far, far_lifetime };
            Forwarded::Switched(upgrade::switched(response, protocol), streams)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    async fn waited(patience: Patience, spare: &SpareTimer) -> Duration {
        let began = Instant::now();
        let never = Box::pin(pending::<Result<(), Fault>>());
        let answer = patience.wait(never, None, spare).await;
        assert!(matches!(answer, Err(Fault::Timeout(Waited::Response))));
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_was_somebody_elses_ends_no_wait_before_its_time() {
        let (spare, patience) = (SpareTimer::default(), Patience { limit: LIMIT, strict: false });
        let slow = Box::pin(async {
            sleep_until(Instant::now() + LIMIT / 2).await;
            Ok::<_, Fault>(())
        });
        assert!(patience.wait(slow, None, &spare).await.is_ok());
        assert_eq!(waited(patience, &spare).await, LIMIT);
        assert!(patience.wait(ready(Ok::<_, Fault>(())), None, &spare).await.is_ok());
        assert_eq!(waited(patience, &spare).await, LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_has_gone_off_meanwhile_ends_no_wait_either() {
        let (spare, patience) = (SpareTimer::default(), Patience { limit: LIMIT, strict: false });
        assert!(patience.wait(ready(Ok::<_, Fault>(())), None, &spare).await.is_ok());
        sleep_until(Instant::now() + LIMIT * 2).await;
        assert_eq!(waited(patience, &spare).await, LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_in_a_hurry_does_not_wait_for_somebody_elses_timer() {
        let (spare, patience) = (SpareTimer::default(), Patience { limit: LIMIT, strict: false });
        assert!(patience.wait(ready(Ok::<_, Fault>(())), None, &spare).await.is_ok());
        let hurried = Patience { limit: LIMIT / 5, strict: true };
        assert_eq!(waited(hurried, &spare).await, LIMIT / 5);
    }
}
