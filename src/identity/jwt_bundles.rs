//! Follows the agent's JWT trust bundles, apart from the SVID's stream: one may work without the
//! other.
//!
//! The agent sends our own bundle and the federated ones in one map, and does not say which is our
//! own. Ours is the one of the trust domain of the configured SPIFFE ID, else of the SVID in use,
//! else of the last one that was. While none of these is known only the trust domains of
//! `federates_with` are taken: the only bundle in the map, or the first, may well be that of a
//! stranger with whom the agent, and not our operator, chose to federate (ID-4).

use std::collections::BTreeMap;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::Value;
use spiffe::{SpiffeId, TrustDomain};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Code, Status, Streaming};

use super::backoff::Backoff;
use super::channel::{Timing, dial, explain, no_answer, request, root};
use super::endpoint::Endpoint;
use super::jwt::JwtBundles;
use super::material::Material;
use super::{DEV_KEY_PREFIX, Settings};
use crate::live::{Changes, Live, Publisher, live};
use crate::workload_api::pb::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use crate::workload_api::pb::{JwtBundlesRequest, JwtBundlesResponse};

/// Of all trust domains together.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;
/// Of one trust domain: some hundreds of keys.
const MAX_BUNDLE: usize = 256 * 1024;
/// The wall clock may jump, and timers do not: it is looked at this often.
const GLANCE: Duration = Duration::from_secs(30);

/// Begins to follow them on the current tokio runtime. What we are comes from `material`.
pub(super) fn follow(
    settings: Settings,
    endpoint: Endpoint,
    timing: Timing,
    material: Live<Material>,
) -> Live<JwtBundles> {
    let (follower, bundles) = Follower::new(settings, endpoint, timing, material);
    tokio::spawn(follower.run());
    bundles
}

/// The agent's last message, whole.
type Sent = BTreeMap<String, Arc<[u8]>>;

struct Follower {
    settings: Settings,
    endpoint: Endpoint,
    timing: Timing,
    material: Live<Material>,
    changes: Changes,
    /// Our own trust domain, once it is known.
    own: Option<TrustDomain>,
    heard: Sent,
    publisher: Publisher<JwtBundles>,
    held: JwtBundles,
    /// What was last said in the log, so that it is said once.
    trouble: Option<&'static str>,
    flaw: Option<String>,
    /// Until when the stream was known to be up; `None` while it is.
    down_since: Option<(Instant, SystemTime)>,
}

/// How a session ended.
enum End {
    /// What we have stays in use.
    Lost(String),
    /// Redaction of everything (Workload API section 6.2.2).
    Denied(String),
    /// Such an agent has no JWT profile (Workload Endpoint appendix A: report, do not insist).
    Rejected(String),
}

impl Follower {
    fn new(
        settings: Settings,
        endpoint: Endpoint,
        timing: Timing,
        material: Live<Material>,
    ) -> (Self, Live<JwtBundles>) {
        let (publisher, bundles) = live(JwtBundles::new());
        let follower = Self {
            own: settings.spiffe_id.as_ref().map(SpiffeId::trust_domain).cloned(),
            endpoint,
            timing,
            changes: material.changes(),
            material,
            heard: Sent::new(),
            publisher,
            held: JwtBundles::new(),
            trouble: None,
            flaw: None,
            down_since: None,
            settings,
        };
        (follower, bundles)
    }

