//! The client against the real development agent, over a real socket.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use spiffe::{SpiffeId, TrustDomain};
use tempfile::TempDir;
use tokio::time::timeout;

use super::channel::Timing;
use super::source::start_with;
use super::{AgentState, AgentStatus, Identity, Material, Settings};
use crate::dev::{Authority, Workload, WorkloadApi, WorkloadSocket};

mod jwt;

const LIMIT: Duration = Duration::from_secs(15);
const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_secs(3);

const HASTY: Timing = Timing {
    backoff_first: Duration::from_millis(10),
    backoff_most: Duration::from_millis(50),
    first_answer: Duration::from_millis(300),
    second_word: Duration::from_millis(300),
    rejected: Duration::from_millis(50),
    silence: Duration::from_millis(300),
    call: LIMIT,
    bundles_max_age: LONG,
};

/// An agent of `example.org` whose socket is not served yet.
struct World {
    folder: TempDir,
    api: WorkloadApi,
}

impl World {
    fn new() -> Self {
        let api = WorkloadApi::new(Authority::new(domain("example.org")).unwrap());
        Self { folder: tempfile::tempdir().unwrap(), api }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("api.sock")
    }

    fn serve(&self, ttl: Duration) -> WorkloadSocket {
        self.api.serve(self.path(), Workload::new(id("/prod/orders"), ttl)).unwrap()
    }

    fn settings(&self) -> Settings {
        Settings {
            endpoint: format!("unix://{}", self.path().display()),
            spiffe_id: None,
            hint: None,
            federates_with: Vec::new(),
            danger_accept_dev_agent: true,
            jwt_bundles: false,
        }
    }

    fn start(&self) -> Identity {
        start_with(self.settings(), HASTY).unwrap()
    }
}

fn id(path: &str) -> SpiffeId {
    SpiffeId::new(format!("spiffe://example.org{path}")).unwrap()
}

fn domain(name: &str) -> TrustDomain {
    TrustDomain::new(name).unwrap()
}

/// Waits until status and material are as wanted, and gives them.
async fn until(
    identity: &Identity,
    wanted: impl Fn(&AgentStatus, &Material) -> bool,
) -> (Arc<AgentStatus>, Arc<Material>) {
    let wait = async {
        let (mut status, mut material) = (identity.status.changes(), identity.material.changes());
        while !wanted(&identity.status.load(), &identity.material.load()) {
            tokio::select! {
                () = status.changed() => {}
                () = material.changed() => {}
            }
        }
    };
    let waited = timeout(LIMIT, wait).await;
    let now = (identity.status.snapshot(), identity.material.snapshot());
    assert!(waited.is_ok(), "still waiting at {now:?}");
    now
}

async fn until_state(identity: &Identity, wanted: AgentState) -> (Arc<AgentStatus>, Arc<Material>) {
    until(identity, |status, _| status.state == wanted).await
}

fn detail(status: &AgentStatus) -> &str {
    status.detail.as_deref().unwrap_or_default()
}

#[tokio::test]
async fn an_identity_arrives_whole_and_a_rotation_replaces_it() {
    let world = World::new();
    let socket = world.serve(LONG);
    let identity = world.start();

    let (status, first) = until_state(&identity, AgentState::Fresh).await;
    let svid = first.svid.as_ref().unwrap();
    assert_eq!((first.generation, &svid.id), (1, &id("/prod/orders")));
    assert_eq!(status.svid_not_after, Some(svid.not_after));
    assert_eq!(status.detail, None);
    assert_eq!(first.bundles[&domain("example.org")], world.api.authority().bundle());

    socket.rotate();
    let (status, second) = until(&identity, |_, material| material.generation == 2).await;
    assert_eq!(second.svid.as_ref().unwrap().id, id("/prod/orders"));
    assert_ne!(second.svid.as_ref().unwrap().chain, svid.chain);
    assert_eq!((status.state, socket.issued()), (AgentState::Fresh, 2));
}

#[tokio::test]
async fn an_agent_rotates_by_itself_at_half_of_the_life() {
    let world = World::new();
    let _socket = world.serve(SHORT);
    let identity = world.start();

    let (status, material) = until(&identity, |status, _| status.updates == 2).await;
    assert_eq!((status.state, material.generation), (AgentState::Fresh, 2));
    assert_eq!(status.disconnects, 0);
}

#[tokio::test]
async fn a_new_authority_and_then_the_loss_of_the_old_one_are_followed() {
    let world = World::new();
    let _socket = world.serve(LONG);
    let identity = world.start();
    until_state(&identity, AgentState::Fresh).await;
    let count = |material: &Material| material.bundles[&domain("example.org")].len();

    world.api.authority().rotate().unwrap();
    until(&identity, |_, material| count(material) == 2).await;
    world.api.authority().forget_old();
    let (_, material) = until(&identity, |_, material| count(material) == 1).await;
    assert_eq!(material.bundles[&domain("example.org")], world.api.authority().bundle());
}

