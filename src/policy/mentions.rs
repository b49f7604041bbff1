//! Whom a policy has ever heard of: names in its data and text, by what they are compared with.
//!
//! A name says who it is by the way a rule looks it up: what stands under
//! `data.services[input.peer.service]` are services. Nothing here decides anything; it only finds
//! callers about whom it is worth asking.

use std::collections::BTreeMap;

use regorus::Value;
use regorus::unstable::{BoolOp, Expr, Module};
use spiffe::SpiffeId;

use super::met::{self, Met};
use super::source::Source;
use super::stack::on_big_stack;
use super::study::Study;
use super::syntax::{imports_of, literal};
use super::terms::{FIELDS, Part, Term, Terms};

/// What is found at most, in all.
const MENTIONS_MAX: usize = 400_000;
const SCHEME: &str = "spiffe://";

/// Some of what makes up a caller, found together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mention {
    /// By the fields of `input.peer`.
    pub fields: BTreeMap<&'static str, String>,
    /// File, and line where it is known.
    pub from: String,
    /// Only a test says so.
    pub in_tests: bool,
}

/// Whom the policy mentions, in a fixed order and each once.
pub fn mentions(source: &Source) -> Vec<Mention> {
    on_big_stack(|| Ok(of(&Study::of(source)))).unwrap_or_default()
}

pub(super) fn of(study: &Study) -> Vec<Mention> {
    let mut found = Found::default();
    for (in_tests, modules) in [(false, &study.modules), (true, &study.tests)] {
        found.in_tests = in_tests;
        for module in modules {
            found.module(module);
        }
    }
    found.in_tests = false;
    let patterns = std::mem::take(&mut found.patterns);
    for (file, value) in &study.data {
        found.ids_in(file, value);
        for pattern in &patterns {
            let mut bindings = Vec::new();
            pattern.find(&pattern.parts, value, &BTreeMap::new(), &mut bindings);
            for fields in bindings {
                found.add(fields, file.clone());
            }
        }
    }
    let mut mentions = found.mentions;
    mentions.sort();
    mentions.dedup_by(|later, first| later.fields == first.fields);
    mentions
}

/// Where in the data a caller's fields are looked up.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Pattern {
    parts: Vec<Part>,
    /// What the text at the end is compared with.
    value: Option<&'static str>,
}

#[derive(Default)]
struct Found {
    mentions: Vec<Mention>,
    patterns: Vec<Pattern>,
    in_tests: bool,
}

impl Found {
    fn module(&mut self, module: &Module) {
        let imports = imports_of(module);
        for rule in &module.policy {
            let mut look = Look { terms: Terms::new(&imports), found: self };
            met::rule(rule, &mut |met| look.meet(met));
        }
    }

    fn add(&mut self, fields: BTreeMap<&'static str, String>, from: String) {
        if self.mentions.len() < MENTIONS_MAX {
            self.mentions.push(Mention { fields, from, in_tests: self.in_tests });
        }
    }

    fn one(&mut self, field: &'static str, text: &str, from: String) {
        self.add(BTreeMap::from([(field, text.to_owned())]), from);
    }

    fn id(&mut self, text: &str, from: impl FnOnce() -> String) {
        if text.starts_with(SCHEME) && SpiffeId::new(text).is_ok() {
            self.one("spiffe_id", text, from());
        }
    }

    /// A data file is no deeper than its parser allows.
    fn ids_in(&mut self, file: &str, value: &Value) {
        match value {
            Value::String(text) => self.id(text, || file.to_owned()),
            Value::Array(items) => items.iter().for_each(|item| self.ids_in(file, item)),
            Value::Object(fields) => {
                for (key, value) in fields.iter() {
                    self.ids_in(file, key);
                    self.ids_in(file, value);
                }
            }
            _ => {}
        }
    }

    fn pattern(&mut self, mut parts: Vec<Part>, value: Option<&'static str>) {
        if value.is_none() {
            let Some(last) = parts.iter().rposition(|part| matches!(part, Part::Peer(_))) else {
                return;
            };
            parts.truncate(last + 1);
        }
        let pattern = Pattern { parts, value };
        if !self.in_tests && !self.patterns.contains(&pattern) {
            self.patterns.push(pattern);
        }
    }
}

