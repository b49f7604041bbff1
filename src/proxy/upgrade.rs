//! WebSocket and other protocols that an HTTP/1.1 connection may switch to (RFC 9110 section 7.8).

use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::dial::{Link, Purpose};
use super::fault::Fault;
use super::headers::{strip_response, switched_as_asked};
use super::lifetime::Lifetime;
use super::request_body::RequestBody;
use super::response_body::ResponseBody;
use super::upstream::Upstream;
use crate::net::splice;

/// The far side's answer to a wish to switch.
pub(super) enum Answer {
    /// It said 101: both ends are to be joined once our own 101 is on its way.
    Switched(Response<Incoming>, Option<Lifetime>),
    /// It answered in HTTP after all.
    Stayed(Response<Incoming>),
}

/// Forwards the wish on a connection of its own: one that switches never returns to a pool.
pub(super) async fn ask(
    upstream: &Upstream,
    mut request: Request<RequestBody>,
    protocol: &HeaderValue,
) -> Result<Answer, Fault> {
    let Link { wire, lifetime, vouched_by, .. } = upstream.own_link(Purpose::Http1).await?;
    upstream.prepare(&mut request, vouched_by.is_some())?;
    let refusal = wire.refusal();
    let explain = |error| refusal.explain(error);
    let (mut sender, connection) =
        upstream.http1_builder().handshake(TokioIo::new(wire)).await.map_err(explain)?;
    // Until it switches, it is a connection like any other, and ends with its lifetime.
    upstream.drive(connection.with_upgrades(), lifetime.clone());
    switch_headers(request.headers_mut(), protocol);
    let response = sender.send_request(request).await.map_err(explain)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        Ok(Answer::Stayed(response))
    } else if switched_as_asked(response.headers(), protocol) {
        Ok(Answer::Switched(response, lifetime))
    } else {
        Err(Fault::WrongProtocol)
    }
}

/// Our own 101 after the far side's.
pub(super) fn switched(
    response: Response<Incoming>,
    protocol: &HeaderValue,
) -> Response<ResponseBody> {
    let (mut parts, _) = response.into_parts();
    let said = parts.headers.remove(UPGRADE);
    strip_response(&mut parts.headers);
    switch_headers(&mut parts.headers, said.as_ref().unwrap_or(protocol));
    Response::from_parts(parts, ResponseBody::empty())
}

/// `Connection` and `Upgrade` concern one hop: each hop says them anew.
fn switch_headers(headers: &mut http::HeaderMap, protocol: &HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol.clone());
}

/// Carries bytes between the two upgraded connections until they end, or at once if one of them
/// did not come about.
pub(super) async fn join(near: OnUpgrade, far: OnUpgrade, idle: Duration) {
    let Ok((near, far)) = tokio::try_join!(near, far) else {
        return;
    };
    let (mut near, mut far) = (TokioIo::new(near), TokioIo::new(far));
    let (flow, end) = splice(&mut near, &mut far, idle).await;
    tracing::debug!(?end, ?flow, "upgraded connection ended");
}
