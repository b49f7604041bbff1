//! What the control plane tells: identity, agent, policy. Seldom set, so shared.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::told::Told;

/// Set from anywhere, at any time.
#[derive(Debug)]
pub struct Control {
    pub(super) agent_states: &'static [&'static str],
    agent_state: AtomicUsize,
    agent_disconnects: AtomicU64,
    /// Seconds since 1970; 0 while there is no SVID.
    svid_not_after: AtomicU64,
    svid_rotations: AtomicU64,
    reloads_loaded: AtomicU64,
    reloads_rejected: AtomicU64,
    policy_revision: Mutex<Option<String>>,
    told: Mutex<Vec<Told>>,
}

impl Control {
    pub(super) fn new(agent_states: &'static [&'static str]) -> Self {
        Self {
            agent_states,
            agent_state: AtomicUsize::new(0),
            agent_disconnects: AtomicU64::new(0),
            svid_not_after: AtomicU64::new(0),
            svid_rotations: AtomicU64::new(0),
            reloads_loaded: AtomicU64::new(0),
            reloads_rejected: AtomicU64::new(0),
            policy_revision: Mutex::new(None),
            told: Mutex::default(),
        }
    }

    /// One of the states given at start; another word leaves none of them at 1.
    pub fn agent_state(&self, state: &str) {
        let place = self.agent_states.iter().position(|known| *known == state);
        self.agent_state.store(place.unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    pub fn agent_disconnected(&self) {
        self.agent_disconnects.fetch_add(1, Ordering::Relaxed);
    }

    /// When the SVID in use runs out; `None` while there is none.
    pub fn svid_not_after(&self, not_after: Option<SystemTime>) {
        let seconds = not_after.map_or(0, unix_seconds);
        self.svid_not_after.store(seconds, Ordering::Relaxed);
    }

    pub fn svid_rotated(&self) {
        self.svid_rotations.fetch_add(1, Ordering::Relaxed);
    }

    /// A candidate policy was put in force (`true`) or turned down.
    pub fn policy_reloaded(&self, loaded: bool) {
        let counter = if loaded { &self.reloads_loaded } else { &self.reloads_rejected };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The policy in force.
    pub fn policy_revision(&self, revision: &str) {
        let mut current = self.policy_revision.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_deref() != Some(revision) {
            *current = Some(revision.to_owned());
        }
    }

    /// Metrics in place of those told before.
    pub fn tell(&self, told: Vec<Told>) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = told;
    }

    pub(super) fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn is_agent_state(&self, place: usize) -> bool {
        self.agent_state.load(Ordering::Relaxed) == place
    }

    pub(super) fn agent_disconnects(&self) -> u64 {
        self.agent_disconnects.load(Ordering::Relaxed)
    }

    pub(super) fn svid_expiry(&self) -> Option<u64> {
        Some(self.svid_not_after.load(Ordering::Relaxed)).filter(|seconds| *seconds > 0)
    }

    pub(super) fn svid_rotations(&self) -> u64 {
        self.svid_rotations.load(Ordering::Relaxed)
    }

    /// With the label's value.
    pub(super) fn policy_reloads(&self) -> [(&'static str, u64); 2] {
        [
            ("loaded", self.reloads_loaded.load(Ordering::Relaxed)),
            ("rejected", self.reloads_rejected.load(Ordering::Relaxed)),
        ]
    }

    pub(super) fn revision(&self) -> Option<String> {
        self.policy_revision.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

pub(super) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
