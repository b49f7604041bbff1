//! Whom a change is told of, and that it reads the same from both ends.

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::authz::{Required, Route, Scope};
use crate::review::matrix::{Right, State};

const GLOBAL: &str = r#"package sidegate.global

import rego.v1

default grant := {"roles": [], "scopes": [], "tenant": null}

grant := data.identities[input.peer.spiffe_id]

deny contains "blocked" if data.blocked[input.peer.spiffe_id]
"#;

const TENANT: &str = r#"package sidegate.tenant

import rego.v1

default limit := ["*:*"]

limit := data.limits[input.peer.spiffe_id]
"#;

fn side_of(files: &[(&str, &str)], data: &Value) -> Side {
    let files = files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()));
    let data = ("data.json".to_owned(), data.to_string().into_bytes());
    Side::load(Source::from_files(files.chain([data])).unwrap()).unwrap()
}

fn side(data: &Value) -> Side {
    side_of(&[("global.rego", GLOBAL), ("tenant.rego", TENANT)], data)
}

fn at() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn place() -> Place {
    let route = |name, scope| {
        Arc::new(Route::new(name, Required::All(vec![Scope::parse(scope).unwrap()])).unwrap())
    };
    Place {
        name: Arc::from("shop"),
        local: Local { workload: None, tenant: Arc::from("acme"), direction: Direction::Inbound },
        doors: vec![Door {
            listener: Arc::from("https"),
            routes: vec![route("read", "orders:read"), route("write", "orders:write")],
        }],
    }
}

fn compare(old: &Value, new: &Value) -> Diff {
    diff(&side(old), &side(new), &Extra::default(), &[place()], at())
}

fn id(name: &str) -> String {
    format!("spiffe://example.org/prod/{name}")
}

fn scopes(texts: &[&str]) -> Vec<Right> {
    texts.iter().map(|text| Right::Scope(Arc::from(*text))).collect()
}

fn grant(scopes: &[&str]) -> Value {
    json!({"roles": [], "scopes": scopes, "tenant": "acme"})
}

#[test]
fn those_to_whom_the_same_happens_are_told_of_together() {
    let with = |scopes: &[&str]| {
        let mut identities = serde_json::Map::new();
        for name in ["a", "b", "c"] {
            identities.insert(id(name), grant(scopes));
        }
        identities.insert(id("other"), grant(&["orders:read"]));
        json!({"identities": identities})
    };
    let diff = compare(&with(&["orders:read"]), &with(&["orders:read", "orders:write"]));
    let [group] = diff.groups.as_slice() else { panic!("{diff:?}") };
    let ids: Vec<&str> = group.identities.iter().map(|it| &*it.id).collect();
    assert_eq!(ids, [&id("a"), &id("b"), &id("c")]);
    let change = &group.changes.first().unwrap().change;
    assert_eq!(change.gained, scopes(&["orders:write"]));
    assert_eq!(change.why, BTreeSet::from(["the grant itself".to_owned()]));
    let routes: Vec<&str> = group.routes_gained.iter().map(|it| &*it.route).collect();
    assert_eq!(routes, ["write"]);
    assert!(diff.gains() && !diff.loses());
    assert_eq!(diff.compared, 4);
}

#[test]
fn a_wildcard_that_was_narrowed_is_lost_and_nothing_is_gained() {
    let with = |scope: &str| json!({"identities": {id("a"): grant(&[scope])}});
    let diff = compare(&with("orders:*"), &with("orders:read"));
    let change = &diff.groups.first().unwrap().changes.first().unwrap().change;
    assert_eq!((&*change.gained, &*change.lost), (&[][..], &*scopes(&["orders:*"])));
}

#[test]
fn another_tenant_opens_its_doors_and_closes_those_of_the_first() {
    let with = |tenant: &str| {
        let grant = json!({"roles": [], "scopes": ["orders:read"], "tenant": tenant});
        json!({"identities": {id("a"): grant}})
    };
    let diff = compare(&with("umbrella"), &with("acme"));
    let group = diff.groups.first().unwrap();
    let change = &group.changes.first().unwrap().change;
    assert_eq!(change.gained, [Right::Tenant(Arc::from("acme"))]);
    assert_eq!(change.lost, [Right::Tenant(Arc::from("umbrella"))]);
    assert_eq!(group.routes_gained.len(), 1);
}

