//! The certificate from files: what is taken into use, and what leaves the old one in place.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tokio::time::timeout;

use super::testkit::{Draft, HOUR, Issued, Name, at, now};
use super::world::{World, followed, on_disk, soon};
use crate::files::{FileError, Follow, SecretFile};
use crate::secret::Secret;
use crate::tls::certificate::{Followed, OnDisk};
use crate::tls::{CertificateError, CertificateFiles, certificate};

const YEAR: i64 = 365 * 24 * HOUR;

fn issued(world: &World) -> Issued {
    world.web.issue(&Draft::server(&[Name::Dns("orders.example")]))
}

/// Valid by the clock of this machine.
fn of_today(world: &World) -> Issued {
    let valid = (-30 * YEAR, YEAR);
    world.web.issue(&Draft::server(&[]).with(|draft| draft.valid = valid))
}

fn files(folder: &Path) -> CertificateFiles {
    let key = SecretFile { path: folder.join("tls.key"), danger_readable_by_others: false };
    CertificateFiles { chain: folder.join("tls.crt"), key }
}

fn write(files: &CertificateFiles, chain: Option<&Issued>, key: Option<&Issued>) {
    let put = |path: &Path, text: String| {
        let aside = path.with_extension("new");
        std::fs::write(&aside, text).unwrap();
        std::fs::set_permissions(&aside, Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(&aside, path).unwrap();
    };
    if let Some(issued) = chain {
        put(&files.chain, issued.chain_pem());
    }
    if let Some(issued) = key {
        put(&files.key.path, issued.key_pem());
    }
}

#[test]
fn what_cannot_be_presented_is_refused_with_the_file_and_the_reason() {
    let world = World::new();
    let good = issued(&world);
    let key = || Secret::new(good.key_pem());
    let chain = |draft: Draft| world.web.issue(&draft).chain_pem().into_bytes();
    let server = || Draft::server(&[Name::Dns("orders.example")]);
    let rows = [
        (Vec::new(), key(), "tls.crt", "no certificate"),
        (b"hunter2".to_vec(), key(), "tls.crt", "no certificate"),
        (b"-----BEGIN CERTIFICATE-----\nhunter2".to_vec(), key(), "tls.crt", "not PEM"),
        (chain(server().with(|draft| draft.trailing = vec![0])), key(), "tls.crt", "follow"),
        (chain(server().with(|draft| draft.valid = (-HOUR, -1))), key(), "tls.crt", "expired"),
        (chain(server().with(|draft| draft.valid = (-HOUR, 0))), key(), "tls.crt", "expired"),
        (chain(server().with(|draft| draft.valid = (31, HOUR))), key(), "tls.crt", "not valid yet"),
        (good.chain_pem().into(), Secret::new("hunter2".into()), "tls.key", "no private key"),
        (good.chain_pem().into(), Secret::new(good.chain_pem()), "tls.key", "no private key"),
        (
            good.chain_pem().into(),
            Secret::new("-----BEGIN PRIVATE KEY-----\nhunter2".into()),
            "tls.key",
            "no private key",
        ),
        (
            good.chain_pem().into(),
            Secret::new("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".into()),
            "tls.key",
            "no kind that is supported",
        ),
        (chain(server()), key(), "tls.key", "not the one of the certificate"),
    ];
    for (chain, key, path, why) in rows {
        let refused = Followed::start(files(Path::new("")), OnDisk { chain, key }, now());
        let Err(problem) = refused else { panic!("{why}: was taken") };
        let text = format!("{problem} {problem:?}");
        assert!(text.contains(&format!("`{path}`")) && text.contains(why), "want {why}: {text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_pair_that_does_not_match_leaves_the_old_in_use_until_it_does() {
    let world = World::new();
    let (old, new) = (issued(&world), issued(&world));
    let mut files = followed(&old);
    let (certificate, status) = (files.certificate.live(), files.status.live());
    assert_eq!((certificate.load().generation, certificate.load().not_after), (1, at(HOUR)));
    assert_eq!((status.load().not_after, &status.load().last_error), (at(HOUR), &None));

    files.take(Ok(on_disk(&new, &old)), now());
    assert_eq!(certificate.load().generation, 1);
    let problem = status.load().last_error.clone().unwrap();
    assert!(problem.contains("`tls.key`") && problem.contains("not the one"), "{problem}");

    files.take(Ok(on_disk(&new, &new)), now());
    assert_eq!((certificate.load().generation, &status.load().last_error), (2, &None));
    // Read again, and nothing is new.
    files.take(Ok(on_disk(&new, &new)), now());
    assert_eq!(certificate.load().generation, 2);
}

#[test]
fn a_problem_that_goes_away_is_forgotten() {
    let world = World::new();
    let only = issued(&world);
    let mut files = followed(&only);
    let (certificate, status) = (files.certificate.live(), files.status.live());
    files.take(Err(FileError::Empty { path: "tls.crt".into() }), now());
    assert_eq!(status.load().last_error.as_deref(), Some("`tls.crt` is empty"));
    files.take(Ok(on_disk(&only, &only)), now());
    assert_eq!((certificate.load().generation, &status.load().last_error), (1, &None));
}

#[test]
fn an_expired_certificate_never_replaces_one_in_use_and_one_in_use_stays_when_it_expires() {
    let world = World::new();
    let only = issued(&world);
    let mut files = followed(&only);
    let (certificate, status) = (files.certificate.live(), files.status.live());
    let expired = world.web.issue(&Draft::server(&[]).with(|draft| draft.valid = (-HOUR, -1)));
    files.take(Ok(on_disk(&expired, &expired)), now());
    assert_eq!(certificate.load().generation, 1);
    assert!(status.load().last_error.as_ref().unwrap().contains("has expired"));

    files.take(Ok(on_disk(&only, &only)), at(2 * HOUR));
    assert_eq!((certificate.load().generation, certificate.load().not_after), (1, at(HOUR)));
    assert_eq!((status.load().not_after, &status.load().last_error), (at(HOUR), &None));
}

#[test]
fn a_certificate_that_is_not_valid_yet_waits_for_its_time_and_clocks_may_differ_a_little() {
    let world = World::new();
    let only = issued(&world);
    let mut files = followed(&only);
    let (certificate, status) = (files.certificate.live(), files.status.live());
    let early = world.web.issue(&Draft::server(&[]).with(|draft| draft.valid = (31, HOUR)));
    files.take(Ok(on_disk(&early, &early)), now());
    assert_eq!((certificate.load().generation, status.load().not_after), (1, at(HOUR)));
    assert!(status.load().last_error.as_ref().unwrap().contains("not valid yet"));
    files.take(Ok(on_disk(&early, &early)), at(1));
    assert_eq!((certificate.load().generation, &status.load().last_error), (2, &None));
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_is_looked_at_again_without_a_change() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let files = files(folder.path());
    let (old, new) = (issued(&world), of_today(&world));
    let mut followed = followed(&old);
    let (certificate, status) = (followed.certificate.live(), followed.status.live());
    followed.take(Err(FileError::Empty { path: "tls.crt".into() }), now());
    write(&files, Some(&new), Some(&new));
    let mut changes = (certificate.changes(), status.changes());
    // Nothing that is followed changes.
    let mut elsewhere = Follow::new(vec![folder.path().join("elsewhere")]);
    elsewhere.changed().await;
    followed.files = files;
    let task = tokio::spawn(followed.run(elsewhere));
    let minute = Duration::from_secs(60);
    timeout(minute, changes.0.changed()).await.unwrap();
    timeout(minute, changes.1.changed()).await.unwrap();
    assert_eq!((certificate.load().generation, &status.load().last_error), (2, &None));
    task.abort();
}

#[test]
fn it_is_good_for_its_names_and_for_what_its_wildcard_covers() {
    let world = World::new();
    let names =
        [Name::Dns("orders.example"), Name::Dns("*.wild.example"), Name::Ip([192, 0, 2, 7])];
    let certificate = followed(&world.web.issue(&Draft::server(&names))).certificate.live();
    for (name, good) in [
        ("orders.example", true),
        ("Orders.Example", true),
        ("a.wild.example", true),
        ("wild.example", false),
        ("a.b.wild.example", false),
        ("a.orders.example", false),
        ("other.example", false),
        ("192.0.2.7", false),
        ("", false),
        ("*.wild.example", false),
    ] {
        assert_eq!(certificate.load().names(name), good, "{name}");
    }
}

#[tokio::test]
async fn the_files_are_followed() {
    let world = World::new();
    let (old, new) = (of_today(&world), of_today(&world));
    let folder = tempfile::tempdir().unwrap();
    let files = files(folder.path());
    write(&files, Some(&old), Some(&old));
    let (certificate, status) = certificate(files.clone()).unwrap();
    let mut changes = (certificate.changes(), status.changes());

    write(&files, Some(&new), None);
    soon(changes.1.changed()).await;
    assert_eq!(certificate.load().generation, 1);
    assert!(status.load().last_error.as_ref().unwrap().contains("not the one"));

    write(&files, None, Some(&new));
    soon(changes.0.changed()).await;
    soon(changes.1.changed()).await;
    assert_eq!((certificate.load().generation, &status.load().last_error), (2, &None));
}

#[tokio::test]
async fn the_files_are_held_to_their_rules_at_start() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let files = files(folder.path());
    let refused = || match certificate(files.clone()) {
        Ok(_) => panic!("was taken"),
        Err(problem) => problem,
    };
    assert!(matches!(refused(), CertificateError::File(FileError::Read { .. })));

    let past = world.web.issue(&Draft::server(&[]).with(|draft| {
        draft.valid = (-30 * YEAR, -29 * YEAR);
    }));
    assert!(SystemTime::now() > at(-29 * YEAR), "the clock of this machine is wrong");
    write(&files, Some(&past), Some(&past));
    let problem = refused();
    assert!(matches!(problem, CertificateError::Unusable { .. }));
    assert!(problem.to_string().contains("has expired"), "{problem}");

    std::fs::set_permissions(&files.key.path, Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(refused(), CertificateError::File(FileError::NotPrivate { .. })));
}

#[test]
fn its_key_never_shows() {
    let world = World::new();
    let issued = issued(&world);
    let files = followed(&issued);
    let shown = format!("{:?} {:?}", files.certificate.live(), on_disk(&issued, &issued).key);
    assert!(!shown.contains("PRIVATE") && shown.contains("generation: 1"), "{shown}");
}
