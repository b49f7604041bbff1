//! Decisions that are written as the sidecar writes them, and decided again.

use std::io::Cursor;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::authz::{
    Assumed, Brought, Guard, Required, RouteMatch, RouteSpec, RouteTable, Scope, Supposed,
};
use crate::policy::{Direction, IdentityQuestion, Local, Source, Subject, Workload};
use crate::review::patience::Patience;
use crate::review::sites::{Served, SiteRoutes};
use crate::telemetry::audit;

const GLOBAL: &str = r#"package sidegate.global

import rego.v1

default grant := {"roles": [], "scopes": [], "tenant": null}

grant := data.identities[input.peer.spiffe_id]

deny contains "blocked" if data.blocked[input.peer.spiffe_id]
"#;

const TENANT: &str = r#"package sidegate.tenant

import rego.v1

default limit := ["*:*"]

limit := data.limits[input.peer.subject]
"#;

const OWN: &str = "spiffe://example.org/prod/shop";

fn side_with(data: &Value, request: Option<&str>) -> Side {
    let mut files = vec![
        ("global.rego".to_owned(), GLOBAL.as_bytes().to_vec()),
        ("tenant.rego".to_owned(), TENANT.as_bytes().to_vec()),
        ("data.json".to_owned(), data.to_string().into_bytes()),
    ];
    if let Some(body) = request {
        let text = format!("package sidegate.request\n\nimport rego.v1\n\ndeny contains {body}\n");
        files.push(("request.rego".to_owned(), text.into_bytes()));
    }
    Side::load(Source::from_files(files).unwrap()).unwrap()
}

fn side(data: &Value) -> Side {
    side_with(data, None)
}

fn at() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_254_000)
}

fn id(name: &str) -> String {
    format!("spiffe://example.org/prod/{name}")
}

fn required(kind: &str, scopes: &[&str]) -> Required {
    let scopes = scopes.iter().map(|it| Scope::parse(it).unwrap()).collect();
    if kind == "any" { Required::Any(scopes) } else { Required::All(scopes) }
}

fn table() -> RouteTable {
    let route = |path: &str, scopes| RouteSpec {
        name: None,
        matcher: RouteMatch::Http { path: path.to_owned(), methods: vec![http::Method::GET] },
        scopes,
    };
    RouteTable::new(vec![
        route("/read", required("all", &["orders:read"])),
        route("/both", required("all", &["orders:read", "orders:write"])),
        route("/either/{id}", required("any", &["orders:read", "orders:write"])),
        route("/open", Required::DangerNoScope),
    ])
    .unwrap()
}

fn site() -> Site {
    Site {
        local: Some(OWN.into()),
        tenant: Tenant::parse("acme").unwrap(),
        listeners: vec![Served { listener: "https".into(), routes: SiteRoutes::Http(table()) }],
    }
}

fn own() -> Local {
    Local {
        workload: Some(Workload::new(&SpiffeId::new(OWN).unwrap())),
        tenant: "acme".into(),
        direction: Direction::Inbound,
    }
}

