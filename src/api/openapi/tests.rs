//! Documents of both versions and both notations.

use super::super::{Call, Contract, Needs, Operation};
use super::read;

fn scopes(needs: &Needs) -> Vec<Vec<&str>> {
    match needs {
        Needs::AnyOf(groups) => {
            groups.iter().map(|group| group.iter().map(|it| it.scope.as_str()).collect()).collect()
        }
        Needs::Nothing(_) | Needs::Imported | Needs::Unknown => Vec::new(),
    }
}

fn templates(operation: &Operation) -> Vec<&str> {
    match &operation.call {
        Call::Http { templates, .. } => templates.iter().map(String::as_str).collect(),
        Call::Grpc { .. } => Vec::new(),
    }
}

fn messages(contract: &Contract) -> Vec<String> {
    contract
        .faults
        .iter()
        .map(|it| format!("{}: {}: {}", it.at.map_or(0, |at| at.line), it.path, it.message))
        .collect()
}

#[test]
fn json_is_read_with_tabs_and_pairs_of_surrogates() {
    let text = "{\n\t\"openapi\": \"3.1.0\",\n\t\"info\": {\"title\": \"\\ud83d\\ude00 \\/\"},\n\
                \t\"components\": {\"securitySchemes\": {\"o\": {\"type\": \"http\"}}},\n\
                \t\"paths\": {\n\t\t\"/a\": {\n\t\t\t\"get\": {\n\t\t\t\t\"responses\": {\"200\": {}},\n\
                \t\t\t\t\"security\": [{\"o\": [\"a:b\"]}]\n\t\t\t}\n\t\t}\n\t}\n}\n";
    let contract = read(text.as_bytes());
    assert_eq!(messages(&contract), [""; 0]);
    assert_eq!(contract.operations.len(), 1);
    assert_eq!(contract.operations[0].at.unwrap().line, 7);
}

#[test]
fn yaml_keys_may_be_numbers() {
    let text = "openapi: 3.1.0\npaths:\n  /a:\n    get:\n      security: [{o: [\"a:b\"]}]\n      \
                responses:\n        200: {}\n        404: {description: no}\n\
                components:\n  securitySchemes: {o: {type: http}}\n";
    let contract = read(text.as_bytes());
    assert_eq!(messages(&contract), [""; 0]);
    assert_eq!(scopes(&contract.operations[0].needs), [["a:b"]]);
    assert_eq!(templates(&contract.operations[0]), ["/a"]);
}

const SHOP: &str = include_str!("../../../tests/golden/api/shop-3.0.yaml");
const ORDERS: &str = include_str!("../../../tests/golden/api/orders-3.1.json");

/// A document of 3.1 with an operation `GET /a` and these lines in it.
fn with(operation: &str) -> String {
    let operation = operation.replace('\n', "\n      ");
    format!(
        "openapi: 3.1.0\npaths:\n  /a:\n    get:\n      {operation}\ncomponents:\n  \
         securitySchemes:\n    oauth:\n      type: oauth2\n      flows: {{ x: {{ scopes: {{ \
         \"a:read\": '', \"a:write\": '' }} }} }}\n    key: {{ type: apiKey }}\n    oidc: {{ type: \
         openIdConnect }}\n"
    )
}

#[test]
fn scopes_base_paths_and_defaults_are_those_of_the_document() {
    let contract = read(SHOP.as_bytes());
    assert_eq!(messages(&contract), [""; 0]);
    let told: Vec<_> = contract
        .operations
        .iter()
        .map(|it| (it.id.as_deref(), templates(it), scopes(&it.needs)))
        .collect();
    let pet = || vec!["/v1/pets/{pet_id}", "/v2/pets/{pet_id}"];
    assert_eq!(
        told,
        [
            (Some("listPets"), vec!["/v1/pets", "/v2/pets"], vec![vec!["pets:read"]]),
            (Some("addPet"), vec!["/v1/pets", "/v2/pets"], vec![vec!["pets:write"]]),
            (Some("showPet"), pet(), vec![vec!["pets:read"], vec!["audit:read", "records:read"]]),
            (None, pet(), vec![vec!["pets:delete"]]),
            (Some("getHealth"), vec!["/health"], vec![]),
        ]
    );
    let health = &contract.operations[4];
    let Needs::Nothing(fault) = &health.needs else { panic!("{health:?}") };
    let line = u64::try_from(SHOP.lines().position(|it| it.contains("security: []")).unwrap());
    assert_eq!(fault.at.unwrap().line, line.unwrap() + 1);
    assert!(fault.message.contains("`GET /health` (`getHealth`)"), "{fault:?}");
    assert_eq!(contract.notes, ["left out of what operations need, being no right: `openid`"]);
}

