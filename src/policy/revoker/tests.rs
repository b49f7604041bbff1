//! Revoked, lifted, lapsed, kept and read again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::prelude::{Just, Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::{HELD_MAX, Revoker};
use crate::live::Live;
use crate::policy::{
    RevocationEntry, RevokeError, RevokedBy, Rules, Source, Terms, compile, rules,
};

fn entry(list: RevokedBy, text: &str) -> RevocationEntry {
    RevocationEntry::parse(list, text).unwrap()
}

fn robot() -> RevocationEntry {
    entry(RevokedBy::Subject, "robot")
}

fn terms(until: Option<Duration>) -> Terms {
    let since = SystemTime::now();
    let until = until.map(|life| since + life);
    Terms { since, until, reason: Some("laptop lost".to_owned()), by: "uid 1000".to_owned() }
}

fn open(keep: Option<&Path>) -> (Revoker, Live<Rules>) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.rego"), "package sidegate.global\ngrant := {}").unwrap();
    let (desk, live) = rules(compile(Source::read(folder.path()).unwrap()).unwrap());
    (Revoker::open(desk, keep.map(Path::to_owned)).unwrap(), live)
}

#[test]
fn what_is_revoked_is_in_force_at_once_and_until_it_is_lifted() {
    let (revoker, rules) = open(None);
    let entries = [robot(), entry(RevokedBy::SpiffeId, "spiffe://Gone/*")];
    revoker.revoke(&entries, &terms(None)).unwrap();
    assert!(rules.load().revoked.subject("robot"));
    assert_eq!(rules.load().revoked.spiffe_id("spiffe://gone/a/b"), Some("spiffe://gone/*"));
    // However it is written, it is the same entry.
    let lifted = revoker.lift(&[entry(RevokedBy::SpiffeId, "spiffe://gone/*")], "uid 0").unwrap();
    assert_eq!(lifted.len(), 1);
    assert_eq!(rules.load().revoked.spiffe_id("spiffe://gone/a/b"), None);
    assert!(rules.load().revoked.subject("robot"), "others stay");
    assert_eq!(revoker.lift(&entries, "uid 0").unwrap(), [robot()]);
    assert!(rules.load().revoked.is_empty());
    assert_eq!(revoker.lift(&entries, "uid 0").unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn what_has_an_end_lapses_by_itself() {
    let (revoker, rules) = open(None);
    let mut changes = rules.changes();
    tokio::spawn(revoker.clone().lapse());
    revoker.revoke(&[robot()], &terms(Some(Duration::from_millis(50)))).unwrap();
    revoker.revoke(&[entry(RevokedBy::Token, "job-7")], &terms(None)).unwrap();
    while !rules.load().revoked.is_empty() && rules.load().revoked.subject("robot") {
        changes.changed().await;
    }
    assert!(rules.load().revoked.token(Some("job-7"), ""));
    assert_eq!(revoker.count(), 1);
}

#[test]
fn what_could_not_be_read_at_the_next_start_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("revocations.json");
    let (first, _) = open(Some(&path));
    let long = |at: usize| entry(RevokedBy::Subject, &format!("{}{at:04}", "\"".repeat(2044)));
    let half: Vec<_> = (0..7_600).map(long).collect();
    first.revoke(&half, &terms(None)).unwrap();
    let more: Vec<_> = (7_600..HELD_MAX).map(long).collect();
    let refused = first.revoke(&more, &terms(None));
    assert!(matches!(refused, Err(RevokeError::TooLong)), "{refused:?}");
    assert_eq!(first.count(), half.len(), "all of it or nothing");

    let (second, rules) = open(Some(&path));
    assert_eq!(second.count(), half.len());
    assert!(rules.load().revoked.subject(long(0).text()));
}

#[test]
fn a_restart_changes_nothing_but_what_has_lapsed_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("revocations.json");
    let (first, _) = open(Some(&path));
    first.revoke(&[robot()], &terms(None)).unwrap();
    let lasting = entry(RevokedBy::Serial, "00:AB");
    first.revoke(std::slice::from_ref(&lasting), &terms(Some(Duration::from_secs(60)))).unwrap();
    let over = Terms { until: Some(SystemTime::UNIX_EPOCH), ..terms(None) };
    first.revoke(&[entry(RevokedBy::Token, "job-7")], &over).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let (second, rules) = open(Some(&path));
    let revoked = Arc::clone(&rules.load().revoked);
    assert!(revoked.subject("robot") && revoked.serial("ab"));
    assert!(!revoked.token(Some("job-7"), ""));
    let kept = second.list();
    assert_eq!(kept.len(), 2);
    for (entry, terms) in &kept {
        assert_eq!(terms.until.is_some(), *entry == lasting);
        assert_eq!((terms.reason.as_deref(), &*terms.by), (Some("laptop lost"), "uid 1000"));
    }
    // Times do not drift from start to start.
    let (third, _) = open(Some(&path));
    assert_eq!(third.list(), kept);
}

