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
pub(super) const TOTAL_BYTES_MAX: usize = 64 * 1024 * 1024;
pub(super) const FILES_MAX: usize = 1000;
const ENTRIES_MAX: usize = 10_000;
const DEPTH_MAX: usize = 16;
const REVISION_DIGITS: usize = 12;

/// A policy as it was read, in one fixed order: nothing in it is checked yet.
#[derive(Debug, Clone)]
pub struct Source {
    pub(super) modules: Vec<Text>,
    /// `*_test.rego`: never enforced.
    pub(super) tests: Vec<Text>,
    pub(super) data: Vec<Data>,
    /// The first digits of `enforced`, for people.
    pub(super) revision: Arc<str>,
    /// The digest of everything that is enforced.
    pub(super) enforced: Arc<str>,
    /// The same of everything, tests included: whether it is worth another look.
    pub(super) content: Arc<str>,
    /// What a bundle's makers count by. Ours is made from the content.
    pub(super) bundle_revision: Option<Arc<str>>,
    /// The paths that packages and data may lie in; `None` is everywhere.
    pub(super) roots: Option<Vec<Vec<String>>>,
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

impl Source {
    /// Reads a folder as OPA would mount it, or a single `.rego` file.
    pub fn read(path: &Path) -> Result<Self, LoadError> {
        read(path)
    }

    /// Several folders and files as one policy, named as they were given, for people to find again.
    /// Tests alone will do. The revision is that of the names too, so it is no policy's.
    pub fn read_as_given(paths: &[PathBuf]) -> Result<Self, LoadError> {
        let mut reader = Reader::default();
        for path in paths {
            reader.given(path)?;
        }
        if reader.source.modules.is_empty() && !reader.source.tests.is_empty() {
            return Ok(reader.source);
        }
        reader.done(&paths.iter().collect::<PathBuf>())
    }

