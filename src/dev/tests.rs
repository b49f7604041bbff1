//! The development agent as a stranger meets it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use http::uri::PathAndQuery;
use spiffe::{SpiffeId, TrustDomain};
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::{AgentSettings, Authority, DEV_AGENT_MARKER, DevError, Workload, WorkloadApi};
use crate::workload_api::pb::{X509BundlesRequest, X509BundlesResponse};

mod tokens;

const TTL: Duration = Duration::from_secs(3600);

fn id(text: &str) -> SpiffeId {
    SpiffeId::new(text).unwrap()
}

fn authority(name: &str) -> Authority {
    Authority::new(TrustDomain::new(name).unwrap()).unwrap()
}

fn orders() -> Workload {
    Workload::new(id("spiffe://example.org/orders"), TTL)
}

async fn client(path: &Path) -> Grpc<Channel> {
    let endpoint = Endpoint::from_shared(format!("unix://{}", path.display())).unwrap();
    let mut client = Grpc::new(endpoint.connect().await.unwrap());
    client.ready().await.unwrap();
    client
}

fn asked<T>(message: T, header: Option<&'static str>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(value) = header {
        request.metadata_mut().insert("workload.spiffe.io", value.parse().unwrap());
    }
    request
}

async fn bundles(
    path: &Path,
    header: Option<&'static str>,
) -> Result<Streaming<X509BundlesResponse>, Status> {
    let call = PathAndQuery::from_static("/SpiffeWorkloadAPI/FetchX509Bundles");
    let codec = ProstCodec::<X509BundlesRequest, X509BundlesResponse>::default();
    let request = asked(X509BundlesRequest {}, header);
    let answer = client(path).await.server_streaming(request, call, codec).await?;
    Ok(answer.into_inner())
}

#[test]
fn an_svid_is_to_the_letter_of_the_standard() {
    let now = SystemTime::now();
    let authority = authority("example.org");
    let ttl = Duration::from_secs(20);
    let issued = authority.issue(&id("spiffe://example.org/prod/orders"), now, ttl).unwrap();
    let (rest, leaf) = X509Certificate::from_der(&issued.chain[0]).unwrap();
    assert!(rest.is_empty());

    let names = leaf.subject_alternative_name().unwrap().unwrap();
    let names = &names.value.general_names;
    assert_eq!(names[..], [GeneralName::URI("spiffe://example.org/prod/orders")]);
    let constraints = leaf.basic_constraints().unwrap().unwrap();
    assert!(!constraints.value.ca);
    let usage = leaf.key_usage().unwrap().unwrap();
    assert!(usage.critical);
    assert_eq!(usage.value.flags, 1, "digitalSignature alone");
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.server_auth && extended.client_auth);
    let curve = leaf.public_key().algorithm.parameters.as_ref().unwrap().as_oid().unwrap();
    assert_eq!(curve.to_id_string(), "1.2.840.10045.3.1.7", "P-256");
    assert_eq!(leaf.raw_serial().len(), 16);

    assert!(issued.not_before <= now && now <= issued.not_before + Duration::from_secs(6));
    assert!(now + ttl <= issued.not_after && issued.not_after <= now + ttl * 2);
    let bundle = authority.bundle();
    let (_, root) = X509Certificate::from_der(&bundle[0]).unwrap();
    assert_eq!(leaf.issuer(), root.subject());
    assert!(root.is_ca() && root.key_usage().unwrap().unwrap().value.key_cert_sign());
    let organization = root.subject().iter_organization().next().unwrap();
    assert_eq!(organization.as_str().unwrap(), DEV_AGENT_MARKER);
}

#[test]
fn two_svids_share_neither_key_nor_serial() {
    let authority = authority("example.org");
    let make = || authority.issue(&id("spiffe://example.org/a"), SystemTime::now(), TTL).unwrap();
    let (a, b) = (make(), make());
    assert_ne!(a.key.secret_der(), b.key.secret_der());
    let serial = |der| X509Certificate::from_der(der).unwrap().1.raw_serial().to_vec();
    assert_ne!(serial(&a.chain[0]), serial(&b.chain[0]));
}

#[test]
fn an_authority_vouches_for_workloads_of_its_own_trust_domain_only() {
    let authority = authority("example.org");
    let issue = |text| authority.issue(&id(text), SystemTime::now(), TTL).unwrap_err();
    assert!(matches!(issue("spiffe://partner.example/a"), DevError::ForeignId { .. }));
    assert!(matches!(issue("spiffe://example.org"), DevError::NoPath(_)));
}

