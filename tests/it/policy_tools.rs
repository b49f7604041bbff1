//! `sidegate policy check`, `eval` and `explain` as those meet them who write and review policies.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli::{Said, says};
use crate::world::World;

const SHOP: &str = "spiffe://example.org/prod/shop";

const GLOBAL: &str = r#"package sidegate.global

default grant := {"roles": [], "scopes": [], "tenant": null}

grant := {"roles": it.roles, "scopes": it.scopes, "tenant": it.tenant} if {
	it := data.identities[input.peer.spiffe_id]
} else := {"roles": [], "scopes": ["orders:read"], "tenant": "acme"} if {
	input.peer.service == "guest"
}

deny contains {"code": "blocked", "message": "was stolen"} if data.blocked[input.peer.spiffe_id]
"#;

const TENANT: &str = r#"package sidegate.tenant

default limit := []

limit := ["orders:read", "orders:list"] if data.sidegate.global.grant.tenant == "acme"

limit := ["orders:read"] if data.sidegate.global.grant.tenant == "globex"
"#;

const REQUEST: &str = r#"package sidegate.request

deny contains "closed" if {
	input.request.method == "GET"
	input.time.hour < 6
}
"#;

const DATA: &str = r#"{
    "identities": {
        "spiffe://example.org/prod/shop": {"roles": ["reader"], "scopes": ["orders:write"], "tenant": "acme"},
        "spiffe://example.org/prod/thief": {"roles": ["reader"], "scopes": [], "tenant": "acme"},
        "spiffe://example.org/prod/other": {"roles": [], "scopes": ["orders:read"], "tenant": "globex"}
    },
    "roles": {"reader": {"scopes": ["*:read"]}},
    "blocked": {"spiffe://example.org/prod/thief": true}
}"#;

