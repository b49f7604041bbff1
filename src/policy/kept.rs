//! The file that keeps what was revoked at run time for the next start.
//!
//! Read strictly: an entry that is lost is somebody who is let in again.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::revocations::{RevocationEntry, RevokedBy};
use crate::files::{self, FileError, SecretFile};

/// What belongs into a policy's data when it grows beyond this.
pub(super) const HELD_MAX: usize = 10_000;
const VERSION: u32 = 1;
const FILE_MAX: usize = 32 * 1024 * 1024;
/// Of one entry, at most: names, times, and what stands around them.
const AROUND_ENTRY: usize = 256;

/// What is revoked, and on what terms.
pub(super) type Held = BTreeMap<RevocationEntry, Terms>;

/// Since when, until when, why and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    pub since: SystemTime,
    /// From then on it is lifted; `None`: until somebody lifts it.
    pub until: Option<SystemTime>,
    pub reason: Option<String>,
    pub by: String,
}

/// Why the revocations of earlier are not known.
#[derive(Debug, Error)]
pub enum KeptError {
    #[error("cannot be used")]
    File(#[from] FileError),
    #[error("`{}` does not hold revocations: {message}", path.display())]
    Malformed { path: PathBuf, message: String },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    revocations: Vec<Kept>,
}

/// Times in seconds since 1970.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    list: String,
    entry: String,
    since: u64,
    until: Option<u64>,
    reason: Option<String>,
    by: String,
}

/// Nothing where there is no file yet.
pub(super) fn read(path: &Path) -> Result<Held, KeptError> {
    let file = SecretFile { path: path.to_owned(), danger_readable_by_others: false };
    let text = match file.read(FILE_MAX) {
        Ok(text) => text,
        Err(FileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(Held::new());
        }
        Err(error) => return Err(error.into()),
    };
    parse(text.expose()).map_err(|message| KeptError::Malformed { path: path.to_owned(), message })
}

fn parse(text: &str) -> Result<Held, String> {
    let document: Document = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if document.version != VERSION {
        return Err(format!("version {} is not known", document.version));
    }
    if document.revocations.len() > HELD_MAX {
        return Err(format!("it has more than {HELD_MAX} entries"));
    }
    let mut held = Held::new();
    for (at, kept) in (1_usize..).zip(document.revocations) {
        let list = RevokedBy::named(&kept.list)
            .ok_or_else(|| format!("entry {at}: there is no list of that name"))?;
        let entry = RevocationEntry::parse(list, &kept.entry)
            .map_err(|what| format!("entry {at} {what}"))?;
        let time = |seconds| {
            let time = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
            time.ok_or_else(|| format!("entry {at} has a time beyond all times"))
        };
        let terms = Terms {
            since: time(kept.since)?,
            until: kept.until.map(time).transpose()?,
            reason: kept.reason,
            by: kept.by,
        };
        held.insert(entry, terms);
    }
    Ok(held)
}

/// Whether `read` would take it back.
pub(super) fn fits(held: &Held) -> bool {
    let entry = |(entry, terms): (&RevocationEntry, &Terms)| {
        let texts = [Some(entry.text()), terms.reason.as_deref(), Some(&terms.by)];
        AROUND_ENTRY + texts.into_iter().flatten().map(written).sum::<usize>()
    };
    held.len() <= HELD_MAX && AROUND_ENTRY + held.iter().map(entry).sum::<usize>() <= FILE_MAX
}

/// Bytes of a text as JSON, at most.
fn written(text: &str) -> usize {
    let byte = |byte: u8| match byte {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(byte).sum()
}

pub(super) fn write(path: &Path, held: &Held) -> Result<(), FileError> {
    let kept = |(entry, terms): (&RevocationEntry, &Terms)| Kept {
        list: entry.list().name().to_owned(),
        entry: entry.text().to_owned(),
        since: seconds(terms.since),
        until: terms.until.map(whole_seconds),
        reason: terms.reason.clone(),
        by: terms.by.clone(),
    };
    let document = Document { version: VERSION, revocations: held.iter().map(kept).collect() };
    let failed = |source| FileError::Write { path: path.to_owned(), source };
    let text = serde_json::to_vec_pretty(&document).map_err(|error| failed(error.into()))?;
    files::replace(path, &text)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Not shortened: a part of a second counts as a whole one.
fn whole_seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() + u64::from(since.subsec_nanos() > 0)
}
