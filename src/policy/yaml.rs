//! Data files in YAML: read within bounds, because a bundle is read before it is known whose it is.

use regorus::Value;
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};
use serde_saphyr::{MessageFormatter, NonFiniteFloatPolicy};

/// Of lists and objects within each other, in either style.
const DEPTH_MAX: usize = 64;
/// A large data file has as many lines; more belongs into JSON.
const NODES_MAX: usize = 2_000_000;
const BYTES_MAX: usize = 32 * 1024 * 1024;

/// What the document says; an error is one line. Nothing in it stands for something else in it, so
/// what is built is never much larger than the text.
pub(super) fn read(text: &str) -> Result<Value, String> {
    if text.len() > BYTES_MAX {
        return Err(format!("is larger than {BYTES_MAX} bytes"));
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_events: 2 * NODES_MAX,
            max_nodes: NODES_MAX,
            max_total_scalar_bytes: BYTES_MAX,
            max_anchors: 0,
            max_aliases: 0,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        emit_comments: false,
        non_finite_float_policy: NonFiniteFloatPolicy::Reject,
        reject_unsupported_tags: true,
        strict_booleans: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let error = error.without_snippet();
        let message = serde_saphyr::UserMessageFormatter.format_message(error).into_owned();
        let message = message.lines().next().unwrap_or_default();
        match error.location() {
            Some(at) => format!("not readable as YAML at line {}: {message}", at.line()),
            None => format!("not readable as YAML: {message}"),
        }
    })
}

#[cfg(test)]
mod tests;