    async fn run(mut self) {
        let mut backoff = Backoff::new(self.timing.backoff_first, self.timing.backoff_most);
        let (mut doubt, mut asked_again) = (None, None::<Instant>);
        loop {
            let began = Instant::now();
            let wait = match doubt {
                Some(_) => self.timing.second_word,
                None => self.timing.first_answer,
            };
            let (end, was_up) = self.session(wait).await;
            self.down();
            // A stream that keeps ending as soon as it is up is no success.
            if began.elapsed() > self.timing.backoff_most {
                backoff.reset();
            }
            // A denial of what was given is asked about once more, as for the SVID's stream.
            let end = match (end, doubt.take()) {
                (_, Some(denial)) if !was_up => End::Denied(denial),
                (end, _) => end,
            };
            if let End::Denied(detail) = &end
                && was_up
                && asked_again.is_none_or(|at| at.elapsed() >= self.timing.backoff_most)
            {
                (doubt, asked_again) = (Some(detail.clone()), Some(Instant::now()));
                continue;
            }
            let pause = match end {
                End::Lost(detail) => {
                    self.complain("lost", &detail);
                    backoff.delay(fastrand::f64())
                }
                End::Denied(detail) => {
                    self.complain("denied", &detail);
                    self.take(Sent::new());
                    backoff.delay(fastrand::f64())
                }
                End::Rejected(detail) => {
                    self.complain("rejected", &detail);
                    self.take(Sent::new());
                    self.timing.rejected
                }
            };
            self.attentive(sleep(pause)).await;
        }
    }

    /// One stream, from the attempt to open it to its end; whether it was up.
    async fn session(&mut self, wait: Duration) -> (End, bool) {
        let deadline = Instant::now() + wait;
        // Keys change seldom: only the first message has to come soon. That a quiet agent still
        // lives is found out by the pings of the connection.
        let opening = timeout_at(deadline, open(self.endpoint.clone(), self.timing.clone()));
        let (_client, mut stream, mut message) = match self.attentive(opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(end)) => return (end, false),
            Err(_) => return (End::Lost(no_answer(wait)), false),
        };
        loop {
            if self.trouble.take().is_some() {
                tracing::info!("JWT trust bundles are followed again");
            }
            self.down_since = None;
            let all = message.bundles.into_iter();
            self.take(all.map(|(name, jwks)| (name, Arc::from(jwks))).collect());
            message = match self.attentive(stream.message()).await {
                Ok(Some(message)) => message,
                Ok(None) => return (End::closed(), true),
                Err(status) => return (End::of(&status), true),
            };
        }
    }

    /// Waits for `work`, and meanwhile learns who we are and gives up what has grown too old.
    async fn attentive<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            let left = self.left();
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.changes.changed() => self.publish(),
                () = older(left) => self.age(),
            }
        }
    }

    /// Attempts in vain do not count.
    fn down(&mut self) {
        self.down_since.get_or_insert_with(|| (Instant::now(), SystemTime::now()));
    }

    /// How long what we heard may still serve, if there is an end to that.
    fn left(&self) -> Option<Duration> {
        let (then, wall) = self.down_since.filter(|_| !self.heard.is_empty())?;
        // A machine that slept has a wall clock that tells.
        let slept = SystemTime::now().duration_since(wall).unwrap_or_default();
        Some(self.timing.bundles_max_age.saturating_sub(then.elapsed().max(slept)))
    }

    fn age(&mut self) {
        if self.left().is_some_and(|left| left.is_zero()) {
            tracing::error!("JWT trust bundles have grown too old and are used no more");
            self.take(Sent::new());
        }
    }

    /// The full state: what is not in it is withdrawn.
    fn take(&mut self, sent: Sent) {
        self.heard = sent;
        self.publish();
    }

    fn publish(&mut self) {
        if self.settings.spiffe_id.is_none()
            && let Some(svid) = &self.material.load().svid
        {
            self.own = Some(svid.id.trust_domain().clone());
        }
        let (fit, flaw) = select(&self.heard, self.own.as_ref(), &self.settings);
        if flaw.is_some() && flaw != self.flaw {
            tracing::error!(detail = flaw, "JWT trust bundle not taken");
        }
        self.flaw = flaw;
        if fit != self.held {
            let names: Vec<_> = fit.keys().map(TrustDomain::as_str).collect();
            tracing::info!(trust_domains = names.join(" "), "JWT trust bundles changed");
            self.held = fit.clone();
            self.publisher.publish(fit);
        }
    }

    fn complain(&mut self, state: &'static str, detail: &str) {
        if self.trouble != Some(state) {
            self.trouble = Some(state);
            tracing::warn!(state, detail, "JWT trust bundles cannot be followed");
        }
    }
}

