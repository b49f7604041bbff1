//! Any bytes that an HTTP/1.1 client might send: following them never panics, and where they are
//! cut makes no difference.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sidegate::proxy::inspect_framing;

fuzz_target!(|bytes: &[u8]| {
    let whole = inspect_framing([bytes]);
    assert_eq!(whole, inspect_framing(bytes.chunks(1)));
    assert_eq!(whole, inspect_framing(bytes.chunks(7)));
});
