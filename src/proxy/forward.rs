//! A request on its way to the upstream and its answer back: the same in both directions.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body::Body as _;
use hyper::upgrade::OnUpgrade;
use tokio::time::timeout;

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

pub(super) async fn forward(
    upstream: &Upstream,
    limits: &Limits,
    journey: Journey<'_>,
    mut request: Request<Arrived>,
) -> Result<Forwarded, Fault> {
    let version = match &journey.upgrade {
        Some(_) => Version::HTTP_11,
        None => version_onward(journey.speaks, request.version()),
    };
    let onward = Onward {
        version,
        scheme: &journey.scheme,
        target: journey.target.as_deref(),
        host: journey.host,
    };
    readdress(&mut request, &onward)?;
    let patience = Patience::new(limits, journey.grpc, request.headers());

    if let Some(protocol) = &journey.upgrade {
        let near = hyper::upgrade::on(&mut request);
        let cord = journey.cord;
        let request = request.map(|body| RequestBody::new(body, limits.idle, cord.clone()));
        let asked = Box::pin(upgrade::ask(upstream, request, protocol));
        let answer = patience.wait(asked, cord.as_deref()).await?;
        return Ok(switched(near, answer, protocol, limits, cord));
    }
    let has_body = !request.body().is_end_stream();
    if has_body && version == Version::HTTP_11 && !request.headers().contains_key(CONTENT_LENGTH) {
        // Said by name, or hyper leaves out the body of methods that seldom have one.
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let cord = journey.cord.or_else(|| has_body.then(Cord::new));
    let request = request.map(|body| RequestBody::new(body, limits.idle, cord.clone()));
    let sent = pin!(upstream.send(version, request));
    let (mut response, lease) = patience.wait(sent, cord.as_deref()).await?;
    headers::strip_response(response.headers_mut());
    Ok(Forwarded::Answered(
        response.map(|body| ResponseBody::streamed(body, limits.idle, Some(lease), cord)),
    ))
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
        match headers::grpc_timeout(headers).filter(|_| grpc) {
            Some(limit) => Self { limit: limit.min(limits.idle), strict: true },
            None if grpc => Self { limit: limits.idle, strict: false },
            None => Self { limit: limits.request, strict: false },
        }
    }

    /// The clock starts when the request has been sent. Until then the idle limit of its body is
    /// what ends it, so that a long upload is not taken for a slow answer.
    async fn wait<T>(
        self,
        mut answer: impl Future<Output = Result<T, Fault>> + Unpin,
        cord: Option<&Cord>,
    ) -> Result<T, Fault> {
        let mut left = self.limit;
        loop {
            if let Ok(answer) = timeout(left, &mut answer).await {
                return answer;
            }
            left = match cord.filter(|_| !self.strict).map(Cord::waited) {
                Some(None) => self.limit,
                Some(Some(waited)) if waited < self.limit => self.limit.saturating_sub(waited),
                Some(Some(_)) | None => return Err(Fault::Timeout(Waited::Response)),
            };
        }
    }
}

fn switched(
    near: OnUpgrade,
    answer: Answer,
    protocol: &HeaderValue,
    limits: &Limits,
    cord: Option<Rc<Cord>>,
) -> Forwarded {
    match answer {
        Answer::Stayed(mut response) => {
            headers::strip_response(response.headers_mut());
            Forwarded::Answered(
                response.map(|body| ResponseBody::streamed(body.into(), limits.idle, None, cord)),
            )
        }
        Answer::Switched(mut response, far_lifetime) => {
            let far = hyper::upgrade::on(&mut response);
            let streams = Streams { near, far, far_lifetime };
            Forwarded::Switched(upgrade::switched(response, protocol), streams)
        }
    }
}
