//! What is a bundle, and what OPA would read of it while we would not.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::policy;

const GLOBAL: &str = "package sidegate.global\n\nimport rego.v1\n\n\
    grant := {\"roles\": [], \"scopes\": data.scopes, \"tenant\": \"acme\"}\n";

fn packed(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        builder.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    let mut gzip = builder.into_inner().unwrap();
    gzip.flush().unwrap();
    gzip.finish().unwrap()
}

fn compiled(files: &[(&str, &str)]) -> Result<policy::Policy, String> {
    let source = open(&packed(files), None).map_err(|error| error.to_string())?;
    policy::compile(source).map_err(|error| error.to_string())
}

#[test]
fn a_bundle_has_the_revision_of_its_files_and_carries_that_of_its_makers() {
    let files = [("sidegate/global.rego", GLOBAL), ("data.json", "{\"scopes\": []}")];
    let plain = open(&packed(&files), None).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("sidegate")).unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    assert_eq!(plain.revision(), Source::read(folder.path()).unwrap().revision());
    assert_eq!(plain.bundle_revision(), None);

    let manifest = (".manifest", r#"{"revision": "v7"}"#);
    let told = open(&packed(&[files[0], files[1], manifest]), None).unwrap();
    assert_eq!(told.revision(), plain.revision());
    assert_eq!(told.bundle_revision().map(|it| &**it), Some("v7"));
    assert_eq!(policy::compile(told).unwrap().bundle_revision().map(|it| &**it), Some("v7"));
}

#[test]
fn packages_and_data_outside_the_roots_are_refused() {
    let roots = (".manifest", r#"{"roots": ["sidegate", "scopes"]}"#);
    let global = ("global.rego", GLOBAL);
    compiled(&[global, roots, ("data.json", "{\"scopes\": []}")]).unwrap();
    compiled(&[global, roots, ("scopes/data.yaml", "[]")]).unwrap();
    for (file, place) in [
        (("data.json", "{\"scopes\": [], \"roles\": {}}"), "`/roles`"),
        (("roles/data.yaml", "a: 1"), "`/roles`"),
        (("x.rego", "package other"), "x.rego:1"),
    ] {
        let refusal = compiled(&[global, roots, file]).unwrap_err();
        assert!(refusal.contains(place) && refusal.contains("outside the roots"), "{refusal}");
    }
}

#[test]
fn data_of_several_files_is_merged_and_must_not_contradict() {
    let global = ("global.rego", GLOBAL);
    let one = ("data.json", "{\"scopes\": [], \"a\": {\"x\": 1}}");
    compiled(&[global, one, ("a/data.yaml", "y: 2")]).unwrap();
    compiled(&[global, one, ("data.yaml", "z: 1")]).unwrap();
    for other in
        [("a/data.json", "{\"x\": 2}"), ("data.yaml", "scopes: [a]"), ("a/x/data.json", "{}")]
    {
        compiled(&[global, one, other]).expect_err(other.1);
    }
}

#[test]
fn what_opa_would_read_and_we_would_not_is_refused() {
    for (name, why) in [
        ("policy.wasm", "WebAssembly"),
        ("a/policy.wasm", "WebAssembly"),
        (".manifest.pb", "JSON"),
        ("a/.manifest", "at the top"),
        ("a/.signatures.json", "at the top"),
        (".hidden/deny.rego", "dot"),
        ("a/.b.rego", "dot"),
        (".a/data.json", "dot"),
    ] {
        let refusal = compiled(&[("global.rego", GLOBAL), (name, "{}")]).unwrap_err();
        assert!(refusal.contains(why), "{name}: {refusal}");
    }
    let refusal = compiled(&[("patch.json", "{\"data\": []}")]).unwrap_err();
    assert!(refusal.contains("delta bundle"), "{refusal}");
}

#[test]
fn other_files_are_nobodys_business() {
    let files = [
        ("global.rego", GLOBAL),
        ("data.json", "{\"scopes\": []}"),
        ("README.md", "# hello"),
        ("plan.json", "{}"),
        ("a/.gitignore", "*"),
        (".signatures.json", "not looked at"),
    ];
    compiled(&files).unwrap();
    let refusal = compiled(&[("README.md", "")]).unwrap_err();
    assert!(refusal.contains("holds no policy"), "{refusal}");
}
