//! Routes that the application's own documents declare: an OpenAPI document, a descriptor set.
//!
//! What they come to is held against `public_routes`, and against what the configuration declares.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::file::InboundFile;
use super::problems::{Problems, Wrong, shown};
use super::reading::Surroundings;
use super::routes::{Site, Taken, grpc_method, path_pattern, route_name};
use super::tree::Place;
use super::values;
use super::{Required, Route, RouteMatch};
use crate::api::{self, Asked, Call, Contract, Needs, Operation};
use crate::files;

/// The keys that name a document.
pub(super) const KEYS: &[&str] = &["openapi", "grpc_descriptors"];

/// What all documents of a listener come to.
#[derive(Default)]
pub(super) struct Documented {
    pub routes: Vec<Route>,
    pub notes: Vec<String>,
}

/// One document that was read.
struct Document {
    name: Arc<str>,
    contract: Contract,
}

pub(super) fn routes(
    file: &InboundFile,
    at: &Place<'_>,
    surroundings: &Surroundings<'_>,
    taken: &mut Taken,
    problems: &mut Problems,
) -> Documented {
    let mut documents = Vec::new();
    let mut all_read = true;
    let texts = [file.openapi.as_deref(), file.grpc_descriptors.as_deref()];
    let readers: [fn(&[u8]) -> Contract; 2] = [api::openapi, api::descriptors];
    for ((key, text), reader) in KEYS.iter().zip(texts).zip(readers) {
        let at = at.key(key);
        if !at.is_written() {
            continue;
        }
        match document(text, &at, surroundings, reader, problems) {
            Some(document) => documents.push(document),
            None => all_read = false,
        }
    }
    let by_name = by_name(file, &documents, at, problems);
    let names = file.public_routes.as_deref().unwrap_or_default();
    let mut reader = Reader {
        public: Public::of(names),
        by_name,
        taken,
        problems,
        documented: Documented::default(),
    };
    for document in &documents {
        reader.document(document, at);
    }
    let Reader { public, documented, .. } = reader;
    public.check(&at.key("public_routes"), &documents, all_read, problems);
    documented
}

/// `None` when a problem was added.
fn document(
    text: Option<&str>,
    at: &Place<'_>,
    surroundings: &Surroundings<'_>,
    reader: fn(&[u8]) -> Contract,
    problems: &mut Problems,
) -> Option<Document> {
    let path = surroundings.path(text, at, problems)?;
    match files::read(&path, api::LARGEST_DOCUMENT) {
        Ok(bytes) => {
            let contract = reader(&bytes);
            Some(Document { name: name(&path), contract })
        }
        Err(error) => {
            let hint = "name a file that Sidegate may read; it is read at start";
            let source = std::error::Error::source(&error);
            let cause = source.map_or(String::new(), |cause| format!(": {cause}"));
            at.report(problems, format!("{error}{cause}"), hint);
            None
        }
    }
}

fn name(path: &Path) -> Arc<str> {
    path.to_string_lossy().into()
}

/// The gRPC methods that the configuration declares: `/Service/Method`, or `None` for all others.
type ByName = Vec<(String, Option<String>)>;

/// Reports those that no descriptor knows.
fn by_name(
    file: &InboundFile,
    documents: &[Document],
    at: &Place<'_>,
    problems: &mut Problems,
) -> ByName {
    let operations = || documents.iter().flat_map(|it| &it.contract.operations);
    let mut services: HashMap<&str, Vec<&str>> = HashMap::new();
    for operation in operations() {
        if let Call::Grpc { service, method } = &operation.call {
            services.entry(service).or_default().push(method);
        }
    }
    let described = file.grpc_descriptors.is_some() && !services.is_empty();
    let mut by_name = Vec::new();
    for (index, route) in file.routes.iter().flatten().enumerate() {
        let text = route.as_ref().and_then(|it| it.grpc.as_deref()).unwrap_or_default();
        let Ok(RouteMatch::Grpc { service, method }) = grpc_method(text) else { continue };
        if described {
            let at = at.key("routes").item(index).key("grpc");
            if let Some(unknown) = unknown(&services, &service, method.as_deref()) {
                at.report(problems, unknown.message, unknown.hint);
            }
        }
        by_name.push((service, method));
    }
    by_name
}