/// Decides, and writes the line as the sidecar does.
fn decided(side: &Side, assumed: &Assumed, path: &str) -> (bool, String) {
    let (local, table) = (own(), table());
    let rules = side.rules();
    let question =
        IdentityQuestion { subject: &assumed.subject, address: None, local: &local, now: at() };
    let standing = Patience::default().outline(&rules.policy, assumed, &question);
    let supposed = Supposed::new(&rules.policy, assumed, &standing, at());
    let guard = Guard::new(Tenant::parse("acme").unwrap());
    let target = crate::authz::Target::parse(path).unwrap();
    let facts = crate::authz::HttpFacts {
        method: &http::Method::GET,
        target: &target,
        host: "shop",
        headers: &http::HeaderMap::new(),
        is_grpc: false,
        address: None,
        local: &local,
        serial: None,
        now: at(),
    };
    let outcome = supposed.http(&guard, rules, &table, &facts);
    let refused = standing.error.is_some() || !standing.denials.is_empty();
    let held = if refused { "" } else { &**standing.scopes.text() };
    let (decision, reason, route, required) = match &outcome.verdict {
        Ok((route, required)) => {
            (audit::Decision::Allow, "allowed", Some(&**route), Some(&**required))
        }
        Err(denial) => {
            let route = denial.route.as_ref();
            let (name, required) = (route.map(|it| &*it.name), route.map(|it| &*it.required));
            (audit::Decision::Deny, denial.reason.code(), name, required)
        }
    };
    let subject = &assumed.subject;
    let by_token = assumed.brings.is_some();
    let record = audit::Record {
        time: at(),
        request_id: "0123",
        direction: crate::telemetry::Direction::Inbound,
        listener: "https",
        protocol: audit::Protocol::Http,
        decision,
        reason,
        detail: None,
        source: audit::Source {
            spiffe_id: subject.workload.as_ref().map(|it| &**it.uri()),
            method: Some(subject.method),
            subject: by_token.then_some(&*subject.subject),
            issuer: subject.issuer.as_deref(),
            ..audit::Source::default()
        },
        destination: None,
        local: Some(OWN),
        tenant: standing.tenant.as_ref().map(Tenant::as_str),
        cross_tenant: outcome.cross_tenant,
        route,
        required_scopes: required,
        held_scopes: Some(held),
        roles: &[],
        method: Some("GET"),
        path: Some(path),
        again: false,
        shadow: None,
        policy_revision: Some(rules.policy.revision()),
    };
    let mut line = Vec::new();
    record.append_to(&mut line).unwrap();
    (outcome.verdict.is_ok(), String::from_utf8(line).unwrap())
}

fn workload(name: &str) -> Assumed {
    Assumed::workload(Subject::spiffe(Workload::new(&SpiffeId::new(id(name)).unwrap())))
}

fn token(scopes: &[&str]) -> Assumed {
    let brings = Brought {
        scopes: scopes.iter().map(|it| Arc::from(*it)).collect(),
        tenant: Some("acme".to_owned()),
        cross_tenant: false,
    };
    let subject = Subject::jwt("deployer".into(), "https://auth.example.org".into());
    Assumed { subject, brings: Some(brings) }
}

fn replay(new: &Side, old: Option<&Side>, sites: &[Site], log: &str) -> Replayed {
    let mut logs: Vec<Box<dyn Read>> = vec![Box::new(Cursor::new(log.as_bytes().to_vec()))];
    Replay { new, old, sites, service_tenant: None, span: Span::default() }.run(&mut logs).unwrap()
}

fn grant(scopes: &[&str]) -> Value {
    json!({"roles": [], "scopes": scopes, "tenant": "acme"})
}

#[test]
fn what_would_go_otherwise_is_told_by_caller_and_route() {
    let old = side(&json!({"identities": {id("a"): grant(&["orders:read"])}}));
    let new = side(&json!({"identities": {id("a"): grant(&["orders:write"])}}));
    let mut log = String::new();
    for path in ["/read", "/read", "/either/1", "/either/2", "/nowhere", "/both"] {
        log.push_str(&decided(&old, &workload("a"), path).1);
    }
    let replayed = replay(&new, None, &[site()], &log);
    assert_eq!((replayed.replayed, replayed.lost, replayed.gained), (6, 2, 0), "{replayed:?}");
    let lost = replayed.groups.first().unwrap();
    assert_eq!(lost.change, Move::Lost);
    assert_eq!((lost.caller.as_str(), lost.route.as_deref()), (&*id("a"), Some("GET /read")));
    assert_eq!((lost.before.reason, lost.after.reason), ("allowed", "insufficient_scope"));
    assert_eq!((lost.count, &*lost.request_id), (2, "0123"));
    assert_eq!(lost.first, "2026-11-21T09:40:00.000Z");
    // The rights are others for all the rest.
    assert_eq!(replayed.other_rights, 4);
    let rights = replayed.groups.last().unwrap();
    assert_eq!(rights.before.scopes.as_deref(), Some("orders:read"));
    assert_eq!(rights.after.scopes.as_deref(), Some("orders:write"));
}

