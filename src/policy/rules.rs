//! What decisions are made by at one moment, swapped as a whole: so a policy, what was revoked beside
//! it, and the policy in its shadow are never met in a mixture.

use std::sync::{Arc, Mutex, PoisonError};

use super::engine::Policy;
use super::revocations::Revocations;
use super::warm;
use crate::live::{Live, Publisher, live};

/// What decisions are made by.
#[derive(Debug, Clone)]
pub struct Rules {
    pub policy: Arc<Policy>,
    /// Who and what was revoked at run time, beside what the policy's own data revokes (AZ-11).
    pub revoked: Arc<Revocations>,
    /// Asked as well, and never obeyed (AZ-10).
    pub shadow: Option<Arc<Policy>>,
}

/// Where rules are changed. Cheap to clone; there may be several hands at it.
#[derive(Debug, Clone)]
pub struct Desk(Arc<Mutex<Publisher<Rules>>>);

/// Rules that start with `first`, nothing revoked beside it, and no shadow.
pub fn rules(first: Policy) -> (Desk, Live<Rules>) {
    let (publisher, rules) = live(Rules::of(warm::noting(first)));
    (Desk(Arc::new(Mutex::new(publisher))), rules)
}

impl Rules {
    /// A policy by itself.
    pub fn of(policy: Policy) -> Self {
        Self { policy: Arc::new(policy), revoked: Arc::default(), shadow: None }
    }

    /// The rules as they would be with the shadow policy in force.
    pub fn of_shadow(&self) -> Option<Self> {
        let policy = Arc::clone(self.shadow.as_ref()?);
        Some(Self { policy, shadow: None, ..self.clone() })
    }
}

impl Desk {
    pub fn put_in_force(&self, policy: Arc<Policy>) {
        self.change(|rules| Rules { policy, ..rules });
    }

    pub fn put_in_shadow(&self, shadow: Option<Arc<Policy>>) {
        self.change(|rules| Rules { shadow, ..rules });
    }

    /// In place of all that was revoked at run time before.
    pub fn revoke(&self, revoked: Arc<Revocations>) {
        self.change(|rules| Rules { revoked, ..rules });
    }

    /// What is in force now.
    pub fn rules(&self) -> Live<Rules> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).live()
    }

    fn change(&self, change: impl FnOnce(Rules) -> Rules) {
        let publisher = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Rules::clone(&publisher.live().load());
        publisher.publish(change(now));
    }
}
