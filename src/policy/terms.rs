//! What an expression stands for, as far as the text of one rule tells: a field of the caller, or a
//! place in the data. Variables that are given such a thing once are followed.

use std::collections::HashMap;

use regorus::Value;
use regorus::unstable::{AssignOp, Expr, Literal, LiteralStmt};

use super::syntax::{literal, static_path};

/// What can be said of a caller, by the name of the input field.
pub(super) const FIELDS: [&str; 7] =
    ["environment", "issuer", "path", "service", "spiffe_id", "subject", "trust_domain"];

/// One step into the data.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Part {
    Key(String),
    /// Whatever this field of the caller says.
    Peer(&'static str),
    Any,
}

/// What an expression stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Term {
    Peer(&'static str),
    Data(Vec<Part>),
    Input(Vec<String>),
}

/// The names of one rule.
pub(super) struct Terms<'a> {
    imports: &'a HashMap<String, Vec<String>>,
    /// Variables that stand for something worth knowing.
    names: HashMap<String, Term>,
}

impl<'a> Terms<'a> {
    pub(super) fn new(imports: &'a HashMap<String, Vec<String>>) -> Self {
        Self { imports, names: HashMap::new() }
    }

    /// `some x in data.list`.
    pub(super) fn declare(&mut self, stmt: &LiteralStmt) {
        if let Literal::SomeIn { key: None, value, collection, .. } = &stmt.literal
            && let Some(Term::Data(mut parts)) = self.of(collection)
            && let Expr::Var { span, .. } = value.as_ref()
        {
            parts.push(Part::Any);
            self.names.insert(span.text().to_owned(), Term::Data(parts));
        }
    }

    /// `x := data.list`; false for whatever else.
    pub(super) fn assign(&mut self, expr: &Expr) -> bool {
        if let Expr::AssignExpr { op: AssignOp::ColEq, lhs, rhs, .. } = expr
            && let Expr::Var { span, .. } = lhs.as_ref()
            && let Some(term) = self.of(rhs)
        {
            self.names.insert(span.text().to_owned(), term);
            return true;
        }
        false
    }

    pub(super) fn of(&self, expr: &Expr) -> Option<Term> {
        match expr {
            Expr::Var { span, .. } => match span.text() {
                "data" => Some(Term::Data(Vec::new())),
                "input" => Some(Term::Input(Vec::new())),
                name => self.names.get(name).cloned().or_else(|| self.imported(name)),
            },
            Expr::RefDot { refr, field, .. } => {
                let name = field.0.text().to_owned();
                self.step(refr, Part::Key(name))
            }
            Expr::RefBrack { refr, index, .. } => {
                let part = self.part(index);
                self.step(refr, part)
            }
            Expr::Call { fcn, params, .. } if static_path(fcn) == ["object", "get"] => {
                let (base, key) = (params.first()?, params.get(1)?);
                let part = self.part(key);
                self.step(base, part)
            }
            _ => None,
        }
    }

    /// As [`Terms::of`], a field of the caller spelled out: `input.peer.service`.
    pub(super) fn input(&self, expr: &Expr) -> Option<Vec<String>> {
        match self.of(expr)? {
            Term::Input(parts) => Some(parts),
            Term::Peer(field) => Some(vec!["peer".to_owned(), field.to_owned()]),
            Term::Data(_) => None,
        }
    }

    fn imported(&self, name: &str) -> Option<Term> {
        let (root, rest) = self.imports.get(name)?.split_first()?;
        let parts = rest.iter().cloned().map(Part::Key).collect();
        (root == "data").then_some(Term::Data(parts))
    }

    fn part(&self, index: &Expr) -> Part {
        match (literal(index), self.of(index)) {
            (Some(Value::String(name)), _) => Part::Key(name.to_string()),
            (_, Some(Term::Peer(field))) => Part::Peer(field),
            // A rule that reads the caller's ID in the fleet's own way: `data.lib.ids.peer.service`.
            (_, Some(Term::Data(parts))) => named_like_a_field(&parts).unwrap_or(Part::Any),
            _ => Part::Any,
        }
    }

    fn step(&self, base: &Expr, part: Part) -> Option<Term> {
        match (self.of(base)?, part) {
            (Term::Data(mut parts), part) => {
                parts.push(part);
                Some(named(&parts).map_or(Term::Data(parts), Term::Peer))
            }
            (Term::Peer(field), Part::Key(name)) => {
                Some(Term::Input(vec!["peer".to_owned(), field.to_owned(), name]))
            }
            (Term::Input(mut parts), Part::Key(name)) => {
                parts.push(name);
                let [section, field] = parts.as_slice() else { return Some(Term::Input(parts)) };
                let known = FIELDS.iter().find(|known| *known == field);
                match (section.as_str(), known) {
                    ("peer", Some(known)) => Some(Term::Peer(known)),
                    // A service calls within environments that exist, whichever side says so.
                    ("local", Some(known)) if *known == "environment" => Some(Term::Peer(known)),
                    _ => Some(Term::Input(parts)),
                }
            }
            _ => None,
        }
    }
}

/// A rule `peer` that makes a name of the caller's ID stands for the caller: the field of it, as in
/// `data.lib.ids.peer.service`.
fn named(parts: &[Part]) -> Option<&'static str> {
    let [.., Part::Key(rule), Part::Key(field)] = parts else { return None };
    let known = FIELDS.iter().copied().find(|known| known == field);
    known.filter(|_| parts.len() > 2 && rule == "peer")
}

fn named_like_a_field(parts: &[Part]) -> Option<Part> {
    let Some(Part::Key(last)) = parts.last() else { return None };
    FIELDS.iter().find(|field| *field == last).map(|field| Part::Peer(field))
}
