//! The configuration file and its environment: any text gets a configuration or problems.

#![no_main]

use libfuzzer_sys::fuzz_target;

// The first line is the value of a variable, the rest is the file.
fuzz_target!(|input: &str| {
    let (value, text) = input.split_once('\n').unwrap_or(("", input));
    let variables = [
        ("SPIFFE_ENDPOINT_SOCKET".to_owned(), "unix:///run/api.sock".to_owned()),
        ("SIDEGATE__INBOUND__0__ROUTES__0".to_owned(), value.to_owned()),
    ];
    if let Err(problems) = sidegate::config::parse(text, "fuzz.yaml", variables.into_iter()) {
        assert!(!problems.is_empty());
        assert!(!problems.to_string().is_empty());
    }
});
