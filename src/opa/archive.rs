//! Unpacks an archive that anybody may have made: within bounds, and into nothing but memory.

use std::collections::BTreeMap;
use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use tar::EntryType;

use super::error::{BundleError, shown};
use super::limits::{COMPRESSED_MAX, ENTRIES_MAX, UNPACKED_MAX};

/// What unpacks to less is never out of proportion.
const UNPACKED_FREE: u64 = 8 * 1024 * 1024;
/// Policies and their data pack to a tenth or a fiftieth; nothing but filler gets near this.
const RATIO_MAX: u64 = 250;
const NAME_BYTES_MAX: usize = 512;

/// Files by their names: no `/` in front, none that leads elsewhere.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// All files of a `.tar.gz`.
pub(super) fn unpack(packed: &[u8]) -> Result<Files, BundleError> {
    if packed.len() > COMPRESSED_MAX {
        return Err(BundleError::TooLarge);
    }
    let size = u64::try_from(packed.len()).unwrap_or(u64::MAX);
    let bound = size.saturating_mul(RATIO_MAX).clamp(UNPACKED_FREE, UNPACKED_MAX);
    // One more than allowed, so that it is known to be more.
    let unpacked = MultiGzDecoder::new(packed).take(bound.saturating_add(1));
    let mut archive = tar::Archive::new(unpacked);
    let files = read(&mut archive);
    let mut rest = archive.into_inner();
    // Only its end tells that a compressed stream is whole.
    let whole = io::copy(&mut rest, &mut io::sink());
    if rest.limit() == 0 {
        return Err(BundleError::Bomb);
    }
    let files = files?;
    whole.map_err(broken)?;
    Ok(files)
}

fn read(archive: &mut tar::Archive<impl Read>) -> Result<Files, BundleError> {
    let mut files = Files::new();
    for (count, entry) in archive.entries().map_err(broken)?.enumerate() {
        if count >= ENTRIES_MAX {
            return Err(BundleError::TooMany);
        }
        let mut entry = entry.map_err(broken)?;
        let written = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {}
            // Of a folder nothing is taken over, and comments are for `git`.
            EntryType::Directory | EntryType::XGlobalHeader => continue,
            _ => return Err(BundleError::Kind(shown(&written))),
        }
        let name = plain(&written).ok_or_else(|| BundleError::Name(shown(&written)))?;
        // Room is made as bytes come, not as the header promises.
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(broken)?;
        if u64::try_from(bytes.len()).ok() != Some(entry.size()) {
            return Err(BundleError::Broken(format!("{} is cut short", shown(&name))));
        }
        if files.insert(name.clone(), bytes).is_some() {
            return Err(BundleError::Twice(shown(&name)));
        }
    }
    Ok(files)
}

/// Without the `/` or `./` that tools put in front. `None` for all that is not a plain way down.
fn plain(written: &str) -> Option<String> {
    let name = written.strip_prefix("./").or(written.strip_prefix('/')).unwrap_or(written);
    let sound = |part: &str| {
        !matches!(part, "" | "." | "..")
            && !part.chars().any(|it| it.is_control() || matches!(it, '\\' | '\u{fffd}'))
    };
    (name.len() <= NAME_BYTES_MAX && name.split('/').all(sound)).then(|| name.to_owned())
}

fn broken(error: io::Error) -> BundleError {
    // Of a hostile archive the library may repeat names.
    BundleError::Broken(shown(&error.to_string()))
}

#[cfg(test)]
mod tests;
