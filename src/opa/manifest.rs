//! What a bundle says of itself in `.manifest`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::error::{BundleError, object, shown};

const BYTES_MAX: usize = 1024 * 1024;
const REVISION_BYTES_MAX: usize = 1024;
const ROOTS_MAX: usize = 1000;
/// What decisions are asked of.
const NEEDED: [&str; 2] = ["sidegate", "global"];

/// What a bundle says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    /// Whatever its makers count by.
    pub revision: Option<Arc<str>>,
    /// The paths that its packages and data lie in.
    pub roots: Vec<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Written {
    revision: String,
    roots: Option<Vec<String>>,
    rego_version: Option<i64>,
    file_rego_versions: Option<BTreeMap<String, i64>>,
    wasm: Option<Vec<IgnoredAny>>,
}

impl Manifest {
    /// Without a manifest a bundle may say anything.
    pub(super) fn read(bytes: Option<&[u8]>) -> Result<Self, BundleError> {
        let wrong = |why: &str| BundleError::Manifest(why.to_owned());
        let written: Written = match bytes {
            None => Written::default(),
            Some(bytes) if bytes.len() > BYTES_MAX => return Err(wrong("it is larger than 1 MiB")),
            Some(bytes) => object(bytes).map_err(BundleError::Manifest)?,
        };
        let other = |version: &i64| *version != 1;
        let files = written.file_rego_versions.unwrap_or_default();
        if written.rego_version.as_ref().is_some_and(other) || files.values().any(other) {
            return Err(wrong("it asks for another version of Rego than 1"));
        }
        if written.wasm.is_some_and(|resolvers| !resolvers.is_empty()) {
            return Err(wrong("it resolves by WebAssembly, which is not run here"));
        }
        let revision = written.revision;
        if revision.len() > REVISION_BYTES_MAX || revision.chars().any(char::is_control) {
            return Err(wrong("its revision is longer than 1024 bytes, or no plain text"));
        }
        let revision = (!revision.is_empty()).then(|| revision.into());
        Ok(Self { revision, roots: roots(written.roots)? })
    }
}

fn roots(written: Option<Vec<String>>) -> Result<Vec<Vec<String>>, BundleError> {
    let Some(written) = written else { return Ok(vec![Vec::new()]) };
    if written.len() > ROOTS_MAX {
        return Err(BundleError::Manifest(format!("it has more than {ROOTS_MAX} roots")));
    }
    let mut roots: Vec<Vec<String>> = written
        .iter()
        .map(|root| match root.trim_matches('/') {
            "" => Vec::new(),
            root => root.split('/').map(str::to_owned).collect(),
        })
        .collect();
    roots.sort();
    // What lies below another one stands behind it, and nothing else between.
    for pair in roots.windows(2) {
        if let [one, other] = pair
            && other.starts_with(one)
        {
            let (one, other) = (shown(&one.join("/")), shown(&other.join("/")));
            return Err(BundleError::Manifest(format!("its roots {one} and {other} overlap")));
        }
    }
    if !roots.iter().any(|root| NEEDED.iter().copied().take(root.len()).eq(root.iter())) {
        let needed = NEEDED.join("/");
        return Err(BundleError::Manifest(format!("its roots leave no room for `{needed}`")));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests;
