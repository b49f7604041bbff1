//! Reads a gRPC descriptor set: services, methods, and the scopes that our options give them.

use std::collections::HashSet;

use prost_reflect::prost::Message as _;
use prost_reflect::prost_types::FileDescriptorSet;
use prost_reflect::{
    DescriptorPool, DynamicMessage, ExtensionDescriptor, FileDescriptor, Kind, ServiceDescriptor,
    Value,
};

use super::contract::{Asked, Call, Contract, Fault, Needs, Operation, shown};

/// Of `proto/sidegate/v1/options.proto`.
const NUMBER: u32 = 51_320;
const REQUIRES: &str = "sidegate.v1.Requires";
const ON_METHODS: (&str, &str) = ("sidegate.v1.requires", "google.protobuf.MethodOptions");
const ON_SERVICES: (&str, &str) =
    ("sidegate.v1.default_requires", "google.protobuf.ServiceOptions");

const MOST_METHODS: usize = 20_000;
const MOST_SCOPES: usize = 32;

/// Reads a `FileDescriptorSet`, as `protoc` and `buf` write it.
pub fn read(bytes: &[u8]) -> Contract {
    if bytes.len() > super::LARGEST_DOCUMENT {
        let message = format!("larger than {} MiB", super::LARGEST_DOCUMENT / 1024 / 1024);
        return Fault::of_all(message, "leave out what the service does not serve");
    }
    if let Some((file, syntax)) = unknown_syntax(bytes) {
        let message = format!("{} is written in {}", shown(&file), shown(&syntax));
        return Fault::of_all(message, "write the service in `proto2` or `proto3`");
    }
    let pool = match DescriptorPool::decode(bytes) {
        Ok(pool) => pool,
        Err(error) => {
            let text: String = error.to_string().chars().take(200).collect();
            let hint = "make it with `protoc --include_imports -o FILE ...` or \
                        `buf build -o FILE.binpb`";
            return Fault::of_all(format!("is no complete descriptor set: {}", shown(&text)), hint);
        }
    };
    let options = match Options::of(&pool) {
        Ok(options) => options,
        Err(message) => {
            let hint = "use `sidegate/v1/options.proto` as it was published with this version";
            return Fault::of_all(message, hint);
        }
    };
    let imported: HashSet<String> = pool.files().flat_map(|file| dependencies(&file)).collect();
    let mut contract = Contract::default();
    for service in pool.services() {
        let is_imported = imported.contains(service.parent_file().name());
        options.service(&service, is_imported, &mut contract);
    }
    if contract.operations.len() > MOST_METHODS {
        let message = format!("has more than {MOST_METHODS} methods");
        return Fault::of_all(message, "leave out what the service does not serve");
    }
    contract
}

/// A file in neither `proto2` nor `proto3`, such as one with an `edition`, and what it is in. The
/// library that makes the pool panics for it.
fn unknown_syntax(bytes: &[u8]) -> Option<(String, String)> {
    let set = FileDescriptorSet::decode(bytes).ok()?;
    set.file.into_iter().find_map(|file| {
        let syntax = file.syntax?;
        let known = matches!(syntax.as_str(), "proto2" | "proto3");
        (!known).then(|| (file.name.unwrap_or_default(), syntax))
    })
}

fn dependencies(file: &FileDescriptor) -> Vec<String> {
    file.dependencies().map(|it| it.name().to_owned()).collect()
}

/// Our options, as far as the set knows them: nobody can use what nobody imports.
struct Options {
    on_methods: Option<ExtensionDescriptor>,
    on_services: Option<ExtensionDescriptor>,
}

/// What one message of options asks for.
struct Requires {
    scopes: Vec<String>,
    any_of: Vec<String>,
}