#[test]
fn references_to_path_items_are_followed_in_json_as_well() {
    let contract = read(ORDERS.as_bytes());
    assert_eq!(messages(&contract), [""; 0]);
    let told: Vec<_> = contract
        .operations
        .iter()
        .map(|it| (it.id.as_deref().unwrap(), templates(it), scopes(&it.needs)))
        .collect();
    assert_eq!(
        told,
        [
            ("placeOrder", vec!["/orders"], vec![vec!["orders:write"]]),
            ("getOrder", vec!["/orders/{id}"], vec![vec!["orders:read"]]),
        ]
    );
}

#[test]
fn what_asks_for_nothing_is_told_apart_from_what_asks() {
    for (security, why) in [
        ("summary: x", "has no `security`, so anybody"),
        ("security: []", "has an empty `security`"),
        ("security: [{}]", "has the alternative `{}`"),
        ("security: [{ oauth: [\"a:read\"] }, {}]", "has the alternative `{}`"),
        ("security: [{ key: [] }]", "may be called by `key` without any scope"),
        ("security: [{ oauth: [] }]", "may be called by `oauth` without any scope"),
        ("security: [{ oidc: [openid, profile] }]", "may be called by `oidc` without any scope"),
        ("security: [{ oauth: [\"a:read\"] }, { key: [] }]", "may be called by `key`"),
    ] {
        let contract = read(with(security).as_bytes());
        assert_eq!(messages(&contract), [""; 0], "{security}");
        let Needs::Nothing(fault) = &contract.operations[0].needs else {
            panic!("{security}: {contract:?}")
        };
        assert!(fault.message.contains(why), "{security}: {}", fault.message);
        assert!(fault.hint.contains("public_routes"));
    }
    for (security, needs) in [
        ("security: [{ oauth: [\"a:read\"], key: [] }]", vec![vec!["a:read"]]),
        ("security: [{ oauth: [\"a:read\", \"a:write\"] }]", vec![vec!["a:read", "a:write"]]),
        ("security: [{ oauth: [\"a:read\"], key: [\"b:c\"] }]", vec![vec!["a:read", "b:c"]]),
        (
            "security:\n- oidc: [openid, \"x:y\"]\n- oauth: [\"a:read\"]",
            vec![vec!["x:y"], vec!["a:read"]],
        ),
    ] {
        let contract = read(with(security).as_bytes());
        assert_eq!(messages(&contract), [""; 0], "{security}");
        assert_eq!(scopes(&contract.operations[0].needs), needs, "{security}");
    }
}

