//! Why a decision is what it is: each step in the guard's order, with the rule and the line.
//!
//! The verdict is the guard's own. This file only tells at which step it fell, and finds the rules
//! that had a part in it.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use super::standing::{Asker, Shown, removed, shown};
use super::steps::{Note, Passing, Step, Steps};
use crate::authz::{
    Asked, Assumed, Denial, Guard, Outcome, Reason, Required, Route, Standing, decide, question,
};
use crate::policy::{Event, IdentityQuestion, Kind, RequestQuestion, Rules, Tracer};

/// One decision to explain.
pub struct Case<'a> {
    pub rules: &'a Rules,
    /// Of the same policy.
    pub tracer: &'a Tracer,
    pub guard: &'a Guard,
    pub id: Arc<str>,
    pub assumed: &'a Assumed,
    pub asker: &'a Asker,
    pub asked: Asked<'a>,
    /// In words: `GET /orders/1`.
    pub request: String,
    pub now: SystemTime,
    /// Where a route is declared, by its place in the table and its name.
    pub declared: &'a dyn Fn(usize, &str) -> Option<String>,
}

/// What is told of it.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    pub allowed: bool,
    /// `allowed`, or the stable code of the denial.
    pub reason: &'static str,
    /// As the audit line says it.
    pub detail: Option<String>,
    pub request: String,
    pub steps: Vec<Step>,
    pub standing: Shown,
    /// What would have to change.
    pub remedy: Option<String>,
}

impl Explanation {
    /// The decision fell by a revocation made at run time, which no policy knows of: whatever would
    /// have come after it was not reached.
    #[must_use]
    pub fn revoked_at_run_time(self, detail: Option<String>) -> Self {
        let mut revoked = false;
        let steps = self.steps.into_iter().map(|step| {
            let outcome = match (step.step, revoked) {
                ("revoked", _) => Passing::Failed,
                (_, true) => Passing::NotReached,
                (_, false) => step.outcome,
            };
            let is_it = step.step == "revoked";
            revoked |= is_it;
            let summary = match &detail {
                Some(detail) if is_it => format!("at run time: {detail}"),
                None if is_it => "at run time".to_owned(),
                _ => step.summary,
            };
            Step { outcome, summary, ..step }
        });
        Self {
            allowed: false,
            reason: Reason::Revoked.code(),
            steps: steps.collect(),
            remedy: Some(
                "lift the entry with `sidegate revoke --lift`, if it is to be believed again"
                    .to_owned(),
            ),
            detail,
            ..self
        }
    }
}

impl fmt::Debug for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case").field("id", &self.id).field("request", &self.request).finish()
    }
}

/// Everything that is known about one identity on the way.
struct Facts<'a> {
    case: &'a Case<'a>,
    standing: Standing,
    events: Vec<Event>,
    route: Option<Arc<Route>>,
}

/// Explains one decision.
pub fn explain(case: &Case<'_>) -> Explanation {
    let local = case.asker.local(case.assumed);
    let standing = case.asker.standing(&case.rules.policy, case.assumed, case.now);
    let asked = IdentityQuestion {
        subject: &case.assumed.subject,
        address: case.asker.address,
        local: &local,
        now: case.now,
    };
    let events = case.tracer.identity(&asked);
    let address = case.asker.address;
    let Outcome { verdict, .. } =
        decide(case.guard, case.rules, case.assumed, &local, address, case.asked, case.now);
    let route = match case.asked {
        Asked::Stream(route) => Some(Arc::clone(route)),
        Asked::Http(routes, facts) => {
            routes.find(facts.method, facts.target.path(), facts.is_grpc).map(Arc::clone)
        }
    };
    let facts = Facts { case, standing, events, route };
    let denial = verdict.err();
    let failed = denial.as_ref().map(|denial| facts.fallen(denial));
    let steps = facts.steps(failed, denial.as_ref());
    Explanation {
        allowed: denial.is_none(),
        reason: denial.as_ref().map_or("allowed", |denial| denial.reason.code()),
        detail: denial.as_ref().map(|denial| denial.detail.clone()),
        request: case.request.clone(),
        steps,
        remedy: denial.as_ref().and_then(|denial| facts.remedy(denial)),
        standing: shown(&case.id, case.assumed, &facts.standing),
    }
}