#[test]
fn without_configuration_the_line_itself_tells_what_the_route_asked_for() {
    let old = side(&json!({"identities": {id("a"): grant(&["orders:read"])}}));
    let none = side(&json!({"identities": {id("a"): grant(&[])}}));
    let both = side(&json!({"identities": {id("a"): grant(&["orders:*"])}}));
    let mut log = String::new();
    for path in ["/read", "/either/1", "/both", "/nowhere"] {
        log.push_str(&decided(&old, &workload("a"), path).1);
    }
    let lost = replay(&none, None, &[], &log);
    assert_eq!((lost.replayed, lost.lost, lost.gained), (4, 2, 0), "{lost:?}");
    let gained = replay(&both, None, &[], &log);
    assert_eq!((gained.replayed, gained.lost, gained.gained), (4, 0, 1), "{gained:?}");
}

#[test]
fn a_route_that_was_not_reached_is_not_guessed() {
    let grant = |tenant: &str| json!({"roles": [], "scopes": ["orders:read"], "tenant": tenant});
    let old = side(&json!({"identities": {id("a"): grant("umbrella"), id("b"): grant("acme")}}));
    let new = side(&json!({"identities": {id("a"): grant("acme"), id("b"): grant("acme")}}));
    let log = ["a", "b"].map(|name| decided(&old, &workload(name), "/read").1).concat();
    let blind = replay(&new, None, &[], &log);
    assert_eq!((blind.replayed, blind.not_replayed.values().sum::<u64>()), (1, 1), "{blind:?}");
    let sighted = replay(&new, None, &[site()], &log);
    assert_eq!((sighted.replayed, sighted.gained), (2, 1), "{sighted:?}");
}

#[test]
fn rules_about_requests_are_asked_as_far_as_a_line_tells() {
    let data = json!({"identities": {id("a"): grant(&["orders:read"])}});
    let old = side(&data);
    let log = ["/read", "/either/7"].map(|path| decided(&old, &workload("a"), path).1).concat();
    let by_path = side_with(&data, Some("\"no\" if startswith(input.request.path, \"/either/\")"));
    for sites in [vec![site()], vec![]] {
        let replayed = replay(&by_path, None, &sites, &log);
        assert_eq!((replayed.replayed, replayed.lost), (2, 1), "{replayed:?}");
        let group = replayed.groups.first().unwrap();
        assert_eq!(group.after.reason, "policy_denied");
        assert_eq!(group.route.as_deref(), Some("GET /either/{id}"));
    }
    let by_header = side_with(&data, Some("\"no\" if input.request.headers[\"x-a\"]"));
    let replayed = replay(&by_header, None, &[site()], &log);
    assert_eq!((replayed.replayed, replayed.not_replayed.len()), (0, 1), "{replayed:?}");
}

#[test]
fn what_a_token_brought_is_known_where_it_was_held_and_where_no_limit_leaves_it() {
    let limited = |limit: Value| side(&json!({"identities": {}, "limits": {"deployer": limit}}));
    let old = limited(json!(["orders:read"]));
    let log = ["/read", "/both"]
        .map(|path| decided(&old, &token(&["orders:read", "orders:write"]), path).1)
        .concat();
    let narrower = replay(&limited(json!(["a:b"])), None, &[site()], &log);
    assert_eq!((narrower.replayed, narrower.lost), (2, 1), "{narrower:?}");
    // It may have brought what the old limit took away.
    let wider = replay(&limited(json!(["orders:*"])), None, &[site()], &log);
    assert_eq!((wider.replayed, wider.not_replayed.len()), (1, 1), "{wider:?}");
}

