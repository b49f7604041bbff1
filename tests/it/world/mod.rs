//! A world of services with their sidecars and agents, told like a story.
//!
//! Everything is real: sockets, TLS, the Workload API, the sidecar as `run` starts it. Only the
//! applications are ours.

pub mod app;
pub mod aside;
pub mod audit;
pub mod bundle;
pub mod bundle_server;
pub mod client;
pub mod collector;
pub mod grpc;
pub mod more;
pub mod hostile;
pub mod issuer;
pub mod policy;
pub mod reach;
pub mod secrets;
pub mod service;
pub mod side;
pub mod spec;
pub mod stranger;
pub mod tcp_app;
pub mod tls_server;
pub mod tokens;
pub mod wait;
pub mod web;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};
use sidegate::dev::{Authority, WebAuthority, Workload, WorkloadApi, WorkloadSocket};
use sidegate::net::Listen;
use spiffe::{SpiffeId, TrustDomain};
use tempfile::TempDir;
use tokio::net::{TcpStream, UnixStream};

use app::App;
use audit::Audit;
use client::{Http, Raw, Reply, get};
use issuer::Issuer;
use policy::PolicyFolder;
use service::{Service, Surroundings};
use side::Metrics;
use spec::{Call, Spec};
use stranger::Stranger;
use tcp_app::TcpApp;

/// What a test says before anything runs.
#[derive(Default)]
pub struct Plan(Vec<Spec>);

/// Services at work. Dropping it ends them all.
pub struct World {
    services: BTreeMap<String, Service>,
    agents: BTreeMap<String, WorkloadApi>,
    issuer: Issuer,
    web: WebAuthority,
    folder: TempDir,
}

impl World {
    #[expect(clippy::new_ret_no_self, reason = "a world has to be planned before it is there")]
    pub fn new() -> Plan {
        Plan::default()
    }
}

impl Plan {
    /// A service can only call those that come before it.
    pub fn service(mut self, name: &str, say: impl FnOnce(Spec) -> Spec) -> Self {
        self.0.push(say(Spec::new(name)));
        self
    }

    /// Starts everything, and waits until every sidecar is ready that can be.
    pub async fn start(self) -> World {
        let folder = tempfile::tempdir().unwrap();
        let agents = agents(&self.0);
        let identities = identities(&self.0);
        secrets::keep_the_log();
        let web = WebAuthority::new().unwrap();
        let issuer = Issuer::start(&web).await;
        if self.0.iter().any(|spec| spec.tokens.issuer_is_away) {
            issuer.stop();
        }
        let mut world = World { services: BTreeMap::new(), agents, issuer, web, folder };
        world.publish_authorities();
        for spec in self.0 {
            let service = world.begin(spec, &identities).await;
            world.services.insert(service.spec.name.clone(), service);
        }
        for service in world.services.values() {
            if service.spec.policy_is_away {
                continue;
            }
            if !service.spec.agent_is_down || service.spec.tokens.outside_spiffe {
                world.ready(&service.spec.name).await;
                if !service.spec.agent_is_down {
                    knows_its_peers(service).await;
                }
            }
        }
        world
    }
}

/// A listener that also takes tokens may be ready before its SVID is there.
async fn knows_its_peers(service: &Service) {
    let refuses = "callers_with_svid_refused".to_owned();
    wait::until("the SVID beside the certificate", async || {
        let notes = side::notes(service.health()).await;
        (!notes.contains(&refuses)).then_some(())
    })
    .await;
}

/// One agent for each trust domain; all of them deliver each other's trust bundles.
fn agents(specs: &[Spec]) -> BTreeMap<String, WorkloadApi> {
    let mut agents = BTreeMap::new();
    for name in specs.iter().map(|spec| &spec.trust_domain) {
        agents.entry(name.clone()).or_insert_with(|| {
            WorkloadApi::new(Authority::new(TrustDomain::new(name).unwrap()).unwrap())
        });
    }
    for (own, agent) in &agents {
        for (_, other) in agents.iter().filter(|(other, _)| *other != own) {
            agent.federate(other.authority());
        }
    }
    agents
}

