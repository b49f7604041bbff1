//! What the tools are asked about: who calls, what for, and on whose behalf.

use std::fs::File;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail, ensure};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use spiffe::{SpiffeId, TrustDomain};

use super::super::{USAGE, tell};
use crate::app::{self, Served, ServedRoutes};
use crate::authz::{Asked, Assumed, Brought, HttpFacts, Target};
use crate::config::{self, Config};
use crate::policy::{Local, Subject, Workload};
use crate::review::{Asker, Extra, KNOWN_MAX};

/// The largest list, log line or input that is read.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Who calls.
#[derive(Debug, clap::Args)]
pub(super) struct Caller {
    /// The SPIFFE ID of a workload.
    #[arg(long, value_name = "SPIFFE_ID")]
    pub id: Option<SpiffeId>,
    /// Issuer and subject of a machine token.
    #[arg(long, num_args = 2, value_names = ["ISSUER", "SUBJECT"], conflicts_with = "id")]
    pub token: Vec<String>,
    /// A scope that the token brings; may be repeated.
    #[arg(long = "scope", value_name = "SCOPE", requires = "token")]
    pub scopes: Vec<String>,
    /// The tenant that the token names.
    #[arg(long, requires = "token")]
    pub tenant: Option<String>,
    #[command(flatten)]
    pub asking: Asking,
}

/// On whose behalf, when and from where.
#[derive(Debug, clap::Args)]
pub(super) struct Asking {
    /// The SPIFFE ID of the service that is called. Without it, and without one in the
    /// configuration: a service in the caller's own environment.
    #[arg(long, value_name = "SPIFFE_ID")]
    pub local: Option<SpiffeId>,
    /// The tenant of the service that is called, if no configuration says it.
    #[arg(long, value_name = "TENANT")]
    pub service_tenant: Option<String>,
    /// When, as in `2026-11-21T10:00:00Z`; else now.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub at: Option<SystemTime>,
    /// The caller's address.
    #[arg(long, value_name = "IP")]
    pub address: Option<IpAddr>,
}

/// What for.
#[derive(Debug, clap::Args)]
pub(super) struct Request {
    /// Method and path, as in `GET /orders/1`; `GRPC /package.Service/Method` for a gRPC call.
    #[arg(long, value_name = "REQUEST")]
    pub request: Option<String>,
    /// A header of the request, as in `x-tier: gold`; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    pub headers: Vec<String>,
    /// The configuration of the service that is called: its routes, tenant and identity.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Which inbound listener of it, if there are several.
    #[arg(long, value_name = "NAME")]
    pub listener: Option<String>,
}

/// Whom else to look at.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Others {
    /// SPIFFE IDs to look at besides those that the policy mentions, one a line.
    #[arg(long, value_name = "FILE")]
    pub identities: Option<PathBuf>,
    /// Where services live that the policy names only; may be repeated.
    #[arg(long, value_name = "TRUST_DOMAIN")]
    pub trust_domain: Vec<TrustDomain>,
    /// Environments in which such services live; may be repeated.
    #[arg(long, value_name = "ENVIRONMENT")]
    pub environment: Vec<String>,
}

/// A configuration with what its listeners serve.
#[derive(Debug)]
pub(super) struct Service {
    pub path: PathBuf,
    pub config: Config,
    pub served: Vec<Served>,
}

/// A request taken apart.
#[derive(Debug)]
pub(super) struct Parsed<'a> {
    pub method: Method,
    pub target: Target<'a>,
    pub headers: HeaderMap,
    pub is_grpc: bool,
}

impl Caller {
    /// `None` if nobody is named.
    pub(super) fn assumed(&self) -> Option<Assumed> {
        if let Some(id) = &self.id {
            return Some(Assumed::workload(Subject::spiffe(Workload::new(id))));
        }
        let [issuer, subject] = self.token.as_slice() else { return None };
        let brings = Brought {
            scopes: self.scopes.iter().map(|scope| Arc::from(scope.as_str())).collect(),
            tenant: self.tenant.clone(),
            cross_tenant: false,
        };
        let subject = Subject::jwt(subject.as_str().into(), issuer.as_str().into());
        Some(Assumed { subject, brings: Some(brings) })
    }

