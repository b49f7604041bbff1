//! The story of the layers, held against the rights.

use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use spiffe::SpiffeId;

use super::*;
use crate::authz::{ScopePattern, ScopeSet};
use crate::policy::{Source, Subject, compile};

fn set(text: &str) -> ScopeSet {
    ScopeSet::parse(text).unwrap()
}

#[test]
fn what_a_layer_takes_is_told_scope_by_scope() {
    let told = |before: &str, left: &str| -> Vec<String> {
        let gone = removed(&set(before), &set(left));
        gone.iter().map(|it| format!("{} -> {}", it.scope, it.to.join(" "))).collect()
    };
    assert_eq!(told("a:b c:d", "a:b"), ["c:d -> "]);
    assert_eq!(told("*:read", "users:read"), ["*:read -> users:read"]);
    assert!(told("a:b", "a:b").is_empty());
    assert_eq!(told("a:b", ""), ["a:b -> "]);
}

fn scope() -> impl Strategy<Value = String> {
    (prop::sample::select(vec!["*", "a", "b"]), prop::sample::select(vec!["*", "r", "w"]))
        .prop_map(|(resource, action)| format!("{resource}:{action}"))
}

fn scopes() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(scope(), 0..4)
}

fn list(scopes: &[String]) -> String {
    format!("[{}]", scopes.iter().map(|it| format!("\"{it}\"")).collect::<Vec<_>>().join(", "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The story of the layers ends with what the guard goes by, and no layer adds.
    #[test]
    fn the_last_layer_leaves_what_is_held(
        granted in scopes(),
        of_role in scopes(),
        layers in prop::collection::vec(prop::option::of(scopes()), 4),
    ) {
        let names = ["global", "team", "resource", "tenant"];
        let mut files = vec![
            (
                "g.rego".to_owned(),
                format!(
                    "package sidegate.global\n\ngrant := {{\"roles\": [\"r\"], \"scopes\": {}, \"tenant\": \"acme\"}}\n",
                    list(&granted)
                ),
            ),
            ("data.json".to_owned(), format!("{{\"roles\": {{\"r\": {{\"scopes\": {}}}}}}}", list(&of_role))),
        ];
        for (name, limit) in names.iter().zip(&layers) {
            if let Some(limit) = limit {
                let text = format!("package sidegate.{name}\n\nlimit := {}\n", list(limit));
                files.push((format!("{name}.rego"), text));
            }
        }
        let files = files.into_iter().map(|(name, text)| (name, text.into_bytes()));
        let policy = compile(Source::from_files(files).unwrap()).unwrap();
        let id = SpiffeId::new("spiffe://t.example/prod/x").unwrap();
        let assumed = Assumed::workload(Subject::spiffe(Workload::new(&id)));
        let asker = Asker { tenant: Arc::from("acme"), ..Asker::default() };
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let standing = asker.standing(&policy, &assumed, now);
        let last = standing.layers.last().map_or(&standing.brought, |layer| &layer.left);
        prop_assert_eq!(last, &standing.scopes);
        let mut before = standing.brought.clone();
        for layer in &standing.layers {
            prop_assert_eq!(&layer.left.meet(&before).unwrap(), &layer.left);
            before = layer.left.clone();
        }
        for pattern in granted.iter().chain(&of_role) {
            let one = ScopeSet::new(vec![ScopePattern::parse(pattern).unwrap()]).unwrap();
            prop_assert_eq!(&one.meet(&standing.brought).unwrap(), &one);
        }
    }
}