const CONFIG: &str = "\
tenant: acme
identity: { workload_api: \"unix:///run/agent.sock\" }
inbound:
  - listen: 127.0.0.1:8443
    forward_to: 127.0.0.1:8080
    routes:
      - { path: /orders/**, methods: [GET], scopes: [orders:read] }
      - { path: /orders/**, methods: [PUT], scopes: [orders:write] }
      - { path: /refunds, methods: [POST], scopes: [refunds:create] }
policy: policy
";

/// A policy and the configuration of a service, in a folder.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(place.path("policy")).unwrap();
        place.write("policy/global.rego", GLOBAL);
        place.write("policy/tenant.rego", TENANT);
        place.write("policy/request.rego", REQUEST);
        place.write("policy/global_test.rego", "package sidegate.global_test\n");
        place.write("policy/data.json", DATA);
        place.write("sidegate.yaml", CONFIG);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    /// `policy <tool> <the policy> …`; `CONFIG` stands for the configuration.
    fn says(&self, tool: &str, arguments: &[&str]) -> Said {
        let (policy, config) = (self.path("policy"), self.path("sidegate.yaml"));
        let mut all = vec!["policy", tool, policy.to_str().unwrap()];
        all.extend(arguments.iter().map(|it| match *it {
            "CONFIG" => config.to_str().unwrap(),
            other => other,
        }));
        says(&all)
    }

    fn json(&self, tool: &str, arguments: &[&str]) -> Value {
        let said = self.says(tool, &[arguments, &["--json"]].concat());
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"))
    }
}

fn codes(told: &Value) -> Vec<&str> {
    told["findings"].as_array().unwrap().iter().map(|it| it["code"].as_str().unwrap()).collect()
}

#[test]
fn the_shipped_policy_passes_its_own_check() {
    let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/policies");
    let said = says(&["policy", "check", policies, "--strict"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("0 errors, 0 warnings"), "{}", said.out);
}

#[test]
fn check_tells_what_each_question_reads_and_how_long_answers_are_kept() {
    let told = Place::new().json("check", &[]);
    let reads = told["reads"].as_array().unwrap();
    let of = |entry: &str| reads.iter().find(|it| it["entry"] == entry).unwrap();
    assert_eq!(of("data.sidegate.global.grant")["kept"], "for an identity");
    assert_eq!(
        of("data.sidegate.request.deny")["fields"],
        json!(["input.request.method", "input.time.hour"])
    );
    assert_eq!(of("data.sidegate.request.deny")["kept"], "for one request");
    assert_eq!(told["identities"], 4, "three in the data, and the guest");
}

#[test]
fn a_misspelt_name_in_the_data_is_an_error() {
    let place = Place::new();
    place.write("policy/global.rego", &GLOBAL.replace("data.blocked", "data.bloked"));

    let said = place.says("check", &[]);

    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("global.rego:11:74: error: unknown-data"), "{}", said.out);
    assert!(said.out.contains("did you mean `blocked`?"), "{}", said.out);
}

#[test]
fn warnings_fail_a_check_only_if_that_is_wanted() {
    let place = Place::new();
    place.write("policy/lib.rego", "package lib\n\nhelp := 1\n");
    assert_eq!(place.says("check", &[]).code, Some(0));
    assert_eq!(place.says("check", &["--strict"]).code, Some(1));
    assert_eq!(codes(&place.json("check", &[])), ["unused-rule"]);
}

#[test]
fn a_policy_that_cannot_be_enforced_is_refused_with_every_place() {
    let place = Place::new();
    let text = "package sidegate.team\n\nlimit := [\"a:b\"] if time.now_ns() > 0\n\n\
                deny contains \"x\" if input.peer.servce == \"a\"\n";
    place.write("policy/team.rego", text);

    let said = place.says("check", &[]);

    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.out.contains("team.rego:3:"), "{}", said.out);
    assert!(said.out.contains("use `input.time`"), "{}", said.out);
    assert!(said.out.contains("team.rego:5:"), "{}", said.out);
    assert_eq!(codes(&place.json("check", &[])), ["refused", "refused"]);
}

#[test]
fn check_sets_routes_against_those_who_call_them() {
    let place = Place::new();
    let told = place.json("check", &["--config", "CONFIG"]);
    let findings = told["findings"].as_array().unwrap();
    let of = |code: &str| -> Vec<String> {
        let of_code = findings.iter().filter(|it| it["code"] == code);
        of_code.map(|it| it["message"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(of("no-route-left").len(), 2, "the thief and the other tenant: {told:#}");
    let ungranted: Vec<_> = findings.iter().filter(|it| it["code"] == "ungranted-scope").collect();
    let lines: Vec<_> = ungranted.iter().map(|it| it["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [8, 9], "the layer takes `orders:write`: {told:#}");
    assert!(ungranted[0]["file"].as_str().unwrap().ends_with("sidegate.yaml"));
}

#[test]
fn identities_can_be_given_in_a_list() {
    let place = Place::new();
    let list = place.write("ids", "# ours\nspiffe://example.org/dev/new\n\n");
    assert_eq!(place.json("check", &["--identities", &list])["identities"], 6);
    let list = place.write("ids", "spiffe://example.org/prod/guest\nnobody\n");
    let said = place.says("check", &["--identities", &list]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("ids:2: `nobody`"), "{}", said.err);
}

#[test]
fn a_query_is_answered_as_opa_answers_it() {
    let place = Place::new();
    let said = place.says("eval", &["count(data.identities)"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let told: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        told,
        json!({"result": [{"expressions": [
            {"value": 3, "text": "count(data.identities)", "location": {"row": 1, "col": 1}}
        ]}]})
    );

    let said = place.says("eval", &["data.nothing", "--fail"]);
    assert_eq!((said.out.as_str(), said.code), ("{}\n", Some(1)));
    let said = place.says("eval", &["1 +"]);
    assert_eq!(said.code, Some(2), "{said:?}");
}

#[test]
fn a_query_can_be_given_its_input() {
    let place = Place::new();
    let input = place.write("input.json", r#"{"peer": {"spiffe_id": "x", "service": "guest"}}"#);
    let value = |said: Said| -> Value {
        let told: Value = serde_json::from_str(&said.out).unwrap();
        told["result"][0]["expressions"][0]["value"].clone()
    };
    let asked = "data.sidegate.global.grant.scopes";
    assert_eq!(value(place.says("eval", &[asked, "--input", &input])), json!(["orders:read"]));
    assert_eq!(value(place.says("eval", &[asked, "--id", SHOP])), json!(["orders:write"]));
}

#[test]
fn a_caller_stands_as_the_layers_leave_it() {
    let told = Place::new().json("eval", &["--id", SHOP]);
    let standing = &told["standing"];
    assert_eq!(standing["tenant"], "acme");
    assert_eq!(standing["brought"], json!(["*:read", "orders:write"]));
    assert_eq!(standing["scopes"], json!(["orders:read"]));
    assert_eq!(
        standing["layers"][0]["removed"],
        json!([
            {"scope": "*:read", "to": ["orders:read"]},
            {"scope": "orders:write", "to": []},
        ])
    );
    assert_eq!(told["decision"], Value::Null);
}

#[test]
fn a_request_is_decided_as_the_guard_decides_it() {
    let place = Place::new();
    let noon = ["--at", "2026-11-20T12:00:00Z", "--config", "CONFIG", "--fail"];
    let night = ["--at", "2026-11-20T03:00:00Z", "--config", "CONFIG", "--fail"];
    let thief = "spiffe://example.org/prod/thief";
    let other = "spiffe://example.org/prod/other";
    for (id, request, at, code, reason) in [
        (SHOP, "GET /orders/1", &noon, 0, "allowed"),
        (SHOP, "GET /orders/1", &night, 1, "policy_denied"),
        (SHOP, "PUT /orders/1", &noon, 1, "insufficient_scope"),
        (SHOP, "GET /nowhere", &noon, 1, "no_route"),
        (thief, "GET /orders/1", &noon, 1, "policy_denied"),
        (other, "GET /orders/1", &noon, 1, "tenant_mismatch"),
    ] {
        let arguments = [&["--id", id, "--request", request], &at[..]].concat();
        let said = place.says("eval", &arguments);
        assert_eq!(said.code, Some(code), "{id} {request}: {said:?}");
        let told = place.json("eval", &arguments);
        assert_eq!(told["decision"]["reason"], reason, "{id} {request}");
    }
}

#[test]
fn wrong_usage_is_told_apart_from_a_no() {
    let place = Place::new();
    for arguments in [
        &[][..],
        &["--id", SHOP, "--request", "GET /orders/1"],
        &["--id", "nobody"],
        &["--id", SHOP, "--config", "CONFIG", "--request", "GET orders"],
        &["--id", SHOP, "--config", "CONFIG", "--request", "GET /a", "--listener", "none"],
        &["--id", SHOP, "--at", "yesterday"],
    ] {
        let said = place.says("eval", arguments);
        assert_eq!(said.code, Some(2), "{arguments:?}: {said:?}");
        assert!(!said.err.is_empty(), "{arguments:?}");
    }
    let said = place.says("explain", &["--id", SHOP, "--request", "GET /orders/1"]);
    assert_eq!(said.code, Some(2), "{said:?}");
}

#[test]
fn explain_names_each_rule_that_had_a_part() {
    let arguments = ["--id", SHOP, "--request", "PUT /orders/1", "--config", "CONFIG"];
    let said = Place::new().says("explain", &arguments);
    assert_eq!(said.code, Some(0), "{said:?}");
    for expected in [
        "✓ authenticated",
        "global.rego:5  by this definition",
        "data.json  role `reader` gives `*:read`",
        "tenant.rego:5  layer `tenant` takes away `orders:write`",
        "sidegate.yaml:8  declared here",
        "✗ scopes",
        "– request",
        "denied: insufficient_scope",
        "layer `tenant` would have to allow `orders:write`",
    ] {
        assert!(said.out.contains(expected), "{expected} in\n{}", said.out);
    }
    assert!(!said.out.contains('\u{1b}'), "no color where no terminal is");
}

#[test]
fn explain_finds_the_branch_and_the_denial() {
    let place = Place::new();
    let explain = |id: &str, at: &str| -> Value {
        let arguments =
            ["--id", id, "--request", "GET /orders/1", "--config", "CONFIG", "--at", at];
        place.json("explain", &arguments)["explanation"].clone()
    };
    let notes = |told: &Value, step: &str| -> Vec<String> {
        let steps = told["steps"].as_array().unwrap();
        let step = steps.iter().find(|it| it["step"] == step).unwrap();
        let notes = step["notes"].as_array().unwrap().iter();
        notes.map(|it| format!("{} {}", it["at"].as_str().unwrap_or("-"), it["text"])).collect()
    };
    let (noon, night) = ("2026-11-20T12:00:00Z", "2026-11-20T03:00:00Z");

    let told = explain("spiffe://example.org/prod/guest", noon);
    assert_eq!(told["reason"], "allowed");
    assert!(notes(&told, "policy")[0].starts_with("global.rego:7 "), "{told:#}");

    let told = explain("spiffe://example.org/prod/thief", noon);
    assert_eq!(told["reason"], "policy_denied");
    let denials = notes(&told, "denials");
    assert!(denials[0].starts_with("global.rego:11 ") && denials[0].contains("was stolen"));

    let told = explain(SHOP, night);
    assert!(notes(&told, "request")[0].starts_with("request.rego:3 "), "{told:#}");
}

#[test]
fn a_token_is_judged_by_what_its_issuer_may_give_out() {
    let token = ["--token", "https://issuer.example", "robot", "--scope", "orders:read"];
    let place = Place::new();
    let asked = [&token[..], &["--tenant", "acme", "--config", "CONFIG"]].concat();
    let told = place.json("eval", &[&asked[..], &["--request", "GET /orders/1"]].concat());
    assert_eq!(told["standing"]["method"], "jwt");
    assert_eq!(told["standing"]["brought"], json!(["orders:read"]));
    assert_eq!(told["decision"]["reason"], "insufficient_scope", "the layer knows no token");
}

#[tokio::test]
async fn a_line_of_the_audit_log_is_explained() {
    let mut world = World::new()
        .service("orders", |it| {
            it.route("GET", "/orders/**", "orders:read").route("GET", "/ledger", "ledger:read")
        })
        .service("shop", |it| it.roles(["reader"]).calls("orders"))
        .start()
        .await;
    assert_eq!(world.from("shop").get("orders", "/ledger").await.status(), 403);
    world.audit("orders").only("insufficient_scope").await;
    let log = std::fs::read_to_string(world.service("orders").audit_path()).unwrap();
    let line = log.lines().find(|line| line.contains("insufficient_scope")).unwrap();
    let place = Place::new();
    let config = CONFIG.replace("  - listen", "  - name: http\n    listen").replace(
        "      - { path: /refunds, methods: [POST], scopes: [refunds:create] }",
        "      - { path: /ledger, methods: [GET], scopes: [ledger:read] }",
    );
    let config = place.write("sidegate.yaml", &config);
    let policy = world.policy("orders").path.to_str().unwrap().to_owned();
    let explain = ["policy", "explain", &policy, "--config", &config, "--audit"];

    let said = says(&[&explain[..], &[line, "--json"]].concat());

    assert_eq!(said.code, Some(0), "{said:?}");
    let told: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(told["explanation"]["reason"], "insufficient_scope");
    assert_eq!(told["explanation"]["standing"]["id"], SHOP);
    assert_eq!(told["recorded"], json!({"decision": "deny", "reason": "insufficient_scope"}));
    assert_eq!(told["remarks"], json!([]), "same policy, nothing left to guess: {told:#}");

    let grant = json!({"tenant": "acme", "roles": [], "scopes": ["ledger:read"]});
    world.policy("orders").grant(SHOP, grant);
    let file = format!("@{}", place.write("line", line));
    let said = says(&[&explain[..], &[&file]].concat());
    assert!(said.out.contains("is not the one at hand"), "{}", said.out);
    assert!(said.out.contains("decided anew it is `allowed`"), "{}", said.out);
}
