//! The scopes that a route asks for, and whether a caller has them.

use super::scopes::{Scope, ScopeSet, joined};

/// The scopes that a caller must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Required {
    All(Vec<Scope>),
    Any(Vec<Scope>),
    AnyOf(Alternatives),
    /// Any authenticated workload of the tenant will do.
    DangerNoScope,
}

/// Several lists of scopes, of which a caller needs one, and all scopes of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alternatives {
    // INVARIANT: two lists or more, of which none holds all of another, and one has two scopes or
    // more; `named` is every scope of them, once.
    lists: Vec<Vec<Scope>>,
    named: Vec<Scope>,
}

impl Required {
    /// Between alternatives, where they are written in one line.
    pub const OR: &str = " | ";

    /// One of several lists, in the simplest form that says the same. A list of nothing would ask
    /// for nothing: then this asks for [`Required::All`] of nothing, which nobody meets.
    pub fn any_of(lists: Vec<Vec<Scope>>) -> Self {
        let mut kept: Vec<Vec<Scope>> = Vec::new();
        for list in lists {
            let mut unique: Vec<Scope> = Vec::with_capacity(list.len());
            for scope in list {
                if !unique.contains(&scope) {
                    unique.push(scope);
                }
            }
            // Whoever has the longer of two such lists has the shorter.
            if kept.iter().any(|known| known.iter().all(|it| unique.contains(it))) {
                continue;
            }
            kept.retain(|known| !unique.iter().all(|it| known.contains(it)));
            kept.push(unique);
        }
        match kept.as_mut_slice() {
            [] => Self::All(Vec::new()),
            [one] => Self::All(std::mem::take(one)),
            lists if lists.iter().all(|list| list.len() == 1) => {
                Self::Any(kept.into_iter().flatten().collect())
            }
            _ => {
                let mut named: Vec<Scope> = Vec::new();
                for scope in kept.iter().flatten() {
                    if !named.contains(scope) {
                        named.push(scope.clone());
                    }
                }
                Self::AnyOf(Alternatives { lists: kept, named })
            }
        }
    }

    pub fn is_met_by(&self, held: &ScopeSet) -> bool {
        match self {
            Self::All(scopes) => are_all_met(scopes, held),
            Self::Any(scopes) => scopes.iter().any(|it| held.allows(it)),
            Self::AnyOf(of) => of.lists.iter().any(|list| are_all_met(list, held)),
            Self::DangerNoScope => true,
        }
    }

    /// Every scope that is named, in whichever way they go together.
    pub fn scopes(&self) -> &[Scope] {
        match self {
            Self::All(scopes) | Self::Any(scopes) => scopes,
            Self::AnyOf(of) => &of.named,
            Self::DangerNoScope => &[],
        }
    }

    /// For audit lines: scopes with spaces between, and alternatives of several with ` | `.
    pub fn text(&self) -> String {
        match self {
            Self::AnyOf(of) => {
                let lists: Vec<_> = of.lists.iter().map(Vec::as_slice).map(joined).collect();
                lists.join(Self::OR)
            }
            Self::All(_) | Self::Any(_) | Self::DangerNoScope => joined(self.scopes()),
        }
    }

    /// The value of `WWW-Authenticate` for a caller who lacks the scopes (RFC 6750 section 3).
    pub fn challenge(&self) -> String {
        challenge(&self.text())
    }
}

impl Alternatives {
    pub fn lists(&self) -> &[Vec<Scope>] {
        &self.lists
    }
}

fn are_all_met(scopes: &[Scope], held: &ScopeSet) -> bool {
    !scopes.is_empty() && scopes.iter().all(|it| held.allows(it))
}

/// Of [`Required::text`]. Each alternative is a challenge of its own, as RFC 9110 section 11.6.1
/// has it for several ways in. The scope characters need no escape in a quoted string.
pub(super) fn challenge(text: &str) -> String {
    let challenges = text.split(Required::OR);
    let challenges =
        challenges.map(|it| format!("Bearer error=\"insufficient_scope\", scope=\"{it}\""));
    challenges.collect::<Vec<_>>().join(", ")
}
