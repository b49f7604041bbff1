//! Archives as others make them, and as nobody should.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::{any, prop_assert, proptest};
use tar::{Builder, EntryType, Header};

use super::super::limits::{ENTRIES_MAX, UNPACKED_MAX};
use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// Names as they are given, also those that no tool would write.
fn header(name: &str, kind: EntryType, size: usize) -> Header {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size as u64);
    header.set_mode(0o600);
    header.set_cksum();
    header
}

fn tar(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, kind, bytes) in entries {
        builder.append(&header(name, *kind, bytes.len()), *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
    let entries: Vec<_> =
        files.iter().map(|(name, bytes)| (*name, EntryType::Regular, *bytes)).collect();
    gzip(&tar(&entries))
}

#[test]
fn files_are_found_by_their_plain_names() {
    let archive = gzip(&tar(&[
        ("/data.json", EntryType::Regular, b"{}"),
        ("./a/", EntryType::Directory, b""),
        ("./a/b.rego", EntryType::Regular, b"package a"),
        ("c/.hidden", EntryType::Regular, b""),
    ]));
    let files = unpack(&archive).unwrap();
    assert_eq!(files.keys().collect::<Vec<_>>(), ["a/b.rego", "c/.hidden", "data.json"]);
    assert_eq!(files["a/b.rego"], b"package a");
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in [
        "../a",
        "a/../b",
        "a/..",
        "//etc/passwd",
        "/../a",
        "a//b",
        "a/./b",
        ".",
        "..",
        "/",
        "a\\b",
        "a\nb",
        "a\u{1b}b",
        "./../a",
        ".//a",
    ] {
        let error = unpack(&packed(&[(name, b"x")])).unwrap_err();
        assert!(matches!(error, BundleError::Name(_)), "{name:?}: {error}");
        assert!(!error.to_string().contains(['\n', '\u{1b}']), "{error}");
    }
}

#[test]
fn links_and_devices_are_refused() {
    for kind in
        [EntryType::Symlink, EntryType::Link, EntryType::Char, EntryType::Block, EntryType::Fifo]
    {
        let archive = gzip(&tar(&[("a.rego", kind, b"")]));
        let error = unpack(&archive).unwrap_err();
        assert!(matches!(error, BundleError::Kind(_)), "{kind:?}: {error}");
    }
    // A file of holes unpacks to more than ever was in the archive.
    unpack(&gzip(&tar(&[("a.rego", EntryType::GNUSparse, b"")]))).unwrap_err();
}

#[test]
fn a_file_that_stands_twice_is_refused_however_it_is_spelled() {
    for (one, other) in [("a.rego", "a.rego"), ("a.rego", "/a.rego"), ("/a.rego", "./a.rego")] {
        let error = unpack(&packed(&[(one, b"x"), (other, b"y")])).unwrap_err();
        assert!(matches!(error, BundleError::Twice(_)), "{error}");
    }
}

#[test]
fn an_archive_that_was_cut_short_or_changed_is_refused_wherever_it_was() {
    let whole = packed(&[("a.rego", b"package a"), ("data.json", b"{\"a\": [1, 2, 3]}")]);
    unpack(&whole).unwrap();
    for end in 0..whole.len() {
        assert!(unpack(&whole[..end]).is_err(), "the first {end} bytes");
    }
    let mut changed = whole.clone();
    let last = changed.len() - 6;
    changed[last] ^= 1;
    assert!(matches!(unpack(&changed), Err(BundleError::Broken(_))), "its checksum");
    assert!(unpack(&[whole.as_slice(), b"more"].concat()).is_err(), "something behind it");
}

#[test]
fn an_archive_that_unpacks_out_of_proportion_is_refused() {
    let zeros = vec![0_u8; 64 * 1024 * 1024];
    let bomb = gzip(&tar(&[("data.json", EntryType::Regular, &zeros)]));
    assert!(bomb.len() < 100 * 1024, "{} bytes", bomb.len());
    assert!(matches!(unpack(&bomb), Err(BundleError::Bomb)));
    // The same beyond the end of the archive.
    let mut behind = tar(&[("a.rego", EntryType::Regular, b"x")]);
    behind.extend(&zeros);
    assert!(matches!(unpack(&gzip(&behind)), Err(BundleError::Bomb)));
}

#[test]
fn an_archive_is_bounded_in_bytes_and_entries() {
    let too_large = vec![0; COMPRESSED_MAX + 1];
    assert!(matches!(unpack(&too_large), Err(BundleError::TooLarge)));
    let names: Vec<String> = (0..=ENTRIES_MAX).map(|number| format!("{number}")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|it| (it.as_str(), &b""[..])).collect();
    assert_eq!(unpack(&packed(&files[..ENTRIES_MAX])).unwrap().len(), ENTRIES_MAX);
    assert!(matches!(unpack(&packed(&files)), Err(BundleError::TooMany)));
    assert!(UNPACKED_MAX > COMPRESSED_MAX as u64);
}

#[test]
fn a_header_that_promises_more_than_there_is_costs_nothing() {
    let mut bytes =
        header("a.rego", EntryType::Regular, 7 * 1024 * 1024 * 1024).as_bytes().to_vec();
    bytes.extend(b"short");
    assert!(unpack(&gzip(&bytes)).is_err());
}

proptest! {
    #[test]
    fn no_bytes_are_too_much(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        drop(unpack(&bytes));
        if let Ok(files) = unpack(&gzip(&bytes)) {
            prop_assert!(files.len() <= ENTRIES_MAX);
        }
    }

    #[test]
    fn no_archive_leads_out(
        names in proptest::collection::vec("(\\.\\./|\\./|/)?([a-c.]{0,3}/){0,3}[a-c.]{0,3}", 1..4),
    ) {
        let files: Vec<(&str, &[u8])> = names.iter().map(|it| (it.as_str(), &b"x"[..])).collect();
        if let Ok(files) = unpack(&packed(&files)) {
            for name in files.keys() {
                prop_assert!(name.split('/').all(|part| !matches!(part, "" | "." | "..")), "{name}");
            }
        }
    }
}
