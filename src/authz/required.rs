//! The scopes that a route asks for, and whether a caller has them.

use super::scopes::{Scope, ScopeSet, joined};

/// The scopes that a caller must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Required {
    All(Vec<Scope>),
    Any(Vec<Scope>),
    /// Any authenticated workload of the tenant will do.
    DangerNoScope,
}

impl Required {
    pub fn is_met_by(&self, held: &ScopeSet) -> bool {
        match self {
            Self::All(scopes) => !scopes.is_empty() && scopes.iter().all(|it| held.allows(it)),
            Self::Any(scopes) => scopes.iter().any(|it| held.allows(it)),
            Self::DangerNoScope => true,
        }
    }

    pub fn scopes(&self) -> &[Scope] {
        match self {
            Self::All(scopes) | Self::Any(scopes) => scopes,
            Self::DangerNoScope => &[],
        }
    }

    /// The value of `WWW-Authenticate` for a caller who lacks the scopes (RFC 6750 section 3).
    pub fn challenge(&self) -> String {
        challenge(&joined(self.scopes()))
    }
}

/// The scope characters need no escape in a quoted string.
pub(super) fn challenge(scopes: &str) -> String {
    format!("Bearer error=\"insufficient_scope\", scope=\"{scopes}\"")
}
