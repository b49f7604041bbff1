//! From the configuration's words to the settings of the rooms that do the work.

use std::sync::Arc;

use anyhow::Context as _;
use http::HeaderValue;

use super::outside::{Outside, WayIn, Ways};
use crate::authz::{Required, Route, RouteMatch, RouteSpec, RouteTable, Scope};
use crate::config::{self, AuditTo, Config};
use crate::net::Target;
use crate::proxy::{InboundSettings, OutboundSettings};
use crate::telemetry::audit::Destination;
use crate::tls;

/// The settings of inbound and of outbound listeners.
pub(super) type Listeners = (Vec<Arc<InboundSettings>>, Vec<Arc<OutboundSettings>>);

/// Every listener's settings. The configuration is checked already; what can still fail here is a
/// pair of routes that only the route table can tell to be in conflict.
pub(super) fn listeners(config: &Config, outside: &Outside) -> anyhow::Result<Listeners> {
    let tls = tls(config);
    let inbound = config.inbound.iter().zip(&outside.inbound);
    let inbound = inbound.map(|(it, way)| inbound_listener(it, way).map(Arc::new));
    let outbound = config.outbound.iter().zip(&outside.outbound);
    let outbound = outbound.map(|(it, ways)| outbound_listener(it, ways, tls).map(Arc::new));
    Ok((inbound.collect::<anyhow::Result<_>>()?, outbound.collect::<anyhow::Result<_>>()?))
}

/// What an inbound listener serves.
#[derive(Debug)]
pub struct Served {
    pub listener: String,
    pub routes: ServedRoutes,
}

/// What may be called.
#[derive(Debug)]
pub enum ServedRoutes {
    Http(RouteTable),
    /// Every connection falls under this one.
    Stream(Arc<Route>),
}

/// What every inbound listener serves. Refuses what only the route table can tell.
pub fn routes(config: &Config) -> anyhow::Result<Vec<Served>> {
    config.inbound.iter().map(served).collect()
}

fn served(listener: &config::Inbound) -> anyhow::Result<Served> {
    let routes = match stream(listener)? {
        Some(route) => ServedRoutes::Stream(route),
        None => ServedRoutes::Http(table(listener)?),
    };
    Ok(Served { listener: listener.name.clone(), routes })
}

fn stream(listener: &config::Inbound) -> anyhow::Result<Option<Arc<Route>>> {
    let Some(required) = &listener.required else { return Ok(None) };
    Ok(Some(Arc::new(Route::new(&listener.name, self::required(required)?)?)))
}

fn table(listener: &config::Inbound) -> anyhow::Result<RouteTable> {
    let routes = listener.routes.iter().map(route).collect::<anyhow::Result<Vec<_>>>()?;
    RouteTable::new(routes)
        .with_context(|| format!("the routes of `{}` contradict each other", listener.name))
}

pub(super) fn tls(config: &Config) -> tls::Settings {
    tls::Settings { allow_tls12: config.tls.allow_tls12 }
}

fn inbound_listener(listener: &config::Inbound, way: &WayIn) -> anyhow::Result<InboundSettings> {
    for note in &listener.notes {
        tracing::info!(listener = listener.name, "{note}");
    }
    Ok(InboundSettings {
        name: Arc::from(listener.name.as_str()),
        forward_to: listener.forward_to.clone(),
        protocol: listener.protocol,
        speaks: listener.speaks,
        routes: table(listener)?,
        stream: stream(listener)?,
        callers: way.callers(),
        trust_forwarded_from: listener.trust_forwarded_from.clone(),
        multiplex: listener.multiplex,
        limits: listener.limits.clone(),
    })
}

fn outbound_listener(
    listener: &config::Outbound,
    ways: &Ways,
    tls: tls::Settings,
) -> anyhow::Result<OutboundSettings> {
    let (host, port) = listener.connect_to.clone();
    Ok(OutboundSettings {
        name: Arc::from(listener.name.as_str()),
        protocol: listener.protocol,
        connect_to: Target::Name { host, port },
        expect: ways.by_svid.then(|| listener.expect.clone()),
        fallback: ways
            .by_token
            .as_ref()
            .zip(listener.fallback.as_ref())
            .map(|(way, file)| way.fallback(file, tls)),
        multiplex: listener.multiplex,
        host: listener.host.as_deref().map(HeaderValue::from_str).transpose()?,
        limits: listener.limits.clone(),
    })
}

fn route(route: &config::Route) -> anyhow::Result<RouteSpec> {
    Ok(RouteSpec {
        name: route.name.clone(),
        matcher: match &route.matches {
            config::RouteMatch::Http { path, methods } => RouteMatch::Http {
                path: path.clone(),
                methods: methods.iter().map(|it| it.parse()).collect::<Result<_, _>>()?,
            },
            config::RouteMatch::Grpc { service, method } => {
                RouteMatch::Grpc { service: service.clone(), method: method.clone() }
            }
        },
        scopes: required(&route.required)?,
    })
}

fn required(required: &config::Required) -> anyhow::Result<Required> {
    let scopes = |scopes: &[String]| {
        scopes
            .iter()
            .map(|scope| Scope::parse(scope).with_context(|| format!("`{scope}` is no scope")))
            .collect::<anyhow::Result<Vec<_>>>()
    };
    Ok(match required {
        config::Required::All(all) => Required::All(scopes(all)?),
        config::Required::Any(any) => Required::Any(scopes(any)?),
        config::Required::AnyOf(lists) => {
            let lists = lists.iter().map(|list| scopes(list)).collect::<anyhow::Result<_>>()?;
            Required::any_of(lists)
        }
        config::Required::NoScope => Required::DangerNoScope,
    })
}

pub(super) fn audit(to: &AuditTo) -> Destination {
    match to {
        AuditTo::Stdout => Destination::Stdout,
        AuditTo::Stderr => Destination::Stderr,
        AuditTo::File(path) => Destination::File(path.clone()),
    }
}
