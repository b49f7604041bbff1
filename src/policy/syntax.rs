//! Names and paths as they are spelled in a syntax tree.

use std::collections::HashMap;

use regorus::Value;
use regorus::unstable::{BUILTINS, Expr, Module, Rule, RuleHead, Span};

use super::error::Problem;

/// A path such as `data.lib.roles` by its parts. `exact` is false if it goes on with parts that
/// are not known before evaluation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Path {
    pub parts: Vec<String>,
    pub exact: bool,
}

/// The argument past the last, which takes the result of a builtin: `walk(x, [path, value])`.
pub(super) fn output<'e>(fcn: &Expr, params: &'e [impl AsRef<Expr>]) -> Option<&'e Expr> {
    let (_, arity) = BUILTINS.get(static_path(fcn).join(".").as_str())?;
    params.get(usize::from(*arity)).map(AsRef::as_ref)
}

pub(super) fn literal(expr: &Expr) -> Option<Value> {
    match expr {
        Expr::String { value, .. }
        | Expr::RawString { value, .. }
        | Expr::Number { value, .. }
        | Expr::Bool { value, .. }
        | Expr::Null { value, .. } => Some(value.clone()),
        _ => None,
    }
}

pub(super) fn package_of(module: &Module) -> Vec<String> {
    let parts = std::iter::once("data".to_owned());
    parts.chain(static_path(&module.package.refr)).collect()
}

/// The fixed part of a rule's name: `by` for `by[tenant] contains scope`.
pub(super) fn head_path(rule: &Rule) -> Vec<String> {
    match rule {
        Rule::Default { refr, .. }
        | Rule::Spec {
            head:
                RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } | RuleHead::Func { refr, .. },
            ..
        } => static_path(refr),
    }
}

pub(super) fn imports_of(module: &Module) -> HashMap<String, Vec<String>> {
    let mut imports = HashMap::new();
    for import in &module.imports {
        let path = static_path(&import.refr);
        let alias = import.r#as.as_ref().map(|alias| alias.text().to_owned());
        let roots = path.first().is_some_and(|root| root == "data" || root == "input");
        if let Some(name) = alias.or_else(|| path.last().cloned())
            && roots
        {
            imports.insert(name, path);
        }
    }
    imports
}

pub(super) fn static_path(expr: &Expr) -> Vec<String> {
    let (mut expr, mut parts) = (expr, Vec::new());
    loop {
        match expr {
            Expr::Var { span, .. } => {
                parts.push(span.text().to_owned());
                parts.reverse();
                return parts;
            }
            Expr::RefDot { refr, field, .. } => {
                parts.push(field.0.text().to_owned());
                expr = refr;
            }
            Expr::RefBrack { refr, index, .. } => {
                match literal(index) {
                    Some(Value::String(name)) => parts.push(name.to_string()),
                    _ => parts.clear(),
                }
                expr = refr;
            }
            _ => return Vec::new(),
        }
    }
}

/// The text of a place. A string at either end is taken with its quotes, which its span lacks.
pub(super) fn text_of(span: &Span) -> &str {
    let contents = span.source.contents();
    let (Ok(mut start), Ok(mut end)) = (usize::try_from(span.start), usize::try_from(span.end))
    else {
        return span.text();
    };
    let is_quote = |at: usize| matches!(contents.as_bytes().get(at), Some(b'"' | b'`'));
    start -= usize::from(start.checked_sub(1).is_some_and(is_quote));
    end += usize::from(is_quote(end));
    contents.get(start..end).unwrap_or_else(|| span.text())
}

/// A place in a file, with what is to be said of it.
pub(super) fn at(span: &Span, message: String) -> Problem {
    Problem { file: span.source.file().clone(), line: span.line, column: span.col, message }
}
