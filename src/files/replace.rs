//! Writes whole files: a reader, or a start after a crash, meets the old one or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process;

use super::error::FileError;

/// Only for us.
const MODE: u32 = 0o600;

/// Puts `content` in the place of the file, which only its owner may read. Blocks until it is on
/// the disk.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let failed = |source| FileError::Write { path: path.to_owned(), source };
    let aside = aside(path).ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
    let written = write_aside(&aside, content).and_then(|()| fs::rename(&aside, path));
    if written.is_err() {
        // What went wrong is told; that a half-written file stays as well is not the point.
        fs::remove_file(&aside).ok();
    }
    written.map_err(failed)?;
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    // A rename is on the disk once its folder is.
    File::open(folder.unwrap_or(Path::new("."))).and_then(|it| it.sync_all()).map_err(failed)
}

/// In the same folder, for a rename does not cross file systems.
fn aside(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_string_lossy();
    Some(path.with_file_name(format!(".{name}.{}.new", process::id())))
}

fn write_aside(aside: &Path, content: &[u8]) -> io::Result<()> {
    // Left over from a crash of an older process with our number.
    match fs::remove_file(aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(aside)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_old_file_is_replaced_as_a_whole_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept.json");
        fs::write(&path, "a much longer old content").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        for content in ["new", ""] {
            replace(&path, content.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn what_cannot_be_written_is_told_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        fs::create_dir_all(taken.join("below")).unwrap();
        let error = replace(&taken, b"x").unwrap_err();
        assert!(error.to_string().contains("taken"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(replace(&folder.path().join("absent/file"), b"x").is_err());
        assert!(replace(Path::new("/"), b"x").is_err());
    }

    #[test]
    fn a_link_that_waits_aside_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("kept"), folder.path().join("other"));
        fs::write(&other, "precious").unwrap();
        std::os::unix::fs::symlink(&other, aside(&path).unwrap()).unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }
}
