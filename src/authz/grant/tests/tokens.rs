//! Claims by token: never more than the token says, never more than the policy leaves.

use std::sync::Arc;
use std::time::SystemTime;

use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, proptest,
};
use serde_json::{Value, json};
use spiffe::SpiffeId;

use super::{ask, at, granting, local, policy};
use crate::authz::grant::{GENERATION_MAX, Grants, Who};
use crate::authz::{Claims, Method, Refusal, Scope, ScopePattern, ScopeSet};
use crate::policy::Policy;
use crate::token::{Kind, Verified};

const EXP: u64 = 1000;
const GENEROUS: &str = "{\"roles\": [\"operator\"], \"scopes\": [\"*:*\"], \"tenant\": \"other\", \
                        \"cross_tenant\": true, \"ttl_seconds\": 60}";

fn claimed(change: &Value) -> Value {
    let mut claims = json!({
        "sub": "robot", "iss": "https://issuer", "exp": EXP, "jti": "job-7", "tenant": "acme",
        "scope": ["orders:*", "users:read", "openid"], "teams": ["core"], "roles": ["king"],
    });
    claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    claims
}

fn machine(change: &Value) -> Arc<Verified> {
    Verified::unproven(Kind::Machine, &claimed(change))
}

fn svid(service: &str, exp: u64) -> Arc<Verified> {
    let id = SpiffeId::new(format!("spiffe://example.org/prod/{service}")).unwrap();
    let claims =
        json!({"sub": id.to_string(), "exp": exp, "fingerprint": format!("{service}{exp}")});
    Verified::unproven(Kind::Svid(id), &claims)
}

fn present(
    grants: &Grants,
    policy: &Policy,
    token: &Arc<Verified>,
    now: SystemTime,
) -> Arc<Claims> {
    super::patiently(policy, || grants.claims_of_token(policy, token, &local("billing"), None, now))
}

fn once(policy: &Policy, token: &Arc<Verified>) -> Arc<Claims> {
    present(&Grants::new(), policy, token, at(0))
}

#[test]
fn a_machine_token_brings_its_own_rights() {
    let policy = granting(GENEROUS);
    let token = machine(&json!({}));
    let claims = once(&policy, &token);
    assert_eq!(claims.scopes().to_string(), "orders:* users:read");
    assert_eq!(claims.tenant().unwrap().as_str(), "acme");
    assert_eq!((claims.teams(), claims.roles()), (&["core".into()][..], &["king".into()][..]));
    assert_eq!((&**claims.subject(), claims.method()), ("robot", Method::Jwt));
    assert_eq!(claims.issuer().map(|it| &**it), Some("https://issuer"));
    assert_eq!((claims.spiffe_id(), claims.cross_tenant()), (None, false));
    assert!(Arc::ptr_eq(claims.token().unwrap(), &token));
    assert_eq!((claims.expires(), claims.refusal()), (Some(at(EXP)), None));
}

#[test]
fn a_subject_that_looks_like_a_workload_is_none() {
    let id = "spiffe://example.org/prod/orders";
    let policy = policy(&["package sidegate.global\nimport rego.v1\n\
         grant := {\"roles\": [], \"scopes\": [], \"tenant\": null}\n\
         deny contains \"workload\" if input.peer.spiffe_id != null\n\
         deny contains \"workload\" if input.peer.service != null\n\
         limit := [\"orders:read\"] if input.peer.method == \"jwt\""]);
    let claims = once(&policy, &machine(&json!({ "sub": id })));
    assert_eq!((&**claims.subject(), claims.spiffe_id()), (id, None));
    assert_eq!((claims.refusal(), claims.scopes().to_string().as_str()), (None, "orders:read"));
}

#[test]
fn a_machine_token_does_not_need_a_grant_that_can_be_answered() {
    let claims = once(&granting("{} if input.peer.service == \"x\""), &machine(&json!({})));
    assert_eq!((claims.refusal(), claims.scopes().is_empty()), (None, false));
}

