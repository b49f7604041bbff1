//! Decides anew what a log has recorded, by the guard's own rules and with the same facts. What a
//! line does not hold is never guessed: then there is no decision, and why.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, Method};
use spiffe::SpiffeId;

use super::facts::{Fact, Id, Tally, instant};
use super::patience::Patience;
use super::recorded::{ALLOWED, Cause, Decided, Log, because};
use super::sites::Leads;
use crate::authz::{
    Assumed, Brought, Denial, Guard, HttpFacts, Outcome, Reason, Required, Route, RouteMatch,
    RouteSpec, RouteTable, Scope, ScopeSet, Standing, Supposed, Target, Tenant,
};
use crate::policy::{Direction, IdentityQuestion, Local, Rules, Subject, Workload};
use crate::token;

/// Decides under one policy.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    log: &'a Log<'a>,
    rules: &'a Rules,
    /// What was in force when the log was written, perhaps.
    before: Option<&'a Rules>,
    /// Of all tokens that are revoked by their `jti`: a line has nothing else of them.
    revoked: HashSet<Arc<str>>,
    last: Option<(Who, Case)>,
    patience: Patience,
}

/// All that a standing depends on.
#[derive(Debug, PartialEq, Eq)]
struct Who {
    fact: [Id; 9],
    service: Tenant,
}

/// A caller at a moment, and the rights under the policy.
#[derive(Debug)]
struct Case {
    guard: Guard,
    local: Local,
    address: Option<IpAddr>,
    now: SystemTime,
    assumed: Assumed,
    standing: Standing,
    supposed: Supposed,
    /// Of a token: the most that the policy would leave of anything it may have brought.
    most: Option<Supposed>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(log: &'a Log<'a>, rules: &'a Rules, before: Option<&'a Rules>) -> Self {
        let lists = [rules.policy.revocations(), &rules.revoked];
        let entries = lists.into_iter().flat_map(|list| list.entries());
        let tokens = entries.filter(|(list, _)| *list == "tokens");
        let revoked = tokens.map(|(_, id)| token::fingerprint_of_id(id)).collect();
        Self { log, rules, before, revoked, last: None, patience: Patience::default() }
    }

    /// The same decision, under this policy.
    pub(super) fn decide(&mut self, fact: &Fact, tally: &Tally) -> Result<Decided, Cause> {
        let log = self.log;
        let service = log.sites.tenant(fact.place).cloned().or_else(|| {
            log.tenants.get(&(fact.place, fact.listener, fact.local)).cloned().flatten()
        });
        let service = service.ok_or(because::NO_TENANT)?;
        let who = Who {
            fact: [
                fact.spiffe_id,
                fact.issuer,
                fact.subject,
                fact.by,
                fact.local,
                fact.minute,
                fact.address,
                fact.tenant,
                fact.held,
            ],
            service,
        };
        let case = match self.last.take() {
            Some((last, case)) if last == who => case,
            _ => self.case(fact, tally, who.service.clone())?,
        };
        let decided = self.of(fact, &case);
        self.last = Some((who, case));
        decided
    }

    fn case(&self, fact: &Fact, tally: &Tally, service: Tenant) -> Result<Case, Cause> {
        let texts = self.log.texts;
        let workload = match texts.get(fact.local) {
            Some(id) => Some(Workload::new(&SpiffeId::new(&**id).ok().ok_or(because::MALFORMED)?)),
            None => None,
        };
        let local =
            Local { workload, tenant: Arc::from(service.as_str()), direction: Direction::Inbound };
        let address = match texts.get(fact.address) {
            Some(address) => Some(address.parse().ok().ok_or(because::MALFORMED)?),
            None => None,
        };
        let now = instant(match fact.minute {
            0 => tally.first,
            minute => i64::from(minute) * 60_000,
        });
        let assumed = self.assumed(fact)?;
        let policy = &self.rules.policy;
        let stand = |assumed: &Assumed| {
            let subject = &assumed.subject;
            let question = IdentityQuestion { subject, address, local: &local, now };
            self.patience.outline(policy, assumed, &question)
        };
        let standing = stand(&assumed);
        let supposed = Supposed::new(policy, &assumed, &standing, now);
        let most = assumed.brings.is_some().then(|| {
            let all = everything(&assumed);
            Supposed::new(policy, &all, &stand(&all), now)
        });
        let guard = Guard::new(service);
        Ok(Case { guard, local, address, now, assumed, standing, supposed, most })
    }

