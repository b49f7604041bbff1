//! Whether what is asked about requests has changed between two policies: that cannot be tried out
//! on identities, so the texts are compared.

use std::collections::BTreeSet;

use regorus::Value;

use super::prepare::mounted;
use super::source::{Source, Text};

const ASKED: &str = "sidegate.request";

/// Whether `request.deny`, a module that it uses, or data that it looks at may answer otherwise.
/// Rather once too often: what only looks related counts.
pub fn request_rules_differ(old: &Source, new: &Source) -> bool {
    let (before, after) = (rests_on(old), rests_on(new));
    if before.modules != after.modules {
        return true;
    }
    let looked_at = before.data.union(&after.data);
    let (old, new) = (data(old), data(new));
    looked_at.into_iter().any(|path| at(&old, path) != at(&new, path))
}

#[derive(Default)]
struct RestsOn<'s> {
    /// By name and text.
    modules: BTreeSet<(&'s str, &'s str)>,
    /// Below `data`; an empty path is all of it.
    data: BTreeSet<Vec<&'s str>>,
}

fn rests_on(source: &Source) -> RestsOn<'_> {
    let packages: Vec<(&Text, &str)> =
        source.modules.iter().map(|module| (module, package(&module.text))).collect();
    let mut found = RestsOn::default();
    let mut next: Vec<&Text> =
        packages.iter().filter(|(_, name)| *name == ASKED).map(|(module, _)| *module).collect();
    while let Some(module) = next.pop() {
        if !found.modules.insert((&module.name, &module.text)) {
            continue;
        }
        let own = package(&module.text);
        next.extend(packages.iter().filter(|(_, name)| *name == own).map(|(other, _)| *other));
        for path in references(&module.text) {
            let used = |package: &str| {
                let mut package = package.split('.');
                path.iter().zip(&mut package).all(|(one, other)| *one == other)
            };
            next.extend(packages.iter().filter(|(_, it)| used(it)).map(|(other, _)| *other));
            found.data.insert(path);
        }
    }
    found
}

/// Every `data.a.b`, as far as it is written with dots. In comments and texts, too.
fn references(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let is_part = |it: char| it.is_ascii_alphanumeric() || it == '_';
    text.match_indices("data").filter_map(move |(start, found)| {
        if text.get(..start).is_some_and(|before| before.ends_with(is_part)) {
            return None;
        }
        let mut rest = text.get(start + found.len()..).unwrap_or_default();
        if rest.starts_with(is_part) {
            return None;
        }
        let mut path = Vec::new();
        while let Some(after) = rest.strip_prefix('.') {
            let end = after.find(|it| !is_part(it)).unwrap_or(after.len());
            let Some((part, left)) = after.split_at_checked(end) else { break };
            path.push(part);
            rest = left;
        }
        Some(path)
    })
}

/// What the data files say there, file by file.
fn at<'v>(data: &'v [Value], path: &[&str]) -> Vec<&'v Value> {
    let below = |value: &'v Value| path.iter().fold(value, |value, part| &value[*part]);
    data.iter().map(below).filter(|value| **value != Value::Undefined).collect()
}

/// What cannot be read has kept the policy from being compiled.
fn data(source: &Source) -> Vec<Value> {
    source.data.iter().filter_map(|data| mounted(data).ok()).collect()
}

fn package(text: &str) -> &str {
    let line = text.lines().map(str::trim).find_map(|line| line.strip_prefix("package"));
    line.and_then(|rest| rest.split_whitespace().next()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(files: &[(&str, &str)]) -> Source {
        let file = |(name, text): &(&str, &str)| ((*name).to_owned(), text.as_bytes().to_vec());
        Source::from_files(files.iter().map(file)).unwrap()
    }

    const GLOBAL: (&str, &str) = ("global.rego", "package sidegate.global\n\ngrant := {}\n");

    #[test]
    fn only_what_request_rules_rest_on_counts() {
        let request = "package sidegate.request\n\ndeny contains \"x\" if data.hours.closed\n";
        let hours = "package hours\n\nclosed if input.time.hour > 20\n";
        let old = [GLOBAL, ("request.rego", request), ("hours.rego", hours)];
        let other_global = ("global.rego", "package sidegate.global\n\ngrant := {\"a\": 1}\n");
        let data = ("data.json", "{\"services\": {}}");
        let same = [other_global, ("request.rego", request), ("hours.rego", hours), data];
        assert!(!request_rules_differ(&source(&old), &source(&same)));
        let later = "package hours\n\nclosed if input.time.hour > 21\n";
        let changed = [GLOBAL, ("request.rego", request), ("hours.rego", later)];
        assert!(request_rules_differ(&source(&old), &source(&changed)));
    }

    #[test]
    fn data_that_they_look_at_counts() {
        let request = "package sidegate.request\n\ndeny contains \"x\" if data.frozen[_]\n";
        let before = [GLOBAL, ("r.rego", request), ("data.json", "{\"frozen\": [1]}")];
        let after = [GLOBAL, ("r.rego", request), ("data.json", "{\"frozen\": []}")];
        assert!(request_rules_differ(&source(&before), &source(&after)));
    }

    #[test]
    fn data_that_they_do_not_look_at_does_not() {
        let request = "package sidegate.request\n\ndeny contains \"x\" if data.freeze.days[input.time.hour]\n";
        let with = |data| source(&[GLOBAL, ("r.rego", request), ("data.json", data)]);
        let old = with("{\"freeze\": {\"days\": [1]}, \"services\": {}}");
        let other = with("{\"freeze\": {\"days\": [1], \"a\": 1}, \"services\": {\"b\": 1}}");
        assert!(!request_rules_differ(&old, &other));
        let days = with("{\"freeze\": {\"days\": [2]}, \"services\": {}}");
        assert!(request_rules_differ(&old, &days));
        assert!(request_rules_differ(&old, &with("{}")));
    }

    #[test]
    fn data_in_brackets_may_be_any() {
        let request = "package sidegate.request\n\ndeny contains x if data[\"hours\"][x]\n";
        let hours = |hour| format!("package hours\n\nclosed := {hour}\n");
        let with = |hour| source(&[GLOBAL, ("r.rego", request), ("h.rego", &hours(hour))]);
        assert!(request_rules_differ(&with(1), &with(2)));
    }

    #[test]
    fn without_them_nothing_differs() {
        let other = ("global.rego", "package sidegate.global\n\ngrant := {\"b\": 1}\n");
        assert!(!request_rules_differ(&source(&[GLOBAL]), &source(&[other])));
    }
}
