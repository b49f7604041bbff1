//! Scopes: what a request needs, what an identity has, and where the two meet.
//!
//! A scope is `resource:action`. What is required is always concrete; what is granted may have `*`
//! for a whole side. Nothing here can widen a set: narrower layers are met, never merged.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use thiserror::Error;

/// The most patterns that one set may hold.
pub const PATTERNS_MAX: usize = 256;

const SIDE_MAX: usize = 63;
const GIVEN_SHOWN: usize = 2 * SIDE_MAX + 2;

/// A concrete scope, such as `users:read`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    resource: Arc<str>,
    action: Arc<str>,
}

/// A scope in which either side may be `*`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopePattern {
    resource: Side,
    action: Side,
}

/// A union of patterns in its smallest form: no member covers another.
#[derive(Clone)]
pub struct ScopeSet {
    // INVARIANT: each list is sorted and without duplicates; with `all` the lists are empty; no
    // scope of `exact` has its resource in `resources` or its action in `actions`.
    all: bool,
    exact: Box<[Scope]>,
    resources: Box<[Arc<str>]>,
    actions: Box<[Arc<str>]>,
    text: Arc<str>,
}

/// What is wrong with a scope or a set of them.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScopeError {
    #[error("`{}` is not a scope: write `resource:action`, each side `[a-z][a-z0-9._-]*`, at most 63 long", given.escape_debug())]
    Malformed { given: String },

    #[error("`{given}` has a wildcard: what is required names one resource and one action")]
    Wildcard { given: String },

    #[error("more than {PATTERNS_MAX} scopes in one set")]
    TooMany,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Side {
    Any,
    Name(Arc<str>),
}

impl Scope {
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        let pattern = ScopePattern::parse(text)?;
        match (pattern.resource, pattern.action) {
            (Side::Name(resource), Side::Name(action)) => Ok(Self { resource, action }),
            _ => Err(ScopeError::Wildcard { given: text.to_owned() }),
        }
    }

    pub fn resource(&self) -> &str {
        &self.resource
    }

    pub fn action(&self) -> &str {
        &self.action
    }
}

impl ScopePattern {
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        let malformed =
            || ScopeError::Malformed { given: text.chars().take(GIVEN_SHOWN).collect() };
        let (resource, action) = text.split_once(':').ok_or_else(malformed)?;
        Ok(Self {
            resource: Side::parse(resource).ok_or_else(malformed)?,
            action: Side::parse(action).ok_or_else(malformed)?,
        })
    }

    pub fn allows(&self, scope: &Scope) -> bool {
        self.resource.allows(&scope.resource) && self.action.allows(&scope.action)
    }

    /// What both allow, side by side: `*:read` and `users:*` meet in `users:read`.
    pub fn meet(&self, other: &Self) -> Option<Self> {
        Some(Self {
            resource: self.resource.meet(&other.resource)?,
            action: self.action.meet(&other.action)?,
        })
    }
}

impl Side {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        let well_formed = text.len() <= SIDE_MAX
            && text.starts_with(|first: char| first.is_ascii_lowercase())
            && text
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'));
        well_formed.then(|| Self::Name(Arc::from(text)))
    }

    fn allows(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Name(own) => **own == *name,
        }
    }

    fn meet(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Any, side) | (side, Self::Any) => Some(side.clone()),
            (Self::Name(a), Self::Name(b)) => (a == b).then(|| self.clone()),
        }
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Any => "*",
            Self::Name(name) => name,
        }
    }
}

impl ScopeSet {
    /// Allows nothing.
    pub fn empty() -> Self {
        static EMPTY: LazyLock<ScopeSet> = LazyLock::new(|| ScopeSet::union(Vec::new()));
        EMPTY.clone()
    }

    pub fn new(patterns: Vec<ScopePattern>) -> Result<Self, ScopeError> {
        if patterns.len() > PATTERNS_MAX {
            return Err(ScopeError::TooMany);
        }
        Ok(Self::union(patterns))
    }

