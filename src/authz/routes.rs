//! Which declared route a request falls under. What falls under none is denied.
//!
//! A literal segment goes before `{name}`, and that before `**`. The most specific path wins first,
//! and only then its methods are asked: a method that stands on a wider path does not leak into a
//! narrower one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use http::Method;
use thiserror::Error;

use super::required::Required;
use super::scopes::joined;
use super::target::{Target, TargetError};

/// A route as the operator declared it.
#[derive(Debug, Clone)]
pub struct RouteSpec {
    /// In audit lines and metrics; made from the matcher if absent.
    pub name: Option<String>,
    pub matcher: RouteMatch,
    pub scopes: Required,
}

/// Which requests a route is about.
#[derive(Debug, Clone)]
pub enum RouteMatch {
    /// `{name}` is one segment; `**` is all the rest, one segment or more. `GET` includes `HEAD`.
    Http { path: String, methods: Vec<Method> },
    /// `method` is `None` for every method of the service.
    Grpc { service: String, method: Option<String> },
}

/// A declared route, as a decision refers to it.
#[derive(Debug)]
pub struct Route {
    index: usize,
    name: Arc<str>,
    required: Required,
    required_text: Arc<str>,
}

/// Every route of one listener.
#[derive(Debug, Default)]
pub struct RouteTable {
    routes: Vec<Arc<Route>>,
    paths: Node,
    services: HashMap<Box<str>, Service>,
}

/// What is wrong with the declared routes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RouteError {
    #[error("route `{route}`: `{path}` is not a path that a request can have: {source}")]
    Path { route: String, path: String, source: TargetError },
    #[error("route `{route}`: `{segment}` is not a segment: `{{name}}` stands for a whole one")]
    Segment { route: String, segment: String },
    #[error("route `{route}`: `**` stands only at the end, as a whole segment")]
    Rest { route: String },
    #[error("route `{route}` lists no methods")]
    NoMethods { route: String },
    #[error("route `{route}` lists no scopes: say which, or say that none is needed")]
    NoScopes { route: String },
    #[error("route `{route}`: `{given}` is not the name of a gRPC service or method")]
    Grpc { route: String, given: String },
    #[error("two routes have the name `{route}`")]
    Name { route: String },
    #[error("routes `{first}` and `{second}` both claim `{what}`")]
    Conflict { first: String, second: String, what: String },
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<str>, Self>,
    any: Option<Box<Self>>,
    here: Option<Methods>,
    rest: Option<Methods>,
}

type Methods = Vec<(Method, Arc<Route>)>;

/// What stands at the end of the way through the templates.
struct Found<'a> {
    methods: &'a Methods,
    /// By a `**`.
    by_rest: bool,
}

#[derive(Debug, Default)]
struct Service {
    methods: HashMap<Box<str>, Arc<Route>>,
    every: Option<Arc<Route>>,
}

impl Route {
    /// A route of its own, for a listener without paths.
    pub fn new(name: &str, required: Required) -> Result<Self, RouteError> {
        Self::numbered(0, name.to_owned(), required)
    }

    fn numbered(index: usize, name: String, required: Required) -> Result<Self, RouteError> {
        if required != Required::DangerNoScope && required.scopes().is_empty() {
            return Err(RouteError::NoScopes { route: name });
        }
        let required_text = joined(required.scopes()).into();
        Ok(Self { index, name: name.into(), required, required_text })
    }

    /// Dense, from 0: its place in the table.
    pub fn index(&self) -> usize {
        self.index
    }

    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub fn required(&self) -> &Required {
        &self.required
    }

    /// The required scopes, separated by spaces.
    pub fn required_text(&self) -> &Arc<str> {
        &self.required_text
    }
}

