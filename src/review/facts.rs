//! What recorded decisions rested on: each text kept once, each set of facts once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Which facts matter to the policies at hand; the others are not told apart.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted {
    pub(super) address: bool,
    pub(super) minute: bool,
    pub(super) serial: bool,
    pub(super) token: bool,
    pub(super) path: bool,
}

/// A text by its number; 0 is none.
pub(super) type Id = u32;

/// What one decision rested on, and how it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Fact {
    // Who and where first, so that facts about one caller stand together when sorted.
    pub(super) spiffe_id: Id,
    pub(super) issuer: Id,
    pub(super) subject: Id,
    pub(super) by: Id,
    pub(super) local: Id,
    pub(super) listener: Id,
    pub(super) minute: u32,
    pub(super) address: Id,
    pub(super) token: Id,
    pub(super) serial: Id,
    pub(super) protocol: Id,
    pub(super) method: Id,
    pub(super) path: Id,
    pub(super) route: Id,
    pub(super) required: Id,
    pub(super) tenant: Id,
    pub(super) held: Id,
    pub(super) revision: Id,
    pub(super) reason: Id,
    /// A place that is known by configuration, from 1, and its route, from 1; see `Routing`.
    pub(super) place: u32,
    pub(super) found: u32,
    pub(super) allowed: bool,
    pub(super) cross_tenant: bool,
}

/// How often something was decided, and when.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    pub(super) count: u64,
    /// Milliseconds since 1970.
    pub(super) first: i64,
    pub(super) last: i64,
    /// The first one's.
    pub(super) request_id: Box<str>,
}

/// Texts, each once.
#[derive(Debug)]
pub(super) struct Texts {
    by_text: HashMap<Arc<str>, Id>,
    texts: Vec<Arc<str>>,
}

impl Default for Texts {
    fn default() -> Self {
        Self { by_text: HashMap::new(), texts: vec![Arc::from("")] }
    }
}

impl Texts {
    pub(super) fn get(&self, id: Id) -> Option<&Arc<str>> {
        let at = usize::try_from(id).ok()?;
        self.texts.get(at).filter(|_| at > 0)
    }

    pub(super) fn keep(&mut self, text: Option<&str>) -> Id {
        let Some(text) = text else { return 0 };
        if let Some(id) = self.by_text.get(text) {
            return *id;
        }
        let Ok(id) = Id::try_from(self.texts.len()) else { return 0 };
        let text: Arc<str> = Arc::from(text);
        self.texts.push(Arc::clone(&text));
        self.by_text.insert(text, id);
        id
    }
}

impl Texts {
    /// The numbers that the texts of `other` have here, in its own order.
    pub(super) fn adopt(&mut self, other: &Self) -> Vec<Id> {
        let texts = other.texts.iter().enumerate();
        texts.map(|(at, text)| self.keep((at > 0).then_some(&**text))).collect()
    }
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        if other.first < self.first {
            self.request_id.clone_from(&other.request_id);
        }
        self.count += other.count;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

impl Fact {
    /// With the numbers of another collection of texts.
    pub(super) fn renamed(self, ids: &[Id]) -> Self {
        let of = |id: Id| {
            let at = usize::try_from(id).unwrap_or_default();
            ids.get(at).copied().unwrap_or_default()
        };
        Self {
            spiffe_id: of(self.spiffe_id),
            issuer: of(self.issuer),
            subject: of(self.subject),
            by: of(self.by),
            local: of(self.local),
            listener: of(self.listener),
            address: of(self.address),
            token: of(self.token),
            serial: of(self.serial),
            protocol: of(self.protocol),
            method: of(self.method),
            path: of(self.path),
            route: of(self.route),
            required: of(self.required),
            tenant: of(self.tenant),
            held: of(self.held),
            revision: of(self.revision),
            reason: of(self.reason),
            ..self
        }
    }
}

/// The moment that many milliseconds after 1970; before it, 1970.
pub(super) fn instant(milliseconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default())
}
