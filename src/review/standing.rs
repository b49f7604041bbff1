//! How an identity stands with a policy, in words and lists.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use crate::authz::{Assumed, ScopePattern, ScopeSet, Standing};
use crate::policy::{Direction, Local, Workload};
use crate::telemetry::Rfc3339;

/// On whose behalf a policy is asked.
#[derive(Debug, Clone, Default)]
pub struct Asker {
    /// `None`: a service beside the caller, in the same trust domain and environment.
    pub workload: Option<Workload>,
    pub tenant: Arc<str>,
    pub address: Option<IpAddr>,
}

/// A standing as it is shown.
#[derive(Debug, Clone, Serialize)]
pub struct Shown {
    pub id: Arc<str>,
    pub method: &'static str,
    pub tenant: Option<String>,
    pub cross_tenant: bool,
    pub roles: Vec<Arc<str>>,
    pub teams: Vec<Arc<str>>,
    /// Before any layer.
    pub brought: Vec<String>,
    pub layers: Vec<ShownLayer>,
    /// What is left after all of them.
    pub scopes: Vec<String>,
    /// When the policy would be asked again.
    pub expires: Option<String>,
    pub denials: Vec<ShownDenial>,
    pub error: Option<String>,
}

/// What one layer did.
#[derive(Debug, Clone, Serialize)]
pub struct ShownLayer {
    pub layer: &'static str,
    pub limit: Vec<String>,
    /// What it took away, wholly or in part.
    pub removed: Vec<Removed>,
    pub left: Vec<String>,
}

/// A scope that did not come through a layer as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removed {
    pub scope: String,
    /// What is left of it.
    pub to: Vec<String>,
}

/// Why the policy refuses somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownDenial {
    pub layer: &'static str,
    pub code: Option<String>,
    pub message: String,
}

impl Asker {
    /// As `assumed` meets it.
    pub fn local(&self, assumed: &Assumed) -> Local {
        let workload = self.workload.as_ref().or(assumed.subject.workload.as_ref());
        Local {
            workload: workload.cloned(),
            tenant: Arc::clone(&self.tenant),
            direction: Direction::Inbound,
        }
    }

    /// How somebody stands with a policy that is asked from here.
    pub fn standing(
        &self,
        policy: &crate::policy::Policy,
        assumed: &Assumed,
        now: SystemTime,
    ) -> Standing {
        crate::authz::standing(policy, assumed, &self.local(assumed), self.address, now)
    }
}

/// For people and programs.
pub fn shown(id: &Arc<str>, assumed: &Assumed, standing: &Standing) -> Shown {
    let mut before = &standing.brought;
    let mut layers = Vec::new();
    for layer in &standing.layers {
        layers.push(ShownLayer {
            layer: layer.name,
            limit: texts(&layer.limit),
            removed: removed(before, &layer.left),
            left: texts(&layer.left),
        });
        before = &layer.left;
    }
    let denials = standing.denials.iter().map(|reason| ShownDenial {
        layer: reason.layer,
        code: reason.code.clone(),
        message: reason.message.clone(),
    });
    // Whom the policy refuses or fails has nothing, whatever was granted.
    let refused = !standing.denials.is_empty() || standing.error.is_some();
    Shown {
        id: Arc::clone(id),
        method: assumed.subject.method,
        tenant: standing.tenant.as_ref().map(ToString::to_string),
        cross_tenant: standing.cross_tenant && !refused,
        roles: standing.roles.clone(),
        teams: standing.teams.clone(),
        brought: texts(&standing.brought),
        layers,
        scopes: if refused { Vec::new() } else { texts(&standing.scopes) },
        expires: standing.expires.map(|at| Rfc3339(at).to_string()),
        denials: denials.collect(),
        error: standing.error.clone(),
    }
}

/// What of `before` is not wholly in `left`, and what became of it.
pub fn removed(before: &ScopeSet, left: &ScopeSet) -> Vec<Removed> {
    let mut removed = Vec::new();
    for pattern in before.patterns() {
        let alone = single(&pattern);
        let rest = alone.meet(left).unwrap_or_default();
        if rest != alone {
            removed.push(Removed { scope: pattern.to_string(), to: texts(&rest) });
        }
    }
    removed
}

pub fn texts(set: &ScopeSet) -> Vec<String> {
    set.patterns().map(|pattern| pattern.to_string()).collect()
}

fn single(pattern: &ScopePattern) -> ScopeSet {
    ScopeSet::new(vec![pattern.clone()]).unwrap_or_default()
}

#[cfg(test)]
mod tests;
