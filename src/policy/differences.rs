//! Where this interpreter and OPA would answer differently: refused, so that a policy means the same
//! in both. `docs/rego.md` lists all of it.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Value;
use regorus::unstable::{AssignOp, BUILTINS, Expr, Literal, Module, Rule, RuleHead};

use super::error::Problem;
use super::imports;
use super::met::{self, Met};
use super::negation;
use super::patterns;
use super::syntax::{at, head_path, imports_of, literal, package_of, static_path};

/// Beyond these a number is rounded here, and is not in OPA.
const DIGITS_MAX: usize = 15;

/// Names that OPA has for operators, or keeps for itself.
const NAMES: &[&str] = &[
    "and", "assign", "contains", "div", "eq", "equal", "gt", "gte", "internal", "lt", "lte",
    "minus", "mul", "neq", "or", "plus", "rem",
];

/// Every place in the enforced modules that OPA would understand in another way.
pub(super) fn check(modules: &[impl std::ops::Deref<Target = Module>]) -> Vec<Problem> {
    let rules = negation::Rules::new(modules);
    let heads = Heads::new(modules);
    let mut problems = heads.check();
    for module in modules {
        problems.extend(imports::check(module));
        problems.extend(negation::check(module, &rules));
        let (package, imports) = (package_of(module), imports_of(module));
        for rule in &module.policy {
            problems.extend(check_head(rule));
            met::rule(rule, &mut |met| {
                problems.extend(match met {
                    Met::Stmt(stmt) => check_pattern_in(&stmt.literal),
                    Met::Expr(Expr::Call { fcn, params, span, .. }) => {
                        let name = static_path(fcn);
                        let function = heads.function(&name, &package, &imports);
                        let wrong = match function {
                            Some(function) => check_arity(function, params.len()),
                            None => heads
                                .hides(&name, &package)
                                .or_else(|| check_builtin(&name.join("."), params)),
                        };
                        wrong.map(|message| at(span, message))
                    }
                    Met::Expr(Expr::AssignExpr { op, lhs, rhs, .. }) => {
                        object_pattern(lhs).or(match op {
                            AssignOp::Eq => object_pattern(rhs),
                            AssignOp::ColEq => None,
                        })
                    }
                    Met::Expr(Expr::Number { span, .. }) => {
                        check_number(span.text()).map(|message| at(span, message))
                    }
                    Met::Expr(Expr::UnaryExpr { expr, span, .. })
                        if !matches!(expr.as_ref(), Expr::Number { .. }) =>
                    {
                        let message = "`-` stands before plain numbers only: subtract from 0";
                        Some(at(span, message.to_owned()))
                    }
                    Met::Query(_) | Met::Called(_) | Met::Expr(_) => None,
                });
            });
        }
    }
    problems.sort();
    problems.dedup();
    problems
}

/// Tests that put something in the place of a function: here only calls by its full name would
/// notice, so they would show nothing.
pub(super) fn check_tests(
    modules: &[impl std::ops::Deref<Target = Module>],
    is_test: impl Fn(&str) -> bool,
) -> Vec<Problem> {
    let heads = Heads::new(modules);
    let mut problems = Vec::new();
    for module in modules.iter().filter(|it| is_test(it.package.span.source.file())) {
        let (package, imports) = (package_of(module), imports_of(module));
        for rule in &module.policy {
            met::rule(rule, &mut |met| {
                let Met::Stmt(stmt) = met else { return };
                let replaced = stmt.with_mods.iter().filter(|with| {
                    let name = static_path(&with.refr);
                    matches!(heads.function(&name, &package, &imports), Some(Some(_)))
                });
                let message = "a function of the policy cannot be replaced: replace what it reads";
                problems.extend(replaced.map(|with| at(&with.span, message.to_owned())));
            });
        }
    }
    problems
}

/// Data at the place of a rule: OPA would let the rule answer, and this interpreter the data.
pub(super) fn check_data(rules: &BTreeSet<String>, data: &Value) -> Vec<Problem> {
    let clashing = rules.iter().filter(|rule| {
        let mut at = data.clone();
        for part in rule.split('.').skip(1) {
            let Value::Object(object) = &at else { return at != Value::Undefined };
            at = object.get(&Value::from(part)).cloned().unwrap_or(Value::Undefined);
        }
        at != Value::Undefined
    });
    let problem = |rule: &String| {
        Problem::in_file("data", format!("`{rule}` is a rule, and stands in the data too"))
    };
    clashing.map(problem).collect()
}

/// What kinds of definitions one rule has, and where.
#[derive(Debug, Default)]
struct Kinds {
    kinds: BTreeMap<Kind, Problem>,
    defaults: Vec<Problem>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Value,
    Set,
    Object,
    Function(usize),
}