fn unknown(
    services: &HashMap<&str, Vec<&str>>,
    service: &str,
    method: Option<&str>,
) -> Option<Wrong> {
    let suggested = |near: Option<&str>| match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => "make the descriptor set of everything that is served, health checks included"
            .to_owned(),
    };
    let Some(methods) = services.get(service) else {
        let message = format!("`grpc_descriptors` knows no service {}", shown(service));
        return Some(Wrong::new(message, suggested(nearest(service, services.keys().copied()))));
    };
    let method = method.filter(|it| !methods.contains(it))?;
    let message = format!("{} has no method {}", shown(service), shown(method));
    Some(Wrong::new(message, suggested(nearest(method, methods.iter().copied()))))
}

/// The names of `public_routes`, and which of them were met.
struct Public<'f> {
    names: HashMap<&'f str, Named>,
}

struct Named {
    index: usize,
    met: bool,
}

/// An entry of `public_routes` that an operation answers to.
#[derive(Clone, Copy)]
struct Met {
    index: usize,
    /// As one of all methods of its service.
    with_all: bool,
}

impl<'f> Public<'f> {
    fn of(names: &'f [Option<String>]) -> Self {
        let names = names.iter().enumerate();
        let names = names.filter_map(|(index, name)| Some((index, name.as_deref()?)));
        Self { names: names.map(|(index, name)| (name, Named { index, met: false })).collect() }
    }

    /// Whether it is named, and how.
    fn names(&mut self, operation: &Operation) -> Option<Met> {
        let mut met = None;
        for name in names(operation) {
            if let Some(named) = self.names.get_mut(name.as_str()) {
                named.met = true;
                met = Some(Met { index: named.index, with_all: name.ends_with("/*") });
            }
        }
        met
    }

    fn check(
        &self,
        at: &Place<'_>,
        documents: &[Document],
        all_read: bool,
        problems: &mut Problems,
    ) {
        // What a document with faults would have said is not known.
        let sound = documents.iter().all(|it| it.contract.faults.is_empty());
        if self.names.is_empty() || !all_read || !sound {
            return;
        }
        if documents.is_empty() {
            let hint = "name the `openapi` document or `grpc_descriptors`; a route of the \
                        configuration says `danger_no_scope: true`";
            at.report(problems, "names operations, and there is no document of any", hint);
            return;
        }
        let known: Vec<String> =
            documents.iter().flat_map(|it| &it.contract.operations).flat_map(names).collect();
        for (name, named) in self.names.iter().filter(|(_, named)| !named.met) {
            let hint = match nearest(name, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "name an operation by its `operationId`, `METHOD /path`, or \
                         `package.Service/Method`"
                    .to_owned(),
            };
            let message = format!("{} is no operation of the documents", shown(name));
            at.item(named.index).report(problems, message, hint);
        }
    }
}

/// All that an operation may be called by.
fn names(operation: &Operation) -> Vec<String> {
    let mut names: Vec<String> = operation.id.iter().cloned().collect();
    match &operation.call {
        Call::Http { method, path, templates } => {
            names.push(format!("{method} {path}"));
            names.extend(templates.iter().map(|template| format!("{method} {template}")));
        }
        Call::Grpc { service, method } => {
            names.extend([format!("{service}/{method}"), format!("{service}/*")]);
        }
    }
    names
}

struct Reader<'r, 'f> {
    public: Public<'f>,
    by_name: ByName,
    taken: &'r mut Taken,
    problems: &'r mut Problems,
    documented: Documented,
}

impl Reader<'_, '_> {
    fn document(&mut self, document: &Document, at: &Place<'_>) {
        for fault in &document.contract.faults {
            let site = Site::Document { name: &document.name, at: fault.at, path: &fault.path };
            site.report(self.problems, fault.message.as_str(), fault.hint.as_str());
        }
        let notes = document.contract.notes.iter();
        self.documented.notes.extend(notes.map(|note| format!("{}: {note}", document.name)));
        let mut left_out: Vec<&str> = Vec::new();
        for operation in &document.contract.operations {
            let public = self.public.names(operation);
            let required = match self.required(operation, public, document, at) {
                Ok(Some(required)) => required,
                Ok(None) => continue,
                Err(service) => {
                    if !left_out.contains(&service) {
                        left_out.push(service);
                    }
                    continue;
                }
            };
            self.declare(operation, &required, document);
        }
        self.documented.notes.extend(left_out.iter().map(|service| {
            format!("{}: `{service}` is imported and says no scope: not served", document.name)
        }));
    }

