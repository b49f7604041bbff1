//! Where lines go, and how a file is followed when it is rotated.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

/// Where the audit log is written.
#[derive(Debug, Clone)]
pub enum Destination {
    Stdout,
    Stderr,
    /// Appended to, created with mode 0640, followed when it is renamed.
    File(PathBuf),
    /// Each line without its newline, for the demo and for tests.
    Channel(mpsc::Sender<String>),
}

/// An open destination. Only the writer thread touches it.
#[derive(Debug)]
pub(super) enum Output {
    Stream(File),
    File { path: PathBuf, file: File },
    Channel(mpsc::Sender<String>),
}

/// The group may read the audit log, the world may not.
const FILE_MODE: u32 = 0o640;

impl Output {
    pub(super) fn open(destination: Destination) -> io::Result<Self> {
        // The descriptor itself, not the locked and buffered handle of the standard library:
        // what has been written must be known to the byte.
        Ok(match destination {
            Destination::Stdout => Self::Stream(duplicate(&io::stdout())?),
            Destination::Stderr => Self::Stream(duplicate(&io::stderr())?),
            Destination::File(path) => Self::File { file: open(&path)?, path },
            Destination::Channel(lines) => Self::Channel(lines),
        })
    }

    /// One attempt. Returns how many bytes are out; the rest is for the next attempt.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stream(file) | Self::File { file, .. } => match file.write(bytes)? {
                0 => Err(io::ErrorKind::WriteZero.into()),
                written => Ok(written),
            },
            Self::Channel(lines) => {
                for line in String::from_utf8_lossy(bytes).lines() {
                    // A receiver that has gone wants no more lines.
                    if lines.send(line.to_owned()).is_err() {
                        break;
                    }
                }
                Ok(bytes.len())
            }
        }
    }

    /// Opens the path anew if it now names another file, or none; `true` if so. If that cannot be
    /// done, the old file stays in use.
    pub(super) fn follow(&mut self) -> io::Result<bool> {
        let Self::File { path, file } = self else {
            return Ok(false);
        };
        if names(path, file)? {
            return Ok(false);
        }
        *file = open(path)?;
        Ok(true)
    }

    /// To the disk, as far as the destination has one.
    pub(super) fn sync(&self) -> io::Result<()> {
        match self {
            Self::File { file, .. } if file.metadata()?.is_file() => file.sync_data(),
            Self::File { .. } | Self::Stream(_) | Self::Channel(_) => Ok(()),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path)
}

fn duplicate(stream: &impl AsFd) -> io::Result<File> {
    Ok(File::from(stream.as_fd().try_clone_to_owned()?))
}

/// Whether the path still names the open file.
fn names(path: &Path, file: &File) -> io::Result<bool> {
    let open = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
