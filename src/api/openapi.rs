//! Reads an OpenAPI 3.0 or 3.1 document: paths, methods, base paths, and the scopes of `security`.

use std::collections::HashMap;

use super::contract::{Call, Contract, Fault, Needs, Operation, Spot, nearest, shown};
use super::needs::{Asks, Findings, Schemes};
use super::servers;
use super::tree::{self, Entry, METHODS, Node};

/// More than any service has; a route table is made of each.
const MOST_OPERATIONS: usize = 20_000;
/// Path items may refer to path items.
const DEEPEST_REFERENCE: usize = 8;

/// Reads a document. Whatever is wrong with it is among the faults.
pub fn read(bytes: &[u8]) -> Contract {
    if bytes.len() > super::LARGEST_DOCUMENT {
        let message = format!("larger than {} MiB", super::LARGEST_DOCUMENT / 1024 / 1024);
        return Fault::of_all(message, "take examples out of it, or split the service");
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Fault::of_all("is not text in UTF-8", "save it as UTF-8");
    };
    let document = match tree::read(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        Ok(document) => document,
        Err(fault) => return Contract { faults: vec![fault], ..Contract::default() },
    };
    let oauth_only = match version(&document) {
        Ok(oauth_only) => oauth_only,
        Err(fault) => return Contract { faults: vec![fault], ..Contract::default() },
    };
    Reader::new(&document, oauth_only).read()
}

/// Whether only OAuth2 has scopes, as it is in 3.0.
fn version(document: &Node) -> Result<bool, Fault> {
    const HINT: &str = "write `openapi: 3.1.0` or `openapi: 3.0.3`";
    if let Some(swagger) = document.get("swagger") {
        let hint = "convert it to OpenAPI 3.0 or 3.1";
        return Err(Fault::new(swagger.at, "swagger", "Swagger 2.0 is not read", hint));
    }
    let Some(version) = document.get("openapi") else {
        return Err(Fault::new(None, "openapi", "is missing: this is no OpenAPI document", HINT));
    };
    let text = version.text().unwrap_or_default();
    let patch = |minor: &str| {
        let patch = text.strip_prefix(minor);
        patch.is_some_and(|it| it.bytes().next().is_some_and(|first| first.is_ascii_digit()))
    };
    match text {
        _ if patch("3.0.") => Ok(true),
        _ if patch("3.1.") => Ok(false),
        _ => {
            let message = match text {
                "" => "expected a version such as `3.1.0`".to_owned(),
                text => format!("OpenAPI {} is not read", shown(text)),
            };
            Err(Fault::new(version.at, "openapi", message, HINT))
        }
    }
}

struct Reader<'n> {
    document: &'n Node,
    schemes: Schemes<'n>,
    /// What operations without a `security` of their own ask for.
    default: Option<Asks>,
    bases: Vec<String>,
    findings: Findings,
    operations: Vec<Operation>,
    /// Where each `operationId` stands.
    ids: HashMap<&'n str, Option<Spot>>,
}

impl<'n> Reader<'n> {
    fn new(document: &'n Node, oauth_only: bool) -> Self {
        let schemes = Schemes::of(document, oauth_only);
        let mut findings = Findings::default();
        let security = document.get("security");
        let default = security.map(|it| schemes.asks(it, "security", &mut findings));
        let servers = document.get("servers");
        let bases = match servers {
            Some(servers) => servers::bases(servers, "servers", &mut findings.faults),
            None => Some(vec![String::new()]),
        };
        // Without base paths nothing can be told of where operations stand, and a fault says so.
        let bases = bases.unwrap_or_default();
        let ids = HashMap::new();
        Self { document, schemes, default, bases, findings, operations: Vec::new(), ids }
    }

    fn read(mut self) -> Contract {
        match self.document.get("paths").map(|it| (it, it.map())) {
            Some((_, Some(paths))) => {
                for entry in paths {
                    self.path(entry);
                }
            }
            Some((paths, None)) => {
                let hint = "write each path as a key, such as `/users:`";
                self.fault(paths.at, "paths", "expected a map of paths", hint);
            }
            None => {
                let hint = "add the operations that may be called";
                self.fault(None, "paths", "is missing: nothing could be called", hint);
            }
        }
        let routes: usize = self.operations.iter().map(Operation::routes).sum();
        if routes > MOST_OPERATIONS {
            let message = format!("has {routes} operations, more than {MOST_OPERATIONS}");
            self.operations.clear();
            self.fault(None, "paths", message, "split the service, or its servers");
        }
        let mut left_out = self.findings.left_out;
        left_out.sort_unstable();
        left_out.dedup();
        let note = (!left_out.is_empty()).then(|| {
            let words: Vec<_> = left_out.iter().map(|word| shown(word)).collect();
            format!("left out of what operations need, being no right: {}", words.join(", "))
        });
        Contract {
            operations: self.operations,
            faults: self.findings.faults,
            notes: note.into_iter().collect(),
        }
    }

