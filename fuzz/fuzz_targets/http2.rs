//! What a stranger may send on an HTTP/2 connection: no panic, and an end.

#![no_main]

use libfuzzer_sys::fuzz_target;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const NO_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

fuzz_target!(|frames: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let bytes = [PREFACE, NO_SETTINGS, frames].concat();
    runtime.expect("a runtime").block_on(sidegate::http2::inspect(&bytes));
});
