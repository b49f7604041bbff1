//! On whose behalf a policy is asked: services by their configuration, or by name.

use std::path::PathBuf;
use std::sync::Arc;

use spiffe::SpiffeId;

use super::inputs::Service;
use crate::app::{self, ServedRoutes};
use crate::policy::{Direction, Local, Workload};
use crate::review::{Door, Place};

/// Services that a policy may be asked by.
#[derive(Debug, clap::Args)]
pub(super) struct Services {
    /// Configuration of a service: its routes are looked at, and its tenant. May be repeated.
    #[arg(long = "config", short, value_name = "FILE")]
    configs: Vec<PathBuf>,
    /// SPIFFE ID of the service that asks, where the configuration names none. May be repeated.
    #[arg(long = "local", value_name = "ID")]
    locals: Vec<SpiffeId>,
    /// Tenant of the service that asks, where there is no configuration.
    #[arg(long, value_name = "TENANT")]
    service_tenant: Option<crate::authz::Tenant>,
}

impl Services {
    pub(super) fn tenant(&self) -> Option<&str> {
        self.service_tenant.as_ref().map(crate::authz::Tenant::as_str)
    }

    /// One for each configuration, or else for each SPIFFE ID; none if nothing was named.
    pub(super) fn places(&self) -> anyhow::Result<Vec<Place>> {
        let mut places = Vec::new();
        for path in &self.configs {
            let service = Service::load(path)?;
            let named = path.file_stem().unwrap_or_default().to_string_lossy();
            let own = service.config.identity.as_ref().and_then(|it| it.spiffe_id.clone());
            let workloads = match own {
                Some(id) => vec![Some(id)],
                None if self.locals.is_empty() => vec![None],
                None => self.locals.iter().cloned().map(Some).collect(),
            };
            for id in workloads {
                let name = match &id {
                    Some(id) if self.locals.len() > 1 => format!("{named} as {id}"),
                    _ => named.to_string(),
                };
                places.push(Place {
                    name: name.into(),
                    local: self.local(id.as_ref(), &service.config.tenant),
                    doors: service.served.iter().map(door).collect(),
                });
            }
        }
        if places.is_empty() {
            let tenant = self.tenant().unwrap_or_default();
            places.extend(self.locals.iter().map(|id| Place {
                name: id.to_string().into(),
                local: self.local(Some(id), tenant),
                doors: Vec::new(),
            }));
        }
        Ok(places)
    }

    fn local(&self, id: Option<&SpiffeId>, tenant: &str) -> Local {
        Local {
            workload: id.map(Workload::new),
            tenant: Arc::from(tenant),
            direction: Direction::Inbound,
        }
    }
}

fn door(served: &app::Served) -> Door {
    Door {
        listener: Arc::from(served.listener.as_str()),
        routes: match &served.routes {
            ServedRoutes::Http(table) => table.routes().to_vec(),
            ServedRoutes::Stream(route) => vec![Arc::clone(route)],
        },
    }
}
