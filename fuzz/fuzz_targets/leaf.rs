//! Any bytes as a peer's leaf certificate: never a panic, and never an ID that reads differently.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|der: &[u8]| {
    if let Ok(id) = sidegate::tls::inspect_leaf(der) {
        let uri = id.to_string();
        assert!(uri.len() <= 2048 && uri.starts_with("spiffe://") && !id.path().is_empty());
        assert_eq!(uri.get(9..9 + id.trust_domain_name().len()), Some(id.trust_domain_name()));
        assert!(!id.trust_domain_name().bytes().any(|byte| byte.is_ascii_uppercase()));
    }
});
