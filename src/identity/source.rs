//! The Workload API client: keeps one stream to the agent, and says how it is.
//!
//! Written on the bare client of the `spiffe` crate, because its ready-made source neither
//! notices an agent that hangs nor tells that one is gone.

use std::pin::pin;
use std::time::{Duration, SystemTime};

use spiffe::transport::{Endpoint as SpiffeEndpoint, GrpcStatusCode, TransportError};
use spiffe::{WorkloadApiClient, WorkloadApiError, X509Context};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_stream::{Stream, StreamExt};

use super::backoff::Backoff;
use super::channel::{Timing, dial, no_answer, root};
use super::endpoint::{Endpoint, SourceError};
use super::jwt::JwtSvids;
use super::jwt_bundles;
use super::standing::Standing;
use super::update::{Refusal, read};
use super::{Identity, Settings};

/// The wall clock may jump, and timers do not: it is looked at this often.
const GLANCE: Duration = Duration::from_secs(30);

/// Spawns the Workload API client on the current tokio runtime and returns at once, in state
/// `Starting`. An agent that is not there yet is waited for.
pub fn start(settings: Settings) -> Result<Identity, SourceError> {
    start_with(settings, Timing::DEFAULT)
}

pub(super) fn start_with(settings: Settings, timing: Timing) -> Result<Identity, SourceError> {
    let endpoint = Endpoint::parse(&settings.endpoint)?;
    if endpoint.is_exposed() {
        tracing::warn!(%endpoint, "keys travel in plaintext to a Workload API on another machine");
    }
    let (standing, mut identity) = Standing::new(SystemTime::now());
    identity.jwt_svids = JwtSvids::new(&settings, endpoint.clone(), timing.call);
    if settings.jwt_bundles {
        let material = identity.material.clone();
        identity.jwt_bundles =
            jwt_bundles::follow(settings.clone(), endpoint.clone(), timing.clone(), material);
    }
    tokio::spawn(Source { settings, endpoint, timing, standing }.run());
    Ok(identity)
}

struct Source {
    settings: Settings,
    endpoint: Endpoint,
    timing: Timing,
    standing: Standing,
}

/// How a session ended.
enum End {
    Lost {
        detail: String,
        was_up: bool,
    },
    /// Redaction of everything (Workload API section 5.2.1).
    Denied(String),
    /// We are not understood (Workload Endpoint appendix A: report, do not insist).
    Rejected(String),
}

impl Source {
    async fn run(mut self) {
        let mut backoff = Backoff::new(self.timing.backoff_first, self.timing.backoff_most);
        loop {
            let began = Instant::now();
            let end = self.session().await;
            // A stream that keeps ending as soon as it is up is no success.
            if began.elapsed() > self.timing.backoff_most {
                backoff.reset();
            }
            let now = SystemTime::now();
            let pause = match end {
                End::Lost { detail, was_up } => {
                    self.standing.lose(&detail, was_up, now);
                    backoff.delay(fastrand::f64())
                }
                End::Denied(detail) => {
                    self.standing.deny(&detail, now);
                    backoff.delay(fastrand::f64())
                }
                End::Rejected(detail) => {
                    self.standing.reject(&detail, now);
                    self.timing.rejected
                }
            };
            self.guarded(sleep(pause)).await;
        }
    }

    /// One stream, from the attempt to open it to its end.
    async fn session(&mut self) -> End {
        let first_answer = self.timing.first_answer;
        let mut deadline = Instant::now() + first_answer;
        let opening = timeout_at(deadline, open(self.endpoint.clone(), first_answer));
        // The client is kept as long as the stream, so that the connection is.
        let (_client, mut stream) = match self.guarded(opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(end)) => return end,
            Err(_) => return End::lost(no_answer(first_answer)),
        };
        let mut heard = false;
        loop {
            match self.guarded(timeout_at(deadline, stream.next())).await {
                Ok(Some(Ok(context))) => self.take(&context),
                Ok(Some(Err(error))) => match End::of(error, heard) {
                    Ok(end) => return end,
                    Err(flaw) => self.standing.discard(&flaw, SystemTime::now()),
                },
                Ok(None) => {
                    let detail = "the agent closed the stream".to_owned();
                    return End::Lost { detail, was_up: heard };
                }
                Err(_) if heard => {
                    let detail = "the agent is silent past the time to renew".to_owned();
                    return End::Lost { detail, was_up: true };
                }
                Err(_) => return End::lost(no_answer(first_answer)),
            }
            heard = true;
            deadline = Instant::now() + self.patience();
        }
    }

    fn take(&mut self, context: &X509Context) {
        let now = SystemTime::now();
        match read(context, &self.settings, now) {
            Ok(update) => self.standing.accept(update, now),
            Err(refusal @ Refusal::Malformed(_)) => {
                self.standing.discard(&refusal.to_string(), now);
            }
            Err(refusal @ (Refusal::NotOffered { .. } | Refusal::DevAgent)) => {
                self.standing.deny(&refusal.to_string(), now);
            }
        }
    }

    /// How long a stream may be silent from now on. An SVID that is overdue when it comes is
    /// asked for again half way to its end, and so on.
    fn patience(&self) -> Duration {
        let now = SystemTime::now();
        let (Some(due), Some(left)) = (self.standing.renewal_due(), self.standing.expires_in(now))
        else {
            return self.timing.silence;
        };
        match due.duration_since(now) {
            Ok(until_due) if !until_due.is_zero() => until_due,
            Ok(_) | Err(_) => (left / 2).max(self.timing.backoff_first),
        }
    }

    /// Waits for `work`, and takes the SVID out of use on time meanwhile.
    async fn guarded<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            let now = SystemTime::now();
            self.standing.expire(now);
            let glance = self.standing.expires_in(now).map_or(GLANCE, |left| left.min(GLANCE));
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = sleep(glance) => {}
            }
        }
    }
}

