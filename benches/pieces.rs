//! The steps of a request and of a connection, one by one. `cargo bench --bench pieces`.
//!
//! Routes, scopes, grants and the policy have `benches/routes.rs` and `benches/policy.rs`.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark may fail loudly"
)]

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;
use sidegate::dev::{Authority, TokenIssuer};
use sidegate::identity::{Identity, Material, Svid};
use sidegate::live::{Live, live};
use sidegate::proxy;
use sidegate::telemetry::Direction;
use sidegate::telemetry::audit::{
    Decision, Destination, Protocol, Record, Sink, Source, WriteError,
};
use sidegate::tls::{self, Acceptor, Callers, Connector, RootsFrom};
use sidegate::token::{self, Algorithm, Issuer, KeysFrom, Verifier};
use spiffe::{SpiffeId, TrustDomain};
use tokio::runtime::{Builder, Runtime};

const HOUR: Duration = Duration::from_secs(3600);
const ORDERS: &str = "spiffe://example.org/prod/orders";

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Identity material as an agent delivers it.
fn material(authority: &Authority) -> Material {
    let id = SpiffeId::new(ORDERS).unwrap();
    let issued = authority.issue(&id, SystemTime::now(), HOUR).unwrap();
    let svid = Svid {
        id: issued.id,
        chain: issued.chain,
        key: issued.key,
        not_before: issued.not_before,
        not_after: issued.not_after,
    };
    let bundles = BTreeMap::from([(authority.trust_domain().clone(), authority.bundle())]);
    Material { generation: 1, svid: Some(Arc::new(svid)), bundles: Arc::new(bundles) }
}

/// Both ends of one. Where trust is news, each looks at the other's chain; else they know it.
fn handshakes(criterion: &mut Criterion) {
    let runtime = runtime();
    let _inside = runtime.enter();
    let authority = Authority::new(TrustDomain::new("example.org").unwrap()).unwrap();
    let (_publisher, material) = live(material(&authority));
    let identity = Identity { material, ..Identity::absent() };
    let contexts = || tls::contexts(&identity, tls::Settings::default());
    let shake = |contexts: &Live<tls::Context>| {
        let acceptor = Acceptor::new(contexts.clone(), &[], Callers::Verified);
        let expect = vec![SpiffeId::new(ORDERS).unwrap()];
        let connector = Connector::new(contexts.clone(), &[], expect);
        let (near, far) = tokio::io::duplex(64 * 1024);
        let now = SystemTime::now();
        runtime.block_on(async {
            let (accepted, connected) =
                tokio::join!(acceptor.accept(near, now), connector.connect(far, now));
            (accepted.unwrap(), connected.unwrap())
        })
    };
    let mut group = criterion.benchmark_group("handshake, both ends");
    group.bench_function("peers not known", |it| {
        it.iter_batched(contexts, |contexts| shake(&contexts), BatchSize::SmallInput);
    });
    let known = contexts();
    shake(&known);
    group.bench_function("peers known", |it| it.iter(|| shake(&known)));
    group.finish();

    let id = SpiffeId::new(ORDERS).unwrap();
    let issued = authority.issue(&id, SystemTime::now(), HOUR).unwrap();
    let leaf = issued.chain.first().unwrap();
    criterion.bench_function("read a leaf certificate", |it| {
        it.iter(|| assert!(tls::inspect_leaf(black_box(leaf)).is_ok()));
    });
}

fn issuer(keys: PathBuf) -> Issuer {
    Issuer {
        issuer: "https://auth.example.com".to_owned(),
        audience: vec!["orders".to_owned()],
        keys: KeysFrom::File(keys),
        roots: RootsFrom::System,
        algorithms: Algorithm::ALL.to_vec(),
        max_lifetime: HOUR,
        keys_max_age: HOUR,
        tenants: None,
        cross_tenant_max_lifetime: None,
    }
}

