//! The order of the rules: token, revocations, tenant, route, scopes, policy. The first failure
//! answers.
//!
//! The tenant comes before anything that could tell a stranger which routes exist.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::Semaphore;

use crate::policy::{Aside, Budget, DenyReason, EvalError, Pace, Revocations, Rules};

use super::claims::{Claims, Refusal, told};
use super::request::{self, Head, HttpFacts, Inquiry, Standpoint};
use super::routes::{Route, RouteTable};
use super::tenant::Tenant;
use super::verdict::{Denial, Permit, PermitFor, Reason};

/// Judges on behalf of one service.
#[derive(Debug, Clone)]
pub struct Guard {
    service_tenant: Tenant,
}

/// Where a policy is asked that is too slow for a worker, and the pace at which it has answered this
/// asker: a policy that is slow for one sort of request need not be so for others.
#[derive(Debug, Clone, Copy)]
pub struct Beside<'a> {
    pub threads: &'a Aside,
    pub pace: &'a Pace,
    /// One question of an asker at a time.
    pub turn: &'a Semaphore,
}

/// A request that nothing is against, unless the policy asks about it.
struct Open<'r> {
    route: &'r Arc<Route>,
    cross_tenant: bool,
    request: PermitFor,
    inquiry: Option<Inquiry>,
}

impl Guard {
    pub fn new(service_tenant: Tenant) -> Self {
        Self { service_tenant }
    }

    pub fn service_tenant(&self) -> &Tenant {
        &self.service_tenant
    }

    /// The whole judgement at once, however long the policy takes: for tools.
    pub fn judge_http(
        &self,
        rules: &Rules,
        claims: &Claims,
        routes: &RouteTable,
        facts: &HttpFacts<'_>,
    ) -> Result<Permit, Denial> {
        let open = self.judge_declared(rules, claims, routes, facts)?;
        let denials = open.inquiry.as_ref().map(|inquiry| inquiry.denials(Budget::whole()));
        open.permitted(denials)
    }

    /// The same on a worker, where others wait. `None`: the policy is too slow for that, see
    /// [`Self::judge_http_aside`].
    pub fn judge_http_at_once(
        &self,
        rules: &Rules,
        claims: &Claims,
        routes: &RouteTable,
        facts: &HttpFacts<'_>,
    ) -> Option<Result<Permit, Denial>> {
        let open = match self.judge_declared(rules, claims, routes, facts) {
            Ok(open) => open,
            Err(denial) => return Some(Err(denial)),
        };
        let denials = open.inquiry.as_ref().map(|inquiry| inquiry.denials(Budget::on_worker()));
        match denials {
            Some(Err(EvalError::Timeout { .. })) => None,
            denials => Some(open.permitted(denials)),
        }
    }

    /// The same where nobody else waits.
    pub async fn judge_http_aside(
        &self,
        by: Beside<'_>,
        rules: &Rules,
        claims: &Claims,
        routes: &RouteTable,
        facts: &HttpFacts<'_>,
    ) -> Result<Permit, Denial> {
        let mut open = self.judge_declared(rules, claims, routes, facts)?;
        match open.inquiry.take() {
            None => open.permitted(None),
            Some(inquiry) => {
                let denials = by.ask(inquiry).await;
                open.judged(denials)
            }
        }
    }

    /// Everything but the policy's own question about the request.
    fn judge_declared<'r>(
        &self,
        rules: &Rules,
        claims: &Claims,
        routes: &'r RouteTable,
        facts: &HttpFacts<'_>,
    ) -> Result<Open<'r>, Denial> {
        check_proof(rules, claims, facts.serial, facts.now)?;
        let cross_tenant = self.check_tenant(claims, facts.now)?;
        let Some(route) = routes.find(facts.method, facts.target.path(), facts.is_grpc) else {
            let detail = "no declared route for this method and path".to_owned();
            return Err(Denial::at_the_door(Reason::NoRoute, detail));
        };
        check_scopes(claims, route)?;
        if !rules.policy.asks_requests() {
            let request = PermitFor::Unasked(Head::of(facts));
            return Ok(Open { route, cross_tenant, request, inquiry: None });
        }
        let request = request::shown(route, facts)
            .map_err(|error| Denial::on(route, Reason::PolicyError, error))?;
        let inquiry = Inquiry::new(&rules.policy, claims, &request, &facts.standpoint());
        let request = PermitFor::Request(request);
        Ok(Open { route, cross_tenant, request, inquiry: Some(inquiry) })
    }

    /// For streams without requests; `route` is the listener's own.
    pub fn judge_tcp(
        &self,
        rules: &Rules,
        claims: &Claims,
        serial: Option<&str>,
        route: &Arc<Route>,
        now: SystemTime,
    ) -> Result<Permit, Denial> {
        check_proof(rules, claims, serial, now)?;
        let cross_tenant = self.check_tenant(claims, now)?;
        check_scopes(claims, route)?;
        Ok(Permit::new(route, cross_tenant))
    }

    /// Judges again what was permitted, for what is still open: same route, other claims, and the
    /// policy's question about the request as it was.
    pub async fn judge_again(
        &self,
        by: Beside<'_>,
        rules: &Rules,
        claims: &Claims,
        permit: &Permit,
        at: &Standpoint<'_>,
    ) -> Result<(), Denial> {
        check_proof(rules, claims, at.serial, at.now)?;
        self.check_tenant(claims, at.now)?;
        let route = permit.declared();
        check_scopes(claims, route)?;
        if !rules.policy.asks_requests() {
            return Ok(());
        }
        let request = match permit.subject() {
            PermitFor::Stream => return Ok(()),
            PermitFor::Request(request) => Ok(request.clone()),
            PermitFor::Unasked(Ok(head)) => head.shown(route),
            PermitFor::Unasked(Err(error)) => Err(error.clone()),
        };
        let request = request.map_err(|error| Denial::on(route, Reason::PolicyError, error))?;
        let inquiry = Inquiry::new(&rules.policy, claims, &request, at);
        if by.pace.is_slow() {
            return refusal(route, by.ask(inquiry).await);
        }
        match inquiry.denials(Budget::on_worker()) {
            Err(EvalError::Timeout { .. }) => {
                by.pace.cut();
                refusal(route, by.ask(inquiry).await)
            }
            denials => refusal(route, denials.map_err(|error| error.to_string())),
        }
    }

    /// Whether the caller comes from another tenant by its special right.
    fn check_tenant(&self, claims: &Claims, now: SystemTime) -> Result<bool, Denial> {
        if let Some(Refusal::Error(message)) = claims.refusal() {
            return Err(Denial::at_the_door(Reason::PolicyError, message.clone()));
        }
        if !claims.holds_at(now) {
            let detail = "the rights have run out and were not renewed".to_owned();
            return Err(Denial::at_the_door(Reason::PolicyDenied, detail));
        }
        let mismatch = |detail| Denial::at_the_door(Reason::TenantMismatch, detail);
        match claims.tenant() {
            None => Err(mismatch("the identity has no tenant".to_owned())),
            Some(tenant) if *tenant == self.service_tenant => Ok(false),
            Some(_) if claims.cross_tenant() => Ok(true),
            Some(tenant) => {
                let own = &self.service_tenant;
                Err(mismatch(format!("the identity is of tenant `{tenant}`, not `{own}`")))
            }
        }
    }
}

