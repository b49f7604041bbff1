//! Which lines of a policy were evaluated.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{Expr, Literal, LiteralStmt, Module, Query, Rule, RuleHead};

use super::met;

/// Lines of one file, from 1, that hold something to evaluate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    pub covered: Vec<u32>,
    pub not_covered: Vec<u32>,
}

impl Coverage {
    /// A file with nothing to evaluate is covered.
    pub fn percent(&self) -> f64 {
        percent(self.covered.len(), self.not_covered.len())
    }
}

/// Of lines, as it stands in reports.
#[expect(clippy::cast_precision_loss, reason = "files have some thousand lines")]
pub(super) fn percent(covered: usize, not_covered: usize) -> f64 {
    let all = covered + not_covered;
    if all == 0 { 100.0 } else { covered as f64 * 100.0 / all as f64 }
}

/// Gathers what evaluations touched, file by file.
#[derive(Debug, Default)]
pub(super) struct Touched {
    all: BTreeMap<String, BTreeSet<u32>>,
    covered: BTreeMap<String, BTreeSet<u32>>,
}

impl Touched {
    /// The interpreter reports only files that it met, so what there is comes from the syntax tree.
    pub(super) fn new<'m>(modules: impl Iterator<Item = &'m Module>) -> Self {
        let all = modules.map(|module| {
            let file = module.package.span.source.file().clone();
            (file, module.policy.iter().flat_map(|rule| lines_of(rule)).collect())
        });
        Self { all: all.collect(), covered: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, report: regorus::coverage::Report) {
        for file in report.files {
            if self.all.contains_key(&file.path) {
                self.covered.entry(file.path).or_default().extend(file.covered);
            }
        }
    }

    pub(super) fn by_file(self) -> BTreeMap<String, Coverage> {
        let Self { all, mut covered } = self;
        let files = all.into_iter().map(|(file, lines)| {
            let touched = covered.remove(&file).unwrap_or_default();
            let (covered, not_covered) = lines.into_iter().partition(|it| touched.contains(it));
            (file, Coverage { covered, not_covered })
        });
        files.collect()
    }
}

/// The lines on which a rule has something that the interpreter reports about.
fn lines_of(rule: &Rule) -> BTreeSet<u32> {
    let mut lines = Lines::default();
    match rule {
        Rule::Default { value, .. } => lines.expr(value),
        Rule::Spec { head, bodies, .. } => {
            match head {
                RuleHead::Compr { assign, .. } | RuleHead::Func { assign, .. } => {
                    if let Some(assign) = assign {
                        lines.expr(&assign.value);
                    }
                }
                RuleHead::Set { key, .. } => {
                    if let Some(key) = key {
                        lines.expr(key);
                    }
                }
            }
            for body in bodies {
                lines.query(&body.query);
            }
        }
    }
    lines.0
}

/// The lines of one statement of a body.
pub(super) fn lines_of_statement(stmt: &LiteralStmt) -> BTreeSet<u32> {
    let mut lines = Lines::default();
    lines.stmt(stmt);
    lines.0
}

#[derive(Default)]
struct Lines(BTreeSet<u32>);

impl Lines {
    fn query(&mut self, query: &Query) {
        for stmt in &query.stmts {
            self.stmt(stmt);
        }
    }

    fn stmt(&mut self, stmt: &LiteralStmt) {
        match &stmt.literal {
            Literal::SomeVars { .. } => {}
            Literal::SomeIn { value, collection, .. } => {
                self.expr(value);
                self.expr(collection);
            }
            Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => self.expr(expr),
            Literal::Every { domain, query, .. } => {
                self.expr(domain);
                self.query(query);
            }
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::ArrayCompr { query, .. }
            | Expr::SetCompr { query, .. }
            | Expr::ObjectCompr { query, .. } => return self.query(query),
            _ => drop(self.0.insert(expr.span().line)),
        }
        for inner in met::parts(expr) {
            self.expr(inner);
        }
    }
}
