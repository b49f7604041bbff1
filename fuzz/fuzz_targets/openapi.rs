//! An OpenAPI document: any bytes come to operations or faults, and no operation is told that asks
//! for an empty list of scopes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sidegate::api::{self, Call, Needs};

fuzz_target!(|input: &[u8]| {
    let contract = api::openapi(input);
    for operation in contract.operations {
        if let Needs::AnyOf(lists) = &operation.needs {
            assert!(!lists.is_empty() && lists.iter().all(|list| !list.is_empty()));
        }
        let Call::Http { templates, .. } = operation.call else { panic!("not HTTP") };
        assert!(templates.iter().all(|template| template.starts_with('/')));
    }
});