#[test]
fn a_file_that_is_not_what_we_wrote_refuses_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("revocations.json");
    let document = |inside: &str| format!("{{\"version\": 1, \"revocations\": [{inside}]}}");
    let good = r#"{"list": "subjects", "entry": "robot", "since": 1, "until": null,
        "reason": null, "by": "uid 0"}"#;
    let check = |text: &str| {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        Revoker::check(&path)
    };
    check(&document(good)).unwrap();
    for (text, says) in [
        (String::new(), "empty"),
        ("{".to_owned(), "EOF"),
        (document("{}"), "missing field"),
        (document(&good.replace("subjects", "people")), "no list of that name"),
        (document(&good.replace("robot", "")), "is empty"),
        (document(&good.replace("\"by\"", "\"bye\"")), "unknown field"),
        (document(&good.replace("since\": 1", "since\": 18446744073709551615")), "beyond"),
        (document(good).replace("version\": 1", "version\": 2"), "version 2"),
        (document(&good.replace("subjects", "spiffe_ids")), "not a SPIFFE ID"),
    ] {
        let error = check(&text).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        let told = format!("{error}: {source:?}");
        assert!(told.contains(says), "{text}: {told}");
    }
    fs::write(&path, document(good)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).unwrap();
    assert!(Revoker::check(&path).is_err(), "others could lift what it revokes");
}

#[test]
fn a_file_that_cannot_be_written_is_no_reason_to_let_anybody_in() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("below");
    fs::create_dir(&below).unwrap();
    let (revoker, rules) = open(Some(&below.join("revocations.json")));
    fs::remove_dir_all(&below).unwrap();
    let error = revoker.revoke(&[robot()], &terms(None)).unwrap_err();
    assert!(matches!(error, RevokeError::NotKept(_)), "{error}");
    assert!(rules.load().revoked.subject("robot"));
}

#[test]
fn there_is_a_most_and_it_changes_nothing_to_go_beyond() {
    let (revoker, rules) = open(None);
    let number = |n: usize| entry(RevokedBy::Token, &format!("token-{n}"));
    let most: Vec<_> = (0..HELD_MAX).map(number).collect();
    revoker.revoke(&most, &terms(None)).unwrap();
    revoker.revoke(&most, &terms(None)).unwrap();
    let error = revoker.revoke(&[robot()], &terms(None)).unwrap_err();
    assert!(matches!(error, RevokeError::TooMany), "{error}");
    assert!(!rules.load().revoked.subject("robot"));
}

fn written() -> impl Strategy<Value = (RevokedBy, String)> {
    prop_oneof![
        (Just(RevokedBy::SpiffeId), "spiffe://[a-zA-Z]{1,5}(/[a-zA-Z0-9._-]{1,4}){1,3}(/\\*)?"),
        (Just(RevokedBy::SpiffeId), "spiffe://[a-z]{1,5}/\\*"),
        (Just(RevokedBy::Subject), "\\PC{1,20}"),
        (Just(RevokedBy::Token), "[0-9a-fA-F]{32}|[!-~]{1,20}"),
        (Just(RevokedBy::Serial), "0{0,3}[0-9a-fA-F]{0,20}0|([0-9a-fA-F]{2}:){0,5}[0-9A-F]{2}"),
    ]
}

proptest! {
    #[test]
    fn what_is_taken_once_is_taken_again_as_the_same((list, text) in written()) {
        if let Ok(entry) = RevocationEntry::parse(list, &text) {
            prop_assert_eq!(RevocationEntry::parse(list, entry.text()), Ok(entry));
        }
    }

    #[test]
    fn a_prefix_revokes_what_is_below_it_and_nothing_beside(
        above in "[a-z]{1,4}(/[a-z]{1,3}){0,3}",
        id in "[a-z]{1,4}(/[a-z]{1,3}){1,5}",
        below in "(/[a-z]{1,3}){1,3}",
    ) {
        let prefix = entry(RevokedBy::SpiffeId, &format!("spiffe://{above}/*"));
        let revoked: crate::policy::Revocations = [&prefix].into_iter().collect();
        let is_below = id.strip_prefix(&above).is_some_and(|rest| rest.starts_with('/'));
        prop_assert_eq!(revoked.spiffe_id(&format!("spiffe://{id}")).is_some(), is_below);
        let inside = format!("spiffe://{above}{below}");
        prop_assert!(revoked.spiffe_id(&inside).is_some());
    }
}
