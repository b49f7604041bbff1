//! `data.revocations`: who and what is believed no longer (AZ-11).
//!
//! Read strictly: an entry that could never match is somebody who was not revoked, so it refuses
//! the policy.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::fmt;

use regorus::Value;
use spiffe::{SpiffeId, SpiffeIdError};

use super::answer::{kind, shortened};
use super::contract::REVOCATIONS;

/// Of all lists together.
const ENTRIES_MAX: usize = 100_000;
const TEXT_MAX: usize = 2048;
/// RFC 5280 section 4.1.2.2, in hexadecimal digits.
const SERIAL_DIGITS_MAX: usize = 40;
const FINGERPRINT_DIGITS: usize = 32;
const LISTS: &str = "`spiffe_ids`, `subjects`, `tokens` and `serials`";
/// Other names in the data that are taken for misspelled ones: this many letters away.
const SIMILAR: usize = 2;
const SCHEME: &str = "spiffe://";
/// After a path: all that is below it.
const BELOW: &str = "/*";

/// Identities, tokens and certificates that are refused whatever else holds.
#[derive(Default)]
pub struct Revocations {
    spiffe_ids: HashSet<Box<str>>,
    /// By the path above, the entry as it is written: `…/prod` has `…/prod/*`.
    below: HashMap<Box<str>, Box<str>>,
    subjects: HashSet<Box<str>>,
    tokens: HashSet<Box<str>>,
    /// Those of `tokens` that may be fingerprints, in lower case.
    fingerprints: HashSet<Box<str>>,
    /// In lower case, without leading zeros.
    serials: HashSet<Box<str>>,
}

/// Which list an entry belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RevokedBy {
    SpiffeId,
    Subject,
    Token,
    Serial,
}

/// One entry of a list, known to be one that can match.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevocationEntry {
    list: RevokedBy,
    /// In one form, however it was written.
    text: Box<str>,
}

/// `data.revocations`; an error is a sentence that names the list and the entry.
pub(super) fn read(data: &Value) -> Result<Revocations, String> {
    if let Some(near) = misspelled(data) {
        let near = shortened(near);
        return Err(format!("`{near}` would revoke nothing, did you mean `{REVOCATIONS}`?"));
    }
    let lists = match &data[REVOCATIONS] {
        Value::Undefined => return Ok(Revocations::default()),
        Value::Object(lists) => lists,
        other => {
            return Err(format!("`{REVOCATIONS}` is {} where an object belongs", kind(other)));
        }
    };
    let mut revocations = Revocations::default();
    let mut count = 0_usize;
    for (name, entries) in lists.iter() {
        let list = match name {
            Value::String(name) => RevokedBy::named(name).ok_or_else(|| not_a_list(name))?,
            other => return Err(not_a_list(&other.to_string())),
        };
        let whole = format!("`{REVOCATIONS}.{}`", list.name());
        let Value::Array(items) = entries else {
            return Err(format!("{whole} is {} where a list belongs", kind(entries)));
        };
        for (at, item) in (1_usize..).zip(items.iter()) {
            count += 1;
            if count > ENTRIES_MAX {
                return Err(format!("`{REVOCATIONS}` has more than {ENTRIES_MAX} entries"));
            }
            let entry = text(item).and_then(|text| RevocationEntry::parse(list, text));
            revocations.add(&entry.map_err(|what| format!("{whole}: entry {at} {what}"))?);
        }
    }
    Ok(revocations)
}

fn not_a_list(name: &str) -> String {
    format!("`{REVOCATIONS}` has only {LISTS}, not `{}`", shortened(name))
}

fn misspelled(data: &Value) -> Option<&str> {
    let Value::Object(data) = data else { return None };
    data.iter().find_map(|(key, _)| match key {
        Value::String(key) if &**key != REVOCATIONS => {
            (strsim::damerau_levenshtein(key, REVOCATIONS) <= SIMILAR).then_some(&**key)
        }
        _ => None,
    })
}

fn text(item: &Value) -> Result<&str, String> {
    match item {
        Value::String(text) => Ok(text),
        other => Err(format!("is {} where a string belongs", kind(other))),
    }
}

impl RevokedBy {
    pub const ALL: [Self; 4] = [Self::SpiffeId, Self::Subject, Self::Token, Self::Serial];

    /// As in data files.
    pub fn name(self) -> &'static str {
        match self {
            Self::SpiffeId => "spiffe_ids",
            Self::Subject => "subjects",
            Self::Token => "tokens",
            Self::Serial => "serials",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|list| list.name() == name)
    }
}

impl RevocationEntry {
    /// An error says what the text is, without its subject: "is empty".
    pub fn parse(list: RevokedBy, text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty".to_owned());
        }
        if text.len() > TEXT_MAX {
            return Err(format!("is longer than {TEXT_MAX} bytes"));
        }
        // It is no part of any name, and it would stand in logs and lists.
        if text.chars().any(char::is_control) {
            return Err("has a control character".to_owned());
        }
        // What is wrong is never shown: it may be a token, in whichever list.
        if text.starts_with("eyJ") && text.matches('.').count() >= 2 {
            return Err("is a whole token where its `jti` or fingerprint belongs".to_owned());
        }
        let text = match list {
            RevokedBy::SpiffeId => spiffe_id(text)?.into(),
            RevokedBy::Subject | RevokedBy::Token => text.into(),
            RevokedBy::Serial => serial(text)
                .ok_or_else(|| {
                    let text = shortened(text);
                    format!("`{text}` is not a serial number in hexadecimal, at most 20 octets")
                })?
                .into(),
        };
        Ok(Self { list, text })
    }

    pub fn list(&self) -> RevokedBy {
        self.list
    }

    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Canonical, as those of peers are: the trust domain may come in capitals.
