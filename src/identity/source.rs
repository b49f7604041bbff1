//! The Workload API client: keeps one stream to the agent, and says how it is.
//!
//! Written on the bare client of the `spiffe` crate, because its ready-made source neither
//! notices an agent that hangs nor tells that one is gone.

use std::error::Error as _;
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
    tokio::spawn(Source { settings, endpoint, timing, standing, asked_again: None }.run());
    Ok(identity)
}

struct Source {
    settings: Settings,
    endpoint: Endpoint,
    timing: Timing,
    standing: Standing,
    /// When a denial was last doubted.
    asked_again: Option<Instant>,
}

/// How a session ended.
enum End {
    Lost {
        detail: String,
        was_up: bool,
    },
    /// Redaction of everything (Workload API section 5.2.1).
    Denied {
        detail: String,
        was_up: bool,
    },
    /// We are not understood (Workload Endpoint appendix A: report, do not insist).
    Rejected(String),
}

impl Source {
    async fn run(mut self) {
        let mut backoff = Backoff::new(self.timing.backoff_first, self.timing.backoff_most);
        let mut doubt = None;
        loop {
            let began = Instant::now();
            let end = self.session(doubt.is_some()).await;
            // A stream that keeps ending as soon as it is up is no success.
            if began.elapsed() > self.timing.backoff_most {
                backoff.reset();
            }
            let end = end.after(doubt.take());
            doubt = self.doubted(&end);
            if doubt.is_some() {
                continue;
            }
            let now = SystemTime::now();
            let pause = match end {
                End::Lost { detail, was_up } => {
                    self.standing.lose(&detail, was_up, now);
                    backoff.delay(fastrand::f64())
                }
                End::Denied { detail, .. } => {
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

    /// A denial that is asked about once more, on a stream of its own. SPIRE's agent denies workloads
    /// that it knows for the moment in which it renews their SVIDs because an authority was tainted;
    /// a stream that is opened then waits for the new SVID. Where the entry is gone it says so at once.
    fn doubted(&mut self, end: &End) -> Option<String> {
        let End::Denied { detail, was_up: true } = end else {
            return None;
        };
        // One that says yes and no in turns is taken at its no.
        let lately = self.asked_again.is_some_and(|at| at.elapsed() < self.timing.backoff_most);
        if lately || !self.standing.has_svid() {
            return None;
        }
        self.asked_again = Some(Instant::now());
        tracing::warn!(detail, "the agent denies us what it gave; it is asked once more");
        Some(detail.clone())
    }

    /// One stream, from the attempt to open it to its end. In doubt of a denial, what comes first has
    /// to be fit for use.
    async fn session(&mut self, doubt: bool) -> End {
        let first_answer = if doubt { self.timing.second_word } else { self.timing.first_answer };
        let updates = self.standing.updates();
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
            if doubt && !heard && self.standing.has_svid() && self.standing.updates() == updates {
                return End::lost("the agent's answer is not fit for use".to_owned());
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

    /// What it comes to where the session was opened to ask about a denial: that stands unless the
    /// agent has taken it back by an answer.
    fn after(self, denial: Option<String>) -> Self {
        match (self, denial) {
            (
                Self::Lost { was_up: false, .. }
                | Self::Denied { was_up: false, .. }
                | Self::Rejected(_),
                Some(detail),
            ) => Self::Denied { detail, was_up: false },
            (end, _) => end,
        }
    }

    /// Sorts what the client reports; `Err` is a message at fault, on a stream that goes on.
    fn of(error: WorkloadApiError, was_up: bool) -> Result<Self, String> {
        match error {
            WorkloadApiError::NoIdentityIssued => {
                let detail = "the agent issues no identity to this workload".to_owned();
                Ok(Self::Denied { detail, was_up })
            }
            WorkloadApiError::PermissionDenied(message) => {
                let detail = format!("the agent denies permission: {message}");
                Ok(Self::Denied { detail, was_up })
            }
            WorkloadApiError::Transport(TransportError::Status(status))
                if matches!(
                    status.code(),
                    GrpcStatusCode::InvalidArgument | GrpcStatusCode::Unimplemented
                ) =>
            {
                Ok(Self::Rejected(status.to_string()))
            }
            // A status with a cause is no word of the agent's, but what became of the connection.
            WorkloadApiError::Transport(TransportError::Status(status))
                if status.source().is_some_and(|status| status.source().is_some()) =>
            {
                let detail = format!("the connection to the agent broke: {}", root(&status));
                Ok(Self::Lost { detail, was_up })
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
    use std::io;

    use tonic::Status;

    use super::*;

    #[test]
    fn a_connection_that_breaks_is_told_apart_from_what_an_agent_says() {
        let said = |error| match End::of(WorkloadApiError::Transport(error), true) {
            Ok(End::Lost { detail, .. }) => detail,
            _ => panic!("not lost"),
        };
        // As the client makes them of what it gets.
        let error = |code, status: Status| {
            let message = status.message().to_owned();
            TransportError::status_with_source(code, message, status)
        };
        let broken = Status::from_error(io::Error::from(io::ErrorKind::BrokenPipe).into());
        let lost = error(GrpcStatusCode::Unknown, broken);
        assert_eq!(said(lost), "the connection to the agent broke: broken pipe");
        let leaving = error(GrpcStatusCode::Unavailable, Status::unavailable("shutting down"));
        assert_eq!(said(leaving), "gRPC status unavailable: shutting down");
    }

    #[test]
    fn each_answer_of_an_agent_has_its_own_end() {
        let transport = |code| WorkloadApiError::Transport(TransportError::status(code, "it"));
        let name = |error| match End::of(error, true) {
            Ok(End::Denied { .. }) => "denied",
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