    /// As it is written in answers.
    pub(super) fn name(&self) -> Arc<str> {
        match &self.id {
            Some(id) => id.to_string().into(),
            None => self.token.join(" ").into(),
        }
    }
}

impl Asking {
    pub(super) fn asker(&self, service: Option<&Service>) -> Asker {
        let of_config = service.map(|it| &it.config);
        let own =
            of_config.and_then(|it| it.identity.as_ref()).and_then(|it| it.spiffe_id.as_ref());
        let tenant = self.service_tenant.as_deref().or(of_config.map(|it| it.tenant.as_str()));
        Asker {
            workload: self.local.as_ref().or(own).map(Workload::new),
            tenant: Arc::from(tenant.unwrap_or_default()),
            address: self.address,
        }
    }

    pub(super) fn now(&self) -> SystemTime {
        self.at.unwrap_or_else(SystemTime::now)
    }
}

impl Others {
    pub(super) fn extra(&self, tenant: Option<String>) -> anyhow::Result<Extra> {
        let identities = match &self.identities {
            None => Vec::new(),
            Some(path) => list(path)?,
        };
        Ok(Extra {
            identities,
            trust_domains: self.trust_domain.iter().map(|it| it.as_ref().to_owned()).collect(),
            environments: self.environment.clone(),
            tenant,
        })
    }
}

impl Service {
    pub(super) fn load(path: &Path) -> anyhow::Result<Self> {
        let config = match config::load(path) {
            Ok(config) => config,
            Err(problems) => bail!("{problems}"),
        };
        let served = app::routes(&config)?;
        Ok(Self { path: path.to_owned(), config, served })
    }

    /// The listener of this name, or the only one.
    pub(super) fn listener(&self, name: Option<&str>) -> anyhow::Result<&Served> {
        let names = || self.served.iter().map(|it| it.listener.as_str()).collect::<Vec<_>>();
        match name {
            Some(name) => {
                self.served.iter().find(|it| it.listener == name).with_context(|| {
                    format!("no inbound listener `{name}`: {}", names().join(", "))
                })
            }
            None => match self.served.as_slice() {
                [only] => Ok(only),
                [] => bail!("`{}` has no inbound listener", self.path.display()),
                _ => bail!("which listener? `--listener` {}", names().join(", ")),
            },
        }
    }

    /// Where a route stands in the file, if it is from there.
    pub(super) fn declared(&self, listener: &str, index: usize, name: &str) -> Option<String> {
        let line = self.declared_line(listener, index, name)?;
        Some(format!("{}:{line}", self.path.display()))
    }

    pub(super) fn declared_line(&self, listener: &str, index: usize, name: &str) -> Option<u32> {
        let listener = self.config.inbound.iter().find(|it| it.name == listener)?;
        let route = listener.routes.get(index)?;
        let own = route.name.clone().unwrap_or_else(|| match &route.matches {
            config::RouteMatch::Http { path, methods } => format!("{} {path}", methods.join(",")),
            config::RouteMatch::Grpc { service, method } => {
                format!("{service}/{}", method.as_deref().unwrap_or("*"))
            }
        });
        (own == name && route.line > 0).then_some(route.line)
    }
}

impl Request {
    pub(super) fn parse(&self) -> anyhow::Result<Option<Parsed<'_>>> {
        let Some(request) = &self.request else {
            ensure!(self.headers.is_empty(), "`--header` belongs to a `--request`");
            return Ok(None);
        };
        let (method, target) = request
            .split_once(' ')
            .with_context(|| format!("`{request}` is no request: write `GET /orders/1`"))?;
        let parsed = Parsed::new(method, target)?;
        let mut headers = parsed.headers;
        for header in &self.headers {
            let (name, value) = header
                .split_once(':')
                .with_context(|| format!("`{header}` is no header: write `name: value`"))?;
            headers.append(
                name.trim().parse::<HeaderName>().with_context(|| format!("header `{name}`"))?,
                HeaderValue::from_str(value.trim()).with_context(|| format!("header `{name}`"))?,
            );
        }
        let of_type = headers.get(http::header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let is_grpc = of_type.is_some_and(|it| it.starts_with(b"application/grpc"));
        Ok(Some(Parsed { headers, is_grpc, ..parsed }))
    }
}

