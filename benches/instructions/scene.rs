//! An application, a caller, their sidecars under the counter, and an agent: all on this machine.

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use sidegate::dev::{self, Authority, WorkloadApi, WorkloadSocket};
use spiffe::{SpiffeId, TrustDomain};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::callers::{Caller, Workload};
use super::counted::Counted;

/// Of a request's answer, and of a message over raw TCP.
pub const BYTES: usize = 1024;

const SHOP: &str = "spiffe://example.org/shop";
const ORDERS: &str = "spiffe://example.org/orders";
const DAY: Duration = Duration::from_secs(24 * 3600);

const POLICY: &str = r#"package sidegate.global

import rego.v1

grant := {"tenant": "acme", "scopes": ["orders:read"], "roles": []} if {
	input.peer.spiffe_id == "spiffe://example.org/shop"
}
"#;

pub struct Scene {
    outbound: Counted,
    inbound: Counted,
    http: SocketAddr,
    raw: SocketAddr,
    _agent: WorkloadApi,
    _sockets: [WorkloadSocket; 2],
    _folder: TempDir,
}

impl Scene {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path();
        let domain = TrustDomain::new("example.org").expect("a name");
        let agent = WorkloadApi::new(Authority::new(domain).expect("an authority"));
        let sockets = [(SHOP, "shop.sock"), (ORDERS, "orders.sock")].map(|(id, name)| {
            let id = SpiffeId::new(id).expect("an ID");
            agent.serve(at.join(name), dev::Workload::new(id, DAY)).expect("a socket")
        });
        let policy = at.join("policy");
        fs::create_dir(&policy).expect("a folder");
        fs::write(policy.join("global.rego"), POLICY).expect("a policy");

        let (web, echo) = (web().await, echo().await);
        let inbound = configuration(at, "orders", |listen| {
            json!({"inbound": [
                {"name": "web", "listen": listen, "forward_to": web.to_string(),
                 "routes": [{"path": "/orders/{id}", "methods": ["GET"], "scopes": ["orders:read"]}]},
                {"name": "raw", "listen": listen, "forward_to": echo.to_string(),
                 "protocol": "tcp", "scopes": ["orders:read"]},
            ]})
        });
        let (inbound, addresses) = Counted::start(&inbound, &["web", "raw"]);
        let outbound = configuration(at, "shop", |listen| {
            let to = |name, protocol, address| {
                json!({"name": name, "listen": listen, "connect_to": address,
                       "expect": ORDERS, "protocol": protocol})
            };
            json!({"outbound": [
                to("web", "http", &addresses[0]), to("raw", "tcp", &addresses[1]),
            ]})
        });
        let (outbound, addresses) = Counted::start(&outbound, &["web", "raw"]);
        let [http, raw] = [&addresses[0], &addresses[1]].map(|it| it.parse().expect("an address"));
        Self { outbound, inbound, http, raw, _agent: agent, _sockets: sockets, _folder: folder }
    }

    /// One that has had its first answer: the sidecars are ready.
    pub async fn caller(&self, workload: Workload) -> Caller {
        Caller::new(workload, self.http, self.raw).await
    }

    /// One call, from rest to rest.
    pub async fn call(&self, caller: &mut Caller) {
        caller.call().await.expect("an answer");
        self.outbound.rest().await;
        self.inbound.rest().await;
        // What the second still had to say to the first.
        self.outbound.rest().await;
    }

    /// Instructions of each side since this was asked last.
    pub fn totals(&mut self) -> [(&'static str, u64); 2] {
        [("outbound", self.outbound.total()), ("inbound", self.inbound.total())]
    }
}

/// Writes the file of one sidecar. Audit lines and metrics are on, as they are for everyone.
fn configuration(at: &Path, name: &str, more: impl FnOnce(&str) -> Value) -> std::path::PathBuf {
    let any = "127.0.0.1:0";
    let mut all = json!({
        "tenant": "acme",
        "workers": 1,
        "identity": {
            "workload_api": format!("unix://{}", at.join(format!("{name}.sock")).display()),
            "danger_accept_dev_agent": true,
        },
        "policy": at.join("policy"),
        "audit": {"to": at.join(format!("{name}.audit"))},
        "metrics": {"listen": any},
    });
    let more = more(any);
    all.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let path = at.join(format!("{name}.yaml"));
    fs::write(&path, all.to_string()).expect("a configuration");
    path
}

/// Answers every request, in HTTP/1.1 or HTTP/2.
async fn web() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let body = Bytes::from(vec![b'x'; BYTES]);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("a socket");
            let body = body.clone();
            let answer = service_fn(move |_| {
                let body = Full::new(body.clone());
                async { Ok::<_, Infallible>(Response::new(body)) }
            });
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                server.serve_connection(TokioIo::new(stream), answer).await.ok();
            });
        }
    });
    address
}

/// Says what it hears.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut message = [0; BYTES];
                while stream.read_exact(&mut message).await.is_ok() {
                    if stream.write_all(&message).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}