#[tokio::test]
async fn a_denied_workload_uses_nothing_any_more_and_comes_back_by_itself() {
    let world = World::new();
    let socket = world.serve(LONG);
    let identity = world.start();
    until_state(&identity, AgentState::Fresh).await;

    socket.deny();
    let (status, material) = until_state(&identity, AgentState::Denied).await;
    assert!(material.svid.is_none() && material.bundles.is_empty());
    assert_eq!(detail(&status), "the agent issues no identity to this workload");
    assert_eq!(status.svid_not_after, None);

    socket.allow();
    let (_, material) = until_state(&identity, AgentState::Fresh).await;
    assert!(material.svid.is_some() && !material.bundles.is_empty());
}

#[tokio::test]
async fn a_denial_that_the_agent_takes_back_at_once_costs_nothing() {
    let world = World::new();
    let socket = world.serve(LONG);
    let patient = Timing { second_word: LIMIT, backoff_most: LIMIT, ..HASTY };
    let identity = start_with(world.settings(), patient).unwrap();
    let (_, before) = until_state(&identity, AgentState::Fresh).await;

    socket.deny_open();
    socket.until_streams(|count| count == 0).await;
    socket.allow();
    let (status, material) = until(&identity, |status, _| status.updates == 2).await;
    assert_eq!((status.state, &status.detail), (AgentState::Fresh, &None));
    assert!(Arc::ptr_eq(&material, &before), "what we have was in use all the time");

    // The next one within a moment is believed.
    socket.deny_open();
    until_state(&identity, AgentState::Denied).await;
    socket.allow();
    until_state(&identity, AgentState::Fresh).await;
}

#[tokio::test]
async fn a_denial_that_the_agent_does_not_take_back_in_time_stands() {
    let world = World::new();
    let socket = world.serve(LONG);
    let identity = world.start();
    until_state(&identity, AgentState::Fresh).await;

    socket.deny_open();
    let (status, material) = until_state(&identity, AgentState::Denied).await;
    assert!(material.svid.is_none() && material.bundles.is_empty());
    assert_eq!(detail(&status), "the agent issues no identity to this workload");
}

#[tokio::test]
async fn a_denial_stands_while_the_agent_is_away() {
    let world = World::new();
    let socket = world.serve(LONG);
    let identity = world.start();
    socket.deny();
    until_state(&identity, AgentState::Denied).await;

    socket.stop().await;
    let mut changes = identity.status.changes();
    timeout(LIMIT, changes.changed()).await.unwrap();
    assert_eq!(identity.status.load().state, AgentState::Denied);

    socket.allow();
    socket.start().unwrap();
    until_state(&identity, AgentState::Fresh).await;
}

#[tokio::test]
async fn a_restarted_agent_with_a_new_socket_is_found_again() {
    let world = World::new();
    let socket = world.serve(LONG);
    let identity = world.start();
    let (_, before) = until_state(&identity, AgentState::Fresh).await;

    socket.stop().await;
    assert!(!world.path().exists());
    let (status, material) = until_state(&identity, AgentState::Stale).await;
    assert_eq!(status.disconnects, 1);
    assert!(status.detail.is_some());
    assert!(Arc::ptr_eq(&material, &before), "what we have stays in use");

    socket.start().unwrap();
    let (status, material) = until(&identity, |status, _| status.updates == 2).await;
    assert_eq!(status.state, AgentState::Fresh);
    assert!(Arc::ptr_eq(&material, &before), "the same SVID is no new generation");

    socket.rotate();
    until(&identity, |_, material| material.generation == 2).await;
}

#[tokio::test]
async fn an_agent_that_starts_later_is_waited_for() {
    let world = World::new();
    let identity = world.start();

    let (status, material) = until(&identity, |status, _| status.detail.is_some()).await;
    assert_eq!(status.state, AgentState::Starting);
    assert!(detail(&status).starts_with("cannot connect to `unix:///"), "{status:?}");
    assert_eq!(material.generation, 0);

    let _socket = world.serve(LONG);
    let (status, _) = until_state(&identity, AgentState::Fresh).await;
    assert_eq!((status.detail.as_deref(), status.disconnects), (None, 0));
}

#[tokio::test]
async fn an_agent_that_accepts_and_never_answers_is_not_waited_for_forever() {
    let world = World::new();
    let socket = world.serve(LONG);
    socket.hang();
    let identity = world.start();

    let (status, _) = until(&identity, |status, _| status.detail.is_some()).await;
    assert_eq!(status.state, AgentState::Starting);
    assert_eq!(detail(&status), "the agent gave no answer within 0.3 s");

    socket.allow();
    until_state(&identity, AgentState::Fresh).await;
}

#[tokio::test]
async fn a_listener_that_does_not_even_speak_is_not_waited_for_forever() {
    let world = World::new();
    let mute = std::os::unix::net::UnixListener::bind(world.path()).unwrap();
    let identity = world.start();

    let (status, _) = until(&identity, |status, _| status.detail.is_some()).await;
    assert_eq!(detail(&status), "the agent gave no answer within 0.3 s");
    drop(mute);
}

