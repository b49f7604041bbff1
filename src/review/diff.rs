//! Who gains and who loses what between two policies.
//!
//! Everybody who is known to either policy is asked about under both, and those to whom the same
//! happens are told of together. What cannot be tried out on identities is compared as text.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use super::changes::{Change, Diff, Group, Lists, Named, Placed, RouteName, Wholesale};
use super::cores::on_all_cores;
use super::identities::{Extra, Known, known};
use super::matrix::{Asking, Door, Opened, Place, Stand};
use super::why::{self, Asked};
use crate::policy::{
    Direction, LoadError, Local, Revocations, Rules, Source, Subject, Workload, compile,
    request_rules_differ,
};
use crate::telemetry::Rfc3339;

/// Services that stand in for all, where nobody says which one asks.
const STAND_INS_MAX: usize = 16;

/// One of the two policies.
#[derive(Debug)]
pub struct Side {
    source: Arc<Source>,
    rules: Rules,
}

/// Changes with the places where each is so, and routes by their number.
type Whole = (BTreeMap<Change, BTreeSet<usize>>, BTreeSet<usize>, BTreeSet<usize>);

impl Side {
    pub fn load(source: Source) -> Result<Self, LoadError> {
        let source = Arc::new(source);
        let rules = Rules::of(compile(Arc::clone(&source))?);
        Ok(Self { source, rules })
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }
}

/// Compares two policies at one moment, on behalf of each of `places`; without any, of those that
/// the policies suggest.
pub fn diff(old: &Side, new: &Side, extra: &Extra, places: &[Place], at: SystemTime) -> Diff {
    let (before, after) = (known(&old.source, extra), known(&new.source, extra));
    let only = |those: &[Known], others: &[Known]| {
        let others: BTreeSet<&str> = others.iter().map(|it| &*it.id).collect();
        let alone = those.iter().filter(|it| !others.contains(&*it.id));
        alone.map(|it| Arc::clone(&it.id)).collect::<Vec<_>>()
    };
    let (appear, disappear) = (only(&after, &before), only(&before, &after));
    let mut people: BTreeMap<Arc<str>, Known> = BTreeMap::new();
    for person in after.into_iter().chain(before) {
        people.entry(Arc::clone(&person.id)).or_insert(person);
    }
    let people: Vec<Known> = people.into_values().collect();
    let mut notes = Vec::new();
    let derived;
    let places = if places.is_empty() {
        derived = places_of(old, new, &people, &mut notes);
        &derived
    } else {
        places
    };
    note_limits(old, new, at, &mut notes);
    Diff {
        old: old.rules.policy.revision().to_string(),
        new: new.rules.policy.revision().to_string(),
        at: Rfc3339(at).to_string(),
        places: places.iter().map(|it| Arc::clone(&it.name)).collect(),
        compared: people.len(),
        notes,
        request_deny: requests(old, new),
        revocations: Lists::between(old.rules.policy.revocations(), new.rules.policy.revocations()),
        appear,
        disappear,
        groups: groups(old, new, &people, places, at),
    }
}

fn requests(old: &Side, new: &Side) -> Wholesale {
    match (old.rules.policy.asks_requests(), new.rules.policy.asks_requests()) {
        (false, false) => Wholesale::Absent,
        (false, true) => Wholesale::Added,
        (true, false) => Wholesale::Removed,
        (true, true) if request_rules_differ(&old.source, &new.source) => Wholesale::Changed,
        (true, true) => Wholesale::Unchanged,
    }
}

impl Lists {
    fn between(old: &Revocations, new: &Revocations) -> Self {
        let entries = |of: &Revocations| -> BTreeSet<String> {
            of.entries().map(|(list, entry)| format!("{list}: {entry}")).collect()
        };
        let (old, new) = (entries(old), entries(new));
        Self {
            added: new.difference(&old).cloned().collect(),
            lifted: old.difference(&new).cloned().collect(),
        }
    }
}

fn note_limits(old: &Side, new: &Side, at: SystemTime, notes: &mut Vec<String>) {
    let either = |asked: fn(&Rules) -> bool| asked(&old.rules) || asked(&new.rules);
    if either(|rules| rules.policy.reads_time()) {
        notes.push(format!(
            "answers depend on the time: both were asked as of {} (`--at` chooses another time)",
            Rfc3339(at)
        ));
    }
    if either(|rules| rules.policy.reads_address()) {
        notes.push("answers depend on the caller's address, and none was given".to_owned());
    }
    if either(|rules| rules.policy.asks_requests()) {
        let text = "`request.deny` looks at single requests: its text was compared, and `sidegate \
                    policy replay` tells what it would have done";
        notes.push(text.to_owned());
    }
}

/// Where nobody says which service asks: one for each environment, if that matters at all.
fn places_of(old: &Side, new: &Side, people: &[Known], notes: &mut Vec<String>) -> Vec<Place> {
    let place = |workload: Option<&Workload>| Place {
        name: workload.map_or_else(|| Arc::from("any service"), |it| Arc::clone(it.uri())),
        local: Local {
            workload: workload.cloned(),
            tenant: Arc::default(),
            direction: Direction::Inbound,
        },
        doors: Vec::<Door>::new(),
    };
    if !old.rules.policy.reads_local() && !new.rules.policy.reads_local() {
        return vec![place(None)];
    }
    let mut of_each = BTreeMap::new();
    for workload in people.iter().filter_map(|it| workload(&it.assumed.subject)) {
        let environment = workload.environment_and_service().map(|(environment, _)| environment);
        of_each.entry((workload.trust_domain(), environment)).or_insert(workload);
    }
    let mut places: Vec<Place> = of_each.into_values().map(|it| place(Some(it))).collect();
    let text = "answers depend on which service asks: one of each environment that is known stands \
                in for all (`--config` or `--local` chooses)";
    notes.push(text.to_owned());
    if places.len() > STAND_INS_MAX {
        places.truncate(STAND_INS_MAX);
        notes.push(format!("only the first {STAND_INS_MAX} environments were looked at"));
    }
    if places.is_empty() { vec![place(None)] } else { places }
}