/// What every policy grants each service.
fn identities(specs: &[Spec]) -> Value {
    let grants = specs.iter().map(|spec| {
        let mut grant = spec.grant.clone();
        if grant.get("tenant").is_none() {
            grant["tenant"] = json!(spec.tenant);
        }
        (spec.id(), grant)
    });
    Value::Object(grants.collect::<Map<_, _>>())
}

impl World {
    async fn begin(&self, spec: Spec, identities: &Value) -> Service {
        let folder = self.folder.path().join(&spec.name);
        std::fs::create_dir(&folder).unwrap();
        let app = match spec.unix.application {
            true => App::on_unix(folder.join("app.sock")),
            false => App::on_tcp().await,
        };
        let tcp_app = TcpApp::start().await;
        let workload = Workload::new(SpiffeId::new(spec.id()).unwrap(), spec.ttl);
        let agent = &self.agents[&spec.trust_domain];
        let socket = agent.serve(folder.join("agent.sock"), workload).unwrap();
        if spec.agent_is_down {
            socket.stop().await;
        }
        if spec.audit_disk_is_full {
            std::os::unix::fs::symlink("/dev/full", folder.join("audit.jsonl")).unwrap();
        }
        let policy = PolicyFolder::new(folder.join("policy"), identities.clone());
        let shadow = spec.shadow.as_ref().map(|grants| {
            let mut identities = identities.clone();
            identities.as_object_mut().unwrap().extend(grants.as_object().unwrap().clone());
            PolicyFolder::new(folder.join("shadow"), identities)
        });
        self.hand_out(&spec, &folder);
        let configuration = Surroundings {
            spec: &spec,
            folder: &folder,
            workload_api: &socket.endpoint(),
            authorities: self.folder.path(),
            issuer: &self.issuer.url,
            http_app: &app.address(),
            tcp_app: tcp_app.address,
            destinations: spec.calls.iter().map(|call| self.destination(call)).collect(),
        }
        .configuration();
        let running = Some(service::start(&configuration, &folder, spec.examined_apart));
        Service { spec, folder, app, tcp_app, socket, policy, shadow, configuration, running }
    }

    fn destination(&self, call: &Call) -> (String, String) {
        let service = self.services.get(&call.name);
        let address = call
            .address
            .clone()
            .unwrap_or_else(|| tcp(service.unwrap().inbound(call.protocol)).to_string());
        let expect = call.expect.clone().unwrap_or_else(|| service.unwrap().spec.id());
        (address, expect)
    }

    pub fn service(&self, name: &str) -> &Service {
        self.services.get(name).unwrap_or_else(|| panic!("there is no service `{name}`"))
    }

    pub fn service_mut(&mut self, name: &str) -> &mut Service {
        self.services.get_mut(name).unwrap()
    }

    /// The application of a service.
    pub fn app(&self, name: &str) -> &App {
        &self.service(name).app
    }

    /// Its application for raw streams.
    pub fn tcp_app(&self, name: &str) -> &TcpApp {
        &self.service(name).tcp_app
    }

    /// The audit log of its sidecar.
    pub fn audit(&self, name: &str) -> Audit {
        Audit(self.service(name).audit_path())
    }

    /// Its agent, as far as it serves this service.
    pub fn agent(&self, name: &str) -> &WorkloadSocket {
        &self.service(name).socket
    }

    /// The agent of a trust domain.
    pub fn agent_of(&self, trust_domain: &str) -> &WorkloadApi {
        &self.agents[trust_domain]
    }

    /// The policy folder of its sidecar.
    pub fn policy(&mut self, name: &str) -> &mut PolicyFolder {
        &mut self.service_mut(name).policy
    }

    /// The folder of its shadow policy.
    pub fn shadow(&mut self, name: &str) -> &mut PolicyFolder {
        self.service_mut(name).shadow.as_mut().unwrap()
    }

    pub async fn metrics(&self, name: &str) -> Metrics {
        Metrics::scrape(self.service(name).metrics()).await
    }

    /// Why it is not ready; nothing means that it is.
    pub async fn not_ready(&self, name: &str) -> Vec<String> {
        side::reasons(self.service(name).health(), "/ready").await
    }

    pub async fn ready(&self, name: &str) {
        let what = format!("`{name}` to be ready");
        wait::until(&what, async || self.not_ready(name).await.is_empty().then_some(())).await;
    }

