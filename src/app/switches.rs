//! Follows by what our calls prove themselves, and tells of each change: one line, and a count.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};

use super::outside::{AGENT_GRACE, Ways};
use crate::live::Live;
use crate::proxy::WayOut;
use crate::tls::Context;

/// Tokens come and go without a word, and SVIDs come close to their end: looked at this often.
const GLANCE: Duration = Duration::from_millis(500);

/// What is known of a listener's way: nothing at first.
type Known = Option<Option<WayOut>>;

/// How often each listener has come to prove itself in each way.
#[derive(Debug, Clone, Default)]
pub(super) struct Switches(Arc<Mutex<BTreeMap<(String, &'static str), u64>>>);

impl Switches {
    /// On the current runtime. With no listener that could switch, there is nothing to tell.
    pub(super) fn follow(&self, ways: Vec<Ways>, contexts: Live<Context>) {
        if ways.iter().all(|ways| ways.by_token.is_none()) {
            return;
        }
        let this = self.clone();
        tokio::spawn(async move {
            let mut changes = contexts.changes();
            let mut before: Vec<Known> = vec![None; ways.len()];
            let start = Instant::now();
            loop {
                let context = contexts.snapshot();
                let now = SystemTime::now();
                // Having no way yet is nothing to tell of, as long as agent and token may be slow.
                let waiting = start.elapsed() <= AGENT_GRACE;
                let known = |(ways, before): (&Ways, &Known)| {
                    let way = ways.now(&context, now);
                    if waiting && way.is_none() && before.is_none() { None } else { Some(way) }
                };
                let after: Vec<Known> = ways.iter().zip(&before).map(known).collect();
                this.tell(&ways, &before, &after);
                before = after;
                tokio::select! {
                    () = changes.changed() => {}
                    () = sleep(GLANCE) => {}
                }
            }
        });
    }

    /// By listener and way.
    pub(super) fn counts(&self) -> Vec<(String, &'static str, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|((name, to), count)| (name.clone(), *to, *count)).collect()
    }

    /// One line for all listeners of a kind that go the same way.
    fn tell(&self, ways: &[Ways], before: &[Known], after: &[Known]) {
        let mut moved: BTreeMap<(&str, &'static str, bool), Vec<&str>> = BTreeMap::new();
        for ((ways, from), to) in ways.iter().zip(before).zip(after) {
            let Some(to) = to.filter(|_| from != to) else { continue };
            let from = from.map_or("unknown", word);
            moved.entry((from, word(to), ways.by_svid)).or_default().push(&ways.name);
        }
        for ((from, to, by_svid), listeners) in moved {
            let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            for name in &listeners {
                *counts.entry(((*name).to_owned(), to)).or_default() += 1;
            }
            drop(counts);
            let listeners = listeners.join(", ");
            match to {
                "spiffe" => tracing::info!(listeners, from, to, "calls go out by SVID"),
                "jwt" if by_svid => {
                    tracing::warn!(listeners, from, to, "calls go out by machine token");
                }
                // Without SPIFFE that is how it should be.
                "jwt" => tracing::info!(listeners, from, to, "calls go out by machine token"),
                _ => tracing::error!(listeners, from, to, "calls cannot go out: no SVID, no token"),
            }
        }
    }
}

/// As in logs, metrics and readiness.
pub(super) fn word(way: Option<WayOut>) -> &'static str {
    way.map_or("none", WayOut::as_str)
}
