//! What a test says of a service before the world starts.

use std::time::Duration;

use serde_json::{Value, json};

/// A service to be: its application, its sidecar, and what others grant it.
#[derive(Debug, Clone)]
pub struct Spec {
    pub name: String,
    pub trust_domain: String,
    pub tenant: String,
    /// What policies everywhere grant this service.
    pub grant: Value,
    pub routes: Vec<Value>,
    pub tcp: Option<Value>,
    /// Its raw streams share connections, both ways.
    pub multiplex: bool,
    pub calls: Vec<Call>,
    pub limits: Value,
    pub ttl: Duration,
    pub workers: usize,
    /// Keys that go into the inbound HTTP listener as they are.
    pub inbound: Value,
    pub federates_with: Vec<String>,
    pub drain: &'static str,
    pub unix: Unix,
    pub agent_is_down: bool,
    pub audit_disk_is_full: bool,
    pub tokens: Tokens,
    /// What its shadow policy grants in place of the enforced one, if it has one.
    pub shadow: Option<Value>,
    /// Keys that stand in place of `policy`.
    pub policy: Option<Value>,
    /// Keys of the whole configuration, as they are.
    pub keys: Value,
    /// It cannot be ready before something else happens.
    pub policy_is_away: bool,
    /// Its policies are examined by the program, as in life.
    pub examined_apart: bool,
}

/// What a service has to do with machine tokens.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// `accept` of its HTTP listener; tokens of the world's issuer, with its keys from a file.
    pub accept: Option<Value>,
    /// `authenticate_with` of its HTTP calls.
    pub authenticate: Option<Value>,
    /// Keys that go into its issuer as they are; `{issuer}` in them is its URL.
    pub issuer: Value,
    /// Further issuers that it believes.
    pub others: Vec<Value>,
    /// The issuer's server is away when it starts.
    pub issuer_is_away: bool,
    /// `jwt.svid`.
    pub svid: Option<Value>,
    /// `present`, if it is not the token file that the world keeps for it.
    pub present: Option<Value>,
    /// How long the tokens live that the world writes for it.
    pub life: Duration,
    /// It has no Workload API at all.
    pub outside_spiffe: bool,
    /// It shows its SVID to everybody: there is no certificate from files.
    pub no_certificate: bool,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            accept: None,
            authenticate: None,
            issuer: json!({}),
            others: Vec::new(),
            issuer_is_away: false,
            svid: None,
            present: None,
            life: Duration::from_secs(600),
            outside_spiffe: false,
            no_certificate: false,
        }
    }
}

/// Which of its places are Unix sockets.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unix {
    pub application: bool,
    pub inbound: bool,
    pub outbound: bool,
}

/// A destination of a service.
#[derive(Debug, Clone)]
pub struct Call {
    pub name: String,
    pub protocol: &'static str,
    /// `ip:port`; `None` is the service of that name.
    pub address: Option<String>,
    /// `None` is the identity of the service of that name.
    pub expect: Option<String>,
    pub host: Option<&'static str>,
}

