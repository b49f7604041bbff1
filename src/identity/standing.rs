//! What is published about us, and the one place where it changes.
//!
//! Knows no socket and no clock: events come in with their time. Material is published before
//! the status that explains it, so that whoever waits for a state finds the material to it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Identity;
use super::channel::line;
use super::jwt::{JwtBundles, JwtSvids};
use super::material::{AgentState, AgentStatus, Material, Svid};
use super::update::Update;
use crate::live::{Live, Publisher, live};

/// Certificate times are whole seconds; a renewal is not late for that.
const ROUNDING: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Standing {
    material: Publisher<Material>,
    status: Publisher<AgentStatus>,
    held: Material,
    told: AgentStatus,
    /// What the agent was last blamed for: logged once, not each time.
    blamed: Option<String>,
}

impl Standing {
    pub(super) fn new(now: SystemTime) -> (Self, Identity) {
        let (held, told) = (Material::nothing(), AgentStatus::starting(now));
        let (material, live_material) = live(held.clone());
        let (status, live_status) = live(told.clone());
        let identity = Identity {
            material: live_material,
            status: live_status,
            jwt_bundles: Live::fixed(JwtBundles::new()),
            jwt_svids: JwtSvids::absent(),
        };
        (Self { material, status, held, told, blamed: None }, identity)
    }

    /// The agent gave us an identity and trust bundles: they replace all that was there.
    pub(super) fn accept(&mut self, update: Update, now: SystemTime) {
        let same_svid = self.held.svid.as_ref().is_some_and(|it| it.chain == update.svid.chain);
        if !same_svid || *self.held.bundles != update.bundles {
            let svid = match &self.held.svid {
                Some(held) if same_svid => Arc::clone(held),
                Some(_) | None => Arc::new(update.svid),
            };
            tracing::info!(
                spiffe_id = %svid.id,
                not_after = rfc3339(svid.not_after),
                trust_domains = update.bundles.len(),
                "identity received"
            );
            self.hold(Some(svid), Arc::new(update.bundles));
            let is_first = self.told.last_update.is_none();
            self.told.rotations += u64::from(!same_svid && !is_first);
        }
        self.blamed = None;
        self.told.last_update = Some(now);
        self.told.updates += 1;
        if self.renewal_due().is_some_and(|due| now < due) {
            self.tell(AgentState::Fresh, None, now);
        } else {
            let detail = "the agent answers, but its SVID is overdue for renewal".to_owned();
            self.tell(AgentState::Stale, Some(detail), now);
        }
    }

    /// We have no identity (any more): nothing is used from now on.
    pub(super) fn deny(&mut self, detail: &str, now: SystemTime) {
        if self.held.svid.is_some() || !self.held.bundles.is_empty() {
            self.hold(None, Arc::default());
        }
        self.tell(AgentState::Denied, Some(line(detail)), now);
    }

    /// A message was not fit for use: what we have stays.
    pub(super) fn discard(&mut self, detail: &str, now: SystemTime) {
        let detail = self.blame(detail);
        self.remark(self.told.state, detail, now);
    }

    /// The agent does not understand us, which time alone will not mend.
    pub(super) fn reject(&mut self, detail: &str, now: SystemTime) {
        let detail = self.blame(detail);
        self.lose(&detail, false, now);
    }

    /// The stream could not be opened, ended, or is given up for its silence.
    pub(super) fn lose(&mut self, detail: &str, was_up: bool, now: SystemTime) {
        self.told.disconnects += u64::from(was_up);
        let state = match self.told.state {
            AgentState::Fresh | AgentState::Stale => AgentState::Stale,
            // The agent's last word is still that we are nobody, and that is worth more to the
            // operator than that it is silent now.
            AgentState::Denied => return self.publish(),
            state @ (AgentState::Starting | AgentState::Expired | AgentState::Absent) => state,
        };
        self.remark(state, line(detail), now);
    }

    /// Stops using the SVID once its time is over.
    pub(super) fn expire(&mut self, now: SystemTime) {
        if self.expires_in(now) == Some(Duration::ZERO) {
            self.hold(None, Arc::clone(&self.held.bundles));
            let why = self.told.detail.take().unwrap_or_else(|| "not renewed".to_owned());
            self.remark(AgentState::Expired, why, now);
        }
    }

    /// Time left to the SVID in use.
    pub(super) fn expires_in(&self, now: SystemTime) -> Option<Duration> {
        let svid = self.held.svid.as_ref()?;
        Some(svid.not_after.duration_since(now).unwrap_or_default())
    }

    /// Those that were taken.
    pub(super) fn updates(&self) -> u64 {
        self.told.updates
    }

    pub(super) fn has_svid(&self) -> bool {
        self.held.svid.is_some()
    }

    /// Two thirds of the life of the SVID in use: agents renew at half of it.
    pub(super) fn renewal_due(&self) -> Option<SystemTime> {
        self.held.svid.as_ref().map(|svid| renewal_due(svid))
    }

    fn hold(&mut self, svid: Option<Arc<Svid>>, bundles: Arc<super::TrustBundles>) {
        self.told.svid_not_after = svid.as_ref().map(|svid| svid.not_after);
        self.held = Material { generation: self.held.generation + 1, svid, bundles };
        self.material.publish(self.held.clone());
    }

    fn blame(&mut self, detail: &str) -> String {
        let detail = line(detail);
        if self.blamed.as_ref() != Some(&detail) {
            tracing::error!(detail, "the agent is at fault");
            self.blamed = Some(detail.clone());
        }
        // Said already: what follows need not say it again.
        self.told.detail.get_or_insert_with(|| detail.clone());
        detail
    }

    fn remark(&mut self, state: AgentState, detail: String, now: SystemTime) {
        let detail = match state {
            AgentState::Expired if !detail.starts_with(EXPIRED) => format!("{EXPIRED}: {detail}"),
            _ => detail,
        };
        self.tell(state, Some(detail), now);
    }

    /// One log line for each transition, and for the first trouble within a state.
    fn tell(&mut self, state: AgentState, detail: Option<String>, now: SystemTime) {
        let changed = state != self.told.state;
        let troubled = self.told.detail.is_none() && detail.is_some();
        if changed {
            self.told.since = now;
        }
        self.told.state = state;
        self.told.detail = detail;
        if changed || troubled {
            self.log();
        }
        self.publish();
    }

    fn log(&self) {
        let state = self.told.state.as_str();
        let generation = self.held.generation;
        let detail = self.told.detail.as_deref();
        let not_after = self.told.svid_not_after.map(rfc3339);
        match self.told.state {
            AgentState::Fresh if detail.is_none() => {
                tracing::info!(state, generation, not_after, "Workload API");
            }
            AgentState::Starting | AgentState::Fresh | AgentState::Stale => {
                tracing::warn!(state, generation, not_after, detail, "Workload API");
            }
            AgentState::Denied | AgentState::Expired | AgentState::Absent => {
                tracing::error!(state, generation, detail, "Workload API");
            }
        }
    }

    fn publish(&self) {
        self.status.publish(self.told.clone());
    }
}

const EXPIRED: &str = "the SVID has expired";

fn renewal_due(svid: &Svid) -> SystemTime {
    let life = svid.not_after.duration_since(svid.not_before).unwrap_or_default();
    svid.not_before + life / 3 * 2 + ROUNDING.min(life / 10)
}

fn rfc3339(time: SystemTime) -> String {
    OffsetDateTime::from(time).format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests;