    fn assumed(&self, fact: &Fact) -> Result<Assumed, Cause> {
        let texts = self.log.texts;
        let by = texts.get(fact.by).map(|by| &**by);
        if by == Some("jwt") {
            let (subject, issuer) = (texts.get(fact.subject), texts.get(fact.issuer));
            let (subject, issuer) = subject.zip(issuer).ok_or(because::NOBODY)?;
            let held = texts.get(fact.held).map_or("", |held| &**held);
            let brought = Brought {
                scopes: held.split(' ').filter(|it| !it.is_empty()).map(Arc::from).collect(),
                tenant: texts.get(fact.tenant).map(|it| it.to_string()),
                cross_tenant: fact.cross_tenant,
            };
            let subject = Subject::jwt(Arc::clone(subject), Arc::clone(issuer));
            return Ok(Assumed { subject, brings: Some(brought) });
        }
        let id = texts.get(fact.spiffe_id).ok_or(because::NOBODY)?;
        let workload = Workload::new(&SpiffeId::new(&**id).ok().ok_or(because::MALFORMED)?);
        let subject = match by {
            Some("spiffe") => Subject::spiffe(workload),
            Some("jwt-svid") => Subject::jwt_svid(workload),
            _ => return Err(because::NOBODY),
        };
        Ok(Assumed::workload(subject))
    }

    fn of(&self, fact: &Fact, case: &Case) -> Result<Decided, Cause> {
        let reason = self.reason(fact, case, &case.supposed)?;
        let Some(most) = &case.most else {
            let standing = &case.standing;
            let refused = standing.error.is_some() || !standing.denials.is_empty();
            let scopes = if refused { Arc::default() } else { Arc::clone(standing.scopes.text()) };
            let tenant = standing.tenant.as_ref().map(|it| Arc::from(it.as_str()));
            return Ok(Decided { reason, rights: Some((tenant, scopes)) });
        };
        let was = self.log.texts.get(fact.reason).map_or("", |it| &**it);
        // Without an answer of the policy the line has no tenant; and a right to reach into other
        // tenants is in it only where it was used, or missed.
        let tenant_unsure = reason == Reason::TenantMismatch.code()
            && was != Reason::TenantMismatch.code()
            || was == Reason::PolicyError.code();
        if tenant_unsure {
            return Err(because::TOKEN);
        }
        let at_most = self.reason(fact, case, most)?;
        let decided = Decided { reason, rights: None };
        if reason == ALLOWED || reason == at_most {
            return Ok(decided);
        }
        if reason == Reason::InsufficientScope.code() && self.cannot_have_brought(fact, case) {
            return Ok(decided);
        }
        Err(because::TOKEN)
    }

