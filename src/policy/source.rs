//! A policy as it stands on disk: modules, data, and the digest of both.
//!
//! Mounted as OPA does it: `.rego` files by their package, `data.json` and `data.yaml` at their
//! folder. Tests are read but kept apart. Hidden entries are skipped, so the `..data` links of a
//! Kubernetes ConfigMap are met once, by their plain names.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;

use super::error::{LoadError, Problem};

pub(super) const FILE_BYTES_MAX: usize = 1024 * 1024;
const DATA_BYTES_MAX: usize = 32 * 1024 * 1024;
const TOTAL_BYTES_MAX: usize = 64 * 1024 * 1024;
const FILES_MAX: usize = 1000;
const ENTRIES_MAX: usize = 10_000;
const DEPTH_MAX: usize = 16;
const REVISION_BYTES: usize = 6;

/// Everything that was read, in one fixed order.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub modules: Vec<Text>,
    /// `*_test.rego`: never enforced.
    pub tests: Vec<Text>,
    pub data: Vec<Data>,
    /// The first digits of the digest of everything that is enforced.
    pub revision: Arc<str>,
}

/// One file, named relative to the policy's folder.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub name: String,
    pub text: String,
}

/// A data file and where it belongs in the `data` document.
#[derive(Debug, Clone)]
pub(super) struct Data {
    pub file: Text,
    pub mount: Vec<String>,
    pub format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Yaml,
}

/// Reads a folder, or a single `.rego` file.
pub(super) fn read(path: &Path) -> Result<Source, LoadError> {
    let metadata = fs::metadata(path).map_err(|source| LoadError::read(path, source))?;
    let mut reader = Reader::default();
    if metadata.is_dir() {
        reader.folder(path, &[])?;
    } else {
        let name = path.file_name().map_or_else(String::new, |it| it.to_string_lossy().into());
        reader.file(path, &name, &[])?;
    }
    let mut source = reader.source;
    if source.modules.is_empty() {
        return Err(LoadError::Empty { path: path.to_owned() });
    }
    source.revision = revision(&source);
    Ok(source)
}

#[derive(Default)]
struct Reader {
    source: Source,
    entries: usize,
    files: usize,
    bytes: usize,
}

impl Reader {
    fn folder(&mut self, path: &Path, mount: &[String]) -> Result<(), LoadError> {
        if mount.len() >= DEPTH_MAX {
            // Also where a circle of links ends.
            return Err(LoadError::TooDeep { path: path.to_owned(), max: DEPTH_MAX });
        }
        let listed = fs::read_dir(path).map_err(|source| LoadError::read(path, source))?;
        let mut entries: Vec<(String, PathBuf)> = Vec::new();
        for entry in listed {
            let entry = entry.map_err(|source| LoadError::read(path, source))?;
            self.entries += 1;
            if self.entries > ENTRIES_MAX {
                return Err(LoadError::TooMany { path: path.to_owned(), max: ENTRIES_MAX });
            }
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if !name.starts_with('.') {
                entries.push((name.into_owned(), entry.path()));
            }
        }
        entries.sort();
        for (name, path) in entries {
            // Follows links: that is how a ConfigMap presents its files.
            let metadata = fs::metadata(&path).map_err(|source| LoadError::read(&path, source))?;
            if metadata.is_dir() {
                let mount: Vec<_> = mount.iter().cloned().chain([name]).collect();
                self.folder(&path, &mount)?;
            } else if metadata.is_file() {
                self.file(&path, &name, mount)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, name: &str, mount: &[String]) -> Result<(), LoadError> {
        let format = match name {
            "data.json" => Some(Format::Json),
            "data.yaml" | "data.yml" => Some(Format::Yaml),
            name if name.ends_with(".rego") => None,
            // As everywhere in OPA's layout it would be skipped, and somebody would not be revoked.
            "revocations.json" | "revocations.yaml" | "revocations.yml" => {
                let message = "is not read: write `revocations/data.json`".to_owned();
                return Err(Problem::in_file(name, message).into());
            }
            _ => return Ok(()),
        };
        self.files += 1;
        if self.files > FILES_MAX {
            return Err(LoadError::TooMany { path: path.to_owned(), max: FILES_MAX });
        }
        let max = if format.is_some() { DATA_BYTES_MAX } else { FILE_BYTES_MAX };
        let text = read_text(path, max)?;
        self.bytes += text.len();
        if self.bytes > TOTAL_BYTES_MAX {
            return Err(LoadError::TooLarge { path: path.to_owned(), max: TOTAL_BYTES_MAX });
        }
        let full: Vec<&str> = mount.iter().map(String::as_str).chain([name]).collect();
        let file = Text { name: full.join("/"), text };
        match format {
            Some(format) => {
                self.source.data.push(Data { file, mount: mount.to_vec(), format });
            }
            None if name.ends_with("_test.rego") => self.source.tests.push(file),
            None => self.source.modules.push(file),
        }
        Ok(())
    }
}

fn read_text(path: &Path, max: usize) -> Result<String, LoadError> {
    let mut bytes = Vec::new();
    // One more than allowed, so that a file which grows meanwhile is bounded too.
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|source| LoadError::read(path, source))?;
    if bytes.len() > max {
        return Err(LoadError::TooLarge { path: path.to_owned(), max });
    }
    String::from_utf8(bytes).map_err(|error| {
        LoadError::read(path, io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
    })
}

/// Lengths are part of it, so that no two sets of files have one digest.
fn revision(source: &Source) -> Arc<str> {
    let mut context = digest::Context::new(&digest::SHA256);
    let enforced = source.modules.iter().chain(source.data.iter().map(|data| &data.file));
    for file in enforced {
        for part in [&file.name, &file.text] {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part.as_bytes());
        }
    }
    let digest = context.finish();
    let shown = digest.as_ref().iter().take(REVISION_BYTES);
    shown.map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

impl Default for Source {
    fn default() -> Self {
        Self { modules: vec![], tests: vec![], data: vec![], revision: Arc::from("") }
    }
}

#[cfg(test)]
mod tests;
