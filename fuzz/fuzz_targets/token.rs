//! Any text as a token, and as claims whose signature held: never a panic, and never a life of more
//! than an hour and the leeway.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let [machine, svid] = sidegate::token::inspect_token(text);
    let longest = Duration::from_secs(3600 + 30);
    assert!(machine.is_none_or(|left| !left.is_zero() && left <= longest));
    assert!(svid.is_none_or(|left| !left.is_zero() && left <= longest));
    assert!(machine.is_none() || svid.is_none(), "one token, two kinds");
});
