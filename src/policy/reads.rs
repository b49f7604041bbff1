//! What a policy reads and calls, known before it is asked: so its answers can be kept for as long
//! as they hold, and what would hang, crash or depend on chance is refused.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use regorus::Value;
use regorus::unstable::Module;

use super::builtins;
use super::contract::{GRANT, LAYERS, LOG_DROP, LOG_MASK, REQUEST_DENY, REVOCATIONS};
use super::error::Problem;
use super::holds::{EntryReads, Holds, Reads};
use super::input::{IDENTITY_FIELDS, REQUEST_FIELDS};
use super::syntax::Path;
use super::walk::{Call, Definition, Reference, definitions};

/// How far rules may call one another: the interpreter does so on the stack.
const CALL_DEPTH_MAX: usize = 64;
/// Levels of syntax on the way down those calls, together.
const STACK_LEVELS_MAX: usize = 512;
const RANGE_MAX: i64 = 10_000;
/// Of text that is put in the place of other text.
const PUT_IN_MAX: usize = 256;
const SIMILAR: usize = 2;
const ROOT: &str = "sidegate";

/// What the analysis came to.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub problems: Vec<Problem>,
    /// Of all questions about identities together.
    pub identity_reads: Reads,
    /// Of the question about requests.
    pub request_reads: Reads,
    /// Of each entry point that is defined, from the widest layer to the narrowest.
    pub entries: Vec<EntryReads>,
    pub rules: BTreeSet<String>,
}

impl Findings {
    /// `path` is written as in `data.sidegate.global.grant`.
    pub(super) fn defines(&self, path: &str) -> bool {
        self.rules.contains(path)
    }
}

pub(super) fn analyze(modules: &[impl std::ops::Deref<Target = Module>]) -> Findings {
    let definitions = definitions(modules);
    let graph = Graph::new(&definitions);
    let mut problems: Vec<_> = definitions.iter().flat_map(|it| it.problems.clone()).collect();
    for definition in &definitions {
        problems.extend(definition.calls.iter().filter_map(check_call));
    }
    problems.extend(graph.check_depth());
    let identity = graph.reachable(&identity_entries());
    let request = graph.reachable(&[REQUEST_DENY]);
    // Their input is an event of the log, which has fields of its own.
    let log = graph.reachable(&[LOG_MASK, LOG_DROP]);
    let (mut identity_reads, mut request_reads) = (Reads::default(), Reads::default());
    for definition in &definitions {
        let by_identity = identity.contains(&definition.path);
        let by_request = request.contains(&definition.path);
        if by_identity {
            identity_reads.note(&definition.input);
        }
        if by_request {
            request_reads.note(&definition.input);
        }
        if by_identity || by_request || !log.contains(&definition.path) {
            for read in &definition.input {
                problems.extend(check_input(read, by_identity));
            }
        }
        if !by_identity && !by_request {
            problems.extend(check_unasked(definition));
        }
        problems.extend(check_revocations(definition));
    }
    problems.sort();
    problems.dedup();
    let rules = definitions.iter().map(|it| it.path.join(".")).collect();
    let mut entries = Vec::new();
    for name in identity_entries().into_iter().chain([REQUEST_DENY]) {
        entries.extend(entry_reads(name, &graph, identity_reads));
    }
    Findings { problems, identity_reads, request_reads, entries, rules }
}

/// `None` for one that is not defined. Answers about an identity are kept together, so each holds for
/// as long as all of them do.
fn entry_reads(name: &'static str, graph: &Graph<'_>, identity: Reads) -> Option<EntryReads> {
    let reached = graph.reachable(&[name]);
    let path: Vec<String> = name.split('.').map(str::to_owned).collect();
    let place = graph.rules.get(path.as_slice())?.first()?.place.clone();
    let definitions = reached.iter().filter_map(|rule| graph.rules.get(rule.as_slice())).flatten();
    let read = definitions.flat_map(|definition| &definition.input);
    let all: BTreeSet<&[String]> = read.map(|read| read.path.parts.as_slice()).collect();
    let is_below = |path: &[String]| (1..path.len()).any(|n| all.contains(path.split_at(n).0));
    let input = all.iter().filter(|path| !is_below(path)).map(|path| path.join(".")).collect();
    let holds = if name == REQUEST_DENY { Holds::Request } else { Holds::Identity(identity) };
    Some(EntryReads { name, input, place, holds })
}

/// What would crash or hang while tests run. `with` and `print` are theirs to use.
pub(super) fn analyze_tests(
    modules: &[impl std::ops::Deref<Target = Module>],
    is_test: impl Fn(&str) -> bool,
) -> Vec<Problem> {
    let definitions = definitions(modules);
    let mut problems = Graph::new(&definitions).check_depth();
    let own = definitions.iter().filter(|it| is_test(&it.place.file));
    let calls = own.flat_map(|it| &it.calls).filter(|it| !builtins::is_for_tests(&it.name));
    problems.extend(calls.filter_map(check_call));
    problems.sort();
    problems.dedup();
    problems
}

