//! What a policy comes to for those who are known, and for the routes that they call.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

use super::identities::{GIVEN, Known};
use super::standing::Asker;
use crate::authz::{Required, Route, ScopePattern, Standing};
use crate::policy::{Finding, Level, Policy, Problem};

/// Remarks of one kind: more of the same help nobody.
const REMARKS_MAX: usize = 20;

/// File and line where a route is declared, if that is known.
pub type Declared = Option<(String, u32)>;

/// A service whose routes are called.
#[derive(Debug)]
pub struct Callee {
    /// As the remarks name it: the file of its configuration.
    pub name: String,
    pub asker: Asker,
    pub takes_workloads: bool,
    pub takes_tokens: bool,
    /// Every route with the place where it is declared, if that is known.
    pub routes: Vec<(Arc<Route>, Declared)>,
}

/// How everybody stands with a policy, asked from one place; in the order of `known`. Uses all cores.
pub fn standings(
    policy: &Policy,
    known: &[Known],
    asker: &Asker,
    now: SystemTime,
) -> Vec<Standing> {
    let workers = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let share = known.len().div_ceil(workers).max(1);
    let stand = |known: &[Known]| -> Vec<Standing> {
        known.iter().map(|it| asker.standing(policy, &it.assumed, now)).collect()
    };
    thread::scope(|scope| {
        let parts: Vec<_> =
            known.chunks(share).map(|part| (part, scope.spawn(move || stand(part)))).collect();
        parts.into_iter().flat_map(|(part, it)| it.join().unwrap_or_else(|_| stand(part))).collect()
    })
}

/// Everything that is doubtful about what a policy comes to.
pub fn check(
    policy: &Policy,
    known: &[Known],
    callees: &[Callee],
    now: SystemTime,
) -> Vec<Finding> {
    let nowhere = [Callee::nowhere()];
    let asked_by = if callees.is_empty() { &nowhere } else { callees };
    let mut review = Review { policy, known, found: Found::default() };
    let mut all = Vec::new();
    for callee in asked_by {
        all.push((callee, standings(policy, known, &callee.asker, now)));
    }
    review.errors(&all);
    review.layers(&all);
    review.roles(&all);
    if !callees.is_empty() {
        review.unreached(&all);
        review.ungranted(&all);
        review.unasked(&all);
        review.tenants(&all);
    }
    review.found.done()
}

type Asked<'a> = (&'a Callee, Vec<Standing>);

struct Review<'a> {
    policy: &'a Policy,
    known: &'a [Known],
    found: Found,
}

#[derive(Default)]
struct Found {
    findings: Vec<Finding>,
    counts: BTreeMap<&'static str, usize>,
}

impl Callee {
    fn nowhere() -> Self {
        Self {
            name: String::new(),
            asker: Asker::default(),
            takes_workloads: true,
            takes_tokens: true,
            routes: Vec::new(),
        }
    }

    fn takes(&self, known: &Known) -> bool {
        if known.assumed.brings.is_some() { self.takes_tokens } else { self.takes_workloads }
    }

    fn reached_by(&self, standing: &Standing) -> bool {
        let tenant = standing.tenant.as_ref().map(|it| it.as_str());
        let may = tenant == Some(&*self.asker.tenant) || tenant.is_some() && standing.cross_tenant;
        may && self.routes.iter().any(|(route, _)| route.required().is_met_by(&standing.scopes))
    }
}

impl Found {
    fn add(&mut self, finding: Finding) {
        let count = self.counts.entry(finding.code).or_default();
        *count += 1;
        if *count <= REMARKS_MAX {
            self.findings.push(finding);
        }
    }

    fn done(self) -> Vec<Finding> {
        let mut findings = self.findings;
        for (code, count) in self.counts.into_iter().filter(|(_, count)| *count > REMARKS_MAX) {
            let more = count - REMARKS_MAX;
            let alike: Vec<&Finding> = findings.iter().filter(|it| it.code == code).collect();
            let Some(last) = alike.last() else { continue };
            let problem =
                Problem { message: format!("and {more} more like this"), ..last.problem.clone() };
            let finding = Finding { problem, ..Finding::clone(last) };
            findings.push(finding);
        }
        findings
    }
}

