//! From the bytes of an archive to a policy that may be offered: unpacked, believed, understood.

use std::path::Path;

use super::archive::{self, Files};
use super::error::{BundleError, shown};
use super::limits::COMPRESSED_MAX;
use super::manifest::Manifest;
use super::settings::Signer;
use super::signature::{self, SIGNATURES};
use crate::files;
use crate::policy::Source;
use crate::token::KeySet;

const MANIFEST: &str = ".manifest";

/// A bundle on disk, as an archive (`.tar.gz`). Whoever could put it there is believed: signatures
/// are for what comes over a network. Blocks.
pub fn read(path: &Path) -> Result<Source, BundleError> {
    open(&read_file(path)?, None)
}

/// Whether a path is that of an archive, by its name.
pub fn is_archive(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".tar.gz") || name.ends_with(".tgz")
}

pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, BundleError> {
    Ok(files::read(path, COMPRESSED_MAX)?)
}

/// Without somebody who has to have signed it, signatures are not looked at. Blocks.
pub(super) fn open(
    packed: &[u8],
    signed_by: Option<(&Signer, &KeySet)>,
) -> Result<Source, BundleError> {
    let mut files = archive::unpack(packed)?;
    match signed_by {
        Some((signer, keys)) => signature::verify(&mut files, signer, keys)?,
        None => drop(files.remove(SIGNATURES)),
    }
    if files.keys().any(|name| base(name) == "patch.json") {
        return Err(BundleError::Delta);
    }
    supported(&files)?;
    let manifest = files.remove(MANIFEST);
    let manifest = Manifest::read(manifest.as_deref())?;
    let source = Source::from_files(files)?;
    Ok(source.of_bundle(manifest.revision, manifest.roots))
}

/// What OPA would read and we would not is refused: a rule that is skipped denies nothing.
fn supported(files: &Files) -> Result<(), BundleError> {
    for name in files.keys() {
        let hidden = name.split('/').any(|part| part.starts_with('.'));
        let base = base(name);
        let data = matches!(base, "data.json" | "data.yaml" | "data.yml");
        let why = if base == "policy.wasm" {
            "WebAssembly is not run here"
        } else if name.ends_with(".manifest.pb") {
            "a manifest has to be JSON"
        } else if name != MANIFEST && name.ends_with(MANIFEST) {
            "there is one manifest, and it stands at the top"
        } else if name.ends_with("signatures.json") {
            "there is one set of signatures, and it stands at the top"
        } else if hidden && (data || base.ends_with(".rego")) {
            "names that begin with a dot are not read"
        } else {
            continue;
        };
        return Err(BundleError::Unsupported { name: shown(name), why });
    }
    Ok(())
}

fn base(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

#[cfg(test)]
mod tests;
