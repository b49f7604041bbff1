//! Everybody about whom a policy can be asked by name.
//!
//! Who else may come is unknown; whom the policy speaks of is not: SPIFFE IDs in its data, text and
//! tests, services that it looks up by name in each known environment, issuers and their subjects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use spiffe::SpiffeId;

use crate::authz::{Assumed, Brought};
use crate::policy::{Mention, Source, Subject, Workload, mentions};

/// Where an identity is from that the policy need not mention.
pub(super) const GIVEN: &str = "given";

/// The most identities that are looked at.
pub const KNOWN_MAX: usize = 100_000;
/// Any subject but those that are named.
const ANYBODY: &str = "(any other subject)";

/// Somebody who is known by name.
#[derive(Debug, Clone)]
pub struct Known {
    /// A SPIFFE ID, or issuer and subject of a machine token with a space between.
    pub id: Arc<str>,
    /// File, and line where it is known, that names them.
    pub from: String,
    /// A machine token brings every scope: what is left of it is the most that it can have.
    pub assumed: Assumed,
}

/// What is known besides the policy.
#[derive(Debug, Clone, Default)]
pub struct Extra {
    pub identities: Vec<SpiffeId>,
    /// In place of those that the policy mentions.
    pub trust_domains: Vec<String>,
    /// In place of those that the policy mentions.
    pub environments: Vec<String>,
    /// Whose tokens are assumed.
    pub tenant: Option<String>,
}

/// Everybody, each once and sorted: workloads before tokens; at most [`KNOWN_MAX`].
pub fn known(source: &Source, extra: &Extra) -> Vec<Known> {
    let mentions = mentions(source);
    let mut crowd = Crowd::default();
    for id in &extra.identities {
        crowd.workload(id, GIVEN, false);
    }
    for mention in &mentions {
        if let Some(id) = mention.fields.get("spiffe_id").and_then(|id| SpiffeId::new(id).ok()) {
            crowd.workload(&id, &mention.from, mention.in_tests);
        }
    }
    crowd.leave_strangers(source);
    let trust_domains = trust_domains(&mentions, extra, &crowd);
    let environments = environments(&mentions, extra, &crowd);
    for mention in &mentions {
        crowd.composed(mention, &trust_domains, &environments);
        crowd.token(mention, extra.tenant.as_deref());
    }
    let Crowd { workloads, tokens } = crowd;
    let workloads = workloads.into_iter().map(|(uri, (workload, from, _))| Known {
        id: uri,
        from,
        assumed: Assumed::workload(Subject::spiffe(workload)),
    });
    workloads.chain(tokens.into_values()).take(KNOWN_MAX).collect()
}

#[derive(Default)]
struct Crowd {
    /// With the place that names them, and whether that is only a test.
    workloads: BTreeMap<Arc<str>, (Workload, String, bool)>,
    tokens: BTreeMap<Arc<str>, Known>,
}

impl Crowd {
    fn is_full(&self) -> bool {
        self.workloads.len() + self.tokens.len() >= KNOWN_MAX
    }

    fn workload(&mut self, id: &SpiffeId, from: &str, in_tests: bool) {
        // A trust domain by itself is nobody who calls.
        if id.path().is_empty() || self.is_full() {
            return;
        }
        let workload = Workload::new(id);
        let uri = Arc::clone(workload.uri());
        let new = (workload, from.to_owned(), in_tests);
        let entry = self.workloads.entry(uri).or_insert_with(|| new.clone());
        if entry.2 && !in_tests {
            *entry = new;
        }
    }

    /// A trust domain that tests alone name is there to be refused: nobody of ours comes from it.
    fn leave_strangers(&mut self, source: &Source) {
        let domains: BTreeSet<&str> =
            self.workloads.values().map(|(workload, ..)| workload.trust_domain()).collect();
        let ours: BTreeSet<String> =
            domains.into_iter().filter(|it| source.says(it)).map(str::to_owned).collect();
        if !ours.is_empty() {
            self.workloads.retain(|_, (workload, _, tests)| {
                !*tests || ours.contains(workload.trust_domain())
            });
        }
    }

    /// Who has the service or path that is looked up, wherever that may be.
    fn composed(
        &mut self,
        mention: &Mention,
        trust_domains: &BTreeSet<String>,
        environments: &BTreeSet<String>,
    ) {
        let field = |name: &str| mention.fields.get(name);
        let one = |name: &str| field(name).map(|it| BTreeSet::from([it.clone()]));
        let paths: Vec<String> = match (field("path"), field("service")) {
            (Some(path), _) => vec![path.clone()],
            (None, Some(service)) => {
                let own = one("environment");
                let environments = own.as_ref().unwrap_or(environments);
                environments.iter().map(|environment| format!("/{environment}/{service}")).collect()
            }
            (None, None) => return,
        };
        let own = one("trust_domain");
        for trust_domain in own.as_ref().unwrap_or(trust_domains) {
            for path in &paths {
                if let Ok(id) = SpiffeId::new(format!("spiffe://{trust_domain}{path}")) {
                    self.workload(&id, &mention.from, mention.in_tests);
                }
            }
        }
    }

    fn token(&mut self, mention: &Mention, tenant: Option<&str>) {
        let Some(issuer) = mention.fields.get("issuer") else { return };
        if self.is_full() {
            return;
        }
        let subject = mention.fields.get("subject").map_or(ANYBODY, String::as_str);
        let id: Arc<str> = format!("{issuer} {subject}").into();
        let brings = Brought {
            scopes: vec![Arc::from("*:*")],
            tenant: tenant.map(str::to_owned),
            cross_tenant: false,
        };
        let subject = Subject::jwt(subject.into(), issuer.as_str().into());
        let assumed = Assumed { subject, brings: Some(brings) };
        let known = Known { id: Arc::clone(&id), from: mention.from.clone(), assumed };
        self.tokens.entry(id).or_insert(known);
    }
}

fn trust_domains(mentions: &[Mention], extra: &Extra, crowd: &Crowd) -> BTreeSet<String> {
    if !extra.trust_domains.is_empty() {
        return extra.trust_domains.iter().cloned().collect();
    }
    let of_workloads = crowd.workloads.values().map(|(it, ..)| it.trust_domain().to_owned());
    let enforced = named(mentions, "trust_domain", false);
    let known: BTreeSet<String> = enforced.chain(of_workloads).collect();
    if known.is_empty() { named(mentions, "trust_domain", true).collect() } else { known }
}

fn environments(mentions: &[Mention], extra: &Extra, crowd: &Crowd) -> BTreeSet<String> {
    if !extra.environments.is_empty() {
        return extra.environments.iter().cloned().collect();
    }
    let of_workloads = crowd.workloads.values().filter_map(|(it, ..)| it.environment_and_service());
    let of_workloads = of_workloads.map(|(environment, _)| environment.to_owned());
    let enforced = named(mentions, "environment", false);
    let tests = named(mentions, "environment", true);
    enforced.chain(of_workloads).chain(tests).collect()
}

fn named<'m>(
    mentions: &'m [Mention],
    field: &'m str,
    in_tests: bool,
) -> impl Iterator<Item = String> + 'm {
    let of_kind = mentions.iter().filter(move |it| it.in_tests == in_tests);
    of_kind.filter_map(move |mention| mention.fields.get(field).cloned())
}

#[cfg(test)]
mod tests;
