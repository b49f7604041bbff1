//! What YAML says, and what it may not do to whoever reads it.

use std::time::{Duration, Instant};

use regorus::Value;

use super::read;

#[test]
fn what_people_write_means_what_it_did() {
    for text in [
        "a: 1\nb: [x, 'y', \"z\"]\nc:\n  - d: true\n    e: ~\n  - f: -7\n",
        "spiffe://example.org/prod/orders: {roles: [reader], tenant: acme}",
        "a: 1.5\nb: 1e3\nc: 0\nd: -0.25\ne: 18446744073709551615\nf: 9223372036854775808\n",
        "a: yes\nb: 'no'\nc: on\nd: 'true'\ne: null\nf: ''\ng:\n",
        "a: |\n  two\n  lines\nb: >\n  one\n  line\nc: 2026-01-01\nd: 10:30\n",
        "a: orders:*\nb: \"*\"\nc: /v1/**\nd: this & that\ne: 0x1F\nf: 1.2.3\n",
        "1: one\ntrue: two\nx: three\n",
        "a: 'ünï'\n---\n",
        "{\"a\": [1, {\"b\": null}], \"c\": \"\\u00e9\"}",
        "# nothing but\na: {} # comments\nb: []\n",
        "",
    ] {
        let before = Value::from_yaml_str(text).ok();
        assert_eq!(read(text).ok(), before, "{text}");
    }
}

#[test]
fn what_unfolds_or_nests_without_end_is_refused_at_once() {
    let mut unfolding = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for at in 1..30 {
        let below = format!("*a{}, ", at - 1).repeat(9);
        unfolding += &format!("a{at}: &a{at} [{}]\n", below.trim_end_matches(", "));
    }
    let lists = "[".repeat(200_000);
    let objects = "{a: ".repeat(200_000);
    let blocks = "- ".repeat(100_000);
    let keys = "? ".repeat(100_000);
    for text in [&unfolding, &lists, &objects, &blocks, &keys] {
        let began = Instant::now();
        assert!(read(text).is_err());
        let took = began.elapsed();
        let start = text.get(..20);
        assert!(took < Duration::from_millis(500), "{start:?} took {took:?}");
    }
}

#[test]
fn what_stands_for_something_else_is_refused_and_says_where() {
    for text in ["a: 1\nb: &x 1\n", "a: 1\nb: *x\n", "a: 1\n<<: {b: 1}\n", "a: 1\na: 2\n"] {
        let error = read(text).unwrap_err();
        assert!(error.starts_with("not readable as YAML at line 2: "), "{text}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}
