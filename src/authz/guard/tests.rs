//! The order of the rules, and each reason.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue, Method};
use serde_json::json;
use spiffe::SpiffeId;

use tokio::sync::Semaphore;

use super::Guard;
use crate::authz::claims::{self, Claims, Refusal, Rights};
use crate::authz::{
    Beside, Denial, HttpFacts, Permit, Reason, Required, Route, RouteMatch, RouteSpec, RouteTable,
    Scope, ScopeSet, Standpoint, Target, Tenant,
};
use crate::policy::{Aside, DenyReason, Direction, Local, Pace, Rules, Subject, Workload, load};
use crate::token::{Kind, Verified};

const NOW: SystemTime = UNIX_EPOCH;

struct Case {
    rules: Rules,
    headers: HeaderMap,
}

impl Case {
    /// `deny` is the body of `data.sidegate.request.deny`.
    fn new(deny: Option<&str>) -> Self {
        let root = tempfile::tempdir().unwrap();
        let global = "package sidegate.global\ngrant := {}";
        fs::write(root.path().join("global.rego"), global).unwrap();
        if let Some(deny) = deny {
            let deny = format!("package sidegate.request\nimport rego.v1\ndeny contains {deny}");
            fs::write(root.path().join("request.rego"), deny).unwrap();
        }
        let policy = load(root.path()).unwrap();
        Self { rules: Rules::of(policy), headers: HeaderMap::new() }
    }

    fn judge(&self, claims: &Claims, method: &Method, target: &str) -> Result<Permit, Denial> {
        let local = Local { workload: None, tenant: "acme".into(), direction: Direction::Inbound };
        let facts = HttpFacts {
            method,
            target: &Target::parse(target).unwrap(),
            host: "billing",
            headers: &self.headers,
            is_grpc: false,
            address: None,
            local: &local,
            serial: None,
            now: NOW,
        };
        guard().judge_http(&self.rules, claims, &routes(), &facts)
    }
}

fn guard() -> Guard {
    Guard::new(Tenant::parse("acme").unwrap())
}

fn routes() -> RouteTable {
    let route = |path: &str, scopes: Required| RouteSpec {
        name: Some(path.trim_start_matches('/').to_owned()),
        matcher: RouteMatch::Http { path: path.to_owned(), methods: vec![Method::GET] },
        scopes,
    };
    let users = Required::All(vec![Scope::parse("users:read").unwrap()]);
    RouteTable::new(vec![route("/users", users), route("/open", Required::DangerNoScope)]).unwrap()
}

fn rights(tenant: Option<&str>, scopes: &str) -> Rights {
    Rights {
        tenant: tenant.map(|it| Tenant::parse(it).unwrap()),
        scopes: ScopeSet::parse(scopes).unwrap(),
        teams: Vec::new(),
        roles: Vec::new(),
        cross_tenant: false,
        expires: None,
        refusal: None,
    }
}

fn claims(rights: Rights) -> Claims {
    let id = SpiffeId::new("spiffe://example.org/prod/orders").unwrap();
    let subject = Arc::new(Subject::spiffe(Workload::new(&id)));
    Claims::new(subject, claims::Method::Spiffe, NOW, "r1".into(), rights)
}

fn reason(verdict: &Result<Permit, Denial>) -> Option<Reason> {
    verdict.as_ref().err().map(|denial| denial.reason)
}

#[test]
fn who_has_the_scope_gets_a_permit_on_the_terms_of_the_route() {
    let verdict =
        Case::new(None).judge(&claims(rights(Some("acme"), "*:read")), &Method::GET, "/users?a=1");
    let permit = verdict.unwrap();
    assert_eq!((&**permit.route(), permit.route_index()), ("users", 0));
    assert_eq!(&**permit.required(), "users:read");
    assert!(!permit.cross_tenant());
}

