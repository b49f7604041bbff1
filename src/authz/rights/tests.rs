//! Whatever the layers say: what is left was granted, and stands in every limit (AZ-5, AZ-8).

use std::fs;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, proptest};
use serde_json::{Value, json};
use spiffe::SpiffeId;

use super::{Brings, CROSS_TENANT_TTL_MAX, Rights, rights};
use crate::authz::{Scope, ScopePattern, ScopeSet};
use crate::policy::{Direction, IdentityQuestion, Local, Policy, Subject, Workload, load};

const SIDES: [&str; 3] = ["*", "a", "b"];
const LAYERS: [&str; 4] = ["global", "team", "resource", "tenant"];

/// The grant and the limits of those layers that have one.
fn policy(grant: &Value, limits: &[Option<Vec<String>>]) -> Policy {
    let root = tempfile::tempdir().unwrap();
    let mut global = "package sidegate.global\nimport rego.v1\ngrant := data.granted\n".to_owned();
    for (layer, limit) in LAYERS.iter().zip(limits) {
        let Some(limit) = limit else { continue };
        let rule = format!("limit := {}\n", json!(limit));
        if *layer == "global" {
            global.push_str(&rule);
        } else {
            let text = format!("package sidegate.{layer}\nimport rego.v1\n{rule}");
            fs::write(root.path().join(format!("{layer}.rego")), text).unwrap();
        }
    }
    let data = json!({"granted": grant, "roles": {"reader": {"scopes": ["a:b", "*:a"]}}});
    fs::write(root.path().join("global.rego"), global).unwrap();
    fs::write(root.path().join("data.json"), data.to_string()).unwrap();
    load(root.path()).unwrap()
}

fn ask(policy: &Policy, subject: &Subject, brings: Option<&Brings<'_>>) -> Rights {
    let local = Local { workload: None, tenant: "acme".into(), direction: Direction::Inbound };
    let now = UNIX_EPOCH + Duration::from_secs(1_000);
    rights(policy, brings, &IdentityQuestion { subject, address: None, local: &local, now })
}

fn workload() -> Subject {
    Subject::spiffe(Workload::new(&SpiffeId::new("spiffe://example.org/prod/shop").unwrap()))
}

fn pattern() -> impl Strategy<Value = String> {
    (0..SIDES.len(), 0..SIDES.len()).prop_map(|(one, other)| {
        format!("{}:{}", SIDES.get(one).unwrap(), SIDES.get(other).unwrap())
    })
}

fn limits() -> impl Strategy<Value = Vec<Option<Vec<String>>>> {
    vec(option::of(vec(pattern(), 0..5)), LAYERS.len())
}

fn set(patterns: &[String]) -> ScopeSet {
    ScopeSet::new(patterns.iter().map(|it| ScopePattern::parse(it).unwrap()).collect()).unwrap()
}

/// Every scope that a route could ask for here, and one that no pattern names.
fn scopes() -> Vec<Scope> {
    let sides = ["a", "b", "z"];
    let all = sides.iter().flat_map(|one| sides.iter().map(move |other| format!("{one}:{other}")));
    all.map(|text| Scope::parse(&text).unwrap()).collect()
}

/// `left` is what stands in all of these, scope by scope.
fn is_the_meeting(left: &ScopeSet, brought: &ScopeSet, limits: &[Option<Vec<String>>]) -> bool {
    let limits: Vec<_> = limits.iter().flatten().map(|limit| set(limit)).collect();
    scopes().iter().all(|scope| {
        let expected = brought.allows(scope) && limits.iter().all(|limit| limit.allows(scope));
        left.allows(scope) == expected
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_layer_never_adds_to_what_a_workload_is_granted(
        granted in vec(pattern(), 0..5),
        reader in any::<bool>(),
        limits in limits(),
    ) {
        let roles = if reader { vec!["reader"] } else { Vec::new() };
        let grant = json!({"roles": roles, "scopes": granted, "tenant": "acme"});
        let rights = ask(&policy(&grant, &limits), &workload(), None);
        prop_assert!(rights.refusal.is_none(), "{:?}", rights.refusal);
        let mut all = granted;
        if reader {
            all.extend(["a:b".to_owned(), "*:a".to_owned()]);
        }
        prop_assert!(is_the_meeting(&rights.scopes, &set(&all), &limits));
    }

    #[test]
    fn a_layer_never_adds_to_what_a_token_brings(
        brought in vec(pattern(), 0..5),
        limits in limits(),
        generous in vec(pattern(), 0..5),
    ) {
        // What the policy would grant a workload is nothing to a token.
        let grant = json!({"roles": [], "scopes": generous, "tenant": "acme"});
        let scopes: Vec<Arc<str>> = brought.iter().map(|it| it.as_str().into()).collect();
        let brings = Brings {
            scopes: &scopes,
            tenant: Some("acme"),
            teams: &[],
            roles: &[],
            cross_tenant: false,
        };
        let subject = Subject::jwt("robot".into(), "https://issuer".into());
        let rights = ask(&policy(&grant, &limits), &subject, Some(&brings));
        prop_assert!(rights.refusal.is_none(), "{:?}", rights.refusal);
        prop_assert!(is_the_meeting(&rights.scopes, &set(&brought), &limits));
    }

    #[test]
    fn a_right_across_tenants_is_short_lived_or_none(ttl in option::of(1_u64..=3_600)) {
        let mut grant =
            json!({"roles": [], "scopes": ["a:b"], "tenant": "globex", "cross_tenant": true});
        if let Some(ttl) = ttl {
            grant["ttl_seconds"] = json!(ttl);
        }
        let rights = ask(&policy(&grant, &[]), &workload(), None);
        let most = CROSS_TENANT_TTL_MAX.as_secs();
        let is_short = ttl.is_some_and(|ttl| ttl <= most);
        prop_assert_eq!(rights.cross_tenant, is_short);
        prop_assert_eq!(rights.refusal.is_none(), is_short);
        let until = UNIX_EPOCH + Duration::from_secs(1_000 + most);
        prop_assert!(rights.expires.is_some_and(|expires| expires <= until));
    }
}
