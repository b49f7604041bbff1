//! Routes and the scopes they need: what may be called, said so that it can be read one way only.

use std::collections::BTreeMap;

use super::file::RouteFile;
use super::problems::{Problems, Wrong, shown};
use super::reading::each;
use super::tree::Place;
use super::values;
use super::{Required, Route, RouteMatch};
use crate::api::Spot;

/// Every route that is sound; the others are on record.
pub(super) fn routes(
    file: &[Option<RouteFile>],
    at: &Place<'_>,
    taken: &mut Taken,
    problems: &mut Problems,
) -> Vec<Route> {
    let mut routes = Vec::new();
    for (index, route) in file.iter().enumerate() {
        let Some(file) = route else { continue };
        let at = at.item(index);
        if let Some(route) = route_of(file, &at, problems) {
            taken.claim(&route, &Site::Written(&at), problems);
            routes.push(route);
        }
    }
    routes
}

/// Where a route is declared.
pub(super) enum Site<'a> {
    Written(&'a Place<'a>),
    Document { name: &'a str, at: Option<Spot>, path: &'a str },
}

impl Site<'_> {
    pub(super) fn report(
        &self,
        problems: &mut Problems,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        match self {
            Self::Written(at) => at.report(problems, message, hint),
            Self::Document { name, at, path } => {
                let at = at.map(|it| (it.line, it.column));
                problems.add_in(name, at, path, message.into(), hint.into());
            }
        }
    }

    /// For the message about another one.
    fn told(&self) -> String {
        match self {
            Self::Written(at) => at.path().to_owned(),
            Self::Document { name, at: Some(spot), .. } => format!("{name}:{}", spot.line),
            Self::Document { name, at: None, path } => format!("{name} ({path})"),
        }
    }
}

/// Who was first to claim a kind of request, and a name.
#[derive(Default)]
pub(super) struct Taken {
    requests: BTreeMap<(String, String), String>,
    names: BTreeMap<String, String>,
}

impl Taken {
    pub(super) fn claim(&mut self, route: &Route, at: &Site<'_>, problems: &mut Problems) {
        if let Some(name) = &route.name
            && let Some(first) = self.names.insert(name.clone(), at.told())
        {
            let message = format!("{} is the name of {first} already", shown(name));
            let hint = "give each route a name of its own";
            match at {
                Site::Written(at) => at.key("name").report(problems, message, hint),
                Site::Document { .. } => at.report(problems, message, hint),
            }
        }
        for (method, shape) in requests(&route.matches) {
            let request = format!("{method} {shape}");
            if let Some(first) = self.requests.insert((method, shape), at.told()) {
                let message = format!("{} is declared by {first} already", shown(&request));
                let hint = "keep one of the two; `any_of` lists scopes of which one is enough";
                at.report(problems, message, hint);
            }
        }
    }
}

/// What a route matches, by method and path with the names of parameters left out. A gRPC call
/// is a POST to `/service/method`, so a path may collide with one.
fn requests(matches: &RouteMatch) -> Vec<(String, String)> {
    match matches {
        RouteMatch::Http { path, methods } => {
            let shape = path
                .split('/')
                .map(|segment| if segment.starts_with('{') { "{}" } else { segment })
                .collect::<Vec<_>>()
                .join("/");
            methods.iter().map(|method| (method.clone(), shape.clone())).collect()
        }
        RouteMatch::Grpc { service, method } => {
            let method = method.as_deref().unwrap_or("{}");
            vec![("POST".to_owned(), format!("/{service}/{method}"))]
        }
    }
}

fn route_of(file: &RouteFile, at: &Place<'_>, problems: &mut Problems) -> Option<Route> {
    let name = file.name.as_deref().map(|text| at.key("name").accept(problems, route_name(text)));
    let matches = matches(file, at, problems);
    let required = route_required(file, at, problems);
    // A name that was given and is wrong leaves no route; one that was not given does.
    let name = match name {
        Some(given) => Some(given?),
        None => None,
    };
    let (matches, required) = (matches?, required?);
    Some(Route { name, matches, required, document: None, line: at.line() })
}

pub(super) fn route_name(text: &str) -> Result<String, Wrong> {
    let plain = |it: char| it.is_ascii_graphic() && !matches!(it, '"' | '\\' | '`');
    if (1..=100).contains(&text.len()) && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(
        format!("{} is not a valid name", shown(text)),
        "use at most 100 letters, digits and marks, without spaces or quotes",
    ))
}

fn matches(file: &RouteFile, at: &Place<'_>, problems: &mut Problems) -> Option<RouteMatch> {
    match (&file.path, &file.grpc) {
        (Some(_), Some(_)) => {
            let hint = "declare two routes, one with `path` and one with `grpc`";
            at.key("grpc").report(problems, "stands next to `path`", hint);
            None
        }
        (Some(path), None) => {
            let path = at.key("path").accept(problems, path_pattern(path));
            let methods = methods(file, &at.key("methods"), problems);
            Some(RouteMatch::Http { path: path?, methods: methods? })
        }
        (None, Some(method)) => {
            if file.methods.is_some() {
                let hint = "remove it; a gRPC call is always a POST";
                at.key("methods").report(problems, "does not go with `grpc`", hint);
            }
            at.key("grpc").accept(problems, grpc_method(method))
        }
        (None, None) => {
            if !at.key("path").is_faulty() && !at.key("grpc").is_faulty() {
                let hint =
                    "add `path: /users/{id}` with `methods`, or `grpc: package.Service/Method`";
                at.report(problems, "says neither `path` nor `grpc`", hint);
            }
            None
        }
    }
}

