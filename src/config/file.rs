//! The configuration file word for word: its keys, their types, their defaults.
//!
//! The JSON Schema and the reference in `docs/` are generated from these types, so the comments
//! on the fields are written for the operator. What a value means is `convert`'s business.

use schemars::JsonSchema;
use serde::Deserialize;

use super::file_jwt::{CertificateFile, JwtFile, PresentFile, ServerFile};
use super::file_opa::{BundleFile, ShadowFile};
use super::file_reports::{DecisionLogFile, StatusFile};
use super::file_values::{OneOrSeveral, OneSeveralOrNone, Period, Size};

/// Everything Sidegate is told. Three things are required: `tenant`, `policy` or `bundle`, and at
/// least one listener under `inbound` or `outbound`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Sidegate configuration")]
pub(super) struct File {
    /// Whom this workload belongs to and serves: lower-case letters, digits and `-`, at most 63.
    /// A caller of another tenant is refused.
    #[schemars(required, example = &"acme")]
    pub tenant: Option<String>,
    /// Who we are, by the SPIFFE Workload API, and whom else we could believe. Of no use where no
    /// listener has to do with SPIFFE.
    pub identity: Option<IdentityFile>,
    /// Machine tokens: whose are believed, and where our own come from.
    pub jwt: Option<JwtFile>,
    /// Listeners that take mTLS from other workloads, judge each request, and forward what is
    /// allowed to the local application.
    #[schemars(with = "Option<Vec<InboundFile>>")]
    pub inbound: Option<Vec<Option<InboundFile>>>,
    /// Listeners that take plaintext from the local application and carry it over mTLS to one
    /// destination each.
    #[schemars(with = "Option<Vec<OutboundFile>>")]
    pub outbound: Option<Vec<Option<OutboundFile>>>,
    /// Directory of Rego policies and their data, a single `.rego` file, or a bundle (`.tar.gz`).
    /// Relative paths start at this file's directory. This or `bundle`.
    #[schemars(example = &"/etc/sidegate/policies")]
    pub policy: Option<String>,
    /// Rego policies and their data as an OPA bundle, from a server or from a file.
    #[schemars(extend("default" = null))]
    pub bundle: Option<BundleFile>,
    /// A second policy, asked beside the one in force and never obeyed.
    #[schemars(extend("default" = null))]
    pub shadow: Option<ShadowFile>,
    /// Startup, liveness and readiness over plain HTTP. No listener unless given.
    pub health: Option<SideListenerFile>,
    /// Prometheus metrics over plain HTTP. No listener unless given.
    pub metrics: Option<SideListenerFile>,
    /// Where operators talk to the running sidecar, by `sidegate status` and `sidegate revoke`. No
    /// interface unless given.
    #[schemars(extend("default" = null))]
    pub admin: Option<AdminFile>,
    /// Where the audit log goes: one JSON line for each decision.
    pub audit: Option<AuditFile>,
    /// Decisions told to a collector in OPA's format, beside the audit log. Not told unless given.
    #[schemars(extend("default" = null))]
    pub decision_log: Option<DecisionLogFile>,
    /// Status told to a control plane in OPA's format. Not told unless given.
    #[schemars(extend("default" = null))]
    pub status: Option<StatusFile>,
    /// The program's own log, on standard error.
    pub log: Option<LogFile>,
    /// Versions of TLS.
    pub tls: Option<TlsFile>,
    /// How a stop goes.
    pub drain: Option<DrainFile>,
    /// Worker threads for traffic, each with its own event loop. Default: the number of cores.
    #[schemars(range(min = 1, max = 1024))]
    pub workers: Option<u64>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct IdentityFile {
    /// Address of the Workload API: `unix:///path`, or `tcp://ip:port` on loopback.
    /// Default: the environment variable `SPIFFE_ENDPOINT_SOCKET`.
    #[schemars(example = &"unix:///run/spire/agent/sockets/api.sock")]
    pub workload_api: Option<String>,
    /// Which SVID is ours when the agent gives several. Default: the first.
    #[schemars(example = &"spiffe://example.org/prod/orders")]
    pub spiffe_id: Option<String>,
    /// Which SVID is ours by the hint that its SPIRE entry carries, when the agent gives several.
    pub hint: Option<String>,
    /// Foreign trust domains to believe, by name. The agent must deliver their trust bundles.
    #[schemars(with = "Option<Vec<String>>", example = ["partner.example"])]
    pub federates_with: Option<Vec<Option<String>>>,
    /// Accept identities of the embedded development agent (`sidegate dev-agent`). Never in
    /// production: anybody can start one.
    #[schemars(extend("default" = false))]
    pub danger_accept_dev_agent: Option<bool>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct InboundFile {
    /// Name in logs and metrics. Default: `inbound-` and the port.
    pub name: Option<String>,
    /// Where peers connect: `ip:port` or `unix:/path`.
    #[schemars(required, example = &"0.0.0.0:8443")]
    pub listen: Option<String>,
    /// The local application: `ip:port` or `localhost:port` on loopback, or `unix:/path`. This
    /// hop is plaintext.
    #[schemars(required, example = &"127.0.0.1:8080")]
    pub forward_to: Option<String>,
    /// Allow `forward_to` to leave this machine, in plaintext.
    #[schemars(extend("default" = false))]
    pub danger_forward_to_network: Option<bool>,
    /// `http` covers HTTP/1.1, HTTP/2, gRPC and WebSocket; `tcp` is any other protocol.
    #[schemars(extend("default" = "http"))]
    pub protocol: Option<ProtocolFile>,
    /// What the application speaks: `same` as the caller, or always `http1` or `http2`.
    #[schemars(extend("default" = "same"))]
    pub application: Option<ApplicationFile>,
    /// How callers prove who they are: `spiffe` is an SVID by mTLS, `jwt` a token of `jwt.issuers`
    /// or `jwt.svid` (`http` only).
    #[schemars(with = "Option<Vec<MethodOfProof>>", extend("default" = ["spiffe"]))]
    pub accept: Option<Vec<Option<MethodOfProof>>>,
    /// Certificate that callers with a token know us by. Default: our SVID, which only callers
    /// who know our trust domain can verify.
    pub certificate: Option<CertificateFile>,
    /// OpenAPI 3.0 or 3.1 document of the application, YAML or JSON (`http` only): its operations
    /// are routes, and their `security` says which scopes each needs. Read once, at start.
    #[schemars(example = &"/etc/sidegate/openapi.yaml")]
    pub openapi: Option<String>,
    /// Descriptor set of the application's gRPC services (`http` only): methods are routes, and
    /// the option `sidegate.v1.requires` says which scopes each needs. Read once, at start.
    #[schemars(example = &"/etc/sidegate/services.binpb")]
    pub grpc_descriptors: Option<String>,
    /// Operations of `openapi` and `grpc_descriptors` that need no scope, by `operationId`,
    /// `METHOD /path` or gRPC method. Every authenticated workload of the tenant may call them.
    #[schemars(with = "Option<Vec<String>>", example = ["getHealth"])]
    pub public_routes: Option<Vec<Option<String>>>,
    /// What may be called, and the scopes each needs (`http` only). Anything else is refused,
    /// unless `openapi` or `grpc_descriptors` declare it.
    #[schemars(with = "Option<Vec<RouteFile>>")]
    pub routes: Option<Vec<Option<RouteFile>>>,
    /// Scopes a connection needs, all of them (`tcp` only).
    #[schemars(with = "Option<Vec<String>>", example = ["ledger:use"])]
    pub scopes: Option<Vec<Option<String>>>,
    /// Scopes of which a connection needs one (`tcp` only).
    #[schemars(with = "Option<Vec<String>>", example = ["ledger:use", "ledger:admin"])]
    pub any_of: Option<Vec<Option<String>>>,
    /// Let another Sidegate carry many connections as streams of one (`tcp` only). Each is judged as
    /// before; `limits.streams` bounds how many.
    #[schemars(extend("default" = false))]
    pub multiplex: Option<bool>,
    /// SPIFFE IDs of proxies whose `x-forwarded-*` and `forwarded` headers reach the application
    /// (`http` only). Anybody else's are removed.
    #[schemars(with = "Option<Vec<String>>", example = ["spiffe://example.org/prod/gateway"])]
    pub trust_forwarded_from: Option<Vec<Option<String>>>,
    /// Bounds on what callers may use up. All have defaults.
    pub limits: Option<LimitsFile>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct RouteFile {
    /// Name in the audit log and in policies. Default: methods and path, such as
    /// `GET /users/{id}`, or the gRPC method.
    pub name: Option<String>,
    /// Path to match: `/users/{id}` (any one segment), `/files/**` (everything below).
    #[schemars(example = &"/api/v1/users/{id}")]
    pub path: Option<String>,
    /// HTTP methods, in capitals. `GET` implies `HEAD`.
    #[schemars(with = "Option<Vec<String>>", example = ["GET"])]
    pub methods: Option<Vec<Option<String>>>,
    /// gRPC method, in place of `path`: `package.Service/Method`, or `package.Service/*`.
    #[schemars(example = &"acme.billing.v1.Billing/Charge")]
    pub grpc: Option<String>,
    /// Scopes a caller needs, all of them.
    #[schemars(with = "Option<Vec<String>>", example = ["users:read"])]
    pub scopes: Option<Vec<Option<String>>>,
    /// Scopes of which a caller needs one.
    #[schemars(with = "Option<Vec<String>>", example = ["users:read", "users:admin"])]
    pub any_of: Option<Vec<Option<String>>>,
    /// Every authenticated workload of the tenant may call this, whatever its scopes.
    #[schemars(extend("default" = false))]
    pub danger_no_scope: Option<bool>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct OutboundFile {
    /// Name in logs and metrics. Default: `outbound-` and the port.
    pub name: Option<String>,
    /// Where the local application connects: `ip:port` on loopback, or `unix:/path`.
    #[schemars(required, example = &"127.0.0.1:9001")]
    pub listen: Option<String>,
    /// Allow `listen` to be reachable from other machines, which then act in our name.
    #[schemars(extend("default" = false))]
    pub danger_listen_on_network: Option<bool>,
    /// `http` covers HTTP/1.1, HTTP/2, gRPC and WebSocket; `tcp` is any other protocol.
    #[schemars(extend("default" = "http"))]
    pub protocol: Option<ProtocolFile>,
    /// The destination's sidecar, or its server: `host:port`.
    #[schemars(required, example = &"billing.prod.svc:8443")]
    pub connect_to: Option<String>,
    /// SPIFFE ID, or list of them, of which the destination must prove one. Required where
    /// `authenticate_with` names `spiffe`.
    #[schemars(default, with = "OneSeveralOrNone", example = &"spiffe://example.org/prod/billing")]
    pub expect: Option<OneOrSeveral>,
    /// How we prove who we are: `[spiffe]`, `[spiffe, jwt]` (a token to a server known by name for
    /// as long as we have no SVID), or `[jwt]`. `jwt` is for `http` only.
    #[schemars(with = "Option<Vec<MethodOfProof>>", extend("default" = ["spiffe"]))]
    pub authenticate_with: Option<Vec<Option<MethodOfProof>>>,
    /// How the server is known where we present a token.
    #[schemars(extend("default" = null))]
    pub server: Option<ServerFile>,
    /// The token to present here. Default: `jwt.present`.
    #[schemars(extend("default" = null))]
    pub present: Option<PresentFile>,
    /// Carry many connections as streams of a few, to a Sidegate that lets us (`tcp` only). To
    /// anybody else, one connection each.
    #[schemars(extend("default" = false))]
    pub multiplex: Option<bool>,
    /// Authority (`host` or `host:port`) sent in place of the application's own (`http` only).
    #[schemars(example = &"billing.prod.svc")]
    pub host: Option<String>,
    /// Bounds on what callers may use up. All have defaults.
    pub limits: Option<LimitsFile>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct LimitsFile {
    /// Connections at a time on this listener.
    #[schemars(range(min = 1, max = 1_000_000), extend("default" = 10_000))]
    pub connections: Option<u64>,
    /// Requests at a time on one HTTP/2 connection, or streams on a shared one (`multiplex`).
    #[schemars(range(min = 1, max = 100_000), extend("default" = 100))]
    pub streams: Option<u64>,
    /// Size of all headers of one request: `8KiB` to `1MiB`.
    #[schemars(with = "Option<Size>", extend("default" = "64KiB"))]
    pub headers: Option<String>,
    /// Header lines of one request.
    #[schemars(range(min = 1, max = 10_000), extend("default" = 100))]
    pub header_count: Option<u64>,
    /// Time in which a request's headers must have arrived.
    #[schemars(with = "Option<Period>", extend("default" = "10s"))]
    pub header_read: Option<String>,
    /// Time in which a TLS handshake must be done.
    #[schemars(with = "Option<Period>", extend("default" = "10s"))]
    pub handshake: Option<String>,
    /// Time in which a connection to the application or the destination must stand.
    #[schemars(with = "Option<Period>", extend("default" = "5s"))]
    pub connect: Option<String>,
    /// Time from the end of a request to the head of its response. Bodies and streams may take
    /// longer.
    #[schemars(with = "Option<Period>", extend("default" = "60s"))]
    pub request: Option<String>,
    /// Time without a byte in either direction after which a connection is closed.
    #[schemars(with = "Option<Period>", extend("default" = "5m"))]
    pub idle: Option<String>,
    /// Age at which a connection is drained, so that the next one is judged afresh (`http` only; a
    /// raw stream ends with the SVIDs it was made with).
    #[schemars(with = "Option<Period>", extend("default" = "1h"))]
    pub connection_age: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct SideListenerFile {
    /// Address, `ip:port`. Plain HTTP, without authentication.
    #[schemars(required, example = &"0.0.0.0:15021")]
    pub listen: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct AdminFile {
    /// A Unix socket, `unix:/path`, which is made with mode 0600: only the user that the sidecar runs
    /// as, and root, can use it.
    #[schemars(required, example = &"unix:/run/sidegate/admin.sock")]
    pub listen: Option<String>,
    /// File in which revocations made at run time survive a restart. Default: they end with the
    /// process. It is written with mode 0600, and one that others may read or write refuses the
    /// start.
    #[schemars(example = &"/var/lib/sidegate/revocations.json")]
    pub keep: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct AuditFile {
    /// `stdout`, `stderr`, or the absolute path of a file to append to.
    #[schemars(extend("default" = "stdout"))]
    pub to: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct LogFile {
    /// The least important kind of line that is still written.
    #[schemars(extend("default" = "info"))]
    pub level: Option<LevelFile>,
    /// Lines for people, or one JSON object a line.
    #[schemars(extend("default" = "human"))]
    pub format: Option<FormatFile>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct TlsFile {
    /// Speak TLS 1.2 with peers that cannot do 1.3. No post-quantum key exchange there.
    #[schemars(extend("default" = false))]
    pub allow_tls12: Option<bool>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct DrainFile {
    /// Time that requests in flight get to finish after a stop signal.
    #[schemars(with = "Option<Period>", extend("default" = "30s"))]
    pub timeout: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum ProtocolFile {
    Http,
    Tcp,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum ApplicationFile {
    Same,
    Http1,
    Http2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum MethodOfProof {
    Spiffe,
    Jwt,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum LevelFile {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum FormatFile {
    Human,
    Json,
}
