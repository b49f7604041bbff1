//! Any bytes as a JWK set: never a panic, never an empty set, and never a key for both kinds of
//! owner.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let [issuer, trust_domain] = sidegate::token::inspect_jwks(bytes);
    let keys = issuer.unwrap_or(1) + trust_domain.unwrap_or(1);
    assert!(issuer != Some(0) && trust_domain != Some(0) && keys <= 257);
});