impl RouteTable {
    pub fn new(specs: Vec<RouteSpec>) -> Result<Self, RouteError> {
        let mut table = Self::default();
        let mut implied = Vec::new();
        let mut names = HashSet::new();
        for spec in specs {
            let name = spec.name.unwrap_or_else(|| default_name(&spec.matcher));
            let route = Arc::new(Route::numbered(table.routes.len(), name, spec.scopes)?);
            if !names.insert(Arc::clone(&route.name)) {
                return Err(RouteError::Name { route: route.name.to_string() });
            }
            match spec.matcher {
                RouteMatch::Http { path, methods } => {
                    table.add_http(&route, &path, &methods)?;
                    let get = methods.contains(&Method::GET);
                    implied.extend(get.then(|| (path, Arc::clone(&route))));
                }
                RouteMatch::Grpc { service, method } => {
                    table.add_grpc(&route, &service, method.as_deref())?;
                }
            }
            table.routes.push(route);
        }
        // After all others, so that a declared HEAD goes before one that GET brings along.
        for (path, route) in implied {
            let methods = table.paths.methods(&route, &path)?;
            if !methods.iter().any(|(method, _)| method == Method::HEAD) {
                methods.push((Method::HEAD, route));
            }
        }
        table.check_services()?;
        Ok(table)
    }

    /// Routes by index.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// The route of a request; `path` is that of a [`Target`]. A path below a declared gRPC
    /// service belongs to that service alone, whatever the content type says.
    pub fn find(&self, method: &Method, path: &str, is_grpc: bool) -> Option<&Arc<Route>> {
        let path = path.strip_prefix('/')?;
        if let Some((service, name)) = path.split_once('/')
            && let Some(service) = self.services.get(service)
        {
            let called = is_grpc && method == Method::POST && is_identifier(name);
            return if called { service.find(name) } else { None };
        }
        let Found { methods, by_rest } = self.paths.find(path)?;
        if by_rest {
            // Many applications serve `/a/` and `/a` alike. What a closer route claims in one of the
            // two spellings must not be had through a broader `**` by the other.
            let bare = path.strip_suffix('/').unwrap_or(path);
            if self.paths.closest(Some(bare)).is_some_and(|closest| !std::ptr::eq(closest, methods))
            {
                return None;
            }
        }
        methods.iter().find_map(|(own, route)| (own == method).then_some(route))
    }

    fn add_http(
        &mut self,
        route: &Arc<Route>,
        path: &str,
        methods: &[Method],
    ) -> Result<(), RouteError> {
        if methods.is_empty() {
            return Err(RouteError::NoMethods { route: route.name.to_string() });
        }
        let known = self.paths.methods(route, path)?;
        for method in methods {
            match known.iter().find(|(own, _)| own == method) {
                Some((_, other)) if Arc::ptr_eq(other, route) => {}
                Some((_, other)) => {
                    return Err(conflict(other, route, format!("{method} {path}")));
                }
                None => known.push((method.clone(), Arc::clone(route))),
            }
        }
        Ok(())
    }

    fn add_grpc(
        &mut self,
        route: &Arc<Route>,
        service: &str,
        method: Option<&str>,
    ) -> Result<(), RouteError> {
        let malformed =
            |given: &str| RouteError::Grpc { route: route.name.to_string(), given: given.into() };
        if !service.split('.').all(is_identifier) {
            return Err(malformed(service));
        }
        let entry = self.services.entry(service.into()).or_default();
        let other = match method {
            None => entry.every.replace(Arc::clone(route)),
            Some(method) if is_identifier(method) => {
                entry.methods.insert(method.into(), Arc::clone(route))
            }
            Some(method) => return Err(malformed(method)),
        };
        match other {
            Some(other) => {
                Err(conflict(&other, route, format!("{service}/{}", method.unwrap_or("*"))))
            }
            None => Ok(()),
        }
    }

    /// A path route below a gRPC service could never be met.
    fn check_services(&self) -> Result<(), RouteError> {
        for (name, service) in &self.services {
            let Some(node) = self.paths.literals.get(name) else { continue };
            let of_service = service.every.iter().chain(service.methods.values()).next();
            let mut below = node.literals.values().chain(node.any.as_deref());
            let of_path = match &node.rest {
                Some(methods) => methods.first().map(|(_, route)| route),
                None => below.find_map(Node::any_route),
            };
            if let (Some(first), Some(second)) = (of_path, of_service) {
                return Err(conflict(first, second, format!("/{name}/")));
            }
        }
        Ok(())
    }
}

impl Service {
    fn find(&self, method: &str) -> Option<&Arc<Route>> {
        self.methods.get(method).or(self.every.as_ref())
    }
}