#[test]
fn the_first_rule_that_fails_answers() {
    let case = Case::new(Some("\"no\" if true"));
    let denied = |tenant: Option<&str>| {
        let reasons =
            vec![DenyReason { layer: "global", code: None, message: "blocked".to_owned() }];
        Rights { refusal: Some(Refusal::Policy(reasons)), ..rights(tenant, "*:*") }
    };
    let error = Rights::refused(Refusal::Error("broken".to_owned()));
    for (rights, target, expected, detail) in [
        (error, "/nowhere", Reason::PolicyError, "broken"),
        (rights(None, "*:*"), "/nowhere", Reason::TenantMismatch, "no tenant"),
        (rights(Some("other"), "*:*"), "/nowhere", Reason::TenantMismatch, "`other`, not `acme`"),
        (denied(Some("other")), "/users", Reason::TenantMismatch, "`other`"),
        (rights(Some("acme"), "*:*"), "/nowhere", Reason::NoRoute, "no declared route"),
        (denied(Some("acme")), "/nowhere", Reason::NoRoute, "no declared route"),
        (denied(Some("acme")), "/users", Reason::PolicyDenied, "global: blocked"),
        (denied(Some("acme")), "/open", Reason::PolicyDenied, "global: blocked"),
        (rights(Some("acme"), "a:b"), "/users", Reason::InsufficientScope, "held: `a:b`"),
        (rights(Some("acme"), "*:*"), "/users", Reason::PolicyDenied, "request: no"),
        (rights(Some("acme"), ""), "/open", Reason::PolicyDenied, "request: no"),
    ] {
        let denial = case.judge(&claims(rights), &Method::GET, target).unwrap_err();
        assert_eq!(denial.reason, expected, "{target}");
        assert!(denial.detail.contains(detail), "{}", denial.detail);
        let known = !matches!(expected, Reason::TenantMismatch | Reason::NoRoute)
            && !denial.detail.contains("broken");
        assert_eq!(denial.route.is_some(), known, "{target}");
    }
}

#[test]
fn only_a_missing_scope_is_challenged() {
    let case = Case::new(None);
    let verdict = case.judge(&claims(rights(Some("acme"), "")), &Method::GET, "/users");
    let denial = verdict.unwrap_err();
    assert_eq!(denial.required(), "users:read");
    assert_eq!(
        denial.challenge().unwrap(),
        "Bearer error=\"insufficient_scope\", scope=\"users:read\""
    );
    let denial = case.judge(&claims(rights(None, "")), &Method::GET, "/users").unwrap_err();
    assert_eq!((denial.challenge(), denial.required()), (None, ""));
}

#[test]
fn another_tenant_gets_in_only_by_its_special_right_and_that_is_seen() {
    let special = Rights { cross_tenant: true, ..rights(Some("ops"), "users:read") };
    let verdict = Case::new(None).judge(&claims(special), &Method::GET, "/users");
    assert!(verdict.unwrap().cross_tenant());
    let at_home = Rights { cross_tenant: true, ..rights(Some("acme"), "users:read") };
    let verdict = Case::new(None).judge(&claims(at_home), &Method::GET, "/users");
    assert!(!verdict.unwrap().cross_tenant());
    let nowhere = Rights { cross_tenant: true, ..rights(None, "*:*") };
    let verdict = Case::new(None).judge(&claims(nowhere), &Method::GET, "/users");
    assert_eq!(reason(&verdict), Some(Reason::TenantMismatch));
}

#[test]
fn rights_that_have_run_out_are_none() {
    let over = Rights { expires: Some(NOW), ..rights(Some("acme"), "*:*") };
    let verdict = Case::new(None).judge(&claims(over), &Method::GET, "/users");
    assert_eq!(reason(&verdict), Some(Reason::PolicyDenied));
    let until = Some(NOW + Duration::from_secs(1));
    let holds = Rights { expires: until, ..rights(Some("acme"), "*:*") };
    let verdict = Case::new(None).judge(&claims(holds), &Method::GET, "/users");
    assert_eq!(reason(&verdict), None);
}

#[test]
fn the_policy_sees_the_request_and_the_rights() {
    let all = claims(rights(Some("acme"), "*:read"));
    for (deny, target, denied) in [
        ("\"x\" if input.request.path == \"/users\"", "/users", true),
        ("\"x\" if input.request.query.q[_] == \"a b\"", "/users?q=1&q=a+b", true),
        ("\"x\" if input.request.query.q[_] == \"a b\"", "/users?q=a%2fb", false),
        ("\"x\" if input.request.route == \"users\"", "/users", true),
        ("\"x\" if input.request.headers[\"x-tier\"][0] == \"test\"", "/users", true),
        ("\"x\" if input.request.headers.authorization", "/users", false),
        ("\"x\" if input.request.scopes_required == [\"users:read\"]", "/users", true),
        ("\"x\" if input.grant == {\"scopes\": [\"*:read\"], \"tenant\": \"acme\"}", "/open", true),
        ("\"x\" if input.request.method == \"GET\"", "/open", true),
        ("\"x\" if input.peer.service == \"orders\"", "/open", true),
        ("\"x\" if input.request.grpc.service", "/open", true),
        ("\"x\" if is_string(input.request.grpc.service)", "/open", false),
    ] {
        let mut case = Case::new(Some(deny));
        case.headers.append("x-tier", HeaderValue::from_static("test"));
        case.headers.append("authorization", HeaderValue::from_static("Bearer secret"));
        let verdict = case.judge(&all, &Method::GET, target);
        let expected = denied.then_some(Reason::PolicyDenied);
        assert_eq!(reason(&verdict), expected, "{deny}");
    }
}