impl Spec {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            trust_domain: "example.org".to_owned(),
            tenant: "acme".to_owned(),
            grant: json!({"roles": [], "scopes": []}),
            routes: Vec::new(),
            tcp: None,
            multiplex: false,
            calls: Vec::new(),
            limits: json!({}),
            ttl: Duration::from_secs(3_600),
            workers: 1,
            inbound: json!({}),
            federates_with: Vec::new(),
            drain: "10s",
            unix: Unix::default(),
            agent_is_down: false,
            audit_disk_is_full: false,
            tokens: Tokens::default(),
            shadow: None,
            policy: None,
            keys: json!({}),
            policy_is_away: false,
            examined_apart: false,
        }
    }

    /// It has a shadow policy, which differs from the enforced one in these grants.
    pub fn shadow(mut self, grants: Value) -> Self {
        self.shadow = Some(grants);
        self
    }

    pub fn id(&self) -> String {
        format!("spiffe://{}/prod/{}", self.trust_domain, self.name)
    }

    pub fn trust_domain(mut self, name: &str) -> Self {
        self.trust_domain = name.to_owned();
        self
    }

    pub fn federates_with(mut self, name: &str) -> Self {
        self.federates_with.push(name.to_owned());
        self
    }

    pub fn tenant(mut self, tenant: &str) -> Self {
        self.tenant = tenant.to_owned();
        self
    }

    pub fn scopes<const N: usize>(mut self, scopes: [&str; N]) -> Self {
        self.grant["scopes"] = json!(scopes.as_slice());
        self
    }

    pub fn roles<const N: usize>(mut self, roles: [&str; N]) -> Self {
        self.grant["roles"] = json!(roles.as_slice());
        self
    }

    /// Something more, or something else, in what it is granted.
    pub fn granted(mut self, key: &str, value: Value) -> Self {
        self.grant[key] = value;
        self
    }

    pub fn route(mut self, method: &str, path: &str, scope: &str) -> Self {
        self.routes.push(json!({"path": path, "methods": [method], "scopes": [scope]}));
        self
    }

    pub fn grpc(mut self, method: &str, scope: &str) -> Self {
        self.routes.push(json!({"grpc": method, "scopes": [scope]}));
        self
    }

    /// Every workload of the tenant may ask for anything.
    pub fn open(mut self) -> Self {
        let methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"];
        self.routes.push(json!({"path": "/**", "methods": methods, "danger_no_scope": true}));
        self
    }

    /// Beside HTTP, or instead of it, it takes raw streams.
    pub fn tcp(mut self, scope: &str) -> Self {
        self.tcp = Some(json!([scope]));
        self
    }

    pub fn multiplexes(mut self) -> Self {
        self.multiplex = true;
        self
    }

    pub fn calls(self, service: &str) -> Self {
        self.call(service, "http", None, None)
    }

    pub fn calls_tcp(self, service: &str) -> Self {
        self.call(service, "tcp", None, None)
    }

    /// Whoever answers as `service` has to be `id`.
    pub fn calls_expecting(self, service: &str, id: &str) -> Self {
        self.call(service, "http", None, Some(id))
    }

    /// A destination that is no service of this world.
    pub fn calls_address(self, name: &str, address: impl ToString) -> Self {
        let expect = format!("spiffe://{}/prod/{name}", self.trust_domain);
        self.call(name, "http", Some(address.to_string()), Some(&expect))
    }

    pub fn calls_tcp_address(self, name: &str, address: impl ToString) -> Self {
        let expect = format!("spiffe://{}/prod/{name}", self.trust_domain);
        self.call(name, "tcp", Some(address.to_string()), Some(&expect))
    }

    /// The last destination is told this host.
    pub fn by_the_name(mut self, host: &'static str) -> Self {
        self.calls.last_mut().unwrap().host = Some(host);
        self
    }

    fn call(
        mut self,
        name: &str,
        protocol: &'static str,
        address: Option<String>,
        expect: Option<&str>,
    ) -> Self {
        let expect = expect.map(str::to_owned);
        self.calls.push(Call { name: name.to_owned(), protocol, address, expect, host: None });
        self
    }

    pub fn limits(mut self, limits: Value) -> Self {
        self.limits = limits;
        self
    }

    pub fn inbound(mut self, keys: Value) -> Self {
        self.inbound = keys;
        self
    }

    pub fn ttl(mut self, seconds: u64) -> Self {
        self.ttl = Duration::from_secs(seconds);
        self
    }

    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    pub fn drain(mut self, limit: &'static str) -> Self {
        self.drain = limit;
        self
    }

    pub fn unix(mut self, unix: Unix) -> Self {
        self.unix = unix;
        self
    }

    /// How callers of its HTTP listener may prove themselves.
    pub fn accepts<const N: usize>(mut self, methods: [&str; N]) -> Self {
        self.tokens.accept = Some(json!(methods.as_slice()));
        self
    }

    /// How it proves itself in its HTTP calls.
    pub fn authenticates<const N: usize>(mut self, methods: [&str; N]) -> Self {
        self.tokens.authenticate = Some(json!(methods.as_slice()));
        self
    }

    /// Something more, or something else, in what it believes of the issuer.
    pub fn issuer(mut self, keys: Value) -> Self {
        self.tokens.issuer = keys;
        self
    }

    /// One more issuer, whose keys stand in a file of its folder.
    pub fn also_believes(mut self, issuer: &str, file: &str) -> Self {
        let more = json!({"issuer": issuer, "audience": self.name, "keys": {"file": file}});
        self.tokens.others.push(more);
        self
    }

    /// It starts while nobody answers at the issuer's address.
    pub fn issuer_is_away(mut self) -> Self {
        self.tokens.issuer_is_away = true;
        self
    }

    /// It accepts JWT-SVIDs for its own name.
    pub fn accepts_jwt_svids(mut self) -> Self {
        self.tokens.svid = Some(json!({"audience": self.name}));
        self
    }

    /// Where its own token comes from.
    pub fn presents(mut self, present: Value) -> Self {
        self.tokens.present = Some(present);
        self
    }

    pub fn tokens_live(mut self, seconds: u64) -> Self {
        self.tokens.life = Duration::from_secs(seconds);
        self
    }

    /// There is no Workload API where it runs.
    pub fn outside_spiffe(mut self) -> Self {
        self.tokens.outside_spiffe = true;
        self
    }

    pub fn without_certificate(mut self) -> Self {
        self.tokens.no_certificate = true;
        self
    }

    /// Keys in place of `policy`, such as `bundle`.
    pub fn policy_by(mut self, keys: Value) -> Self {
        self.policy = Some(keys);
        self
    }

    /// More keys of the whole configuration, such as `decision_log`.
    pub fn with(mut self, keys: Value) -> Self {
        self.keys.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        self
    }

    /// It starts before there is any policy for it.
    pub fn policy_is_away(mut self) -> Self {
        self.policy_is_away = true;
        self
    }

    /// Another process looks at its policies first: `sidegate` itself.
    pub fn examined_apart(mut self) -> Self {
        self.examined_apart = true;
        self
    }

    /// It starts before its agent does.
    pub fn agent_is_down(mut self) -> Self {
        self.agent_is_down = true;
        self
    }

    /// Its audit log takes no line until the file is taken away.
    pub fn audit_disk_is_full(mut self) -> Self {
        self.audit_disk_is_full = true;
        self
    }
}