#[tokio::test]
async fn an_agent_that_falls_silent_makes_the_svid_stale_and_then_expired() {
    let world = World::new();
    let socket = world.serve(SHORT);
    let identity = world.start();
    let (_, fresh) = until_state(&identity, AgentState::Fresh).await;
    socket.hang();

    let (status, stale) = until_state(&identity, AgentState::Stale).await;
    assert_eq!(detail(&status), "the agent is silent past the time to renew");
    assert!(Arc::ptr_eq(&stale, &fresh), "it is used to its end");

    let (status, expired) = until_state(&identity, AgentState::Expired).await;
    assert!(detail(&status).starts_with("the SVID has expired"), "{status:?}");
    assert!(expired.svid.is_none());
    assert_eq!(expired.bundles, fresh.bundles);
    assert_eq!(expired.generation, 2);
    assert_eq!(status.svid_not_after, None);

    socket.allow();
    let (_, material) = until_state(&identity, AgentState::Fresh).await;
    assert!(material.svid.is_some());
}

#[tokio::test]
async fn an_svid_expires_on_time_while_the_agent_is_gone() {
    let world = World::new();
    let socket = world.serve(SHORT);
    let identity = world.start();
    let (_, fresh) = until_state(&identity, AgentState::Fresh).await;
    socket.stop().await;
    until_state(&identity, AgentState::Stale).await;

    let (status, expired) = until_state(&identity, AgentState::Expired).await;
    let late = status.since.duration_since(fresh.svid.as_ref().unwrap().not_after).unwrap();
    assert!(late < Duration::from_secs(1), "{late:?} late");
    assert!(expired.svid.is_none());

    socket.start().unwrap();
    until_state(&identity, AgentState::Fresh).await;
}

#[tokio::test]
async fn only_foreign_trust_domains_opted_in_are_taken_and_a_dropped_one_goes() {
    let world = World::new();
    let (partner, stranger) = (domain("partner.example"), domain("stranger.example"));
    for foreign in [&partner, &stranger] {
        world.api.federate(&Authority::new(foreign.clone()).unwrap());
    }
    let _socket = world.serve(LONG);
    let absent = domain("absent.example");
    let settings = Settings { federates_with: vec![partner.clone(), absent], ..world.settings() };
    let identity = start_with(settings, HASTY).unwrap();

    let (_, material) = until_state(&identity, AgentState::Fresh).await;
    let known: Vec<_> = material.bundles.keys().map(TrustDomain::as_str).collect();
    assert_eq!(known, ["example.org", "partner.example"]);

    world.api.defederate(&partner);
    let (status, material) = until(&identity, |_, material| material.generation == 2).await;
    let known: Vec<_> = material.bundles.keys().map(TrustDomain::as_str).collect();
    assert_eq!((known, status.state), (vec!["example.org"], AgentState::Fresh));
}

#[tokio::test]
async fn a_development_agent_is_refused_unless_accepted_by_name() {
    let world = World::new();
    let _socket = world.serve(LONG);
    let settings = Settings { danger_accept_dev_agent: false, ..world.settings() };
    let identity = start_with(settings, HASTY).unwrap();

    let (status, material) = until_state(&identity, AgentState::Denied).await;
    let told = "this is a development agent; set identity.danger_accept_dev_agent";
    assert_eq!(detail(&status), told);
    assert!(material.svid.is_none() && material.bundles.is_empty());
    assert_eq!((material.generation, status.updates), (0, 0));
}

#[tokio::test]
async fn of_several_svids_ours_is_the_one_configured_and_none_if_that_is_absent() {
    let world = World::new();
    let hinted = |path, hint: &str| (id(path), Some(hint.to_owned()));
    let ids = vec![(id("/a"), None), hinted("/b", "external"), hinted("/c", "external")];
    let _socket = world.api.serve(world.path(), Workload { ids, ttl: LONG }).unwrap();
    let base = world.settings();
    let cases = [
        (None, None, Some("/a")),
        (None, Some("external"), Some("/b")),
        (Some("/c"), Some("internal"), Some("/c")),
        (Some("/d"), None, None),
        (None, Some("internal"), None),
    ];
    for (wanted, hint, ours) in cases {
        let settings =
            Settings { spiffe_id: wanted.map(id), hint: hint.map(str::to_owned), ..base.clone() };
        let identity = start_with(settings, HASTY).unwrap();
        let (status, material) =
            until(&identity, |status, _| status.state != AgentState::Starting).await;
        let got = material.svid.as_ref().map(|svid| svid.id.path().to_owned());
        assert_eq!(got.as_deref(), ours, "{wanted:?} {hint:?}");
        if ours.is_none() {
            assert_eq!(status.state, AgentState::Denied);
            assert!(detail(&status).contains("`spiffe://example.org/b` (hint `external`)"));
        }
    }
}

#[tokio::test]
async fn a_malformed_endpoint_is_an_error_at_once() {
    let settings = Settings { endpoint: "http://agent".into(), ..World::new().settings() };
    let error = super::start(settings).unwrap_err();
    assert!(error.to_string().contains("`http://agent`"));
}