fn tokens(criterion: &mut Criterion) {
    let runtime = runtime();
    let _inside = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("jwks.json");
    let signer = TokenIssuer::new("https://auth.example.com").unwrap();
    fs::write(&keys, signer.jwks()).unwrap();
    let now = SystemTime::now();
    let expires = now.duration_since(SystemTime::UNIX_EPOCH).unwrap() + HOUR / 2;
    let claims = json!({
        "sub": "billing", "aud": "orders", "exp": expires.as_secs(), "scope": "orders:read",
        "tenant": "acme",
    });
    let token = signer.mint(claims).unwrap();
    let (trusted, _) = token::trust(vec![issuer(keys)], None, &Identity::absent()).unwrap();
    let known = Verifier::new(trusted.clone());
    // Until the keys have been read.
    runtime.block_on(async {
        while known.verify(token.expose(), now).await.is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let mut group = criterion.benchmark_group("machine token");
    group.bench_function("verified", |it| {
        it.iter_batched(
            || Verifier::new(trusted.clone()),
            |new| runtime.block_on(new.verify(black_box(token.expose()), now)).unwrap(),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("known", |it| {
        it.iter(|| runtime.block_on(known.verify(black_box(token.expose()), now)).unwrap());
    });
}

fn audit(criterion: &mut Criterion) {
    let sink = Sink::open(Destination::File("/dev/null".into())).unwrap();
    let handle = sink.handle();
    let roles = [Arc::from("reader")];
    let source = Source {
        spiffe_id: Some("spiffe://example.org/prod/billing"),
        trust_domain: Some("example.org"),
        method: Some("spiffe"),
        address: Some("10.1.2.3:40312"),
        serial: Some("5f3a9c0d7b1e24868d10"),
        ..Source::default()
    };
    let record = Record {
        time: SystemTime::now(),
        request_id: "0199c2f4a1b27c33b0e1d5f60718293a",
        direction: Direction::Inbound,
        listener: "web",
        protocol: Protocol::Http,
        decision: Decision::Allow,
        reason: "allowed",
        detail: None,
        source,
        destination: None,
        local: Some(ORDERS),
        tenant: Some("acme"),
        cross_tenant: false,
        route: Some("read-order"),
        required_scopes: Some("orders:read"),
        held_scopes: Some("orders:read orders:write"),
        roles: &roles,
        method: Some("GET"),
        path: Some("/v1/orders/4711"),
        policy_revision: Some("sha256:0b6f1c2d3e4f"),
        again: false,
        shadow: None,
    };
    criterion.bench_function("audit line", |it| {
        it.iter(|| {
            // The writer may be behind: a benchmark makes more lines than traffic does.
            while let Err(WriteError::Full) = handle.write(black_box(&record)) {
                std::thread::yield_now();
            }
        });
    });
}

fn headers(criterion: &mut Criterion) {
    let pairs = [
        ("host", "orders"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, deflate"),
        ("user-agent", "shop/1.7"),
        ("content-type", "application/json"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("connection", "keep-alive, x-hop"),
        ("x-hop", "1"),
        ("x-sidegate-peer", "spiffe://example.org/admin"),
        ("x-forwarded-for", "10.0.0.1"),
    ];
    let map: HeaderMap = pairs
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
    criterion.bench_function("header rewrite", |it| {
        it.iter_batched(
            || map.clone(),
            |mut map| {
                proxy::inspect_headers(&mut map);
                map
            },
            BatchSize::SmallInput,
        );
    });
}

fn framing(criterion: &mut Criterion) {
    let head = "POST /v1/orders HTTP/1.1\r\nHost: orders\r\nUser-Agent: shop/1.7\r\n\
                Accept: application/json\r\nContent-Type: application/json\r\n\
                Content-Length: 1024\r\n\r\n";
    let request = [head.as_bytes(), &[b'x'; 1024]].concat();
    let mut group = criterion.benchmark_group("request framing");
    group.throughput(Throughput::Bytes(request.len() as u64));
    group.bench_function("1 KiB body", |it| {
        it.iter(|| assert!(proxy::inspect_framing([black_box(&request[..])])));
    });
}

criterion_group!(benches, handshakes, tokens, audit, headers, framing);
criterion_main!(benches);
