//! What is doubtful in single expressions: comparisons that never hold, lookups of the wrong shape,
//! and patterns that take in more than they seem to.

use std::collections::{BTreeMap, HashMap};

use regorus::Value;
use regorus::unstable::{BoolOp, Expr, Literal, LiteralStmt, Query};

use super::super::answer::shortened;
use super::super::met::Met;
use super::super::study::Study;
use super::super::syntax::{at, literal, static_path};
use super::super::terms::{Part, Term, Terms};
use super::{Finding, fields, values};

/// Fields that say who somebody is: what is matched loosely here lets in somebody else.
const WHO: [&str; 7] =
    ["environment", "issuer", "path", "service", "spiffe_id", "subject", "trust_domain"];

/// Looks at one rule.
pub(super) struct Look<'a> {
    terms: Terms<'a>,
    study: &'a Study,
    pub found: Vec<Finding>,
}

impl<'a> Look<'a> {
    pub(super) fn new(imports: &'a HashMap<String, Vec<String>>, study: &'a Study) -> Self {
        Self { terms: Terms::new(imports), study, found: Vec::new() }
    }

    pub(super) fn meet(&mut self, met: Met<'_>) {
        match met {
            Met::Query(query) => {
                self.contradictions(query);
                self.other_shape(query);
            }
            Met::Stmt(stmt) => self.stmt(stmt),
            Met::Expr(expr) => self.expr(expr),
            Met::Called(_) => {}
        }
    }

    fn stmt(&mut self, stmt: &LiteralStmt) {
        self.terms.declare(stmt);
        let (expr, negated) = match &stmt.literal {
            Literal::Expr { expr, .. } => (expr.as_ref(), false),
            Literal::NotExpr { expr, .. } => (expr.as_ref(), true),
            _ => return,
        };
        let holds = match expr {
            Expr::Bool { value: Value::Bool(value), .. } => Some(*value),
            Expr::BoolExpr { op, lhs, rhs, .. } => compare(op, lhs, rhs),
            _ => None,
        };
        if holds == Some(negated) {
            let message = "never holds, so its rule is never true".to_owned();
            let remedy = "remove it, or the rule";
            let place = at(&stmt.span, String::new());
            self.found.push(Finding::error("never-matches", &place, message, remedy));
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::AssignExpr { .. } if self.terms.assign(expr) => {}
            Expr::AssignExpr { lhs, rhs, .. } => self.compared(lhs, rhs, true),
            Expr::BoolExpr { op: BoolOp::Eq, lhs, rhs, .. } => self.compared(lhs, rhs, true),
            Expr::BoolExpr { op: BoolOp::Ne, lhs, rhs, .. } => self.compared(lhs, rhs, false),
            Expr::Membership { value, collection, .. } => self.member(expr, value, collection),
            Expr::RefDot { .. } | Expr::RefBrack { .. } => self.reference(expr),
            Expr::Call { fcn, params, .. } => {
                self.reference(expr);
                self.loose(&static_path(fcn).join("."), expr, params);
            }
            _ => {}
        }
    }

    fn compared(&mut self, one: &Expr, other: &Expr, equal: bool) {
        for (field, value) in [(one, other), (other, one)] {
            let (Some(parts), Some(value)) = (self.terms.input(field), literal(value)) else {
                continue;
            };
            let Some((message, remedy)) = values::impossible(&parts, &value) else { continue };
            let so = if equal { "this never holds" } else { "this always holds" };
            let place = at(field.span(), String::new());
            let message = format!("{message}: {so}");
            self.found.push(Finding::error("impossible-value", &place, message, &remedy));
        }
    }

    fn member(&mut self, expr: &Expr, value: &Expr, collection: &Expr) {
        if let Expr::Set { items, .. } | Expr::Array { items, .. } = collection {
            for item in items {
                self.compared(value, item, true);
            }
        }
        let Some(Term::Data(parts)) = self.terms.of(collection) else { return };
        if self.terms.input(value).is_some()
            && matches!(self.data(&parts), Some(Value::Object(object)) if !object.is_empty())
        {
            let name = written(&parts);
            let message = format!("`{name}` is an object, and `in` looks at its values");
            let remedy = format!("look the name up: `{name}[…]`");
            let place = at(expr.span(), String::new());
            self.found.push(Finding::warning("misshaped-lookup", &place, message, &remedy));
        }
    }

