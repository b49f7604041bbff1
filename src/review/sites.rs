//! Services by their configuration: the tenant and the routes on which a recorded decision was made.

use std::sync::Arc;

use http::Method;

use super::line::Line;
use super::log::{Routing, text};
use crate::authz::{Route, RouteTable, Target, Tenant};

/// One service, as configured.
#[derive(Debug)]
pub struct Site {
    /// Its own SPIFFE ID, if the configuration names it.
    pub local: Option<Arc<str>>,
    pub tenant: Tenant,
    pub listeners: Vec<Served>,
}

/// One listener and what may be called there.
#[derive(Debug)]
pub struct Served {
    pub listener: Arc<str>,
    pub routes: SiteRoutes,
}

/// What may be called.
#[derive(Debug)]
pub enum SiteRoutes {
    Http(RouteTable),
    Stream(Arc<Route>),
}

/// All services that are known by configuration, their listeners numbered through from 1.
#[derive(Debug, Default)]
pub(super) struct Sites<'a>(Vec<(&'a Site, &'a Served)>);

/// Where the request of a recorded decision leads.
#[derive(Debug, Clone)]
pub(super) enum Leads<'a> {
    To(&'a Arc<Route>),
    /// There is no such route.
    Nowhere,
    /// The line does not say enough, or nobody knows the service.
    Unknown,
}

/// No route; those that there are follow.
const NOWHERE: u32 = 1;
const FIRST: u32 = 2;

impl<'a> Sites<'a> {
    pub(super) fn new(sites: &'a [Site]) -> Self {
        let listeners = |site: &'a Site| site.listeners.iter().map(move |served| (site, served));
        Self(sites.iter().flat_map(listeners).collect())
    }

    fn at(&self, place: u32) -> Option<&(&'a Site, &'a Served)> {
        self.0.get(usize::try_from(place).ok()?.checked_sub(1)?)
    }

    pub(super) fn tenant(&self, place: u32) -> Option<&'a Tenant> {
        self.at(place).map(|(site, _)| &site.tenant)
    }

    pub(super) fn table(&self, place: u32) -> Option<&'a RouteTable> {
        match &self.at(place)?.1.routes {
            SiteRoutes::Http(table) => Some(table),
            SiteRoutes::Stream(_) => None,
        }
    }

    pub(super) fn leads(&self, place: u32, found: u32) -> Leads<'a> {
        let Some((_, served)) = self.at(place) else { return Leads::Unknown };
        match (&served.routes, found) {
            (_, NOWHERE) => Leads::Nowhere,
            (SiteRoutes::Stream(route), FIRST) => Leads::To(route),
            (SiteRoutes::Http(table), found) => {
                let at = usize::try_from(found).ok().and_then(|it| it.checked_sub(2));
                at.and_then(|at| table.routes().get(at)).map_or(Leads::Unknown, Leads::To)
            }
            _ => Leads::Unknown,
        }
    }
}

impl Routing for Sites<'_> {
    fn find(&self, line: &Line<'_>) -> (u32, u32) {
        let Some(listener) = text(line.listener.as_ref()) else { return (0, 0) };
        let local = text(line.local.as_ref());
        let mut fitting = self.0.iter().enumerate().filter(|(_, (site, served))| {
            &*served.listener == listener
                && site.local.as_deref().is_none_or(|own| Some(own) == local)
        });
        // With two that fit, it is not known which one it was.
        let (Some((at, (_, served))), None) = (fitting.next(), fitting.next()) else {
            return (0, 0);
        };
        let place = u32::try_from(at + 1).unwrap_or_default();
        (place, found(served, line))
    }
}

fn found(served: &Served, line: &Line<'_>) -> u32 {
    let table = match &served.routes {
        SiteRoutes::Stream(_) => return FIRST,
        SiteRoutes::Http(table) => table,
    };
    let (method, path) = (text(line.method.as_ref()), text(line.path.as_ref()));
    let (Some(method), Some(path)) = (method.and_then(|it| it.parse::<Method>().ok()), path) else {
        return 0;
    };
    // A path that was cut, or is not in normal form, is not the one that was judged.
    if !Target::parse(path).is_ok_and(|it| it.is_unchanged() && it.query().is_none()) {
        return 0;
    }
    match table.find(&method, path, line.protocol.0 == "grpc") {
        None => NOWHERE,
        Some(route) => {
            u32::try_from(route.index()).ok().and_then(|at| at.checked_add(FIRST)).unwrap_or(0)
        }
    }
}