    /// The first reason against it, in the guard's order.
    fn reason(&self, fact: &Fact, case: &Case, by: &Supposed) -> Result<&'static str, Cause> {
        if let Some(token) = self.log.texts.get(fact.token) {
            let lists = [self.rules.policy.revocations(), &self.rules.revoked];
            if self.revoked.contains(token) || lists.iter().any(|list| list.token(None, token)) {
                return Ok(Reason::Revoked.code());
            }
        }
        match self.log.sites.leads(fact.place, fact.found) {
            Leads::To(route) => self.on(fact, case, by, route),
            Leads::Nowhere => self.at_the_door(fact, case, by, Some(Reason::NoRoute)),
            Leads::Unknown => self.by_line(fact, case, by),
        }
    }

    /// By what the line itself says of the route.
    fn by_line(&self, fact: &Fact, case: &Case, by: &Supposed) -> Result<&'static str, Cause> {
        let texts = self.log.texts;
        let Some(name) = texts.get(fact.route) else {
            let none = texts.get(fact.reason).is_some_and(|it| **it == *Reason::NoRoute.code());
            return self.at_the_door(fact, case, by, none.then_some(Reason::NoRoute));
        };
        let mut reasons = Vec::new();
        for required in self.required(fact)? {
            let route = Route::new(name, required).ok().ok_or(because::MALFORMED)?;
            reasons.push(self.on(fact, case, by, &Arc::new(route))?);
        }
        match *reasons {
            [reason] => Ok(reason),
            [one, other] if one == other => Ok(one),
            _ => Err(because::ALL_OR_ANY),
        }
    }

    /// What the route asked for: a line lists scopes, and not whether all of them are needed.
    fn required(&self, fact: &Fact) -> Result<Vec<Required>, Cause> {
        let texts = self.log.texts;
        let text = texts.get(fact.required).map_or("", |it| &**it);
        let read = |list: &str| {
            let scopes = list.split(' ').filter(|it| !it.is_empty()).map(Scope::parse);
            scopes.collect::<Result<Vec<_>, _>>()
        };
        if text.contains(Required::OR) {
            let lists = text.split(Required::OR).map(read).collect::<Result<Vec<_>, _>>();
            return Ok(vec![Required::any_of(lists.ok().ok_or(because::MALFORMED)?)]);
        }
        let scopes = read(text).ok().ok_or(because::MALFORMED)?;
        let (all, any) = (Required::All(scopes.clone()), Required::Any(scopes.clone()));
        if scopes.is_empty() {
            return Ok(vec![Required::DangerNoScope]);
        }
        if scopes.len() == 1 {
            return Ok(vec![all]);
        }
        let held = texts.get(fact.held).map_or("", |it| &**it);
        let held = ScopeSet::parse(held).ok().ok_or(because::MALFORMED)?;
        let was = texts.get(fact.reason).map_or("", |it| &**it);
        Ok(match (all.is_met_by(&held), any.is_met_by(&held)) {
            // Some were held: what came of it tells which.
            (false, true) if fact.allowed => vec![any],
            (false, true) if was == Reason::InsufficientScope.code() => vec![all],
            _ => vec![all, any],
        })
    }

    fn on(
        &self,
        fact: &Fact,
        case: &Case,
        by: &Supposed,
        route: &Arc<Route>,
    ) -> Result<&'static str, Cause> {
        let serial = self.log.texts.get(fact.serial).map(|it| &**it);
        let outcome = by.stream(&case.guard, self.rules, serial, route, case.now);
        let protocol = self.log.texts.get(fact.protocol).map_or("", |it| &**it);
        if outcome.verdict.is_ok() && protocol != "tcp" && self.rules.policy.asks_requests() {
            return self.request(fact, case, by, route, protocol == "grpc");
        }
        Ok(code(&outcome))
    }

    /// With `then`, of somebody who is let in so far.
    fn at_the_door(
        &self,
        fact: &Fact,
        case: &Case,
        by: &Supposed,
        then: Option<Reason>,
    ) -> Result<&'static str, Cause> {
        let open = Route::new("", Required::DangerNoScope).ok().ok_or(because::MALFORMED)?;
        let serial = self.log.texts.get(fact.serial).map(|it| &**it);
        let outcome = by.stream(&case.guard, self.rules, serial, &Arc::new(open), case.now);
        match outcome.verdict {
            Err(Denial { route: None, reason, .. }) => Ok(reason.code()),
            _ => then.map(Reason::code).ok_or(because::NO_ROUTE),
        }
    }

    fn request(
        &self,
        fact: &Fact,
        case: &Case,
        by: &Supposed,
        route: &Arc<Route>,
        is_grpc: bool,
    ) -> Result<&'static str, Cause> {
        let texts = self.log.texts;
        if self.rules.policy.reads_unlogged() {
            return Err(because::UNLOGGED);
        }
        let (method, path) = (texts.get(fact.method), texts.get(fact.path));
        let (method, path) = method.zip(path).ok_or(because::NO_PATH)?;
        let method: Method = method.parse().ok().ok_or(because::MALFORMED)?;
        let target = Target::parse(path).ok().ok_or(because::MALFORMED)?;
        if !target.is_unchanged() || target.query().is_some() {
            return Err(because::MALFORMED);
        }
        let made;
        let table = match self.log.sites.table(fact.place) {
            Some(table) => table,
            None => {
                made = alone(route, &method, path, is_grpc).ok_or(because::MALFORMED)?;
                &made
            }
        };
        let facts = HttpFacts {
            method: &method,
            target: &target,
            host: "",
            headers: &HeaderMap::new(),
            is_grpc,
            address: case.address,
            local: &case.local,
            serial: texts.get(fact.serial).map(|it| &**it),
            now: case.now,
        };
        let ask = || code(&by.http(&case.guard, self.rules, table, &facts));
        Ok(self.patience.ask(ask, |reason| *reason == Reason::PolicyError.code()))
    }

    /// Whether the policy that was in force then would have left a scope that is missing in what
    /// was held: so the token did not bring it.
    fn cannot_have_brought(&self, fact: &Fact, case: &Case) -> bool {
        let texts = self.log.texts;
        let Some(before) = self.before else { return false };
        let same = texts.get(fact.revision) == Some(before.policy.revision());
        let was = texts.get(fact.reason).is_some_and(|it| {
            it.as_ref() == ALLOWED || it.as_ref() == Reason::InsufficientScope.code()
        });
        let held = texts.get(fact.held).map_or("", |it| &**it);
        let Ok(held) = ScopeSet::parse(held) else { return false };
        if !same || !was {
            return false;
        }
        let all = everything(&case.assumed);
        let question = IdentityQuestion {
            subject: &all.subject,
            address: case.address,
            local: &case.local,
            now: case.now,
        };
        let left = self.patience.outline(&before.policy, &all, &question).scopes;
        let possible = |scope: &Scope| held.allows(scope) || !left.allows(scope);
        let of_table = match self.log.sites.leads(fact.place, fact.found) {
            Leads::To(route) => Some(vec![route.required().clone()]),
            Leads::Nowhere | Leads::Unknown => self.required(fact).ok(),
        };
        let impossible = |required: &Required| match required {
            Required::All(scopes) => !scopes.iter().all(possible),
            Required::Any(scopes) => !scopes.iter().any(possible),
            Required::AnyOf(of) => !of.lists().iter().any(|list| list.iter().all(possible)),
            Required::DangerNoScope => false,
        };
        of_table.is_some_and(|required| required.iter().all(impossible))
    }
}

/// A table with one route, at the place where the request went.
fn alone(route: &Arc<Route>, method: &Method, path: &str, is_grpc: bool) -> Option<RouteTable> {
    let matcher = if is_grpc {
        let (service, name) = path.strip_prefix('/')?.split_once('/')?;
        RouteMatch::Grpc { service: service.to_owned(), method: Some(name.to_owned()) }
    } else {
        RouteMatch::Http { path: path.to_owned(), methods: vec![method.clone()] }
    };
    let name = Some(route.name().to_string());
    RouteTable::new(vec![RouteSpec { name, matcher, scopes: route.required().clone() }]).ok()
}

/// The same caller with a token that brings every scope.
fn everything(assumed: &Assumed) -> Assumed {
    let brings = assumed.brings.clone().unwrap_or_default();
    let brings = Brought { scopes: vec![Arc::from("*:*")], ..brings };
    Assumed { subject: assumed.subject.clone(), brings: Some(brings) }
}

fn code(outcome: &Outcome) -> &'static str {
    match &outcome.verdict {
        Ok(_) => ALLOWED,
        Err(denial) => denial.reason.code(),
    }
}