    fn reference(&mut self, expr: &Expr) {
        let place = at(expr.span(), String::new());
        match self.terms.of(expr) {
            Some(Term::Input(parts)) => self.found.extend(fields::check(&parts, &place)),
            Some(Term::Data(parts)) => {
                let Some((Part::Peer(field), above)) = parts.split_last() else { return };
                let Some(found) = self.data(above) else { return };
                let kind = match found {
                    Value::Object(_) => return,
                    other => super::super::answer::kind(&other),
                };
                let name = written(above);
                let message = format!("`{name}` is {kind}, so looking up `{field}` finds nothing");
                let remedy = format!("make it an object, or ask `input.peer.{field} in {name}`");
                self.found.push(Finding::error("misshaped-lookup", &place, message, &remedy));
            }
            _ => {}
        }
    }

    /// The first thing that a path leads to: what stands beside it has the same shape in all data
    /// that a person would write.
    fn data(&self, parts: &[Part]) -> Option<Value> {
        self.study.data.iter().find_map(|(_, value)| first(value, parts))
    }

    /// A body that wants one field to be two things at once.
    fn contradictions(&mut self, query: &Query) {
        let mut known: BTreeMap<Vec<String>, Value> = BTreeMap::new();
        for stmt in &query.stmts {
            let Literal::Expr { expr, .. } = &stmt.literal else { continue };
            let Expr::BoolExpr { op: BoolOp::Eq, lhs, rhs, .. } = expr.as_ref() else { continue };
            let sides = [(lhs, rhs), (rhs, lhs)].into_iter();
            let stated = sides.filter_map(|(field, value)| Some((exact(field)?, literal(value)?)));
            for (field, value) in stated {
                let name = field.join(".");
                match known.get(&field) {
                    Some(other) if *other != value => {
                        let message = format!("`{name}` cannot be {other} and {value} at once");
                        let remedy = "write two rules, or ask with `in`";
                        let place = at(&stmt.span, String::new());
                        self.found.push(Finding::error("never-matches", &place, message, remedy));
                    }
                    _ => {
                        known.insert(field, value);
                    }
                }
            }
        }
    }

    /// Environment and service are known only for paths of two segments.
    fn other_shape(&mut self, query: &Query) {
        let other = query.stmts.iter().find_map(|stmt| match &stmt.literal {
            Literal::Expr { expr, .. } => segments(expr).filter(|count| *count != 2),
            _ => None,
        });
        let Some(count) = other else { return };
        for stmt in &query.stmts {
            let Literal::Expr { expr, .. } = &stmt.literal else { continue };
            let (Expr::BoolExpr { op: BoolOp::Eq, lhs, rhs, .. }
            | Expr::AssignExpr { lhs, rhs, .. }) = expr.as_ref()
            else {
                continue;
            };
            for (field, value) in [(lhs, rhs), (rhs, lhs)] {
                let Some(Term::Peer(name @ ("environment" | "service"))) = self.terms.of(field)
                else {
                    continue;
                };
                let of_peer =
                    exact(field).is_some_and(|it| it.get(1).is_some_and(|it| it == "peer"));
                if of_peer && matches!(literal(value), Some(Value::String(_))) {
                    let message = format!(
                        "`input.peer.{name}` is null where the path has {count} segments: this \
                         never holds"
                    );
                    let remedy =
                        "it is known for `/<environment>/<service>` only; use the segments";
                    let place = at(&stmt.span, String::new());
                    self.found.push(Finding::error("never-matches", &place, message, remedy));
                }
            }
        }
    }

