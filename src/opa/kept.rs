//! The last good archive, kept for a start without the server.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::bundle;
use super::error::{BundleError, KeepError};

/// One file in a folder that has to be there.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    folder: PathBuf,
    path: PathBuf,
}

impl Kept {
    pub(super) fn new(folder: &Path, name: &str) -> Self {
        Self { folder: folder.to_owned(), path: folder.join(format!("{name}.tar.gz")) }
    }

    /// `None` if nothing is kept. It is judged anew as if it came from the server. Blocks.
    pub(super) fn read(&self) -> Result<Option<Vec<u8>>, BundleError> {
        match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            _ => bundle::read_file(&self.path).map(Some),
        }
    }

    /// In place of what was kept before: all of it or nothing, for our eyes only. Blocks.
    pub(super) fn write(&self, packed: &[u8]) -> Result<(), KeepError> {
        self.replace(packed).map_err(KeepError::of(&self.folder))
    }

    fn replace(&self, packed: &[u8]) -> io::Result<()> {
        let aside = self.path.with_extension("gz.new");
        // Left over by somebody who was stopped half way.
        match fs::remove_file(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
        file.write_all(packed)?;
        file.sync_all()?;
        fs::rename(&aside, &self.path)?;
        File::open(&self.folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_is_for_our_eyes_only() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::new(folder.path(), "policy");
        assert_eq!(kept.read().unwrap(), None);
        fs::write(folder.path().join("policy.tar.gz.new"), "left over").unwrap();

        kept.write(b"one").unwrap();
        kept.write(b"two").unwrap();

        assert_eq!(kept.read().unwrap().as_deref(), Some(&b"two"[..]));
        let path = folder.path().join("policy.tar.gz");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let kept = Kept::new(Path::new("/nowhere/at/all"), "policy");
        let error = kept.write(b"x").unwrap_err().to_string();
        assert!(error.contains("`/nowhere/at/all`"), "{error}");
        assert_eq!(kept.read().unwrap(), None);
    }
}
