//! What is read, and what is not.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::*;

const LIMIT: usize = 64;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, mode: u32, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    fn secret(&self, mode: u32, content: impl AsRef<[u8]>) -> SecretFile {
        SecretFile { path: self.write("secret", mode, content), danger_readable_by_others: false }
    }
}

/// In a thread of its own, so that a read which waits is a failure and not a test without end.
fn read_in_time(path: &Path) -> Result<Vec<u8>, FileError> {
    let (done, result) = mpsc::channel();
    let path = path.to_owned();
    thread::spawn(move || done.send(read(&path, LIMIT)));
    result.recv_timeout(Duration::from_secs(10)).expect("it waits")
}

#[test]
fn a_file_is_read_up_to_its_bound_and_not_beyond() {
    let folder = Folder::new();
    for size in [0, 1, LIMIT - 1, LIMIT] {
        let path = folder.write("file", 0o644, vec![b'x'; size]);
        assert_eq!(read(&path, LIMIT).unwrap(), vec![b'x'; size]);
    }
    let path = folder.write("file", 0o644, vec![b'x'; LIMIT + 1]);
    let error = read(&path, LIMIT).unwrap_err();
    assert!(matches!(error, FileError::TooLarge { limit: LIMIT, .. }), "{error:?}");
}

#[test]
fn a_file_that_hides_its_size_is_bounded_too() {
    let path = Path::new("/proc/self/status");
    assert_eq!(fs::metadata(path).unwrap().len(), 0);
    let error = read(path, LIMIT).unwrap_err();
    assert!(matches!(error, FileError::TooLarge { .. }), "{error:?}");
    assert!(read(path, 1024 * 1024).unwrap().starts_with(b"Name:"));
}

#[test]
fn links_are_followed_to_the_file() {
    let folder = Folder::new();
    folder.write("file", 0o644, "content");
    symlink("file", folder.path("link")).unwrap();
    symlink("link", folder.path("link to a link")).unwrap();
    assert_eq!(read(&folder.path("link to a link"), LIMIT).unwrap(), b"content");
}

#[test]
fn what_is_not_a_file_is_refused_at_once() {
    let folder = Folder::new();
    let pipe = folder.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [&pipe, folder.0.path(), Path::new("/dev/zero")] {
        let error = read_in_time(path).unwrap_err();
        assert!(matches!(error, FileError::NotAFile { .. }), "{error:?}");
    }
    let _listener = UnixListener::bind(folder.path("socket")).unwrap();
    read_in_time(&folder.path("socket")).unwrap_err();
}

#[test]
fn a_file_that_is_not_there_is_named_in_the_error() {
    let folder = Folder::new();
    let error = read(&folder.path("absent"), LIMIT).unwrap_err();
    assert!(error.to_string().contains("absent` cannot be read"), "{error}");
    assert!(matches!(error, FileError::Read { source, .. }
        if source.kind() == std::io::ErrorKind::NotFound));
}

#[test]
fn a_secret_comes_without_the_white_space_around_it() {
    let folder = Folder::new();
    for mode in [0o400, 0o600, 0o700] {
        let file = folder.secret(mode, "\n hunter2 and more\r\n");
        assert_eq!(file.read(LIMIT).unwrap().expose(), "hunter2 and more");
        fs::remove_file(&file.path).unwrap();
    }
}

#[test]
fn any_right_of_others_makes_a_secret_public() {
    let folder = Folder::new();
    for bit in 0..6 {
        let mode = 0o600 | 1 << bit;
        let mut file = folder.secret(mode, "hunter2");
        let error = file.read(LIMIT).unwrap_err();
        assert!(
            matches!(error, FileError::NotPrivate { mode: told, .. } if told == mode),
            "{error:?}"
        );
        assert!(error.to_string().contains(&format!("(mode {mode:04o})")), "{error}");
        file.danger_readable_by_others = true;
        assert_eq!(file.read(LIMIT).unwrap().expose(), "hunter2");
    }
}

#[test]
fn the_mode_that_counts_is_that_of_the_file_and_not_of_the_link() {
    let folder = Folder::new();
    let mut file = folder.secret(0o600, "hunter2");
    symlink("secret", folder.path("link")).unwrap();
    file.path = folder.path("link");
    assert_eq!(file.read(LIMIT).unwrap().expose(), "hunter2");
    fs::set_permissions(folder.path("secret"), Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(file.read(LIMIT), Err(FileError::NotPrivate { mode: 0o640, .. })));
}

#[test]
fn a_secret_is_a_text_that_says_something_within_the_bound() {
    let folder = Folder::new();
    for blank in ["", " \n\t\r\n"] {
        let error = folder.secret(0o600, blank).read(LIMIT).unwrap_err();
        assert!(matches!(error, FileError::Empty { .. }), "{error:?}");
    }
    let error = folder.secret(0o600, b"hunter2\xff").read(LIMIT).unwrap_err();
    assert!(matches!(error, FileError::NotText { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    let error = folder.secret(0o600, "x".repeat(LIMIT + 1)).read(LIMIT).unwrap_err();
    assert!(matches!(error, FileError::TooLarge { .. }), "{error:?}");
}