    /// The application of `name`, calling out through its sidecar.
    pub fn from<'a>(&'a self, name: &str) -> Caller<'a> {
        Caller(self.service(name))
    }

    /// Somebody with a real SVID of `id` but no sidecar, at the HTTP listener of `service`.
    pub fn as_peer(&self, id: &str, service: &str) -> Stranger {
        let address = tcp(self.service(service).inbound("http"));
        Stranger::new(address, Some((self.authority(id), id, Duration::from_secs(600))))
    }

    /// The same at its TCP listener.
    pub fn as_tcp_peer(&self, id: &str, service: &str) -> Stranger {
        let address = tcp(self.service(service).inbound("tcp"));
        Stranger::new(address, Some((self.authority(id), id, Duration::from_secs(600))))
    }

    fn authority(&self, id: &str) -> &Authority {
        let id = SpiffeId::new(id).unwrap();
        self.agents[id.trust_domain().as_str()].authority()
    }

    /// The address of its listener.
    pub fn address(&self, service: &str) -> SocketAddr {
        tcp(self.service(service).inbound("http"))
    }

    pub fn id(&self, service: &str) -> String {
        self.service(service).spec.id()
    }

    /// Ends the sidecar at once; its application goes on.
    pub fn kill(&mut self, name: &str) {
        drop(self.service_mut(name).running.take());
    }

    /// The same sidecar once more, on ports of its own.
    pub async fn restart(&mut self, name: &str) {
        self.kill(name);
        let service = self.service_mut(name);
        service.running = Some(service::start(
            &service.configuration,
            &service.folder,
            service.spec.examined_apart,
        ));
        self.ready(name).await;
    }

    /// Begins to drain, as on SIGTERM.
    pub fn drain(&self, name: &str) {
        self.service(name).running().drain();
    }

    /// Waits for the end of a drain.
    pub async fn drained(&mut self, name: &str) {
        let running = self.service_mut(name).running.take().unwrap();
        let waited = tokio::task::spawn_blocking(|| running.wait());
        wait::within("the end of the drain", waited).await.unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn tcp(listen: &Listen) -> SocketAddr {
    match listen {
        Listen::Tcp(address) => *address,
        Listen::Unix(path) => panic!("{} is no TCP address", path.display()),
    }
}

/// An application that calls others through its own sidecar.
pub struct Caller<'a>(&'a Service);

impl Caller<'_> {
    /// On a connection of its own.
    pub async fn get(&self, destination: &str, path: &str) -> Reply {
        self.send(destination, get(path)).await
    }

    pub async fn send(&self, destination: &str, request: http::Request<app::Body>) -> Reply {
        self.http1(destination).await.send(request).await
    }

    pub async fn http1(&self, destination: &str) -> Http {
        let stream = self.raw(destination).await.0;
        Http::http1(stream).await.unwrap()
    }

    /// HTTP/2 in plaintext, without asking first.
    pub async fn http2(&self, destination: &str) -> Http {
        let stream = self.raw(destination).await.0;
        Http::http2(stream).await.unwrap()
    }

    /// Bytes as they are, to the HTTP listener.
    pub async fn raw(&self, destination: &str) -> Raw {
        dial(self.0.outbound(destination, "http")).await.unwrap()
    }

    /// A raw stream to a TCP service.
    pub async fn tcp(&self, destination: &str) -> Raw {
        self.try_tcp(destination).await.unwrap()
    }

    /// A sidecar that hangs up at once may do so while its caller still connects.
    pub async fn try_tcp(&self, destination: &str) -> io::Result<Raw> {
        dial(self.0.outbound(destination, "tcp")).await
    }

    /// The same as the socket that it is, for what only a socket can do.
    pub async fn tcp_stream(&self, destination: &str) -> TcpStream {
        TcpStream::connect(tcp(self.0.outbound(destination, "tcp"))).await.unwrap()
    }
}

async fn dial(listen: &Listen) -> io::Result<Raw> {
    Ok(match listen {
        Listen::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Raw::new(stream)
        }
        Listen::Unix(path) => Raw::new(UnixStream::connect(path).await?),
    })
}
