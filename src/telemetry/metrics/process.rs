//! The process itself, as the kernel tells in `/proc/self`. Where it does not, nothing is shown.

use std::fs;

/// Resident memory in bytes.
pub(super) fn resident_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Open file descriptors.
pub(super) fn open_files() -> Option<u64> {
    let entries = fs::read_dir("/proc/self/fd").ok()?.count();
    // One of them is the folder that we are reading.
    u64::try_from(entries.saturating_sub(1)).ok()
}