#[test]
fn the_policy_of_then_tells_what_a_token_cannot_have_brought() {
    let limited = |limit: Value| side(&json!({"identities": {}, "limits": {"deployer": limit}}));
    let old = limited(json!(["orders:*"]));
    let log = decided(&old, &token(&["orders:read"]), "/both").1;
    let new = limited(json!(["*:*"]));
    assert_eq!(replay(&new, None, &[site()], &log).replayed, 0);
    let with_baseline = replay(&new, Some(&old), &[site()], &log);
    assert_eq!((with_baseline.replayed, with_baseline.unchanged), (1, 1), "{with_baseline:?}");
}

#[test]
fn a_token_that_is_revoked_by_its_id_is_found_by_its_fingerprint() {
    let old = side(&json!({"identities": {}, "limits": {}}));
    let log = decided(&old, &token(&["orders:read"]), "/read").1;
    let fingerprint = crate::token::fingerprint_of_id("jti-1");
    let log = log.replace("\"token\":null", &format!("\"token\":\"{fingerprint}\""));
    let with = |id: &str| side(&json!({"identities": {}, "revocations": {"tokens": [id]}}));
    for (id, lost) in [("jti-1", 1), (&*fingerprint, 1), ("jti-2", 0)] {
        let replayed = replay(&with(id), None, &[site()], &log);
        assert_eq!((replayed.replayed, replayed.lost), (1, lost), "{id}: {replayed:?}");
    }
}

#[test]
fn a_baseline_shows_where_the_log_is_of_another_policy() {
    let of = |scope: &str| side(&json!({"identities": {id("a"): grant(&[scope])}}));
    let (then, old, new) = (of("orders:read"), of("a:b"), of("a:c"));
    let log = decided(&then, &workload("a"), "/read").1;
    let replayed = replay(&new, Some(&old), &[site()], &log);
    assert_eq!((replayed.not_as_baseline, replayed.lost, replayed.gained), (1, 0, 0));
}

#[test]
fn what_no_policy_decided_is_counted_by_its_cause() {
    let side = side(&json!({"identities": {id("a"): grant(&["orders:read"])}}));
    let line = decided(&side, &workload("a"), "/read").1;
    let bad = line.replace("\"allow\"", "\"deny\"").replace("\"allowed\"", "\"bad_request\"");
    let lying = line.replace("\"allow\"", "\"deny\"");
    let nobody = line.replace(&format!("\"{}\"", id("a")), "null");
    let replayed = replay(&side, None, &[site()], &[bad, lying, nobody, line].concat());
    assert_eq!((replayed.replayed, replayed.unchanged), (1, 1));
    assert_eq!(replayed.not_replayed.len(), 3, "{replayed:?}");
}

#[test]
fn hostile_names_reach_neither_terminal_nor_page() {
    use crate::review::report::Style;
    let side = side(&json!({"identities": {id("a"): grant(&["orders:read"])}}));
    let line = decided(&side, &workload("a"), "/read").1;
    let hostile = line.replace("GET /read", "\\u001b[31m`|<img src=x>\\n# hi");
    let new = self::side(&json!({"identities": {}}));
    let replayed = replay(&new, None, &[], &hostile);
    assert_eq!(replayed.lost, 1, "{replayed:?}");
    assert!(!replayed.told(Style::Terminal).contains('\u{1b}'));
    let page = replayed.told(Style::Markdown);
    assert!(page.contains("`\\u{1b}[31m'|<img src=x>\\u{a}# hi`"), "{page}");
}

