//! Changes on disk, as editors and Kubernetes make them.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Follower, follow};
use crate::live::Live;
use crate::policy::{Examiner, Intake, Lane, PolicyStatus, Rules, load, rules};

/// What the product promises is a second; the rest is for a busy machine.
const LIMIT: Duration = Duration::from_secs(10);

fn module(scope: &str) -> String {
    format!(
        "package sidegate.global\ngrant := {{\"roles\": [], \"scopes\": [\"{scope}\"], \
         \"tenant\": null}}"
    )
}

struct World {
    root: tempfile::TempDir,
    rules: Live<Rules>,
    status: Live<PolicyStatus>,
}

impl World {
    fn new(prepare: impl FnOnce(&Path), path: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        prepare(root.path());
        let path = root.path().join(path);
        let first = load(&path).unwrap();
        let (desk, rules) = rules(first);
        let first = Some(rules.snapshot());
        let first = first.as_ref().map(|rules| &*rules.policy);
        let (intake, status) = Intake::new(desk, Lane::Enforced, Examiner::default(), first);
        follow(path, intake);
        Self { root, rules, status }
    }

    fn plain() -> Self {
        Self::new(|root| fs::write(root.join("p.rego"), module("a:one")).unwrap(), "")
    }

    fn write(&self, text: &str) {
        fs::write(self.root.path().join("p.rego"), text).unwrap();
    }

    fn revision(&self) -> Arc<str> {
        Arc::clone(self.rules.load().policy.revision())
    }

    async fn status_until(&self, wanted: impl Fn(&PolicyStatus) -> bool) -> Arc<PolicyStatus> {
        let mut changes = self.status.changes();
        let seen = async {
            loop {
                let status = self.status.snapshot();
                if wanted(&status) {
                    return status;
                }
                changes.changed().await;
            }
        };
        tokio::time::timeout(LIMIT, seen).await.expect("the status never came")
    }

    async fn changed_from(&self, old: &Arc<str>) -> Arc<PolicyStatus> {
        let status = self.status_until(|status| status.revision.as_ref() != Some(old)).await;
        assert_eq!(status.revision, Some(self.revision()));
        status
    }
}

#[tokio::test]
async fn a_change_on_disk_is_in_force_within_a_second() {
    let world = World::plain();
    let old = world.revision();
    let started = Instant::now();
    world.write(&module("a:two"));
    let status = world.changed_from(&old).await;
    assert_eq!(status.last_error, None);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_broken_candidate_keeps_the_policy_in_force_and_is_told() {
    let world = World::plain();
    let old = world.revision();
    world.write("package sidegate.global\ngrant := {");
    let status = world.status_until(|status| status.last_error.is_some()).await;
    assert_eq!((&status.revision, &world.revision()), (&Some(Arc::clone(&old)), &old));
    assert!(status.last_error.as_ref().unwrap().starts_with("p.rego:2:"), "{status:?}");
    world.write(&module("a:one"));
    let status = world.status_until(|status| status.last_error.is_none()).await;
    assert_eq!(status.revision, Some(Arc::clone(&old)));
    world.write(&module("a:two"));
    world.changed_from(&old).await;
}

#[tokio::test]
async fn a_policy_that_vanishes_stays_in_force() {
    let world = World::plain();
    let old = world.revision();
    fs::remove_file(world.root.path().join("p.rego")).unwrap();
    let status = world.status_until(|status| status.last_error.is_some()).await;
    assert!(status.last_error.as_ref().unwrap().contains("holds no policy"), "{status:?}");
    assert_eq!(world.revision(), old);
    world.write(&module("a:two"));
    world.changed_from(&old).await;
}

#[tokio::test]
async fn a_hostile_candidate_harms_nobody() {
    let world = World::plain();
    let old = world.revision();
    world.write(&format!("package sidegate.global\ngrant := {}", "[\n".repeat(15_000)));
    let status = world.status_until(|status| status.last_error.is_some()).await;
    assert!(status.last_error.as_ref().unwrap().contains("nested too deeply"));
    world.write(&(module("a:x") + "\nf(n) := f(n + 1)\ndeny := {\"x\" | f(1)}"));
    let said = |status: &PolicyStatus| status.last_error.clone().unwrap_or_default();
    world.status_until(|status| said(status).contains("refers to itself")).await;
    assert_eq!(world.revision(), old);
}

#[cfg(unix)]
#[tokio::test]
async fn a_config_map_that_is_swapped_by_its_link_is_noticed() {
    use std::os::unix::fs::symlink;

    let version = |root: &Path, name: &str, scope: &str| {
        fs::create_dir(root.join(name)).unwrap();
        fs::write(root.join(name).join("p.rego"), module(scope)).unwrap();
        symlink(name, root.join("..next")).unwrap();
        fs::rename(root.join("..next"), root.join("..data")).unwrap();
    };
    let world = World::new(
        |root| {
            version(root, "..1", "a:one");
            symlink("..data/p.rego", root.join("p.rego")).unwrap();
        },
        "",
    );
    let old = world.revision();
    version(world.root.path(), "..2", "a:two");
    world.changed_from(&old).await;
}

#[tokio::test]
async fn a_folder_that_is_replaced_as_a_whole_is_followed() {
    let make = |folder: &Path, scope: &str| {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("p.rego"), module(scope)).unwrap();
    };
    let world = World::new(|root| make(&root.join("live"), "a:one"), "live");
    let root = world.root.path();
    for (n, scope) in ["a:two", "a:three"].iter().enumerate() {
        let old = world.revision();
        make(&root.join("next"), scope);
        fs::rename(root.join("live"), root.join(format!("old{n}"))).unwrap();
        fs::rename(root.join("next"), root.join("live")).unwrap();
        world.changed_from(&old).await;
    }
}

#[tokio::test]
async fn a_single_file_is_followed_when_an_editor_renames_over_it() {
    let world =
        World::new(|root| fs::write(root.join("p.rego"), module("a:one")).unwrap(), "p.rego");
    for scope in ["a:two", "a:three"] {
        let old = world.revision();
        fs::write(world.root.path().join("p.new"), module(scope)).unwrap();
        fs::rename(world.root.path().join("p.new"), world.root.path().join("p.rego")).unwrap();
        world.changed_from(&old).await;
    }
}

#[tokio::test]
async fn what_is_known_already_is_not_told_again() {
    let root = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(root.path().join(name), text).unwrap();
    write("p.rego", &module("a:one"));
    let path = root.path().to_owned();
    let (desk, rules) = rules(load(&path).unwrap());
    let first = rules.snapshot();
    let (intake, status) =
        Intake::new(desk, Lane::Enforced, Examiner::default(), Some(&first.policy));
    let mut follower = Follower { path, intake };
    let revision = Arc::clone(first.policy.revision());
    let begun = status.load().last_attempt;
    write("p_test.rego", "package p_test");
    write("README.md", "");
    follower.attempt().await;
    assert_eq!(status.load().last_attempt, begun);

    write("p.rego", "package sidegate.global\ngrant := {");
    follower.attempt().await;
    let told = status.snapshot();
    assert!(told.last_error.is_some() && told.last_attempt > begun);
    follower.attempt().await;
    assert_eq!(status.load().last_attempt, told.last_attempt);
    assert_eq!(*rules.load().policy.revision(), revision);

    write("p.rego", &module("a:one"));
    follower.attempt().await;
    assert_eq!(status.load().last_error, None);
    assert_eq!(*rules.load().policy.revision(), revision);
}