#[test]
fn a_block_that_is_lifted_gives_everything_back() {
    let with = |blocked: Value| json!({"identities": {id("a"): grant(&["orders:read"])}, "blocked": blocked});
    let (blocked, free) = (with(json!({id("a"): true})), with(json!({"nobody": true})));
    let diff = compare(&blocked, &free);
    let group = diff.groups.first().unwrap();
    let change = &group.changes.first().unwrap().change;
    assert_eq!(change.before, State::Denied(vec!["global: blocked".to_owned()]));
    assert_eq!(change.after, State::Fine);
    assert_eq!(group.routes_gained.len(), 1);
    assert!(diff.gains());
}

#[test]
fn what_would_be_held_but_for_a_denial_is_told_and_counts_for_nothing() {
    let with = |scopes: &[&str]| json!({"identities": {id("a"): grant(scopes)}, "blocked": {id("a"): true}});
    let diff = compare(&with(&["orders:read"]), &with(&["*:*"]));
    let change = &diff.groups.first().unwrap().changes.first().unwrap().change;
    assert_eq!(change.dormant_gained, scopes(&["*:*"]));
    assert!(!diff.gains());
}

#[test]
fn role_and_layer_are_named_as_the_cause() {
    let with = |roles: Value, limit: Value| {
        let grant = json!({"roles": ["keeper"], "scopes": [], "tenant": "acme"});
        json!({"identities": {id("a"): grant}, "roles": roles, "limits": {id("a"): limit}})
    };
    let narrow = json!({"keeper": {"scopes": ["orders:read"]}});
    let wide = json!({"keeper": {"scopes": ["orders:read", "orders:write"]}});
    let why = |old: &Value, new: &Value| {
        let diff = compare(old, new);
        diff.groups.first().unwrap().changes.first().unwrap().change.why.clone()
    };
    let all = json!(["*:*"]);
    let before = with(narrow, all.clone());
    let after = with(wide.clone(), all);
    assert_eq!(why(&before, &after), BTreeSet::from(["role `keeper` holds more".to_owned()]));
    let limited = with(wide, json!(["*:read"]));
    assert_eq!(why(&after, &limited), BTreeSet::from(["layer `tenant` leaves less".to_owned()]));
    assert_eq!(why(&limited, &after), BTreeSet::from(["layer `tenant` leaves more".to_owned()]));
}

#[test]
fn a_revocation_that_is_lifted_is_a_gain_even_where_it_names_nobody_known() {
    let with = |tokens: Value| json!({"identities": {}, "revocations": {"tokens": tokens}});
    let (revoked, lifted) = (with(json!(["jti-1"])), with(json!([])));
    let diff = compare(&revoked, &lifted);
    assert_eq!(diff.revocations.lifted, ["tokens: jti-1"]);
    assert!(diff.gains());
}

#[test]
fn rules_about_requests_that_go_may_let_anybody_in() {
    let data = json!({"identities": {}});
    let request = "package sidegate.request\n\nimport rego.v1\n\ndeny contains \"no\" if \
                   input.request.method == \"POST\"\n";
    let (global, rule) = (("global.rego", GLOBAL), ("request.rego", request));
    let (without, with) = (side_of(&[global], &data), side_of(&[global, rule], &data));
    let compare =
        |old: &Side, new: &Side| diff(old, new, &Extra::default(), &[place()], at()).request_deny;
    assert_eq!(compare(&with, &without), Wholesale::Removed);
    assert_eq!(compare(&without, &with), Wholesale::Added);
    assert_eq!(compare(&with, &with), Wholesale::Unchanged);
}