impl Review<'_> {
    /// Those who are somebody to the policy, or were named to us: not every name in every
    /// environment.
    fn somebody<'s>(
        &'s self,
        standings: &'s [Standing],
    ) -> impl Iterator<Item = (&'s Known, &'s Standing)> {
        let all = self.known.iter().zip(standings);
        all.filter(|(known, standing)| {
            known.from == GIVEN || standing.tenant.is_some() || !standing.brought.is_empty()
        })
    }

    fn place(&self, entry: &str) -> Problem {
        let found = self.policy.reads().iter().find(|it| it.name == entry);
        found.map_or_else(|| in_file("policy", String::new()), |it| it.place.clone())
    }

    /// Where somebody is named.
    fn named(&self, known: &Known) -> Problem {
        if known.from == GIVEN {
            return self.place("data.sidegate.global.grant");
        }
        match known.from.rsplit_once(':').map(|(file, line)| (file, line.parse())) {
            Some((file, Ok(line))) => Problem { line, column: 1, ..in_file(file, String::new()) },
            _ => in_file(&known.from, String::new()),
        }
    }

    /// Whom the policy has no answer for.
    fn errors(&mut self, all: &[Asked<'_>]) {
        let mut told = BTreeSet::new();
        for (_, standings) in all {
            for (known, standing) in self.known.iter().zip(standings) {
                let Some(error) = &standing.error else { continue };
                if told.insert(Arc::clone(&known.id)) {
                    let place = self.place("data.sidegate.global.grant");
                    self.found.add(finding(
                        Level::Error,
                        "identity-error",
                        Problem { message: format!("`{}`: {error}", known.id), ..place },
                        "repair the rule or the data: until then they are refused everywhere",
                    ));
                }
            }
        }
    }

    fn layers(&mut self, all: &[Asked<'_>]) {
        let mut emptied: BTreeMap<&'static str, (usize, usize, Arc<str>)> = BTreeMap::new();
        for (callee, standings) in all {
            for (known, standing) in self.somebody(standings) {
                // Whose service a token calls is not known, and so not what its tenant leaves.
                if callee.routes.is_empty() && known.assumed.brings.is_some() {
                    continue;
                }
                let mut before = &standing.brought;
                for layer in &standing.layers {
                    if before.is_empty() {
                        break;
                    }
                    let (of, gone, example) =
                        emptied.entry(layer.name).or_insert_with(|| (0, 0, Arc::clone(&known.id)));
                    *of += 1;
                    if layer.left.is_empty() {
                        if *gone == 0 {
                            *example = Arc::clone(&known.id);
                        }
                        *gone += 1;
                    }
                    before = &layer.left;
                }
            }
        }
        for (layer, (of, gone, example)) in emptied {
            if gone == 0 {
                continue;
            }
            let place = self.place(&format!("data.sidegate.{layer}.limit"));
            let (level, message) = if gone == of {
                (Level::Error, format!("layer `{layer}` takes everything from everybody"))
            } else {
                let message = format!(
                    "layer `{layer}` takes everything from {gone} of {of}, such as `{example}`"
                );
                (Level::Warning, message)
            };
            let remedy = "let its `limit` leave them something, or take away what they are granted";
            let problem = Problem { message, ..place };
            self.found.add(finding(level, "layer-takes-all", problem, remedy));
        }
    }

    fn roles(&mut self, all: &[Asked<'_>]) {
        let mut had: BTreeSet<Arc<str>> = BTreeSet::new();
        for (_, standings) in all {
            had.extend(standings.iter().flat_map(|it| it.roles.iter().map(Arc::clone)));
        }
        // Where nobody is known by name, nothing can be said of what they have.
        if had.is_empty() {
            return;
        }
        let unused: Vec<String> =
            self.policy.role_names().filter(|it| !had.contains(*it)).map(str::to_owned).collect();
        for role in unused {
            let problem = in_file("data", format!("nobody has the role `{role}`"));
            let remedy = "remove it, unless another role includes it";
            self.found.add(finding(Level::Warning, "unused-role", problem, remedy));
        }
    }

    fn unreached(&mut self, all: &[Asked<'_>]) {
        let mut reaching: BTreeMap<Arc<str>, (bool, String, Problem)> = BTreeMap::new();
        for (callee, standings) in all {
            for (known, standing) in self.somebody(standings) {
                if standing.error.is_some() || !callee.takes(known) {
                    continue;
                }
                let reached = standing.denials.is_empty() && callee.reached_by(standing);
                let why = || {
                    if let Some(denial) = standing.denials.first() {
                        return format!("denied by layer `{}`", denial.layer);
                    }
                    match &standing.tenant {
                        None => "it has no tenant".to_owned(),
                        Some(tenant) => {
                            format!("it is of tenant `{tenant}` and holds `{}`", standing.scopes)
                        }
                    }
                };
                let entry = reaching
                    .entry(Arc::clone(&known.id))
                    .or_insert_with(|| (reached, why(), self.named(known)));
                entry.0 |= reached;
            }
        }
        for (id, (_, why, place)) in reaching.into_iter().filter(|(_, it)| !it.0) {
            let message = format!("`{id}` reaches no route: {why}");
            let remedy = "grant it what a route asks for, or take it out of the data";
            let problem = Problem { message, ..place };
            self.found.add(finding(Level::Warning, "no-route-left", problem, remedy));
        }
    }

    /// Scopes that a route asks for and nobody has.
    fn ungranted(&mut self, all: &[Asked<'_>]) {
        for (callee, standings) in all {
            let mut lacking: BTreeMap<String, Problem> = BTreeMap::new();
            for (route, place) in &callee.routes {
                for scope in route.required().scopes() {
                    let held = self.known.iter().zip(standings).any(|(known, standing)| {
                        callee.takes(known)
                            && standing.denials.is_empty()
                            && standing.scopes.allows(scope)
                    });
                    if !held {
                        let (file, line) =
                            place.clone().unwrap_or_else(|| (callee.name.clone(), 0));
                        let message = format!(
                            "nobody who is known has `{scope}`, which `{}` asks for",
                            route.name()
                        );
                        lacking.entry(scope.to_string()).or_insert(Problem {
                            file,
                            line,
                            column: 1,
                            message,
                        });
                    }
                }
            }
            for problem in lacking.into_values() {
                let remedy = "grant it, correct the route, or name who has it with `--identities`";
                self.found.add(finding(Level::Warning, "ungranted-scope", problem, remedy));
            }
        }
    }

    /// Scopes that somebody has and no route asks for.
    fn unasked(&mut self, all: &[Asked<'_>]) {
        let required: Vec<_> = all
            .iter()
            .flat_map(|(callee, _)| callee.routes.iter())
            .filter(|(route, _)| *route.required() != Required::DangerNoScope)
            .flat_map(|(route, _)| route.required().scopes())
            .collect();
        let mut granted: BTreeMap<String, (ScopePattern, &Known)> = BTreeMap::new();
        for (_, standings) in all {
            for (known, standing) in self.known.iter().zip(standings) {
                if known.assumed.brings.is_some() {
                    continue;
                }
                for pattern in standing.brought.patterns() {
                    granted.entry(pattern.to_string()).or_insert_with(|| (pattern, known));
                }
            }
        }
        for (text, (pattern, known)) in granted {
            if required.iter().any(|scope| pattern.allows(scope)) {
                continue;
            }
            let place = self.named(known);
            let message = format!("no route asks for `{text}`, which `{}` is granted", known.id);
            let remedy = "take it away, or name the configuration that asks for it with `--config`";
            let problem = Problem { message, ..place };
            self.found.add(finding(Level::Warning, "unasked-scope", problem, remedy));
        }
    }

    fn tenants(&mut self, all: &[Asked<'_>]) {
        for (callee, standings) in all {
            let tenant = &*callee.asker.tenant;
            let mut workloads =
                self.known.iter().zip(standings).filter(|(it, _)| it.assumed.brings.is_none());
            let had = workloads.any(|(_, standing)| {
                standing.cross_tenant
                    || standing.tenant.as_ref().is_some_and(|it| it.as_str() == tenant)
            });
            if !had && callee.takes_workloads {
                let message = format!("nobody who is known has the tenant `{tenant}`");
                let problem = in_file(&callee.name, message);
                let remedy = "correct `tenant`, or give it to those who call this service";
                self.found.add(finding(Level::Warning, "tenant-nobody-has", problem, remedy));
            }
        }
    }
}

fn finding(level: Level, code: &'static str, problem: Problem, remedy: &str) -> Finding {
    Finding { level, code, problem, remedy: remedy.to_owned() }
}

fn in_file(file: &str, message: String) -> Problem {
    Problem { file: file.to_owned(), line: 0, column: 0, message }
}

#[cfg(test)]
mod tests;
