//! Which declared route a request falls under. What falls under none is denied.
//!
//! A literal segment goes before `{name}`, and that before `**`. The most specific path wins first,
//! and only then its methods are asked: a method that stands on a wider path does not leak into a
//! narrower one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use http::Method;
use thiserror::Error;

use super::matcher::{Matcher, Methods, Plan, is_identifier};
use super::required::Required;
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
    matcher: Matcher,
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

/// Routes on their way to a table.
#[derive(Debug, Default)]
struct Declared {
    routes: Vec<Arc<Route>>,
    plan: Plan,
    /// The first segments below which something is declared, and the first route that does so.
    below: HashMap<Box<str>, usize>,
    services: HashMap<Box<str>, usize>,
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
        let required_text = required.text().into();
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

    /// The required scopes, as [`Required::text`] writes them.
    pub fn required_text(&self) -> &Arc<str> {
        &self.required_text
    }
}

impl RouteTable {
    pub fn new(specs: Vec<RouteSpec>) -> Result<Self, RouteError> {
        let mut declared = Declared::default();
        let mut implied = Vec::new();
        let mut names = HashSet::new();
        for spec in specs {
            let index = declared.routes.len();
            let name = spec.name.unwrap_or_else(|| default_name(&spec.matcher));
            let route = Arc::new(Route::numbered(index, name, spec.scopes)?);
            if !names.insert(Arc::clone(&route.name)) {
                return Err(RouteError::Name { route: route.name.to_string() });
            }
            match spec.matcher {
                RouteMatch::Http { path, methods } => {
                    declared.add_http(&route, &path, &methods)?;
                    let get = methods.contains(&Method::GET);
                    implied.extend(get.then_some((path, index)));
                }
                RouteMatch::Grpc { service, method } => {
                    declared.add_grpc(&route, &service, method.as_deref())?;
                }
            }
            declared.routes.push(route);
        }
        // After all others, so that a declared HEAD goes before one that GET brings along.
        for (path, route) in implied {
            let methods = declared.plan.path(&path);
            if methods.get(&Method::HEAD).is_none() {
                methods.set(&Method::HEAD, route);
            }
        }
        declared.check_services()?;
        Ok(Self { routes: declared.routes, matcher: declared.plan.compile() })
    }

    /// Routes by index.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// The route of a request; `path` is that of a [`Target`]. A path below a declared gRPC
    /// service belongs to that service alone, whatever the content type says.
    pub fn find(&self, method: &Method, path: &str, is_grpc: bool) -> Option<&Arc<Route>> {
        let path = path.strip_prefix('/')?;
        self.routes.get(self.matcher.find(method, path, is_grpc)?)
    }
}

impl Declared {
    fn add_http(
        &mut self,
        route: &Arc<Route>,
        path: &str,
        methods: &[Method],
    ) -> Result<(), RouteError> {
        if methods.is_empty() {
            return Err(RouteError::NoMethods { route: route.name.to_string() });
        }
        check_template(route, path)?;
        if let Some((first, _)) = path.strip_prefix('/').and_then(|it| it.split_once('/')) {
            self.below.entry(first.into()).or_insert(route.index);
        }
        let known = self.plan.path(path);
        for method in methods {
            claim(known, method, route, &self.routes, || format!("{method} {path}"))?;
        }
        Ok(())
    }

    fn add_grpc(
        &mut self,
        route: &Arc<Route>,
        service: &str,
        method: Option<&str>,
    ) -> Result<(), RouteError> {
        let malformed = |given: &str| {
            Err(RouteError::Grpc { route: route.name.to_string(), given: given.into() })
        };
        if !service.split('.').all(is_identifier) {
            return malformed(service);
        }
        if let Some(method) = method
            && !is_identifier(method)
        {
            return malformed(method);
        }
        self.services.entry(service.into()).or_insert(route.index);
        let known = self.plan.grpc(service, method);
        let what = || format!("{service}/{}", method.unwrap_or("*"));
        claim(known, &Method::POST, route, &self.routes, what)
    }

    /// A path route below a gRPC service could never be met.
    fn check_services(&self) -> Result<(), RouteError> {
        for (name, of_service) in &self.services {
            let of_path = self.below.get(name).and_then(|index| self.routes.get(*index));
            if let (Some(first), Some(second)) = (of_path, self.routes.get(*of_service)) {
                return Err(conflict(first, second, format!("/{name}/")));
            }
        }
        Ok(())
    }
}

/// Enters a route for a method, if nobody else has it.
fn claim(
    known: &mut Methods,
    method: &Method,
    route: &Arc<Route>,
    routes: &[Arc<Route>],
    what: impl Fn() -> String,
) -> Result<(), RouteError> {
    match known.get(method) {
        Some(other) if other == route.index => Ok(()),
        Some(other) => match routes.get(other) {
            Some(other) => Err(conflict(other, route, what())),
            None => Err(conflict(route, route, what())),
        },
        None => {
            known.set(method, route.index);
            Ok(())
        }
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
            (Some(inner), _) if is_parameter(inner) => "x",
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

/// The name of a parameter says nothing to us.
fn is_parameter(name: &str) -> bool {
    let word = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-');
    !name.is_empty() && name.bytes().all(word)
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
