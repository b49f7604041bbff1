//! JWT-SVIDs and JWT trust bundles (JWT-SVID, Workload API section 6): as the agent sends them.
//! What a token or a key says is for `token` to find out.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use spiffe::{SpiffeId, TrustDomain};
use thiserror::Error;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::channel::{dial, explain, line, no_answer, request, root};
use super::endpoint::Endpoint;
use super::select::{Offer, select};
use super::{DEV_KEY_PREFIX, Settings};
use crate::secret::Secret;
use crate::workload_api::pb::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use crate::workload_api::pb::{JwtsvidRequest, JwtsvidResponse};

/// Longer tokens fit into no header.
const MAX_TOKEN: usize = 16 * 1024;
const MAX_ANSWER: usize = 256 * 1024;

/// The last second of the year 9999: later times are nonsense.
const MAX_TIME: u64 = 253_402_300_799;

/// JWK sets by trust domain, as bytes: our own and those of `federates_with`. Never pooled.
pub type JwtBundles = BTreeMap<TrustDomain, Arc<[u8]>>;

/// A token that proves our SPIFFE ID to one audience.
#[derive(Debug, Clone)]
pub struct JwtSvid {
    pub token: Secret,
    /// Its `exp`, as far as it could be read.
    pub expires: Option<SystemTime>,
}

/// Why there is no JWT-SVID.
#[derive(Debug, Clone, Error)]
pub enum JwtSvidError {
    #[error("no Workload API is configured")]
    Absent,
    #[error("the agent gave no JWT-SVID: {0}")]
    Agent(String),
}

/// Asks the agent. Cheap to clone; keeps a connection, and no token.
#[derive(Clone)]
pub struct JwtSvids(Option<Arc<Agent>>);

struct Agent {
    settings: Settings,
    endpoint: Endpoint,
    limit: Duration,
    /// From the last call that was answered.
    kept: Mutex<Option<Channel>>,
}

impl JwtSvids {
    /// There is no agent to ask.
    pub fn absent() -> Self {
        Self(None)
    }

    pub(super) fn new(settings: &Settings, endpoint: Endpoint, limit: Duration) -> Self {
        let settings = settings.clone();
        Self(Some(Arc::new(Agent { settings, endpoint, limit, kept: Mutex::default() })))
    }

    /// A fresh JWT-SVID of our identity for exactly this audience, within ten seconds.
    pub async fn fetch(&self, audience: &str) -> Result<JwtSvid, JwtSvidError> {
        let agent = self.0.as_deref().ok_or(JwtSvidError::Absent)?;
        match timeout(agent.limit, agent.fetch(audience)).await {
            Ok(fetched) => fetched.map_err(JwtSvidError::Agent),
            Err(_) => {
                *agent.kept() = None;
                Err(JwtSvidError::Agent(no_answer(agent.limit)))
            }
        }
    }
}

impl Agent {
    async fn fetch(&self, audience: &str) -> Result<JwtSvid, String> {
        if audience.is_empty() {
            return Err("it would need an audience".to_owned());
        }
        let answer = self.ask(audience).await?;
        pick(answer, &self.settings)
    }

    /// By the kept connection, else by a new one: the agent may have been restarted meanwhile.
    async fn ask(&self, audience: &str) -> Result<JwtsvidResponse, String> {
        let kept = self.kept().clone();
        if let Some(channel) = kept {
            match self.call(channel, audience).await {
                Err(status) if is_lost(&status) => *self.kept() = None,
                answer => return answer.map_err(|status| explain(&status)),
            }
        }
        let channel = dial(&self.endpoint, self.limit)
            .await
            .map_err(|error| format!("cannot connect to `{}`: {}", self.endpoint, root(&error)))?;
        let answer = self.call(channel.clone(), audience).await;
        if !answer.as_ref().is_err_and(is_lost) {
            *self.kept() = Some(channel);
        }
        answer.map_err(|status| explain(&status))
    }