impl<'a> Parsed<'a> {
    pub(super) fn new(method: &str, target: &'a str) -> anyhow::Result<Self> {
        let is_grpc = method == "GRPC";
        let method = if is_grpc { Method::POST } else { method.parse().context("the method")? };
        let target = Target::parse(target).with_context(|| format!("`{target}`"))?;
        let mut headers = HeaderMap::new();
        if is_grpc {
            let of_grpc = HeaderValue::from_static("application/grpc");
            headers.insert(http::header::CONTENT_TYPE, of_grpc);
        }
        Ok(Self { method, target, headers, is_grpc })
    }

    pub(super) fn facts<'f>(
        &'f self,
        local: &'f Local,
        asker: &Asker,
        serial: Option<&'f str>,
        now: SystemTime,
    ) -> HttpFacts<'f> {
        let host = self.headers.get(http::header::HOST).and_then(|it| it.to_str().ok());
        HttpFacts {
            method: &self.method,
            target: &self.target,
            host: host.unwrap_or_default(),
            headers: &self.headers,
            is_grpc: self.is_grpc,
            address: asker.address,
            local,
            serial,
            now,
        }
    }
}

/// What is asked of a listener, as it serves.
pub(super) fn asked<'a>(
    served: &'a Served,
    facts: Option<&'a HttpFacts<'a>>,
) -> anyhow::Result<Asked<'a>> {
    match (&served.routes, facts) {
        (ServedRoutes::Http(routes), Some(facts)) => Ok(Asked::Http(routes, facts)),
        (ServedRoutes::Stream(route), None) => Ok(Asked::Stream(route)),
        (ServedRoutes::Http(_), None) => {
            bail!("`{}` serves requests: say which with `--request`", served.listener)
        }
        (ServedRoutes::Stream(_), Some(_)) => {
            bail!("`{}` serves whole connections: leave `--request` out", served.listener)
        }
    }
}

/// Whatever kept a tool from its answer: a policy or file that is not usable, or wrong usage.
pub(super) fn settled(outcome: anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    outcome.or_else(|error| {
        tell(&format!("error: {error:#}"));
        Ok(ExitCode::from(USAGE))
    })
}

/// A text file, or standard input for `-`.
pub(super) fn text(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(FILE_BYTES_MAX + 1).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
    };
    read.with_context(|| format!("cannot read `{}`", path.display()))?;
    let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
    ensure!(length <= FILE_BYTES_MAX, "`{}` is too large", path.display());
    Ok(text)
}

fn list(path: &Path) -> anyhow::Result<Vec<SpiffeId>> {
    let mut ids = Vec::new();
    for (number, line) in (1_usize..).zip(text(path)?.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = || format!("{}:{number}: `{line}` is no SPIFFE ID", path.display());
        ids.push(SpiffeId::new(line).with_context(place)?);
        ensure!(ids.len() <= KNOWN_MAX, "`{}` has more than {KNOWN_MAX} lines", path.display());
    }
    Ok(ids)
}

/// RFC 3339, as in `2026-11-21T10:00:00Z`.
pub(super) fn time(text: &str) -> Result<SystemTime, String> {
    let format = &time::format_description::well_known::Rfc3339;
    let at = time::OffsetDateTime::parse(text, format)
        .map_err(|error| format!("{error}: write `2026-11-21T10:00:00Z`"))?;
    let Ok(since) = u64::try_from(at.unix_timestamp()) else {
        return Err("before 1970".to_owned());
    };
    Ok(UNIX_EPOCH + Duration::new(since, at.nanosecond()))
}
