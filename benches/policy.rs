//! How long decisions take, and how long a change of the policy takes. `cargo bench --bench policy`.
//!
//! Targets: a grant from the cache below 1 µs, the first evaluation among 10,000 identities below
//! 50 µs, load and swap of a policy with 10,000 identities below 100 ms.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark may fail loudly"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::SystemTime;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use http::Method;
use serde_json::{Map, Value, json};
use sidegate::authz::{
    Pretender, Required, RouteMatch, RouteSpec, RouteTable, Scope, ScopePattern, ScopeSet,
};
use sidegate::policy::{
    self, Direction, IdentityQuestion, Local, Policy, RequestQuestion, Source, Subject, Workload,
};
use spiffe::SpiffeId;

const GLOBAL: &str = r#"package sidegate.global

import rego.v1

default grant := {"roles": [], "scopes": [], "tenant": null}

grant := {"roles": known.roles, "scopes": known.scopes, "tenant": known.tenant} if {
	known := data.identities[input.peer.spiffe_id]
}

deny contains "blocked" if data.blocked[input.peer.spiffe_id]
"#;

const TENANT: &str = r#"package sidegate.tenant

import rego.v1

limit := data.tenants[data.identities[input.peer.spiffe_id].tenant].limit
"#;

const REQUEST: &str = r#"package sidegate.request

import rego.v1

deny contains "frozen" if {
	data.frozen[input.local.tenant]
	input.request.method != "GET"
}
"#;

fn id(number: usize) -> SpiffeId {
    SpiffeId::new(format!("spiffe://example.org/prod/service-{number:05}")).unwrap()
}

fn local() -> Local {
    let own = SpiffeId::new("spiffe://example.org/prod/billing").unwrap();
    let workload = Some(Workload::new(&own));
    Local { workload, tenant: "acme".into(), direction: Direction::Inbound }
}

fn files(identities: usize) -> Vec<(String, Vec<u8>)> {
    let identities: Map<String, Value> = (0..identities)
        .map(|number| {
            let grant = json!({
                "roles": ["reader"],
                "scopes": ["orders:read", "charges:create", format!("service-{number}:*")],
                "tenant": "acme",
            });
            (id(number).to_string(), grant)
        })
        .collect();
    let data = json!({
        "identities": identities,
        "blocked": {},
        "frozen": {"other": true},
        "tenants": {"acme": {"limit": ["*:read", "orders:*", "charges:*"]}},
        "roles": {"reader": {"scopes": ["*:read"]}},
    });
    [("global.rego", GLOBAL), ("tenant.rego", TENANT), ("request.rego", REQUEST)]
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()))
        .chain([("data.json".to_owned(), data.to_string().into_bytes())])
        .collect()
}

fn policy(identities: usize) -> Policy {
    policy::compile(Source::from_files(files(identities)).unwrap()).unwrap()
}

fn grants(criterion: &mut Criterion) {
    let local = local();
    let mut group = criterion.benchmark_group("grant");
    for identities in [100, 10_000] {
        let policy = policy(identities);
        let known: Vec<_> = (0..identities).map(|number| Pretender::new(id(number))).collect();
        let mut next = (0..identities).cycle();
        group.bench_function(BenchmarkId::new("first evaluation", identities), |it| {
            it.iter(|| assert!(known[next.next().unwrap()].asks(&policy, &local)));
        });
        let one = &known[identities / 2];
        one.asks_once(&policy, &local);
        group.bench_function(BenchmarkId::new("from the cache", identities), |it| {
            let now = SystemTime::now();
            it.iter(|| assert!(one.asks_again(black_box(&policy), &local, now)));
        });
    }
}

fn changes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("change");
    group.sample_size(20);
    let files = files(10_000);
    group.bench_function("read 10000", |it| {
        it.iter_batched(
            || files.clone(),
            |files| Source::from_files(files).unwrap(),
            BatchSize::LargeInput,
        );
    });
    let source = Arc::new(Source::from_files(files).unwrap());
    group.bench_function("compile 10000", |it| {
        it.iter_with_large_drop(|| policy::compile(Arc::clone(&source)).unwrap());
    });
    let candidate = Arc::new(policy::compile(Arc::clone(&source)).unwrap());
    let (desk, rules) = policy::rules(policy(10));
    group.bench_function("swap", |it| {
        it.iter(|| desk.put_in_force(Arc::clone(&candidate)));
    });
    assert_eq!(rules.load().policy.revision(), candidate.revision());
}

fn requests(criterion: &mut Criterion) {
    let (policy, local) = (policy(10_000), local());
    let subject = Subject::spiffe(Workload::new(&id(77)));
    let now = SystemTime::now();
    let identity = IdentityQuestion { subject: &subject, address: None, local: &local, now };
    let (scopes, held) = (["charges:create".to_owned()], ["charges:*".to_owned()]);
    let question = RequestQuestion {
        identity,
        protocol: "http",
        method: "POST",
        path: "/v1/charges/8812",
        query: &[("dry".to_owned(), "1".to_owned())],
        host: "billing",
        route: "charges",
        headers: &[("content-type", "application/json"), ("accept", "*/*"), ("user-agent", "x/1")],
        grpc: None,
        scopes_required: &scopes,
        scopes: &held,
        tenant: Some("acme"),
    };
    criterion.bench_function("request.deny", |it| {
        it.iter(|| assert!(policy.request_denials(black_box(&question)).unwrap().is_empty()));
    });
}

fn routes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route");
    let scope = || Required::All(vec![Scope::parse("orders:read").unwrap()]);
    for count in [10, 1_000, 10_000] {
        let specs = (0..count).map(|number| RouteSpec {
            name: None,
            matcher: RouteMatch::Http {
                path: format!("/api/v{}/things-{number}/{{id}}/parts/{{part}}", number % 3),
                methods: vec![Method::GET, Method::POST],
            },
            scopes: scope(),
        });
        let table = RouteTable::new(specs.collect()).unwrap();
        let paths: Vec<_> = (0..count)
            .map(|number| format!("/api/v{}/things-{number}/4711/parts/wheel", number % 3))
            .collect();
        let mut next = (0..count).cycle();
        group.bench_function(BenchmarkId::new("find", count), |it| {
            it.iter(|| {
                let path = &paths[next.next().unwrap()];
                table.find(&Method::POST, black_box(path), false).expect("every path is declared")
            });
        });
    }
}

fn scopes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scope check");
    for count in [4, 64] {
        let held = (0..count).map(|number| format!("thing-{number}:*"));
        let held = held.chain(["*:read".to_owned()]);
        let held = held.map(|text| ScopePattern::parse(&text).unwrap()).collect();
        let held = ScopeSet::new(held).unwrap();
        let required = Required::All(vec![
            Scope::parse(&format!("thing-{}:write", count / 2)).unwrap(),
            Scope::parse("orders:read").unwrap(),
        ]);
        group.bench_function(BenchmarkId::new("held", count), |it| {
            it.iter(|| assert!(required.is_met_by(black_box(&held))));
        });
    }
}

criterion_group!(benches, grants, changes, requests, routes, scopes);
criterion_main!(benches);
