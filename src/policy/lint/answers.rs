//! Scopes and roles that stand in the text of answers.

use regorus::Value;
use regorus::unstable::{Expr, Rule, RuleHead};

use super::super::answer::shortened;
use super::super::contract::{GRANT, LAYERS};
use super::super::met::{self, Met};
use super::super::roles::is_scope_pattern;
use super::super::study::Study;
use super::super::syntax::{at, literal};
use super::Finding;

const SCOPE_REMEDY: &str = "write `resource:action` in lower case; `*` may stand for a whole side";

/// Looks at what a rule answers, if it is an entry point.
pub(super) fn check(rule: &Rule, path: &[String], study: &Study, found: &mut Vec<Finding>) {
    let path = path.join(".");
    if path == GRANT {
        let mut look = Grant { study, found };
        met::rule(rule, &mut |met| look.meet(met));
    } else if LAYERS.iter().any(|layer| layer.limit == path) {
        for value in values(rule) {
            limits(value, found);
        }
    }
}

/// What a rule may come to, as it is written.
fn values(rule: &Rule) -> Vec<&Expr> {
    match rule {
        Rule::Default { value, .. } => vec![value],
        Rule::Spec { head, bodies, .. } => {
            let own = match head {
                RuleHead::Compr { assign, .. } | RuleHead::Func { assign, .. } => {
                    assign.as_ref().map(|assign| assign.value.as_ref())
                }
                RuleHead::Set { key, .. } => key.as_ref().map(AsRef::as_ref),
            };
            let others = bodies.iter().filter_map(|body| body.assign.as_ref());
            own.into_iter().chain(others.map(|assign| assign.value.as_ref())).collect()
        }
    }
}

fn limits(value: &Expr, found: &mut Vec<Finding>) {
    match value {
        Expr::Array { items, .. } | Expr::Set { items, .. } => {
            for item in items {
                scope(item, found);
            }
        }
        other => scope(other, found),
    }
}

fn scope(expr: &Expr, found: &mut Vec<Finding>) {
    let Some(value) = literal(expr) else { return };
    let place = at(expr.span(), String::new());
    match value {
        Value::String(text) if is_scope_pattern(&text) => {}
        Value::String(text) => {
            let message = format!("`{}` is not a scope", shortened(&text));
            found.push(Finding::error("malformed-scope", &place, message, SCOPE_REMEDY));
        }
        other => {
            let message = format!("{other} is not a scope");
            found.push(Finding::error("malformed-scope", &place, message, SCOPE_REMEDY));
        }
    }
}

struct Grant<'a> {
    study: &'a Study,
    found: &'a mut Vec<Finding>,
}

impl Grant<'_> {
    fn meet(&mut self, met: Met<'_>) {
        let Met::Expr(Expr::Object { fields, .. }) = met else { return };
        for (_, key, value) in fields {
            let (Expr::Array { items, .. } | Expr::Set { items, .. }) = value.as_ref() else {
                continue;
            };
            match literal(key) {
                Some(Value::String(key)) if &*key == "scopes" => {
                    items.iter().for_each(|item| scope(item, self.found));
                }
                Some(Value::String(key)) if &*key == "roles" => {
                    items.iter().for_each(|item| self.role(item));
                }
                _ => {}
            }
        }
    }

    fn role(&mut self, expr: &Expr) {
        let Some(Value::String(name)) = literal(expr) else { return };
        let known = self.study.data.iter().any(|(_, data)| {
            matches!(&data["roles"], Value::Object(roles) if roles.contains_key(&Value::from(&*name)))
        });
        if !known {
            let message = format!("role `{}` is not defined", shortened(&name));
            let remedy = "define it under `roles` in a data file: an unknown role refuses everybody \
                          who has it";
            let place = at(expr.span(), String::new());
            self.found.push(Finding::error("unknown-role", &place, message, remedy));
        }
    }
}
