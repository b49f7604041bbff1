//! A policy's files on their way to the process that examines them: one line that lists names and
//! lengths, and what a bundle says of itself, then the files one after another.

use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::error::LoadError;
use super::source::{FILES_MAX, Source, TOTAL_BYTES_MAX};

const LIST_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// What a bundle says besides its files.
#[derive(Serialize, Deserialize)]
struct Manifest {
    revision: Option<Arc<str>>,
    roots: Vec<Vec<String>>,
}

pub(super) fn write(source: &Source, to: &mut impl Write) -> io::Result<()> {
    let list: Vec<(&str, usize)> =
        source.texts().map(|file| (file.name.as_str(), file.text.len())).collect();
    let revision = source.bundle_revision.clone();
    let manifest = source.roots.clone().map(|roots| Manifest { revision, roots });
    serde_json::to_writer(&mut *to, &(list, manifest))?;
    to.write_all(b"\n")?;
    for file in source.texts() {
        to.write_all(file.text.as_bytes())?;
    }
    to.flush()
}

pub(super) fn read(from: &mut impl BufRead) -> Result<Source, LoadError> {
    let broken = |what: String| LoadError::Examiner { what };
    let mut line = Vec::new();
    from.by_ref()
        .take(LIST_BYTES_MAX)
        .read_until(b'\n', &mut line)
        .map_err(|error| broken(error.to_string()))?;
    let (list, manifest): (Vec<(String, usize)>, Option<Manifest>) =
        serde_json::from_slice(&line).map_err(|error| broken(error.to_string()))?;
    let total = list.iter().fold(0_usize, |total, (_, length)| total.saturating_add(*length));
    if list.len() > FILES_MAX || total > TOTAL_BYTES_MAX {
        return Err(broken("there is too much of it".to_owned()));
    }
    let mut files = Vec::with_capacity(list.len());
    for (name, length) in list {
        let mut bytes = vec![0; length];
        from.read_exact(&mut bytes).map_err(|error| broken(error.to_string()))?;
        files.push((name, bytes));
    }
    let source = Source::restore(files)?;
    Ok(match manifest {
        Some(Manifest { revision, roots }) => source.of_bundle(revision, roots),
        None => source,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_parcel_or_none(list in "[\\[\\]\",0-9a-z.]{0,40}", rest: Vec<u8>) {
            let parcel = [b"[", list.as_bytes(), b",null]\n", &rest].concat();
            if let Ok(source) = read(&mut parcel.as_slice()) {
                let mut again = Vec::new();
                write(&source, &mut again).unwrap();
                prop_assert_eq!(read(&mut again.as_slice()).unwrap().content, source.content);
            }
        }

        #[test]
        fn whatever_is_sent_arrives(texts in prop::collection::btree_map("[a-z]{1,8}", ".*", 1..6)) {
            let files = texts.iter().map(|(name, text)| {
                (format!("{name}.rego"), text.as_bytes().to_vec())
            });
            let source = Source::from_files(files).unwrap();
            let mut parcel = Vec::new();
            write(&source, &mut parcel).unwrap();
            let arrived = read(&mut parcel.as_slice()).unwrap();
            prop_assert_eq!(arrived.content, source.content);
            parcel.pop();
            prop_assert!(read(&mut parcel.as_slice()).is_err() || texts.values().all(String::is_empty));
        }
    }

    #[test]
    fn what_arrives_is_what_was_sent() {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("p.rego", "package p"),
            ("p_test.rego", "package p_test"),
            ("deep/er/data.json", "{\"a\": \"\u{e4}\\n\"}"),
            ("deep/data.yaml", "b: 1\n"),
        ] {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let source = Source::read(root.path()).unwrap();
        let mut parcel = Vec::new();
        write(&source, &mut parcel).unwrap();
        let arrived = read(&mut parcel.as_slice()).unwrap();
        assert_eq!(arrived.content, source.content);
        assert_eq!(arrived.revision, source.revision);
        assert_eq!(arrived.tests.len(), 1);
        let mounts = |source: &Source| -> Vec<_> {
            source.data.iter().map(|data| data.mount.clone()).collect()
        };
        assert_eq!(mounts(&arrived), mounts(&source));
    }

    #[test]
    fn a_bundle_arrives_with_its_roots() {
        let files = [("lib/p.rego".to_owned(), b"package lib".to_vec())];
        let roots = vec![vec!["lib".to_owned()], vec!["more".to_owned(), "data".to_owned()]];
        for revision in [None, Some(Arc::from("v7"))] {
            let source = Source::from_files(files.clone()).unwrap();
            let source = source.of_bundle(revision.clone(), roots.clone());
            let mut parcel = Vec::new();
            write(&source, &mut parcel).unwrap();
            let arrived = read(&mut parcel.as_slice()).unwrap();
            assert_eq!(arrived.content, source.content);
            assert_eq!((arrived.bundle_revision, arrived.roots), (revision, Some(roots.clone())));
        }
    }

    #[test]
    fn a_single_file_arrives_whatever_its_name() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(".hidden.rego");
        fs::write(&path, "package p").unwrap();
        let source = Source::read(&path).unwrap();
        let mut parcel = Vec::new();
        write(&source, &mut parcel).unwrap();
        assert_eq!(read(&mut parcel.as_slice()).unwrap().content, source.content);
    }

    #[test]
    fn a_parcel_that_is_cut_short_or_too_big_is_no_policy() {
        for parcel in [
            "",
            "[",
            "[[[\"p.rego\",9]],null]\npackage",
            "[[[\"p.rego\",9]],null]",
            "[[[\"p.rego\",99999999999]],null]\n",
            "[[[\"p.rego\",-1]],null]\n",
        ] {
            let error = read(&mut parcel.as_bytes()).unwrap_err();
            assert!(!error.is_about_the_policy(), "{parcel:?}: {error}");
        }
    }
}
