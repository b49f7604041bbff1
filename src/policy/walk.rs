//! What each rule definition refers to, read off the syntax tree.
//!
//! Names are resolved as scopes open: what a query declares hides a rule of the same name from
//! there on. Where a name is in doubt it counts as a reference, so the answer errs on the safe side.

use std::collections::{HashMap, HashSet};

use regorus::Value;
use regorus::unstable::{
    AssignOp, BUILTINS, Expr, Literal, LiteralStmt, Module, Query, Rule, RuleHead,
};

use super::error::Problem;
use super::names::Names;
use super::syntax::{Path, at, head_path, imports_of, literal, output, package_of};

/// A reference and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Reference {
    pub path: Path,
    pub place: Problem,
}

/// One `{…}` or `:=` that defines a rule, or adds to it.
#[derive(Debug)]
pub(super) struct Definition {
    /// From `data` on, as far as it is fixed.
    pub path: Vec<String>,
    pub place: Problem,
    /// Paths under `data`, of rules and of plain data alike.
    pub data: Vec<Reference>,
    /// Paths under `input`.
    pub input: Vec<Reference>,
    pub calls: Vec<Call>,
    /// Levels of the syntax tree, which the interpreter descends on its stack.
    pub depth: usize,
    pub problems: Vec<Problem>,
}

/// A call of something that is not a rule.
#[derive(Debug)]
pub(super) struct Call {
    pub name: String,
    pub place: Problem,
    /// The arguments as far as they are literals.
    pub literals: Vec<Option<Value>>,
}

/// Every definition of all modules.
pub(super) fn definitions(modules: &[impl std::ops::Deref<Target = Module>]) -> Vec<Definition> {
    let mut names: HashMap<Vec<String>, HashSet<String>> = HashMap::new();
    for module in modules {
        let names = names.entry(package_of(module)).or_default();
        names.extend(module.policy.iter().filter_map(|rule| head_path(rule).into_iter().next()));
    }
    let none = HashSet::new();
    let mut definitions = Vec::new();
    for module in modules {
        let package = package_of(module);
        let siblings = names.get(&package).unwrap_or(&none);
        let imports = imports_of(module);
        let hides = imports.iter().any(|(name, path)| {
            matches!(name.as_str(), "input" | "data") && path.as_slice() != [name.as_str()]
        });
        for rule in &module.policy {
            let names = Names::new(&package, siblings, &imports);
            let path = package.iter().cloned().chain(head_path(rule)).collect();
            let mut walk = Walk::new(names, path, at(rule.span(), String::new()));
            if hides {
                let message = "nothing can be imported as `input` or `data`".to_owned();
                walk.found.problems.push(at(&module.package.span, message));
            }
            walk.rule(rule);
            definitions.push(walk.finish());
        }
    }
    definitions
}

struct Walk<'a> {
    names: Names<'a>,
    level: usize,
    found: Definition,
}

impl<'a> Walk<'a> {
    fn new(names: Names<'a>, path: Vec<String>, place: Problem) -> Self {
        let found = Definition {
            path,
            place,
            data: Vec::new(),
            input: Vec::new(),
            calls: Vec::new(),
            depth: 0,
            problems: Vec::new(),
        };
        Self { names, level: 0, found }
    }

    fn finish(self) -> Definition {
        let mut found = self.found;
        found.problems.extend(self.names.unbound());
        found
    }

    fn rule(&mut self, rule: &Rule) {
        match rule {
            Rule::Default { refr, args, value, .. } => {
                self.names.declare_all(args);
                self.head_indices(refr);
                self.expr(value);
            }
            Rule::Spec { head, bodies, .. } => {
                if let RuleHead::Func { args, .. } = head {
                    self.names.declare_all(args);
                    self.exprs(args);
                }
                if bodies.is_empty() {
                    self.head(head);
                }
                for body in bodies {
                    self.names.open();
                    self.stmts(&body.query);
                    // An `else` has a value of its own.
                    if !body.is_else {
                        self.head(head);
                    }
                    if let Some(assign) = &body.assign {
                        self.expr(&assign.value);
                    }
                    self.names.close();
                }
            }
        }
    }

    fn head(&mut self, head: &RuleHead) {
        match head {
            RuleHead::Compr { refr, assign, .. } | RuleHead::Func { refr, assign, .. } => {
                self.head_indices(refr);
                if let Some(assign) = assign {
                    self.expr(&assign.value);
                }
            }
            RuleHead::Set { refr, key, .. } => {
                self.head_indices(refr);
                if let Some(key) = key {
                    self.expr(key);
                }
            }
        }
    }

    /// The name in a head is no reference; what stands in its brackets may be one.
    fn head_indices(&mut self, refr: &Expr) {
        let mut refr = refr;
        loop {
            match refr {
                Expr::RefDot { refr: inner, .. } => refr = inner,
                Expr::RefBrack { refr: inner, index, .. } => {
                    self.expr(index);
                    refr = inner;
                }
                _ => return,
            }
        }
    }

    /// In a scope of its own; `then` sees what the query declares.
    fn query(&mut self, query: &Query, then: impl FnOnce(&mut Self)) {
        self.names.open();
        self.stmts(query);
        then(self);
        self.names.close();
    }

    fn stmts(&mut self, query: &Query) {
        for stmt in &query.stmts {
            self.stmt(stmt);
        }
    }

