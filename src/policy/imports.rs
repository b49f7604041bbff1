//! Writes imports out: `import data.lib` and `lib.x` become `data.lib.x`.
//!
//! The interpreter keeps one list of imports for all files of a package, so a file may see those of
//! another; and it evaluates the whole of an imported package for any rule in it, and then misses
//! some. By their full names rules mean what they mean in OPA. Lines stay where they are.

use std::collections::{HashMap, HashSet};

use regorus::Value;
use regorus::unstable::{AssignOp, Expr, Import, Literal, Module, Rule, RuleHead};

use super::error::Problem;
use super::met::{self, Met, variables};
use super::syntax::{at, head_path, imports_of, static_path};

/// The other wording, by file, of those that import something.
pub(super) fn written_out(
    modules: &[impl std::ops::Deref<Target = Module>],
) -> HashMap<String, String> {
    let mut texts = HashMap::new();
    for module in modules {
        let imports = imports_of(module);
        if imports.is_empty() {
            continue;
        }
        let mut edits: Vec<(u32, u32, String)> = module
            .imports
            .iter()
            .filter(|import| is_ours(import))
            .map(|import| {
                let last = import.r#as.as_ref().map_or(0, |alias| alias.end);
                let start = import.span.start;
                (start, last.max(end_of(&import.refr)).max(import.span.end), String::new())
            })
            .collect();
        for rule in &module.policy {
            met::rule(rule, &mut |met| {
                let named = match met {
                    Met::Called(function) => base(function),
                    Met::Expr(expr) => Some(expr),
                    Met::Query(_) | Met::Stmt(_) => None,
                };
                if let Some(Expr::Var { span, .. }) = named
                    && let Some(path) = imports.get(span.text())
                {
                    edits.push((span.start, span.end, full(path)));
                }
            });
        }
        let source = &module.package.span.source;
        texts.insert(source.file().clone(), edited(source.contents(), edits));
    }
    texts
}

fn is_ours(import: &Import) -> bool {
    let path = static_path(&import.refr);
    path.first().is_some_and(|root| root == "data" || root == "input")
}

/// What a path begins with.
fn base(mut path: &Expr) -> Option<&Expr> {
    while let Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } = path {
        path = refr;
    }
    matches!(path, Expr::Var { .. }).then_some(path)
}

fn end_of(refr: &Expr) -> u32 {
    match refr {
        Expr::RefDot { span, field, .. } => span.end.max(field.0.end),
        other => other.span().end,
    }
}

/// `data.lib["b-c"]`.
pub(super) fn full(path: &[String]) -> String {
    let mut text = String::new();
    for part in path {
        let plain = part.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_')
            && !part.starts_with(|first: char| first.is_ascii_digit());
        match (plain, text.is_empty()) {
            (true, true) => text.push_str(part),
            (true, false) => {
                text.push('.');
                text.push_str(part);
            }
            (false, _) => text.push_str(&format!("[{}]", Value::from(part.as_str()))),
        }
    }
    text
}

/// With places replaced. Those that overlap are one and the same.
pub(super) fn edited(text: &str, mut edits: Vec<(u32, u32, String)>) -> String {
    edits.sort();
    edits.dedup();
    let (mut edited, mut from) = (String::with_capacity(text.len()), 0);
    for (start, end, by) in edits {
        let (Ok(start), Ok(end)) = (usize::try_from(start), usize::try_from(end)) else { continue };
        if let Some(before) = text.get(from..start) {
            edited.push_str(before);
            edited.push_str(&by);
            from = end;
        }
    }
    edited.push_str(text.get(from..).unwrap_or_default());
    edited
}

/// Where a name would have to be told apart from an import of the same name.
pub(super) fn check(module: &Module) -> Vec<Problem> {
    let imports = imports_of(module);
    let mut problems = Vec::new();
    let mut seen: HashSet<String> = HashSet::new();
    for import in module.imports.iter().filter(|import| is_ours(import)) {
        let path = static_path(&import.refr);
        let alias = import.r#as.as_ref().map(|alias| alias.text().to_owned());
        let Some(name) = alias.or_else(|| path.last().cloned()) else { continue };
        if !seen.insert(name.clone()) {
            let message =
                format!("`{name}` is imported twice: give one of them another name by `as`");
            problems.push(at(&import.span, message));
        }
    }
    let mut clash = |name: &str, span| {
        if imports.contains_key(name) {
            let message = format!("`{name}` is imported already: choose another name");
            problems.push(at(span, message));
        }
    };
    for rule in &module.policy {
        if let Some(name) = head_path(rule).first() {
            clash(name, rule.span());
        }
        for (name, expr) in bound(rule) {
            clash(name, expr);
        }
    }
    problems
}

/// The variables that a rule declares, each with a place near it.
fn bound(rule: &Rule) -> Vec<(&str, &regorus::unstable::Span)> {
    let mut bound = Vec::new();
    let mut pattern = |pattern| {
        let mut names = Vec::new();
        variables(pattern, &mut names);
        bound.extend(names.into_iter().map(|name| (name, pattern.span())));
    };
    if let Rule::Spec { head: RuleHead::Func { args, .. }, .. } | Rule::Default { args, .. } = rule
    {
        for arg in args {
            pattern(arg);
        }
    }
    let mut plain = Vec::new();
    met::rule(rule, &mut |met| match met {
        Met::Expr(Expr::AssignExpr { op: AssignOp::ColEq, lhs, .. }) => pattern(lhs),
        Met::Query(_) | Met::Called(_) | Met::Expr(_) => {}
        Met::Stmt(stmt) => match &stmt.literal {
            Literal::SomeVars { vars, .. } => {
                plain.extend(vars.iter().map(|var| (var.text(), var)))
            }
            Literal::SomeIn { key, value, .. } => {
                for part in key.iter().chain([value]) {
                    pattern(part);
                }
            }
            Literal::Every { key, value, .. } => {
                plain.extend(key.iter().chain([value]).map(|var| (var.text(), var)));
            }
            Literal::Expr { .. } | Literal::NotExpr { .. } => {}
        },
    });
    bound.extend(plain);
    bound
}
