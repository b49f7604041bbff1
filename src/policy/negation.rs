//! What may stand behind `not`.
//!
//! OPA looks at the operands first, and a body with an undefined one is not true. This interpreter
//! takes the undefined operand for the whole, and `not` of that is true: somebody who should be
//! refused is let in. So an operand behind `not` has to be one that always has a value; a plain
//! path, and `==` between such, mean the same in both.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use regorus::Value;
use regorus::unstable::{AssignOp, BUILTINS, BoolOp, Expr, Literal, Module, Rule, RuleHead};

use super::error::Problem;
use super::input::{IDENTITY_FIELDS, REQUEST_FIELDS};
use super::met::{self, Met, variables};
use super::syntax::{at, head_path, imports_of, literal, output, package_of, static_path, text_of};

/// Answer nothing for an empty list.
const PARTIAL: &[&str] = &["max", "min"];

/// The rules that always have a value, by their full path, and those that are functions.
#[derive(Debug, Default)]
pub(super) struct Rules {
    certain: BTreeSet<String>,
    certain_functions: BTreeSet<String>,
    names: HashMap<Vec<String>, HashSet<String>>,
}

impl Rules {
    pub(super) fn new(modules: &[impl std::ops::Deref<Target = Module>]) -> Self {
        let mut rules = Self::default();
        // How often a plain rule is defined: with a value of its own it has to be the only one.
        let mut constants: BTreeMap<String, (usize, bool)> = BTreeMap::new();
        for module in modules {
            let package = package_of(module);
            for rule in &module.policy {
                let head = head_path(rule);
                let Some(name) = head.first() else { continue };
                rules.names.entry(package.clone()).or_default().insert(name.clone());
                let path = [package.join("."), name.clone()].join(".");
                match rule.as_ref() {
                    Rule::Default { args, .. } if args.is_empty() => {
                        rules.certain.insert(path);
                    }
                    Rule::Default { .. } => drop(rules.certain_functions.insert(path)),
                    Rule::Spec { head: RuleHead::Set { .. }, .. } => {
                        rules.certain.insert(path);
                    }
                    Rule::Spec { head: RuleHead::Func { .. }, .. } => {}
                    Rule::Spec { head: RuleHead::Compr { refr, assign, .. }, bodies, .. } => {
                        if !matches!(refr.as_ref(), Expr::Var { .. }) {
                            // A part of an object, which is there even when it is empty.
                            rules.certain.insert(path);
                            continue;
                        }
                        let constant = assign.as_ref().is_some_and(|it| is_constant(&it.value));
                        let entry = constants.entry(path).or_default();
                        *entry = (entry.0 + 1, bodies.is_empty() && constant);
                    }
                }
            }
        }
        let constants = constants.into_iter().filter(|(_, (times, is))| *times == 1 && *is);
        rules.certain.extend(constants.map(|(path, _)| path));
        rules
    }
}

fn is_constant(expr: &Expr) -> bool {
    let mut constant = true;
    met::expr(expr, &mut |met| match met {
        Met::Stmt(_) | Met::Expr(Expr::Var { .. } | Expr::Call { .. }) => constant = false,
        Met::Query(_) | Met::Called(_) | Met::Expr(_) => {}
    });
    constant
}

/// Every `not` of a module that would be answered in another way.
pub(super) fn check(module: &Module, rules: &Rules) -> Vec<Problem> {
    let (package, imports) = (package_of(module), imports_of(module));
    let mut problems = Vec::new();
    for rule in &module.policy {
        let scope = Scope { rules, package: &package, imports: &imports, bound: bound(rule) };
        met::rule(rule, &mut |met| {
            let Met::Stmt(stmt) = met else { return };
            let Literal::NotExpr { expr, .. } = &stmt.literal else { return };
            if let Err(operand) = scope.behind_not(expr) {
                let text = text_of(operand.span()).split_whitespace().collect::<Vec<_>>().join(" ");
                let message = format!(
                    "`{text}` may have no value here, and OPA would not take that for `not`: give \
                     it a name in a line before (`value := {text}`), or a default (`object.get`)"
                );
                problems.push(at(operand.span(), message));
            }
        });
    }
    problems
}

/// The variables that get a value outside of a `not`.
fn bound(rule: &Rule) -> HashSet<&str> {
    let mut bound = Vec::new();
    let mut negated: Vec<*const Expr> = Vec::new();
    if let Rule::Spec { head: RuleHead::Func { args, .. }, .. } | Rule::Default { args, .. } = rule
    {
        for arg in args {
            variables(arg, &mut bound);
        }
    }
    met::rule(rule, &mut |met| match met {
        Met::Stmt(stmt) => match &stmt.literal {
            Literal::SomeIn { key, value, .. } => {
                for pattern in key.iter().chain([value]) {
                    variables(pattern, &mut bound);
                }
            }
            Literal::Every { key, value, .. } => {
                bound.extend(key.iter().chain([value]).map(|var| var.text()));
            }
            // What stands in it is met next.
            Literal::NotExpr { expr, .. } => inside(expr, &mut negated),
            Literal::SomeVars { .. } | Literal::Expr { .. } => {}
        },
        Met::Expr(expr) if negated.contains(&std::ptr::from_ref(expr)) => {}
        Met::Expr(Expr::AssignExpr { op, lhs, rhs, .. }) => {
            variables(lhs, &mut bound);
            if *op == AssignOp::Eq {
                variables(rhs, &mut bound);
            }
        }
        Met::Expr(Expr::RefBrack { index, .. }) => variables(index, &mut bound),
        Met::Expr(Expr::Call { fcn, params, .. }) => {
            if let Some(taker) = output(fcn, params) {
                variables(taker, &mut bound);
            }
        }
        Met::Query(_) | Met::Called(_) | Met::Expr(_) => {}
    });
    bound.into_iter().filter(|name| *name != "_").collect()
}

