//! Which role or layer makes the difference between two standings.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::identities::Known;
use super::matrix::{Asking, Place, Right, covers};
use crate::authz::{ScopePattern, ScopeSet, Standing, standing};
use crate::policy::Policy;

/// A policy, and all that it says of somebody.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    policy: &'a Policy,
    standing: Standing,
}

impl<'a> Asked<'a> {
    pub(super) fn new(asking: &'a Asking<'_>, person: &Known, place: &Place) -> Self {
        let policy = asking.policy();
        let standing = standing(policy, &person.assumed, &place.local, None, asking.at);
        Self { policy, standing }
    }

    fn holds(&self, role: &Arc<str>) -> bool {
        self.standing.roles.contains(role)
    }

    fn role_covers(&self, role: &str, pattern: &ScopePattern) -> bool {
        let patterns = self.policy.role(role).unwrap_or_default().iter();
        let patterns = patterns.filter_map(|it| ScopePattern::parse(it).ok()).collect();
        ScopeSet::new(patterns).is_ok_and(|set| covers(&set, pattern))
    }
}

/// Why `have` has what `lack` has not, where `have` is the new policy.
pub(super) fn more(have: &Asked<'_>, lack: &Asked<'_>, rights: &[Right]) -> BTreeSet<String> {
    let words = Words { held: "is new to them", holds: "holds more", leaves: "leaves more" };
    causes(have, lack, rights, &words)
}

/// Why `have` has what `lack` has not, where `have` is the old policy.
pub(super) fn less(have: &Asked<'_>, lack: &Asked<'_>, rights: &[Right]) -> BTreeSet<String> {
    let words = Words { held: "is theirs no longer", holds: "holds less", leaves: "leaves less" };
    causes(have, lack, rights, &words)
}

struct Words {
    held: &'static str,
    holds: &'static str,
    leaves: &'static str,
}

fn causes(have: &Asked<'_>, lack: &Asked<'_>, rights: &[Right], words: &Words) -> BTreeSet<String> {
    let mut causes = BTreeSet::new();
    for right in rights {
        let Right::Scope(text) = right else { continue };
        let Ok(pattern) = ScopePattern::parse(text) else { continue };
        if covers(&lack.standing.brought, &pattern) {
            let mut layers = lack.standing.layers.iter();
            if let Some(layer) = layers.find(|layer| !covers(&layer.left, &pattern)) {
                causes.insert(format!("layer `{}` {}", layer.name, words.leaves));
            }
            continue;
        }
        let mut by_role = false;
        for role in have.standing.roles.iter().filter(|role| have.role_covers(role, &pattern)) {
            let what = if lack.holds(role) { words.holds } else { words.held };
            causes.insert(format!("role `{role}` {what}"));
            by_role = true;
        }
        if !by_role {
            causes.insert("the grant itself".to_owned());
        }
    }
    causes
}