#[test]
fn what_the_policy_cannot_judge_is_refused() {
    let all = claims(rights(Some("acme"), "*:*"));
    let case = Case::new(Some("\"x\" if startswith(input.request.path, 5)"));
    assert_eq!(reason(&case.judge(&all, &Method::GET, "/users")), Some(Reason::PolicyError));
    let mut case = Case::new(Some("\"x\" if input.request.path == \"/other\""));
    assert_eq!(reason(&case.judge(&all, &Method::GET, "/users?%")), Some(Reason::PolicyError));
    case.headers.append("x-tier", HeaderValue::from_bytes(b"\xff").unwrap());
    let denial = case.judge(&all, &Method::GET, "/users").unwrap_err();
    assert_eq!(denial.reason, Reason::PolicyError);
}

#[test]
fn a_stream_is_judged_by_its_listener() {
    let scope = Required::Any(vec![Scope::parse("ledger:connect").unwrap()]);
    let route = Arc::new(Route::new("ledger", scope).unwrap());
    let case = Case::new(None);
    for (rights, expected) in [
        (rights(Some("acme"), "ledger:*"), None),
        (rights(Some("acme"), "*:read"), Some(Reason::InsufficientScope)),
        (rights(Some("other"), "*:*"), Some(Reason::TenantMismatch)),
        (Rights::refused(Refusal::Error(String::new())), Some(Reason::PolicyError)),
    ] {
        let verdict = guard().judge_tcp(&case.rules, &claims(rights), None, &route, NOW);
        assert_eq!(reason(&verdict), expected);
    }
}

#[test]
fn reasons_have_codes_of_their_own() {
    let codes: Vec<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    assert_eq!(
        codes,
        [
            "invalid_token",
            "revoked",
            "insufficient_scope",
            "no_route",
            "policy_denied",
            "policy_error",
            "tenant_mismatch"
        ]
    );
}

// Tokens that have run out, and revocations

const FINGERPRINT: &str = "0123456789abcdef0123456789abcdef";

fn token(exp: u64) -> Arc<Verified> {
    let claims = json!({
        "sub": "spiffe://example.org/prod/orders", "iss": "https://issuer", "exp": exp,
        "jti": "job-7", "fingerprint": FINGERPRINT,
    });
    Verified::unproven(Kind::Machine, &claims)
}

fn by_token(rights: Rights, exp: u64) -> Claims {
    let token = token(exp);
    let subject = Subject::jwt(Arc::clone(token.subject()), "https://issuer".into());
    Claims::new(Arc::new(subject), claims::Method::Jwt, NOW, "r1".into(), rights)
        .with_token(Some(token))
}

/// The three ways to judge, all of what else would be let in.
fn judge_all(rules: Rules, claims: &Claims, serial: Option<&str>) -> [Result<(), Denial>; 3] {
    let case = Case { rules, headers: HeaderMap::new() };
    let scope = Required::All(vec![Scope::parse("users:read").unwrap()]);
    let route = Arc::new(Route::new("users", scope).unwrap());
    let permit = Permit::new(&route, false);
    let target = Target::parse("/users").unwrap();
    let local = Local { workload: None, tenant: "acme".into(), direction: Direction::Inbound };
    let facts = HttpFacts {
        method: &Method::GET,
        target: &target,
        host: "billing",
        headers: &case.headers,
        is_grpc: false,
        address: None,
        local: &local,
        serial,
        now: NOW,
    };
    [
        guard().judge_http(&case.rules, claims, &routes(), &facts).map(drop),
        guard().judge_tcp(&case.rules, claims, serial, &route, NOW).map(drop),
        again(&case.rules, claims, &permit, &facts.standpoint()),
    ]
}

fn again(
    rules: &Rules,
    claims: &Claims,
    permit: &Permit,
    at: &Standpoint<'_>,
) -> Result<(), Denial> {
    let (threads, pace, turn) = (Aside::default(), Pace::default(), Semaphore::new(1));
    let by = Beside { threads: &threads, pace: &pace, turn: &turn };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(guard().judge_again(by, rules, claims, permit, at))
}