#[test]
fn the_policy_caps_a_token_by_issuer_subject_and_method() {
    let policy = policy(&["package sidegate.global\nimport rego.v1\n\
         grant := {\"roles\": [], \"scopes\": [], \"tenant\": null}\n\
         default limit := []\n\
         limit := [\"*:read\"] if input.peer.issuer == \"https://issuer\"\n\
         deny contains \"banned\" if input.peer.subject == \"mallory\"\n\
         deny contains \"no tokens\" if { input.peer.method == \"jwt\"; input.peer.subject == \"x\" }"]);
    for (change, scopes, refused) in [
        (json!({}), "orders:read users:read", false),
        (json!({"iss": "https://other"}), "", false),
        (json!({"sub": "mallory"}), "", true),
        (json!({"sub": "x"}), "", true),
    ] {
        let claims = once(&policy, &machine(&change));
        assert_eq!(claims.scopes().to_string(), scopes, "{change}");
        assert_eq!(matches!(claims.refusal(), Some(Refusal::Policy(_))), refused, "{change}");
    }
}

#[test]
fn a_token_that_does_not_make_sense_holds_nothing() {
    let many: Vec<String> = (0..257).map(|n| format!("s{n}:read")).collect();
    for (change, expected) in [
        (json!({"tenant": "Acme Corp"}), "`Acme Corp` is not a tenant"),
        (json!({"tenant": ""}), "`` is not a tenant"),
        (json!({"scope": many}), "more than 256 scopes"),
        (json!({"iss": null}), "names no issuer"),
    ] {
        let claims = once(&granting(GENEROUS), &machine(&change));
        let Some(Refusal::Error(message)) = claims.refusal() else { panic!("{change}: accepted") };
        assert!(message.contains(expected), "{change}: {message}");
        assert!(claims.scopes().is_empty() && claims.tenant().is_none());
    }
    let claims = once(&granting(GENEROUS), &machine(&json!({"tenant": null})));
    assert_eq!((claims.tenant(), claims.refusal()), (None, None));
}

#[test]
fn a_ceiling_that_cannot_be_answered_leaves_nothing() {
    let policy = policy(&["package sidegate.global\nimport rego.v1\n\
         grant := {\"roles\": [], \"scopes\": [], \"tenant\": null}\nlimit := [\"*:read\", \"oops\"]"]);
    let claims = once(&policy, &machine(&json!({"cross_tenant": true})));
    assert!(matches!(claims.refusal(), Some(Refusal::Error(_))));
    assert!(claims.scopes().is_empty() && !claims.cross_tenant());
}

#[test]
fn a_right_across_tenants_is_that_of_the_token_and_a_denial_takes_it() {
    let across = machine(&json!({"cross_tenant": true}));
    assert!(once(&granting(GENEROUS), &across).cross_tenant());
    let denying = policy(&["package sidegate.global\nimport rego.v1\n\
         grant := {\"roles\": [], \"scopes\": [], \"tenant\": null}\ndeny contains \"no\" if true"]);
    assert!(!once(&denying, &across).cross_tenant());
}

#[test]
fn a_jwt_svid_is_granted_what_its_workload_is() {
    let policy = policy(&["package sidegate.global\nimport rego.v1\n\
         default grant := {\"roles\": [], \"scopes\": [], \"tenant\": null}\n\
         grant := {\"roles\": [\"operator\"], \"scopes\": s.scopes, \"tenant\": s.tenant} if {\n\
         \ts := data.services[input.peer.service]\n\tinput.peer.trust_domain == \"example.org\"\n}\n\
         deny contains \"wrong\" if { input.peer.method == \"jwt\"; input.peer.issuer != null }\n\
         limit := [\"*:read\", \"*:run\"]"]);
    let by_certificate = ask(&Grants::new(), &policy, "orders", at(0));
    let by_token = once(&policy, &svid("orders", EXP));
    assert_eq!(by_token.scopes(), by_certificate.scopes());
    assert_eq!(by_token.scopes().to_string(), "*:read jobs:run orders:run");
    assert_eq!(by_token.tenant(), by_certificate.tenant());
    assert_eq!(by_token.subject(), by_certificate.subject());
    assert_eq!(by_token.spiffe_id(), by_certificate.spiffe_id());
    assert_eq!((by_token.method(), by_token.issuer()), (Method::JwtSvid, None));
    assert_eq!((by_certificate.expires(), by_token.expires()), (None, Some(at(EXP))));
    assert!(once(&policy, &svid("nobody", EXP)).tenant().is_none());
}

