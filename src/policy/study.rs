//! A policy taken apart for tools: its modules, its tests and its data as trees.
//!
//! What does not parse is left out: whoever wants to know why asks [`compile`](super::compile).

use regorus::unstable::{Module, Ref};
use regorus::{Engine, Value};

use super::prepare::mounted;
use super::scan;
use super::source::{Source, Text};

/// The trees of one policy.
pub(super) struct Study {
    pub modules: Vec<Ref<Module>>,
    pub tests: Vec<Ref<Module>>,
    /// By file, each already at its place under `data`.
    pub data: Vec<(String, Value)>,
}

impl Study {
    /// Needs a big stack.
    pub(super) fn of(source: &Source) -> Self {
        let data = source
            .data
            .iter()
            .filter_map(|data| Some((data.file.name.clone(), mounted(data).ok()?)))
            .collect();
        Self { modules: modules(&source.modules), tests: modules(&source.tests), data }
    }
}

fn modules(texts: &[Text]) -> Vec<Ref<Module>> {
    let mut engine = Engine::new();
    for text in texts {
        // By itself: one that would kill the parser is no reason to leave out the others.
        if scan::check(std::slice::from_ref(text)).is_empty() {
            engine.add_policy(text.name.clone(), text.text.clone()).ok();
        }
    }
    engine.get_modules().clone()
}
