//! Why a file could not be taken.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a file could not be taken. Never holds any of its content.
#[derive(Debug, Error)]
pub enum FileError {
    #[error("`{path}` cannot be read")]
    Read { path: PathBuf, source: io::Error },
    #[error("`{path}` cannot be written")]
    Write { path: PathBuf, source: io::Error },
    #[error("`{path}` is larger than {limit} bytes")]
    TooLarge { path: PathBuf, limit: usize },
    #[error("`{path}` may be read or written by others than its owner (mode {mode:04o})")]
    NotPrivate { path: PathBuf, mode: u32 },
    #[error("`{path}` is not a regular file")]
    NotAFile { path: PathBuf },
    #[error("`{path}` is not text in UTF-8")]
    NotText { path: PathBuf },
    #[error("`{path}` is empty")]
    Empty { path: PathBuf },
}
