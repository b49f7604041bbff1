//! What it costs to find a request's route, as the table grows from ten routes to ten thousand.
//!
//! `cargo bench --bench routes`

#![allow(clippy::unwrap_used, reason = "a benchmark may fail loudly")]
#![allow(missing_docs, reason = "criterion makes a function of its own")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use http::Method;
use sidegate::api;
use sidegate::authz::{Required, RouteMatch, RouteSpec, RouteTable, Scope};

const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];

/// As a service has them: collections, their items, what belongs to an item, and a rest.
fn table(count: usize) -> RouteTable {
    let mut specs = Vec::with_capacity(count);
    for number in 0..count {
        let resource = number / 5;
        let (method, path) = match number % 5 {
            0 => (Method::GET, format!("/api/v1/resource-{resource}")),
            1 => (Method::POST, format!("/api/v1/resource-{resource}")),
            2 => (Method::GET, format!("/api/v1/resource-{resource}/{{id}}")),
            3 => (Method::GET, format!("/api/v1/resource-{resource}/{{id}}/events")),
            _ => (Method::GET, format!("/api/v1/resource-{resource}/files/**")),
        };
        specs.push(RouteSpec {
            name: None,
            matcher: RouteMatch::Http { path, methods: vec![method] },
            scopes: Required::All(vec![Scope::parse("a:b").unwrap()]),
        });
    }
    RouteTable::new(specs).unwrap()
}

/// Many paths in turn, so that no one path stays in the nearest cache.
fn paths(count: usize, of: impl Fn(usize) -> String) -> Vec<String> {
    let resources = count / 5;
    (0..1_024_usize).map(|number| of(number.wrapping_mul(7_919) % resources)).collect()
}

fn find(criterion: &mut Criterion) {
    type Path = fn(usize) -> String;
    let kinds: [(&str, bool, Path); 4] = [
        ("literal", true, |it| format!("/api/v1/resource-{it}")),
        ("parameter", true, |it| format!("/api/v1/resource-{it}/4711/events")),
        ("rest", true, |it| format!("/api/v1/resource-{it}/files/2026/11/report.pdf")),
        ("none", false, |it| format!("/api/v1/resource-{it}/4711/secrets")),
    ];
    for (kind, is_found, path) in kinds {
        let mut group = criterion.benchmark_group(format!("find a route: {kind}"));
        for size in SIZES {
            let table = table(size);
            let paths = paths(size, path);
            let mut next = paths.iter().cycle();
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter(|| {
                    let path = next.next().map_or("", String::as_str);
                    let found = table.find(&Method::GET, black_box(path), false);
                    assert_eq!(found.is_some(), is_found);
                    found.map(|route| route.index())
                });
            });
        }
        group.finish();
    }
}

fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("make a table");
    group.sample_size(20);
    for size in SIZES {
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| table(black_box(size)));
        });
    }
    group.finish();
}

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read an OpenAPI document");
    group.sample_size(10);
    for size in [100, 1_000, 10_000] {
        let mut text = "openapi: 3.1.0\nsecurity: [{ t: ['a:b'] }]\npaths:\n".to_owned();
        for number in 0..size {
            text.push_str(&format!(
                "  /resource-{number}/{{id}}:\n    get:\n      operationId: get{number}\n      \
                 responses: {{ 200: {{ description: The resource }} }}\n"
            ));
        }
        text.push_str("components: { securitySchemes: { t: { type: http } } }\n");
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                let contract = api::openapi(black_box(text.as_bytes()));
                assert_eq!((contract.operations.len(), contract.faults.len()), (size, 0));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, find, build, read);
criterion_main!(benches);