/// Every rule that has a part in the answers of these entry points, by its path.
pub(super) fn reachable(definitions: &[Definition], entries: &[&str]) -> BTreeSet<Vec<String>> {
    Graph::new(definitions).reachable(entries)
}

/// What is asked about identities.
pub(super) fn identity_entries() -> Vec<&'static str> {
    let layers = LAYERS.iter().flat_map(|layer| [layer.limit, layer.deny]);
    std::iter::once(GRANT).chain(layers).collect()
}

/// Which rule refers to which.
struct Graph<'a> {
    rules: BTreeMap<&'a [String], Vec<&'a Definition>>,
}

/// How deep the stack gets below a rule.
#[derive(Clone, Copy, Default)]
struct Depth {
    calls: usize,
    levels: usize,
}

impl<'a> Graph<'a> {
    fn new(definitions: &'a [Definition]) -> Self {
        let mut rules: BTreeMap<&[String], Vec<&Definition>> = BTreeMap::new();
        for definition in definitions {
            rules.entry(&definition.path).or_default().push(definition);
        }
        Self { rules }
    }

    /// Every rule that a path may lead to: itself, one above it, or those below it.
    fn targets(&self, path: &Path) -> Vec<&'a [String]> {
        let parts = path.parts.as_slice();
        let mut targets: Vec<&'a [String]> = (1..parts.len())
            .filter_map(|length| parts.get(..length))
            .filter_map(|above| self.rules.get_key_value(above).map(|(rule, _)| *rule))
            .collect();
        let below = self.rules.range::<[String], _>((Bound::Included(parts), Bound::Unbounded));
        targets.extend(below.map(|(rule, _)| *rule).take_while(|rule| rule.starts_with(parts)));
        targets
    }

    fn called_by(&self, rule: &[String]) -> BTreeSet<&'a [String]> {
        let definitions = self.rules.get(rule).into_iter().flatten();
        definitions.flat_map(|it| &it.data).flat_map(|it| self.targets(&it.path)).collect()
    }

    fn reachable(&self, entries: &[&str]) -> BTreeSet<Vec<String>> {
        let mut reached = BTreeSet::new();
        let entries: Vec<Vec<String>> =
            entries.iter().map(|it| it.split('.').map(str::to_owned).collect()).collect();
        let mut next: Vec<&[String]> = entries
            .iter()
            .filter_map(|entry| self.rules.get_key_value(entry.as_slice()).map(|(rule, _)| *rule))
            .collect();
        while let Some(rule) = next.pop() {
            if reached.insert(rule.to_vec()) {
                next.extend(self.called_by(rule));
            }
        }
        reached
    }

    /// Without recursion of its own, for it is what keeps others from recursing.
    fn check_depth(&self) -> Vec<Problem> {
        let callees: BTreeMap<&[String], Vec<&[String]>> = self
            .rules
            .keys()
            .map(|rule| (*rule, self.called_by(rule).into_iter().collect()))
            .collect();
        let mut depths: HashMap<&[String], Depth> = HashMap::new();
        let mut problems = Vec::new();
        for start in self.rules.keys() {
            let mut way: Vec<(&[String], usize)> = vec![(start, 0)];
            while let Some((rule, visited)) = way.last().copied() {
                if depths.contains_key(rule) {
                    way.pop();
                    continue;
                }
                let below = callees.get(rule).map_or(&[][..], Vec::as_slice);
                let Some(next) = below.get(visited) else {
                    let depth = self.depth(rule, below, &depths);
                    problems.extend(self.too_deep(rule, depth));
                    depths.insert(rule, depth);
                    way.pop();
                    continue;
                };
                if let Some(last) = way.last_mut() {
                    last.1 += 1;
                }
                if way.iter().any(|(above, _)| above == next) {
                    let name = next.join(".");
                    problems.extend(self.place(next, format!("`{name}` refers to itself")));
                    return problems;
                }
                // A chain this long is refused anyway; following it to the end costs too much.
                if way.len() > CALL_DEPTH_MAX {
                    problems.extend(self.too_deep(start, Depth { calls: way.len(), levels: 0 }));
                    return problems;
                }
                way.push((next, 0));
            }
        }
        problems
    }

    fn depth(
        &self,
        rule: &[String],
        below: &[&[String]],
        depths: &HashMap<&[String], Depth>,
    ) -> Depth {
        let under = below.iter().filter_map(|callee| depths.get(callee)).fold(
            Depth::default(),
            |most, depth| Depth {
                calls: most.calls.max(depth.calls),
                levels: most.levels.max(depth.levels),
            },
        );
        let own = self.rules.get(rule).into_iter().flatten().map(|it| it.depth).max();
        Depth { calls: under.calls + 1, levels: under.levels + own.unwrap_or_default() + 1 }
    }

    fn too_deep(&self, rule: &[String], depth: Depth) -> Option<Problem> {
        let name = rule.join(".");
        if depth.calls > CALL_DEPTH_MAX {
            let message =
                format!("`{name}` goes through more than {CALL_DEPTH_MAX} rules one below another");
            return self.place(rule, message);
        }
        if depth.levels > STACK_LEVELS_MAX {
            let message = format!("`{name}` is too deeply nested, the rules that it uses included");
            return self.place(rule, message);
        }
        None
    }

    fn place(&self, rule: &[String], message: String) -> Option<Problem> {
        let definition = self.rules.get(rule)?.first()?;
        Some(Problem { message, ..definition.place.clone() })
    }
}

