//! What the shadow policy would have decided: counted by listener and route, and told by identity.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

use super::aside::Aside;
use crate::authz::{Agreement, Claims, Differs, Grants, SecondOpinion};
use crate::policy::Rules;
use crate::telemetry::Rfc3339;

/// Identities with routes that one worker tells apart. The one that has been silent for longest
/// makes place for a new one.
const DIFFERENCES_MAX: usize = 1_000;
/// Of texts that a stranger may choose.
const TEXT_MAX: usize = 512;
/// The agreements, and one more for what was not asked.
const OUTCOMES: usize = Agreement::ALL.len() + 1;
const SKIPPED: usize = Agreement::ALL.len();
/// The place of [`Agreement::Same`] among them.
const SAME: usize = 0;

/// Everything about the shadow policy's decisions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shadowing(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    listeners: Vec<ShadowedListener>,
    aside: Aside,
    workers: Mutex<Vec<Arc<Tally>>>,
}

/// An inbound listener and the names of its routes, by index.
#[derive(Debug, Clone)]
pub struct ShadowedListener {
    pub name: Arc<str>,
    pub routes: Vec<Arc<str>>,
}

/// One worker's end of it.
#[derive(Debug, Clone)]
pub struct ShadowWorker {
    pub(super) grants: Grants,
    pub(super) aside: Aside,
    tally: Arc<Tally>,
    /// The rules with the shadow policy in force, made once for many decisions.
    rules: Rc<RefCell<Option<Arc<Rules>>>>,
}

/// What one worker has counted. The lock is its own but for a report now and then.
struct Tally {
    /// By listener; by route and outcome, the routes followed by one for "none".
    counts: Vec<Box<[AtomicU64]>>,
    differences: Mutex<Differences>,
}

#[derive(Debug, Default)]
struct Differences {
    /// All are of this revision of the shadow policy.
    revision: Option<Arc<str>>,
    by: HashMap<Key, Difference>,
    forgotten: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    listener: usize,
    route: Option<usize>,
    subject: Arc<str>,
    issuer: Option<Arc<str>>,
    allows: bool,
}

#[derive(Debug, Clone)]
struct Difference {
    method: &'static str,
    count: u64,
    first: SystemTime,
    last: SystemTime,
    /// Of the last time.
    reason: &'static str,
    detail: Option<Arc<str>>,
}

/// What the shadow policy would have changed so far.
#[derive(Debug, Clone, Serialize)]
pub struct ShadowReport {
    /// Of the shadow policy that the differences are of.
    pub policy_revision: Option<Arc<str>>,
    /// Since the start, whatever the revision; those that are not 0.
    pub decisions: Vec<ShadowCount>,
    /// The most frequent first.
    pub differences: Vec<ShadowDifference>,
    /// How many identities with routes are left out, to stay within bounds.
    pub forgotten: u64,
}

/// How often it came out so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShadowCount {
    pub listener: Arc<str>,
    /// Empty where the decision fell before a route was found.
    pub route: Arc<str>,
    /// `same`, `would_allow`, `would_deny`, `error` or `skipped`.
    pub outcome: &'static str,
    pub count: u64,
}

/// Somebody for whom the shadow policy would decide in another way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShadowDifference {
    pub listener: Arc<str>,
    /// As in [`ShadowCount`].
    pub route: Arc<str>,
    /// The SPIFFE ID, or what the token names.
    pub subject: Arc<str>,
    pub issuer: Option<Arc<str>>,
    pub method: &'static str,
    /// `would_allow` or `would_deny`.
    pub outcome: &'static str,
    /// Why, by the shadow policy, the last time.
    pub reason: &'static str,
    pub detail: Option<Arc<str>>,
    pub count: u64,
    #[serde(serialize_with = "timestamp")]
    pub first: SystemTime,
    #[serde(serialize_with = "timestamp")]
    pub last: SystemTime,
}

impl Shadowing {
    /// For these inbound listeners. Starts a thread that lives as long as what is made from it.
    pub fn start(listeners: Vec<ShadowedListener>) -> std::io::Result<Self> {
        let aside = Aside::start()?;
        Ok(Self(Arc::new(Shared { listeners, aside, workers: Mutex::default() })))
    }