impl Facts<'_> {
    /// At which step the guard said no.
    fn fallen(&self, denial: &Denial) -> &'static str {
        match (denial.reason, &denial.route) {
            (Reason::TokenExpired, _) => "authenticated",
            (Reason::Revoked, _) => "revoked",
            (Reason::PolicyError, None) => "policy",
            (Reason::PolicyDenied, None) => "rights",
            (Reason::TenantMismatch, _) => "tenant",
            (Reason::NoRoute, _) => "route",
            (Reason::PolicyDenied, Some(_)) if !self.standing.denials.is_empty() => "denials",
            (Reason::InsufficientScope, _) => "scopes",
            (Reason::PolicyDenied | Reason::PolicyError, Some(_)) => "request",
        }
    }

    fn steps(&self, failed: Option<&'static str>, denial: Option<&Denial>) -> Vec<Step> {
        let why = denial.map(|denial| denial.detail.as_str()).unwrap_or_default();
        let mut steps = Steps::until(failed, why);
        let method = self.case.assumed.subject.method;
        steps.add("authenticated", format!("assumed, by `{method}`"), Vec::new());
        steps.add("revoked", "stands in no list of revocations".to_owned(), Vec::new());
        steps.add("policy", "has an answer".to_owned(), self.answer());
        let until = self.standing.expires.map(crate::telemetry::Rfc3339);
        let until = until.map_or("hold until the policy changes".to_owned(), |until| {
            format!("hold until {until}")
        });
        steps.add("rights", until, Vec::new());
        steps.add("tenant", self.tenant(), Vec::new());
        let (route, notes) = self.route();
        steps.add("route", route, notes);
        steps.add("denials", "nothing is against this identity".to_owned(), self.denials());
        steps.add("scopes", self.held(), self.missing());
        if matches!(self.case.asked, Asked::Http(..)) {
            let asks = self.case.rules.policy.asks_requests();
            let fine =
                if asks { "nothing is against this request" } else { "not asked about requests" };
            steps.add("request", fine.to_owned(), self.request(failed));
        }
        steps.done()
    }

    /// Which definitions gave what, and which layer took what away.
    fn answer(&self) -> Vec<Note> {
        let mut notes = Vec::new();
        if self.case.assumed.brings.is_none() {
            notes.extend(self.applied("data.sidegate.global.grant").map(applied));
            for role in &self.standing.roles {
                let scopes = self.case.rules.policy.role(role).unwrap_or_default().join(" ");
                let file = self.case.tracer.data_file(&["roles", role]).map(str::to_owned);
                notes.push(Note::at(file, format!("role `{role}` gives `{scopes}`")));
            }
        } else {
            notes.push(Note::plain("the token brings its own scopes and tenant".to_owned()));
        }
        let failing = self.events.iter().filter(|event| event.error.is_some());
        notes.extend(failing.map(|event| {
            let error = event.error.as_deref().unwrap_or_default();
            Note::at(Some(place(event)), format!("fails: {error}"))
        }));
        if self.standing.error.is_some() {
            return notes;
        }
        notes.push(Note::plain(format!("before any layer: `{}`", self.standing.brought)));
        let mut before = &self.standing.brought;
        for layer in &self.standing.layers {
            let rule = format!("data.sidegate.{}.limit", layer.name);
            let limit = format!("layer `{}` allows at most `{}`", layer.name, layer.limit);
            let places: Vec<_> = self.applied(&rule).map(place).collect();
            let at = if places.is_empty() { None } else { Some(places.join(", ")) };
            notes.push(Note::at(at.clone(), limit));
            for gone in removed(before, &layer.left) {
                let to = gone.to.join(" ");
                let what = match to.is_empty() {
                    true => format!("layer `{}` takes away `{}`", layer.name, gone.scope),
                    false => format!("layer `{}` narrows `{}` to `{to}`", layer.name, gone.scope),
                };
                notes.push(Note::at(at.clone(), what));
            }
            before = &layer.left;
        }
        notes.push(Note::plain(format!("what is left: `{}`", self.standing.scopes)));
        notes
    }

    fn tenant(&self) -> String {
        let own = self.case.guard.service_tenant();
        match &self.standing.tenant {
            Some(tenant) if tenant == own => format!("`{tenant}` is the service's own"),
            Some(tenant) => format!("comes from `{tenant}` into `{own}` by right across tenants"),
            None => format!("none, where `{own}` is asked for"),
        }
    }

    fn route(&self) -> (String, Vec<Note>) {
        let Some(route) = &self.route else { return ("none is declared".to_owned(), Vec::new()) };
        let needs = match route.required() {
            Required::All(_) => format!("asks for `{}`", route.required_text()),
            Required::Any(_) => format!("asks for one of `{}`", route.required_text()),
            Required::AnyOf(_) => {
                format!("asks for all of one of `{}`", route.required_text())
            }
            Required::DangerNoScope => "asks for no scope".to_owned(),
        };
        let at = (self.case.declared)(route.index(), route.name());
        let notes = at.map(|at| Note::at(Some(at), "declared here".to_owned()));
        (format!("`{}` {needs}", route.name()), notes.into_iter().collect())
    }

    fn denials(&self) -> Vec<Note> {
        let mut layers: Vec<_> = self.standing.denials.iter().map(|it| it.layer).collect();
        layers.dedup();
        let rules = layers.into_iter().map(|layer| format!("data.sidegate.{layer}.deny"));
        rules.flat_map(|rule| self.applied(&rule).map(applied).collect::<Vec<_>>()).collect()
    }

    fn held(&self) -> String {
        match &self.route {
            Some(route) if *route.required() == Required::DangerNoScope => "none needed".to_owned(),
            _ => format!("holds `{}`", self.standing.scopes),
        }
    }

    /// For each scope that is not held, where it got lost.
    fn missing(&self) -> Vec<Note> {
        let Some(route) = &self.route else { return Vec::new() };
        if route.required().is_met_by(&self.standing.scopes) {
            return Vec::new();
        }
        let mut notes = Vec::new();
        for scope in route.required().scopes() {
            if self.standing.scopes.allows(scope) {
                continue;
            }
            if !self.standing.brought.allows(scope) {
                let how = if self.case.assumed.brings.is_some() { "brought" } else { "granted" };
                notes.push(Note::plain(format!("`{scope}` was not {how}")));
            }
            for layer in &self.standing.layers {
                if !layer.limit.allows(scope) {
                    let rule = format!("data.sidegate.{}.limit", layer.name);
                    let at = self.applied(&rule).next().map(place);
                    let what = format!("layer `{}` does not allow `{scope}`", layer.name);
                    notes.push(Note::at(at, what));
                }
            }
        }
        notes
    }

    /// Which definitions are against the request, if it came to that.
    fn request(&self, failed: Option<&'static str>) -> Vec<Note> {
        let (Asked::Http(routes, facts), None | Some("request")) = (self.case.asked, failed) else {
            return Vec::new();
        };
        let tracer = self.case.tracer;
        let policy = &self.case.rules.policy;
        let ask = |question: &RequestQuestion<'_>| tracer.request(question);
        match question(policy, self.case.assumed, routes, facts, ask) {
            Ok(events) => events
                .unwrap_or_default()
                .iter()
                .filter(|event| event.value.is_some() || event.error.is_some())
                .map(applied)
                .collect(),
            Err(message) => vec![Note::plain(message)],
        }
    }

    fn applied<'e>(&'e self, rule: &str) -> impl Iterator<Item = &'e Event> + use<'e> {
        let rule = rule.to_owned();
        self.events.iter().filter(move |event| event.rule == rule && event.value.is_some())
    }

    fn remedy(&self, denial: &Denial) -> Option<String> {
        let id = &self.case.id;
        let own = self.case.guard.service_tenant();
        Some(match (denial.reason, &denial.route) {
            (Reason::TokenExpired, _) => "a new token".to_owned(),
            (Reason::Revoked, _) => format!(
                "take the entry out of the revocations ({}), if `{id}` is to be believed again",
                self.case.tracer.data_file(&["revocations"]).unwrap_or("those made at run time")
            ),
            (Reason::PolicyError, _) => format!("repair the policy: {}", denial.detail),
            (Reason::TenantMismatch, _) if self.standing.tenant.is_none() => {
                format!("let `data.sidegate.global.grant` give `{id}` the tenant `{own}`")
            }
            (Reason::TenantMismatch, _) => {
                format!("give `{id}` the tenant `{own}`, or a short-lived right across tenants")
            }
            (Reason::NoRoute, _) => {
                format!("declare a route for `{}` in the configuration", self.case.request)
            }
            (Reason::PolicyDenied, None) => {
                "ask the policy again: the rights have run out".to_owned()
            }
            (Reason::PolicyDenied, Some(_)) => {
                "nothing that is granted helps: the rule that denies must no longer hold".to_owned()
            }
            (Reason::InsufficientScope, _) => self.scopes_remedy()?,
        })
    }

    fn scopes_remedy(&self) -> Option<String> {
        let required = self.route.as_ref()?.required();
        let lacking: Vec<_> =
            required.scopes().iter().filter(|scope| !self.standing.scopes.allows(scope)).collect();
        let joiner = if matches!(required, Required::Any(_) | Required::AnyOf(_)) {
            "` or `"
        } else {
            "`, `"
        };
        let named = |scopes: &[String]| scopes.join(joiner);
        let ungranted: Vec<String> = lacking
            .iter()
            .filter(|scope| !self.standing.brought.allows(scope))
            .map(ToString::to_string)
            .collect();
        let mut parts = Vec::new();
        if !ungranted.is_empty() {
            let scopes = named(&ungranted);
            let id = &self.case.id;
            parts.push(match &self.case.assumed.brings {
                None => format!("grant `{scopes}` to `{id}` or to a role that it has"),
                Some(_) => format!("a token that brings `{scopes}`"),
            });
        }
        for layer in &self.standing.layers {
            let barred: Vec<String> = lacking
                .iter()
                .filter(|scope| !layer.limit.allows(scope))
                .map(ToString::to_string)
                .collect();
            if !barred.is_empty() {
                let also = if parts.is_empty() { "" } else { " also" };
                let scopes = named(&barred);
                parts.push(format!("layer `{}` would{also} have to allow `{scopes}`", layer.name));
            }
        }
        Some(parts.join("; "))
    }
}

fn applied(event: &Event) -> Note {
    let what = match event.kind {
        Kind::Default => "by default",
        Kind::Definition => "by this definition",
        Kind::Else => "by this `else`",
    };
    let said = event.value.as_deref().or(event.error.as_deref()).unwrap_or_default();
    Note::at(Some(place(event)), format!("{what}: {said}"))
}

fn place(event: &Event) -> String {
    format!("{}:{}", event.file, event.line)
}