    async fn call(&self, channel: Channel, audience: &str) -> Result<JwtsvidResponse, Status> {
        let wanted = self.settings.spiffe_id.as_ref().map(ToString::to_string);
        let message = JwtsvidRequest {
            audience: vec![audience.to_owned()],
            spiffe_id: wanted.unwrap_or_default(),
        };
        let mut client =
            SpiffeWorkloadApiClient::new(channel).max_decoding_message_size(MAX_ANSWER);
        Ok(client.fetch_jwtsvid(request(message)).await?.into_inner())
    }

    fn kept(&self) -> MutexGuard<'_, Option<Channel>> {
        // A panic elsewhere cannot leave it half changed.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection is at fault, not what was asked.
fn is_lost(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled)
}

/// Chooses as for X.509-SVIDs. What is configured and not offered is never replaced.
fn pick(answer: JwtsvidResponse, settings: &Settings) -> Result<JwtSvid, String> {
    let mut ids = Vec::with_capacity(answer.svids.len());
    for offered in &answer.svids {
        let id = SpiffeId::new(&offered.spiffe_id).ok();
        // The parser folds case; an ID that needs folding is not valid (SPIFFE-ID 2.1).
        match id.filter(|id| id.to_string() == offered.spiffe_id) {
            Some(id) => ids.push(id),
            None => return Err(format!("`{}` is no SPIFFE ID", line(&offered.spiffe_id))),
        }
    }
    let offers: Vec<_> = std::iter::zip(&ids, &answer.svids)
        .map(|(id, svid)| Offer { id, hint: Some(svid.hint.as_str()).filter(|it| !it.is_empty()) })
        .collect();
    let chosen = select(&offers, settings);
    let Some(svid) = chosen.and_then(|position| answer.svids.into_iter().nth(position)) else {
        return Err("it offers none of the configured identity".to_owned());
    };
    check(Secret::new(svid.svid), settings.danger_accept_dev_agent)
}

#[derive(Deserialize)]
struct Header {
    kid: Option<String>,
}

#[derive(Deserialize)]
struct Payload {
    exp: serde_json::Number,
}

/// Looks at a token of ours as far as we have to: may it be sent, and when is the next one due?
fn check(token: Secret, accept_dev_agent: bool) -> Result<JwtSvid, String> {
    let text = token.expose();
    if text.len() > MAX_TOKEN {
        return Err(format!("the token is longer than {MAX_TOKEN} bytes"));
    }
    let mut parts = text.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(NOT_COMPACT.to_owned());
    };
    let is_encoded = |part: &str| {
        !part.is_empty() && part.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_".contains(&it))
    };
    if ![header, payload, signature].into_iter().all(is_encoded) {
        return Err(NOT_COMPACT.to_owned());
    }
    let kid = peek::<Header>(header).ok_or(NOT_COMPACT)?.kid;
    if !accept_dev_agent && kid.is_some_and(|kid| kid.starts_with(DEV_KEY_PREFIX)) {
        return Err("it is a development agent; set identity.danger_accept_dev_agent".to_owned());
    }
    let expires = peek::<Payload>(payload).and_then(|payload| time(&payload.exp));
    Ok(JwtSvid { token, expires })
}

const NOT_COMPACT: &str = "the token is not a JWS in compact form";

fn peek<T: DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// A NumericDate may have a fraction (RFC 7519 section 2).
fn time(date: &serde_json::Number) -> Option<SystemTime> {
    let since = match date.as_u64() {
        Some(seconds) => Duration::from_secs(seconds),
        None => Duration::try_from_secs_f64(date.as_f64()?).ok()?,
    };
    (since.as_secs() <= MAX_TIME).then(|| UNIX_EPOCH + since)
}

impl fmt::Debug for JwtSvids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = self.0.as_ref().map(|agent| agent.endpoint.to_string());
        f.debug_struct("JwtSvids").field("endpoint", &endpoint).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
