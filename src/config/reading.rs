//! Reading what a checked tree holds: lists, alternatives, lengths of time, paths. Whatever is
//! wrong is on record when `None` comes back.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::environment::Environment;
use super::file_values::OneOrSeveral;
use super::problems::{Problems, Wrong, shown};
use super::token_values;
use super::tree::Place;
use super::values;
use crate::files::SecretFile;
use crate::tls::RootsFrom;

/// What a value is judged by besides itself.
pub(super) struct Surroundings<'a> {
    /// Where relative paths start.
    pub base: &'a Path,
    pub environment: &'a Environment,
    /// There is no Workload API, and no problem says so yet.
    pub no_agent: bool,
}

impl Surroundings<'_> {
    pub(super) fn path(
        &self,
        text: Option<&str>,
        at: &Place<'_>,
        problems: &mut Problems,
    ) -> Option<PathBuf> {
        at.accept(problems, token_values::path(text?, self.base))
    }

    pub(super) fn secret_file(
        &self,
        text: Option<&str>,
        danger_readable_by_others: Option<bool>,
        at: &Place<'_>,
        problems: &mut Problems,
    ) -> Option<SecretFile> {
        let path = self.path(text, at, problems)?;
        Some(SecretFile { path, danger_readable_by_others: danger_readable_by_others? })
    }

    /// The `ca` of a map, which may be left out.
    pub(super) fn roots(
        &self,
        text: Option<&str>,
        within: &Place<'_>,
        problems: &mut Problems,
    ) -> Option<RootsFrom> {
        let at = within.key("ca");
        if text.is_none() && !at.is_faulty() {
            return Some(RootsFrom::System);
        }
        self.path(text, &at, problems).map(RootsFrom::File)
    }

    /// Reports that something cannot be had without an agent, if nobody did yet.
    pub(super) fn needs_agent(&self, at: &Place<'_>, problems: &mut Problems) {
        if self.no_agent {
            let hint = "add `identity: { workload_api: unix:///path/to/api.sock }`, or set \
                        `SPIFFE_ENDPOINT_SOCKET`";
            at.report(problems, "needs the Workload API, and none is configured", hint);
        }
    }
}

/// Parses every element, and refuses one that comes twice.
pub(super) fn each<T: PartialEq>(
    list: &[Option<String>],
    at: &Place<'_>,
    problems: &mut Problems,
    parse: impl Fn(&str) -> Result<T, Wrong>,
) -> Option<Vec<T>> {
    let mut values: Vec<T> = Vec::new();
    let mut sound = true;
    for (index, text) in list.iter().enumerate() {
        let parsed = text.as_deref().and_then(|text| {
            let at = at.item(index);
            let value = at.accept(problems, parse(text))?;
            if values.contains(&value) {
                let message = format!("{} is listed twice", shown(text));
                at.report(problems, message, "remove one of the two");
                return None;
            }
            Some(value)
        });
        match parsed {
            Some(value) => values.push(value),
            None => sound = false,
        }
    }
    sound.then_some(values)
}

/// One value, or a list of them that is not empty: `empty` says what that would mean, and the
/// remedy.
pub(super) fn one_or_several<T: PartialEq>(
    file: Option<&OneOrSeveral>,
    at: &Place<'_>,
    empty: (&str, &str),
    problems: &mut Problems,
    parse: impl Fn(&str) -> Result<T, Wrong>,
) -> Option<Vec<T>> {
    match file? {
        OneOrSeveral::One(text) => Some(vec![at.accept(problems, parse(text))?]),
        OneOrSeveral::Several(list) if list.is_empty() => {
            at.report(problems, empty.0, empty.1);
            None
        }
        OneOrSeveral::Several(list) => each(list, at, problems, parse),
    }
}

/// The one key that is written of several that exclude each other.
pub(super) fn exactly_one(
    keys: &[&'static str],
    at: &Place<'_>,
    hint: &str,
    problems: &mut Problems,
) -> Option<&'static str> {
    let one = at_most_one(keys, at, problems)?;
    if one.is_none() {
        let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
        let (last, others) = keys.split_last()?;
        let which = if others.len() == 1 { "neither" } else { "none of" };
        let or = if others.len() == 1 { "nor" } else { "and" };
        at.report(problems, format!("says {which} {} {or} {last}", others.join(", ")), hint);
    }
    one
}

/// Like [`exactly_one`], for what may be left out: `Some(None)`.
pub(super) fn at_most_one(
    keys: &[&'static str],
    at: &Place<'_>,
    problems: &mut Problems,
) -> Option<Option<&'static str>> {
    let mut written = keys.iter().copied().filter(|key| at.key(key).is_written());
    let first = written.next();
    if let (Some(first), Some(second)) = (first, written.next()) {
        let message = format!("stands next to `{first}`");
        at.key(second).report(problems, message, "keep one of the two");
        return None;
    }
    Some(first)
}

/// An optional value: absent is `Some(None)`, wrong is `None`.
pub(super) fn optional<T>(
    text: Option<&str>,
    at: &Place<'_>,
    problems: &mut Problems,
    parse: impl Fn(&str) -> Result<T, Wrong>,
) -> Option<Option<T>> {
    match text {
        Some(text) => at.accept(problems, parse(text)).map(Some),
        None if at.is_faulty() => None,
        None => Some(None),
    }
}

/// A duration that is not zero.
pub(super) fn period(
    text: Option<&str>,
    at: &Place<'_>,
    problems: &mut Problems,
) -> Option<Duration> {
    let text = text?;
    let duration = at.accept(problems, values::duration(text))?;
    if duration.is_zero() {
        let hint = "give it a length, such as `10s`; there is no way to switch it off";
        at.report(problems, format!("{} would leave no time at all", shown(text)), hint);
        return None;
    }
    Some(duration)
}

/// A duration within bounds, which `hint` names.
pub(super) fn period_within(
    text: Option<&str>,
    at: &Place<'_>,
    bounds: &RangeInclusive<Duration>,
    hint: &str,
    problems: &mut Problems,
) -> Option<Duration> {
    let text = text?;
    let duration = at.accept(problems, values::duration(text))?;
    if !bounds.contains(&duration) {
        at.report(problems, format!("{} is out of range", shown(text)), hint);
        return None;
    }
    Some(duration)
}
