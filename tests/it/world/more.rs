//! More ways to look at a world: time, identity, and connections that have to end.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::io::AsyncReadExt;

use super::World;
use super::client::Raw;
use super::side::Metrics;
use super::stranger::Stranger;
use super::wait::{until, within};

const AGENT_STATE: &str = "sidegate_agent_state";
const NOT_AFTER: &str = "sidegate_svid_not_after_timestamp_seconds";
const ROTATIONS: &str = "sidegate_svid_rotations_total";

impl World {
    /// Waits until the sidecar of `name` sees its agent in this state, and acts upon it.
    pub async fn agent_is(&self, name: &str, state: &str) {
        let what = format!("the agent of `{name}` to be {state}");
        until(&what, async || {
            let metrics = self.metrics(name).await;
            (metrics.sum(AGENT_STATE, &[("state", state)]) == 1.0).then_some(())
        })
        .await;
        self.acts_upon_it(name).await;
    }

    /// What a scrape tells, handshakes may not know yet: they are prepared by a task of the same
    /// thread that answers scrapes. Once that answers another one, the task has had its turn.
    async fn acts_upon_it(&self, name: &str) {
        self.metrics(name).await;
    }

    /// SVIDs that replaced another so far.
    pub async fn rotations(&self, name: &str) -> f64 {
        self.metrics(name).await.sum(ROTATIONS, &[])
    }

    /// Waits for the next SVID of `name` after `change`.
    pub async fn next_svid(&self, name: &str, change: impl FnOnce()) {
        let before = self.rotations(name).await;
        change();
        self.rotated(name, before + 1.0).await;
    }

    /// Waits for this many rotations since the start.
    pub async fn rotated(&self, name: &str, times: f64) {
        let what = format!("{times} rotations of `{name}`");
        until(&what, async || (self.rotations(name).await >= times).then_some(())).await;
        self.acts_upon_it(name).await;
    }

    /// When the SVID in use by the sidecar of `name` runs out.
    pub async fn svid_not_after(&self, name: &str) -> SystemTime {
        let seconds = self.metrics(name).await.sum(NOT_AFTER, &[]);
        assert!(seconds > 0.0, "`{name}` has no SVID");
        UNIX_EPOCH + Duration::from_secs_f64(seconds)
    }
}

/// Waits until this caller gets no connection any more: connections that are let in are asked
/// for nothing and dropped.
pub async fn shut_out(stranger: &Stranger) {
    until("the caller to be shut out", async || is_shut_out(stranger).await.then_some(())).await;
}

/// Whether a new connection is refused in or right after its handshake. In TLS 1.3 a client is
/// done before the server has judged its certificate.
pub async fn is_shut_out(stranger: &Stranger) -> bool {
    let Ok(mut stream) = stranger.connect(&[]).await else { return true };
    let mut byte = [0];
    let read = stream.read(&mut byte);
    // One that is let in hears nothing: nothing was asked.
    match tokio::time::timeout(Duration::from_millis(300), read).await {
        Ok(Ok(0) | Err(_)) => true,
        Ok(Ok(_)) => panic!("an answer to nothing"),
        Err(_) => false,
    }
}

/// Waits for the end of a stream on which nothing more is said; says how long it took.
pub async fn ends(raw: &mut Raw) -> Duration {
    let began = Instant::now();
    assert_eq!(raw.last_words().await, "", "something came before the end");
    began.elapsed()
}

/// Connects anew and says one line, on a raw stream.
pub async fn chat(raw: &mut Raw, word: &str) {
    raw.send(word).await;
    raw.hears(word.to_ascii_uppercase()).await;
}

/// The same with a result: whoever is under load wants to count.
pub async fn whole_chat(mut raw: Raw, word: &str) -> io::Result<()> {
    raw.try_send(word).await?;
    let mut heard = vec![0; word.len()];
    within("an echo", raw.0.read_exact(&mut heard)).await?;
    raw.finish().await;
    let rest = raw.rest().await?;
    if heard == word.to_ascii_uppercase().as_bytes() && rest == b"the end" {
        Ok(())
    } else {
        Err(io::Error::other(format!("heard {heard:?}, then {rest:?}")))
    }
}

impl World {
    /// Waits until a handshake with `name` has failed for this reason.
    pub async fn handshakes_failed(&self, name: &str, code: &str) {
        let what = format!("a handshake to fail with {code}");
        until(&what, async || {
            let metrics = self.metrics(name).await;
            let failed = metrics.sum("sidegate_handshake_failures_total", &[("code", code)]);
            (failed > 0.0).then_some(())
        })
        .await;
    }
}

impl Metrics {
    /// The revision of the policy in force.
    pub fn revision(&self) -> String {
        let mut infos = self.samples().filter(|(name, ..)| *name == "sidegate_policy_info");
        let (_, labels, _) = infos.next().expect("the policy has a revision");
        let revision = labels.split("revision=\"").nth(1).unwrap();
        revision.split('"').next().unwrap().to_owned()
    }

    /// What did not go well, in the exposition's own lines.
    pub fn failures(&self) -> String {
        let bad: Vec<_> = self
            .samples()
            .filter(|(name, labels, value)| {
                let failed = match *name {
                    "sidegate_requests_total" => !labels.contains("outcome=\"allowed\""),
                    "sidegate_handshake_failures_total" => true,
                    "sidegate_upstream_connections_total" => {
                        !labels.contains("result=\"connected\"")
                    }
                    _ => false,
                };
                failed && *value > 0.0
            })
            .map(|(name, labels, value)| format!("{name}{{{labels} {value}"))
            .collect();
        bad.join("\n")
    }
}

impl Stranger {
    /// A raw stream.
    pub async fn stream(&self) -> Raw {
        Raw::new(self.connect(&[]).await.unwrap())
    }
}

impl Raw {
    /// This many bytes, if they come.
    pub async fn echo(&mut self, length: usize) -> Option<String> {
        let mut heard = vec![0; length];
        within("an echo", self.0.read_exact(&mut heard)).await.ok()?;
        String::from_utf8(heard).ok()
    }
}

impl World {
    /// The address of one of its listeners, `http` or `tcp`.
    pub fn listener(&self, service: &str, protocol: &str) -> SocketAddr {
        super::tcp(self.service(service).inbound(protocol))
    }
}