    /// What an archive holds: names relative to its root, with `/` between folders. The same files
    /// have the same revision as in a folder.
    pub fn from_files(
        files: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> Result<Self, LoadError> {
        let mut files: Vec<_> = files.into_iter().filter(|(name, _)| !is_hidden(name)).collect();
        files.sort();
        Self::restore(files)
    }

    /// What another process has read: [`Source::texts`], with nothing left out.
    pub(super) fn restore(
        files: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> Result<Self, LoadError> {
        let mut reader = Reader::default();
        for (name, bytes) in files {
            reader.packed(&name, bytes)?;
        }
        reader.done(Path::new("bundle"))
    }

    /// Every file, by its name from the root on.
    pub(super) fn texts(&self) -> impl Iterator<Item = &Text> {
        self.enforced().chain(&self.tests)
    }

    /// Whether this stands anywhere in what is enforced, rules or data.
    pub fn says(&self, text: &str) -> bool {
        self.enforced().any(|file| file.text.contains(text))
    }

    /// What a bundle says of itself besides its files: a revision, and the paths that its packages
    /// and data have to lie in.
    #[must_use]
    pub fn of_bundle(mut self, revision: Option<Arc<str>>, roots: Vec<Vec<String>>) -> Self {
        // What is refused under some roots may be good under others.
        let told = [Text { name: format!("{roots:?}"), text: self.content.to_string() }];
        self.content = digest_of(told.iter());
        self.bundle_revision = revision;
        self.roots = Some(roots);
        self
    }

    /// Of the bundle, if it is one that says so.
    pub fn bundle_revision(&self) -> Option<&Arc<str>> {
        self.bundle_revision.as_ref()
    }

    /// Short, and made from the content.
    pub fn revision(&self) -> &Arc<str> {
        &self.revision
    }

    fn enforced(&self) -> impl Iterator<Item = &Text> {
        self.modules.iter().chain(self.data.iter().map(|data| &data.file))
    }
}

fn read(path: &Path) -> Result<Source, LoadError> {
    let mut reader = Reader::default();
    reader.any(path)?;
    reader.done(path)
}

#[derive(Default)]
struct Reader {
    source: Source,
    entries: usize,
    files: usize,
    bytes: usize,
    /// Before every name.
    prefix: String,
}

impl Reader {
    fn done(self, path: &Path) -> Result<Source, LoadError> {
        let mut source = self.source;
        if source.modules.is_empty() {
            return Err(LoadError::Empty { path: path.to_owned() });
        }
        // Folders and archives list their entries in different orders.
        source.modules.sort_by(|one, other| one.name.cmp(&other.name));
        source.data.sort_by(|one, other| one.file.name.cmp(&other.file.name));
        source.tests.sort_by(|one, other| one.name.cmp(&other.name));
        source.enforced = digest_of(source.enforced());
        source.content = digest_of(source.texts());
        source.revision = source.enforced.chars().take(REVISION_DIGITS).collect::<String>().into();
        Ok(source)
    }

    fn any(&mut self, path: &Path) -> Result<(), LoadError> {
        let metadata = fs::metadata(path).map_err(|source| LoadError::read(path, source))?;
        if metadata.is_dir() {
            return self.folder(path, &[]);
        }
        if !metadata.is_file() {
            // Reading from a pipe would wait for whoever writes to it.
            let what = io::Error::new(io::ErrorKind::InvalidInput, "neither a folder nor a file");
            return Err(LoadError::read(path, what));
        }
        let name = path.file_name().map_or_else(String::new, |it| it.to_string_lossy().into());
        self.file(path, &name, &[])
    }

    fn given(&mut self, path: &Path) -> Result<(), LoadError> {
        let folder = if path.is_dir() { Some(path) } else { path.parent() };
        let folder = folder.map(Path::to_string_lossy).unwrap_or_default();
        let folder = folder.trim_start_matches("./").trim_end_matches('/');
        self.prefix = match folder {
            "" | "." => String::new(),
            folder => format!("{folder}/"),
        };
        self.any(path)
    }

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
        let Some(kind) = Kind::of(name)? else { return Ok(()) };
        self.count(path)?;
        let text = read_text(path, kind.bytes_max())?;
        self.take(path, name, mount, kind, text)
    }

    /// A file of an archive, by its name from the root on.
    fn packed(&mut self, name: &str, bytes: Vec<u8>) -> Result<(), LoadError> {
        let mut mount: Vec<String> = name.split('/').map(str::to_owned).collect();
        let last = mount.pop().unwrap_or_default();
        let path = Path::new(name);
        if mount.len() >= DEPTH_MAX {
            return Err(LoadError::TooDeep { path: path.to_owned(), max: DEPTH_MAX });
        }
        let Some(kind) = Kind::of(&last)? else { return Ok(()) };
        self.count(path)?;
        let text = text(path, bytes, kind.bytes_max())?;
        self.take(path, &last, &mount, kind, text)
    }

    fn count(&mut self, path: &Path) -> Result<(), LoadError> {
        self.files += 1;
        if self.files > FILES_MAX {
            return Err(LoadError::TooMany { path: path.to_owned(), max: FILES_MAX });
        }
        Ok(())
    }

    fn take(
        &mut self,
        path: &Path,
        name: &str,
        mount: &[String],
        kind: Kind,
        text: String,
    ) -> Result<(), LoadError> {
        self.bytes += text.len();
        if self.bytes > TOTAL_BYTES_MAX {
            return Err(LoadError::TooLarge { path: path.to_owned(), max: TOTAL_BYTES_MAX });
        }
        let full: Vec<&str> = mount.iter().map(String::as_str).chain([name]).collect();
        let file = Text { name: format!("{}{}", self.prefix, full.join("/")), text };
        match kind {
            Kind::Data(format) => {
                self.source.data.push(Data { file, mount: mount.to_vec(), format });
            }
            Kind::Test => self.source.tests.push(file),
            Kind::Module => self.source.modules.push(file),
        }
        Ok(())
    }
}

/// As in a folder, where hidden entries are skipped.
fn is_hidden(name: &str) -> bool {
    name.split('/').any(|part| part.starts_with('.'))
}

/// What a file is by its name.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Module,
    Test,
    Data(Format),
}

impl Kind {
    /// `None` for what is no part of a policy.
    fn of(name: &str) -> Result<Option<Self>, LoadError> {
        Ok(match name {
            "data.json" => Some(Self::Data(Format::Json)),
            "data.yaml" | "data.yml" => Some(Self::Data(Format::Yaml)),
            name if name.ends_with("_test.rego") => Some(Self::Test),
            name if name.ends_with(".rego") => Some(Self::Module),
            // As everywhere in OPA's layout it would be skipped, and somebody would not be revoked.
            "revocations.json" | "revocations.yaml" | "revocations.yml" => {
                let message = "is not read: write `revocations/data.json`".to_owned();
                return Err(Problem::in_file(name, message).into());
            }
            _ => None,
        })
    }

    fn bytes_max(self) -> usize {
        match self {
            Self::Data(_) => DATA_BYTES_MAX,
            Self::Module | Self::Test => FILE_BYTES_MAX,
        }
    }
}

fn read_text(path: &Path, max: usize) -> Result<String, LoadError> {
    let mut bytes = Vec::new();
    // One more than allowed, so that a file which grows meanwhile is bounded too.
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|source| LoadError::read(path, source))?;
    text(path, bytes, max)
}

fn text(path: &Path, bytes: Vec<u8>, max: usize) -> Result<String, LoadError> {
    if bytes.len() > max {
        return Err(LoadError::TooLarge { path: path.to_owned(), max });
    }
    String::from_utf8(bytes).map_err(|error| {
        LoadError::read(path, io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
    })
}

/// Lengths are part of it, so that no two sets of files have one digest.
fn digest_of<'t>(files: impl Iterator<Item = &'t Text>) -> Arc<str> {
    let mut context = digest::Context::new(&digest::SHA256);
    for file in files {
        for part in [&file.name, &file.text] {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part.as_bytes());
        }
    }
    let digest = context.finish();
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

impl Default for Source {
    fn default() -> Self {
        let none: Arc<str> = Arc::from("");
        Self {
            modules: vec![],
            tests: vec![],
            data: vec![],
            revision: Arc::clone(&none),
            enforced: Arc::clone(&none),
            content: none,
            bundle_revision: None,
            roots: None,
        }
    }
}

#[cfg(test)]
mod tests;