    /// Matches that take in more names than were thought of.
    fn loose(&mut self, function: &str, expr: &Expr, params: &[impl AsRef<Expr>]) {
        let (text, pattern) = match (function, params) {
            ("regex.match", [pattern, text, ..]) => (text.as_ref(), pattern.as_ref()),
            ("startswith" | "endswith" | "contains", [text, pattern, ..]) => {
                (text.as_ref(), pattern.as_ref())
            }
            _ => return,
        };
        let Some(Term::Peer(field)) = self.terms.of(text).filter(is_who) else { return };
        let Some(Value::String(pattern)) = literal(pattern) else { return };
        let shown = shortened(&pattern);
        let (message, remedy) = match function {
            "startswith" if matches!(field, "spiffe_id" | "path") && !pattern.ends_with('/') => (
                format!("`{shown}` is also the beginning of longer names"),
                "end it with `/`, so that only what lies below is meant",
            ),
            "endswith"
                if matches!(field, "trust_domain" | "issuer") && !pattern.starts_with('.') =>
            {
                (
                    format!("`{shown}` is also the end of names that belong to others"),
                    "compare the whole name",
                )
            }
            "endswith" if matches!(field, "spiffe_id" | "path") && !pattern.starts_with('/') => (
                format!("`{shown}` is also the end of longer names"),
                "begin it with `/`, so that whole segments are meant",
            ),
            "contains" => (
                format!("`{shown}` may stand anywhere, so others can have it in their names"),
                "compare a whole segment",
            ),
            "regex.match" if !(pattern.starts_with('^') && pattern.ends_with('$')) => (
                format!("`{shown}` may match anywhere in the name"),
                "begin it with `^` and end it with `$`",
            ),
            _ => return,
        };
        let place = at(expr.span(), String::new());
        self.found.push(Finding::warning("loose-match", &place, message, remedy));
    }
}

fn is_who(term: &Term) -> bool {
    matches!(term, Term::Peer(field) if WHO.contains(field))
}

/// `input.peer.service`, if that is what is written.
fn exact(expr: &Expr) -> Option<Vec<String>> {
    let path = static_path(expr);
    (path.len() > 2 && path.first().is_some_and(|root| root == "input")).then_some(path)
}

/// How many segments a statement asks the path to have.
fn segments(expr: &Expr) -> Option<usize> {
    let (Expr::AssignExpr { lhs, rhs, .. } | Expr::BoolExpr { op: BoolOp::Eq, lhs, rhs, .. }) =
        expr
    else {
        return None;
    };
    let is_segments = |expr: &Expr| static_path(expr).join(".") == "input.peer.segments";
    for (one, other) in [(lhs, rhs), (rhs, lhs)] {
        match other.as_ref() {
            Expr::Array { items, .. } if is_segments(one) => return Some(items.len()),
            _ => {}
        }
        if let Expr::Call { fcn, params, .. } = one.as_ref()
            && static_path(fcn) == ["count"]
            && params.first().is_some_and(|it| is_segments(it))
            && let Some(value @ Value::Number(_)) = literal(other)
        {
            return usize::try_from(value.as_u64().ok()?).ok();
        }
    }
    None
}

/// What two literals come to.
fn compare(op: &BoolOp, lhs: &Expr, rhs: &Expr) -> Option<bool> {
    let (lhs, rhs) = (literal(lhs)?, literal(rhs)?);
    Some(match op {
        BoolOp::Lt => lhs < rhs,
        BoolOp::Le => lhs <= rhs,
        BoolOp::Eq => lhs == rhs,
        BoolOp::Ge => lhs >= rhs,
        BoolOp::Gt => lhs > rhs,
        BoolOp::Ne => lhs != rhs,
    })
}

fn first(value: &Value, parts: &[Part]) -> Option<Value> {
    let Some((part, rest)) = parts.split_first() else { return Some(value.clone()) };
    match (part, value) {
        (Part::Key(key), Value::Object(fields)) => first(fields.get(&key.as_str().into())?, rest),
        (_, Value::Object(fields)) => fields.iter().find_map(|(_, value)| first(value, rest)),
        (Part::Any, Value::Array(items)) => items.iter().find_map(|value| first(value, rest)),
        _ => None,
    }
}

fn written(parts: &[Part]) -> String {
    let mut out = "data".to_owned();
    for part in parts {
        match part {
            Part::Key(key) => {
                out.push('.');
                out.push_str(key);
            }
            Part::Peer(field) => out.push_str(&format!("[input.peer.{field}]")),
            Part::Any => out.push_str("[…]"),
        }
    }
    out
}