/// Data in which three identities and a token stand in many ways.
fn data() -> impl Strategy<Value = Value> {
    let scope = prop::sample::select(vec!["orders:read", "orders:*", "*:read", "orders:write"]);
    let scopes = prop::collection::vec(scope.clone(), 0..3);
    let tenant = prop::sample::select(vec![json!("acme"), json!("umbrella"), json!(null)]);
    let limit = prop::option::of(prop::collection::vec(scope, 0..3));
    let one = (scopes, tenant, limit, 0..8_u8);
    prop::collection::vec(prop::option::weighted(0.9, one), 4).prop_map(|people| {
        let mut data = json!({"identities": {}, "limits": {}, "blocked": {"nobody": true},
            "roles": {}, "revocations": {"spiffe_ids": []}});
        for (at, person) in people.into_iter().enumerate() {
            let Some((scopes, tenant, limit, fate)) = person else { continue };
            let id = if at == 3 { "deployer".to_owned() } else { id(&format!("p{at}")) };
            data["identities"][&id] = json!({"roles": [], "scopes": scopes, "tenant": tenant});
            if let Some(limit) = limit {
                data["limits"][&id] = json!(limit);
            }
            if fate == 0 && at < 3 {
                data["blocked"][&id] = json!(true);
            }
            if fate == 1 && at < 3 {
                data["revocations"]["spiffe_ids"].as_array_mut().unwrap().push(json!(id));
            }
        }
        data
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Decided live under both policies, or under one and then replayed: it comes to the same.
    #[test]
    fn a_replay_tells_what_would_have_been_decided(
        old in data(),
        new in data(),
        brings in prop::sample::subsequence(vec!["orders:read", "orders:write"], 0..3),
        with_baseline in any::<bool>(),
    ) {
        let (old, new) = (side(&old), side(&new));
        let (mut log, mut gained, mut lost, mut by_token) = (String::new(), 0, 0, 0);
        let mut callers: Vec<Assumed> =
            ["p0", "p1", "p2"].into_iter().map(workload).collect();
        callers.push(token(&brings));
        for caller in &callers {
            for path in ["/read", "/both", "/either/1", "/open", "/nowhere"] {
                let (before, line) = decided(&old, caller, path);
                let after = decided(&new, caller, path).0;
                // One of its own, so that what is left undecided can be told from the others.
                let token = caller.brings.is_some();
                by_token += u64::from(token);
                if !token {
                    gained += u64::from(!before && after);
                    lost += u64::from(before && !after);
                }
                log.push_str(&line);
            }
        }
        let baseline = with_baseline.then_some(&old);
        let replayed = replay(&new, baseline, &[site()], &log);
        let of = |change: Move, tokens: bool| {
            let groups = replayed.groups.iter().filter(|it| it.change == change);
            groups.filter(|it| it.caller.starts_with("https:") == tokens).map(|it| it.count).sum::<u64>()
        };
        prop_assert_eq!((of(Move::Gained, false), of(Move::Lost, false)), (gained, lost));
        let undecided: u64 = replayed.not_replayed.values().sum();
        prop_assert!(undecided <= by_token, "{:?}", replayed);
        prop_assert_eq!(replayed.not_as_baseline, 0);
        // Of a token, nothing is told that would not be so.
        let token = callers.last().unwrap();
        for group in replayed.groups.iter().filter(|it| it.caller.starts_with("https:")) {
            let path = group.route.as_deref().unwrap_or("GET /nowhere").trim_start_matches("GET ");
            let path = path.replace("{id}", "1");
            let (before, after) = (decided(&old, token, &path).0, decided(&new, token, &path).0);
            prop_assert_eq!(group.change == Move::Gained, !before && after);
            prop_assert_eq!(group.change == Move::Lost, before && !after);
        }
    }

    #[test]
    fn a_replay_under_the_same_policy_changes_nothing(data in data()) {
        let side = side(&data);
        let mut log = String::new();
        for caller in ["p0", "p1", "p2"].map(workload).iter().chain([&token(&["orders:*"])]) {
            for path in ["/read", "/both", "/either/1", "/open", "/nowhere"] {
                log.push_str(&decided(&side, caller, path).1);
            }
        }
        let replayed = replay(&side, None, &[site()], &log);
        prop_assert_eq!(replayed.changed(), 0, "{:?}", replayed);
    }
}
