//! The connection to the agent: how it is made, what every call carries, and our patience with it.

use std::error::Error;
use std::time::Duration;

use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint as ChannelEndpoint};
use tonic::{Code, Request, Status};

use super::endpoint::Endpoint;

/// How patient we are with an agent. Tests are less so.
#[derive(Debug, Clone)]
pub(super) struct Timing {
    pub(super) backoff_first: Duration,
    pub(super) backoff_most: Duration,
    /// From the attempt to connect to the first message.
    pub(super) first_answer: Duration,
    /// The same where the agent is asked whether it means a denial: we use meanwhile what it denied.
    pub(super) second_word: Duration,
    /// After an answer that trying again will hardly change.
    pub(super) rejected: Duration,
    /// Without an SVID to time it by, a silent stream is opened anew after this.
    pub(super) silence: Duration,
    /// For a call with one answer, all in all.
    pub(super) call: Duration,
    /// How long JWT bundles serve while their stream is down.
    pub(super) bundles_max_age: Duration,
}

/// As long as the keys of an issuer by default: tokens live an hour at most, and what an agent has
/// withdrawn meanwhile we cannot know.
const BUNDLES_MAX_AGE: Duration = Duration::from_secs(24 * 3600);

impl Timing {
    pub(super) const DEFAULT: Self = Self {
        backoff_first: Duration::from_millis(200),
        backoff_most: Duration::from_secs(10),
        first_answer: Duration::from_secs(10),
        second_word: Duration::from_secs(2),
        rejected: Duration::from_secs(30),
        silence: Duration::from_secs(60),
        call: Duration::from_secs(10),
        bundles_max_age: BUNDLES_MAX_AGE,
    };
}

/// HTTP/2 pings find a frozen agent. Servers built on gRPC for Go, SPIRE's agent among them,
/// hang up on clients that ping more often than every five minutes.
const PING_INTERVAL: Duration = Duration::from_secs(330);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// What is left of what an agent says, in a status or an error.
const MAX_DETAIL: usize = 300;

pub(super) async fn dial(
    endpoint: &Endpoint,
    connect_timeout: Duration,
) -> Result<Channel, tonic::transport::Error> {
    let uri = match endpoint {
        Endpoint::Unix(_) => endpoint.to_string(),
        Endpoint::Tcp(address) => format!("http://{address}"),
    };
    ChannelEndpoint::from_shared(uri)?
        .connect_timeout(connect_timeout)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .connect()
        .await
}

/// Agents answer no call without the security header (Workload Endpoint section 3).
pub(super) fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("workload.spiffe.io", MetadataValue::from_static("true"));
    request
}

pub(super) fn no_answer(waited: Duration) -> String {
    format!("the agent gave no answer within {} s", waited.as_secs_f32())
}

/// The innermost cause says what is wrong; the layers around it say "transport error".
pub(super) fn root(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// What a call came to, in one line.
pub(super) fn explain(status: &Status) -> String {
    let said = line(status.message());
    match status.code() {
        Code::PermissionDenied => format!("the agent denies permission: {said}"),
        _ if status.source().is_some() => line(&root(status)),
        code => format!("{code}: {said}"),
    }
}

/// What an agent says may be long and hold anything.
pub(super) fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_DETAIL).collect()
}
