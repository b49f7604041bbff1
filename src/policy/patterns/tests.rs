//! Patterns at the edges where the libraries differ. That the others agree is in `tests/parity`.

use proptest::prelude::*;

use super::*;

#[test]
fn a_glob_keeps_to_what_both_understand() {
    for good in
        ["", "a", "/v1/*", "/v1/**", "**", "*", "/v1/{orders,items}/*", "spiffe://a/*", "é*"]
    {
        assert_eq!(glob(good), Ok(()), "{good}");
    }
    let bad = [
        "[a-c]",
        "a?",
        "a\\*",
        "**/x",
        "a**",
        "**b",
        "/a/**/b",
        "a/***",
        "{a*,b}",
        "{a,{b,c}}",
        "{,a}",
        "{}",
        "{a",
        "a}",
        "/**/",
    ];
    for bad in bad {
        assert!(glob(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_regular_expression_keeps_to_what_both_understand() {
    let good = [
        "",
        "^a.c$",
        "[a-z0-9-]+",
        "a{2,3}b{4}",
        "(a|b)*?",
        "(?:a)(?i)b(?P<n>c)(?<m>d)",
        "[[:alpha:]]",
        "\\.\\/\\-",
        "\\x41\\A\\z",
        "[^]a]",
        "[]a]",
        "a+?",
        "\\{x\\}",
        "(?i:a)",
        "[.*+?]",
    ];
    for good in good {
        assert_eq!(regex(good), Ok(()), "{good}");
    }
    let bad = [
        "\\d", "\\w", "\\s", "\\D", "\\W", "\\S", "\\b", "\\B", "[\\d]", "a**", "a++", "a{2}{3}",
        "a{,3}", "{", "}", "a{1001}", "(?x)a", "(?u)a", "(?R)", "(?=a)", "(?P=n)", "\\Qa", "\\pL",
        "\\u0041", "\\1", "\\012", "[a&&b]", "[a--b]", "[a~~b]", "[[]", "[a[b]", "[a", "a(", "a)",
        "\\", "\\<", "(?-i)a", "\\é",
    ];
    for bad in bad {
        assert!(regex(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_regular_expression_that_fits_nothing_at_all_is_found_out() {
    assert!(finds_nothing("a*") && finds_nothing(""));
    assert!(!finds_nothing("a") && !finds_nothing("a("));
}

proptest! {
    #[test]
    fn whatever_stands_there_is_judged(pattern in "\\PC{0,40}") {
        let _judged = (glob(&pattern), regex(&pattern), finds_nothing(&pattern));
    }

    #[test]
    fn what_is_taken_compiles(pattern in "[\\[\\](){}?*+|^$.a-c0-9,:\\\\&~-]{0,12}") {
        if regex(&pattern).is_ok() {
            prop_assert!(::regex::Regex::new(&pattern).is_ok());
        }
    }
}