impl Options {
    /// Refuses another definition under our name: its scopes could mean anything.
    fn of(pool: &DescriptorPool) -> Result<Self, String> {
        let find = |(name, of): (&str, &str)| match pool.get_extension_by_name(name) {
            None => Ok(None),
            Some(found) if is_ours(&found, of) => Ok(Some(found)),
            Some(_) => Err(format!("its `{name}` is not the option of this version")),
        };
        Ok(Self { on_methods: find(ON_METHODS)?, on_services: find(ON_SERVICES)? })
    }

    fn service(&self, service: &ServiceDescriptor, is_imported: bool, contract: &mut Contract) {
        let file = service.parent_file();
        let default = requires(&service.options(), self.on_services.as_ref());
        let methods: Vec<_> = service.methods().collect();
        let own = methods.iter().map(|it| requires(&it.options(), self.on_methods.as_ref()));
        let own: Vec<_> = own.collect();
        let is_silent = default.is_none() && own.iter().all(Option::is_none);
        for (method, own) in methods.iter().zip(own) {
            let name = format!("{}/{}", service.full_name(), method.name());
            let path = format!("{}: {name}", file.name());
            let needs = match own.as_ref().or(default.as_ref()) {
                None if is_imported && is_silent => Needs::Imported,
                given => needs(given, &name, &path, &mut contract.faults),
            };
            contract.operations.push(Operation {
                id: None,
                call: Call::Grpc {
                    service: service.full_name().to_owned(),
                    method: method.name().to_owned(),
                },
                needs,
                at: None,
                path,
            });
        }
    }
}

fn is_ours(extension: &ExtensionDescriptor, of: &str) -> bool {
    let Kind::Message(message) = extension.kind() else { return false };
    let is_list_of_text = |name| {
        message
            .get_field_by_name(name)
            .is_some_and(|it| it.is_list() && matches!(it.kind(), Kind::String))
    };
    extension.number() == NUMBER
        && extension.containing_message().full_name() == of
        && !extension.is_list()
        && message.full_name() == REQUIRES
        && message.fields().len() == 2
        && is_list_of_text("scopes")
        && is_list_of_text("any_of")
}

fn requires(options: &DynamicMessage, extension: Option<&ExtensionDescriptor>) -> Option<Requires> {
    let extension = extension?;
    if !options.has_extension(extension) {
        return None;
    }
    let value = options.get_extension(extension);
    let message = value.as_message()?;
    let list = |name| {
        let value = message.get_field_by_name(name);
        let list = value.as_deref().and_then(Value::as_list).unwrap_or_default();
        list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    Some(Requires { scopes: list("scopes"), any_of: list("any_of") })
}

fn needs(requires: Option<&Requires>, name: &str, path: &str, faults: &mut Vec<Fault>) -> Needs {
    let asked = |scope: &String| Asked { scope: scope.clone(), at: None };
    let hint = "give it `option (sidegate.v1.requires) = { scopes: \"resource:action\" }`, declare \
                it under `routes`, or name it in `public_routes`, which opens it to the whole tenant";
    let why = match requires {
        None => "has no option `(sidegate.v1.requires)`",
        Some(it) if it.scopes.is_empty() && it.any_of.is_empty() => "requires no scope",
        Some(it) if it.scopes.len().saturating_add(it.any_of.len()) > MOST_SCOPES => {
            let message = format!("`{name}` lists more than {MOST_SCOPES} scopes");
            faults.push(Fault::new(None, path, message, "give it a scope of its own"));
            return Needs::Unknown;
        }
        Some(it) if it.any_of.is_empty() => {
            return Needs::AnyOf(vec![it.scopes.iter().map(asked).collect()]);
        }
        Some(it) => {
            // All of the one list, and one of the other.
            let groups = it.any_of.iter().map(|one| it.scopes.iter().chain([one]).map(asked));
            return Needs::AnyOf(groups.map(Iterator::collect).collect());
        }
    };
    Needs::Nothing(Fault::new(None, path, format!("`{name}` {why}"), hint))
}

#[cfg(test)]
mod tests;
