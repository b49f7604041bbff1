//! What would be decided about somebody who is only assumed: for tools and reviews.
//!
//! Nothing here lets anybody in: there is no [`Peer`](crate::tls::Peer) and no token, so no
//! [`Permit`](super::Permit) leaves this file. The rules are those of the guard, not a copy.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use crate::policy::{DenyReason, IdentityQuestion, Local, Policy, RequestQuestion, Rules, Subject};

use super::claims::{Claims, Method, Refusal, Rights};
use super::grant::{self, Brings};
use super::guard::Guard;
use super::request::{self, HttpFacts};
use super::routes::{Route, RouteTable};
use super::scopes::{ScopePattern, ScopeSet};
use super::tenant::Tenant;
use super::verdict::{Denial, Permit};

/// Somebody who has proven nothing.
#[derive(Debug, Clone)]
pub struct Assumed {
    pub subject: Subject,
    /// What the machine token would bring; `None` for a workload.
    pub brings: Option<Brought>,
}

/// What a machine token would say.
#[derive(Debug, Clone, Default)]
pub struct Brought {
    pub scopes: Vec<Arc<str>>,
    pub tenant: Option<String>,
    pub cross_tenant: bool,
}

/// How somebody would stand with a policy.
#[derive(Debug, Clone)]
pub struct Standing {
    pub tenant: Option<Tenant>,
    /// Before any layer: scopes of the grant and of its roles, or of the token.
    pub brought: ScopeSet,
    /// From the widest layer to the narrowest, those that the policy defines.
    pub layers: Vec<Layer>,
    /// What is left after all of them.
    pub scopes: ScopeSet,
    pub roles: Vec<Arc<str>>,
    pub teams: Vec<Arc<str>>,
    pub cross_tenant: bool,
    /// From then on the policy would be asked again.
    pub expires: Option<SystemTime>,
    pub denials: Vec<DenyReason>,
    /// Why the policy has no answer that could be relied on.
    pub error: Option<String>,
}

/// What one layer did.
#[derive(Debug, Clone)]
pub struct Layer {
    pub name: &'static str,
    pub limit: ScopeSet,
    /// What was left under it.
    pub left: ScopeSet,
}

/// What would be asked for.
#[derive(Debug, Clone, Copy)]
pub enum Asked<'a> {
    Http(&'a RouteTable, &'a HttpFacts<'a>),
    Stream(&'a Arc<Route>),
}

/// How it would be decided.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The route's name and the scopes that it asks for; or why not.
    pub verdict: Result<(Arc<str>, Arc<str>), Denial>,
    pub cross_tenant: bool,
}

/// Somebody assumed, with the rights of their standing: to be asked about many requests.
#[derive(Debug)]
pub struct Supposed(Claims);

/// How somebody would stand, layer by layer.
pub fn standing(
    policy: &Policy,
    assumed: &Assumed,
    local: &Local,
    address: Option<IpAddr>,
    now: SystemTime,
) -> Standing {
    let question = IdentityQuestion { subject: &assumed.subject, address, local, now };
    let mut standing = outline(policy, assumed, &question);
    // The rights are settled; what follows only tells how they came about.
    if standing.error.is_none() {
        standing.tell(policy, assumed, &question);
    }
    standing
}

/// How somebody would stand, and nothing of how it comes about: `brought` and `layers` are empty.
pub fn outline(policy: &Policy, assumed: &Assumed, question: &IdentityQuestion<'_>) -> Standing {
    let rights = grant::rights(policy, assumed.brings().as_ref(), question);
    let (denials, error) = match &rights.refusal {
        None => (Vec::new(), None),
        Some(Refusal::Policy(reasons)) => (reasons.clone(), None),
        Some(Refusal::Error(message)) => (Vec::new(), Some(message.clone())),
    };
    Standing {
        tenant: rights.tenant,
        brought: ScopeSet::empty(),
        layers: Vec::new(),
        scopes: rights.scopes,
        roles: rights.roles,
        teams: rights.teams,
        cross_tenant: rights.cross_tenant,
        expires: rights.expires,
        denials,
        error,
    }
}

/// How a request or connection would be decided. `rules` are those by which `standing` was made.
pub fn decide(
    guard: &Guard,
    rules: &Rules,
    assumed: &Assumed,
    local: &Local,
    address: Option<IpAddr>,
    asked: Asked<'_>,
    now: SystemTime,
) -> Outcome {
    let question = IdentityQuestion { subject: &assumed.subject, address, local, now };
    let standing = outline(&rules.policy, assumed, &question);
    let supposed = Supposed::new(&rules.policy, assumed, &standing, now);
    match asked {
        Asked::Http(routes, facts) => supposed.http(guard, rules, routes, facts),
        Asked::Stream(route) => supposed.stream(guard, rules, None, route, now),
    }
}