    /// One worker's own.
    pub fn worker(&self) -> ShadowWorker {
        let counts = self.0.listeners.iter().map(|listener| {
            let places = (listener.routes.len() + 1) * OUTCOMES;
            (0..places).map(|_| AtomicU64::new(0)).collect()
        });
        let tally = Arc::new(Tally { counts: counts.collect(), differences: Mutex::default() });
        self.workers().push(Arc::clone(&tally));
        let aside = self.0.aside.clone();
        ShadowWorker { grants: Grants::new(), aside, tally, rules: Rc::default() }
    }

    /// The counts of all workers, those that are not 0.
    pub fn counts(&self) -> Vec<ShadowCount> {
        let workers = self.workers().clone();
        let mut counts = Vec::new();
        for (place, listener) in self.0.listeners.iter().enumerate() {
            let parts: Vec<_> = workers.iter().filter_map(|it| it.counts.get(place)).collect();
            for at in 0..(listener.routes.len() + 1) * OUTCOMES {
                let values = parts.iter().filter_map(|part| part.get(at));
                let count = values.map(|it| it.load(Ordering::Relaxed)).sum();
                let (listener, route) = (Arc::clone(&listener.name), listener.route(at / OUTCOMES));
                let outcome = outcome(at % OUTCOMES);
                if count > 0 {
                    counts.push(ShadowCount { listener, route, outcome, count });
                }
            }
        }
        counts
    }

    /// All that is known of it.
    pub fn report(&self) -> ShadowReport {
        let workers = self.workers().clone();
        let copies: Vec<_> = workers.iter().map(|it| it.differences().copy()).collect();
        // A worker that has had no traffic lately may still speak of the revision before.
        let newest = copies.iter().max_by_key(|it| it.by.values().map(|it| it.last).max());
        let revision = newest.and_then(|it| it.revision.clone());
        let mut all: HashMap<Key, Difference> = HashMap::new();
        let mut forgotten = 0;
        for copy in copies.into_iter().filter(|it| it.revision == revision) {
            forgotten += copy.forgotten;
            for (key, difference) in copy.by {
                match all.entry(key) {
                    std::collections::hash_map::Entry::Occupied(known) => {
                        known.into_mut().add(difference);
                    }
                    std::collections::hash_map::Entry::Vacant(place) => {
                        place.insert(difference);
                    }
                }
            }
        }
        let mut differences: Vec<_> =
            all.into_iter().filter_map(|(key, it)| self.told(key, it)).collect();
        let order = |it: &ShadowDifference| (std::cmp::Reverse(it.count), Arc::clone(&it.subject));
        differences.sort_by_cached_key(order);
        ShadowReport { policy_revision: revision, decisions: self.counts(), differences, forgotten }
    }

    /// The place of a listener in all counts.
    pub(super) fn listener(&self, name: &str) -> usize {
        let place = self.0.listeners.iter().position(|it| &*it.name == name);
        place.unwrap_or(self.0.listeners.len())
    }

    fn told(&self, key: Key, difference: Difference) -> Option<ShadowDifference> {
        let listener = self.0.listeners.get(key.listener)?;
        let Difference { method, count, first, last, reason, detail } = difference;
        let agreement = if key.allows { Agreement::WouldAllow } else { Agreement::WouldDeny };
        Some(ShadowDifference {
            listener: Arc::clone(&listener.name),
            route: listener.route(key.route.unwrap_or(listener.routes.len())),
            subject: key.subject,
            issuer: key.issuer,
            method,
            outcome: agreement.as_str(),
            reason,
            detail,
            count,
            first,
            last,
        })
    }