impl Pattern {
    fn find(
        &self,
        parts: &[Part],
        at: &Value,
        bound: &BTreeMap<&'static str, String>,
        into: &mut Vec<BTreeMap<&'static str, String>>,
    ) {
        if into.len() >= MENTIONS_MAX {
            return;
        }
        let Some((part, rest)) = parts.split_first() else {
            let mut bound = bound.clone();
            match (self.value, at) {
                (None, _) => into.push(bound),
                (Some(field), Value::String(text)) => {
                    bound.insert(field, text.to_string());
                    into.push(bound);
                }
                (Some(_), _) => {}
            }
            return;
        };
        match (part, at) {
            (Part::Key(key), Value::Object(fields)) => {
                if let Some(value) = fields.get(&key.as_str().into()) {
                    self.find(rest, value, bound, into);
                }
            }
            (Part::Peer(field), Value::Object(fields)) => {
                for (key, value) in fields.iter() {
                    let Value::String(key) = key else { continue };
                    let mut bound = bound.clone();
                    bound.insert(field, key.to_string());
                    self.find(rest, value, &bound, into);
                }
            }
            (Part::Any, Value::Object(fields)) => {
                fields.iter().for_each(|(_, value)| self.find(rest, value, bound, into));
            }
            (Part::Any, Value::Array(items)) => {
                items.iter().for_each(|value| self.find(rest, value, bound, into));
            }
            _ => {}
        }
    }
}

/// Looks at one rule.
struct Look<'a> {
    terms: Terms<'a>,
    found: &'a mut Found,
}

impl Look<'_> {
    fn meet(&mut self, met: Met<'_>) {
        match met {
            Met::Stmt(stmt) => self.terms.declare(stmt),
            Met::Expr(expr) => self.expr(expr),
            Met::Query(_) | Met::Called(_) => {}
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::String { .. } | Expr::RawString { .. } => {
                if let Some(Value::String(text)) = literal(expr) {
                    self.found.id(&text, || from(expr));
                }
            }
            Expr::AssignExpr { .. } if self.terms.assign(expr) => {}
            Expr::AssignExpr { lhs, rhs, .. } => self.compared(lhs, rhs),
            Expr::BoolExpr { op: BoolOp::Eq, lhs, rhs, .. } => self.compared(lhs, rhs),
            Expr::Membership { value, collection, .. } => self.member(value, collection),
            Expr::RefBrack { .. } | Expr::Call { .. } => {
                if let Some(Term::Data(parts)) = self.terms.of(expr) {
                    self.found.pattern(parts, None);
                }
            }
            Expr::Object { fields, .. } => {
                for (_, key, value) in fields {
                    self.field(key, value);
                }
            }
            _ => {}
        }
    }

    /// `{"environment": "prod"}`, as tests write their input.
    fn field(&mut self, key: &Expr, value: &Expr) {
        if let Some(Value::String(key)) = literal(key)
            && let Some(Value::String(text)) = literal(value)
            && let Some(field) = FIELDS.iter().find(|field| **field == &*key)
            && matches!(*field, "environment" | "service" | "trust_domain")
            && self.found.in_tests
        {
            self.found.one(field, &text, from(value));
        }
    }

    fn compared(&mut self, one: &Expr, other: &Expr) {
        for (peer, other) in [(one, other), (other, one)] {
            let Some(Term::Peer(field)) = self.terms.of(peer) else { continue };
            if let Some(Value::String(text)) = literal(other) {
                self.found.one(field, &text, from(other));
            } else if let Some(Term::Data(parts)) = self.terms.of(other) {
                self.found.pattern(parts, Some(field));
            }
        }
    }

    fn member(&mut self, value: &Expr, collection: &Expr) {
        let Some(Term::Peer(field)) = self.terms.of(value) else { return };
        if let Expr::Set { items, .. } | Expr::Array { items, .. } = collection {
            for item in items {
                if let Some(Value::String(text)) = literal(item) {
                    self.found.one(field, &text, from(item));
                }
            }
        } else if let Some(Term::Data(mut parts)) = self.terms.of(collection) {
            parts.push(Part::Any);
            self.found.pattern(parts, Some(field));
        }
    }
}

fn from(expr: &Expr) -> String {
    let span = expr.span();
    format!("{}:{}", span.source.file(), span.line)
}
