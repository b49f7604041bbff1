//! Folders as they come from Git, from a ConfigMap, and from an enemy.

use std::fs;
use std::path::Path;

use super::{FILE_BYTES_MAX, Format, Source, read};
use crate::policy::LoadError;

fn write(root: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn names(source: &Source) -> (Vec<&str>, Vec<&str>, Vec<&str>) {
    (
        source.modules.iter().map(|it| it.name.as_str()).collect(),
        source.tests.iter().map(|it| it.name.as_str()).collect(),
        source.data.iter().map(|it| it.file.name.as_str()).collect(),
    )
}

#[test]
fn a_folder_is_mounted_as_opa_does_it() {
    let root = tempfile::tempdir().unwrap();
    write(
        root.path(),
        &[
            ("b.rego", "package b"),
            ("a/a.rego", "package a"),
            ("a/a_test.rego", "package a_test"),
            ("data.json", "{}"),
            ("teams/core/data.yaml", "x: 1"),
            ("other.json", "{}"),
            ("README.md", ""),
            (".hidden/x.rego", "package x"),
            (".x.rego", "package x"),
        ],
    );
    let source = read(root.path()).unwrap();
    assert_eq!(
        names(&source),
        (
            vec!["a/a.rego", "b.rego"],
            vec!["a/a_test.rego"],
            vec!["data.json", "teams/core/data.yaml"]
        )
    );
    assert_eq!(source.data[1].mount, ["teams", "core"]);
    assert_eq!(source.data[1].format, Format::Yaml);
    assert_eq!(source.revision.len(), 12);
}

#[test]
fn the_revision_follows_what_is_enforced_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path();
    write(path, &[("a.rego", "package a"), ("data.json", "{}"), ("a_test.rego", "1")]);
    let first = read(path).unwrap().revision;
    write(path, &[("a_test.rego", "2"), ("README.md", "x")]);
    assert_eq!(read(path).unwrap().revision, first);
    write(path, &[("data.json", "{ }")]);
    let second = read(path).unwrap().revision;
    assert_ne!(second, first);
    fs::rename(path.join("a.rego"), path.join("b.rego")).unwrap();
    assert_ne!(read(path).unwrap().revision, second);
}

#[test]
fn one_file_is_a_policy_too() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), &[("p.rego", "package a"), ("q.rego", "package b")]);
    let source = read(&root.path().join("p.rego")).unwrap();
    assert_eq!(names(&source), (vec!["p.rego"], vec![], vec![]));
}

#[cfg(unix)]
#[test]
fn a_config_map_is_read_once() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path();
    write(path, &[("..2026_01/p.rego", "package a"), ("..2026_01/data.json", "{}")]);
    std::os::unix::fs::symlink("..2026_01", path.join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/p.rego", path.join("p.rego")).unwrap();
    std::os::unix::fs::symlink("..data/data.json", path.join("data.json")).unwrap();
    assert_eq!(names(&read(path).unwrap()), (vec!["p.rego"], vec![], vec!["data.json"]));
}

#[cfg(unix)]
#[test]
fn a_circle_of_links_ends() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), &[("p.rego", "package a")]);
    std::os::unix::fs::symlink(root.path(), root.path().join("again")).unwrap();
    let error = read(root.path()).unwrap_err();
    assert!(matches!(error, LoadError::TooDeep { .. } | LoadError::Read { .. }), "{error:?}");
}

#[test]
fn what_is_too_much_or_unreadable_is_named() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path();
    assert!(matches!(read(&path.join("absent")), Err(LoadError::Read { .. })));
    assert!(matches!(read(path), Err(LoadError::Empty { .. })));
    fs::write(path.join("p.rego"), b"package \xff").unwrap();
    assert!(read(path).unwrap_err().full().contains("p.rego`: invalid utf-8"));
    fs::write(path.join("p.rego"), "#".repeat(FILE_BYTES_MAX)).unwrap();
    assert!(read(path).is_ok());
    fs::write(path.join("p.rego"), "#".repeat(FILE_BYTES_MAX + 1)).unwrap();
    assert!(matches!(read(path), Err(LoadError::TooLarge { .. })));
    fs::write(path.join("p.rego"), "").unwrap();
    for n in 0..1000 {
        fs::write(path.join(format!("x{n}.rego")), "").unwrap();
    }
    assert!(matches!(read(path), Err(LoadError::TooMany { .. })));
}

#[test]
fn a_file_that_looks_like_revocations_but_is_not_read_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path();
    fs::write(path.join("p.rego"), "package a").unwrap();
    for name in ["revocations.json", "revocations.yaml", "revocations.yml"] {
        fs::write(path.join(name), "{}").unwrap();
        let error = read(path).unwrap_err().to_string();
        assert_eq!(error, format!("{name}: is not read: write `revocations/data.json`"));
        fs::remove_file(path.join(name)).unwrap();
    }
    fs::create_dir(path.join("revocations")).unwrap();
    fs::write(path.join("revocations/data.json"), "{}").unwrap();
    assert_eq!(read(path).unwrap().data[0].mount, ["revocations"]);
}
