//! Reads whole files, within a bound and without being made to wait by them.

use std::fs::{File, Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str;

use zeroize::Zeroizing;

use super::error::FileError;
use crate::secret::Secret;

/// Any right of group and others.
const OTHERS: u32 = 0o077;
const PERMISSIONS: u32 = 0o7777;

/// A file that holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFile {
    pub path: PathBuf,
    /// Take it although group or others may read or write it.
    pub danger_readable_by_others: bool,
}

/// The whole file, if it has no more than `limit` bytes. Blocks.
pub fn read(path: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
    let (file, metadata) = open(path)?;
    read_all(path, file, &metadata, limit)
}

impl SecretFile {
    /// The whole file without white space at either end, if it is private enough. Blocks.
    pub fn read(&self, limit: usize) -> Result<Secret, FileError> {
        let path = || self.path.clone();
        let (file, metadata) = open(&self.path)?;
        // Of the file that is open, so that none can be slipped in between.
        let mode = metadata.mode() & PERMISSIONS;
        if mode & OTHERS != 0 && !self.danger_readable_by_others {
            return Err(FileError::NotPrivate { path: path(), mode });
        }
        let bytes = Zeroizing::new(read_all(&self.path, file, &metadata, limit)?);
        let Ok(text) = str::from_utf8(&bytes) else {
            return Err(FileError::NotText { path: path() });
        };
        match text.trim() {
            "" => Err(FileError::Empty { path: path() }),
            text => Ok(Secret::new(text.to_owned())),
        }
    }
}

/// Follows links. What is opened is judged, not what the path named a moment ago.
fn open(path: &Path) -> Result<(File, Metadata), FileError> {
    let failed = |source| FileError::Read { path: path.to_owned(), source };
    let file = OpenOptions::new()
        .read(true)
        // A pipe without a writer would keep us waiting, a terminal would become ours.
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(FileError::NotAFile { path: path.to_owned() });
    }
    Ok((file, metadata))
}

fn read_all(
    path: &Path,
    file: File,
    metadata: &Metadata,
    limit: usize,
) -> Result<Vec<u8>, FileError> {
    let too_large = || FileError::TooLarge { path: path.to_owned(), limit };
    let size = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if size > limit {
        return Err(too_large());
    }
    // Room for all of it from the start: growing would leave copies of a secret behind.
    let mut bytes = Vec::with_capacity(size.saturating_add(1));
    // One more than allowed, so that a file which grows meanwhile is bounded too.
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most)
        .read_to_end(&mut bytes)
        .map_err(|source| FileError::Read { path: path.to_owned(), source })?;
    if bytes.len() > limit {
        return Err(too_large());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
