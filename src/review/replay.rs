//! Which recorded decisions would go otherwise under another policy.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Read};
use std::sync::Arc;

use serde::Serialize;
use spiffe::SpiffeId;

use super::cores::on_all_cores;
use super::diff::Side;
use super::facts::{Fact, Id, Tally, Texts, Wanted, instant};
use super::judge::Judge;
use super::line::Line;
use super::log::{Reading, Routing, Span, read};
use super::recorded::{ALLOWED, Decided, Log, Tenants, recorded};
use super::sites::{Site, Sites};
use crate::authz::Tenant;
use crate::policy::Policy;
use crate::telemetry::Rfc3339;

/// What is replayed, and under what.
#[derive(Debug)]
pub struct Replay<'a> {
    pub new: &'a Side,
    /// What decided when the log was written; without it, what the log says is what was.
    pub old: Option<&'a Side>,
    pub sites: &'a [Site],
    /// Of every service that no site tells of.
    pub service_tenant: Option<Tenant>,
    pub span: Span,
}

/// What came of it. Counts are of decisions.
#[derive(Debug, Default, Serialize)]
pub struct Replayed {
    /// Revisions.
    pub policy: String,
    pub baseline: Option<String>,
    pub lines: u64,
    pub replayed: u64,
    pub unchanged: u64,
    pub gained: u64,
    pub lost: u64,
    pub other_reason: u64,
    pub other_rights: u64,
    /// Where the log says otherwise than the baseline.
    pub not_as_baseline: u64,
    /// By cause.
    pub not_replayed: BTreeMap<&'static str, u64>,
    /// Lines that are about something else.
    pub passed_over: BTreeMap<&'static str, u64>,
    pub malformed: u64,
    /// Line numbers, all logs counted through.
    pub first_malformed: Vec<u64>,
    pub notes: Vec<String>,
    /// What is gained first, then what is most frequent.
    pub groups: Vec<Moved>,
}

/// Decisions about one caller and route that change in the same way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moved {
    pub change: Move,
    pub caller: String,
    /// The service that decided.
    pub service: Option<Arc<str>>,
    pub listener: Option<Arc<str>>,
    /// None where only the rights are others, whatever was called.
    pub route: Option<Arc<str>>,
    pub before: Verdict,
    pub after: Verdict,
    pub count: u64,
    pub first: String,
    pub last: String,
    /// Of the first.
    pub request_id: String,
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Move {
    /// Denied, and would be allowed.
    Gained,
    /// Allowed, and would be denied.
    Lost,
    /// Denied for another reason.
    OtherReason,
    /// Decided alike, with another tenant or other scopes.
    OtherRights,
}

/// How it is decided; rights are told only where they make the difference.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Verdict {
    pub reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Arc<str>>,
}

/// One change, before it is written for people.
type Key = (Move, [Id; 7], Verdict, Verdict);

