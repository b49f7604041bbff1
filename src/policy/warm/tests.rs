//! Whom a candidate is asked about before it goes live, and when that counts.

use std::time::{Duration, SystemTime};

use spiffe::SpiffeId;

use super::{noting, warmed};
use crate::policy::{
    Direction, IdentityQuestion, Local, Policy, Source, Subject, Workload, compile,
};

fn policy(rules: &str) -> Policy {
    let text = format!("package sidegate.global\nimport rego.v1\n{rules}");
    compile(Source::from_files([("p.rego".to_owned(), text.into_bytes())]).unwrap()).unwrap()
}

fn plain(scope: &str) -> Policy {
    policy(&format!(r#"grant := {{"roles": [], "scopes": ["{scope}"], "tenant": null}}"#))
}

fn local() -> Local {
    Local { workload: None, tenant: "acme".into(), direction: Direction::Inbound }
}

fn subject(name: &str) -> Subject {
    let id = SpiffeId::new(format!("spiffe://example.org/prod/{name}")).unwrap();
    Subject::spiffe(Workload::new(&id))
}

fn known(policy: &Policy, subject: &Subject, brings: bool, now: SystemTime) -> bool {
    let local = local();
    policy.knows(&IdentityQuestion { subject, address: None, local: &local, now }, brings)
}

fn scopes(policy: &Policy, name: &str) -> Vec<String> {
    let (subject, local) = (subject(name), local());
    let now = SystemTime::now();
    let question = IdentityQuestion { subject: &subject, address: None, local: &local, now };
    policy.identity(&question).unwrap().grant.scopes
}

fn ceiling(policy: &Policy, subject: &Subject) {
    let local = local();
    let now = SystemTime::now();
    let question = IdentityQuestion { subject, address: None, local: &local, now };
    policy.ceiling(&question).unwrap();
}

#[test]
fn whoever_was_asked_about_is_known_to_the_next_policy_by_its_own_answer() {
    let old = noting(plain("a:old"));
    let robot = Subject::jwt("robot".into(), "https://auth.example.org".into());
    scopes(&old, "shop");
    ceiling(&old, &robot);

    let new = warmed(plain("a:new"), &old);

    let now = SystemTime::now();
    assert!(known(&new, &subject("shop"), false, now));
    assert!(known(&new, &robot, true, now));
    assert!(!known(&new, &robot, false, now), "a grant is another question than a ceiling");
    assert!(!known(&new, &subject("desk"), false, now));
    assert_eq!(scopes(&new, "shop"), ["a:new"]);
    assert_eq!(scopes(&new, "desk"), ["a:new"]);
}

#[test]
fn changes_in_quick_succession_forget_nobody() {
    let first = noting(plain("a:first"));
    scopes(&first, "shop");
    let second = warmed(plain("a:second"), &first);
    let third = warmed(plain("a:third"), &second);
    assert!(known(&third, &subject("shop"), false, SystemTime::now()));
    assert_eq!(scopes(&third, "shop"), ["a:third"]);
}

#[test]
fn what_depends_on_the_minute_is_known_for_that_minute_only() {
    let old = noting(plain("a:old"));
    scopes(&old, "shop");
    let reads_time =
        r#"grant := {"roles": [], "scopes": [], "tenant": null} if input.time.hour >= 0"#;
    let new = warmed(policy(reads_time), &old);
    let later = SystemTime::now() + Duration::from_secs(120);
    assert!(!known(&new, &subject("shop"), false, later));
}

#[test]
fn what_depends_on_the_address_is_not_asked_before() {
    let old = noting(plain("a:old"));
    scopes(&old, "shop");
    let new = r#"grant := {"roles": [], "scopes": [], "tenant": null} if input.peer.address"#;
    let new = warmed(policy(new), &old);
    assert!(!known(&new, &subject("shop"), false, SystemTime::now()));
    // But those who come are noted, for the policy after it.
    let local = local();
    let (subject, now) = (subject("desk"), SystemTime::now());
    let address = Some([10, 0, 0, 1].into());
    new.identity(&IdentityQuestion { subject: &subject, address, local: &local, now }).unwrap();
    let next = warmed(plain("a:next"), &new);
    assert!(known(&next, &subject, false, now));
}

#[test]
fn a_failure_is_no_answer() {
    let old = noting(plain("a:old"));
    scopes(&old, "shop");
    let new = warmed(policy("grant := {} if input.peer.path == \"/nobody\""), &old);
    assert!(!known(&new, &subject("shop"), false, SystemTime::now()));
}

#[test]
fn many_are_remembered_but_not_any_number() {
    let old = noting(plain("a:old"));
    for number in 0..30_000 {
        ceiling(&old, &Subject::jwt(format!("{number}").into(), "issuer".into()));
    }
    let questions = old.memory.questions(Duration::ZERO);
    assert!((10_000..=20_000).contains(&questions.len()), "{}", questions.len());
    assert!(questions.iter().any(|it| &*it.subject.subject == "29999"), "the last one");
}
