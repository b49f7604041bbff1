//! Why a policy answers what it answers: which definitions were true, and where they stand.
//!
//! Each definition is asked by itself: in a copy of the policy from whose text the other definitions
//! of the same answer are taken out. Of an `else` chain the first branches are asked alone, then with
//! the next, until there is an answer. So it is the interpreter that says which applies, not a guess
//! from the text.

use std::collections::HashMap;
use std::fmt;

use regorus::Value;
use regorus::unstable::{Module, Rule, RuleHead, Span};

use super::answer::EvalError;
use super::budget::Budget;
use super::contract::REQUEST_DENY;
use super::engine;
use super::entry::Entry;
use super::error::LoadError;
use super::input;
use super::prepare::{add, documents, parsed};
use super::question::{IdentityQuestion, RequestQuestion};
use super::reads::identity_entries;
use super::source::Source;
use super::stack::on_big_stack;
use super::syntax::{head_path, package_of};

/// One definition that had a part in an answer, or might have had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// As in `data.sidegate.global.grant`.
    pub rule: &'static str,
    pub kind: Kind,
    pub file: String,
    /// Of the definition, from 1.
    pub line: u32,
    /// The line itself.
    pub text: String,
    /// What it came to, as JSON; `None` if it does not apply.
    pub value: Option<String>,
    /// Why it came to nothing that could be relied on.
    pub error: Option<String>,
}

/// What sort of definition it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Holds where no other does.
    Default,
    Definition,
    /// Asked only where the ones above it in its chain do not hold.
    Else,
}

/// Evaluates definition by definition. Slow: for people, never for requests.
pub struct Tracer {
    chains: Vec<Chain>,
    /// By file, the whole `data` of it.
    data: Vec<(String, Value)>,
}

/// A definition with its `else` branches, or a default.
struct Chain {
    entry: &'static str,
    /// Adds to a set: an empty one is no answer.
    partial: bool,
    branches: Vec<Branch>,
}

struct Branch {
    kind: Kind,
    file: String,
    line: u32,
    text: String,
    /// The chain up to here and no other definition.
    alone: Entry,
}

/// A definition in the text, before it is compiled.
struct Found {
    entry: &'static str,
    partial: bool,
    span: Span,
    /// Where each branch begins; the first with the definition itself.
    branches: Vec<(Kind, Span)>,
}

impl Tracer {
    /// Refuses what cannot be enforced. Blocks for as long as that takes.
    pub fn new(source: &Source) -> Result<Self, LoadError> {
        on_big_stack(|| Self::compiled(source))
    }

    /// Every definition of every entry point that is asked about identities, in the order in which
    /// the entry points are asked.
    pub fn identity(&self, question: &IdentityQuestion<'_>) -> Vec<Event> {
        let input = input::identity(question);
        let entries = identity_entries();
        entries.into_iter().flat_map(|entry| self.events(entry, &input)).collect()
    }

    /// Every definition of what is asked about requests.
    pub fn request(&self, question: &RequestQuestion<'_>) -> Vec<Event> {
        self.events(REQUEST_DENY, &input::whole_request(question))
    }

    /// The data file in which this path stands, as in `["roles", "reader"]`.
    pub fn data_file(&self, path: &[&str]) -> Option<&str> {
        let stands = |value: &Value| {
            path.iter().try_fold(value.clone(), |value, name| match &value[*name] {
                Value::Undefined => None,
                below => Some(below.clone()),
            })
        };
        self.data.iter().find(|(_, value)| stands(value).is_some()).map(|(file, _)| file.as_str())
    }

    fn compiled(source: &Source) -> Result<Self, LoadError> {
        // As it is enforced, where imports are written out: lines are what they are in the files.
        let mut enforced = engine::enforced(source)?;
        let modules = enforced.get_modules();
        let found: Vec<Found> = modules.iter().flat_map(|it| definitions(it)).collect();
        let wordings = modules.iter().map(|it| &it.package.span.source);
        let wordings = wordings.map(|it| (it.file().clone(), it.contents().clone())).collect();
        let names = source.data.iter().map(|data| data.file.name.clone());
        let data: Vec<_> = names.zip(documents(source)?).collect();
        let workshop = Workshop { source, wordings, data: &data, found: &found };
        let chains = found.iter().map(|it| workshop.chain(it)).collect::<Result<_, _>>()?;
        Ok(Self { chains, data })
    }

    fn events(&self, entry: &'static str, input: &Value) -> Vec<Event> {
        let (defaults, others): (Vec<_>, Vec<_>) = self
            .chains
            .iter()
            .filter(|chain| chain.entry == entry)
            .partition(|chain| chain.branches.iter().any(|it| it.kind == Kind::Default));
        let mut events: Vec<Event> =
            others.into_iter().flat_map(|chain| chain.events(input)).collect();
        let answered = events.iter().any(|it| it.value.is_some() || it.error.is_some());
        for chain in defaults {
            let mut own = chain.events(input);
            if answered {
                own.iter_mut().for_each(|event| event.value = None);
            }
            events.extend(own);
        }
        events
    }
}