/// Resolves when it should be looked at what is left. Cancel safe.
async fn older(left: Option<Duration>) {
    match left {
        Some(left) => sleep(left.min(GLANCE)).await,
        None => pending().await,
    }
}

/// A channel of its own for each session, as for the SVID's stream; up to the first message.
async fn open(
    endpoint: Endpoint,
    timing: Timing,
) -> Result<
    (
        SpiffeWorkloadApiClient<tonic::transport::Channel>,
        Streaming<JwtBundlesResponse>,
        JwtBundlesResponse,
    ),
    End,
> {
    let channel = dial(&endpoint, timing.first_answer)
        .await
        .map_err(|error| End::Lost(format!("cannot connect to `{endpoint}`: {}", root(&error))))?;
    let mut client = SpiffeWorkloadApiClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
    let asked = client.fetch_jwt_bundles(request(JwtBundlesRequest {})).await;
    let mut stream = asked.map_err(|status| End::of(&status))?.into_inner();
    match stream.message().await {
        // The client is kept as long as the stream, so that the connection is.
        Ok(Some(first)) => Ok((client, stream, first)),
        Ok(None) => Err(End::closed()),
        Err(status) => Err(End::of(&status)),
    }
}

impl End {
    fn of(status: &Status) -> Self {
        let detail = explain(status);
        match status.code() {
            Code::PermissionDenied => Self::Denied(detail),
            Code::InvalidArgument | Code::Unimplemented => Self::Rejected(detail),
            _ => Self::Lost(detail),
        }
    }

    fn closed() -> Self {
        Self::Lost("the agent closed the stream".to_owned())
    }
}

/// Our own trust domain, and the foreign ones that were opted in by name (ID-4); and why one of
/// them is missing.
fn select(
    sent: &Sent,
    own: Option<&TrustDomain>,
    settings: &Settings,
) -> (JwtBundles, Option<String>) {
    let mut fit = JwtBundles::new();
    let mut flaw = None;
    for trust_domain in own.into_iter().chain(&settings.federates_with) {
        let Some(jwks) = sent.get(&trust_domain.id_string()) else {
            continue;
        };
        match check(jwks) {
            Ok(Marked(true)) if !settings.danger_accept_dev_agent => {
                let told = "this is a development agent; set identity.danger_accept_dev_agent";
                flaw = Some(format!("`{trust_domain}`: {told}"));
                // A partner's mark is the partner's trouble; ours says what to think of the agent.
                if own == Some(trust_domain) {
                    return (JwtBundles::new(), flaw);
                }
            }
            Ok(Marked(_)) => {
                fit.insert(trust_domain.clone(), Arc::clone(jwks));
            }
            Err(unfit) => flaw = Some(format!("`{trust_domain}`: {unfit}")),
        }
    }
    (fit, flaw)
}

/// The development agent's mark was found.
#[derive(Debug, PartialEq, Eq)]
struct Marked(bool);

/// Keys may be of any kind here, and odd ones do not spoil the set (SPIFFE bundle section 4.1).
#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

fn check(jwks: &[u8]) -> Result<Marked, &'static str> {
    if jwks.len() > MAX_BUNDLE {
        return Err("the bundle is too large");
    }
    let Ok(set) = serde_json::from_slice::<KeySet>(jwks) else {
        return Err("the bundle is not a JWK set");
    };
    let is_marked = |key: &Value| {
        key.get("kid").and_then(Value::as_str).is_some_and(|kid| kid.starts_with(DEV_KEY_PREFIX))
    };
    Ok(Marked(set.keys.iter().any(is_marked)))
}

#[cfg(test)]
mod tests;
