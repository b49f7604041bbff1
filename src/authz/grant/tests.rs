//! From a policy's words to claims, and how long they are kept.

use std::fs;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use spiffe::SpiffeId;

use super::{Caller, GENERATION_MAX, Grants, Who};
use crate::authz::{Claims, Refusal};
use crate::policy::{Direction, Local, Policy, Workload, load};

mod tokens;

const DATA: &str = r#"{
    "roles": {
        "auditor": {"scopes": ["*:read"]},
        "operator": {"scopes": ["jobs:run"], "include": ["auditor"]}
    },
    "services": {"orders": {"scopes": ["orders:*"], "roles": ["auditor"], "tenant": "acme"}}
}"#;

fn policy(modules: &[&str]) -> Policy {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("data.json"), DATA).unwrap();
    for (n, module) in modules.iter().enumerate() {
        fs::write(root.path().join(format!("m{n}.rego")), module).unwrap();
    }
    load(root.path()).unwrap()
}

fn granting(grant: &str) -> Policy {
    policy(&[&format!("package sidegate.global\nimport rego.v1\ngrant := {grant}")])
}

fn local(service: &str) -> Local {
    let id = SpiffeId::new(format!("spiffe://example.org/prod/{service}")).unwrap();
    Local {
        workload: Some(Workload::new(&id)),
        tenant: "acme".into(),
        direction: Direction::Inbound,
    }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn ask(grants: &Grants, policy: &Policy, service: &str, now: SystemTime) -> Arc<Claims> {
    ask_from(grants, policy, service, None, now)
}

fn ask_from(
    grants: &Grants,
    policy: &Policy,
    service: &str,
    address: Option<IpAddr>,
    now: SystemTime,
) -> Arc<Claims> {
    let id = SpiffeId::new(format!("spiffe://example.org/prod/{service}")).unwrap();
    let uri = id.to_string().into();
    patiently(policy, || {
        grants.at_once(policy, Caller::Peer(&id, &uri), &local("billing"), address, now)
    })
}

/// On a machine with much to do, a policy may seem slow that is not.
fn patiently(policy: &Policy, ask: impl Fn() -> Option<Arc<Claims>>) -> Arc<Claims> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(claims) = ask() {
            return claims;
        }
        assert!(Instant::now() < deadline, "the policy does not answer");
        while policy.pace().is_slow() {
            policy.pace().answered(Duration::ZERO);
        }
    }
}

fn once(policy: &Policy) -> Arc<Claims> {
    ask(&Grants::new(), policy, "orders", at(0))
}

#[test]
fn roles_add_and_layers_take_away() {
    let policy = policy(&[
        "package sidegate.global\nimport rego.v1\n\
         grant := {\"roles\": [\"operator\"], \"scopes\": [\"orders:*\"], \"tenant\": \"acme\"}",
        "package sidegate.team\nimport rego.v1\nlimit := [\"orders:*\", \"users:*\", \"jobs:*\"]",
        "package sidegate.tenant\nimport rego.v1\nlimit := {\"*:read\", \"*:run\", \"x:y\"}",
    ]);
    let claims = once(&policy);
    assert_eq!(claims.scopes().to_string(), "jobs:read jobs:run orders:read orders:run users:read");
    assert_eq!(claims.tenant().unwrap().as_str(), "acme");
    assert_eq!(claims.roles(), ["operator".into()]);
    assert_eq!(&**claims.subject(), "spiffe://example.org/prod/orders");
    assert_eq!(claims.method().as_str(), "spiffe");
    assert_eq!(claims.revision(), policy.revision());
    assert_eq!((claims.refusal(), claims.expires()), (None, None));
}

#[test]
fn an_answer_that_is_not_sound_leaves_nothing() {
    for (grant, expected) in [
        ("{\"roles\": [\"nobody\"], \"scopes\": [], \"tenant\": \"acme\"}", "role `nobody`"),
        ("{\"roles\": [], \"scopes\": [\"A:b\"], \"tenant\": \"acme\"}", "`A:b` is not a scope"),
        ("{\"roles\": [], \"scopes\": [\"a:b\"], \"tenant\": \"Acme\"}", "`Acme` is not a tenant"),
        ("{\"roles\": [], \"scopes\": [\"a:b\"], \"tenant\": \"\"}", "`` is not a tenant"),
        ("{\"roles\": [], \"scopes\": [\"a:b\"]}", "field `tenant` is missing"),
        ("{} if input.peer.service == \"x\"", "is undefined"),
        (
            "{\"roles\": [], \"scopes\": [\"a:b\"], \"tenant\": \"a\", \"cross_tenant\": true}",
            "`cross_tenant` needs `ttl_seconds`",
        ),
        (
            "{\"roles\": [], \"scopes\": [\"a:b\"], \"tenant\": \"a\", \"cross_tenant\": true, \
             \"ttl_seconds\": 901}",
            "`cross_tenant` needs `ttl_seconds` of at most 900",
        ),
    ] {
        let claims = once(&granting(grant));
        let Some(Refusal::Error(message)) = claims.refusal() else { panic!("{grant}: accepted") };
        assert!(message.contains(expected), "{grant}: {message}");
        assert!(claims.scopes().is_empty() && claims.tenant().is_none() && !claims.cross_tenant());
    }
}