impl Supposed {
    /// `standing` is that of `assumed` with `policy` at `now`.
    pub fn new(policy: &Policy, assumed: &Assumed, standing: &Standing, now: SystemTime) -> Self {
        let method = match assumed.subject.method {
            "jwt" => Method::Jwt,
            "jwt-svid" => Method::JwtSvid,
            _ => Method::Spiffe,
        };
        let refusal = match &standing.error {
            Some(message) => Some(Refusal::Error(message.clone())),
            None if standing.denials.is_empty() => None,
            None => Some(Refusal::Policy(standing.denials.clone())),
        };
        let rights = Rights {
            tenant: standing.tenant.clone(),
            scopes: standing.scopes.clone(),
            teams: standing.teams.clone(),
            roles: standing.roles.clone(),
            cross_tenant: standing.cross_tenant,
            expires: standing.expires,
            refusal,
        };
        let subject = Arc::new(assumed.subject.clone());
        Self(Claims::new(subject, method, now, Arc::clone(policy.revision()), rights))
    }

    pub fn http(
        &self,
        guard: &Guard,
        rules: &Rules,
        routes: &RouteTable,
        facts: &HttpFacts<'_>,
    ) -> Outcome {
        Outcome::of(guard.judge_http(rules, &self.0, routes, facts))
    }

    /// A stream, or an HTTP request whose route is known and which the policy is not asked about.
    pub fn stream(
        &self,
        guard: &Guard,
        rules: &Rules,
        serial: Option<&str>,
        route: &Arc<Route>,
        now: SystemTime,
    ) -> Outcome {
        Outcome::of(guard.judge_tcp(rules, &self.0, serial, route, now))
    }
}

impl Outcome {
    fn of(permit: Result<Permit, Denial>) -> Self {
        let cross_tenant = permit.as_ref().is_ok_and(Permit::cross_tenant);
        let verdict =
            permit.map(|permit| (Arc::clone(permit.route()), Arc::clone(permit.required())));
        Self { verdict, cross_tenant }
    }
}

/// What the policy would be asked about a request, given to `ask`: nothing if no route is declared
/// for it. An error says why it cannot be asked.
pub fn question<T>(
    policy: &Policy,
    assumed: &Assumed,
    routes: &RouteTable,
    facts: &HttpFacts<'_>,
    ask: impl FnOnce(&RequestQuestion<'_>) -> T,
) -> Result<Option<T>, String> {
    let Some(route) = routes.find(facts.method, facts.target.path(), facts.is_grpc) else {
        return Ok(None);
    };
    let subject = &assumed.subject;
    let HttpFacts { address, local, now, .. } = *facts;
    let standing = outline(policy, assumed, &IdentityQuestion { subject, address, local, now });
    let supposed = Supposed::new(policy, assumed, &standing, now);
    request::asked(&supposed.0, route, facts, ask).map(Some)
}

impl Assumed {
    pub fn workload(subject: Subject) -> Self {
        Self { subject, brings: None }
    }

    fn brings(&self) -> Option<Brings<'_>> {
        let brought = self.brings.as_ref()?;
        Some(Brings {
            scopes: &brought.scopes,
            tenant: brought.tenant.as_deref(),
            teams: &[],
            roles: &[],
            cross_tenant: brought.cross_tenant,
        })
    }
}

impl Standing {
    fn tell(&mut self, policy: &Policy, assumed: &Assumed, question: &IdentityQuestion<'_>) {
        let (brought, limits): (Vec<ScopePattern>, _) = match &assumed.brings {
            Some(brings) => {
                let Ok(ceiling) = policy.ceiling(question) else { return };
                (patterns(brings.scopes.iter().map(|it| &**it)), ceiling.limits)
            }
            None => {
                let Ok(answer) = policy.identity(question) else { return };
                let of_roles = answer.grant.roles.iter().filter_map(|it| policy.role(it));
                let scopes = answer.grant.scopes.iter().chain(of_roles.flatten());
                (patterns(scopes.map(String::as_str)), answer.limits)
            }
        };
        self.brought = ScopeSet::new(brought).unwrap_or_default();
        let mut left = self.brought.clone();
        for limit in limits {
            let patterns = patterns(limit.patterns.iter().map(String::as_str));
            let set = ScopeSet::new(patterns).unwrap_or_default();
            left = left.meet(&set).unwrap_or_default();
            self.layers.push(Layer { name: limit.layer, limit: set, left: left.clone() });
        }
    }
}

fn patterns<'t>(texts: impl Iterator<Item = &'t str>) -> Vec<ScopePattern> {
    texts.filter_map(|text| ScopePattern::parse(text).ok()).collect()
}
