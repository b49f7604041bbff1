//! What a change of policy comes to, as programs and reports read it.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use super::matrix::{Right, State};

/// What a change of policy does.
#[derive(Debug, Serialize)]
pub struct Diff {
    /// Revisions.
    pub old: String,
    pub new: String,
    /// The time at which both were asked.
    pub at: String,
    /// On whose behalf.
    pub places: Vec<Arc<str>>,
    /// How many identities were compared.
    pub compared: usize,
    /// What limits the comparison.
    pub notes: Vec<String>,
    pub request_deny: Wholesale,
    pub revocations: Lists,
    /// Known to one policy alone, whether or not they have rights.
    pub appear: Vec<Arc<str>>,
    pub disappear: Vec<Arc<str>>,
    /// Gains first, then the larger ones.
    pub groups: Vec<Group>,
}

/// What happened to rules that cannot be tried out on identities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Wholesale {
    Absent,
    Unchanged,
    Added,
    Removed,
    Changed,
}

/// Entries of `data.revocations`, each with its list.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lists {
    pub added: Vec<String>,
    pub lifted: Vec<String>,
}

/// Identities to whom the same happens.
#[derive(Debug, Serialize)]
pub struct Group {
    pub changes: Vec<Placed>,
    pub routes_gained: Vec<RouteName>,
    pub routes_lost: Vec<RouteName>,
    pub identities: Vec<Named>,
}

/// A change, and where it is so.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Placed {
    pub places: Vec<Arc<str>>,
    #[serde(flatten)]
    pub change: Change,
}

/// What happens to one identity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    pub gained: Vec<Right>,
    pub lost: Vec<Right>,
    pub before: State,
    pub after: State,
    /// Of somebody who is not let in either way: what it would be otherwise.
    pub dormant_gained: Vec<Right>,
    pub dormant_lost: Vec<Right>,
    /// Roles and layers that make the difference.
    pub why: BTreeSet<String>,
}

/// A route and what it asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct RouteName {
    pub place: Arc<str>,
    pub listener: Arc<str>,
    pub route: Arc<str>,
    pub scopes: Arc<str>,
}

/// Somebody, and where the policy names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    pub id: Arc<str>,
    pub from: String,
}

impl Diff {
    /// Somebody may do more, or may perhaps: rules about requests are not tried out.
    pub fn gains(&self) -> bool {
        matches!(self.request_deny, Wholesale::Removed | Wholesale::Changed)
            || !self.revocations.lifted.is_empty()
            || self.groups.iter().any(Group::gains)
    }

    /// Somebody may do less, or may perhaps.
    pub fn loses(&self) -> bool {
        matches!(self.request_deny, Wholesale::Added | Wholesale::Changed)
            || !self.revocations.added.is_empty()
            || self.groups.iter().any(Group::loses)
    }

    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
            && matches!(self.request_deny, Wholesale::Absent | Wholesale::Unchanged)
            && self.revocations == Lists::default()
    }
}

impl Group {
    pub fn gains(&self) -> bool {
        !self.routes_gained.is_empty() || self.changes.iter().any(|it| !it.change.gained.is_empty())
    }

    pub fn loses(&self) -> bool {
        !self.routes_lost.is_empty() || self.changes.iter().any(|it| !it.change.lost.is_empty())
    }
}