#[test]
fn a_right_across_tenants_may_live_for_a_quarter_of_an_hour() {
    let claims = once(&granting(
        "{\"roles\": [], \"scopes\": [\"a:b\"], \"tenant\": \"ops\", \"cross_tenant\": true, \
         \"ttl_seconds\": 900}",
    ));
    assert!(claims.cross_tenant() && claims.refusal().is_none());
    assert_eq!(claims.expires(), Some(at(900)));
}

#[test]
fn the_limit_of_everybody_narrows_workloads_too() {
    let policy = policy(&["package sidegate.global\nimport rego.v1\n\
         grant := {\"roles\": [\"operator\"], \"scopes\": [\"orders:*\"], \"tenant\": \"acme\"}\n\
         limit := [\"orders:*\", \"jobs:run\"]"]);
    assert_eq!(once(&policy).scopes().to_string(), "orders:* jobs:run");
}

#[test]
fn a_malformed_limit_leaves_nothing() {
    let policy = policy(&[
        "package sidegate.global\nimport rego.v1\n\
         grant := {\"roles\": [], \"scopes\": [\"*:*\"], \"tenant\": \"acme\"}",
        "package sidegate.team\nimport rego.v1\nlimit := [\"*:read\", \"oops\"]",
    ]);
    let claims = once(&policy);
    assert!(matches!(claims.refusal(), Some(Refusal::Error(_))));
    assert!(claims.scopes().is_empty());
}

#[test]
fn a_denied_identity_holds_nothing_but_keeps_its_tenant_for_the_audit() {
    let policy = policy(&["package sidegate.global\nimport rego.v1\n\
         grant := {\"roles\": [], \"scopes\": [\"*:*\"], \"tenant\": \"acme\", \
         \"cross_tenant\": true, \"ttl_seconds\": 60}\n\
         deny contains {\"code\": \"blocked\", \"message\": \"lost its key\"} if true"]);
    let claims = once(&policy);
    assert!(claims.scopes().is_empty() && !claims.cross_tenant());
    assert_eq!(claims.tenant().unwrap().as_str(), "acme");
    assert_eq!(claims.refusal().unwrap().to_string(), "global: blocked: lost its key");
}

#[test]
fn the_same_question_is_evaluated_once() {
    let policy = granting("{\"roles\": [], \"scopes\": [\"a:b\"], \"tenant\": \"acme\"}");
    let grants = Grants::new();
    let first = ask(&grants, &policy, "orders", at(0));
    let again = ask_from(&grants, &policy, "orders", Some([10, 0, 0, 1].into()), at(1_000_000));
    assert!(Arc::ptr_eq(&first, &again));
    assert_eq!(grants.evaluations(), 1);
    ask(&grants, &policy, "users", at(0));
    assert_eq!(grants.evaluations(), 2);
}

#[test]
fn another_policy_or_another_self_is_asked_anew() {
    let one = granting("{\"roles\": [], \"scopes\": [\"a:b\"], \"tenant\": \"acme\"}");
    let two = granting("{\"roles\": [], \"scopes\": [\"a:c\"], \"tenant\": \"acme\"}");
    let grants = Grants::new();
    assert_eq!(ask(&grants, &one, "orders", at(0)).scopes().to_string(), "a:b");
    assert_eq!(ask(&grants, &two, "orders", at(0)).scopes().to_string(), "a:c");
    assert_eq!(ask(&grants, &one, "orders", at(0)).scopes().to_string(), "a:b");
    assert_eq!(grants.evaluations(), 3);
    let id = SpiffeId::new("spiffe://example.org/prod/orders").unwrap();
    let uri = id.to_string().into();
    patiently(&one, || grants.at_once(&one, Caller::Peer(&id, &uri), &local("other"), None, at(0)));
    assert_eq!(grants.evaluations(), 4);
}