#[test]
fn what_cannot_be_relied_on_is_a_fault_with_its_line() {
    for (operation, expected) in [
        ("security: yes please", "5: paths./a.get.security: expected a list"),
        ("security: [oauth]", "5: paths./a.get.security[0]: expected a map of schemes"),
        (
            "security: [{ oath: [] }]",
            "5: paths./a.get.security[0].oath: the security scheme `oath` is not declared",
        ),
        (
            "security: [{ oauth: yes }]",
            "5: paths./a.get.security[0].oauth: expected a list of scopes",
        ),
        ("security: [{ oauth: [7] }]", "5: paths./a.get.security[0].oauth: expected a scope"),
        (
            "security:\n- oauth: [\"a:raed\"]",
            "6: paths./a.get.security[0].oauth: the scope `a:raed` is not one of `oauth`",
        ),
        ("operationId: []", "5: paths./a.get: `operationId` is not text"),
        (
            "servers: [{ url: v1 }]",
            "5: paths./a.get.servers[0].url: `v1` has no path that could be told",
        ),
        (
            "servers: [{ url: 'https://x/v1?a=b' }]",
            "5: paths./a.get.servers[0].url: `https://x/v1?a=b` has no path",
        ),
        ("servers: [{ url: '/{v}' }]", "5: paths./a.get.servers[0]: uses the variable `v`"),
        ("servers: [{}]", "5: paths./a.get.servers[0]: has no `url`"),
        ("security: &a [*a]", "not readable as YAML or JSON"),
        ("security: []\nsecurity: []", "not readable as YAML or JSON"),
        ("responses: { a: 1, a: 2 }", "not readable as YAML or JSON"),
    ] {
        let told = messages(&read(with(operation).as_bytes()));
        assert!(told.iter().any(|it| it.contains(expected)), "{operation}: {told:?}");
    }
}

#[test]
fn documents_that_are_none_say_so() {
    for (text, expected) in [
        ("", "this is no OpenAPI document"),
        ("openapi: 3.1.0\npaths: {}\n---\nopenapi: 3.1.0\npaths: {}", "not readable"),
        ("swagger: '2.0'", "Swagger 2.0 is not read"),
        ("openapi: 3.1", "expected a version such as `3.1.0`"),
        ("openapi: 3.2.0", "OpenAPI `3.2.0` is not read"),
        ("openapi: 2.0.0", "OpenAPI `2.0.0` is not read"),
        ("openapi: 3.0.3", "is missing: nothing could be called"),
        ("openapi: 3.0.3\npaths: []", "expected a map of paths"),
        ("openapi: 3.0.3\npaths: { /a: 7 }", "expected a path item"),
        ("openapi: 3.0.3\npaths: { /a: { get: 7 } }", "expected an operation"),
        ("openapi: 3.0.3\npaths: { /a: { gett: {} } }", "`gett` is not a method"),
        ("openapi: 3.0.3\npaths: { /a: { trace: {} } }", "TRACE cannot be allowed"),
        ("openapi: 3.0.3\npaths: { a: { get: {} } }", "`a` is not a path"),
        ("openapi: 3.0.3\npaths: { '/a?b={c}': { get: {} } }", "has a query or fragment"),
        ("openapi: 3.0.3\npaths: { '/{a}.json': { get: {} } }", "has the segment `{a}.json`"),
        ("openapi: 3.0.3\npaths: { '/{a}-{b}': { get: {} } }", "has the segment `{a}-{b}`"),
        ("openapi: 3.0.3\npaths: { '/{all+}': { get: {} } }", "has the segment `{all+}`"),
        ("openapi: 3.0.3\npaths: { /a: { $ref: 'b.yaml' } }", "`b.yaml` is outside this document"),
        ("openapi: 3.0.3\npaths: { /a: { $ref: '#/b' } }", "`#/b` leads to no path item"),
        ("openapi: 3.0.3\npaths: { /a: { $ref: '#/paths/~1a' } }", "refers to itself"),
        (
            "openapi: 3.0.3\npaths: { /a: { $ref: '#/paths/~1b', get: {} } }",
            "stands next to methods",
        ),
        (
            "openapi: 3.0.3\npaths:\n  /a: { get: { operationId: x } }\n  /b: { get: { operationId: x } }",
            "`x` is the `operationId` of line 3 too",
        ),
        (
            "openapi: 3.0.3\npaths: { /a: { get: { security: [{ t: ['a:b'] }] } } }\n\
             components: { securitySchemes: { t: { type: http } } }",
            "`http` has no scopes in OpenAPI 3.0",
        ),
    ] {
        let told = messages(&read(text.as_bytes()));
        assert!(told.iter().any(|it| it.contains(expected)), "{text}: {told:?}");
    }
    assert_eq!(messages(&read(&[0xff])), ["0: : is not text in UTF-8"]);
}

