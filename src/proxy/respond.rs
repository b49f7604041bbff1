//! Refusals and faults as HTTP or gRPC answers (design section 7). Nowhere else.
//!
//! The body is a code and the request id, and no more: why, stands in the audit line with that id.

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body::Body as _;

use super::fault::Fault;
use super::headers::REQUEST_ID;
use super::proof::{INVALID_TOKEN, Unproven};
use super::response_body::ResponseBody;
use crate::authz::{Denial, Reason};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// gRPC status codes that we answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
enum Grpc {
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// The answer to a request that was refused.
pub(super) fn refusal(denial: &Denial, grpc: bool, request_id: &str) -> Response<ResponseBody> {
    let code = denial.reason.code();
    // The rights ran out with the token that they came by, while its request was on its way.
    if denial.reason == Reason::TokenExpired {
        return challenged(code, INVALID_TOKEN, grpc, request_id);
    }
    let mut response =
        answer(StatusCode::FORBIDDEN, Grpc::PermissionDenied, code, grpc, request_id);
    let challenge = denial.challenge().and_then(|text| HeaderValue::from_str(&text).ok());
    if let Some(challenge) = challenge {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// The answer to a request whose caller has not proven who it is (RFC 6750 section 3.1).
pub(super) fn unproven(
    unproven: &Unproven,
    grpc: bool,
    request_id: &str,
) -> Response<ResponseBody> {
    challenged(unproven.code(), unproven.challenge(), grpc, request_id)
}

fn challenged(
    code: &'static str,
    challenge: &'static str,
    grpc: bool,
    request_id: &str,
) -> Response<ResponseBody> {
    let mut response =
        answer(StatusCode::UNAUTHORIZED, Grpc::Unauthenticated, code, grpc, request_id);
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}

/// The answer to a request that could not be carried out.
pub(super) fn fault(fault: &Fault, grpc: bool, request_id: &str) -> Response<ResponseBody> {
    let (status, grpc_status) = match fault {
        Fault::BadRequest(_) => (StatusCode::BAD_REQUEST, Grpc::InvalidArgument),
        Fault::IdentityUnavailable
        | Fault::AuditUnavailable
        | Fault::KeysUnavailable { .. }
        | Fault::Unreachable(_) => (StatusCode::SERVICE_UNAVAILABLE, Grpc::Unavailable),
        Fault::UpstreamIdentity { .. }
        | Fault::UpstreamUnverified(_)
        | Fault::UpstreamRefused(_)
        | Fault::BrokenOff(_)
        | Fault::WrongProtocol => (StatusCode::BAD_GATEWAY, Grpc::Unavailable),
        Fault::Timeout(_) => (StatusCode::GATEWAY_TIMEOUT, Grpc::DeadlineExceeded),
    };
    let mut response = answer(status, grpc_status, fault.code(), grpc, request_id);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    response
}

/// Leaves the body out, as an answer to `HEAD` does, and only says how long it would be. In HTTP/2
/// what it is given is sent, and a client takes content after `HEAD` for a broken protocol.
pub(super) fn leave_out_body(response: &mut Response<ResponseBody>) {
    if let Some(length) = response.body().size_hint().exact().filter(|length| *length > 0) {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        *response.body_mut() = ResponseBody::empty();
    }
}

fn answer(
    status: StatusCode,
    grpc_status: Grpc,
    code: &'static str,
    grpc: bool,
    request_id: &str,
) -> Response<ResponseBody> {
    let mut response = if grpc {
        // A trailers-only answer: a gRPC client reads nothing but these.
        let mut response = Response::new(ResponseBody::empty());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_STATUS, HeaderValue::from(grpc_status as u16));
        headers.insert(GRPC_MESSAGE, HeaderValue::from_static(code));
        response
    } else {
        let body = format!("{{\"error\":\"{code}\",\"request_id\":\"{request_id}\"}}\n");
        let mut response = Response::new(ResponseBody::whole(body));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    };
    // The id holds only characters that a header may.
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}
