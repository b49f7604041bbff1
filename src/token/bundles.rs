//! The keys of trust domains, by the Workload API's JWT bundles. Never pooled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;
use spiffe::TrustDomain;
use tracing::{info, warn};

use super::key_set::KeySet;
use crate::identity::JwtBundles;
use crate::live::{Live, Publisher, live};

/// Of a bundle that is one.
#[derive(Deserialize)]
struct Shape {
    #[serde(rename = "keys")]
    _keys: Vec<IgnoredAny>,
}

/// Follows `bundles` on the current tokio runtime.
pub(super) fn follow(bundles: Live<JwtBundles>) -> Live<BTreeMap<TrustDomain, KeySet>> {
    let (follower, keys) = Follower::new();
    // Before the first look, so that nothing falls between.
    let mut changes = bundles.changes();
    let mut follower = follower;
    follower.take(&bundles.snapshot());
    drop(tokio::spawn(async move {
        loop {
            changes.changed().await;
            follower.take(&bundles.snapshot());
        }
    }));
    keys
}

struct Follower {
    keys: Publisher<BTreeMap<TrustDomain, KeySet>>,
    /// What the keys in force were read from.
    good: JwtBundles,
    /// Trust domains whose bundle is of no use, which was told.
    broken: BTreeSet<TrustDomain>,
}

impl Follower {
    fn new() -> (Self, Live<BTreeMap<TrustDomain, KeySet>>) {
        let (keys, seen) = live(BTreeMap::new());
        (Self { keys, good: JwtBundles::new(), broken: BTreeSet::new() }, seen)
    }

    /// What is absent is withdrawn (Workload API section 4.4), and so is a trust domain without keys
    /// of use (Bundle format section 4.1.3). Bytes that are no bundle say nothing: the last good one
    /// of that trust domain stays, and no other is touched.
    fn take(&mut self, bundles: &JwtBundles) {
        let mut good = JwtBundles::new();
        let mut keys = BTreeMap::new();
        let mut broken = BTreeSet::new();
        for (trust_domain, bytes) in bundles {
            let cause = match KeySet::of_trust_domain(bytes) {
                Ok(set) => {
                    keys.insert(trust_domain.clone(), set);
                    good.insert(trust_domain.clone(), Arc::clone(bytes));
                    continue;
                }
                Err(error) => error,
            };
            broken.insert(trust_domain.clone());
            let tell = !self.broken.contains(trust_domain);
            if serde_json::from_slice::<Shape>(bytes).is_ok() {
                if tell {
                    warn!(%trust_domain, "no JWT-SVID is accepted, the bundle has no key for any: {cause}");
                }
                continue;
            }
            let last = self.good.get(trust_domain);
            if tell {
                let then =
                    if last.is_some() { "the last good one serves" } else { "there is none" };
                warn!(%trust_domain, "the JWT bundle is refused, {then}: {cause}");
            }
            if let Some(last) = last
                && let Ok(set) = KeySet::of_trust_domain(last)
            {
                keys.insert(trust_domain.clone(), set);
                good.insert(trust_domain.clone(), Arc::clone(last));
            }
        }
        for trust_domain in self.broken.iter().filter(|it| good.get(it) == bundles.get(it)) {
            info!(%trust_domain, "the JWT bundle is good again, or gone");
        }
        self.broken = broken;
        // The same keys, published anew, would make everybody forget what they have judged.
        if good != self.good {
            self.good = good;
            self.keys.publish(keys);
        }
    }
}

#[cfg(test)]
mod tests;
