//! Tables and properties of scopes.

use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

use super::{PATTERNS_MAX, Scope, ScopeError, ScopePattern, ScopeSet};

fn set(text: &str) -> ScopeSet {
    ScopeSet::parse(text).unwrap()
}

fn scope(text: &str) -> Scope {
    Scope::parse(text).unwrap()
}

#[test]
fn a_pattern_allows_what_its_sides_allow() {
    for (granted, asked, allowed) in [
        ("users:read", "users:read", true),
        ("users:read", "users:write", false),
        ("users:read", "user:read", false),
        ("*:read", "users:read", true),
        ("*:read", "users:write", false),
        ("users:*", "users:write", true),
        ("users:*", "orders:write", false),
        ("*:*", "any.thing:at-all", true),
        ("", "users:read", false),
        ("a:b users:read", "users:read", true),
    ] {
        assert_eq!(set(granted).allows(&scope(asked)), allowed, "{granted} / {asked}");
    }
}

#[test]
fn malformed_scopes_are_refused() {
    let long = format!("{}:read", "a".repeat(64));
    for text in [
        "",
        ":",
        "users",
        "users:",
        ":read",
        "Users:read",
        "users:read:all",
        "us ers:read",
        "users:re*",
        "**:read",
        "1users:read",
        "users:9",
        "users :read",
        "üsers:read",
        "<undefined>",
        long.as_str(),
    ] {
        assert!(matches!(ScopePattern::parse(text), Err(ScopeError::Malformed { .. })), "{text:?}");
    }
    assert!(ScopePattern::parse(&format!("{0}:{0}", "a".repeat(63))).is_ok());
}

#[test]
fn a_required_scope_has_no_wildcard() {
    for text in ["*:read", "users:*", "*:*"] {
        assert!(matches!(Scope::parse(text), Err(ScopeError::Wildcard { .. })), "{text}");
    }
}

#[test]
fn sets_meet_side_by_side() {
    for (a, b, met) in [
        ("*:read", "users:*", "users:read"),
        ("*:*", "users:read orders:write", "orders:write users:read"),
        ("users:read", "users:write", ""),
        ("users:* orders:read", "*:read", "orders:read users:read"),
        ("*:read *:list", "users:* orders:*", "orders:list orders:read users:list users:read"),
        ("", "*:*", ""),
    ] {
        assert_eq!(set(a).meet(&set(b)).unwrap().to_string(), met, "{a} with {b}");
        assert_eq!(set(b).meet(&set(a)).unwrap().to_string(), met, "{b} with {a}");
    }
}

#[test]
fn a_set_is_written_in_its_smallest_form_and_one_order() {
    assert_eq!(set("users:read  b:a *:read users:read").to_string(), "*:read b:a");
    assert_eq!(set("a:b *:* c:d").to_string(), "*:*");
    assert_eq!(set("b:* a:* *:z *:y c:d"), set("c:d *:y *:z a:* b:*"));
}

#[test]
fn a_set_that_grows_past_its_bound_is_refused() {
    let many = |count: usize| (0..count).map(|n| format!("r{n}:*")).collect::<Vec<_>>().join(" ");
    assert!(ScopeSet::parse(&many(PATTERNS_MAX)).is_ok());
    assert_eq!(ScopeSet::parse(&many(PATTERNS_MAX + 1)), Err(ScopeError::TooMany));
    assert_eq!(set(&many(200)).meet(&set("*:a *:b")), Err(ScopeError::TooMany));
}

/// Few names, so that patterns meet often.
fn side(star: bool) -> impl Strategy<Value = String> {
    (0..if star { 4_usize } else { 3 })
        .prop_map(|n: usize| ["a", "b", "c-d.e_1", "*"][n].to_owned())
}

fn patterns() -> impl Strategy<Value = ScopeSet> {
    proptest::collection::vec((side(true), side(true)), 0..8).prop_map(|sides| {
        let words: Vec<_> = sides.iter().map(|(a, b)| format!("{a}:{b}")).collect();
        set(&words.join(" "))
    })
}

proptest! {
    #[test]
    fn meeting_allows_exactly_what_both_allow(
        a in patterns(), b in patterns(), resource in side(false), action in side(false),
    ) {
        let asked = scope(&format!("{resource}:{action}"));
        let met = a.meet(&b).unwrap();
        prop_assert_eq!(met.allows(&asked), a.allows(&asked) && b.allows(&asked));
    }

    #[test]
    fn the_smallest_form_allows_what_the_patterns_allow(
        sides in proptest::collection::vec((side(true), side(true)), 0..8),
        resource in side(false), action in side(false),
    ) {
        let patterns: Vec<_> = sides
            .iter()
            .map(|(a, b)| ScopePattern::parse(&format!("{a}:{b}")).unwrap())
            .collect();
        let asked = scope(&format!("{resource}:{action}"));
        let expected = patterns.iter().any(|pattern| pattern.allows(&asked));
        prop_assert_eq!(ScopeSet::new(patterns).unwrap().allows(&asked), expected);
    }

    #[test]
    fn a_set_survives_being_written_and_read(a in patterns()) {
        prop_assert_eq!(&ScopeSet::parse(a.text()).unwrap(), &a);
        prop_assert_eq!(&ScopeSet::new(a.patterns().collect()).unwrap(), &a);
    }

    #[test]
    fn any_text_is_read_without_panic_and_scopes_are_written_as_read(text in any::<String>()) {
        if let Ok(scope) = Scope::parse(&text) {
            prop_assert_eq!(scope.to_string(), text);
        } else if let Ok(pattern) = ScopePattern::parse(&text) {
            prop_assert!(text.contains('*'));
            prop_assert_eq!(pattern.to_string(), text);
        }
    }
}

proptest! {
    #[test]
    fn the_policy_room_knows_the_same_scopes(text in "[a-b*:.A 9-]{0,8}") {
        let known = ScopePattern::parse(&text).is_ok();
        prop_assert_eq!(known, crate::policy::is_scope_pattern(&text), "{}", text);
    }
}
