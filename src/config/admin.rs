//! `admin`: where operators talk to the running sidecar.

use std::path::{Path, PathBuf};

use super::file::AdminFile;
use super::problems::{Problems, shown};
use super::tree::Place;
use super::values;
use crate::net::Listen;

/// The admin interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// A Unix socket: who may connect is a question of its file's rights.
    pub listen: PathBuf,
    /// Where revocations made at run time are kept for the next start.
    pub keep: Option<PathBuf>,
}

/// `Some(None)` where there is none; `None` only when a problem was added.
pub(super) fn admin(
    file: Option<&AdminFile>,
    at: &Place<'_>,
    base: &Path,
    problems: &mut Problems,
) -> Option<Option<Admin>> {
    let Some(file) = file else { return Some(None) };
    let keep = file
        .keep
        .as_deref()
        .map(|text| at.key("keep").accept(problems, values::absolute_path(text, base)));
    let place = at.key("listen");
    let text = file.listen.as_deref()?;
    let listen = match place.accept(problems, values::listen(text))? {
        Listen::Unix(path) => path,
        Listen::Tcp(_) => {
            let message = format!(
                "{} is no Unix socket, and whoever reaches a port could revoke anybody",
                shown(text)
            );
            place.report(problems, message, "write `unix:/run/sidegate/admin.sock`");
            return None;
        }
    };
    let keep = match keep {
        Some(keep) => Some(keep?),
        None => None,
    };
    Some(Some(Admin { listen, keep }))
}