/// A channel of its own for each session: the socket is opened anew by its path, so that one
/// that an agent has replaced is followed.
async fn open(
    endpoint: Endpoint,
    connect_timeout: Duration,
) -> Result<
    (WorkloadApiClient, impl Stream<Item = Result<X509Context, WorkloadApiError>> + Unpin),
    End,
> {
    let channel = match dial(&endpoint, connect_timeout).await {
        Ok(channel) => channel,
        Err(error) => {
            let detail = format!("cannot connect to `{endpoint}`: {}", root(&error));
            return Err(End::lost(detail));
        }
    };
    let known = match endpoint {
        Endpoint::Unix(path) => SpiffeEndpoint::Unix(path),
        Endpoint::Tcp(address) => SpiffeEndpoint::Tcp { host: address.ip(), port: address.port() },
    };
    let client = WorkloadApiClient::new_with_channel(known, channel);
    match client.stream_x509_contexts().await {
        Ok(stream) => Ok((client, Box::pin(stream))),
        Err(error) => Err(End::of(error, false).unwrap_or_else(End::lost)),
    }
}

impl End {
    /// The stream was never up.
    fn lost(detail: String) -> Self {
        Self::Lost { detail, was_up: false }
    }

    /// Sorts what the client reports; `Err` is a message at fault, on a stream that goes on.
    fn of(error: WorkloadApiError, was_up: bool) -> Result<Self, String> {
        match error {
            WorkloadApiError::NoIdentityIssued => {
                Ok(Self::Denied("the agent issues no identity to this workload".to_owned()))
            }
            WorkloadApiError::PermissionDenied(message) => {
                Ok(Self::Denied(format!("the agent denies permission: {message}")))
            }
            WorkloadApiError::Transport(TransportError::Status(status))
                if matches!(
                    status.code(),
                    GrpcStatusCode::InvalidArgument | GrpcStatusCode::Unimplemented
                ) =>
            {
                Ok(Self::Rejected(status.to_string()))
            }
            WorkloadApiError::Transport(error) => {
                Ok(Self::Lost { detail: error.to_string(), was_up })
            }
            error => Err(format!("update discarded: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_of_an_agent_has_its_own_end() {
        let transport = |code| WorkloadApiError::Transport(TransportError::status(code, "it"));
        let name = |error| match End::of(error, true) {
            Ok(End::Denied(_)) => "denied",
            Ok(End::Rejected(_)) => "rejected",
            Ok(End::Lost { was_up: true, .. }) => "lost",
            Ok(End::Lost { .. }) => "never up",
            Err(_) => "discarded",
        };
        let cases = [
            (WorkloadApiError::NoIdentityIssued, "denied"),
            (WorkloadApiError::PermissionDenied("no".into()), "denied"),
            (transport(GrpcStatusCode::InvalidArgument), "rejected"),
            (transport(GrpcStatusCode::Unimplemented), "rejected"),
            (transport(GrpcStatusCode::Unavailable), "lost"),
            (transport(GrpcStatusCode::Internal), "lost"),
            (WorkloadApiError::EmptyResponse, "discarded"),
            (WorkloadApiError::MissingRequiredField { field: "X509SVID.bundle" }, "discarded"),
        ];
        for (error, wanted) in cases {
            let shown = error.to_string();
            assert_eq!(name(error), wanted, "{shown}");
        }
    }
}