fn spiffe_id(text: &str) -> Result<String, String> {
    let malformed =
        |error: SpiffeIdError| format!("`{}` is not a SPIFFE ID: {error}", shortened(text));
    if let Some(above) = text.strip_suffix(BELOW) {
        return Ok(format!("{}{BELOW}", SpiffeId::new(above).map_err(malformed)?));
    }
    let id = SpiffeId::new(text).map_err(malformed)?;
    if id.path().is_empty() {
        let all = format!("{id}{BELOW}");
        return Err(format!("`{id}` is a trust domain and no workload: `{all}` is all in it"));
    }
    Ok(id.to_string())
}

impl Revocations {
    pub fn is_empty(&self) -> bool {
        self.spiffe_ids.is_empty()
            && self.below.is_empty()
            && self.subjects.is_empty()
            && self.tokens.is_empty()
            && self.serials.is_empty()
    }

    /// The entry that a SPIFFE ID falls under: the ID itself, or a path above it.
    pub fn spiffe_id(&self, id: &str) -> Option<&str> {
        if let Some(entry) = self.spiffe_ids.get(id) {
            return Some(entry);
        }
        if self.below.is_empty() {
            return None;
        }
        let rest = id.strip_prefix(SCHEME)?;
        let slashes = rest.rmatch_indices('/').map(|(at, _)| at + SCHEME.len());
        slashes
            .filter_map(|at| id.get(..at))
            .find_map(|above| self.below.get(above))
            .map(|entry| &**entry)
    }

    /// The subject of a token, whoever issued it.
    pub fn subject(&self, subject: &str) -> bool {
        self.subjects.contains(subject)
    }

    /// A token by its `jti`, or by the fingerprint that the audit log gives it.
    pub fn token(&self, id: Option<&str>, fingerprint: &str) -> bool {
        id.is_some_and(|id| self.tokens.contains(id)) || self.fingerprints.contains(fingerprint)
    }

    /// A certificate by its serial number, in lower-case hexadecimal.
    pub fn serial(&self, serial: &str) -> bool {
        self.serials.contains(serial.trim_start_matches('0'))
    }

    /// Every entry with the list that it stands in, in no order.
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let named = |name: &'static str| move |entry| (name, entry);
        let spiffe_ids = self.spiffe_ids.iter().chain(self.below.values()).map(|it| &**it);
        let (subjects, tokens) = (self.subjects.iter(), self.tokens.iter());
        spiffe_ids
            .map(named("spiffe_ids"))
            .chain(subjects.map(|it| &**it).map(named("subjects")))
            .chain(tokens.map(|it| &**it).map(named("tokens")))
            .chain(self.serials.iter().map(|it| &**it).map(named("serials")))
    }

    fn add(&mut self, entry: &RevocationEntry) {
        let text = || entry.text.clone();
        match entry.list {
            RevokedBy::SpiffeId => match entry.text.strip_suffix(BELOW) {
                Some(above) => drop(self.below.insert(above.into(), text())),
                None => drop(self.spiffe_ids.insert(text())),
            },
            RevokedBy::Subject => drop(self.subjects.insert(text())),
            RevokedBy::Token => {
                let digits = entry.text.bytes().all(|byte| byte.is_ascii_hexdigit());
                if digits && entry.text.len() == FINGERPRINT_DIGITS {
                    self.fingerprints.insert(entry.text.to_ascii_lowercase().into());
                }
                self.tokens.insert(text());
            }
            RevokedBy::Serial => {
                self.serials.insert(entry.text.trim_start_matches('0').into());
            }
        }
    }
}

impl<E: Borrow<RevocationEntry>> FromIterator<E> for Revocations {
    fn from_iter<I: IntoIterator<Item = E>>(entries: I) -> Self {
        let mut revocations = Self::default();
        for entry in entries {
            revocations.add(entry.borrow());
        }
        revocations
    }
}

/// `00:AB:cd` and `abcd` are the same number. Colons stand between octets or not at all.
fn serial(entry: &str) -> Option<String> {
    let octet = |octet: &str| octet.len() == 2;
    if entry.contains(':') && !entry.split(':').all(octet) {
        return None;
    }
    let digits: String = entry.chars().filter(|it| *it != ':').collect();
    let number = digits.trim_start_matches('0').to_ascii_lowercase();
    let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = if number.is_empty() && hex { "0".to_owned() } else { number };
    (hex && number.len() <= SERIAL_DIGITS_MAX).then_some(number)
}

impl fmt::Debug for Revocations {
    /// Counts alone: the lists may be long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations")
            .field("spiffe_ids", &(self.spiffe_ids.len() + self.below.len()))
            .field("subjects", &self.subjects.len())
            .field("tokens", &self.tokens.len())
            .field("serials", &self.serials.len())
            .finish()
    }
}

#[cfg(test)]
mod tests;
