//! What a name means at a place in a rule: a variable, a rule, or something imported.

use std::collections::{BTreeMap, HashMap, HashSet};

use regorus::unstable::Expr;

use super::error::Problem;
use super::syntax::{Path, at};

/// The names of one rule definition.
pub(super) struct Names<'a> {
    package: &'a [String],
    siblings: &'a HashSet<String>,
    imports: &'a HashMap<String, Vec<String>>,
    scopes: Vec<Vec<String>>,
    /// Names that are no rule and were not declared: where they first stand, and whether anything
    /// could give them a value.
    undeclared: BTreeMap<String, (Problem, bool)>,
}

impl<'a> Names<'a> {
    pub(super) fn new(
        package: &'a [String],
        siblings: &'a HashSet<String>,
        imports: &'a HashMap<String, Vec<String>>,
    ) -> Self {
        let (scopes, undeclared) = (vec![Vec::new()], BTreeMap::new());
        Self { package, siblings, imports, scopes, undeclared }
    }

    /// The full path behind a name, or `None` for a variable.
    pub(super) fn resolve(&self, base: &str, mut path: Path) -> Option<Path> {
        // These two cannot be hidden by a variable.
        let root = if base == "input" || base == "data" {
            vec![base.to_owned()]
        } else if self.is_local(base) {
            return None;
        } else if let Some(import) = self.imports.get(base) {
            import.clone()
        } else if self.siblings.contains(base) {
            self.package.iter().cloned().chain([base.to_owned()]).collect()
        } else {
            return None;
        };
        path.parts.splice(0..0, root);
        Some(path)
    }

    fn is_local(&self, name: &str) -> bool {
        self.scopes.iter().flatten().any(|local| local == name)
    }

    pub(super) fn use_undeclared(&mut self, name: &str, expr: &Expr) {
        if name != "_" && !self.is_local(name) {
            let place = at(expr.span(), String::new());
            self.undeclared.entry(name.to_owned()).or_insert((place, false));
        }
    }

    /// The variables in a pattern may get their values here.
    pub(super) fn bind(&mut self, pattern: &Expr) {
        match pattern {
            Expr::Var { span, .. } => {
                let name = span.text();
                if self.resolve(name, Path { parts: Vec::new(), exact: true }).is_none() {
                    let place = at(span, String::new());
                    self.undeclared.entry(name.to_owned()).or_insert((place, true)).1 = true;
                }
            }
            Expr::Array { items, .. } | Expr::Set { items, .. } => {
                for item in items {
                    self.bind(item);
                }
            }
            Expr::Object { fields, .. } => {
                for (_, _, value) in fields {
                    self.bind(value);
                }
            }
            _ => {}
        }
    }

    pub(super) fn declare_all(&mut self, patterns: &[impl AsRef<Expr>]) {
        for pattern in patterns {
            self.declare_pattern(pattern.as_ref());
        }
    }

    /// The variables in `[a, {"k": b}]`.
    pub(super) fn declare_pattern(&mut self, pattern: &Expr) {
        match pattern {
            Expr::Var { span, .. } => self.declare(span.text()),
            Expr::Array { items, .. } | Expr::Set { items, .. } => self.declare_all(items),
            Expr::Object { fields, .. } => {
                for (_, _, value) in fields {
                    self.declare_pattern(value);
                }
            }
            _ => {}
        }
    }

    pub(super) fn declare(&mut self, name: &str) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.push(name.to_owned());
        }
    }

    pub(super) fn open(&mut self) {
        self.scopes.push(Vec::new());
    }

    pub(super) fn close(&mut self) {
        self.scopes.pop();
    }

    /// A name without a value makes its rule silently never true, which must not be a typing error
    /// away.
    pub(super) fn unbound(self) -> impl Iterator<Item = Problem> {
        let unbound = self.undeclared.into_iter().filter(|(_, (_, bound))| !bound);
        unbound.map(|(name, (place, _))| Problem {
            message: format!("`{name}` is neither a rule nor a variable with a value"),
            ..place
        })
    }
}
