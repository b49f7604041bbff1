//! Audit logs from files, or from standard input as `-`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use spiffe::SpiffeId;

use crate::review;

/// Opens all before any is read: a misspelled name is told at once.
pub(super) fn open(paths: &[PathBuf]) -> anyhow::Result<Vec<Box<dyn Read>>> {
    let mut logs: Vec<Box<dyn Read>> = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            logs.push(Box::new(io::stdin()));
            continue;
        }
        let file = File::open(path).with_context(|| format!("`{}`", path.display()))?;
        logs.push(Box::new(file));
    }
    Ok(logs)
}

/// Who is named as a proven caller.
pub(super) fn callers(paths: &[PathBuf]) -> anyhow::Result<Vec<SpiffeId>> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    review::callers(&mut open(paths)?).context("the audit log cannot be read")
}
