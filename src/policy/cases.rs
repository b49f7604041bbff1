//! Finds the tests in a policy, and writes them so that each can be asked by itself.
//!
//! As in OPA every definition of `test_x` is a test, the second one `test_x#01`; and in
//! `test_x[note]` every `note` is a case, also one whose body stops later. The interpreter would
//! merge the former and forget the latter. So definitions are renamed apart, and beside a test with
//! cases stands a helper that tells which cases there are.

use std::collections::HashMap;
use std::fmt::Write as _;

use regorus::Value;
use regorus::unstable::{AssignOp, Expr, Literal, LiteralStmt, Module, Query, Rule, RuleHead};

use super::coverage;
use super::imports::edited;
use super::met::variables;
use super::syntax::{literal, package_of, text_of};

const PREFIX: &str = "test_";
const TODO: &str = "todo_test_";

/// A test as it stands in its file.
#[derive(Debug, Clone)]
pub(super) struct Test {
    /// From `data` on.
    pub package: Vec<String>,
    /// As it is told: `test_x#01` for a second definition.
    pub name: String,
    /// As it is asked for.
    pub rule: String,
    pub file: String,
    pub line: u32,
    pub skipped: bool,
    /// Its head has more than a name.
    pub deep: bool,
    /// Levels of the answer that are cases, one in another: none for a plain test.
    pub levels: usize,
    /// What tells the cases, if the test has some.
    pub helper: Option<String>,
    pub statements: Vec<Statement>,
}

/// One line of a test's body.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    pub lines: Vec<u32>,
    pub text: String,
}

/// A test, and what has to change in its file.
struct Found {
    test: Test,
    edit: Option<(u32, u32, String)>,
    helper: Option<String>,
}

/// Every test of the modules, and the files that have to be read in another wording for them.
pub(super) fn find(
    modules: &[impl std::ops::Deref<Target = Module>],
) -> (Vec<Test>, HashMap<String, String>) {
    let mut seen: HashMap<(Vec<String>, String), usize> = HashMap::new();
    let (mut tests, mut wordings) = (Vec::new(), HashMap::new());
    for module in modules {
        let source = &module.package.span.source;
        let mut found = Vec::new();
        for rule in &module.policy {
            let Some(test) = test_of(module, rule, &mut seen, tests.len() + found.len()) else {
                continue;
            };
            found.push(test);
        }
        if found.iter().any(|it| it.edit.is_some() || it.helper.is_some()) {
            wordings.insert(source.file().clone(), reworded(source.contents(), &found));
        }
        tests.extend(found.into_iter().map(|it| it.test));
    }
    (tests, wordings)
}

fn test_of(
    module: &Module,
    rule: &Rule,
    seen: &mut HashMap<(Vec<String>, String), usize>,
    number: usize,
) -> Option<Found> {
    let Rule::Spec { span, head, bodies } = rule else { return None };
    let (RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. }) = head else { return None };
    let (base, keys) = head_parts(refr)?;
    let plain = base.span().text().to_owned();
    let skipped = plain.starts_with(TODO);
    if !skipped && !plain.starts_with(PREFIX) {
        return None;
    }
    let package = package_of(module);
    let times = seen.entry((package.clone(), plain.clone())).or_default();
    *times += 1;
    let again = (*times > 1).then(|| *times - 1);
    let name = again.map_or_else(|| plain.clone(), |again| format!("{plain}#{again:02}"));
    let asked = again.map_or_else(|| plain.clone(), |again| format!("{plain}__definition_{again}"));
    let edit = again.map(|_| (base.span().start, base.span().end, asked.clone()));
    let query = bodies.first().map(|body| body.query.as_ref());
    let helper = helper(&keys, query, number);
    let levels = if keys.iter().any(|key| key.is_case()) { keys.len() } else { 0 };
    let test = Test {
        package,
        name,
        rule: asked,
        file: span.source.file().clone(),
        line: span.line,
        skipped,
        deep: !keys.is_empty(),
        levels,
        helper: helper.as_ref().map(|(name, _)| name.clone()),
        statements: bodies.iter().flat_map(|body| statements(&body.query)).collect(),
    };
    Some(Found { test, edit, helper: helper.map(|(_, text)| text) })
}