struct Heads {
    rules: BTreeMap<String, Kinds>,
    packages: BTreeSet<Vec<String>>,
}

impl Heads {
    fn new(modules: &[impl std::ops::Deref<Target = Module>]) -> Self {
        let mut heads = Self { rules: BTreeMap::new(), packages: BTreeSet::new() };
        for module in modules {
            let package = package_of(module);
            for rule in &module.policy {
                let head = head_path(rule);
                let (Some(kind), false) = (kind(rule), head.is_empty()) else { continue };
                let path: Vec<_> = package.iter().chain(&head).cloned().collect();
                let kinds = heads.rules.entry(path.join(".")).or_default();
                let place = at(rule.span(), String::new());
                if matches!(rule.as_ref(), Rule::Default { .. }) {
                    kinds.defaults.push(place.clone());
                }
                kinds.kinds.entry(kind).or_insert(place);
            }
            heads.packages.insert(package);
        }
        heads
    }

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (name, Kinds { kinds, defaults }) in &self.rules {
            let mut say = |place: &Problem, message| {
                problems.push(Problem { message, ..place.clone() });
            };
            if let Some(second) = defaults.get(1) {
                say(second, format!("`{name}` has a default already"));
            }
            if let Some(other) = kinds.values().nth(1) {
                say(other, format!("`{name}` is defined as something else too"));
            }
            let above = |package: &Vec<String>| {
                let package = package.join(".");
                package == *name || package.starts_with(&format!("{name}."))
            };
            if let (Some(place), true) = (kinds.values().next(), self.packages.iter().any(above)) {
                say(place, format!("`{name}` is a rule, and a package too"));
            }
            // A value in which another rule defines a part.
            let below = format!("{name}.");
            let inner = self.rules.range(below.clone()..).next();
            if kinds.contains_key(&Kind::Value)
                && let Some((inner, kinds)) = inner.filter(|(inner, _)| inner.starts_with(&below))
                && let Some(place) = kinds.kinds.values().next()
            {
                say(
                    place,
                    format!("`{name}` is a value already, so `{inner}` cannot be a part of it"),
                );
            }
        }
        problems
    }

    /// In OPA a rule called `time` stands before all functions `time.…`.
    fn hides(&self, name: &[String], package: &[String]) -> Option<String> {
        let [base, _, ..] = name else { return None };
        let rule = package.iter().chain([base]).map(String::as_str).collect::<Vec<_>>().join(".");
        self.rules
            .contains_key(&rule)
            .then(|| format!("`{base}` is a rule here, which hides `{}` in OPA", name.join(".")))
    }

    /// How many arguments it takes, if it is a function of the policy.
    fn function(
        &self,
        name: &[String],
        package: &[String],
        imports: &std::collections::HashMap<String, Vec<String>>,
    ) -> Option<Option<usize>> {
        let (base, rest) = name.split_first()?;
        let root: Vec<String> = match imports.get(base) {
            _ if base == "data" => vec![base.clone()],
            Some(import) => import.clone(),
            None => package.iter().cloned().chain([base.clone()]).collect(),
        };
        let path: Vec<_> = root.iter().chain(rest).map(String::as_str).collect();
        let known = self.rules.get(&path.join("."));
        let arity = known.and_then(|it| {
            it.kinds.keys().find_map(|kind| match kind {
                Kind::Function(arity) => Some(*arity),
                _ => None,
            })
        });
        match (arity, base == "data" || imports.contains_key(base)) {
            (Some(arity), _) => Some(Some(arity)),
            (None, true) => Some(None),
            (None, false) => None,
        }
    }
}

fn kind(rule: &Rule) -> Option<Kind> {
    Some(match rule {
        Rule::Default { args, .. } if !args.is_empty() => Kind::Function(args.len()),
        Rule::Default { .. } => Kind::Value,
        Rule::Spec { head: RuleHead::Func { args, .. }, .. } => Kind::Function(args.len()),
        Rule::Spec { head: RuleHead::Set { refr, .. }, .. } if is_open(refr) => return None,
        Rule::Spec { head: RuleHead::Set { .. }, .. } => Kind::Set,
        Rule::Spec { head: RuleHead::Compr { refr, .. }, .. } if is_open(refr) => Kind::Object,
        Rule::Spec { head: RuleHead::Compr { .. }, .. } => Kind::Value,
    })
}

/// A part of the head is known only when it is asked.
fn is_open(refr: &Expr) -> bool {
    match refr {
        Expr::RefDot { refr, .. } => is_open(refr),
        Expr::RefBrack { refr, index, .. } => {
            !matches!(literal(index), Some(Value::String(_))) || is_open(refr)
        }
        _ => false,
    }
}