impl Node {
    /// Each node stands at one depth, so each is visited once at most, whatever the path.
    fn find(&self, path: &str) -> Option<Found<'_>> {
        let (segment, below) = match path.split_once('/') {
            Some((segment, below)) => (segment, Some(below)),
            None => (path, None),
        };
        let exact = self.literals.get(segment).and_then(|node| node.below(below));
        let any = || match &self.any {
            Some(node) if !segment.is_empty() => node.below(below),
            _ => None,
        };
        let rest = || {
            let rest = self.rest.as_ref().filter(|_| !segment.is_empty());
            rest.map(|methods| Found { methods, by_rest: true })
        };
        exact.or_else(any).or_else(rest)
    }

    fn below(&self, path: Option<&str>) -> Option<Found<'_>> {
        match path {
            Some(path) => self.find(path),
            None => self.here.as_ref().map(|methods| Found { methods, by_rest: false }),
        }
    }

    /// The closest template around a path, where `**` stands for no segment as well.
    fn closest(&self, path: Option<&str>) -> Option<&Methods> {
        let Some(path) = path else {
            return self.here.as_ref().or(self.rest.as_ref());
        };
        let (segment, below) = match path.split_once('/') {
            Some((segment, below)) => (segment, Some(below)),
            None => (path, None),
        };
        let exact = self.literals.get(segment).and_then(|node| node.closest(below));
        let any = || self.any.as_ref().and_then(|node| node.closest(below));
        exact.or_else(any).or(self.rest.as_ref())
    }

    /// The methods of a template, which is put in place if it is new.
    fn methods(&mut self, route: &Route, template: &str) -> Result<&mut Methods, RouteError> {
        check_template(route, template)?;
        let mut node = self;
        for segment in template.split('/').skip(1) {
            if segment == "**" {
                return Ok(node.rest.get_or_insert_default());
            }
            node = if segment.starts_with('{') {
                node.any.get_or_insert_default()
            } else {
                node.literals.entry(segment.into()).or_default()
            };
        }
        Ok(node.here.get_or_insert_default())
    }

    fn any_route(&self) -> Option<&Arc<Route>> {
        let own = self.here.iter().chain(&self.rest).flatten().next();
        let mut below = self.literals.values().chain(self.any.as_deref());
        own.map(|(_, route)| route).or_else(|| below.find_map(Self::any_route))
    }
}

/// A template is normal in the sense of [`Target`], with `{name}` and `**` standing for segments.
fn check_template(route: &Route, template: &str) -> Result<(), RouteError> {
    let name = || route.name.to_string();
    let mut concrete = String::with_capacity(template.len());
    let mut segments = template.split('/').peekable();
    while let Some(segment) = segments.next() {
        let inner = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let concrete_segment = match (inner, segment) {
            (Some(inner), _) if is_identifier(inner) => "x",
            (None, "**") if segments.peek().is_none() && !concrete.is_empty() => "x",
            (None, "**") => return Err(RouteError::Rest { route: name() }),
            (None, plain) if !plain.contains(['{', '}']) && !plain.contains("**") => plain,
            (None, other) if other.contains("**") => {
                return Err(RouteError::Rest { route: name() });
            }
            _ => return Err(RouteError::Segment { route: name(), segment: segment.into() }),
        };
        concrete.push_str(concrete_segment);
        if segments.peek().is_some() {
            concrete.push('/');
        }
    }
    let malformed = |source| RouteError::Path { route: name(), path: template.to_owned(), source };
    match Target::parse(&concrete) {
        Ok(target) if target.query().is_some() => Err(malformed(TargetError::Character)),
        Ok(target) if !target.is_unchanged() => Err(malformed(TargetError::PercentEncoding)),
        Ok(_) => Ok(()),
        Err(source) => Err(malformed(source)),
    }
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn default_name(matcher: &RouteMatch) -> String {
    match matcher {
        RouteMatch::Http { path, methods } => {
            let methods: Vec<_> = methods.iter().map(Method::as_str).collect();
            format!("{} {path}", methods.join(","))
        }
        RouteMatch::Grpc { service, method } => {
            format!("{service}/{}", method.as_deref().unwrap_or("*"))
        }
    }
}

fn conflict(first: &Route, second: &Route, what: String) -> RouteError {
    RouteError::Conflict { first: first.name.to_string(), second: second.name.to_string(), what }
}

#[cfg(test)]
mod tests;
