//! A service that runs: its application, its sidecar, its agent's socket.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use sidegate::app::{self, Running};
use sidegate::config;
use sidegate::dev::WorkloadSocket;
use sidegate::net::Listen;
use sidegate::policy::Examiner;

use super::app::App;
use super::policy::PolicyFolder;
use super::spec::{Call, Spec};
use super::tcp_app::TcpApp;

/// Everything of one service.
pub struct Service {
    pub spec: Spec,
    pub folder: PathBuf,
    pub app: App,
    pub tcp_app: TcpApp,
    pub socket: WorkloadSocket,
    pub policy: PolicyFolder,
    pub shadow: Option<PolicyFolder>,
    pub configuration: String,
    pub running: Option<Running>,
}

impl Service {
    pub fn running(&self) -> &Running {
        self.running.as_ref().expect("the sidecar has been taken away")
    }

    /// Where peers connect: the listener is `http` or `tcp`.
    pub fn inbound(&self, protocol: &str) -> &Listen {
        let listen = self.running().inbound(protocol);
        listen.unwrap_or_else(|| panic!("`{}` has no {protocol} listener", self.spec.name))
    }

    pub fn outbound(&self, destination: &str, protocol: &str) -> &Listen {
        let name = format!("{destination}-{protocol}");
        let listen = self.running().outbound(&name);
        listen.unwrap_or_else(|| panic!("`{}` does not call `{name}`", self.spec.name))
    }

    pub fn health(&self) -> SocketAddr {
        self.running().health().unwrap()
    }

    pub fn metrics(&self) -> SocketAddr {
        self.running().metrics().unwrap()
    }

    pub fn audit_path(&self) -> PathBuf {
        self.folder.join("audit.jsonl")
    }
}

/// Starts the sidecar from ordinary configuration text.
pub fn start(text: &str, folder: &Path, examined_apart: bool) -> Running {
    let file = folder.join("sidegate.yaml");
    let config = config::parse(text, &file.to_string_lossy(), std::iter::empty())
        .unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    let examiner = if examined_apart {
        Examiner::by(env!("CARGO_BIN_EXE_sidegate").into())
    } else {
        Examiner::default()
    };
    app::start_with(config, &examiner).unwrap_or_else(|error| panic!("{error:#}"))
}

/// A sidecar's surroundings, as its configuration names them.
pub struct Surroundings<'a> {
    pub spec: &'a Spec,
    pub folder: &'a Path,
    pub workload_api: &'a str,
    /// Where the issuer's keys and the authority of servers stand.
    pub authorities: &'a Path,
    pub issuer: &'a str,
    pub http_app: &'a str,
    pub tcp_app: SocketAddr,
    /// Address and identity of each call, in the order of the calls.
    pub destinations: Vec<(String, String)>,
}

