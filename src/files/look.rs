//! What stands at a path now: enough to notice that something changed, without reading it.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const ENTRIES_MAX: usize = 10_000;
const DEPTH_MAX: usize = 16;

/// What to look at.
#[derive(Debug, Clone)]
pub(super) enum Subject {
    /// Each by itself.
    Files(Vec<PathBuf>),
    /// A folder with all that is in it, or a single file. What is hidden does not count, so the
    /// `..data` links of a Kubernetes volume are met once, by their plain names.
    Tree(PathBuf),
}

/// Everything that was found, to be compared.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sight {
    entries: Vec<(PathBuf, Option<Mark>)>,
    /// Where to listen for changes. A place that is another one now needs a new watch.
    pub(super) places: BTreeSet<Place>,
    /// The names under which changes of the files themselves are told.
    pub(super) names: BTreeSet<PathBuf>,
}

/// A file or folder to watch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// With everything below it.
    pub(super) deep: bool,
    identity: (u64, u64),
}

/// One state of one file. The change time also tells of rights, and of a file that was put back to
/// an old time.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mark {
    identity: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Subject {
    /// What cannot be listed or looked at counts as absent; it comes up as an error when it is
    /// read. Blocks.
    pub(super) fn look(&self) -> Sight {
        let mut sight = Sight::default();
        match self {
            Self::Files(paths) => paths.iter().for_each(|path| sight.file(path)),
            Self::Tree(path) => sight.tree(path),
        }
        sight
    }
}

impl Sight {
    /// Watched are the folders in which the file, and the file behind its links, are replaced: the
    /// watch of a file itself ends with that file.
    fn file(&mut self, path: &Path) {
        self.note(path);
        self.name(path);
        if let Ok(real) = fs::canonicalize(path)
            && real != path
        {
            self.name(&real);
        }
    }

    fn name(&mut self, path: &Path) {
        let folder = match path.parent() {
            Some(folder) if folder == Path::new("") => Path::new("."),
            Some(folder) => folder,
            None => return,
        };
        if let Some(name) = path.file_name() {
            self.names.insert(folder.join(name));
        }
        self.place(folder, false);
    }

    fn tree(&mut self, path: &Path) {
        self.place(path, true);
        let mut folders = vec![(path.to_owned(), 0)];
        self.note(path);
        while let Some((folder, depth)) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries.flatten() {
                if self.entries.len() >= ENTRIES_MAX {
                    break;
                }
                let path = entry.path();
                let hidden = entry.file_name().to_string_lossy().starts_with('.');
                if !hidden && self.note(&path) && depth < DEPTH_MAX {
                    folders.push((path, depth + 1));
                }
            }
        }
        // Folders list their entries in no order.
        self.entries.sort();
    }

    /// Whether it is a folder.
    fn note(&mut self, path: &Path) -> bool {
        let metadata = fs::metadata(path).ok();
        self.entries.push((path.to_owned(), metadata.as_ref().map(Mark::of)));
        metadata.is_some_and(|it| it.is_dir())
    }

    fn place(&mut self, path: &Path, deep: bool) {
        if let Ok(metadata) = fs::metadata(path) {
            self.places.insert(Place {
                path: path.to_owned(),
                deep,
                identity: identity(&metadata),
            });
        }
    }
}

impl Mark {
    fn of(metadata: &Metadata) -> Self {
        Self {
            identity: identity(metadata),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
