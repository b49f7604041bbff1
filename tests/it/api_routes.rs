//! Routes that the service's own contract declares: an OpenAPI document, a gRPC descriptor set.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use http::header::WWW_AUTHENTICATE;
use http::{Method, Request};
use serde_json::{Value, json};
use sidegate::config;

use crate::world::World;
use crate::world::app::whole;
use crate::world::client::{Reply, get, request, with_headers};
use crate::world::grpc::message;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/api").join(name)
}

/// `orders` is served from this document and one route of its configuration; `shop` has the scopes.
async fn served<const N: usize>(keys: Value, scopes: [&str; N]) -> World {
    World::new()
        .service("orders", |it| it.route("GET", "/ops/status", "ops:read").inbound(keys))
        .service("shop", |it| it.scopes(scopes).calls("orders"))
        .start()
        .await
}

fn shop() -> Value {
    json!({"openapi": golden("shop-3.0.yaml"), "public_routes": ["getHealth"]})
}

async fn asks(world: &World, method: Method, path: &str) -> Reply {
    world.from("shop").http1("orders").await.send(request(method, path, "")).await
}

#[tokio::test]
async fn operations_are_routes_and_their_security_is_what_they_need() {
    let world = served(shop(), ["pets:read", "ops:read"]).await;

    for (method, path, route) in [
        (Method::GET, "/v1/pets", "listPets"),
        (Method::GET, "/v2/pets", "listPets@/v2/pets"),
        (Method::GET, "/v2/pets/7", "showPet@/v2/pets/{pet_id}"),
        (Method::HEAD, "/v1/pets/7", "showPet"),
        (Method::GET, "/ops/status", "GET /ops/status"),
    ] {
        let reply = asks(&world, method.clone(), path).await;
        assert_eq!(reply.status(), 200, "{method} {path}");
        let line = world.audit("orders").of(&reply).await;
        assert_eq!(line.route.as_deref(), Some(route), "{method} {path}");
    }
    for (method, path, scope) in
        [(Method::POST, "/v1/pets", "pets:write"), (Method::DELETE, "/v2/pets/7", "pets:delete")]
    {
        let reply = asks(&world, method, path).await;
        assert_eq!(reply.refusal(), (403, "insufficient_scope".to_owned()), "{path}");
        let challenge = reply.header(WWW_AUTHENTICATE.as_str()).unwrap();
        let expected = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"");
        assert_eq!(challenge, expected);
    }
    for (method, path) in [
        (Method::GET, "/pets"),
        (Method::GET, "/v3/pets"),
        (Method::PUT, "/v1/pets/7"),
        (Method::GET, "/v1/pets/"),
        (Method::POST, "/v1/health"),
    ] {
        let reply = asks(&world, method, path).await;
        assert_eq!(reply.refusal(), (403, "no_route".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn one_of_several_alternatives_is_enough_and_a_half_of_one_is_not() {
    let world = served(shop(), ["audit:read", "records:read"]).await;
    assert_eq!(asks(&world, Method::GET, "/v1/pets/7").await.status(), 200);
    assert_eq!(asks(&world, Method::GET, "/v1/pets").await.code(), "insufficient_scope");

    let world = served(shop(), ["audit:read"]).await;
    let reply = asks(&world, Method::GET, "/v1/pets/7").await;
    assert_eq!(reply.refusal(), (403, "insufficient_scope".to_owned()));
    assert_eq!(
        reply.header(WWW_AUTHENTICATE.as_str()).unwrap(),
        "Bearer error=\"insufficient_scope\", scope=\"pets:read\", \
         Bearer error=\"insufficient_scope\", scope=\"audit:read records:read\""
    );
    let line = world.refused("orders", "insufficient_scope", 0).await;
    assert_eq!(line.required_scopes.as_deref(), Some("pets:read | audit:read records:read"));
}

#[tokio::test]
async fn a_public_route_needs_no_scope_but_a_caller_of_the_tenant() {
    let world = World::new()
        .service("orders", |it| it.route("GET", "/ops/status", "ops:read").inbound(shop()))
        .service("shop", |it| it.calls("orders"))
        .service("stranger", |it| it.tenant("globex").calls("orders"))
        .start()
        .await;

    assert_eq!(world.from("shop").get("orders", "/health").await.status(), 200);
    let reply = world.from("stranger").get("orders", "/health").await;
    assert_eq!(reply.refusal(), (403, "tenant_mismatch".to_owned()));
}

#[tokio::test]
async fn a_document_in_json_of_version_3_1_is_served_alike() {
    let keys = json!({"openapi": golden("orders-3.1.json")});
    let world = served(keys, ["orders:read"]).await;

    assert_eq!(asks(&world, Method::GET, "/orders/7").await.status(), 200);
    assert_eq!(asks(&world, Method::POST, "/orders").await.code(), "insufficient_scope");
    assert_eq!(asks(&world, Method::GET, "/orders").await.code(), "no_route");
}

/// Sources by name, for the compiler.
struct Sources(HashMap<&'static str, String>);

impl protox::file::FileResolver for Sources {
    fn open_file(&self, name: &str) -> Result<protox::file::File, protox::Error> {
        match self.0.get(name) {
            Some(source) => protox::file::File::from_source(name, source),
            None => protox::file::GoogleFileResolver::new().open_file(name),
        }
    }
}

/// As `protoc --include_imports -o FILE echo.proto` writes it.
fn descriptors(folder: &Path) -> PathBuf {
    let options = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/sidegate/v1/options.proto");
    let echo = "syntax = \"proto3\"; package test; import \"sidegate/v1/options.proto\";\n\
        message M {}\n\
        service Echo {\n\
          rpc Say(M) returns (M) { option (sidegate.v1.requires) = { scopes: \"echo:say\" }; }\n\
          rpc Shout(M) returns (M) { option (sidegate.v1.requires) = { any_of: [\"echo:shout\"] }; }\n\
          rpc Listen(M) returns (M);\n\
          rpc Ping(M) returns (M);\n\
        }";
    let sources = HashMap::from([
        ("echo.proto", echo.to_owned()),
        ("sidegate/v1/options.proto", fs::read_to_string(options).unwrap()),
    ]);
    let mut compiler = protox::Compiler::with_file_resolver(Sources(sources));
    compiler.include_imports(true);
    compiler.open_file("echo.proto").unwrap();
    let file = folder.join("echo.binpb");
    fs::write(&file, compiler.encode_file_descriptor_set()).unwrap();
    file
}

#[test]
fn the_descriptor_set_of_the_example_is_what_its_source_compiles_to() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let sources = HashMap::from([
        ("billing.proto", source("deploy/examples/api/billing.proto")),
        ("sidegate/v1/options.proto", source("proto/sidegate/v1/options.proto")),
    ]);
    let mut compiler = protox::Compiler::with_file_resolver(Sources(sources));
    compiler.include_imports(true);
    compiler.open_file("billing.proto").unwrap();
    let made = compiler.encode_file_descriptor_set();
    let committed = root.join("deploy/examples/api/billing.binpb");
    if std::env::var_os("SIDEGATE_BLESS").is_some() {
        fs::write(&committed, &made).unwrap();
    }
    assert!(fs::read(committed).unwrap() == made, "run with SIDEGATE_BLESS=1");
}

#[tokio::test]
async fn methods_of_a_descriptor_set_are_routes_with_the_scopes_of_their_options() {
    let folder = tempfile::tempdir().unwrap();
    let keys = json!({"grpc_descriptors": descriptors(folder.path()), "public_routes": ["test.Echo/Ping"]});
    let world = World::new()
        .service("orders", |it| it.grpc("test.Echo/Listen", "echo:listen").inbound(keys))
        .service("shop", |it| it.scopes(["echo:say"]).calls("orders"))
        .start()
        .await;
    let mut http = world.from("shop").http2("orders").await;

    for (method, status, code) in [
        ("/test.Echo/Say", "0", None),
        ("/test.Echo/Ping", "0", None),
        ("/test.Echo/Shout", "7", Some("insufficient_scope")),
        ("/test.Echo/Listen", "7", Some("insufficient_scope")),
        ("/test.Echo/Whisper", "7", Some("no_route")),
    ] {
        let call = Request::post(method).body(whole(message("hello"))).unwrap();
        let call = with_headers(call, &[("content-type", "application/grpc"), ("te", "trailers")]);
        let reply = http.send(call).await;
        let said = |name: &str| {
            let trailer = reply.trailers.get(name).map(|it| it.to_str().unwrap().to_owned());
            trailer.or_else(|| reply.header(name).map(str::to_owned))
        };
        assert_eq!(said("grpc-status").as_deref(), Some(status), "{method}");
        if let Some(code) = code {
            assert_eq!(said("grpc-message").as_deref(), Some(code), "{method}");
        }
    }
}

/// What `check` says of a configuration with these keys in its listener.
fn problems(keys: &str) -> String {
    let text = format!(
        "tenant: acme\nidentity: {{ workload_api: \"unix:///a.sock\" }}\npolicy: /p\ninbound:\n  - \
         listen: 127.0.0.1:8443\n    forward_to: 127.0.0.1:8080\n    {}\n",
        keys.replace('\n', "\n    ")
    );
    match config::parse(&text, "sidegate.yaml", std::iter::empty()) {
        Ok(_) => String::new(),
        Err(problems) => problems.to_string(),
    }
}

#[test]
fn a_method_without_a_word_on_its_scopes_is_a_problem_until_somebody_says_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = descriptors(folder.path());
    let file = format!("grpc_descriptors: {}", file.display());

    let told = problems(&file);
    assert!(told.contains("echo.proto: test.Echo/Ping"), "{told}");
    assert!(told.contains("echo.proto: test.Echo/Listen"), "{told}");
    assert!(!told.contains("test.Echo/Say"), "{told}");
    for keys in [
        "public_routes: [\"test.Echo/*\"]",
        "public_routes: [test.Echo/Ping, test.Echo/Listen]",
        "routes: [{ grpc: \"test.Echo/*\", scopes: [\"echo:any\"] }]",
        "public_routes: [test.Echo/Ping]\nroutes: [{ grpc: test.Echo/Listen, scopes: [\"a:b\"] }]",
    ] {
        assert_eq!(problems(&format!("{file}\n{keys}")), "", "{keys}");
    }
    for (keys, expected) in [
        ("routes: [{ grpc: test.Ecko/Say, scopes: [\"a:b\"] }]", "did you mean `test.Echo`?"),
        ("routes: [{ grpc: test.Echo/Lisen, scopes: [\"a:b\"] }]", "did you mean `Listen`?"),
        (
            "routes: [{ grpc: test.Echo/Say, scopes: [\"a:b\"] }]",
            "is declared by inbound[0].routes[0]",
        ),
        ("public_routes: [test.Echo/Say]", "asks for scopes in"),
        ("public_routes: [test.Echo/Pin]", "did you mean `test.Echo/Ping`?"),
    ] {
        let told = problems(&format!("{file}\n{keys}"));
        assert!(told.contains(expected), "{keys}: {told}");
    }
}

#[test]
fn a_document_of_nothing_is_not_taken_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("openapi.yaml");
    fs::write(&file, "openapi: 3.1.0\npaths: {}\n").unwrap();
    let told = problems(&format!("openapi: {}", file.display()));
    assert!(told.contains("come to no route"), "{told}");
}

#[test]
fn every_documented_route_is_shown_with_its_line() {
    let document = golden("shop-3.0.yaml");
    let text = format!(
        "tenant: acme\nidentity: {{ workload_api: \"unix:///a.sock\" }}\npolicy: /p\ninbound:\n  - \
         listen: 127.0.0.1:8443\n    forward_to: 127.0.0.1:8080\n    openapi: {}\n    \
         public_routes: [getHealth]\n",
        document.display()
    );
    let effective = config::effective(&text, "sidegate.yaml", std::iter::empty()).unwrap();
    let of = |key: &str| {
        let setting = effective.iter().find(|it| it.key == key);
        setting.map(|it| (it.value.clone(), it.origin.clone()))
    };
    let origin = |line: u32| format!("{}:{line}", document.display());
    let line = |text: &str| {
        let found = fs::read_to_string(&document).unwrap();
        let index = found.lines().position(|it| it.contains(text)).unwrap();
        u32::try_from(index).unwrap()
    };
    assert_eq!(
        of("inbound[0].documented[0]"),
        Some((
            json!({"name": "listPets", "path": "/v1/pets", "methods": ["GET"], "scopes": ["pets:read"]}),
            origin(line("operationId: listPets"))
        ))
    );
    assert_eq!(
        of("inbound[0].documented[4]"),
        Some((
            json!({
                "name": "showPet", "path": "/v1/pets/{pet_id}", "methods": ["GET"],
                "any_of": [["pets:read"], ["audit:read", "records:read"]],
            }),
            origin(line("operationId: showPet"))
        ))
    );
    let health = json!({
        "name": "getHealth", "path": "/health", "methods": ["GET"], "danger_no_scope": true,
    });
    let place = origin(line("operationId: getHealth"));
    assert_eq!(of("inbound[0].documented[8]"), Some((health.clone(), place.clone())));
    let shown = effective.to_string();
    assert!(shown.contains(&format!("# documented: {health} # {place}\n")), "{shown}");
}

/// Escapes are undone and empty segments refused before any template is looked at.
#[tokio::test]
async fn a_request_is_matched_by_its_normal_form() {
    let world = served(shop(), ["pets:read"]).await;
    let mut http = world.from("shop").http1("orders").await;
    assert_eq!(http.send(get("/v1/p%65ts")).await.status(), 200);
    assert_eq!(http.send(get("/v1//pets")).await.status(), 400);
}