#[test]
fn what_ends_first_ends_the_claims() {
    let timed = policy(&["package sidegate.global\nimport rego.v1\n\
         grant := {\"roles\": [], \"scopes\": [\"a:b\"], \"tenant\": \"acme\", \"ttl_seconds\": 30}\n\
         limit := [\"*:*\"] if input.time.hour >= 0"]);
    let lasting = granting(GENEROUS);
    for (policy, token, now, expires) in [
        (&lasting, machine(&json!({})), 0, EXP),
        (&timed, machine(&json!({})), 0, 60),
        (&timed, machine(&json!({"exp": 50})), 0, 50),
        (&timed, svid("orders", EXP), 0, 30),
        (&timed, svid("orders", EXP), 40, 60),
        (&timed, svid("orders", 20), 0, 20),
    ] {
        let claims = present(&Grants::new(), policy, &token, at(now));
        assert_eq!(claims.expires(), Some(at(expires)), "{token:?}");
    }
}

#[test]
fn the_same_token_is_evaluated_once() {
    let policy = granting(GENEROUS);
    let grants = Grants::new();
    let first = present(&grants, &policy, &machine(&json!({})), at(0));
    // A verifier that has forgotten the token makes the proof anew.
    let again = present(&grants, &policy, &machine(&json!({})), at(EXP - 1));
    assert!(Arc::ptr_eq(&first, &again));
    assert_eq!(grants.evaluations(), 1);
    let workload = present(&grants, &policy, &svid("orders", EXP), at(0));
    assert!(Arc::ptr_eq(&workload, &present(&grants, &policy, &svid("orders", EXP), at(0))));
    assert_eq!(grants.evaluations(), 2);
}

#[test]
fn a_token_that_has_run_out_is_not_asked_about_again() {
    let policy = granting(GENEROUS);
    let grants = Grants::new();
    let token = machine(&json!({}));
    let first = present(&grants, &policy, &token, at(0));
    let over = present(&grants, &policy, &token, at(EXP));
    assert!(Arc::ptr_eq(&first, &over) && !over.holds_at(at(EXP)));
    assert!(over.token_has_run_out_at(at(EXP)) && !over.token_has_run_out_at(at(EXP - 1)));
    assert_eq!(grants.evaluations(), 1);
}

#[test]
fn two_tokens_of_one_subject_are_never_mixed() {
    let policy = granting(GENEROUS);
    let grants = Grants::new();
    let scopes =
        |token: &Arc<Verified>| present(&grants, &policy, token, at(0)).scopes().to_string();
    let reader = machine(&json!({"jti": "1", "scope": ["a:read"]}));
    let writer = machine(&json!({"jti": "2", "scope": ["a:write"]}));
    for _ in 0..2 {
        assert_eq!((scopes(&reader).as_str(), scopes(&writer).as_str()), ("a:read", "a:write"));
    }
    assert_eq!(grants.evaluations(), 2);
}

