//! For the benchmarks: the way to claims without a handshake. No claims leave this file.

use std::sync::Arc;
use std::time::SystemTime;

use spiffe::SpiffeId;

use super::{Caller, Grants, ask};
use crate::policy::{Local, Policy};

/// A workload that has proven nothing.
#[derive(Debug)]
pub struct Pretender {
    id: SpiffeId,
    uri: Arc<str>,
    grants: Grants,
}

impl Pretender {
    pub fn new(id: SpiffeId) -> Self {
        let uri = id.to_string().into();
        Self { id, uri, grants: Grants::new() }
    }

    /// Asks the policy; whether anything is granted.
    pub fn asks(&self, policy: &Policy, local: &Local) -> bool {
        let claims = ask(policy, self.caller(), local, None, SystemTime::now());
        claims.tenant().is_some()
    }

    /// Asks the policy, and keeps the answer.
    pub fn asks_once(&self, policy: &Policy, local: &Local) {
        let now = SystemTime::now();
        self.grants.at_hand(policy, self.caller(), local, None, now);
        let claims = Arc::new(ask(policy, self.caller(), local, None, now));
        self.grants.keep(policy, self.caller(), local, None, &claims);
    }

    /// Whether the answer is still there, and grants anything.
    pub fn asks_again(&self, policy: &Policy, local: &Local, now: SystemTime) -> bool {
        let claims = self.grants.at_hand(policy, self.caller(), local, None, now);
        claims.is_some_and(|claims| claims.tenant().is_some())
    }

    fn caller(&self) -> Caller<'_> {
        Caller::Peer(&self.id, &self.uri)
    }
}