/// Only what a normalized request target can look like, so that no pattern is dead letter.
pub(super) fn path_pattern(text: &str) -> Result<String, Wrong> {
    const LONGEST: usize = 2048;
    let wrong = |message: String| {
        Err(Wrong::new(message, "write a path such as `/users/{id}` or `/files/**`"))
    };
    let Some(rest) = text.strip_prefix('/').filter(|_| text.len() <= LONGEST) else {
        return wrong(format!("{} is not a path", shown(text)));
    };
    let segments: Vec<&str> = rest.split('/').collect();
    let last = segments.len().saturating_sub(1);
    let mut names: Vec<&str> = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        let sound = match parameter(segment) {
            Some(name) if names.contains(&name) => {
                return wrong(format!("{} has {} twice", shown(text), shown(segment)));
            }
            Some(name) => {
                names.push(name);
                true
            }
            None if *segment == "**" && index != last => {
                return wrong(format!("{} has `**` before its end", shown(text)));
            }
            // An empty last segment is the slash at the end, or `/` itself.
            None if segment.is_empty() => index == last,
            None => *segment == "**" || literal(segment),
        };
        if !sound {
            return wrong(format!(
                "{} has a segment that matches no request: {}",
                shown(text),
                shown(segment)
            ));
        }
    }
    Ok(text.to_owned())
}

fn parameter(segment: &str) -> Option<&str> {
    let name = segment.strip_prefix('{')?.strip_suffix('}')?;
    let word = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-');
    (!name.is_empty() && name.bytes().all(word)).then_some(name)
}

/// The characters of RFC 3986 `pchar`, less the percent sign, the star, and the semicolon that no
/// request may have.
fn literal(segment: &str) -> bool {
    let allowed = |it: u8| {
        it.is_ascii_alphanumeric()
            || matches!(it, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'')
            || matches!(it, b'(' | b')' | b'+' | b',' | b'=' | b':' | b'@')
    };
    segment != "." && segment != ".." && segment.bytes().all(allowed)
}

pub(super) fn grpc_method(text: &str) -> Result<RouteMatch, Wrong> {
    let name = |part: &str| {
        part.bytes().next().is_some_and(|it| it.is_ascii_alphabetic() || it == b'_')
            && part.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'_')
    };
    if text.len() <= 512
        && let Some((service, method)) = text.split_once('/')
        && service.split('.').all(name)
        && (method == "*" || name(method))
    {
        let method = (method != "*").then(|| method.to_owned());
        return Ok(RouteMatch::Grpc { service: service.to_owned(), method });
    }
    Err(Wrong::new(
        format!("{} is not a gRPC method", shown(text)),
        "write `package.Service/Method`, or `package.Service/*` for all of a service",
    ))
}

fn methods(file: &RouteFile, at: &Place<'_>, problems: &mut Problems) -> Option<Vec<String>> {
    let hint = "add the methods that are allowed, such as `methods: [GET]`";
    let Some(list) = &file.methods else {
        if !at.is_faulty() {
            at.report(problems, "is missing", hint);
        }
        return None;
    };
    if list.is_empty() {
        at.report(problems, "is empty, so the route would match nothing", hint);
        return None;
    }
    each(list, at, problems, method)
}

fn method(text: &str) -> Result<String, Wrong> {
    if matches!(text, "CONNECT" | "TRACE") {
        let message = format!("{} cannot be allowed: it reaches past the application", shown(text));
        return Err(Wrong::new(message, "remove it; WebSocket needs `GET`"));
    }
    let capital = |it: u8| it.is_ascii_uppercase() || it == b'-';
    if (1..=32).contains(&text.len()) && text.bytes().all(capital) {
        return Ok(text.to_owned());
    }
    let message = format!("{} is not an HTTP method", shown(text));
    Err(Wrong::new(message, "write it in capitals, such as `GET`"))
}

fn route_required(file: &RouteFile, at: &Place<'_>, problems: &mut Problems) -> Option<Required> {
    let given = file.scopes.is_some() || file.any_of.is_some();
    if file.danger_no_scope == Some(true) {
        if given {
            let hint = "remove either the scopes or `danger_no_scope`";
            at.key("danger_no_scope").report(problems, "contradicts the scopes", hint);
            return None;
        }
        return Some(Required::NoScope);
    }
    let open = "add `scopes: [resource:action]`; `danger_no_scope: true` opens it to the whole \
                tenant";
    required(file.scopes.as_deref(), file.any_of.as_deref(), at, open, problems)
}

/// What `scopes` and `any_of` say together. `none` is the hint when they say nothing.
pub(super) fn required(
    scopes: Option<&[Option<String>]>,
    any_of: Option<&[Option<String>]>,
    at: &Place<'_>,
    none: &str,
    problems: &mut Problems,
) -> Option<Required> {
    let (list, key) = match (scopes, any_of) {
        (Some(_), Some(_)) => {
            let hint = "keep `scopes` if all are needed, `any_of` if one is enough";
            at.key("any_of").report(problems, "stands next to `scopes`", hint);
            return None;
        }
        (Some(list), None) => (list, "scopes"),
        (None, Some(list)) => (list, "any_of"),
        (None, None) => {
            if !at.key("scopes").is_faulty() && !at.key("any_of").is_faulty() {
                at.report(problems, "says no scope that a caller needs", none);
            }
            return None;
        }
    };
    let at = at.key(key);
    if list.is_empty() {
        at.report(problems, "is empty", none);
        return None;
    }
    let scopes = each(list, &at, problems, values::required_scope)?;
    Some(if key == "scopes" { Required::All(scopes) } else { Required::Any(scopes) })
}