/// The fingerprint is made from `jti`, which says nothing about who gave it out.
#[test]
fn tokens_with_the_same_id_are_never_mixed() {
    let policy = granting(GENEROUS);
    let grants = Grants::new();
    let first = machine(&json!({}));
    for change in [
        json!({"sub": "other"}),
        json!({"iss": "https://other"}),
        json!({"scope": ["users:read"]}),
        json!({"tenant": "other"}),
        json!({"teams": []}),
        json!({"roles": []}),
        json!({"cross_tenant": true}),
        json!({"exp": EXP + 1}),
    ] {
        let other = machine(&change);
        for token in [&first, &other, &first] {
            let claims = present(&grants, &policy, token, at(0));
            assert_eq!(claims.subject(), token.subject(), "{change}");
            assert_eq!(claims.issuer(), token.issuer(), "{change}");
            assert_eq!(claims.tenant().map(|it| it.as_str()), token.tenant().map(|it| &**it));
            assert_eq!((claims.teams(), claims.roles()), (token.teams(), token.roles()));
            assert_eq!(claims.cross_tenant(), token.cross_tenant(), "{change}");
            assert_eq!(claims.expires(), Some(token.expires()), "{change}");
            assert_eq!(claims.token().unwrap().scopes(), token.scopes(), "{change}");
        }
    }
    let id = SpiffeId::new("spiffe://example.org/prod/orders").unwrap();
    let same = json!({"sub": "robot", "jti": "job-7", "exp": EXP});
    let workload = present(&grants, &policy, &Verified::unproven(Kind::Svid(id), &same), at(0));
    assert_eq!(workload.method(), Method::JwtSvid);
}

#[test]
fn a_workload_is_never_taken_for_its_token_nor_the_other_way() {
    let policy = granting(GENEROUS);
    let grants = Grants::new();
    let uri = "spiffe://example.org/prod/orders";
    let posing = machine(&json!({"sub": uri, "jti": uri}));
    for _ in 0..2 {
        assert_eq!(present(&grants, &policy, &posing, at(0)).method(), Method::Jwt);
        assert_eq!(ask(&grants, &policy, "orders", at(0)).method(), Method::Spiffe);
    }
}

#[test]
fn tokens_do_not_fill_the_cache() {
    let policy = granting(GENEROUS);
    let grants = Grants::new();
    let claims = present(&grants, &policy, &machine(&json!({})), at(0));
    for n in 0..3 * GENERATION_MAX {
        let key = (Who::Token(format!("{n:032x}").into()), None);
        grants.0.borrow_mut().put(key, &claims);
    }
    let cache = grants.0.borrow();
    assert!(cache.young.len() <= GENERATION_MAX && cache.old.len() <= GENERATION_MAX);
}

// Whatever a token says and whatever the policy answers

const LAYERS: [&str; 4] = ["global", "team", "resource", "tenant"];
const NAMES: [&str; 3] = ["a", "b", "c"];

fn pattern() -> impl Strategy<Value = String> {
    let side = || proptest::sample::select(vec!["a", "b", "c", "*"]);
    (side(), side()).prop_map(|(resource, action)| format!("{resource}:{action}"))
}

fn patterns() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(pattern(), 0..4)
}

/// Words of a token, of which not all are scopes of ours.
fn words() -> impl Strategy<Value = Vec<String>> {
    let foreign =
        proptest::sample::select(vec!["openid", "a:b:c", "A:b", "", "*", "a:", "profile"]);
    let word = proptest::prop_oneof![4 => pattern(), 1 => foreign.prop_map(str::to_owned)];
    proptest::collection::vec(word, 0..6)
}

/// A layer that is not written, one that answers nothing, or one that limits.
type Limit = Option<Option<Vec<String>>>;

fn limit() -> impl Strategy<Value = Limit> {
    proptest::prop_oneof![
        2 => Just(None),
        1 => Just(Some(None)),
        4 => patterns().prop_map(|it| Some(Some(it))),
    ]
}

