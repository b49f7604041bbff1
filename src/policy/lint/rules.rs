//! What is doubtful about rules as a whole: defaults, layers, what nothing uses, and who reads roles.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Value;
use regorus::unstable::{Expr, Module, Rule, RuleHead};

use super::super::contract::{GRANT, LAYERS, LOG_DROP, LOG_MASK, REQUEST_DENY};
use super::super::error::Problem;
use super::super::met::{self, Met};
use super::super::reads::{identity_entries, reachable};
use super::super::study::Study;
use super::super::syntax::{at, head_path, literal, package_of, static_path};
use super::super::walk::Definition;
use super::{Finding, name};

pub(super) fn check(study: &Study, definitions: &[Definition], found: &mut Vec<Finding>) {
    defaults(study, found);
    unused(definitions, found);
    roles(study, definitions, found);
    let Some(grant) = definitions.iter().find(|it| name(it) == GRANT) else { return };
    let defines = |path: &str| definitions.iter().any(|it| name(it) == path);
    if !LAYERS.iter().any(|layer| defines(layer.limit)) {
        let message = "no layer has a `limit`, so machine tokens keep every scope that they bring";
        let remedy = "say in `data.sidegate.global.limit` what each issuer may give out";
        found.push(Finding::warning("missing-layer", &grant.place, message.to_owned(), remedy));
    }
    if study.tests.is_empty() {
        let message = "the policy has no tests".to_owned();
        let remedy = "write `*_test.rego` files beside it: a candidate goes live only if they pass";
        found.push(Finding::warning("no-tests", &grant.place, message, remedy));
    }
}

/// How an entry point is defined, all definitions together.
#[derive(Default)]
struct Defined {
    default: bool,
    /// At least one has no condition, or adds to a set, which is then empty and not undefined.
    always: bool,
}

fn defaults(study: &Study, found: &mut Vec<Finding>) {
    let mut entries: BTreeMap<String, (Defined, Problem)> = BTreeMap::new();
    for module in &study.modules {
        let package = package_of(module);
        for rule in &module.policy {
            let path: Vec<String> = package.iter().cloned().chain(head_path(rule)).collect();
            let place = at(rule.span(), String::new());
            let (defined, _) =
                entries.entry(path.join(".")).or_insert_with(|| (Defined::default(), place));
            match rule.as_ref() {
                Rule::Default { .. } => defined.default = true,
                Rule::Spec { head, bodies, .. } => {
                    defined.always |= matches!(head, RuleHead::Set { .. })
                        || bodies.is_empty()
                        || bodies.iter().any(|body| body.is_else && body.query.stmts.is_empty());
                }
            }
        }
    }
    for (entry, (defined, place)) in entries {
        if defined.default || defined.always {
            continue;
        }
        let warning = |message: &str, remedy: &str| {
            Finding::warning("missing-default", &place, format!("`{entry}` {message}"), remedy)
        };
        let is_deny = entry == REQUEST_DENY || LAYERS.iter().any(|layer| layer.deny == entry);
        if entry == GRANT {
            found.push(warning(
                "is undefined for whom no definition holds, which shows as a policy error",
                "add `default grant := {\"roles\": [], \"scopes\": [], \"tenant\": null}`",
            ));
        } else if LAYERS.iter().any(|layer| layer.limit == entry) {
            found.push(warning(
                "is undefined for whom no definition holds, and then leaves nothing",
                "say so with `default limit := []`",
            ));
        } else if is_deny {
            let message =
                format!("`{entry}` is undefined where nothing is wrong, which refuses all");
            let remedy = "write `deny contains …`, or add `default deny := []`";
            found.push(Finding::error("missing-default", &place, message, remedy));
        }
    }
}

fn unused(definitions: &[Definition], found: &mut Vec<Finding>) {
    let mut entries = identity_entries();
    entries.extend([REQUEST_DENY, LOG_MASK, LOG_DROP]);
    let used = reachable(definitions, &entries);
    let mut told = BTreeSet::new();
    for definition in definitions {
        if !used.contains(&definition.path) && told.insert(&definition.path) {
            let message = format!("`{}` has no part in any answer", name(definition));
            let remedy = "remove it, or use it";
            found.push(Finding::warning("unused-rule", &definition.place, message, remedy));
        }
    }
}

/// Roles stand for scopes and decide nothing themselves (AZ-2).
fn roles(study: &Study, definitions: &[Definition], found: &mut Vec<Finding>) {
    let mut entries = identity_entries();
    entries.retain(|entry| *entry != GRANT);
    entries.push(REQUEST_DENY);
    let deciding = reachable(definitions, &entries);
    // `grant` itself names the roles of an identity: only what narrows must not ask for them.
    for module in &study.modules {
        let package = package_of(module);
        for rule in &module.policy {
            let path: Vec<String> = package.iter().cloned().chain(head_path(rule)).collect();
            let name = path.join(".");
            let mut reading = Reading {
                decides: deciding.contains(&path) && name != GRANT,
                name,
                found: &mut *found,
            };
            met::rule(rule, &mut |met| reading.meet(met));
        }
    }
}

/// Finds where roles are read.
struct Reading<'a> {
    name: String,
    decides: bool,
    found: &'a mut Vec<Finding>,
}

impl Reading<'_> {
    fn meet(&mut self, met: Met<'_>) {
        let Met::Expr(expr) = met else { return };
        let named = match expr {
            Expr::RefDot { field, .. } => field.0.text() == "roles",
            Expr::RefBrack { index, .. } => {
                literal(index).is_some_and(|it| it == Value::from("roles"))
            }
            _ => false,
        };
        if named && (self.decides || static_path(expr).join(".") == "data.roles") {
            let message = format!("`{}` reads roles", self.name);
            let remedy = "decide by scope: give the role's scopes in the data, and limit those";
            let place = at(expr.span(), String::new());
            self.found.push(Finding::warning("reads-roles", &place, message, remedy));
        }
    }
}

/// Imports that nothing in their file uses.
pub(super) fn imports(module: &Module, found: &mut Vec<Finding>) {
    // Every name that an expression begins with.
    let mut names = BTreeSet::new();
    for rule in &module.policy {
        met::rule(rule, &mut |met| {
            if let Met::Expr(expr) | Met::Called(expr) = met {
                names.extend(static_path(expr).into_iter().next());
            }
        });
    }
    for import in &module.imports {
        let path = static_path(&import.refr);
        let rooted = path.first().is_some_and(|root| root == "data" || root == "input");
        let alias = import.r#as.as_ref().map(|alias| alias.text().to_owned());
        let Some(name) = alias.or_else(|| path.last().cloned()).filter(|_| rooted) else {
            continue;
        };
        if !names.contains(&name) {
            let message = format!("`{name}` is imported and not used");
            let place = at(&import.span, String::new());
            found.push(Finding::warning("unused-import", &place, message, "remove the import"));
        }
    }
}
