//! `data.revocations`: who and what is believed no longer (AZ-11).
//!
//! Read strictly: an entry that could never match is somebody who was not revoked, so it refuses
//! the policy.

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
    for (name, list) in lists.iter() {
        let add = match name {
            Value::String(name) => match &**name {
                "spiffe_ids" => Revocations::add_spiffe_id,
                "subjects" => Revocations::add_subject,
                "tokens" => Revocations::add_token,
                "serials" => Revocations::add_serial,
                other => return Err(not_a_list(other)),
            },
            other => return Err(not_a_list(&other.to_string())),
        };
        let whole = format!("`{REVOCATIONS}.{}`", name.as_string().map_or("", |it| &**it));
        let Value::Array(items) = list else {
            return Err(format!("{whole} is {} where a list belongs", kind(list)));
        };
        for (at, item) in (1_usize..).zip(items.iter()) {
            count += 1;
            if count > ENTRIES_MAX {
                return Err(format!("`{REVOCATIONS}` has more than {ENTRIES_MAX} entries"));
            }
            let text = text(item).map_err(|what| format!("{whole}: entry {at} {what}"))?;
            add(&mut revocations, text).map_err(|what| format!("{whole}: entry {at} {what}"))?;
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
        Value::String(text) if text.is_empty() => Err("is empty".to_owned()),
        Value::String(text) if text.len() > TEXT_MAX => {
            Err(format!("is longer than {TEXT_MAX} bytes"))
        }
        Value::String(text) => Ok(text),
        other => Err(format!("is {} where a string belongs", kind(other))),
    }
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

    fn add_spiffe_id(&mut self, entry: &str) -> Result<(), String> {
        let malformed =
            |error: SpiffeIdError| format!("`{}` is not a SPIFFE ID: {error}", shortened(entry));
        // Canonical, as those of peers are: the trust domain may come in capitals.
        if let Some(above) = entry.strip_suffix("/*") {
            let above = SpiffeId::new(above).map_err(malformed)?.to_string();
            self.below.insert(above.into(), entry.into());
            return Ok(());
        }
        let id = SpiffeId::new(entry).map_err(malformed)?;
        if id.path().is_empty() {
            let all = format!("{id}/*");
            return Err(format!("`{id}` is a trust domain and no workload: `{all}` is all in it"));
        }
        self.spiffe_ids.insert(id.to_string().into());
        Ok(())
    }

    fn add_subject(&mut self, entry: &str) -> Result<(), String> {
        self.subjects.insert(entry.into());
        Ok(())
    }

    /// What is wrong is never shown: it may be a token.
    fn add_token(&mut self, entry: &str) -> Result<(), String> {
        if entry.starts_with("eyJ") && entry.matches('.').count() >= 2 {
            return Err("is a whole token where its `jti` or fingerprint belongs".to_owned());
        }
        let digits = entry.bytes().all(|byte| byte.is_ascii_hexdigit());
        if digits && entry.len() == FINGERPRINT_DIGITS {
            self.fingerprints.insert(entry.to_ascii_lowercase().into());
        }
        self.tokens.insert(entry.into());
        Ok(())
    }

    fn add_serial(&mut self, entry: &str) -> Result<(), String> {
        let serial = serial(entry).ok_or_else(|| {
            let entry = shortened(entry);
            format!("`{entry}` is not a serial number in hexadecimal, at most 20 octets")
        })?;
        self.serials.insert(serial.into());
        Ok(())
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