/// A field that is not in the contract is never there, and reading it would silently be nothing.
fn check_input(read: &Reference, by_identity: bool) -> Option<Problem> {
    let problem = |message| Some(Problem { message, ..read.place.clone() });
    let mut parts = read.path.parts.iter().skip(1).map(String::as_str);
    let section = parts.next()?;
    let for_requests = REQUEST_FIELDS.iter().find(|(name, _)| *name == section);
    if by_identity && for_requests.is_some() {
        return problem(format!(
            "`input.{section}` exists only for `{REQUEST_DENY}`: who someone is must not depend on \
             what they ask for"
        ));
    }
    let all = || IDENTITY_FIELDS.iter().chain(REQUEST_FIELDS);
    let Some((_, fields)) = all().find(|(name, _)| *name == section) else {
        let hint = suggestion(section, all().map(|(name, _)| *name));
        return problem(format!("`input.{section}` does not exist{hint}"));
    };
    let field = parts.next()?;
    if fields.contains(&field) {
        return None;
    }
    let hint = suggestion(field, fields.iter().copied());
    problem(format!("`input.{section}.{field}` does not exist{hint}"))
}

/// In our part of `data` everything has to be an answer or serve one: else it is misspelled.
fn check_unasked(definition: &Definition) -> Option<Problem> {
    let root = definition.path.get(1)?;
    if root != ROOT && strsim::damerau_levenshtein(root, ROOT) > SIMILAR {
        return None;
    }
    let name = definition.path.join(".");
    let mut entries = identity_entries();
    entries.push(REQUEST_DENY);
    let hint = suggestion(&name, entries.into_iter());
    let message = format!("`{name}` is neither asked for nor used by what is{hint}");
    Some(Problem { message, ..definition.place.clone() })
}

/// They are read from the data alone, so a rule of that name would revoke nothing.
fn check_revocations(definition: &Definition) -> Option<Problem> {
    if definition.path.get(1)? != REVOCATIONS {
        return None;
    }
    let message = format!("`data.{REVOCATIONS}` stands in data files; no rule can answer for it");
    Some(Problem { message, ..definition.place.clone() })
}

pub(super) fn suggestion<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> String {
    known
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= SIMILAR.max(name.len() / 4))
        .min()
        .map_or_else(String::new, |(_, candidate)| format!(", did you mean `{candidate}`?"))
}

fn check_call(call: &Call) -> Option<Problem> {
    let problem = |message| Some(Problem { message, ..call.place.clone() });
    let name = &call.name;
    if let Some(why) = builtins::refusal(name) {
        return problem(format!("`{name}` {why}"));
    }
    match name.as_str() {
        "numbers.range" | "numbers.range_step" => {
            let number = |at: usize| match call.literals.get(at) {
                Some(Some(value @ Value::Number(_))) => value.as_i64().ok(),
                _ => None,
            };
            let short = number(0).zip(number(1)).is_some_and(|(from, to)| {
                from.checked_sub(to)
                    .is_some_and(|length| length.unsigned_abs() <= RANGE_MAX.unsigned_abs())
            });
            if short {
                return None;
            }
            problem(format!("`{name}` takes plain numbers at most {RANGE_MAX} apart"))
        }
        "replace" | "regex.replace" => {
            let short = matches!(call.literals.get(2), Some(Some(Value::String(text)))
                if text.len() <= PUT_IN_MAX);
            if short {
                return None;
            }
            problem(format!(
                "`{name}` puts in plain text of at most {PUT_IN_MAX} bytes: use `concat` and `split` \
                 to put in something else"
            ))
        }
        "sprintf" => {
            let Some(Some(Value::String(format))) = call.literals.first() else {
                return problem("`sprintf` takes its format as plain text".to_owned());
            };
            let wide = format.split('%').skip(1).any(|verb| {
                verb.bytes().take_while(|byte| !byte.is_ascii_alphabetic()).count() > 4
                    || verb.starts_with('*')
            });
            if wide { problem("`sprintf` has too wide a field".to_owned()) } else { None }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