impl Chain {
    /// The first branch that answers is the one that applies: those before it have not.
    fn events(&self, input: &Value) -> Vec<Event> {
        let mut settled = false;
        let mut events = Vec::new();
        for branch in &self.branches {
            let mut event = Event {
                rule: self.entry,
                kind: branch.kind,
                file: branch.file.clone(),
                line: branch.line,
                text: branch.text.clone(),
                value: None,
                error: None,
            };
            if !settled {
                match branch.answer(input) {
                    Ok(value) if self.is_answer(&value) => {
                        event.value = serde_json::to_string(&value).ok();
                        settled = true;
                    }
                    Ok(_) => {}
                    Err(error) => {
                        event.error = Some(match error {
                            EvalError::Evaluate { message, .. } => message,
                            other => other.to_string(),
                        });
                        settled = true;
                    }
                }
            }
            events.push(event);
        }
        events
    }

    fn is_answer(&self, value: &Value) -> bool {
        match value {
            Value::Undefined => false,
            Value::Set(set) => !self.partial || !set.is_empty(),
            _ => true,
        }
    }
}

impl Branch {
    fn answer(&self, input: &Value) -> Result<Value, EvalError> {
        self.alone.ask(input, Budget::whole(), |answer| Ok(answer.value.clone()))
    }
}

/// Makes the copies in which one definition stands alone.
struct Workshop<'a> {
    source: &'a Source,
    /// By file, each module as it is enforced.
    wordings: HashMap<String, String>,
    data: &'a [(String, Value)],
    found: &'a [Found],
}

impl Workshop<'_> {
    fn chain(&self, of: &Found) -> Result<Chain, LoadError> {
        let mut branches = Vec::new();
        for (at, (kind, span)) in (1_usize..).zip(&of.branches) {
            branches.push(Branch {
                kind: *kind,
                file: span.source.file().clone(),
                line: span.line,
                text: self.line(span),
                alone: self.alone(of, at)?,
            });
        }
        Ok(Chain { entry: of.entry, partial: of.partial, branches })
    }

    /// The policy with no other definition of the same answer than the first `length` branches of
    /// this one.
    fn alone(&self, of: &Found, length: usize) -> Result<Entry, LoadError> {
        let mut wordings = self.wordings.clone();
        for (file, text) in &mut wordings {
            let others = self.found.iter().filter(|it| it.entry == of.entry);
            let others = others.filter(|it| !std::ptr::eq(*it, of)).map(|it| &it.span);
            let later = of.branches.iter().skip(length).map(|(_, span)| span);
            *text = without(text, others.chain(later).filter(|span| span.source.file() == file));
        }
        let mut engine = parsed(&self.source.modules, &wordings)?;
        for (file, value) in self.data {
            add(&mut engine, file, value.clone())?;
        }
        Entry::new(of.entry, engine)
    }

    /// As it stands in the file.
    fn line(&self, of: &Span) -> String {
        let module = self.source.modules.iter().find(|it| it.name == *of.source.file());
        let at = usize::try_from(of.line.saturating_sub(1)).unwrap_or(usize::MAX);
        module.and_then(|it| it.text.lines().nth(at)).unwrap_or_default().trim().to_owned()
    }
}

/// Spaces in place of what is taken out, so that every line keeps its number.
fn without<'s>(text: &str, spans: impl Iterator<Item = &'s Span>) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for span in spans {
        let at = |end: u32| usize::try_from(end).unwrap_or(usize::MAX);
        let (start, mut end) = (at(span.start), at(span.end));
        // The span of a string does not have its quotes, nor has a rule that ends in one.
        if matches!(bytes.get(end), Some(b'"' | b'`')) {
            end += 1;
        }
        let taken = bytes.get_mut(start..end).unwrap_or_default();
        taken.iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
    }
    // Spans begin and end between characters; if one did not, this would not compile.
    String::from_utf8_lossy(&bytes).into_owned()
}

fn definitions(module: &Module) -> Vec<Found> {
    let package = package_of(module);
    let mut found = Vec::new();
    for rule in &module.policy {
        let path: Vec<String> = package.iter().cloned().chain(head_path(rule)).collect();
        let path = path.join(".");
        let mut entries = identity_entries().into_iter().chain([REQUEST_DENY]);
        let Some(entry) = entries.find(|entry| *entry == path) else { continue };
        let span = rule.span().clone();
        let (partial, branches) = match rule.as_ref() {
            Rule::Default { .. } => (false, vec![(Kind::Default, span.clone())]),
            Rule::Spec { head, bodies, .. } => {
                let first = std::iter::once((Kind::Definition, span.clone()));
                let rest = bodies.iter().filter(|body| body.is_else);
                let rest = rest.map(|body| (Kind::Else, body.span.clone()));
                (matches!(head, RuleHead::Set { .. }), first.chain(rest).collect())
            }
        };
        found.push(Found { entry, partial, span, branches });
    }
    found
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").field("definitions", &self.chains.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
