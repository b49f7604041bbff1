//! How everybody stands with a policy at each place where it is asked: rights, refusals, routes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use super::identities::Known;
use super::patience::Patience;
use crate::authz::{Guard, Route, ScopePattern, ScopeSet, Standing, Supposed, Tenant};
use crate::policy::{DenyReason, IdentityQuestion, Local, Policy, Rules};

/// A service on whose behalf policies are asked.
#[derive(Debug, Clone)]
pub struct Place {
    /// As reports call it.
    pub name: Arc<str>,
    pub local: Local,
    /// What may be called there; nothing where that is not known.
    pub doors: Vec<Door>,
}

/// One listener and its routes.
#[derive(Debug, Clone)]
pub struct Door {
    pub listener: Arc<str>,
    pub routes: Vec<Arc<Route>>,
}

/// One thing that somebody may do. Tenants before scopes, as they are judged.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// To be of this tenant.
    Tenant(Arc<str>),
    /// To reach into every tenant.
    CrossTenant,
    /// A scope pattern.
    Scope(Arc<str>),
}

/// Whether rights are of any use.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case", tag = "is", content = "why")]
pub enum State {
    /// Let in as far as the rights go.
    Fine,
    /// Of no tenant, so nobody lets it in.
    NoTenant,
    Denied(Vec<String>),
    /// By this entry.
    Revoked(String),
    /// The policy has no answer that could be relied on.
    Failed(String),
}

/// How one person stands at one place.
#[derive(Debug)]
pub(super) struct Stand {
    pub(super) state: State,
    pub(super) tenant: Option<Tenant>,
    pub(super) scopes: ScopeSet,
    pub(super) cross_tenant: bool,
    standing: Standing,
}

/// A policy that is asked at one moment.
#[derive(Debug)]
pub(super) struct Asking<'a> {
    pub(super) rules: &'a Rules,
    pub(super) at: SystemTime,
    patience: Patience,
}

/// Which routes a set of rights opens, remembered: many hold the same.
#[derive(Debug, Default)]
pub(super) struct Opened(HashMap<Rights, Arc<[bool]>>);

/// Tenant, scopes, and the right to reach into every tenant.
type Rights = (Option<Tenant>, Arc<str>, bool);

impl<'a> Asking<'a> {
    pub(super) fn new(rules: &'a Rules, at: SystemTime) -> Self {
        Self { rules, at, patience: Patience::default() }
    }

    pub(super) fn policy(&self) -> &Policy {
        &self.rules.policy
    }

    pub(super) fn stand(&self, person: &Known, place: &Place) -> Stand {
        let subject = &person.assumed.subject;
        let question =
            IdentityQuestion { subject, address: None, local: &place.local, now: self.at };
        let standing = self.patience.outline(self.policy(), &person.assumed, &question);
        let revocations = self.policy().revocations();
        let by_id = revocations.spiffe_id(&subject.subject).map(str::to_owned);
        let by_subject = || revocations.subject(&subject.subject).then(|| "subjects".to_owned());
        let state = match (by_id.or_else(by_subject), &standing.error) {
            (Some(entry), _) => State::Revoked(entry),
            (None, Some(message)) => State::Failed(message.clone()),
            _ if !standing.denials.is_empty() => {
                State::Denied(standing.denials.iter().map(told).collect())
            }
            _ if standing.tenant.is_none() => State::NoTenant,
            _ => State::Fine,
        };
        Stand {
            state,
            tenant: standing.tenant.clone(),
            scopes: standing.scopes.clone(),
            cross_tenant: standing.cross_tenant,
            standing,
        }
    }

    /// For each route of `place`, door after door, whether it is open to who stands so. `opened`
    /// is of this policy and place.
    pub(super) fn routes(
        &self,
        person: &Known,
        place: &Place,
        stand: &Stand,
        opened: &mut Opened,
    ) -> Arc<[bool]> {
        if !stand.is_let_in() {
            return Arc::default();
        }
        let key = (stand.tenant.clone(), Arc::clone(stand.scopes.text()), stand.cross_tenant);
        let open = || self.open(person, place, stand);
        Arc::clone(opened.0.entry(key).or_insert_with(open))
    }

    fn open(&self, person: &Known, place: &Place, stand: &Stand) -> Arc<[bool]> {
        let routes = place.doors.iter().flat_map(|door| &door.routes);
        let Ok(tenant) = Tenant::parse(&place.local.tenant) else {
            return routes.map(|_| false).collect();
        };
        let guard = Guard::new(tenant);
        let supposed = Supposed::new(self.policy(), &person.assumed, &stand.standing, self.at);
        let open = |route: &Arc<Route>| {
            supposed.stream(&guard, self.rules, None, route, self.at).verdict.is_ok()
        };
        routes.map(open).collect()
    }
}

impl Stand {
    /// Nothing that shows differs.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        self.state == other.state
            && self.tenant == other.tenant
            && self.scopes == other.scopes
            && self.cross_tenant == other.cross_tenant
    }

    pub(super) fn is_let_in(&self) -> bool {
        self.state == State::Fine
    }

    /// Rights that this has and `other` has not, whatever the states.
    pub(super) fn beyond(&self, other: &Self) -> Vec<Right> {
        let mut beyond = Vec::new();
        if let Some(tenant) = &self.tenant
            && other.tenant.as_ref() != Some(tenant)
        {
            beyond.push(Right::Tenant(tenant.as_str().into()));
        }
        if self.cross_tenant && !other.cross_tenant {
            beyond.push(Right::CrossTenant);
        }
        let scopes = self.scopes.patterns().filter(|it| !covers(&other.scopes, it));
        beyond.extend(scopes.map(|it| Right::Scope(it.to_string().into())));
        beyond
    }

    /// All rights.
    pub(super) fn all(&self) -> Vec<Right> {
        let tenant = self.tenant.iter().map(|it| Right::Tenant(it.as_str().into()));
        let cross = self.cross_tenant.then_some(Right::CrossTenant);
        let scopes = self.scopes.patterns().map(|it| Right::Scope(it.to_string().into()));
        tenant.chain(cross).chain(scopes).collect()
    }
}

/// A pattern stands for names without end, so that a union covers it only where one member does.
pub(super) fn covers(set: &ScopeSet, pattern: &ScopePattern) -> bool {
    set.patterns().any(|member| member.meet(pattern).as_ref() == Some(pattern))
}

fn told(reason: &DenyReason) -> String {
    match &reason.code {
        Some(code) => format!("{}: {code}", reason.layer),
        None => format!("{}: {}", reason.layer, reason.message),
    }
}