fn workload(subject: &Subject) -> Option<&Workload> {
    subject.workload.as_ref()
}

fn groups(
    old: &Side,
    new: &Side,
    people: &[Known],
    places: &[Place],
    at: SystemTime,
) -> Vec<Group> {
    let old = Asking::new(&old.rules, at);
    let new = Asking::new(&new.rules, at);
    let found = on_all_cores(people, |people| {
        let mut look = Look {
            old: &old,
            new: &new,
            places,
            opened: places.iter().map(|_| <(Opened, Opened)>::default()).collect(),
        };
        people.iter().map(|person| look.at(person)).collect()
    });
    let mut by_change: BTreeMap<Whole, Vec<Named>> = BTreeMap::new();
    for (person, whole) in people.iter().zip(found) {
        let Some(whole) = whole else { continue };
        let named = Named { id: Arc::clone(&person.id), from: person.from.clone() };
        by_change.entry(whole).or_default().push(named);
    }
    let routes = names(places);
    let mut groups: Vec<Group> = by_change
        .into_iter()
        .map(|(whole, identities)| group(whole, identities, places, &routes))
        .collect();
    groups
        .sort_by_key(|group| (!group.gains(), !group.loses(), usize::MAX - group.identities.len()));
    groups
}

fn group(whole: Whole, identities: Vec<Named>, places: &[Place], routes: &[RouteName]) -> Group {
    let (changes, gained, lost) = whole;
    let names = |of: BTreeSet<usize>| -> Vec<RouteName> {
        of.into_iter().filter_map(|at| routes.get(at).cloned()).collect()
    };
    let placed = |(change, at): (Change, BTreeSet<usize>)| {
        let places = at.into_iter().filter_map(|at| places.get(at));
        Placed { places: places.map(|it| Arc::clone(&it.name)).collect(), change }
    };
    Group {
        changes: changes.into_iter().map(placed).collect(),
        routes_gained: names(gained),
        routes_lost: names(lost),
        identities,
    }
}

/// All routes of all places, in the order in which they are numbered.
fn names(places: &[Place]) -> Vec<RouteName> {
    let mut names = Vec::new();
    for place in places {
        for door in &place.doors {
            names.extend(door.routes.iter().map(|route| RouteName {
                place: Arc::clone(&place.name),
                listener: Arc::clone(&door.listener),
                route: Arc::clone(route.name()),
                scopes: Arc::clone(route.required_text()),
            }));
        }
    }
    names
}

/// Looks at one identity after the other.
struct Look<'a> {
    old: &'a Asking<'a>,
    new: &'a Asking<'a>,
    places: &'a [Place],
    /// By place, under the old and the new policy.
    opened: Vec<(Opened, Opened)>,
}

impl Look<'_> {
    /// What happens to somebody, if anything does.
    fn at(&mut self, person: &Known) -> Option<Whole> {
        let (mut changes, mut gained, mut lost) =
            (BTreeMap::<_, BTreeSet<_>>::new(), BTreeSet::new(), BTreeSet::new());
        let mut first = 0;
        for ((at, place), opened) in self.places.iter().enumerate().zip(&mut self.opened) {
            let count = place.doors.iter().map(|door| door.routes.len()).sum::<usize>();
            let (before, after) = (self.old.stand(person, place), self.new.stand(person, place));
            if !before.is_as(&after) {
                let closed = self.old.routes(person, place, &before, &mut opened.0);
                let open = self.new.routes(person, place, &after, &mut opened.1);
                for route in 0..count {
                    let is_open = |routes: &[bool]| routes.get(route).copied().unwrap_or_default();
                    match (is_open(&closed), is_open(&open)) {
                        (false, true) => gained.insert(first + route),
                        (true, false) => lost.insert(first + route),
                        _ => continue,
                    };
                }
                let change = change(self.old, self.new, person, place, (before, after));
                changes.entry(change).or_default().insert(at);
            }
            first += count;
        }
        (!changes.is_empty()).then_some((changes, gained, lost))
    }
}

fn change(
    old: &Asking<'_>,
    new: &Asking<'_>,
    person: &Known,
    place: &Place,
    (before, after): (Stand, Stand),
) -> Change {
    let (mut gained, mut lost) = (Vec::new(), Vec::new());
    let (mut dormant_gained, mut dormant_lost) = (Vec::new(), Vec::new());
    let mut why = BTreeSet::new();
    match (before.is_let_in(), after.is_let_in()) {
        (true, true) => {
            (gained, lost) = (after.beyond(&before), before.beyond(&after));
            let old = Asked::new(old, person, place);
            let new = Asked::new(new, person, place);
            why.extend(why::more(&new, &old, &gained));
            why.extend(why::less(&old, &new, &lost));
        }
        (false, true) => gained = after.all(),
        (true, false) => lost = before.all(),
        (false, false) => {
            (dormant_gained, dormant_lost) = (after.beyond(&before), before.beyond(&after));
        }
    }
    let (before, after) = (before.state, after.state);
    Change { gained, lost, before, after, dormant_gained, dormant_lost, why }
}
#[cfg(test)]
mod tests;
