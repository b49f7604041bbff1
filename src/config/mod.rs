//! From the operator's file to what each room needs to be told.
//!
//! One YAML file, with overrides by `SIDEGATE__A__B` variables. Every problem is reported at
//! once, with its key, its place, and what to write instead. A [`Config`] needs no second look:
//! its values are parsed, its defaults filled in, its contradictions refused.

mod problems;
mod values;
mod token_values;
mod tree;
mod environment;
mod file_values;
mod file_jwt;
mod file_opa;
mod file_reports;
mod file;
mod refused;
mod structure;
mod defaults;
mod reading;
mod routes;
mod api;
mod terms;
mod identity;
mod present;
mod jwt;
mod proof;
mod opa;
mod listeners;
mod reports;
mod admin;
mod convert;
mod effective;
#[cfg(test)]
mod tests;

pub use admin::Admin;
pub use effective::{Effective, Setting};
pub use problems::{Problem, Problems};
pub use values::parse_duration;

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use spiffe::SpiffeId;

use crate::net::{Listen, Target};
use crate::opa::{BundleSettings, LogSettings, StatusSettings};
use crate::proxy::{Limits, Protocol, Speaks};
use crate::telemetry::log::Format as LogFormat;
use crate::tls;
use crate::token;
use environment::Environment;
use problems::Origin;
use tree::{Kind, Node};

/// Everything the program was told. Taken apart in `app` and dropped.
#[derive(Debug, Clone)]
pub struct Config {
    /// Whom this workload belongs to: `[a-z0-9][a-z0-9-]{0,62}`.
    pub tenant: String,
    /// `None` only where no listener uses SPIFFE.
    pub identity: Option<crate::identity::Settings>,
    pub jwt: Jwt,
    pub tls: TlsConfig,
    pub policy: PolicyFrom,
    /// Asked beside `policy`, and never obeyed.
    pub shadow: Option<PolicyFrom>,
    pub inbound: Vec<Inbound>,
    pub outbound: Vec<Outbound>,
    pub health: Option<SocketAddr>,
    pub metrics: Option<SocketAddr>,
    pub admin: Option<Admin>,
    pub audit: AuditTo,
    /// Decisions as OPA's collectors take them.
    pub decision_log: Option<LogSettings>,
    /// Status reports as OPA's control planes take them.
    pub status: Option<StatusSettings>,
    pub log: Log,
    pub drain_timeout: Duration,
    pub workers: usize,
}

/// Where a policy comes from.
#[derive(Debug, Clone)]
pub enum PolicyFrom {
    /// A folder as OPA would mount it, or a single `.rego` file.
    Files(PathBuf),
    Bundle(BundleSettings),
}

/// Whose tokens are believed.
#[derive(Debug, Clone)]
pub struct Jwt {
    pub issuers: Vec<token::Issuer>,
    /// Given where JWT-SVIDs are accepted.
    pub svid: Option<token::Svids>,
}

/// How callers of a listener prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accept {
    Spiffe,
    SpiffeOrJwt,
    Jwt,
}

/// How a destination is reached without SPIFFE.
#[derive(Debug, Clone)]
pub struct Fallback {
    /// What the server's certificate must be good for.
    pub server: tls::HostName,
    pub roots: tls::RootsFrom,
    pub present: token::Present,
    /// Also taken while we have an SVID and the server shows none.
    pub also_without_svid: bool,
}

/// A listener for peers, and the application behind it.
#[derive(Debug, Clone)]
pub struct Inbound {
    pub name: String,
    pub listen: Listen,
    pub forward_to: Target,
    pub protocol: Protocol,
    pub speaks: Speaks,
    /// Other than [`Accept::Spiffe`] only for HTTP.
    pub accept: Accept,
    /// Given only where tokens are accepted.
    pub certificate: Option<tls::CertificateFiles>,
    /// HTTP only, and then not empty: those of the file, then those of the service's documents.
    pub routes: Vec<Route>,
    /// What was left out of the service's documents, in sentences.
    pub notes: Vec<String>,
    /// TCP only, and then always given.
    pub required: Option<Required>,
    /// Peers whose `x-forwarded-*` headers reach the application.
    pub trust_forwarded_from: Vec<SpiffeId>,
    /// Raw streams may share connections.
    pub multiplex: bool,
    pub limits: Limits,
}

/// A listener for our own application, and the destination behind it.
#[derive(Debug, Clone)]
pub struct Outbound {
    pub name: String,
    pub listen: Listen,
    pub protocol: Protocol,
    /// DNS name or IP address (IPv6 without brackets), and port.
    pub connect_to: (String, u16),
    /// The destination must prove one of these by SVID. Empty where we do not use SPIFFE.
    pub expect: Vec<SpiffeId>,
    /// What is done while there is no SVID; `None`: nothing. Only for HTTP.
    pub fallback: Option<Fallback>,
    /// Raw streams may share connections.
    pub multiplex: bool,
    /// Authority to send in place of the application's own.
    pub host: Option<String>,
    pub limits: Limits,
}

