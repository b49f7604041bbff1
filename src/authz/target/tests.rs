//! Tables and properties of request targets.

use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use super::{TARGET_MAX, Target, TargetError};

#[test]
fn a_normal_target_is_kept_as_it_came() {
    for text in [
        "/",
        "/v1/users/7",
        "/v1/users/",
        "/v1/users?x=1&y=%2F%2e%2e//;&z=../..\\",
        "/a?",
        "/a?b?c",
        "/a%20b/%C3%A4/%25",
        "/acme.billing.v1.Billing/Charge",
        "/...",
        "/a..b/.hidden",
        "/~user/@me:x/a+b,c=(d)!$&'*",
    ] {
        let target = Target::parse(text).unwrap();
        assert!(target.is_unchanged(), "{text}");
        assert_eq!(target.as_str(), text);
        assert_eq!(target.into_changed(), None);
    }
}

#[test]
fn path_and_query_are_told_apart() {
    let target = Target::parse("/a/b?c=d?e").unwrap();
    assert_eq!((target.path(), target.query()), ("/a/b", Some("c=d?e")));
    let target = Target::parse("/a%7Eb/?").unwrap();
    assert_eq!((target.path(), target.query()), ("/a~b/", Some("")));
    assert_eq!(target.segments().collect::<Vec<_>>(), ["a~b", ""]);
    assert_eq!(Target::parse("/").unwrap().query(), None);
}

#[test]
fn equivalent_spellings_become_one() {
    for (given, normal) in [
        ("/%61dmin", "/admin"),
        ("/%7euser", "/~user"),
        ("/a%c3%a4", "/a%C3%A4"),
        ("/a%2Db%5f%2A", "/a-b_*"),
        ("/projects%3Apurge", "/projects:purge"),
        ("/a%40b.example", "/a@b.example"),
        ("/x%2b/%41?q=%61", "/x%2B/A?q=%61"),
        ("/a%2eb", "/a.b"),
    ] {
        let target = Target::parse(given).unwrap();
        assert!(!target.is_unchanged());
        assert_eq!(target.as_str(), normal);
        assert_eq!(target.into_changed().unwrap(), normal);
    }
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    let too_long = format!("/{}", "a".repeat(TARGET_MAX));
    let table = [
        ("", TargetError::NotOriginForm),
        ("*", TargetError::NotOriginForm),
        ("a/b", TargetError::NotOriginForm),
        ("?a", TargetError::NotOriginForm),
        ("http://host/a", TargetError::NotOriginForm),
        ("/..", TargetError::DotSegment),
        ("/a/../b", TargetError::DotSegment),
        ("/a/./b", TargetError::DotSegment),
        ("/a/.", TargetError::DotSegment),
        ("/a/%2e%2E/b", TargetError::DotSegment),
        ("/a/.%2e", TargetError::DotSegment),
        ("/%2e?x", TargetError::DotSegment),
        ("/a%2fb", TargetError::EncodedSlash),
        ("/a%2Fb", TargetError::EncodedSlash),
        ("/a\\b", TargetError::Backslash),
        ("/a%5cb", TargetError::Backslash),
        ("/a%00b", TargetError::Control),
        ("/a%0d%0aX", TargetError::Control),
        ("/a%7f", TargetError::Control),
        ("/a\tb", TargetError::Control),
        ("/a?b\r\nX: y", TargetError::Control),
        ("/a?b\u{85}", TargetError::Control),
        ("//a", TargetError::EmptySegment),
        ("/a//b", TargetError::EmptySegment),
        ("/a//", TargetError::EmptySegment),
        ("/a%", TargetError::PercentEncoding),
        ("/a%2", TargetError::PercentEncoding),
        ("/a%zz", TargetError::PercentEncoding),
        ("/a%%41", TargetError::PercentEncoding),
        ("/a%+1", TargetError::PercentEncoding),
        ("/ä", TargetError::Character),
        ("/a b", TargetError::Character),
        ("/a?b c", TargetError::Character),
        ("/{a}", TargetError::Character),
        ("/a;v=1", TargetError::PathParameters),
        ("/a%3bv", TargetError::PathParameters),
        ("/a#b", TargetError::Fragment),
        ("/a?b#c", TargetError::Fragment),
        (too_long.as_str(), TargetError::TooLong),
    ];
    for (text, error) in table {
        assert_eq!(Target::parse(text), Err(error), "{text:?}");
    }
    for kind in TargetError::ALL {
        assert!(table.iter().any(|(_, error)| *error == kind), "{kind:?} is not covered");
    }
}

/// Pieces that make trouble when they stand beside each other.
const PIECES: &str =
    "(/|\\.|%2[eEfF5]|%5[cC]|%25|%00|//|;|[a-cA-C]|%4[0-9]|%[cC]3|%|\\?|=|\\\\){0,24}";

proptest! {
    #[test]
    fn normal_form_is_normal_and_harmless(text in PIECES) {
        let given = format!("/{text}");
        if let Ok(target) = Target::parse(&given) {
            let again = Target::parse(target.as_str()).unwrap();
            prop_assert!(again.is_unchanged());
            prop_assert_eq!(again.as_str(), target.as_str());
            prop_assert_eq!(again.path(), target.path());
            prop_assert_eq!(again.query(), target.query());
            prop_assert_eq!(target.is_unchanged(), target.as_str() == given);
            let path = target.path().to_ascii_lowercase();
            for bad in ["//", "/../", "/./", "%2f", "%2e", "%5c", "%00", "\\", ";"] {
                prop_assert!(!path.contains(bad), "{} in {}", bad, path);
            }
            prop_assert!(!path.ends_with("/..") && !path.ends_with("/."));
        }
    }

    #[test]
    fn any_text_is_read_without_panic(text in any::<String>()) {
        if let Ok(target) = Target::parse(&text) {
            prop_assert!(target.path().starts_with('/') && target.path().is_ascii());
        }
    }
}