    /// Reads patterns separated by spaces, as [`ScopeSet::text`] writes them (RFC 6749 section 3.3).
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        let mut patterns = Vec::new();
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            if patterns.len() == PATTERNS_MAX {
                return Err(ScopeError::TooMany);
            }
            patterns.push(ScopePattern::parse(word)?);
        }
        Ok(Self::union(patterns))
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Hot path: no allocation, at most three binary searches.
    pub fn allows(&self, scope: &Scope) -> bool {
        self.all
            || self.exact.binary_search(scope).is_ok()
            || contains(&self.resources, &scope.resource)
            || contains(&self.actions, &scope.action)
    }

    /// What both sets allow, and nothing more. It fails when the result would not fit a set, which
    /// the caller must treat as "nothing".
    pub fn meet(&self, other: &Self) -> Result<Self, ScopeError> {
        if self.all {
            return Ok(other.clone());
        }
        if other.all {
            return Ok(self.clone());
        }
        let mut met = Vec::new();
        let others: Vec<ScopePattern> = other.patterns().collect();
        for mine in self.patterns() {
            met.extend(others.iter().filter_map(|theirs| mine.meet(theirs)));
        }
        let met = Self::union(met);
        if met.patterns().count() > PATTERNS_MAX { Err(ScopeError::TooMany) } else { Ok(met) }
    }

    /// The members in the order in which they are written.
    pub fn patterns(&self) -> impl Iterator<Item = ScopePattern> + '_ {
        let name = |text: &Arc<str>| Side::Name(Arc::clone(text));
        let all = self.all.then_some(ScopePattern { resource: Side::Any, action: Side::Any });
        let actions = self
            .actions
            .iter()
            .map(move |action| ScopePattern { resource: Side::Any, action: name(action) });
        let resources = self
            .resources
            .iter()
            .map(move |resource| ScopePattern { resource: name(resource), action: Side::Any });
        let exact = self.exact.iter().map(move |scope| ScopePattern {
            resource: name(&scope.resource),
            action: name(&scope.action),
        });
        all.into_iter().chain(actions).chain(resources).chain(exact)
    }

    /// Separated by spaces, always in the same order; written once, when the set was made.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    fn union(patterns: Vec<ScopePattern>) -> Self {
        let (mut all, mut exact, mut resources, mut actions) = (false, vec![], vec![], vec![]);
        for pattern in patterns {
            match (pattern.resource, pattern.action) {
                (Side::Any, Side::Any) => all = true,
                (Side::Name(resource), Side::Any) => resources.push(resource),
                (Side::Any, Side::Name(action)) => actions.push(action),
                (Side::Name(resource), Side::Name(action)) => {
                    exact.push(Scope { resource, action });
                }
            }
        }
        if all {
            (exact, resources, actions) = (vec![], vec![], vec![]);
        }
        for names in [&mut resources, &mut actions] {
            names.sort_unstable();
            names.dedup();
        }
        exact.sort_unstable();
        exact.dedup();
        exact.retain(|scope| {
            !contains(&resources, &scope.resource) && !contains(&actions, &scope.action)
        });
        let mut set = Self {
            all,
            exact: exact.into(),
            resources: resources.into(),
            actions: actions.into(),
            text: Arc::from(""),
        };
        set.text = joined(set.patterns()).into();
        set
    }
}

fn contains(sorted: &[Arc<str>], name: &str) -> bool {
    sorted.binary_search_by(|candidate| (**candidate).cmp(name)).is_ok()
}

/// Separated by spaces, as `scope` is written in headers (RFC 6750 section 3).
pub(super) fn joined<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let mut text = String::new();
    for item in items {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&item.to_string());
    }
    text
}

impl Default for ScopeSet {
    fn default() -> Self {
        Self::empty()
    }
}

impl PartialEq for ScopeSet {
    /// The text is canonical, and spells every member.
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for ScopeSet {}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl FromStr for ScopePattern {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.resource, self.action)
    }
}

impl fmt::Display for ScopePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.resource.as_str(), self.action.as_str())
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({self})")
    }
}

impl fmt::Debug for ScopePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScopePattern({self})")
    }
}

impl fmt::Debug for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScopeSet({self})")
    }
}

#[cfg(test)]
mod tests;
