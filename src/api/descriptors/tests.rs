//! Descriptor sets as protoc and buf write them.

use std::collections::HashMap;
use std::sync::LazyLock;

use proptest::prelude::proptest;
use prost_reflect::prost::Message;

use super::read;
use crate::api::{Call, Contract, Needs};

const OPTIONS: &str = include_str!("../../../proto/sidegate/v1/options.proto");

/// Sources by name, for the compiler.
struct Sources(HashMap<String, String>);

impl protox::file::FileResolver for Sources {
    fn open_file(&self, name: &str) -> Result<protox::file::File, protox::Error> {
        match self.0.get(name) {
            Some(source) => protox::file::File::from_source(name, source),
            None => protox::file::GoogleFileResolver::new().open_file(name),
        }
    }
}

/// What `protoc --include_imports -o` makes of `main.proto`, whose head is given.
fn compiled(body: &str, others: &[(&str, &str)]) -> Vec<u8> {
    let mut sources = HashMap::new();
    let head = "syntax = \"proto3\"; package acme.v1; import \"sidegate/v1/options.proto\";\n\
                message M {}\n";
    sources.insert("main.proto".to_owned(), format!("{head}{body}"));
    sources.insert("sidegate/v1/options.proto".to_owned(), OPTIONS.to_owned());
    for (name, source) in others {
        sources.insert((*name).to_owned(), (*source).to_owned());
    }
    let mut compiler = protox::Compiler::with_file_resolver(Sources(sources));
    compiler.include_imports(true);
    compiler.open_file("main.proto").unwrap();
    compiler.encode_file_descriptor_set()
}

fn told(contract: &Contract) -> Vec<(String, String)> {
    let needs = |needs: &Needs| match needs {
        Needs::AnyOf(groups) => {
            let scopes = |group: &Vec<crate::api::Asked>| {
                group.iter().map(|it| it.scope.as_str()).collect::<Vec<_>>().join(" ")
            };
            groups.iter().map(scopes).collect::<Vec<_>>().join(" | ")
        }
        Needs::Nothing(fault) => fault.message.clone(),
        Needs::Imported => "imported".to_owned(),
        Needs::Unknown => "unknown".to_owned(),
    };
    let name = |call: &Call| match call {
        Call::Grpc { service, method } => format!("{service}/{method}"),
        Call::Http { .. } => "http".to_owned(),
    };
    contract.operations.iter().map(|it| (name(&it.call), needs(&it.needs))).collect()
}

#[test]
fn options_say_what_methods_and_services_need() {
    let bytes = compiled(
        "service Billing {\n\
           option (sidegate.v1.default_requires) = { scopes: \"billing:read\" };\n\
           rpc Show(M) returns (M);\n\
           rpc Charge(M) returns (M) {\n\
             option (sidegate.v1.requires) = { scopes: [\"billing:write\", \"cards:use\"] };\n\
           }\n\
           rpc Refund(M) returns (stream M) {\n\
             option (sidegate.v1.requires) = { scopes: \"billing:write\" any_of: [\"a:b\", \"c:d\"] };\n\
           }\n\
           rpc Open(M) returns (M) { option (sidegate.v1.requires) = {}; }\n\
         }\n\
         service Plain { rpc Ping(M) returns (M); }",
        &[],
    );
    let contract = read(&bytes);
    assert_eq!(contract.faults, []);
    let expected = [
        ("acme.v1.Billing/Show", "billing:read"),
        ("acme.v1.Billing/Charge", "billing:write cards:use"),
        ("acme.v1.Billing/Refund", "billing:write a:b | billing:write c:d"),
        ("acme.v1.Billing/Open", "`acme.v1.Billing/Open` requires no scope"),
        ("acme.v1.Plain/Ping", "`acme.v1.Plain/Ping` has no option `(sidegate.v1.requires)`"),
    ];
    assert_eq!(told(&contract), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
}

#[test]
fn services_that_come_along_with_an_import_are_told_apart() {
    let other = "syntax = \"proto3\"; package other; message N {}\n\
                 service Operations { rpc List(N) returns (N); }";
    let bytes = compiled(
        "import \"other.proto\";\nmessage W { other.N n = 1; }",
        &[("other.proto", other)],
    );
    let contract = read(&bytes);
    assert_eq!(told(&contract), [("other.Operations/List".to_owned(), "imported".to_owned())]);
}

#[test]
fn an_option_that_only_looks_like_ours_is_refused() {
    for (from, to) in [("= 51320", "= 51321"), ("any_of", "all_of")] {
        let forged = OPTIONS.replace(from, to);
        let bytes = compiled("", &[("sidegate/v1/options.proto", &forged)]);
        let told = &read(&bytes).faults[0].message;
        assert!(told.contains("is not the option of this version"), "{told}");
    }
}

#[test]
fn a_set_without_its_imports_says_how_to_make_one() {
    let bytes = compiled("", &[]);
    let mut set = prost_reflect::prost_types::FileDescriptorSet::decode(bytes.as_slice()).unwrap();
    set.file.retain(|it| it.name() == "main.proto");
    let contract = read(&set.encode_to_vec());
    assert!(contract.faults[0].message.contains("is no complete descriptor set"), "{contract:?}");
    assert!(contract.faults[0].hint.contains("--include_imports"));
    assert!(!read(b"service: rubbish").faults.is_empty());
}

#[test]
fn a_file_in_another_language_is_named() {
    let bytes = compiled("", &[]);
    let mut set = prost_reflect::prost_types::FileDescriptorSet::decode(bytes.as_slice()).unwrap();
    let main = set.file.iter_mut().find(|it| it.name() == "main.proto").unwrap();
    main.syntax = Some("editions".to_owned());
    let told = &read(&set.encode_to_vec()).faults[0].message;
    assert_eq!(told, "`main.proto` is written in `editions`");
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes: Vec<u8>, at: usize, with: u8) {
        drop(read(&bytes));
        static SOUND: LazyLock<Vec<u8>> =
            LazyLock::new(|| compiled("service S { rpc P(M) returns (M); }", &[]));
        let mut broken = SOUND.clone();
        let at = at % broken.len();
        broken[at] = with;
        drop(read(&broken));
    }
}