#[test]
fn base_paths_are_those_of_the_closest_servers() {
    for (servers, expected) in [
        ("", vec!["/a"]),
        ("servers: []", vec!["/a"]),
        ("servers: [{ url: / }]", vec!["/a"]),
        ("servers: [{ url: /v1/ }]", vec!["/v1/a"]),
        ("servers: [{ url: 'https://x.example' }, { url: //y/b/c }]", vec!["/a", "/b/c/a"]),
        (
            "servers: [{ url: '{all}', variables: { all: { default: 'http://h:1/q' } } }]",
            vec!["/q/a"],
        ),
    ] {
        let text = format!("openapi: 3.1.0\n{servers}\npaths: {{ /a: {{ get: {{}} }} }}\n");
        let contract = read(text.as_bytes());
        assert_eq!(messages(&contract), [""; 0], "{servers}");
        assert_eq!(templates(&contract.operations[0]), expected, "{servers}");
    }
}

#[test]
fn aliases_and_merged_keys_are_read_as_yaml_has_them() {
    let text = "openapi: 3.1.0\nx-common: &common\n  security: [{ t: ['a:b'] }]\npaths:\n  /a: &a\n    \
                get:\n      <<: *common\n      responses: {}\n  /b: *a\n\
                components: { securitySchemes: { t: { type: http } } }\n";
    let contract = read(text.as_bytes());
    assert_eq!(messages(&contract), [""; 0]);
    for (operation, path) in contract.operations.iter().zip(["/a", "/b"]) {
        assert_eq!(templates(operation), [path]);
        assert_eq!(scopes(&operation.needs), [["a:b"]]);
    }
    assert_eq!(contract.operations.len(), 2);
}

#[test]
fn a_document_that_unfolds_without_end_is_cut_off() {
    let mut text = "openapi: 3.1.0\nx-a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, before) in ('b'..'j').zip('a'..) {
        let many = vec![format!("*{before}"); 9].join(", ");
        text.push_str(&format!("x-{name}: &{name} [{many}]\n"));
    }
    text.push_str("paths: {}\n");
    assert!(messages(&read(text.as_bytes()))[0].contains("not readable"));
    let deep =
        format!("openapi: 3.1.0\nx-a: {}{}\npaths: {{}}\n", "[".repeat(5_000), "]".repeat(5_000));
    assert!(messages(&read(deep.as_bytes()))[0].contains("not readable"));
}

#[test]
fn a_large_document_is_read_in_full() {
    let mut text = "openapi: 3.1.0\nsecurity: [{ t: ['a:b'] }]\npaths:\n".to_owned();
    for number in 0..5_000 {
        text.push_str(&format!(
            "  /r{number}/{{id}}:\n    get:\n      responses: {{ 200: {{ description: x }} }}\n"
        ));
    }
    text.push_str("components: { securitySchemes: { t: { type: http } } }\n");
    let contract = read(text.as_bytes());
    assert_eq!(messages(&contract), [""; 0]);
    assert_eq!(contract.operations.len(), 5_000);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes: Vec<u8>, cut in 0_usize..3_000, text: String) {
        drop(read(&bytes));
        drop(read(format!("openapi: 3.1.0\n{text}").as_bytes()));
        drop(read(with(&format!("security: {text}")).as_bytes()));
        drop(read(SHOP.as_bytes().get(..cut).unwrap_or_default()));
        drop(read(ORDERS.as_bytes().get(..cut).unwrap_or_default()));
    }

    #[test]
    fn any_path_becomes_a_template_or_a_fault(path in "/[a-z{}.+*?/ -]{0,12}") {
        let text = format!("openapi: 3.1.0\npaths: {{ '{path}': {{ get: {{}} }} }}\n");
        let contract = read(text.as_bytes());
        proptest::prop_assert_eq!(contract.operations.len() + contract.faults.len(), 1);
    }
}