    fn stmt(&mut self, stmt: &LiteralStmt) {
        if !stmt.with_mods.is_empty() {
            let message = "`with` belongs into tests only".to_owned();
            self.found.problems.push(at(&stmt.span, message));
        }
        for with in &stmt.with_mods {
            self.expr(&with.r#as);
        }
        match &stmt.literal {
            Literal::SomeVars { vars, .. } => {
                for var in vars {
                    self.names.declare(var.text());
                }
            }
            Literal::SomeIn { key, value, collection, .. } => {
                self.expr(collection);
                for pattern in key.iter().chain([value]) {
                    self.names.declare_pattern(pattern);
                    self.expr(pattern);
                }
            }
            Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => self.expr(expr),
            Literal::Every { key, value, domain, query, .. } => {
                self.expr(domain);
                self.names.open();
                for var in key.iter().chain([value]) {
                    self.names.declare(var.text());
                }
                self.query(query, |_| {});
                self.names.close();
            }
        }
    }

    fn exprs<'e>(&mut self, exprs: impl IntoIterator<Item = &'e (impl AsRef<Expr> + 'e)>) {
        for expr in exprs {
            self.expr(expr.as_ref());
        }
    }

    fn expr(&mut self, expr: &Expr) {
        self.level += 1;
        self.found.depth = self.found.depth.max(self.level);
        self.one(expr);
        self.level -= 1;
    }

    fn one(&mut self, expr: &Expr) {
        match expr {
            Expr::String { .. }
            | Expr::RawString { .. }
            | Expr::Number { .. }
            | Expr::Bool { .. }
            | Expr::Null { .. } => {}
            Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => self.reference(expr),
            Expr::Array { items, .. } | Expr::Set { items, .. } => self.exprs(items),
            Expr::Object { fields, .. } => {
                for (_, key, value) in fields {
                    self.expr(key);
                    self.expr(value);
                }
            }
            Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
                self.query(query, |walk| walk.expr(term));
            }
            Expr::ObjectCompr { key, value, query, .. } => self.query(query, |walk| {
                walk.expr(key);
                walk.expr(value);
            }),
            Expr::Call { fcn, params, .. } => {
                if let Some(output) = output(fcn, params) {
                    self.names.bind(output);
                }
                self.exprs(params);
                self.call(fcn, params.iter().map(|param| literal(param)).collect());
            }
            Expr::UnaryExpr { expr, .. } => self.expr(expr),
            Expr::AssignExpr { op, lhs, rhs, .. } => {
                self.expr(rhs);
                match op {
                    AssignOp::ColEq => self.names.declare_pattern(lhs),
                    AssignOp::Eq => {
                        self.names.bind(lhs);
                        self.names.bind(rhs);
                    }
                }
                self.expr(lhs);
            }
            Expr::BinExpr { lhs, rhs, .. }
            | Expr::BoolExpr { lhs, rhs, .. }
            | Expr::ArithExpr { lhs, rhs, .. } => {
                self.expr(lhs);
                self.expr(rhs);
            }
            Expr::Membership { key, value, collection, .. } => {
                self.exprs(key);
                self.expr(value);
                self.expr(collection);
            }
        }
    }

    fn reference(&mut self, expr: &Expr) {
        let (base, path) = self.flatten(expr);
        let Some(base) = base else { return };
        let Some(path) = self.names.resolve(&base, path) else {
            self.names.use_undeclared(&base, expr);
            return;
        };
        let reference = Reference { path, place: at(expr.span(), String::new()) };
        match reference.path.parts.first().map(String::as_str) {
            Some("input") => self.found.input.push(reference),
            Some("data") => self.found.data.push(reference),
            _ => {}
        }
    }

    fn call(&mut self, fcn: &Expr, literals: Vec<Option<Value>>) {
        let place = at(fcn.span(), String::new());
        let (base, path) = self.flatten(fcn);
        let Some(base) = base else {
            let message = "only a name can be called".to_owned();
            self.found.problems.push(Problem { message, ..place });
            return;
        };
        let name: Vec<_> = std::iter::once(&base).chain(&path.parts).map(String::as_str).collect();
        let name = name.join(".");
        match self.names.resolve(&base, path) {
            Some(path) if path.parts.first().is_some_and(|root| root == "data") => {
                // An import or a rule of the same name does not hide a builtin from the engine.
                if BUILTINS.contains_key(name.as_str()) || name == "print" || name == "trace" {
                    let place = place.clone();
                    self.found.calls.push(Call { name, place, literals });
                }
                self.found.data.push(Reference { path, place });
            }
            _ => self.found.calls.push(Call { name, place, literals }),
        }
    }

    /// The name at the root, and the parts that follow. `None` if the root is an expression.
    fn flatten(&mut self, expr: &Expr) -> (Option<String>, Path) {
        let (mut expr, mut parts, mut exact) = (expr, Vec::new(), true);
        loop {
            match expr {
                Expr::Var { span, .. } => {
                    parts.reverse();
                    return (Some(span.text().to_owned()), Path { parts, exact });
                }
                Expr::RefDot { refr, field, .. } => {
                    parts.push(field.0.text().to_owned());
                    expr = refr;
                }
                Expr::RefBrack { refr, index, .. } => {
                    match literal(index) {
                        Some(Value::String(name)) => parts.push(name.to_string()),
                        _ => {
                            self.names.bind(index);
                            self.expr(index);
                            // What stands behind an unknown part is unknown too.
                            parts.clear();
                            exact = false;
                        }
                    }
                    expr = refr;
                }
                other => {
                    self.expr(other);
                    return (None, Path { parts, exact: false });
                }
            }
        }
    }
}