#[test]
fn an_answer_that_reads_the_time_holds_for_its_minute() {
    let policy = granting(
        "{\"roles\": [], \"scopes\": [sprintf(\"m:m%v\", [input.time.minute])], \
         \"tenant\": \"acme\"}",
    );
    let grants = Grants::new();
    for (seconds, scopes, evaluations) in
        [(60, "m:m1", 1), (119, "m:m1", 1), (120, "m:m2", 2), (90, "m:m1", 3)]
    {
        let claims = ask(&grants, &policy, "orders", at(seconds));
        assert_eq!(claims.scopes().to_string(), scopes, "{seconds}");
        assert_eq!(grants.evaluations(), evaluations, "{seconds}");
    }
}

#[test]
fn an_answer_that_reads_the_address_holds_for_that_address() {
    let policy = granting(
        "{\"roles\": [], \"scopes\": [\"a:b\"], \"tenant\": \"acme\"} if input.peer.address == \"::1\"",
    );
    let grants = Grants::new();
    let here = Some("::1".parse().unwrap());
    assert!(ask_from(&grants, &policy, "orders", here, at(0)).refusal().is_none());
    assert!(ask_from(&grants, &policy, "orders", None, at(0)).refusal().is_some());
    assert!(ask_from(&grants, &policy, "orders", here, at(0)).refusal().is_none());
    assert_eq!(grants.evaluations(), 2);
}

#[test]
fn an_answer_lives_as_long_as_it_says() {
    let policy = granting(
        "{\"roles\": [], \"scopes\": [\"a:b\"], \"tenant\": \"acme\", \"ttl_seconds\": 30}",
    );
    let grants = Grants::new();
    let claims = ask(&grants, &policy, "orders", at(100));
    assert_eq!(claims.expires(), Some(at(130)));
    assert!(claims.holds_at(at(129)) && !claims.holds_at(at(130)) && !claims.holds_at(at(99)));
    ask(&grants, &policy, "orders", at(129));
    assert_eq!(grants.evaluations(), 1);
    ask(&grants, &policy, "orders", at(130));
    assert_eq!(grants.evaluations(), 2);
}

#[test]
fn the_cache_is_bounded_and_keeps_what_is_in_use() {
    let policy = granting("{\"roles\": [], \"scopes\": [\"a:b\"], \"tenant\": \"acme\"}");
    let grants = Grants::new();
    let in_use = ask(&grants, &policy, "orders", at(0));
    let claims = Arc::clone(&in_use);
    for n in 0..3 * GENERATION_MAX {
        let key = (Who::Workload(format!("spiffe://example.org/prod/s{n}").into()), None);
        grants.0.borrow_mut().put(key, &claims);
        if n % 1000 == 0 {
            assert!(Arc::ptr_eq(&ask(&grants, &policy, "orders", at(0)), &in_use));
        }
    }
    let cache = grants.0.borrow();
    assert!(cache.young.len() <= GENERATION_MAX && cache.old.len() <= GENERATION_MAX);
    assert_eq!(cache.evaluations, 1);
}

/// The bound is loose enough for any machine; it catches a cache that does not work.
#[test]
fn a_kept_answer_costs_far_less_than_a_new_one() {
    let policy = policy(&["package sidegate.global\nimport rego.v1\n\
         default grant := {\"roles\": [], \"scopes\": [], \"tenant\": null}\n\
         grant := {\"roles\": s.roles, \"scopes\": s.scopes, \"tenant\": s.tenant} if {\n\
         \ts := data.services[input.peer.service]\n}"]);
    let grants = Grants::new();
    let id = SpiffeId::new("spiffe://example.org/prod/orders").unwrap();
    let local = local("billing");
    let uri: Arc<str> = id.to_string().into();
    let time = |rounds: u32, each: &dyn Fn()| {
        each();
        let started = Instant::now();
        (0..rounds).for_each(|_| each());
        started.elapsed() / rounds
    };
    let ask = |grants: &Grants| {
        let caller = Caller::Peer(&id, &uri);
        drop(patiently(&policy, || grants.at_once(&policy, caller, &local, None, at(0))));
    };
    let kept = time(10_000, &|| ask(&grants));
    let new = time(200, &|| ask(&Grants::new()));
    assert!(kept * 5 < new, "kept: {kept:?}, new: {new:?}");
}