/// Whether they are still who they proved to be, whatever the policy thinks of them.
fn check_proof(
    rules: &Rules,
    claims: &Claims,
    serial: Option<&str>,
    now: SystemTime,
) -> Result<(), Denial> {
    if claims.token_has_run_out_at(now) {
        let detail = "the token has run out".to_owned();
        return Err(Denial::at_the_door(Reason::TokenExpired, detail));
    }
    let by = [rules.policy.revocations(), &rules.revoked];
    match by.into_iter().find_map(|list| revoked(list, claims, serial)) {
        None => Ok(()),
        Some(detail) => Err(Denial::at_the_door(Reason::Revoked, detail)),
    }
}

/// By which entry. A SPIFFE ID is looked for wherever a subject is named: the same workload may
/// come by a token whose issuer writes it into `sub`.
fn revoked(revocations: &Revocations, claims: &Claims, serial: Option<&str>) -> Option<String> {
    if revocations.is_empty() {
        return None;
    }
    let subject = claims.subject();
    if let Some(entry) = revocations.spiffe_id(subject) {
        return Some(format!("revoked by `spiffe_ids`: `{entry}`"));
    }
    if revocations.subject(subject) {
        return Some("revoked by `subjects`".to_owned());
    }
    let by_token = claims
        .token()
        .is_some_and(|token| revocations.token(token.id().map(|id| &**id), token.fingerprint()));
    if by_token {
        return Some("revoked by `tokens`".to_owned());
    }
    serial.filter(|serial| revocations.serial(serial)).map(|_| "revoked by `serials`".to_owned())
}

/// An identity that the policy denies has lost its scopes by that, so the policy is named as the
/// reason before the scopes are.
fn check_scopes(claims: &Claims, route: &Route) -> Result<(), Denial> {
    if let Some(refusal) = claims.refusal() {
        return Err(Denial::on(route, Reason::PolicyDenied, refusal.to_string()));
    }
    if route.required().is_met_by(claims.scopes()) {
        return Ok(());
    }
    let detail = format!("held: `{}`", claims.scopes());
    Err(Denial::on(route, Reason::InsufficientScope, detail))
}

impl Open<'_> {
    fn permitted(
        self,
        denials: Option<Result<Vec<DenyReason>, EvalError>>,
    ) -> Result<Permit, Denial> {
        let denials = denials.unwrap_or_else(|| Ok(Vec::new()));
        self.judged(denials.map_err(|error| error.to_string()))
    }

    /// The only permit for a request is made on the last line, so a rule that fails, for whatever
    /// cause, can only refuse.
    fn judged(self, denials: Result<Vec<DenyReason>, String>) -> Result<Permit, Denial> {
        refusal(self.route, denials)?;
        Ok(Permit::new(self.route, self.cross_tenant).to(self.request))
    }
}

/// What the policy has against a request, as a denial.
fn refusal(route: &Route, denials: Result<Vec<DenyReason>, String>) -> Result<(), Denial> {
    match denials {
        Ok(reasons) if reasons.is_empty() => Ok(()),
        Ok(reasons) => Err(Denial::on(route, Reason::PolicyDenied, told(&reasons))),
        Err(error) => Err(Denial::on(route, Reason::PolicyError, error)),
    }
}

impl Beside<'_> {
    async fn ask(self, inquiry: Inquiry) -> Result<Vec<DenyReason>, String> {
        let turn = self.turn.acquire().await;
        let answer = self.threads.ask(move |budget| (inquiry.denials(budget), budget.used())).await;
        let (denials, used) = answer.map_err(|busy| busy.to_string())?;
        self.pace.answered(used);
        drop(turn);
        denials.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests;
