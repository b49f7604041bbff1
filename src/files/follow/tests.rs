//! Files as editors, rotating agents and Kubernetes change them. Followers that only hear have a
//! poll that never comes; those of folders that do not exist can only look.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::*;

/// What the product promises is a second; the rest is for a busy machine.
const LIMIT: Duration = Duration::from_secs(10);
const NEVER: Duration = Duration::from_secs(3600);

struct World {
    root: tempfile::TempDir,
    follow: Follow,
    token: PathBuf,
}

impl World {
    async fn new(prepare: impl FnOnce(&Path), token: &str, poll: Duration) -> Self {
        let root = tempfile::tempdir().unwrap();
        prepare(root.path());
        let token = root.path().join(token);
        let mut follow = Follow::begin(Subject::Files(vec![token.clone()]), poll);
        // From here on, being told takes a change.
        follow.changed().await;
        Self { root, follow, token }
    }

    /// Hears, and never looks by itself.
    async fn hearing(prepare: impl FnOnce(&Path)) -> Self {
        Self::new(prepare, "token", NEVER).await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// As whoever follows does it: reads when told, and only then.
    async fn told_of(&mut self, wanted: Option<&str>) {
        let seen = async {
            loop {
                self.follow.changed().await;
                if fs::read_to_string(&self.token).ok().as_deref() == wanted {
                    return;
                }
            }
        };
        timeout(LIMIT, seen).await.expect("nobody told");
    }
}

/// What kubelet does to publish a version of a projected volume (`atomic_writer.go`).
fn publish(volume: &Path, version: &str, content: &str) {
    let old = fs::read_link(volume.join("..data")).ok();
    fs::create_dir(volume.join(version)).unwrap();
    fs::write(volume.join(version).join("token"), content).unwrap();
    fs::set_permissions(volume.join(version).join("token"), Permissions::from_mode(0o600)).unwrap();
    symlink(version, volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    if old.is_none() {
        symlink("..data/token", volume.join("token")).unwrap();
    }
    if let Some(old) = old {
        fs::remove_dir_all(volume.join(old)).unwrap();
    }
}

#[tokio::test]
async fn the_first_call_resolves_at_once_and_a_file_that_rests_says_nothing_more() {
    let root = tempfile::tempdir().unwrap();
    let mut follow = Follow::new(vec![root.path().join("absent")]);
    timeout(LIMIT, follow.changed()).await.unwrap();
    timeout(POLL_INTERVAL * 3, follow.changed()).await.unwrap_err();
}

#[tokio::test]
async fn a_file_that_is_written_in_place_is_heard() {
    let mut world = World::hearing(|root| fs::write(root.join("token"), "one").unwrap()).await;
    for content in ["two", "six", "three", ""] {
        fs::write(&world.token, content).unwrap();
        world.told_of(Some(content)).await;
    }
}

#[tokio::test]
async fn a_file_that_another_is_renamed_over_is_heard() {
    let mut world = World::hearing(|root| fs::write(root.join("token"), "one").unwrap()).await;
    for content in ["two", "six"] {
        fs::write(world.path("new"), content).unwrap();
        fs::rename(world.path("new"), &world.token).unwrap();
        world.told_of(Some(content)).await;
    }
}

#[tokio::test]
async fn a_file_that_goes_and_comes_is_heard() {
    let mut world = World::hearing(|_| ()).await;
    for content in ["one", "two"] {
        fs::write(&world.token, content).unwrap();
        world.told_of(Some(content)).await;
        fs::remove_file(&world.token).unwrap();
        world.told_of(None).await;
    }
}

#[tokio::test]
async fn a_file_whose_rights_change_is_heard() {
    let mut world = World::hearing(|root| fs::write(root.join("token"), "one").unwrap()).await;
    for mode in [0o640, 0o600] {
        fs::set_permissions(&world.token, Permissions::from_mode(mode)).unwrap();
        world.told_of(Some("one")).await;
    }
}

#[tokio::test]
async fn a_volume_of_kubernetes_is_heard_at_each_swap_of_its_link() {
    let mut world = World::hearing(|root| publish(root, "..2026_0", "zero")).await;
    for (n, content) in ["one", "two", "six", "ten"].iter().enumerate() {
        publish(world.root.path(), &format!("..2026_{}", n + 1), content);
        world.told_of(Some(content)).await;
    }
}

#[tokio::test]
async fn a_file_behind_a_link_is_heard_when_it_is_written_where_it_is() {
    let prepare = |root: &Path| {
        fs::create_dir(root.join("elsewhere")).unwrap();
        fs::write(root.join("elsewhere/real"), "one").unwrap();
        symlink("elsewhere/real", root.join("token")).unwrap();
    };
    let mut world = World::hearing(prepare).await;
    for content in ["two", "six"] {
        fs::write(world.path("elsewhere/real"), content).unwrap();
        world.told_of(Some(content)).await;
    }
}

#[tokio::test]
async fn a_volume_that_is_mounted_later_is_found_and_then_followed() {
    let mut world = World::new(|_| (), "not/yet/token", POLL_INTERVAL).await;
    let volume = world.path("not/yet");
    fs::create_dir_all(&volume).unwrap();
    for (n, content) in ["one", "two", "six"].iter().enumerate() {
        publish(&volume, &format!("..2026_{n}"), content);
        world.told_of(Some(content)).await;
    }
}

#[tokio::test]
async fn a_folder_that_is_replaced_as_a_whole_is_followed() {
    let make = |folder: &Path, content: &str| {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("token"), content).unwrap();
    };
    let first = |root: &Path| make(&root.join("live"), "one");
    let mut world = World::new(first, "live/token", POLL_INTERVAL).await;
    for (n, content) in ["two", "six"].iter().enumerate() {
        make(&world.path("next"), content);
        fs::rename(world.path("live"), world.path(&format!("old{n}"))).unwrap();
        fs::rename(world.path("next"), world.path("live")).unwrap();
        world.told_of(Some(content)).await;
    }
}

#[tokio::test]
async fn every_one_of_several_files_is_followed() {
    let root = tempfile::tempdir().unwrap();
    let paths = ["a", "b"].map(|name| root.path().join(name));
    let mut follow = Follow::begin(Subject::Files(paths.to_vec()), NEVER);
    follow.changed().await;
    for path in &paths {
        fs::write(path, "new").unwrap();
        timeout(LIMIT, follow.changed()).await.expect("nobody told");
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_loses_nothing() {
    let mut world = World::hearing(|root| fs::write(root.join("token"), "one").unwrap()).await;
    timeout(Duration::ZERO, world.follow.changed()).await.unwrap_err();
    fs::write(&world.token, "two").unwrap();
    for _ in 0..3 {
        tokio::select! {
            biased;
            () = std::future::ready(()) => {}
            () = world.follow.changed() => unreachable!(),
        }
    }
    world.told_of(Some("two")).await;
}

#[test]
fn neighbors_and_readers_are_no_change() {
    let root = tempfile::tempdir().unwrap();
    let token = root.path().join("token");
    fs::write(&token, "one").unwrap();
    let (bell, _heard) = Bell::new();
    let mut eye = Eye::new(Subject::Files(vec![token.clone()]), bell);
    assert!(eye.look());
    assert!(!eye.look());
    fs::write(root.path().join("neighbor"), "x").unwrap();
    fs::read(&token).unwrap();
    assert!(!eye.look());
    fs::write(&token, "more").unwrap();
    assert!(eye.look());
}

#[test]
fn a_tree_is_seen_in_its_depth_without_what_is_hidden() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("a/b")).unwrap();
    fs::create_dir_all(root.path().join(".hidden")).unwrap();
    let subject = Subject::Tree(root.path().to_owned());
    let first = subject.look();
    fs::write(root.path().join(".hidden/file"), "x").unwrap();
    assert_eq!(subject.look(), first);
    fs::write(root.path().join("a/b/file"), "x").unwrap();
    assert_ne!(subject.look(), first);
}

#[tokio::test]
async fn a_follower_that_is_dropped_lets_go_of_its_watch() {
    let (tell, told) = watch::channel(());
    let root = tempfile::tempdir().unwrap();
    let task = tokio::spawn(run(Subject::Tree(root.path().to_owned()), NEVER, tell.clone()));
    let mut follow = Follow { told, _task: AbortOnDropHandle::new(task) };
    follow.changed().await;
    assert_eq!(tell.receiver_count(), 1);
    assert_eq!(tell.sender_count(), 2);
    drop(follow);
    let alone = async {
        while tell.sender_count() > 1 {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, alone).await.expect("it goes on");
}
