//! What the policy leaves somebody. The arithmetic on scopes is here.
//!
//! `effective = brought ∩ global ∩ team ∩ resource ∩ tenant`. What a workload brings is what the
//! policy grants it, roles included; what a machine token brings stands in it.

use std::sync::Arc;
use std::time::Duration;

use crate::policy::{
    Budget, EvalError, IdentityAnswer, IdentityQuestion, Limit, Policy, minute_end,
};
use crate::token::{Kind, Verified};

use super::claims::{Refusal, Rights};
use super::scopes::{ScopeError, ScopePattern, ScopeSet};
use super::tenant::Tenant;

/// How long a policy that failed to answer is not asked again for the same identity.
pub(super) const RETRY_AFTER_ERROR: Duration = Duration::from_secs(1);
/// A right to reach into other tenants has to be given anew at least this often (AZ-8). That of a
/// token lives no longer than its issuer's settings allow, by default as long.
const CROSS_TENANT_TTL_MAX: Duration = Duration::from_secs(15 * 60);

/// The policy needs more time than it was given; what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cut(pub(super) String);

/// Why there are no rights.
enum Unanswered {
    Cut(Cut),
    /// A sentence for the audit line.
    Failed(String),
}

/// What the policy says of a workload, or of whoever presented `token`.
pub(super) fn evaluate(
    policy: &Policy,
    token: Option<&Arc<Verified>>,
    question: &IdentityQuestion<'_>,
    budget: Budget,
) -> Result<Rights, Cut> {
    let brings = token.filter(|token| *token.kind() == Kind::Machine).map(|it| Brings::of(it));
    rights_within(policy, brings.as_ref(), question, budget)
}

/// What somebody brings with them, whoever vouches for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Brings<'a> {
    pub scopes: &'a [Arc<str>],
    pub tenant: Option<&'a str>,
    pub teams: &'a [Arc<str>],
    pub roles: &'a [Arc<str>],
    pub cross_tenant: bool,
}

impl<'a> Brings<'a> {
    fn of(token: &'a Verified) -> Self {
        Self {
            scopes: token.scopes(),
            tenant: token.tenant().map(|it| &**it),
            teams: token.teams(),
            roles: token.roles(),
            cross_tenant: token.cross_tenant(),
        }
    }
}

/// What the policy says of whom the question is about: of a workload, or of what a token brings.
pub(super) fn rights(
    policy: &Policy,
    brings: Option<&Brings<'_>>,
    question: &IdentityQuestion<'_>,
) -> Rights {
    rights_within(policy, brings, question, Budget::whole())
        .unwrap_or_else(|Cut(message)| Rights::refused(Refusal::Error(message)))
}

fn rights_within(
    policy: &Policy,
    brings: Option<&Brings<'_>>,
    question: &IdentityQuestion<'_>,
    budget: Budget,
) -> Result<Rights, Cut> {
    let rights = match brings {
        Some(brings) => brought(policy, brings, question, budget),
        None => granted(policy, question, budget),
    };
    let rights = match rights {
        Ok(rights) => rights,
        Err(Unanswered::Cut(cut)) => return Err(cut),
        // It may have failed for the moment only, so it is asked for again soon.
        Err(Unanswered::Failed(message)) => Rights {
            expires: Some(question.now + RETRY_AFTER_ERROR),
            ..Rights::refused(Refusal::Error(message))
        },
    };
    let minute = policy.reads_time().then(|| minute_end(question.now));
    let expires = [rights.expires, minute].into_iter().flatten().min();
    Ok(Rights { expires, ..rights })
}

impl From<EvalError> for Unanswered {
    fn from(error: EvalError) -> Self {
        match error {
            EvalError::Timeout { .. } => Self::Cut(Cut(error.to_string())),
            EvalError::NoPolicy
            | EvalError::Undefined { .. }
            | EvalError::Evaluate { .. }
            | EvalError::Shape { .. } => Self::Failed(error.to_string()),
        }
    }
}

impl From<String> for Unanswered {
    fn from(message: String) -> Self {
        Self::Failed(message)
    }
}

/// What the policy grants a workload. An error leaves nothing of the answer standing.
fn granted(
    policy: &Policy,
    question: &IdentityQuestion<'_>,
    budget: Budget,
) -> Result<Rights, Unanswered> {
    let answer = policy.within(budget).identity(question)?;
    let IdentityAnswer { grant, limits, denials } = answer;
    if grant.cross_tenant && grant.ttl.is_none_or(|ttl| ttl > CROSS_TENANT_TTL_MAX) {
        let most = CROSS_TENANT_TTL_MAX.as_secs();
        return Err(format!("`cross_tenant` needs `ttl_seconds` of at most {most}").into());
    }
    let mut scopes = parsed(&grant.scopes)?;
    for role in &grant.roles {
        let of_role = policy.role(role).ok_or_else(|| format!("role `{role}` is not defined"))?;
        scopes.extend(parsed(of_role)?);
    }
    Ok(Rights {
        tenant: tenant(grant.tenant.as_deref())?,
        scopes: under(scopes, &limits)?,
        teams: shared(&grant.teams),
        roles: shared(&grant.roles),
        cross_tenant: grant.cross_tenant,
        expires: grant.ttl.map(|ttl| question.now + ttl),
        refusal: (!denials.is_empty()).then_some(Refusal::Policy(denials)),
    })
}

/// What the policy leaves of what a machine token brings.
fn brought(
    policy: &Policy,
    brings: &Brings<'_>,
    question: &IdentityQuestion<'_>,
    budget: Budget,
) -> Result<Rights, Unanswered> {
    if question.subject.issuer.as_ref().is_none_or(|issuer| issuer.is_empty()) {
        return Err("the token names no issuer, by whom it could be limited".to_owned().into());
    }
    let ceiling = policy.within(budget).ceiling(question)?;
    // Others, such as `openid`, are no scopes of ours: no route can ask for them.
    let scopes = brings.scopes.iter().filter_map(|scope| ScopePattern::parse(scope).ok());
    let scopes = scopes.collect();
    Ok(Rights {
        tenant: tenant(brings.tenant)?,
        scopes: under(scopes, &ceiling.limits)?,
        teams: brings.teams.to_vec(),
        roles: brings.roles.to_vec(),
        cross_tenant: brings.cross_tenant,
        expires: None,
        refusal: (!ceiling.denials.is_empty()).then_some(Refusal::Policy(ceiling.denials)),
    })
}

/// Narrower layers are met, never merged: what is left was brought, and stands in every limit.
fn under(brought: Vec<ScopePattern>, limits: &[Limit]) -> Result<ScopeSet, String> {
    let said = |error: ScopeError| error.to_string();
    let mut scopes = ScopeSet::new(brought).map_err(said)?;
    for limit in limits {
        let limit = ScopeSet::new(parsed(&limit.patterns)?).map_err(said)?;
        scopes = scopes.meet(&limit).map_err(said)?;
    }
    Ok(scopes)
}

fn parsed(patterns: &[String]) -> Result<Vec<ScopePattern>, String> {
    let parsed = patterns.iter().map(|pattern| ScopePattern::parse(pattern));
    parsed.collect::<Result<_, _>>().map_err(|error| error.to_string())
}

fn tenant(name: Option<&str>) -> Result<Option<Tenant>, String> {
    name.map(Tenant::parse).transpose().map_err(|error| error.to_string())
}

fn shared(names: &[String]) -> Vec<Arc<str>> {
    names.iter().map(|name| Arc::from(name.as_str())).collect()
}

#[cfg(test)]
mod tests;