    fn workers(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Tally>>> {
        self.0.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ShadowedListener {
    fn route(&self, index: usize) -> Arc<str> {
        self.routes.get(index).map_or_else(|| Arc::from(""), Arc::clone)
    }
}

impl ShadowWorker {
    /// The rules as they would be with the shadow policy in force; `None` without one.
    pub(super) fn rules(&self, in_force: &Rules) -> Option<Arc<Rules>> {
        let shadow = in_force.shadow.as_ref()?;
        let mut kept = self.rules.borrow_mut();
        let holds = |it: &&Arc<Rules>| {
            Arc::ptr_eq(&it.policy, shadow) && Arc::ptr_eq(&it.revoked, &in_force.revoked)
        };
        if let Some(rules) = kept.as_ref().filter(holds) {
            return Some(Arc::clone(rules));
        }
        let rules = Arc::new(in_force.of_shadow()?);
        *kept = Some(Arc::clone(&rules));
        Some(rules)
    }

    /// Counts a second opinion, and remembers who it would matter to.
    pub(super) fn note(
        &self,
        listener: usize,
        claims: &Claims,
        opinion: &SecondOpinion,
        now: SystemTime,
    ) {
        let place = Agreement::ALL.iter().position(|it| *it == opinion.agreement);
        self.count(listener, opinion.route, place.unwrap_or(SKIPPED));
        if let Some(differs) = &opinion.differs {
            let key = Key {
                listener,
                route: opinion.route,
                subject: bounded(claims.subject()),
                issuer: claims.issuer().map(bounded),
                allows: differs.allows,
            };
            let method = claims.method().as_str();
            self.tally.differences().note(key, method, differs, now);
        }
    }

    /// Counts a decision that a policy of the same revision made.
    pub(super) fn same(&self, listener: usize, route: Option<usize>) {
        self.count(listener, route, SAME);
    }

    /// Counts a decision that there was no room to ask about.
    pub(super) fn skipped(&self, listener: usize, route: Option<usize>) {
        self.count(listener, route, SKIPPED);
    }

    fn count(&self, listener: usize, route: Option<usize>, outcome: usize) {
        let Some(counts) = self.tally.counts.get(listener) else { return };
        let none = counts.len() / OUTCOMES - 1;
        let route = route.unwrap_or(none).min(none);
        if let Some(count) = counts.get(route * OUTCOMES + outcome) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Tally {
    fn differences(&self) -> std::sync::MutexGuard<'_, Differences> {
        self.differences.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Differences {
    fn note(&mut self, key: Key, method: &'static str, differs: &Differs, now: SystemTime) {
        if self.revision.as_ref() != Some(&differs.revision) {
            *self = Self { revision: Some(Arc::clone(&differs.revision)), ..Self::default() };
        }
        let reason = differs.reason;
        if let Some(known) = self.by.get_mut(&key) {
            known.count += 1;
            known.last = now;
            if known.reason != reason || known.detail.as_deref() != differs.detail.as_deref() {
                known.reason = reason;
                known.detail = differs.detail.as_deref().map(cut);
            }
            return;
        }
        if self.by.len() >= DIFFERENCES_MAX {
            let oldest = self.by.iter().min_by_key(|(_, it)| it.last).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                self.by.remove(&oldest);
                self.forgotten += 1;
            }
        }
        let detail = differs.detail.as_deref().map(cut);
        let difference = Difference { method, count: 1, first: now, last: now, reason, detail };
        self.by.insert(key, difference);
    }

    fn copy(&self) -> Self {
        let (revision, by) = (self.revision.clone(), self.by.clone());
        Self { revision, by, forgotten: self.forgotten }
    }
}

impl Difference {
    fn add(&mut self, other: Self) {
        let (count, first) = (self.count + other.count, self.first.min(other.first));
        if other.last > self.last {
            *self = other;
        }
        self.count = count;
        self.first = first;
    }
}

fn outcome(place: usize) -> &'static str {
    Agreement::ALL.get(place).map_or("skipped", |agreement| agreement.as_str())
}

/// Without a copy where it is short enough.
fn bounded(text: &Arc<str>) -> Arc<str> {
    if text.len() <= TEXT_MAX { Arc::clone(text) } else { cut(text) }
}

fn cut(text: &str) -> Arc<str> {
    if text.len() <= TEXT_MAX {
        return Arc::from(text);
    }
    let end = (0..=TEXT_MAX).rev().find(|end| text.is_char_boundary(*end));
    let kept = text.get(..end.unwrap_or_default()).unwrap_or_default();
    Arc::from(format!("{kept}…"))
}

fn timestamp<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Rfc3339((*time).max(UNIX_EPOCH)))
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
