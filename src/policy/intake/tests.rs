//! Candidates one after another: what comes into force, and what is told of the rest.

use std::sync::Arc;

use super::{Intake, Lane, Offered, PolicyStatus};
use crate::live::Live;
use crate::policy::{Desk, Examiner, Policy, Rules, Source, compile, rules};

const GRANT: &str = "package sidegate.global\n\
    grant := {\"roles\": [], \"scopes\": [\"a:b\"], \"tenant\": null}\n";
const TENANT: &str = "package sidegate.tenant\nlimit := [\"*:*\"]\n";
const REQUEST: &str = "package sidegate.request\ndeny := set()\n";
const REVOKED: &str = r#"{"revocations": {"subjects": ["build-7"]}}"#;

fn source(files: &[(&str, &str)]) -> Source {
    let files = files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()));
    Source::from_files(files).unwrap()
}

struct World {
    desk: Desk,
    rules: Live<Rules>,
    status: Live<PolicyStatus>,
    intake: Intake,
}

impl World {
    fn new(first: Policy) -> Self {
        let (desk, rules) = rules(first);
        let first = rules.snapshot();
        let examiner = Examiner::default();
        let (intake, status) =
            Intake::new(desk.clone(), Lane::Enforced, examiner, Some(&first.policy));
        Self { desk, rules, status, intake }
    }

    fn of(files: &[(&str, &str)]) -> Self {
        Self::new(compile(source(files)).unwrap())
    }

    async fn offer(&mut self, files: &[(&str, &str)]) -> Offered {
        self.intake.offer(source(files)).await
    }

    fn counts(&self) -> (u64, u64) {
        (self.status.load().taken, self.status.load().refused)
    }
}

#[tokio::test]
async fn what_a_candidate_no_longer_narrows_by_is_told() {
    let whole =
        [("g.rego", GRANT), ("t.rego", TENANT), ("r.rego", REQUEST), ("data.json", REVOKED)];
    let mut world = World::of(&whole);
    assert_eq!(world.offer(&[("g.rego", GRANT), ("t.rego", TENANT)]).await, Offered::Taken);
    assert_eq!(
        world.status.load().remarks,
        [
            "`data.sidegate.request.deny` is gone, which the last had",
            "`data.revocations` is gone, which the last had"
        ]
    );
    assert_eq!(world.offer(&whole).await, Offered::Taken);
    assert!(world.status.load().remarks.is_empty());
}

#[tokio::test]
async fn tests_alone_are_examined_and_swap_nothing() {
    let mut world = World::of(&[("g.rego", GRANT)]);
    let policy = Arc::clone(&world.rules.load().policy);
    let broken = [("g.rego", GRANT), ("g_test.rego", "package g_test\ntest_x if {")];
    assert!(world.intake.is_news(&source(&broken)));
    let Offered::Refused(why) = world.offer(&broken).await else { panic!("it was not refused") };
    assert!(why.starts_with("g_test.rego:2:"), "{why}");
    assert_eq!(world.offer(&broken).await, Offered::Known);
    assert_eq!(world.status.load().candidate.as_ref(), Some(policy.revision()));

    let sound = [("g.rego", GRANT), ("g_test.rego", "package g_test\ntest_x if true\n")];
    assert_eq!(world.offer(&sound).await, Offered::InForce);
    assert_eq!(world.status.load().last_error, None);
    assert!(!world.intake.is_news(&source(&sound)));
    assert_eq!(world.counts(), (0, 1));
    assert!(Arc::ptr_eq(&policy, &world.rules.load().policy), "there was nothing to swap");
}

#[tokio::test]
async fn a_harmful_test_refuses_its_policy() {
    let mut world = World::of(&[("g.rego", GRANT)]);
    for (test, expected) in [
        ("package t\nf(n) := f(n + 1)\ntest_x if f(1)", "`data.t.f` refers to itself"),
        ("package t\ntest_x if http.send({})", "`http.send` reaches outside"),
        ("package t\ntest_x if count(numbers.range(1, 100000000)) > 0", "at most 10000 apart"),
    ] {
        let files = [("g.rego", GRANT), ("t_test.rego", test)];
        let Offered::Refused(why) = world.offer(&files).await else { panic!("{test}") };
        assert!(why.starts_with("t_test.rego:") && why.contains(expected), "{why}");
    }
    let fine = "package t\ntest_x if {\n\tprint(input)\n\tinput.a == 1 with input as {\"a\": 1}\n}";
    let files = [("g.rego", GRANT), ("t_test.rego", fine)];
    assert_eq!(world.offer(&files).await, Offered::InForce);
}

#[tokio::test]
async fn without_a_policy_the_first_good_one_comes_into_force() {
    let mut world = World::new(Policy::closed());
    assert_eq!(world.status.load().revision, None);
    assert!(matches!(world.offer(&[("g.rego", "package p")]).await, Offered::Refused(_)));
    assert!(world.rules.load().policy.is_closed());
    assert_eq!(world.offer(&[("g.rego", GRANT)]).await, Offered::Taken);
    assert!(!world.rules.load().policy.is_closed());
    assert_eq!(world.counts(), (1, 1));
    assert!(world.status.load().remarks.is_empty());
}

#[tokio::test]
async fn an_examiner_that_cannot_be_had_refuses_nobody_for_good() {
    let mut world = World::of(&[("g.rego", GRANT)]);
    let nobody = Examiner::by("/nonexistent/sidegate".into());
    let first = world.rules.snapshot();
    let (intake, status) =
        Intake::new(world.desk.clone(), Lane::Enforced, nobody, Some(&first.policy));
    (world.intake, world.status) = (intake, status);
    let files = [("g.rego", GRANT), ("t.rego", TENANT)];
    assert!(matches!(world.offer(&files).await, Offered::Refused(_)));
    assert!(world.intake.wants_another() && world.intake.is_news(&source(&files)));
    assert_eq!(world.offer(&files).await, Offered::Known, "it is told once");

    world.intake.examiner = Examiner::default();
    assert_eq!(world.offer(&files).await, Offered::Taken);
    assert!(!world.intake.wants_another());
}

#[tokio::test]
async fn a_policy_of_before_is_let_go_once_nobody_uses_it() {
    let mut world = World::of(&[("g.rego", GRANT)]);
    let policy = Arc::downgrade(&world.rules.load().policy);
    assert_eq!(world.offer(&[("g.rego", GRANT), ("t.rego", TENANT)]).await, Offered::Taken);
    let gone = async {
        while policy.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), gone).await.unwrap();
}
