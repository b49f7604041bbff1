//! Any text as a request target: never a panic, and a normal form that stays as it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sidegate::authz::Target;

fuzz_target!(|text: &str| {
    let Ok(target) = Target::parse(text) else { return };
    let again = Target::parse(target.as_str()).expect("the normal form is read again");
    assert!(again.is_unchanged());
    assert_eq!((again.path(), again.query()), (target.path(), target.query()));
    assert_eq!(target.is_unchanged(), target.as_str() == text);
    let path = target.path().to_ascii_lowercase();
    assert!(path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()));
    for bad in ["//", "/../", "/./", "%2f", "%2e", "%5c", "%3b", "%00", "\\", ";", "#", "?"] {
        assert!(!path.contains(bad), "{bad} in {path}");
    }
    assert!(!path.ends_with("/..") && !path.ends_with("/."));
    assert!(!target.as_str().contains(['\r', '\n', ' ', '#']));
});
