//! How it stands with a bundle, in the words of OPA's Status API.

use std::sync::Arc;
use std::time::SystemTime;

/// How it stands with a bundle.
#[derive(Debug, Clone, Default)]
pub struct BundleStatus {
    pub name: String,
    /// What its makers count it by: `revision` of the manifest of the bundle in force.
    pub active_revision: Option<Arc<str>>,
    /// What we count it by: made from the content of the bundle in force.
    pub policy_revision: Option<Arc<str>>,
    /// Of the archive that was judged last.
    pub etag: Option<String>,
    /// Of the archive in force, in bytes.
    pub size: Option<usize>,
    /// When it was last asked for or read.
    pub last_request: Option<SystemTime>,
    /// When there was last an answer that makes sense, new or not.
    pub last_successful_request: Option<SystemTime>,
    /// When an archive last came whole.
    pub last_successful_download: Option<SystemTime>,
    /// When one was last put in force.
    pub last_successful_activation: Option<SystemTime>,
    /// Why what was tried last is not in force; `None` if it is.
    pub trouble: Option<Trouble>,
    /// What is in force is the archive that was kept: the server has not answered yet.
    pub from_kept: bool,
    pub downloads: Downloads,
}

/// Why a bundle is not in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub message: String,
    /// One for each problem of a policy.
    pub errors: Vec<String>,
    /// Of an answer that is no bundle.
    pub http_code: Option<u16>,
    /// It came and was refused: the server has to offer another one.
    pub refused: bool,
}

/// Attempts by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Downloads {
    /// Something was put in force.
    pub activated: u64,
    /// Nothing new.
    pub unchanged: u64,
    /// Something came, and was refused.
    pub refused: u64,
    /// Nothing came.
    pub failed: u64,
}

impl BundleStatus {
    /// OPA's only code for trouble with a bundle.
    pub const CODE: &'static str = "bundle_error";

    pub(super) fn of(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}

impl Downloads {
    /// With the label's value.
    pub fn by_result(&self) -> [(&'static str, u64); 4] {
        [
            ("activated", self.activated),
            ("unchanged", self.unchanged),
            ("refused", self.refused),
            ("failed", self.failed),
        ]
    }
}

impl Trouble {
    pub(super) fn refused(message: String) -> Self {
        let mut errors: Vec<String> = message.lines().map(str::to_owned).collect();
        if errors.len() == 1 {
            errors.clear();
        }
        Self { message, errors, http_code: None, refused: true }
    }

    pub(super) fn failed(message: String, http_code: Option<u16>) -> Self {
        Self { message, errors: Vec::new(), http_code, refused: false }
    }
}