#[test]
fn debug_output_shows_no_key() {
    let authority = authority("example.org");
    let issued = authority.issue(&id("spiffe://example.org/a"), SystemTime::now(), TTL).unwrap();
    let token = authority.issue_jwt(&issued.id, &["x".to_owned()], SystemTime::now(), TTL).unwrap();
    let api = WorkloadApi::new(authority.clone());
    let shown = format!("{issued:?} {authority:?} {api:?} {token:?}");
    assert!(!shown.contains("key") && !shown.contains(token.expose()), "{shown}");
}

#[tokio::test]
async fn a_call_without_the_security_header_is_invalid() {
    let folder = tempfile::tempdir().unwrap();
    let api = WorkloadApi::new(authority("example.org"));
    let socket = api.serve(folder.path().join("s"), orders()).unwrap();
    for header in [None, Some("false"), Some("TRUE")] {
        let refused = bundles(socket.path(), header).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{header:?}");
    }
    assert_eq!((socket.issued(), socket.streams()), (0, 0));
}

#[tokio::test]
async fn trust_bundles_are_streamed_by_trust_domain() {
    let folder = tempfile::tempdir().unwrap();
    let api = WorkloadApi::new(authority("example.org"));
    let partner = authority("partner.example");
    api.federate(&partner);
    let socket = api.serve(folder.path().join("s"), orders()).unwrap();

    let mut stream = bundles(socket.path(), Some("true")).await.unwrap();
    let first = stream.message().await.unwrap().unwrap().bundles;
    assert_eq!(first["spiffe://example.org"], api.authority().bundle_der());
    assert_eq!(first["spiffe://partner.example"], partner.bundle_der());

    partner.rotate().unwrap();
    let second = stream.message().await.unwrap().unwrap().bundles;
    assert_eq!(second["spiffe://partner.example"], partner.bundle_der());
    assert_ne!(second["spiffe://partner.example"], first["spiffe://partner.example"]);

    assert_eq!(socket.streams(), 1);
    socket.stop().await;
    assert!(stream.message().await.is_err());
    socket.until_streams(|count| count == 0).await;
}

#[tokio::test]
async fn a_socket_is_private_and_goes_with_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/for/it/s");
    let api = WorkloadApi::new(authority("example.org"));
    let socket = api.serve(&path, orders()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));

    drop(socket);
    assert!(!path.exists());
}

#[tokio::test]
async fn what_is_not_a_dead_socket_is_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let api = WorkloadApi::new(authority("example.org"));

    let file = folder.path().join("file");
    fs::write(&file, "precious").unwrap();
    assert!(matches!(api.serve(&file, orders()), Err(DevError::NotASocket(_))));
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");

    let path = folder.path().join("s");
    let first = api.serve(&path, orders()).unwrap();
    assert!(matches!(api.serve(&path, orders()), Err(DevError::InUse(_))));
    drop(first);

    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "left behind by a process that died");
    api.serve(&path, orders()).unwrap();
}

#[tokio::test]
async fn workloads_that_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let api = WorkloadApi::new(authority("example.org"));
    let serve = |workload| api.serve(folder.path().join("s"), workload).unwrap_err();
    assert!(matches!(serve(Workload { ids: vec![], ttl: TTL }), DevError::NoIds));
    let foreign = Workload::new(id("spiffe://partner.example/a"), TTL);
    assert!(matches!(serve(foreign), DevError::ForeignId { .. }));
    let brief = Workload { ttl: Duration::from_secs(1), ..orders() };
    assert!(matches!(serve(brief), DevError::ShortLife(_)));
}

#[tokio::test]
async fn the_agent_groups_workloads_by_socket_and_federates_its_trust_domains() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let settings = AgentSettings {
        trust_domain: TrustDomain::new("example.org").unwrap(),
        federate: vec![TrustDomain::new("partner.example").unwrap()],
        workloads: vec![
            (id("spiffe://example.org/a"), one.clone()),
            (id("spiffe://partner.example/b"), two.clone()),
            (id("spiffe://example.org/c"), one.clone()),
        ],
        ttl: TTL,
    };
    let agent = super::start(&settings).unwrap();
    let paths: Vec<_> = agent.sockets.iter().map(|socket| socket.path()).collect();
    assert_eq!(paths, [&one, &two]);
    for path in [&one, &two] {
        let mut stream = bundles(path, Some("true")).await.unwrap();
        let known: Vec<_> = stream.message().await.unwrap().unwrap().bundles.into_keys().collect();
        assert_eq!(known, ["spiffe://example.org", "spiffe://partner.example"]);
    }

    let mixed = AgentSettings {
        workloads: vec![
            (id("spiffe://example.org/a"), folder.path().join("three")),
            (id("spiffe://partner.example/b"), folder.path().join("three")),
        ],
        ..settings
    };
    assert!(matches!(super::start(&mixed), Err(DevError::ForeignId { .. })));
}
