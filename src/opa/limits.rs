//! The bounds of an archive.

/// As it comes.
pub(super) const COMPRESSED_MAX: usize = 32 * 1024 * 1024;
/// All of its files together.
pub(super) const UNPACKED_MAX: u64 = 128 * 1024 * 1024;
/// Files and folders.
pub(super) const ENTRIES_MAX: usize = 2_000;
