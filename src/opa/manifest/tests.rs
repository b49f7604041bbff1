//! Manifests as `opa build` writes them, and as they are refused.

use proptest::prelude::{any, proptest};

use super::*;

fn read(text: &str) -> Result<Manifest, String> {
    Manifest::read(Some(text.as_bytes())).map_err(|error| error.to_string())
}

fn path(text: &str) -> Vec<String> {
    text.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

#[test]
fn without_roots_a_bundle_may_say_anything() {
    let everything = vec![Vec::<String>::new()];
    assert_eq!(
        Manifest::read(None).unwrap(),
        Manifest { revision: None, roots: everything.clone() }
    );
    for text in ["{}", r#"{"roots": null}"#, r#"{"revision":"","roots":[""],"rego_version":1}"#] {
        assert_eq!(read(text).unwrap(), Manifest { revision: None, roots: everything.clone() });
    }
}

#[test]
fn a_manifest_says_its_revision_and_roots() {
    let manifest = read(
        r#"{"revision": "git:1f2e", "roots": ["/sidegate/global/", "roles"], "metadata": {"a": [1]},
            "rego_version": 1, "file_rego_versions": {"/a.rego": 1}, "wasm": [], "other": 1}"#,
    );
    let manifest = manifest.unwrap();
    assert_eq!(manifest.revision.as_deref(), Some("git:1f2e"));
    assert_eq!(manifest.roots, [path("roles"), path("sidegate/global")]);
}

#[test]
fn roots_that_overlap_or_leave_no_room_for_decisions_are_refused() {
    for roots in [r#"["", "a"]"#, r#"["sidegate", "sidegate/team"]"#, r#"["a", "sidegate", "a"]"#] {
        let refusal = read(&format!(r#"{{"roots": {roots}}}"#)).unwrap_err();
        assert!(refusal.contains("overlap"), "{refusal}");
    }
    read(r#"{"roots": ["sidegate", "sidegates", "a/b", "a/bc"]}"#).unwrap();
    for roots in [r#"[]"#, r#"["roles"]"#, r#"["sidegate/team"]"#, r#"["sidegate/global/grant"]"#] {
        let refusal = read(&format!(r#"{{"roots": {roots}}}"#)).unwrap_err();
        assert!(refusal.contains("no room for `sidegate/global`"), "{roots}: {refusal}");
    }
}

#[test]
fn what_would_not_be_obeyed_is_refused() {
    for (text, why) in [
        (r#"{"rego_version": 0}"#, "another version"),
        (r#"{"file_rego_versions": {"*.rego": 0}}"#, "another version"),
        (r#"{"wasm": [{"entrypoint": "a", "module": "/policy.wasm"}]}"#, "WebAssembly"),
        (r#"{"revision": "a\nb"}"#, "revision"),
        (r#"{"roots": "sidegate"}"#, "not usable"),
        (r#"{"roots": [], "roots": [""]}"#, "not usable"),
        ("[]", "not usable"),
        ("{} {}", "not usable"),
        ("", "not usable"),
    ] {
        let refusal = read(text).unwrap_err();
        assert!(refusal.contains(why), "{text}: {refusal}");
    }
    let long = format!(r#"{{"revision": "{}"}}"#, "x".repeat(1025));
    assert!(read(&long).unwrap_err().contains("1024"));
}

proptest! {
    #[test]
    fn no_text_is_too_much(text in any::<String>(), roots in "\\[(\"[a-b/]{0,4}\",?){0,4}\\]") {
        drop(read(&text));
        drop(read(&format!("{{\"roots\": {roots}}}")));
    }
}
