//! Authorities of web servers: read from files, and followed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;

use super::testkit::{Draft, Issued, Name, now};
use super::world::{World, pipe, soon, web_server};
use crate::files::FileError;
use crate::live::Live;
use crate::tls::roots::Followed;
use crate::tls::{HostName, NamedConnector, Roots, RootsError, RootsFrom, Settings, roots};

const NAME: &str = "billing.example";

/// Is a server of this authority believed?
async fn believed(roots: &Live<Roots>, authority: &Issued) -> bool {
    let server = authority.issue(&Draft::server(&[Name::Dns(NAME)]));
    let server = Arc::new(web_server(&server, rustls::ALL_VERSIONS));
    let name = HostName::parse(NAME).unwrap();
    let connector = NamedConnector::new(roots.clone(), Settings::default(), name, &[]);
    let (near, far) = pipe();
    let both = async {
        tokio::join!(connector.connect(near, now()), TlsAcceptor::from(server).accept(far))
    };
    soon(both).await.0.is_ok()
}

fn read(pem: &str) -> Result<Live<Roots>, String> {
    let file = Followed::start(Path::new("ca.pem"), pem.as_bytes().to_vec());
    file.map(|file| file.roots.live()).map_err(|error| error.to_string())
}

fn replace(path: &Path, text: &str) {
    let aside = path.with_extension("new");
    std::fs::write(&aside, text).unwrap();
    std::fs::rename(&aside, path).unwrap();
}

#[tokio::test]
async fn every_authority_of_a_file_is_believed_and_no_other() {
    let (world, other) = (World::new(), World::new());
    let pem = [world.web.chain_pem(), "some words\n".to_owned(), world.root.chain_pem()].concat();
    let roots = read(&pem).unwrap();
    assert!(believed(&roots, &world.web).await);
    assert!(believed(&roots, &world.root).await);
    assert!(!believed(&roots, &world.partner).await);
    assert!(!believed(&roots, &other.web).await);
}

#[test]
fn a_file_without_an_authority_is_refused_with_the_reason() {
    let world = World::new();
    let leaf = world.web.issue(&Draft::server(&[Name::Dns(NAME)]));
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let rows = [
        ("", "there is none in it"),
        ("hello", "there is none in it"),
        (leaf.key_pem().as_str(), "there is none in it"),
        (leaf.chain_pem().as_str(), "an issuer in the chain is not an authority"),
        (garbage, "not readable"),
        ("-----BEGIN CERTIFICATE-----\nhunter2", "it is not PEM"),
    ]
    .map(|(pem, why)| (read(pem).unwrap_err(), why));
    for (problem, why) in rows {
        assert!(problem.contains("`ca.pem`") && problem.contains(why), "{problem}");
        assert!(!problem.contains("hunter2"), "{problem}");
    }
}

/// A certificate that signs nobody must not become one that signs everybody.
#[tokio::test]
async fn what_is_no_authority_is_left_out() {
    let world = World::new();
    let server = world.web.issue(&Draft::server(&[Name::Dns("other.example")]));
    let roots = read(&[server.chain_pem(), world.root.chain_pem()].concat()).unwrap();
    assert!(!believed(&roots, &server).await);
    assert!(believed(&roots, &world.root).await);
}

#[tokio::test]
async fn a_missing_file_is_an_error_at_start() {
    let missing = RootsFrom::File(PathBuf::from("/nowhere/ca.pem"));
    assert!(matches!(roots(&missing), Err(RootsError::File(_))));
}

#[tokio::test]
async fn the_systems_authorities_are_there_if_the_system_has_any() {
    let any = !rustls_native_certs::load_native_certs().certs.is_empty();
    assert_eq!(roots(&RootsFrom::System).is_ok(), any);
}

#[tokio::test]
async fn a_file_that_breaks_leaves_the_last_good_authorities_in_force() {
    let (world, other) = (World::new(), World::new());
    let pem = |world: &World| world.web.chain_pem().into_bytes();
    let mut file = Followed::start(Path::new("ca.pem"), pem(&world)).unwrap();
    let roots = file.roots.live();
    for broken in ["", "broken", &world.web.issue(&Draft::server(&[])).chain_pem()] {
        file.take(Ok(broken.as_bytes().to_vec()));
        assert!(believed(&roots, &world.web).await);
    }
    file.take(Err(FileError::Empty { path: "ca.pem".into() }));
    assert!(believed(&roots, &world.web).await);
    file.take(Ok(pem(&other)));
    assert!(believed(&roots, &other.web).await);
    assert!(!believed(&roots, &world.web).await);
}

#[tokio::test]
async fn a_file_is_followed() {
    let (world, other) = (World::new(), World::new());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, world.web.chain_pem()).unwrap();
    let roots = roots(&RootsFrom::File(path.clone())).unwrap();
    assert!(believed(&roots, &world.web).await);

    let mut changes = roots.changes();
    replace(&path, "broken");
    replace(&path, &other.web.chain_pem());
    soon(changes.changed()).await;
    assert!(believed(&roots, &other.web).await);
    assert!(!believed(&roots, &world.web).await);
}
