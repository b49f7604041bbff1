//! The example policies: they load, they pass their own tests, and they say what the docs say.

mod parity;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use spiffe::SpiffeId;

use super::source::Source;
use super::{
    Direction, IdentityQuestion, Local, Outcome, Policy, Subject, TestOptions, Workload, load,
    run_tests,
};

fn examples() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("policies")
}

fn id(uri: &str) -> Workload {
    Workload::new(&SpiffeId::new(uri).unwrap())
}

fn local() -> Local {
    Local {
        workload: Some(id("spiffe://example.org/prod/billing")),
        tenant: "acme".into(),
        direction: Direction::Inbound,
    }
}

/// What the first layer leaves to a token, or to a workload.
fn limit(policy: &Policy, subject: &Subject) -> Vec<String> {
    let (local, now) = (local(), UNIX_EPOCH);
    let question = IdentityQuestion { subject, address: None, local: &local, now };
    policy.ceiling(&question).unwrap().limits.remove(0).patterns
}

fn token(issuer: &str, subject: &str) -> Subject {
    Subject::jwt(subject.into(), issuer.into())
}

#[test]
fn the_example_policy_loads_and_answers() {
    let policy = load(&examples()).unwrap();
    assert!(policy.asks_requests() && !policy.reads_time() && !policy.reads_address());
    let local = local();
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
    let source = Source::read(&examples()).unwrap();
    let report = run_tests(&source, &TestOptions::default()).unwrap();
    let failed: Vec<_> = report.cases.iter().filter(|it| it.outcome != Outcome::Passed).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(report.cases.len() >= 30);
}

/// The fenced blocks of one language in a section of the guide for security teams.
fn documented(section: &str, language: &str) -> Vec<String> {
    let guide = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/security-team.md");
    let guide = fs::read_to_string(guide).unwrap();
    let (_, section) = guide.split_once(&format!("\n## {section}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let fence = format!("```{language}\n");
    let blocks = section.split(&fence).skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_guides_way_to_cap_tokens_does_what_it_says() {
    let [rego] = documented("Capping what tokens bring", "rego").try_into().unwrap();
    let [data] = documented("Capping what tokens bring", "json").try_into().unwrap();
    let root = tempfile::tempdir().unwrap();
    let grant =
        "package sidegate.global\ngrant := {\"roles\": [], \"scopes\": [], \"tenant\": null}";
    for (name, text) in [("grant.rego", grant), ("ceiling.rego", &rego), ("data.json", &data)] {
        fs::write(root.path().join(name), text).unwrap();
    }
    let policy = load(root.path()).unwrap();
    for policy in [policy, load(&examples()).unwrap()] {
        let issuer = "https://auth.example.org";
        assert_eq!(limit(&policy, &token(issuer, "anybody")), ["*:read"]);
        assert_eq!(limit(&policy, &token(issuer, "deployer")), ["orders:*"]);
        assert!(limit(&policy, &token("https://auth.example.com", "deployer")).is_empty());
        for method in [Subject::spiffe, Subject::jwt_svid] {
            assert_eq!(limit(&policy, &method(id("spiffe://example.org/prod/x"))), ["*:*"]);
        }
    }
}

#[test]
fn the_guides_revocations_revoke_what_it_says() {
    let [data] = documented("Revoking", "json").try_into().unwrap();
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("revocations")).unwrap();
    fs::write(root.path().join("revocations/data.json"), data).unwrap();
    fs::write(root.path().join("g.rego"), "package sidegate.global\ngrant := {}").unwrap();
    let policy = load(root.path()).unwrap();
    let revoked = policy.revocations();
    assert!(revoked.spiffe_id("spiffe://example.org/prod/orders").is_some());
    assert!(revoked.spiffe_id("spiffe://example.org/prod/billing").is_none());
    assert!(revoked.spiffe_id("spiffe://example.org/staging/a/b").is_some());
    assert!(revoked.spiffe_id("spiffe://partner.example/any").is_some());
    assert!(revoked.subject("build-agent-17"));
    assert!(revoked.token(Some("f3a1c2d4-7b1e-4b0e-9f57-0a6f1c9d2e11"), ""));
    assert!(revoked.token(None, "9f86d081884c7d659a2feaa0c55ad015"));
    assert!(revoked.serial("4bf2e90c31"));
}