/// One part of a head behind the name of the rule.
enum Key<'e> {
    Fixed(String),
    Case(&'e Expr),
}

impl Key<'_> {
    fn is_case(&self) -> bool {
        matches!(self, Self::Case(_))
    }

    fn text(&self) -> String {
        match self {
            Self::Fixed(name) => Value::from(name.as_str()).to_string(),
            Self::Case(expr) => text_of(expr.span()).to_owned(),
        }
    }
}

/// The name of the rule, and what follows it.
fn head_parts(refr: &Expr) -> Option<(&Expr, Vec<Key<'_>>)> {
    let (mut expr, mut keys) = (refr, Vec::new());
    loop {
        match expr {
            Expr::Var { .. } => {
                keys.reverse();
                return Some((expr, keys));
            }
            Expr::RefDot { refr, field, .. } => {
                keys.push(Key::Fixed(field.0.text().to_owned()));
                expr = refr;
            }
            Expr::RefBrack { refr, index, .. } => {
                keys.push(match literal(index) {
                    Some(Value::String(name)) => Key::Fixed(name.to_string()),
                    _ => Key::Case(index),
                });
                expr = refr;
            }
            _ => return None,
        }
    }
}

/// A rule with the cases of a test: its body up to where all of them have a value.
fn helper(keys: &[Key<'_>], query: Option<&Query>, number: usize) -> Option<(String, String)> {
    let mut wanted = Vec::new();
    for key in keys {
        if let Key::Case(expr) = key {
            variables(expr, &mut wanted);
        }
    }
    if !keys.iter().any(Key::is_case) {
        return None;
    }
    let name = format!("cases__of_test_{number}");
    let key = keys.iter().map(Key::text).collect::<Vec<_>>().join(", ");
    let mut body = String::new();
    for stmt in &query?.stmts {
        if wanted.is_empty() {
            break;
        }
        writeln!(body, "\t{}", text_of(&stmt.span)).ok()?;
        let mut bound = Vec::new();
        binds(stmt, &mut bound);
        wanted.retain(|name| !bound.contains(name));
    }
    if !wanted.is_empty() || body.is_empty() {
        return None;
    }
    let text = format!("\n{name} contains [{key}] if {{\n{body}}}\n");
    Some((name, text))
}

/// The variables that a statement gives a value to, or may.
fn binds<'e>(stmt: &'e LiteralStmt, bound: &mut Vec<&'e str>) {
    match &stmt.literal {
        Literal::SomeIn { key, value, .. } => {
            for pattern in key.iter().chain([value]) {
                variables(pattern, bound);
            }
        }
        Literal::Expr { expr, .. } => match expr.as_ref() {
            Expr::AssignExpr { op: AssignOp::ColEq, lhs, rhs, .. } => {
                variables(lhs, bound);
                indices(rhs, bound);
            }
            Expr::AssignExpr { op: AssignOp::Eq, lhs, rhs, .. } => {
                variables(lhs, bound);
                variables(rhs, bound);
                indices(lhs, bound);
                indices(rhs, bound);
            }
            other => indices(other, bound),
        },
        Literal::SomeVars { .. } | Literal::NotExpr { .. } | Literal::Every { .. } => {}
    }
}

/// The variables in brackets, which range over what is there: `cases[note]`.
fn indices<'e>(expr: &'e Expr, into: &mut Vec<&'e str>) {
    match expr {
        Expr::RefDot { refr, .. } => indices(refr, into),
        Expr::RefBrack { refr, index, .. } => {
            variables(index, into);
            indices(refr, into);
        }
        _ => {}
    }
}

fn statements(query: &Query) -> Vec<Statement> {
    let statements = query.stmts.iter().map(|stmt| Statement {
        lines: coverage::lines_of_statement(stmt).into_iter().collect(),
        text: text_of(&stmt.span).lines().next().unwrap_or_default().trim().to_owned(),
    });
    statements.collect()
}

/// The text with names changed in place, so that lines stay what they are, and helpers at its end.
fn reworded(text: &str, found: &[Found]) -> String {
    let mut text = edited(text, found.iter().filter_map(|it| it.edit.clone()).collect());
    for helper in found.iter().filter_map(|it| it.helper.as_ref()) {
        text.push_str(helper);
    }
    text
}