    fn fault(
        &mut self,
        at: Option<Spot>,
        path: &str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.findings.faults.push(Fault::new(at, path, message, hint));
    }

    fn path(&mut self, entry: &'n Entry) {
        let path = format!("paths.{}", entry.key);
        let template = match template(&entry.key) {
            Ok(template) => template,
            Err((message, hint)) => return self.fault(entry.at, &path, message, hint),
        };
        let item = match self.resolve(&entry.value, &path) {
            Ok(item) => item,
            Err(fault) => return self.findings.faults.push(fault),
        };
        let Some(members) = item.map() else {
            let hint = "write its methods, such as `get:`";
            return self.fault(entry.at, &path, "expected a path item", hint);
        };
        let bases = match item.get("servers") {
            Some(it) => servers::bases(it, &format!("{path}.servers"), &mut self.findings.faults),
            None => Some(self.bases.clone()),
        };
        for member in members {
            let key = member.key.as_str();
            match METHODS.iter().find(|(name, _)| *name == key) {
                Some((_, method)) => {
                    let bases = bases.as_deref().unwrap_or_default();
                    self.operation(method, &entry.key, &template, bases, member);
                }
                None if matches!(key, "$ref" | "servers") => {}
                None => {
                    let message = format!("{} is not a method", shown(key));
                    let near = nearest(key, METHODS.iter().map(|(name, _)| *name));
                    let hint = match near {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => "declare it under `routes` instead, and remove it here".to_owned(),
                    };
                    self.fault(member.at, &path, message, hint);
                }
            }
        }
    }