fn revoking(revocations: &serde_json::Value) -> Rules {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("global.rego"), "package sidegate.global\ngrant := {}").unwrap();
    let data = json!({ "revocations": revocations });
    fs::write(root.path().join("data.json"), data.to_string()).unwrap();
    Rules::of(load(root.path()).unwrap())
}

#[test]
fn a_token_that_has_run_out_ends_everything_that_it_let_in() {
    let holds = by_token(rights(Some("acme"), "users:read"), 1);
    for verdict in judge_all(Case::new(None).rules, &holds, None) {
        assert_eq!(verdict, Ok(()));
    }
    let over = by_token(rights(Some("acme"), "users:read"), 0);
    for verdict in judge_all(Case::new(None).rules, &over, None) {
        let denial = verdict.unwrap_err();
        assert_eq!((denial.reason, denial.reason.code()), (Reason::TokenExpired, "invalid_token"));
        assert_eq!(
            (denial.detail.as_str(), denial.route.as_ref()),
            ("the token has run out", None)
        );
        assert_eq!(denial.challenge().unwrap(), "Bearer error=\"invalid_token\"");
    }
}

#[test]
fn a_token_that_has_run_out_is_told_before_anything_else() {
    let error = Rights::refused(Refusal::Error("broken".to_owned()));
    for rights in [error, rights(None, ""), rights(Some("other"), "*:*")] {
        let policy = revoking(&json!({"tokens": ["job-7"]}));
        for verdict in judge_all(policy, &by_token(rights, 0), None) {
            assert_eq!(verdict.unwrap_err().reason, Reason::TokenExpired);
        }
    }
}

#[test]
fn whoever_is_revoked_is_refused_by_each_way_to_name_them() {
    let workload = || claims(rights(Some("acme"), "*:*"));
    let robot = || by_token(rights(Some("acme"), "*:*"), 1);
    let id = "spiffe://example.org/prod/orders";
    for (revocations, claims, serial, detail) in [
        (
            json!({"spiffe_ids": [id]}),
            workload(),
            None,
            "`spiffe_ids`: `spiffe://example.org/prod/o",
        ),
        (
            json!({"spiffe_ids": ["spiffe://example.org/*"]}),
            workload(),
            None,
            "`spiffe://example.org/*`",
        ),
        (json!({"subjects": [id]}), workload(), None, "revoked by `subjects`"),
        (json!({"serials": ["0A:BC"]}), workload(), Some("0abc"), "revoked by `serials`"),
        (json!({"spiffe_ids": [id]}), robot(), None, "revoked by `spiffe_ids`"),
        (json!({"subjects": [id]}), robot(), None, "revoked by `subjects`"),
        (json!({"tokens": ["job-7"]}), robot(), None, "revoked by `tokens`"),
        (json!({"tokens": [FINGERPRINT.to_uppercase()]}), robot(), None, "revoked by `tokens`"),
    ] {
        for verdict in judge_all(revoking(&revocations), &claims, serial) {
            let denial = verdict.unwrap_err();
            assert_eq!(denial.reason, Reason::Revoked, "{revocations}");
            assert!(denial.detail.contains(detail), "{revocations}: {}", denial.detail);
            assert_eq!((denial.route.as_ref(), denial.challenge()), (None, None));
        }
    }
}

#[test]
fn revocations_of_others_change_nothing() {
    let revocations = json!({
        "spiffe_ids": ["spiffe://example.org/prod/order", "spiffe://example.org/prod/orders/*"],
        "subjects": ["orders"],
        "tokens": ["job-70", "fedcba9876543210fedcba9876543210"],
        "serials": ["0abcd"],
    });
    for claims in [claims(rights(Some("acme"), "*:*")), by_token(rights(Some("acme"), "*:*"), 1)] {
        for verdict in judge_all(revoking(&revocations), &claims, Some("0abc")) {
            assert_eq!(verdict, Ok(()));
        }
    }
}

#[test]
fn a_revocation_is_told_before_tenant_and_policy() {
    let reasons = vec![DenyReason { layer: "global", code: None, message: "blocked".to_owned() }];
    for rights in [
        Rights::refused(Refusal::Error("broken".to_owned())),
        Rights { expires: Some(NOW), ..rights(Some("acme"), "*:*") },
        rights(None, ""),
        rights(Some("other"), "*:*"),
        Rights { refusal: Some(Refusal::Policy(reasons)), ..rights(Some("acme"), "") },
    ] {
        let policy = revoking(&json!({"spiffe_ids": ["spiffe://example.org/prod/*"]}));
        for verdict in judge_all(policy, &claims(rights), None) {
            assert_eq!(verdict.unwrap_err().reason, Reason::Revoked);
        }
    }
}