fn check_head(rule: &Rule) -> Vec<Problem> {
    let mut problems = Vec::new();
    let Rule::Spec { head, bodies, span } = rule else { return problems };
    if let RuleHead::Func { args, .. } = head {
        problems.extend(args.iter().filter_map(|arg| object_pattern(arg)));
    }
    if let RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } = head
        && is_open(refr)
        && bodies.iter().any(|body| body.is_else)
    {
        let message = "a rule with a variable in its head has no `else`".to_owned();
        problems.push(at(span, message));
    }
    if let Some(name) = head_path(rule).first().filter(|it| NAMES.contains(&it.as_str())) {
        problems.push(at(span, format!("a rule cannot be called `{name}`")));
    }
    problems
}

fn check_pattern_in(literal: &Literal) -> Option<Problem> {
    match literal {
        Literal::SomeIn { key, value, .. } => {
            key.iter().chain([value]).find_map(|pattern| object_pattern(pattern))
        }
        _ => None,
    }
}

/// `{"a": x}` as a pattern fits any object with an `a` here, and only that one in OPA.
fn object_pattern(pattern: &Expr) -> Option<Problem> {
    match pattern {
        Expr::Object { fields, span, .. } => {
            let mut names = Vec::new();
            met::variables(pattern, &mut names);
            if names.is_empty() {
                return fields.iter().find_map(|(_, _, value)| object_pattern(value));
            }
            let message = "an object as a pattern fits more objects here than in OPA: take its \
                           fields one by one";
            Some(at(span, message.to_owned()))
        }
        Expr::Array { items, .. } | Expr::Set { items, .. } => {
            items.iter().find_map(|item| object_pattern(item))
        }
        _ => None,
    }
}

fn check_number(text: &str) -> Option<String> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let whole = !mantissa.contains('.') && exponent == "0";
    let digits = mantissa.trim_start_matches(['-', '0', '.']).bytes().filter(u8::is_ascii_digit);
    let exact = match whole {
        true => text.parse::<i64>().is_ok(),
        false => {
            digits.count() <= DIGITS_MAX && exponent.parse::<i32>().is_ok_and(|it| it.abs() < 300)
        }
    };
    (!exact).then(|| format!("`{text}` is rounded here, and is not in OPA"))
}

fn check_arity(function: Option<usize>, given: usize) -> Option<String> {
    match function {
        None => Some("no such function is defined".to_owned()),
        // One more takes the result.
        Some(arity) if given == arity || given == arity + 1 => None,
        Some(arity) => Some(format!("the function takes {arity} arguments, not {given}")),
    }
}

fn check_builtin(name: &str, params: &[impl AsRef<Expr>]) -> Option<String> {
    let (_, arity) = BUILTINS.get(name)?;
    if let Some(wrong) = check_arity(Some(usize::from(*arity)), params.len()) {
        return Some(wrong);
    }
    let text = |at: usize| match params.get(at).and_then(|param| literal(param.as_ref())) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    match name {
        "glob.match" => {
            let slash = matches!(params.get(1).map(AsRef::as_ref), Some(Expr::Array { items, .. })
                if matches!(items.as_slice(), [one] if literal(one) == Some(Value::from("/"))));
            if !slash {
                return Some("`glob.match` takes the delimiters `[\"/\"]`".to_owned());
            }
            let Some(pattern) = text(0) else {
                return Some("`glob.match` takes its pattern as plain text".to_owned());
            };
            patterns::glob(&pattern).err().map(|why| format!("the pattern `{pattern}`: {why}"))
        }
        _ if name.starts_with("regex.") => {
            let Some(pattern) = text(usize::from(name == "regex.replace")) else {
                return Some(format!("`{name}` takes its pattern as plain text"));
            };
            if name == "regex.split" && patterns::finds_nothing(&pattern) {
                return Some(format!(
                    "`{pattern}` fits the empty text, where OPA splits otherwise"
                ));
            }
            patterns::regex(&pattern).err().map(|why| format!("the pattern `{pattern}`: {why}"))
        }
        "sprintf" => text(0).and_then(|format| check_format(&format, params.get(1)?.as_ref())),
        _ => None,
    }
}

/// The verbs that say the same, whatever they are given.
fn check_format(format: &str, values: &Expr) -> Option<String> {
    let (mut letters, mut verbs) = (format.chars(), 0);
    while letters.any(|letter| letter == '%') {
        match letters.next() {
            Some('%') => {}
            Some('s' | 'v') => verbs += 1,
            _ => return Some("only `%s`, `%v` and `%%` say the same in OPA".to_owned()),
        }
    }
    match values {
        Expr::Array { items, .. } if items.len() != verbs => {
            Some(format!("the format has {verbs} places for {} values", items.len()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