    /// `Ok(None)`: no route of its own, or a problem. `Err`: a service that is left out.
    fn required<'o>(
        &mut self,
        operation: &'o Operation,
        public: Option<Met>,
        document: &Document,
        at: &Place<'_>,
    ) -> Result<Option<Required>, &'o str> {
        let named = match &operation.call {
            Call::Http { .. } => false,
            Call::Grpc { service, method } => self
                .by_name
                .iter()
                .any(|(own, one)| own == service && one.as_ref().is_none_or(|one| one == method)),
        };
        match (&operation.needs, public) {
            (Needs::AnyOf(_), Some(Met { index, with_all: false })) => {
                let line = operation.at.map_or(String::new(), |it| format!(":{}", it.line));
                let message = format!("asks for scopes in {}{line}", document.name);
                let hint = "remove it here, or the scopes there";
                at.key("public_routes").item(index).report(self.problems, message, hint);
                Ok(None)
            }
            // Where all of a service is public, what asks for scopes goes on to ask.
            (Needs::AnyOf(groups), _) => Ok(self.groups(groups, operation, document)),
            (Needs::Nothing(_) | Needs::Imported, Some(_)) => Ok(Some(Required::NoScope)),
            (Needs::Nothing(_) | Needs::Imported, None) if named => Ok(None),
            (Needs::Nothing(fault), None) => {
                let site = Site::Document { name: &document.name, at: fault.at, path: &fault.path };
                site.report(self.problems, fault.message.as_str(), fault.hint.as_str());
                Ok(None)
            }
            (Needs::Imported, None) => match &operation.call {
                Call::Grpc { service, .. } => Err(service),
                Call::Http { .. } => Ok(None),
            },
            (Needs::Unknown, _) => Ok(None),
        }
    }

    fn groups(
        &mut self,
        groups: &[Vec<Asked>],
        operation: &Operation,
        document: &Document,
    ) -> Option<Required> {
        let mut sound = true;
        let mut lists: Vec<Vec<String>> = Vec::new();
        for group in groups {
            let mut list = Vec::new();
            for asked in group {
                match values::required_scope(&asked.scope) {
                    Ok(scope) => list.push(scope),
                    Err(wrong) => {
                        let at = asked.at.or(operation.at);
                        let site =
                            Site::Document { name: &document.name, at, path: &operation.path };
                        site.report(self.problems, wrong.message, wrong.hint);
                        sound = false;
                    }
                }
            }
            lists.push(list);
        }
        if !sound {
            return None;
        }
        Some(match lists.as_mut_slice() {
            [one] => Required::All(std::mem::take(one)),
            several if several.iter().all(|list| list.len() == 1) => {
                Required::Any(lists.into_iter().flatten().collect())
            }
            _ => Required::AnyOf(lists),
        })
    }

    fn declare(&mut self, operation: &Operation, required: &Required, document: &Document) {
        let site = Site::Document { name: &document.name, at: operation.at, path: &operation.path };
        // An `operationId` that is no name for a log leaves the route with the usual one.
        let id = operation.id.as_deref().filter(|id| route_name(id).is_ok());
        let matches: Vec<(Option<String>, RouteMatch)> = match &operation.call {
            Call::Grpc { service, method } => {
                let method = Some(method.clone());
                vec![(None, RouteMatch::Grpc { service: service.clone(), method })]
            }
            Call::Http { method, templates, .. } => {
                let mut matches = Vec::new();
                for (index, template) in templates.iter().enumerate() {
                    match path_pattern(template) {
                        Ok(path) => {
                            let name = id.map(|id| match index {
                                0 => id.to_owned(),
                                _ => format!("{id}@{path}"),
                            });
                            let methods = vec![(*method).to_owned()];
                            matches.push((name, RouteMatch::Http { path, methods }));
                        }
                        Err(wrong) => site.report(self.problems, wrong.message, wrong.hint),
                    }
                }
                matches
            }
        };
        for (name, matches) in matches {
            let line = operation.at.map_or(0, |it| u32::try_from(it.line).unwrap_or(u32::MAX));
            let document = Some(Arc::clone(&document.name));
            let route = Route { name, matches, required: required.clone(), document, line };
            self.taken.claim(&route, &site, self.problems);
            self.documented.routes.push(route);
        }
    }
}

/// The word that was meant, if one is near.
fn nearest<'w>(written: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    const NEAR: f64 = 0.8;
    let near = words.map(|word| (strsim::jaro_winkler(written, word), word));
    let near = near.filter(|(likeness, _)| *likeness >= NEAR);
    near.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, word)| word)
}
