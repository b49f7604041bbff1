//! Goes through a rule, and shows every query, statement and expression of it on the way: first what
//! is declared, then what is made of it.

use regorus::unstable::{Expr, Literal, LiteralStmt, Query, Rule, RuleHead};

/// What is met in a rule, each before what it is made of.
#[derive(Clone, Copy)]
pub(super) enum Met<'e> {
    Query(&'e Query),
    Stmt(&'e LiteralStmt),
    Expr(&'e Expr),
    /// The name of the function that is called, after the call itself.
    Called(&'e Expr),
}

/// All of a rule. The name in its head is no reference; what stands in brackets there may be one.
pub(super) fn rule<'e>(rule: &'e Rule, show: &mut dyn FnMut(Met<'e>)) {
    match rule {
        Rule::Default { refr, args, value, .. } => {
            brackets(refr, show);
            for arg in args {
                expr(arg, show);
            }
            expr(value, show);
        }
        Rule::Spec { head, bodies, .. } => {
            for body in bodies {
                query(&body.query, show);
                if let Some(assign) = &body.assign {
                    expr(&assign.value, show);
                }
            }
            self::head(head, show);
        }
    }
}

fn head<'e>(head: &'e RuleHead, show: &mut dyn FnMut(Met<'e>)) {
    match head {
        RuleHead::Compr { refr, assign, .. } => {
            brackets(refr, show);
            if let Some(assign) = assign {
                expr(&assign.value, show);
            }
        }
        RuleHead::Func { refr, args, assign, .. } => {
            brackets(refr, show);
            for arg in args {
                expr(arg, show);
            }
            if let Some(assign) = assign {
                expr(&assign.value, show);
            }
        }
        RuleHead::Set { refr, key, .. } => {
            brackets(refr, show);
            if let Some(key) = key {
                expr(key, show);
            }
        }
    }
}

fn brackets<'e>(refr: &'e Expr, show: &mut dyn FnMut(Met<'e>)) {
    match refr {
        Expr::RefDot { refr, .. } => brackets(refr, show),
        Expr::RefBrack { refr, index, .. } => {
            brackets(refr, show);
            expr(index, show);
        }
        _ => {}
    }
}

fn query<'e>(query: &'e Query, show: &mut dyn FnMut(Met<'e>)) {
    show(Met::Query(query));
    for one in &query.stmts {
        stmt(one, show);
    }
}

fn stmt<'e>(stmt: &'e LiteralStmt, show: &mut dyn FnMut(Met<'e>)) {
    show(Met::Stmt(stmt));
    match &stmt.literal {
        Literal::SomeVars { .. } => {}
        Literal::SomeIn { key, value, collection, .. } => {
            for part in [collection].into_iter().chain(key).chain([value]) {
                expr(part, show);
            }
        }
        Literal::Expr { expr: inner, .. } | Literal::NotExpr { expr: inner, .. } => {
            expr(inner, show);
        }
        Literal::Every { domain, query: inner, .. } => {
            expr(domain, show);
            query(inner, show);
        }
    }
    for with in &stmt.with_mods {
        expr(&with.refr, show);
        expr(&with.r#as, show);
    }
}

/// The expression itself, then what lies inside. The parser has bounded the depth.
pub(super) fn expr<'e>(one: &'e Expr, show: &mut dyn FnMut(Met<'e>)) {
    show(Met::Expr(one));
    match one {
        Expr::ArrayCompr { term, query: inner, .. } | Expr::SetCompr { term, query: inner, .. } => {
            query(inner, show);
            expr(term, show);
        }
        Expr::ObjectCompr { key, value, query: inner, .. } => {
            query(inner, show);
            expr(key, show);
            expr(value, show);
        }
        Expr::Call { fcn, params, .. } => {
            show(Met::Called(fcn));
            for param in params {
                expr(param, show);
            }
        }
        other => {
            for part in parts(other) {
                expr(part, show);
            }
        }
    }
}

/// What an expression is made of, comprehensions and the names of functions apart.
pub(super) fn parts(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::Array { items, .. } | Expr::Set { items, .. } => {
            items.iter().map(AsRef::as_ref).collect()
        }
        Expr::Object { fields, .. } => {
            let fields = fields.iter();
            fields.flat_map(|(_, key, value)| [key.as_ref(), value.as_ref()]).collect()
        }
        Expr::Call { params, .. } => params.iter().map(AsRef::as_ref).collect(),
        Expr::UnaryExpr { expr, .. } => vec![expr],
        Expr::RefDot { refr, .. } => vec![refr],
        Expr::RefBrack { refr, index, .. } => vec![refr, index],
        Expr::BinExpr { lhs, rhs, .. }
        | Expr::BoolExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. }
        | Expr::AssignExpr { lhs, rhs, .. } => vec![lhs, rhs],
        Expr::Membership { key, value, collection, .. } => {
            key.iter().chain([value, collection]).map(AsRef::as_ref).collect()
        }
        _ => Vec::new(),
    }
}

/// The variables of a pattern such as `[a, {"k": b}]`.
pub(super) fn variables<'e>(pattern: &'e Expr, into: &mut Vec<&'e str>) {
    match pattern {
        Expr::Var { span, .. } => into.push(span.text()),
        Expr::Array { items, .. } | Expr::Set { items, .. } => {
            for item in items {
                variables(item, into);
            }
        }
        Expr::Object { fields, .. } => {
            for (_, _, value) in fields {
                variables(value, into);
            }
        }
        _ => {}
    }
}
