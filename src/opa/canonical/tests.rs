//! Digests as OPA 1.20.2 made them, and documents that two readers could take for different ones.

use aws_lc_rs::digest::SHA256;
use proptest::prelude::{prop_assert_eq, proptest};

use super::*;

fn canonical(text: &str) -> Option<String> {
    let mut context = Context::new(&SHA256);
    digest(&parse(text)?, &mut context);
    let digest = context.finish();
    Some(digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn of_bytes(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Recorded from `opa sign` over a `data.json` of this text.
#[test]
fn a_digest_is_the_one_that_opa_signs() {
    for (text, digest) in include!("recorded.in") {
        assert_eq!(canonical(text).as_deref(), Some(digest), "{text}");
    }
}

#[test]
fn white_space_and_order_do_not_count_and_the_spelling_of_numbers_does() {
    let plain = of_bytes(r#"{"a":[1,null,"x"],"b":{}}"#);
    for text in [
        r#"{"a":[1,null,"x"],"b":{}}"#,
        "\n{ \"b\" : { } ,\t\"a\":[ 1 , null , \"\\u0078\" ] }\r\n",
    ] {
        assert_eq!(canonical(text).as_deref(), Some(plain.as_str()), "{text}");
    }
    assert_ne!(canonical("1.0"), canonical("1"));
    assert_eq!(canonical("-1.50e+3"), Some(of_bytes("-1.50e+3")));
}

#[test]
fn what_two_readers_could_take_differently_is_no_document() {
    for text in [
        "",
        " ",
        "{",
        "{}}",
        "{} {}",
        "{\"a\":1,}",
        "[1,]",
        "[,1]",
        "{a:1}",
        "{'a':1}",
        "01",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "--1",
        "NaN",
        "nul",
        "truefalse",
        "\"\n\"",
        "\"\\ud800\"",
        "\"a",
        "\"a\\\"",
        "\"\\x\"",
        "\u{feff}{}",
        "/**/1",
        "1 2",
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"[{"x":{"a":1,"a":2}}]"#,
    ] {
        assert_eq!(parse(text), None, "{text:?}");
    }
    let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(parse(&deep(DEPTH_MAX)).is_some());
    assert!(parse(&deep(DEPTH_MAX + 1)).is_none());
    assert!(parse(&"[".repeat(100_000)).is_none());
}

proptest! {
    #[test]
    fn no_text_is_too_much(text in "[\\[\\]{}\",:0-9a-z\\\\ .e+-]{0,60}|\\PC{0,60}") {
        drop(parse(&text));
    }

    #[test]
    fn what_is_read_is_what_others_read(
        text in "\\{(\"[a-c]{1,2}\":(-?[1-9][0-9]{0,3}(\\.[0-9]{1,3})?|true|null|\"\\PC{0,4}\"|\\[1?\\]))?\\}"
    ) {
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        prop_assert_eq!(parse(&text).is_some(), theirs.is_ok(), "{}", text);
    }

    #[test]
    fn texts_are_written_so_that_they_are_read_again(text in "\\PC{0,20}|[\\x00-\\x7f\u{2028}]{0,20}") {
        let written = quoted(&text);
        prop_assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
    }
}
