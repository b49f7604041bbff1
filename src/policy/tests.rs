//! The example policies: they load, they pass their own tests, and they say what the docs say.

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use regorus::{Engine, Value};
use spiffe::SpiffeId;

use super::source;
use super::{Direction, IdentityQuestion, Local, Settings, Subject, Workload, load};

fn examples() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("policies")
}

#[test]
fn the_example_policy_loads_and_answers() {
    let policy = load(&Settings { path: examples() }).unwrap();
    assert!(policy.asks_requests() && !policy.reads_time() && !policy.reads_address());
    let id = |uri| Workload::new(&SpiffeId::new(uri).unwrap());
    let local = Local {
        workload: Some(id("spiffe://example.org/prod/billing")),
        tenant: "acme".into(),
        direction: Direction::Inbound,
    };
    let tenant = |uri| {
        let subject = Subject::spiffe(id(uri));
        let now = UNIX_EPOCH + Duration::from_secs(1);
        let question = IdentityQuestion { subject: &subject, address: None, local: &local, now };
        policy.identity(&question).unwrap().grant.tenant
    };
    assert_eq!(tenant("spiffe://example.org/prod/orders").as_deref(), Some("acme"));
    assert_eq!(tenant("spiffe://example.org/prod/storefront").as_deref(), Some("umbrella"));
    assert_eq!(tenant("spiffe://example.org/dev/orders"), None);
    assert_eq!(tenant("spiffe://evil.example/prod/orders"), None);
    assert_eq!(
        policy.role("order-keeper").unwrap(),
        ["*:list", "*:read", "charges:create", "orders:*"]
    );
}

#[test]
fn the_example_policy_passes_its_own_tests() {
    let source = source::read(&examples()).unwrap();
    let mut engine = Engine::new();
    for module in source.modules.iter().chain(&source.tests) {
        engine.add_policy(module.name.clone(), module.text.clone()).unwrap();
    }
    for data in &source.data {
        engine.add_data(Value::from_json_str(&data.file.text).unwrap()).unwrap();
    }
    let tests: Vec<_> = source
        .tests
        .iter()
        .flat_map(|file| file.text.lines())
        .filter_map(|line| line.strip_prefix("test_")?.split_once(' '))
        .map(|(name, _)| format!("data.sidegate.global_test.test_{name}"))
        .collect();
    assert!(tests.len() >= 10);
    for test in tests {
        assert_eq!(engine.eval_rule(test.clone()).unwrap(), Value::Bool(true), "{test}");
    }
}
