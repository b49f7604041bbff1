//! The demo's private folder: sockets, configuration, policies, logs. It goes when the demo ends.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Removed when dropped, unless somebody is to look at it.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    keep: bool,
}

/// Values for the `${NAME}`s of a configuration file.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<String, String>);

impl Folder {
    pub(super) fn create() -> anyhow::Result<Self> {
        let name = format!("sidegate-demo-{:08x}", fastrand::u32(..));
        let path = std::env::temp_dir().join(name);
        // Fails if the name is taken, so that nobody can prepare it for us.
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("no private folder at `{}`", path.display()))?;
        Ok(Self { path, keep: false })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn policies(&self) -> PathBuf {
        self.path.join("policies")
    }

    pub(super) fn keep(&mut self) {
        self.keep = true;
    }

    /// Replaces a policy file at once: a reader sees the old one or the new one.
    pub(super) fn write_policy(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let (aside, place) = (self.path.join("next"), self.policies().join(name));
        fs::write(&aside, text)
            .and_then(|()| fs::rename(&aside, &place))
            .with_context(|| format!("cannot write `{}`", place.display()))
    }
}

/// Replaces a file at once by one that its owner alone can read.
pub(super) fn write_private(place: &Path, text: &str) -> anyhow::Result<()> {
    let mut aside = place.as_os_str().to_owned();
    aside.push(".next");
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&aside, place)
    };
    write().with_context(|| format!("cannot write `{}`", place.display()))
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(%error, folder = %self.path.display(), "cannot remove folder");
        }
    }
}

impl Names {
    pub(super) fn set(&mut self, name: &str, value: impl ToString) {
        self.0.insert(name.to_owned(), value.to_string());
    }

    /// A free port for every name in the texts that has no value yet.
    pub(super) fn find_ports<'a>(
        &mut self,
        texts: impl IntoIterator<Item = &'a str>,
    ) -> io::Result<()> {
        // All are held until the last is found, so that none is found twice.
        let mut held = Vec::new();
        for name in texts.into_iter().flat_map(names) {
            if !self.0.contains_key(name) {
                let listener = TcpListener::bind("127.0.0.1:0")?;
                self.set(name, listener.local_addr()?.port());
                held.push(listener);
            }
        }
        Ok(())
    }

    pub(super) fn port(&self, name: &str) -> anyhow::Result<u16> {
        let value = self.0.get(name).with_context(|| format!("no port is called `{name}`"))?;
        Ok(value.parse()?)
    }

    pub(super) fn fill(&self, text: &str) -> String {
        let known = self.0.iter();
        known.fold(text.to_owned(), |text, (name, value)| {
            text.replace(&format!("${{{name}}}"), value)
        })
    }
}

/// Every `${NAME}` in the text.
pub(super) fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split("${").skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name)
}