#[test]
fn a_policy_that_looks_at_the_asking_service_is_asked_for_each_environment() {
    let global = r#"package sidegate.global

import rego.v1

default grant := {"roles": [], "scopes": [], "tenant": null}

grant := data.identities[input.peer.spiffe_id] if input.peer.environment == input.local.environment
"#;
    let with = |scope: &str| {
        let staging = "spiffe://example.org/staging/b";
        side_of(
            &[("global.rego", global)],
            &json!({"identities": {id("a"): grant(&[scope]), staging: grant(&[scope])}}),
        )
    };
    let diff = diff(&with("a:read"), &with("a:write"), &Extra::default(), &[], at());
    assert_eq!(diff.places.len(), 2);
    let changed: usize = diff.groups.iter().map(|group| group.identities.len()).sum();
    assert_eq!(changed, 2, "{diff:?}");
    assert!(diff.notes.iter().any(|note| note.contains("which service asks")), "{diff:?}");
}

/// Data in which a few identities stand in many ways.
fn data() -> impl Strategy<Value = Value> {
    let scope = prop::sample::select(vec!["orders:read", "orders:*", "*:read", "*:*", "a:b"]);
    let scopes = prop::collection::vec(scope.clone(), 0..3);
    let tenant = prop::sample::select(vec![json!("acme"), json!("umbrella"), json!(null)]);
    let limit = prop::option::of(prop::collection::vec(scope, 0..3));
    let one = (scopes, tenant, limit, any::<bool>(), any::<bool>(), any::<bool>());
    prop::collection::vec(prop::option::weighted(0.9, one), 3).prop_map(|people| {
        let mut data = json!({"identities": {}, "limits": {}, "blocked": {"nobody": true},
            "roles": {"r": {"scopes": ["orders:write"]}}, "revocations": {"spiffe_ids": []}});
        for (at, person) in people.into_iter().enumerate() {
            let Some((scopes, tenant, limit, role, blocked, revoked)) = person else { continue };
            let id = id(&format!("p{at}"));
            let roles = if role { vec!["r"] } else { vec![] };
            data["identities"][&id] = json!({"roles": roles, "scopes": scopes, "tenant": tenant});
            if let Some(limit) = limit {
                data["limits"][&id] = json!(limit);
            }
            if blocked && role {
                data["blocked"][&id] = json!(true);
            }
            if revoked && blocked {
                data["revocations"]["spiffe_ids"].as_array_mut().unwrap().push(json!(id));
            }
        }
        data
    })
}

type Moves = BTreeSet<(Arc<str>, Vec<Right>, Vec<RouteName>)>;

fn moves(diff: &Diff, gained: bool) -> Moves {
    let mut moves = Moves::new();
    for group in &diff.groups {
        let routes = if gained { &group.routes_gained } else { &group.routes_lost };
        for placed in &group.changes {
            let rights = if gained { &placed.change.gained } else { &placed.change.lost };
            for person in &group.identities {
                moves.insert((Arc::clone(&person.id), rights.clone(), routes.clone()));
            }
        }
    }
    moves
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_policy_does_not_differ_from_itself(data in data()) {
        prop_assert!(compare(&data, &data).is_empty());
    }

    #[test]
    fn what_one_way_gains_the_other_way_loses(old in data(), new in data()) {
        let (there, back) = (compare(&old, &new), compare(&new, &old));
        prop_assert_eq!(moves(&there, true), moves(&back, false));
        prop_assert_eq!(moves(&there, false), moves(&back, true));
        prop_assert_eq!(there.revocations.added, back.revocations.lifted);
    }

    /// The rights that are told of are all that there is to it.
    #[test]
    fn no_route_opens_without_a_right_that_was_gained(old in data(), new in data()) {
        for group in compare(&old, &new).groups {
            let gained = group.changes.iter().any(|it| !it.change.gained.is_empty());
            let lost = group.changes.iter().any(|it| !it.change.lost.is_empty());
            prop_assert!(gained || group.routes_gained.is_empty());
            prop_assert!(lost || group.routes_lost.is_empty());
        }
    }
}
