//! Chains that were found good: the next connection of the same peer need not have its chain
//! judged anew.
//!
//! A memory belongs to one set of authorities and goes with it, so that no news of trust can be
//! missed. What it saves is the look at certificates that have not changed. That the peer holds the
//! key is proven on every connection, and the clock is looked at every time.
//!
//! Only who has proven to hold the key of a good certificate gets into it, once for each
//! certificate. Refusals are not remembered: strangers leave no trace.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;

use super::chain::{Chain, Role};
use super::leaf::Leaf;
use super::x509::Validity;

/// Of one generation. There are two of them, for each role.
const ENTRIES_MAX: usize = 1024;
const BYTES_MAX: usize = 1024 * 1024;
/// A longer chain is judged anew each time. Usual ones have 500 to 3,000 bytes.
const CHAIN_BYTES_MAX: usize = 16 * 1024;

/// A chain that leads to an authority, byte for byte as it was sent.
#[derive(Debug)]
pub(super) struct Good {
    role: Role,
    /// One allocation with the key under which it is found.
    der: Arc<[u8]>,
    intermediates: Box<[CertificateDer<'static>]>,
    /// As they were sent.
    bytes: usize,
    leaf: Arc<Leaf>,
    /// When all of it holds: leaf, intermediates and authority.
    holds: Validity,
}

#[derive(Default)]
pub(super) struct Memory {
    clients: Mutex<Generations>,
    servers: Mutex<Generations>,
}

/// When the younger is full the older is forgotten, and what is still in use moves to the younger.
/// So it is bounded without bookkeeping on each use.
#[derive(Default)]
struct Generations {
    young: Generation,
    old: Generation,
}

#[derive(Default)]
struct Generation {
    /// By the leaf: whoever sends it with other certificates around it takes its own place.
    good: HashMap<Arc<[u8]>, Arc<Good>>,
    bytes: usize,
}

impl Good {
    pub(super) fn new(chain: &Chain<'_>, leaf: Arc<Leaf>, holds: Validity) -> Self {
        let intermediates = chain.intermediates.iter().map(|it| it.clone().into_owned());
        Self {
            role: chain.role,
            der: chain.leaf.as_ref().into(),
            intermediates: intermediates.collect(),
            bytes: chain.bytes(),
            leaf,
            holds,
        }
    }

    pub(super) fn leaf(&self) -> &Arc<Leaf> {
        &self.leaf
    }

    /// With what was read in them: the ID, in two forms of one length, and the serial number.
    fn kept_bytes(&self) -> usize {
        self.bytes + 2 * self.leaf.uri.len() + self.leaf.serial.len()
    }
}

impl Memory {
    /// The leaf of this very chain, if it was found good for this role and still holds.
    pub(super) fn recall(&self, chain: &Chain<'_>, now: SystemTime) -> Option<Arc<Leaf>> {
        let mut generations = self.of(chain.role)?;
        let good = generations.find(chain.leaf)?;
        let same = *good.intermediates == *chain.intermediates;
        (same && good.holds.contains(now)).then(|| Arc::clone(&good.leaf))
    }

    /// INVARIANT: called only for a peer that has proven to hold the leaf's key.
    pub(super) fn keep(&self, good: &Arc<Good>) {
        if good.bytes > CHAIN_BYTES_MAX {
            return;
        }
        if let Some(mut generations) = self.of(good.role) {
            generations.keep(Arc::clone(good));
        }
    }

    /// Nobody waits for it: whoever meets another core here judges the chain as if it were new.
    fn of(&self, role: Role) -> Option<MutexGuard<'_, Generations>> {
        let generations = match role {
            Role::Client => &self.clients,
            Role::Server => &self.servers,
        };
        generations.try_lock().ok()
    }
}

impl Generations {
    fn find(&mut self, leaf: &[u8]) -> Option<Arc<Good>> {
        if let Some(good) = self.young.good.get(leaf) {
            return Some(Arc::clone(good));
        }
        let good = self.old.remove(leaf)?;
        self.keep(Arc::clone(&good));
        Some(good)
    }

    fn keep(&mut self, good: Arc<Good>) {
        self.young.remove(&good.der);
        let full = self.young.good.len() >= ENTRIES_MAX;
        if full || self.young.bytes + good.kept_bytes() > BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.bytes += good.kept_bytes();
        self.young.good.insert(Arc::clone(&good.der), good);
    }
}

impl Generation {
    fn remove(&mut self, leaf: &[u8]) -> Option<Arc<Good>> {
        let good = self.good.remove(leaf)?;
        self.bytes -= good.kept_bytes();
        Some(good)
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}