impl Surroundings<'_> {
    /// The configuration file. JSON is YAML.
    pub fn configuration(&self) -> String {
        let spec = self.spec;
        let calls = spec.calls.iter().zip(&self.destinations);
        let mut configuration = json!({
            "tenant": spec.tenant,
            "workers": spec.workers,
            "identity": {
                "workload_api": self.workload_api,
                "danger_accept_dev_agent": true,
                "federates_with": spec.federates_with,
            },
            "inbound": self.inbound(),
            "outbound": calls.map(|(call, to)| self.outbound(call, to)).collect::<Vec<_>>(),
            "policy": self.folder.join("policy"),
            "audit": {"to": self.folder.join("audit.jsonl")},
            "admin": {"listen": format!("unix:{}", self.folder.join("admin.sock").display())},
            "health": {"listen": "127.0.0.1:0"},
            "metrics": {"listen": "127.0.0.1:0"},
            "drain": {"timeout": spec.drain},
        });
        if spec.tokens.outside_spiffe {
            configuration.as_object_mut().unwrap().remove("identity");
        }
        if spec.shadow.is_some() {
            configuration["shadow"] = json!({"policy": self.folder.join("shadow")});
        }
        if let Some(jwt) = self.jwt() {
            configuration["jwt"] = jwt;
        }
        if let Some(Value::Object(keys)) = &spec.policy {
            let configuration = configuration.as_object_mut().unwrap();
            configuration.remove("policy");
            configuration.extend(keys.clone());
        }
        let keys = spec.keys.as_object().unwrap().clone();
        configuration.as_object_mut().unwrap().extend(keys);
        without_empty_lists(configuration).to_string()
    }

    fn jwt(&self) -> Option<Value> {
        let tokens = &self.spec.tokens;
        tokens.accept.as_ref()?;
        let mut issuer = json!({
            "issuer": self.issuer,
            "audience": self.spec.name,
            "keys": {"file": self.authorities.join("jwks.json")},
        });
        let extra = tokens.issuer.as_object().unwrap().clone();
        issuer.as_object_mut().unwrap().extend(extra);
        let issuer = issuer.to_string().replace("{issuer}", self.issuer);
        let mut issuers = vec![serde_json::from_str(&issuer).unwrap()];
        issuers.extend(tokens.others.iter().cloned());
        let mut jwt = json!({ "issuers": issuers });
        if let Some(svid) = &tokens.svid {
            jwt["svid"] = svid.clone();
        }
        Some(jwt)
    }

    fn inbound(&self) -> Vec<Value> {
        let spec = self.spec;
        let mut listeners = Vec::new();
        if !spec.routes.is_empty() {
            let mut listener = json!({
                "name": "http",
                "listen": self.listen(spec.unix.inbound, "inbound"),
                "forward_to": self.http_app,
                "routes": spec.routes,
                "limits": spec.limits,
            });
            if let Some(accept) = &spec.tokens.accept {
                listener["accept"] = accept.clone();
                if !spec.tokens.no_certificate {
                    let (chain, key) = (self.folder.join("tls.crt"), self.folder.join("tls.key"));
                    listener["certificate"] = json!({"chain": chain, "key": key});
                }
            }
            let extra = spec.inbound.as_object().unwrap().clone();
            listener.as_object_mut().unwrap().extend(extra);
            listeners.push(listener);
        }
        if let Some(scopes) = &spec.tcp {
            listeners.push(json!({
                "name": "tcp",
                "listen": "127.0.0.1:0",
                "protocol": "tcp",
                "forward_to": self.tcp_app.to_string(),
                "scopes": scopes,
                "multiplex": spec.multiplex,
                "limits": spec.limits,
            }));
        }
        listeners
    }

    fn outbound(&self, call: &Call, (address, id): &(String, String)) -> Value {
        let mut listener = json!({
            "name": format!("{}-{}", call.name, call.protocol),
            "listen": self.listen(self.spec.unix.outbound, &call.name),
            "protocol": call.protocol,
            "connect_to": address,
            "expect": id,
            "limits": self.spec.limits,
        });
        if let Some(methods) =
            self.spec.tokens.authenticate.as_ref().filter(|_| call.protocol == "http")
        {
            listener["authenticate_with"] = methods.clone();
            let token = json!({"file": self.folder.join("token")});
            listener["present"] = self.spec.tokens.present.clone().unwrap_or(token);
            let name = format!("{}.test", call.name);
            listener["server"] = json!({"name": name, "ca": self.authorities.join("ca.pem")});
            if !methods.as_array().unwrap().contains(&json!("spiffe")) {
                listener.as_object_mut().unwrap().remove("expect");
            }
        }
        if call.protocol == "tcp" {
            listener["multiplex"] = json!(self.spec.multiplex);
        }
        if let Some(host) = call.host {
            listener["host"] = json!(host);
        }
        listener
    }

    fn listen(&self, unix: bool, name: &str) -> String {
        if unix {
            format!("unix:{}", self.folder.join(format!("{name}.sock")).display())
        } else {
            "127.0.0.1:0".to_owned()
        }
    }
}

fn without_empty_lists(configuration: Value) -> Value {
    let Value::Object(keys) = configuration else { return configuration };
    let keys: Map<_, _> = keys
        .into_iter()
        .filter(|(_, value)| !value.as_array().is_some_and(Vec::is_empty))
        .collect();
    Value::Object(keys)
}