/// Everything in an expression, bodies of comprehensions apart: they have variables of their own.
fn inside(expr: &Expr, into: &mut Vec<*const Expr>) {
    into.push(std::ptr::from_ref(expr));
    for part in met::parts(expr) {
        inside(part, into);
    }
}

struct Scope<'a> {
    rules: &'a Rules,
    package: &'a [String],
    imports: &'a HashMap<String, Vec<String>>,
    bound: HashSet<&'a str>,
}

impl Scope<'_> {
    /// The operand that may have no value.
    fn behind_not<'e>(&self, expr: &'e Expr) -> Result<(), &'e Expr> {
        match expr {
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => self.path(expr),
            Expr::Call { fcn, params, .. } => {
                if output(fcn, params).is_some() {
                    return Err(expr);
                }
                self.all(params)
            }
            Expr::BoolExpr { op: BoolOp::Eq, lhs, rhs, .. }
            | Expr::AssignExpr { op: AssignOp::Eq, lhs, rhs, .. } => {
                self.side(lhs)?;
                self.side(rhs)
            }
            Expr::AssignExpr { .. } => Err(expr),
            other => self.certain(other),
        }
    }

    fn side<'e>(&self, expr: &'e Expr) -> Result<(), &'e Expr> {
        match expr {
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => self.path(expr),
            other => self.certain(other),
        }
    }

    /// A path may lead nowhere; what it is made of may not.
    fn path<'e>(&self, expr: &'e Expr) -> Result<(), &'e Expr> {
        match expr {
            Expr::Var { span, .. } if self.is_known(span.text()) => Ok(()),
            Expr::RefDot { refr, .. } => self.path(refr),
            Expr::RefBrack { refr, index, .. } => {
                self.certain(index)?;
                self.path(refr)
            }
            Expr::Var { .. } => Err(expr),
            other => self.certain(other),
        }
    }

    fn all<'e>(&self, exprs: &'e [impl AsRef<Expr>]) -> Result<(), &'e Expr> {
        exprs.iter().try_for_each(|expr| self.certain(expr.as_ref()))
    }

    fn certain<'e>(&self, expr: &'e Expr) -> Result<(), &'e Expr> {
        match expr {
            Expr::Var { span, .. } => {
                let name = span.text();
                let local = self.bound.contains(name) && self.full(name, &[]).is_none();
                if local || self.always(name, &[]) { Ok(()) } else { Err(expr) }
            }
            Expr::RefDot { .. } | Expr::RefBrack { .. } => {
                let path = is_exact(expr).then(|| static_path(expr));
                match path.as_deref().and_then(<[String]>::split_first) {
                    Some((base, parts)) if self.always(base, parts) => Ok(()),
                    _ => Err(expr),
                }
            }
            Expr::ArrayCompr { .. } | Expr::SetCompr { .. } | Expr::ObjectCompr { .. } => Ok(()),
            Expr::Call { fcn, params, .. } => {
                let name = static_path(fcn).join(".");
                let always = match static_path(fcn).split_first() {
                    Some((base, parts)) => self
                        .full(base, parts)
                        .is_some_and(|path| self.rules.certain_functions.contains(&path.join("."))),
                    None => false,
                };
                let builtin = BUILTINS.get(name.as_str()).is_some_and(|(_, arity)| {
                    params.len() == usize::from(*arity) && !PARTIAL.contains(&name.as_str())
                });
                if always || builtin { self.all(params) } else { Err(expr) }
            }
            Expr::AssignExpr { .. } => Err(expr),
            other if literal(other).is_some() => Ok(()),
            other => met::parts(other).into_iter().try_for_each(|part| self.certain(part)),
        }
    }

    fn is_known(&self, name: &str) -> bool {
        self.bound.contains(name) || self.full(name, &[]).is_some()
    }

    /// The whole path, unless it begins with a variable.
    fn full(&self, base: &str, parts: &[String]) -> Option<Vec<String>> {
        let mut path = if base == "input" || base == "data" {
            vec![base.to_owned()]
        } else if let Some(import) = self.imports.get(base) {
            import.clone()
        } else if self.rules.names.get(self.package).is_some_and(|it| it.contains(base)) {
            self.package.iter().cloned().chain([base.to_owned()]).collect()
        } else {
            return None;
        };
        path.extend(parts.iter().cloned());
        Some(path)
    }

    fn always(&self, base: &str, parts: &[String]) -> bool {
        let Some(path) = self.full(base, parts) else { return false };
        match path.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["input"] => true,
            ["input", section] => fields(section).is_some(),
            ["input", section, field] => fields(section).is_some_and(|it| it.contains(field)),
            _ => self.rules.certain.contains(&path.join(".")),
        }
    }
}

/// Names all the way.
fn is_exact(expr: &Expr) -> bool {
    match expr {
        Expr::Var { .. } => true,
        Expr::RefDot { refr, .. } => is_exact(refr),
        Expr::RefBrack { refr, index, .. } => {
            matches!(literal(index), Some(Value::String(_))) && is_exact(refr)
        }
        _ => false,
    }
}

/// The input is total: each of these is always there.
fn fields(section: &str) -> Option<&'static [&'static str]> {
    let mut all = IDENTITY_FIELDS.iter().chain(REQUEST_FIELDS);
    all.find(|(name, _)| *name == section).map(|(_, fields)| *fields)
}

#[cfg(test)]
mod tests;
