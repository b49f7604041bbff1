//! A gRPC descriptor set: any bytes come to methods or faults, and no method is told that asks for
//! an empty list of scopes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sidegate::api::{self, Needs};

fuzz_target!(|input: &[u8]| {
    for operation in api::descriptors(input).operations {
        if let Needs::AnyOf(lists) = &operation.needs {
            assert!(!lists.is_empty() && lists.iter().all(|list| !list.is_empty()));
        }
    }
});
