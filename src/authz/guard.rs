//! The order of the rules: token, revocations, tenant, route, scopes, policy. The first failure
//! answers.
//!
//! The tenant comes before anything that could tell a stranger which routes exist.

use std::sync::Arc;
use std::time::SystemTime;

use crate::policy::{Policy, Revocations};

use super::claims::{Claims, Refusal, told};
use super::request::{self, HttpFacts};
use super::routes::{Route, RouteTable};
use super::tenant::Tenant;
use super::verdict::{Denial, Permit, Reason};

/// Judges on behalf of one service.
#[derive(Debug, Clone)]
pub struct Guard {
    service_tenant: Tenant,
}

impl Guard {
    pub fn new(service_tenant: Tenant) -> Self {
        Self { service_tenant }
    }

    pub fn service_tenant(&self) -> &Tenant {
        &self.service_tenant
    }

    /// The only permit is made on the last line, so a rule that fails, for whatever cause, can
    /// only refuse.
    pub fn judge_http(
        &self,
        policy: &Policy,
        claims: &Claims,
        routes: &RouteTable,
        facts: &HttpFacts<'_>,
    ) -> Result<Permit, Denial> {
        check_proof(policy, claims, facts.serial, facts.now)?;
        let cross_tenant = self.check_tenant(claims, facts.now)?;
        let Some(route) = routes.find(facts.method, facts.target.path(), facts.is_grpc) else {
            let detail = "no declared route for this method and path".to_owned();
            return Err(Denial::at_the_door(Reason::NoRoute, detail));
        };
        check_scopes(claims, route)?;
        check_request(policy, claims, route, facts)?;
        Ok(Permit::new(route, cross_tenant))
    }

    /// For streams without requests; `route` is the listener's own.
    pub fn judge_tcp(
        &self,
        policy: &Policy,
        claims: &Claims,
        serial: Option<&str>,
        route: &Arc<Route>,
        now: SystemTime,
    ) -> Result<Permit, Denial> {
        check_proof(policy, claims, serial, now)?;
        let cross_tenant = self.check_tenant(claims, now)?;
        check_scopes(claims, route)?;
        Ok(Permit::new(route, cross_tenant))
    }

    /// Judges again what was permitted, for a stream that is still open: same route, other claims.
    pub fn judge_again(
        &self,
        policy: &Policy,
        claims: &Claims,
        serial: Option<&str>,
        permit: &Permit,
        now: SystemTime,
    ) -> Result<(), Denial> {
        check_proof(policy, claims, serial, now)?;
        self.check_tenant(claims, now)?;
        check_scopes(claims, permit.declared())
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
    policy: &Policy,
    claims: &Claims,
    serial: Option<&str>,
    now: SystemTime,
) -> Result<(), Denial> {
    if claims.token_has_run_out_at(now) {
        let detail = "the token has run out".to_owned();
        return Err(Denial::at_the_door(Reason::TokenExpired, detail));
    }
    match revoked(policy.revocations(), claims, serial) {
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

fn check_request(
    policy: &Policy,
    claims: &Claims,
    route: &Route,
    facts: &HttpFacts<'_>,
) -> Result<(), Denial> {
    if !policy.asks_requests() {
        return Ok(());
    }
    match request::denials(policy, claims, route, facts) {
        Ok(reasons) if reasons.is_empty() => Ok(()),
        Ok(reasons) => Err(Denial::on(route, Reason::PolicyDenied, told(&reasons))),
        Err(error) => Err(Denial::on(route, Reason::PolicyError, error)),
    }
}

#[cfg(test)]
mod tests;