type Outcome = (Result<(Decided, Decided), &'static str>, bool);

impl Replayed {
    pub fn changed(&self) -> u64 {
        self.gained + self.lost + self.other_reason + self.other_rights
    }
}

impl Replay<'_> {
    /// Reads `logs` one after the other.
    pub fn run(&self, logs: &mut [Box<dyn Read + '_>]) -> io::Result<Replayed> {
        let sites = Sites::new(self.sites);
        let reading = read(logs, self.span, self.wanted(), &sites)?;
        let tenants = self.tenants(&reading);
        let log = Log { texts: &reading.texts, sites: &sites, tenants: &tenants };
        let mut facts: Vec<(&Fact, &Tally)> = reading.facts.iter().collect();
        facts.sort_unstable_by_key(|(fact, _)| **fact);
        let outcomes = on_all_cores(&facts, |facts| self.outcomes(&log, facts));
        let mut replayed = self.start(&reading);
        let mut moved: HashMap<Key, Tally> = HashMap::new();
        for ((fact, tally), (outcome, as_baseline)) in facts.into_iter().zip(outcomes) {
            if !as_baseline {
                replayed.not_as_baseline += tally.count;
            }
            let (before, after) = match outcome {
                Ok(both) => both,
                Err(cause) => {
                    *replayed.not_replayed.entry(cause).or_default() += tally.count;
                    continue;
                }
            };
            replayed.replayed += tally.count;
            let Some(key) = key(fact, before, after) else {
                replayed.unchanged += tally.count;
                continue;
            };
            match moved.get_mut(&key) {
                Some(known) => known.add(tally),
                None => drop(moved.insert(key, tally.clone())),
            }
        }
        for ((change, ..), tally) in &moved {
            *replayed.counter(*change) += tally.count;
        }
        let texts = &reading.texts;
        replayed.groups = moved.into_iter().map(|(key, tally)| told(texts, key, &tally)).collect();
        replayed.groups.sort_by(|one, other| {
            let order = |it: &Moved| (it.change, u64::MAX - it.count);
            order(one)
                .cmp(&order(other))
                .then_with(|| (&one.caller, &one.route).cmp(&(&other.caller, &other.route)))
        });
        Ok(replayed)
    }

    fn policies(&self) -> impl Iterator<Item = &Policy> {
        [Some(self.new), self.old].into_iter().flatten().map(|side| &*side.rules().policy)
    }

    fn wanted(&self) -> Wanted {
        let mut wanted = Wanted::default();
        for policy in self.policies() {
            wanted.address |= policy.depends_on_address();
            wanted.minute |= policy.depends_on_time();
            wanted.path |= policy.asks_requests() && !policy.reads_unlogged();
            for (list, _) in policy.revocations().entries() {
                wanted.serial |= list == "serials";
                wanted.token |= list == "tokens";
            }
        }
        wanted
    }

    /// Whoever was let in without a special right was of the service's own tenant.
    fn tenants(&self, reading: &Reading) -> Tenants {
        let mut tenants: HashMap<_, BTreeSet<Id>> = HashMap::new();
        for fact in reading.facts.keys() {
            let seen = tenants.entry((fact.place, fact.listener, fact.local)).or_default();
            if fact.allowed && !fact.cross_tenant && fact.tenant != 0 {
                seen.insert(fact.tenant);
            }
        }
        let one = |seen: BTreeSet<Id>| {
            let mut seen = seen.into_iter();
            let (Some(only), None) = (seen.next(), seen.next()) else { return None };
            Tenant::parse(reading.texts.get(only)?).ok()
        };
        let given = &self.service_tenant;
        tenants.into_iter().map(|(key, seen)| (key, given.clone().or_else(|| one(seen)))).collect()
    }

    fn outcomes(&self, log: &Log<'_>, facts: &[(&Fact, &Tally)]) -> Vec<Outcome> {
        let old = self.old.map(Side::rules);
        let mut after = Judge::new(log, self.new.rules(), old);
        let mut before = old.map(|old| Judge::new(log, old, Some(old)));
        let one = |(fact, tally): &(&Fact, &Tally)| {
            let was = match recorded(log, fact) {
                Ok(was) => was,
                Err(cause) => return (Err(cause), true),
            };
            let mut as_baseline = true;
            let was = match &mut before {
                None => was,
                Some(judge) => match judge.decide(fact, tally) {
                    Ok(decided) => {
                        as_baseline = decided.reason == was.reason;
                        decided
                    }
                    Err(cause) => return (Err(cause), true),
                },
            };
            (after.decide(fact, tally).map(|decided| (was, decided)), as_baseline)
        };
        facts.iter().map(one).collect()
    }

    fn start(&self, reading: &Reading) -> Replayed {
        let revision = |side: &Side| side.rules().policy.revision().to_string();
        let mut notes = Vec::new();
        if reading.is_full {
            let text = "there are too many different decisions: what came after the first \
                        4,000,000 was not replayed (`--since` and `--until` narrow it down)";
            notes.push(text.to_owned());
        }
        Replayed {
            policy: revision(self.new),
            baseline: self.old.map(revision),
            lines: reading.lines,
            passed_over: reading.passed_over.clone(),
            malformed: reading.malformed,
            first_malformed: reading.first_malformed.clone(),
            notes,
            ..Replayed::default()
        }
    }
}

impl Replayed {
    fn counter(&mut self, change: Move) -> &mut u64 {
        match change {
            Move::Gained => &mut self.gained,
            Move::Lost => &mut self.lost,
            Move::OtherReason => &mut self.other_reason,
            Move::OtherRights => &mut self.other_rights,
        }
    }
}

/// `None`: nothing changes.
fn key(fact: &Fact, before: Decided, after: Decided) -> Option<Key> {
    let change = match (before.reason == ALLOWED, after.reason == ALLOWED) {
        (false, true) => Move::Gained,
        (true, false) => Move::Lost,
        _ if before.reason != after.reason => Move::OtherReason,
        _ => match (&before.rights, &after.rights) {
            (Some(one), Some(other)) if one != other => Move::OtherRights,
            _ => return None,
        },
    };
    let of_rights = change == Move::OtherRights;
    let side = |decided: Decided| {
        let rights = decided.rights.filter(|_| of_rights);
        let (tenant, scopes) =
            rights.map_or((None, None), |(tenant, scopes)| (tenant, Some(scopes)));
        Verdict { reason: decided.reason, tenant, scopes }
    };
    let on_route = |id: Id| if of_rights { 0 } else { id };
    let ids = [
        fact.spiffe_id,
        fact.issuer,
        fact.subject,
        fact.by,
        fact.local,
        on_route(fact.listener),
        on_route(fact.route),
    ];
    Some((change, ids, side(before), side(after)))
}

fn told(texts: &Texts, (change, ids, before, after): Key, tally: &Tally) -> Moved {
    let [spiffe_id, issuer, subject, by, local, listener, route] =
        ids.map(|id| texts.get(id).cloned());
    let by_token = by.as_deref() == Some("jwt");
    let caller = match (spiffe_id, issuer, subject) {
        (Some(id), ..) if !by_token => id.to_string(),
        (_, Some(issuer), Some(subject)) => format!("{issuer} {subject}"),
        _ => String::new(),
    };
    let time = |milliseconds| Rfc3339(instant(milliseconds)).to_string();
    Moved {
        change,
        caller,
        service: local,
        listener,
        route,
        before,
        after,
        count: tally.count,
        first: time(tally.first),
        last: time(tally.last),
        request_id: tally.request_id.to_string(),
    }
}

/// The workloads that a log names as proven callers.
pub fn callers(logs: &mut [Box<dyn Read + '_>]) -> io::Result<Vec<SpiffeId>> {
    let reading = read(logs, Span::default(), Wanted::default(), &Nowhere)?;
    let ids: BTreeSet<Id> = reading.facts.keys().map(|fact| fact.spiffe_id).collect();
    let texts = ids.into_iter().filter_map(|id| reading.texts.get(id));
    Ok(texts.filter_map(|text| SpiffeId::new(&**text).ok()).collect())
}

/// Looks for no routes.
struct Nowhere;

impl Routing for Nowhere {
    fn find(&self, _line: &Line<'_>) -> (u32, u32) {
        (0, 0)
    }
}

#[cfg(test)]
mod tests;