    /// The path item itself, or the one that it refers to within the document.
    fn resolve(&self, item: &'n Node, path: &str) -> Result<&'n Node, Fault> {
        let mut item = item;
        for _ in 0..=DEEPEST_REFERENCE {
            let Some(reference) = item.get("$ref") else { return Ok(item) };
            let path = format!("{path}.$ref");
            let wrong =
                |message: String, hint: &str| Err(Fault::new(reference.at, &path, message, hint));
            let text = reference.text().unwrap_or_default();
            if item.map().is_some_and(|members| members.len() > 1) {
                let message = "stands next to methods or servers".to_owned();
                return wrong(message, "keep either the reference or the rest");
            }
            let Some(pointer) = text.strip_prefix("#/") else {
                let message = format!("{} is outside this document", shown(text));
                return wrong(message, "bundle the document into one file first");
            };
            let parts: Option<Vec<String>> = pointer.split('/').map(unescaped).collect();
            let parts = parts.unwrap_or_default();
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            let found = match parts.as_slice() {
                ["paths", name] => self.document.get("paths").and_then(|it| it.get(name)),
                ["components", "pathItems", name] => {
                    let items = self.document.get("components").and_then(|it| it.get("pathItems"));
                    items.and_then(|it| it.get(name))
                }
                _ => None,
            };
            let Some(found) = found else {
                let message = format!("{} leads to no path item", shown(text));
                return wrong(message, "refer to `#/components/pathItems/NAME`");
            };
            item = found;
        }
        let message = "refers to itself, or through too many others";
        Err(Fault::new(item.at, path, message, "write the path item where it is used"))
    }

    fn operation(
        &mut self,
        method: &'static str,
        written: &str,
        template: &str,
        bases: &[String],
        member: &'n Entry,
    ) {
        let path = format!("paths.{written}.{}", member.key);
        if method == "TRACE" {
            let message = "TRACE cannot be allowed: it reaches past the application";
            return self.fault(member.at, &path, message, "remove the operation");
        }
        let node = &member.value;
        if node.map().is_none() {
            let hint = "write an operation with `security`";
            return self.fault(member.at, &path, "expected an operation", hint);
        }
        let own = node.get("servers");
        let own = own.map(|it| {
            servers::bases(it, &format!("{path}.servers"), &mut self.findings.faults)
                .unwrap_or_default()
        });
        let bases = own.as_deref().unwrap_or(bases);
        let id = self.id(node, member.at, &path);
        let asks = match node.get("security") {
            Some(it) => {
                Some(self.schemes.asks(it, &format!("{path}.security"), &mut self.findings))
            }
            None => self.default.clone(),
        };
        let what = match id {
            Some(id) => format!("`{method} {written}` ({})", shown(id)),
            None => format!("`{method} {written}`"),
        };
        let nothing = |why: &str, at: Option<Spot>| {
            let hint = "give it `security: [{ scheme: [resource:action] }]`, or name it in \
                        `public_routes`, which opens it to the whole tenant";
            Needs::Nothing(Fault::new(at.or(member.at), &path, format!("{what} {why}"), hint))
        };
        let needs = match asks {
            Some(Asks::AnyOf(groups)) => Needs::AnyOf(groups),
            Some(Asks::Nothing { why, at }) => nothing(&why, at),
            Some(Asks::Unknown) => Needs::Unknown,
            None => nothing("has no `security`, so anybody may call it", None),
        };
        let templates = bases.iter().map(|base| format!("{base}{template}")).collect();
        self.operations.push(Operation {
            id: id.map(str::to_owned),
            call: Call::Http { method, path: written.to_owned(), templates },
            needs,
            at: member.at,
            path,
        });
    }

    /// The name of an operation, if it has one of its own.
    fn id(&mut self, node: &'n Node, at: Option<Spot>, path: &str) -> Option<&'n str> {
        let given = node.get("operationId")?;
        let Some(id) = given.text().filter(|id| !id.is_empty()) else {
            self.fault(given.at, path, "`operationId` is not text", "give it a name");
            return None;
        };
        match self.ids.insert(id, given.at) {
            None => Some(id),
            // One path item, used for several paths.
            Some(first) if first == given.at => None,
            Some(first) => {
                let line = first.map_or(0, |it| it.line);
                let message = format!("{} is the `operationId` of line {line} too", shown(id));
                self.fault(given.at.or(at), path, message, "give each operation its own");
                None
            }
        }
    }
}

impl Operation {
    fn routes(&self) -> usize {
        match &self.call {
            Call::Http { templates, .. } => templates.len(),
            Call::Grpc { .. } => 1,
        }
    }
}

/// A part of a JSON pointer within a URI fragment (RFC 6901 section 6).
fn unescaped(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    Some(String::from_utf8(bytes).ok()?.replace("~1", "/").replace("~0", "~"))
}

/// The path with every parameter as `{name}`, in letters that routes take; or message and hint.
fn template(path: &str) -> Result<String, (String, &'static str)> {
    const LONGEST: usize = 2048;
    let Some(rest) = path.strip_prefix('/').filter(|_| path.len() <= LONGEST) else {
        return Err((format!("{} is not a path", shown(path)), "begin it with `/`"));
    };
    if path.contains(['?', '#']) {
        let message = format!("{} has a query or fragment, which no route has", shown(path));
        return Err((message, "leave it out; declare it under `parameters`"));
    }
    let mut names: Vec<String> = Vec::new();
    let mut template = String::with_capacity(path.len());
    for segment in rest.split('/') {
        template.push('/');
        let inner = segment.strip_prefix('{').and_then(|it| it.strip_suffix('}'));
        match inner {
            Some(name)
                if name.starts_with(|it: char| it.is_alphanumeric() || it == '_')
                    && !name.ends_with(['+', '*'])
                    && !name.contains(['{', '}']) =>
            {
                let mut name: String = name
                    .chars()
                    .take(60)
                    .map(|it| if it.is_ascii_alphanumeric() { it } else { '_' })
                    .collect();
                if name.starts_with(|it: char| it.is_ascii_digit()) {
                    name.insert(0, '_');
                }
                while names.contains(&name) {
                    name.push('_');
                }
                template.push_str(&format!("{{{name}}}"));
                names.push(name);
            }
            None if !segment.contains(['{', '}', '*']) => template.push_str(segment),
            _ => {
                let message = format!(
                    "{} has the segment {}, and a route cannot tell parts of a segment apart",
                    shown(path),
                    shown(segment)
                );
                let hint = "let the parameter be the whole segment, such as `/files/{file}`; take \
                            what spans several out, and declare it under `routes` with `**`";
                return Err((message, hint));
            }
        }
    }
    Ok(template)
}

#[cfg(test)]
mod tests;
