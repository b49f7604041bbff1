//! What an inbound listener serves, by its protocol: routes of requests, or what a stream needs.

use super::api;
use super::file::{ApplicationFile, InboundFile, ProtocolFile};
use super::problems::Problems;
use super::reading::Surroundings;
use super::routes;
use super::tree::Place;
use super::{Required, Route};
use crate::proxy::{Protocol, Speaks};

/// What depends on the protocol.
pub(super) struct Terms {
    pub protocol: Protocol,
    pub speaks: Speaks,
    pub routes: Vec<Route>,
    pub notes: Vec<String>,
    pub required: Option<Required>,
}

pub(super) fn of(
    file: &InboundFile,
    at: &Place<'_>,
    surroundings: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Terms> {
    match file.protocol? {
        ProtocolFile::Http => http_terms(file, at, surroundings, problems),
        ProtocolFile::Tcp => tcp_terms(file, at, problems),
    }
}

fn http_terms(
    file: &InboundFile,
    at: &Place<'_>,
    surroundings: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Terms> {
    for (key, given) in [("scopes", file.scopes.is_some()), ("any_of", file.any_of.is_some())] {
        if given {
            let hint =
                "move it to each of the `routes`; a whole listener has it with `protocol: tcp`";
            at.key(key).report(problems, "does not go with `protocol: http`", hint);
        }
    }
    let place = at.key("routes");
    let list = file.routes.as_deref().unwrap_or_default();
    let documented =
        api::KEYS.iter().any(|key| at.key(key).is_written() || at.key(key).is_faulty());
    if list.is_empty() && !place.is_faulty() && !documented {
        let hint = "declare at least one, such as `{ path: /users, methods: [GET], \
                    scopes: [users:read] }`, or name the application's `openapi` document";
        place.report(problems, "has no route, so every request would be refused", hint);
    }
    let mut taken = routes::Taken::default();
    let mut routes = routes::routes(list, &place, &mut taken, problems);
    let documented = api::routes(file, at, surroundings, &mut taken, problems);
    routes.extend(documented.routes);
    if routes.is_empty() && problems.is_empty() {
        let hint = "declare operations there, or routes under `routes`";
        at.report(
            problems,
            "its documents come to no route, so every request would be refused",
            hint,
        );
    }
    let speaks = match file.application? {
        ApplicationFile::Same => Speaks::Same,
        ApplicationFile::Http1 => Speaks::Http1,
        ApplicationFile::Http2 => Speaks::Http2,
    };
    let notes = documented.notes;
    Some(Terms { protocol: Protocol::Http, speaks, routes, notes, required: None })
}

fn tcp_terms(file: &InboundFile, at: &Place<'_>, problems: &mut Problems) -> Option<Terms> {
    if file.routes.is_some() {
        let hint = "put the scopes a connection needs into `scopes`, or use `protocol: http`";
        at.key("routes").report(problems, "do not go with `protocol: tcp`", hint);
    }
    for key in api::KEYS.iter().chain(&["public_routes"]) {
        let at = at.key(key);
        if at.is_written() {
            let hint = "remove it, or use `protocol: http`";
            at.report(problems, "does not go with `protocol: tcp`", hint);
        }
    }
    if !matches!(file.application, None | Some(ApplicationFile::Same)) {
        let hint = "remove it; bytes pass as they come";
        at.key("application").report(problems, "does not go with `protocol: tcp`", hint);
    }
    let none = "add `scopes: [resource:action]`: what a caller needs to connect";
    let required =
        routes::required(file.scopes.as_deref(), file.any_of.as_deref(), at, none, problems);
    Some(Terms {
        protocol: Protocol::Tcp,
        speaks: Speaks::Same,
        routes: Vec::new(),
        notes: Vec::new(),
        required: Some(required?),
    })
}