/// What may be called, and what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub name: Option<String>,
    pub matches: RouteMatch,
    pub required: Required,
    /// The document that declares it; `None` is the configuration itself.
    pub document: Option<Arc<str>>,
    /// Line in that file; 0 for a route that the environment added, or where lines are not known.
    pub line: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteMatch {
    /// Path segments are literal, `{name}` for any one, or a last `**` for all that follow.
    Http { path: String, methods: Vec<String> },
    /// Fully qualified service; `None` is every method of it.
    Grpc { service: String, method: Option<String> },
}

/// Scopes of the form `resource:action`, without wildcards. The lists are not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Required {
    All(Vec<String>),
    Any(Vec<String>),
    /// All scopes of one of the lists.
    AnyOf(Vec<Vec<String>>),
    NoScope,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsConfig {
    pub allow_tls12: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditTo {
    Stdout,
    Stderr,
    File(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    pub level: LogLevel,
    pub format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Reads a file and the environment.
pub fn load(path: &Path) -> Result<Config, Problems> {
    let (text, variables) = sources(path)?;
    parse(&text, &path.to_string_lossy(), variables.into_iter())
}

/// [`effective`] of a file and the environment.
pub fn load_effective(path: &Path) -> Result<Effective, Problems> {
    let (text, variables) = sources(path)?;
    effective(&text, &path.to_string_lossy(), variables.into_iter())
}

/// Parses the text of a file. Relative paths in it start at the directory of `file_name`.
pub fn parse(
    text: &str,
    file_name: &str,
    env: impl Iterator<Item = (String, String)>,
) -> Result<Config, Problems> {
    judge(text, file_name, &Environment::new(env)).map(|(config, _)| config)
}

/// What is in force, each value with who said so.
pub fn effective(
    text: &str,
    file_name: &str,
    env: impl Iterator<Item = (String, String)>,
) -> Result<Effective, Problems> {
    let environment = Environment::new(env);
    let (config, tree) = judge(text, file_name, &environment)?;
    Ok(effective::of(&config, &tree, file_name, &environment))
}

/// The JSON Schema of the file, generated from its types.
pub fn schema() -> serde_json::Value {
    schema_with(false)
}

/// `inline`: without references, as `structure` reads it.
fn schema_with(inline: bool) -> serde_json::Value {
    let mut settings = schemars::generate::SchemaSettings::draft2020_12().for_deserialize();
    settings.inline_subschemas = inline;
    settings.into_generator().into_root_schema_for::<file::File>().to_value()
}

/// The largest file that is read.
const LARGEST_FILE: usize = 1024 * 1024;

fn judge(
    text: &str,
    file_name: &str,
    environment: &Environment,
) -> Result<(Config, Node), Problems> {
    let mut problems = Problems::new(file_name);
    if text.len() > LARGEST_FILE {
        let message = format!("larger than {} KiB", LARGEST_FILE / 1024);
        problems.add("", &Origin::Unknown, message, None);
        return Err(problems);
    }
    let Some(mut tree) = tree::read(text, &mut problems) else {
        return Err(problems);
    };
    if tree.kind == Kind::Null {
        tree.kind = Kind::Map(Vec::new());
    }
    environment.apply(&mut tree, &mut problems);
    let schema = schema_with(true);
    structure::check(&mut tree, &schema, &mut problems);
    defaults::complete(&mut tree, &schema);
    if tree.kind == Kind::Faulty {
        return Err(problems);
    }
    let config = convert::config(&tree, file_name, environment, &mut problems);
    match config {
        Some(config) if problems.is_empty() => Ok((config, tree)),
        Some(_) | None => {
            problems.sort();
            Err(problems)
        }
    }
}

type Variables = Vec<(String, String)>;

fn sources(path: &Path) -> Result<(String, Variables), Problems> {
    let mut problems = Problems::new(&path.to_string_lossy());
    let mut variables = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) => variables.push((name, value)),
            Err(_) if is_ours(&name) => {
                let at = Origin::Environment(name);
                problems.add("", &at, "is not text in UTF-8".to_owned(), None);
            }
            Err(_) => {}
        }
    }
    let mut bytes = Vec::new();
    // One byte past the limit, so that a file of any size is read no further.
    let limit = u64::try_from(LARGEST_FILE).unwrap_or(u64::MAX).saturating_add(1);
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    if let Err(error) = read {
        let hint = Some("name another file with `--config FILE`".to_owned());
        problems.add("", &Origin::Unknown, format!("cannot be read: {error}"), hint);
    }
    let text = String::from_utf8(bytes).unwrap_or_else(|_| {
        problems.add("", &Origin::Unknown, "is not text in UTF-8".to_owned(), None);
        String::new()
    });
    if problems.is_empty() { Ok((text, variables)) } else { Err(problems) }
}

fn is_ours(name: &str) -> bool {
    name.starts_with(environment::PREFIX) || name == environment::ENDPOINT
}