fn layered(grant: &str, limits: &[Limit], deny: Option<usize>) -> Policy {
    let layer = |(n, (name, limit)): (usize, (&&str, &Limit))| {
        let grant = if n == 0 { format!("grant := {grant}\n") } else { String::new() };
        let limit = match limit {
            None => String::new(),
            Some(None) => "limit := [\"*:*\"] if input.peer.subject == \"nobody\"\n".to_owned(),
            Some(Some(patterns)) => format!("limit := {}\n", json!(patterns)),
        };
        let deny = if deny == Some(n) { "deny contains \"no\" if true\n" } else { "" };
        format!("package sidegate.{name}\nimport rego.v1\n{grant}{limit}{deny}")
    };
    let modules: Vec<String> = LAYERS.iter().zip(limits).enumerate().map(layer).collect();
    policy(&modules.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Every scope over the names that patterns are made of.
fn all_scopes() -> impl Iterator<Item = Scope> {
    let names = || NAMES.into_iter();
    names().flat_map(move |it| {
        names().map(move |action| Scope::parse(&format!("{it}:{action}")).unwrap())
    })
}

fn set(patterns: &[String]) -> ScopeSet {
    let patterns = patterns.iter().filter_map(|it| ScopePattern::parse(it).ok());
    ScopeSet::new(patterns.collect()).unwrap()
}

fn expected(brought: &ScopeSet, limits: &[Limit], scope: &Scope) -> bool {
    let within = |limit: &Option<Vec<String>>| {
        limit.as_ref().is_some_and(|patterns| set(patterns).allows(scope))
    };
    brought.allows(scope) && limits.iter().flatten().all(within)
}

proptest! {
    // Each case compiles a policy.
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_token_has_what_it_says_and_every_layer_leaves_and_nothing_else(
        scope in words(),
        limits in proptest::collection::vec(limit(), 4),
        deny in proptest::option::weighted(0.2, 0..4_usize),
        tenant in proptest::sample::select(vec!["acme", "globex", "other"]),
        cross_tenant in any::<bool>(),
    ) {
        let change = json!({"scope": scope, "tenant": tenant, "cross_tenant": cross_tenant});
        let claims = once(&layered(GENEROUS, &limits, deny), &machine(&change));
        for asked in all_scopes() {
            let expected = deny.is_none() && expected(&set(&scope), &limits, &asked);
            prop_assert_eq!(claims.scopes().allows(&asked), expected, "{}", asked);
        }
        prop_assert_eq!(claims.tenant().unwrap().as_str(), tenant, "a policy gives no tenant");
        prop_assert_eq!(claims.cross_tenant(), cross_tenant && deny.is_none());
        prop_assert_eq!(claims.expires(), Some(at(EXP)), "no `ttl_seconds` of a grant");
        prop_assert_eq!(claims.roles(), &["king".into()][..], "no role of a grant");
    }

    #[test]
    fn a_workload_has_what_is_granted_and_every_layer_leaves_and_nothing_else(
        scopes in patterns(),
        limits in proptest::collection::vec(limit(), 4),
        deny in proptest::option::weighted(0.2, 0..4_usize),
    ) {
        let grant = json!({"roles": [], "scopes": scopes, "tenant": "acme"}).to_string();
        let policy = layered(&grant, &limits, deny);
        let by_certificate = ask(&Grants::new(), &policy, "orders", at(0));
        let by_token = once(&policy, &svid("orders", EXP));
        for asked in all_scopes() {
            let expected = deny.is_none() && expected(&set(&scopes), &limits, &asked);
            prop_assert_eq!(by_certificate.scopes().allows(&asked), expected, "{}", asked);
        }
        prop_assert_eq!(by_token.scopes(), by_certificate.scopes());
    }

    #[test]
    fn roles_of_a_token_never_matter(
        scope in words(),
        roles in proptest::collection::vec(
            proptest::sample::select(vec!["operator", "auditor", "admin", "*:*", "a:b"]), 0..4),
        grants in any::<bool>(),
    ) {
        let policy = granting(if grants { GENEROUS } else { "{}" });
        let with = once(&policy, &machine(&json!({"scope": scope, "roles": roles})));
        let without = once(&policy, &machine(&json!({"scope": scope, "roles": []})));
        prop_assert_eq!(with.scopes(), without.scopes());
        prop_assert_eq!(with.tenant(), without.tenant());
        prop_assert_eq!(with.refusal(), without.refusal());
        prop_assert!(without.roles().is_empty() && with.roles().len() == roles.len());
    }
}
