//! What a change of policy would do, as its reviewer sees it: identities compared, logs replayed.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli::says;
use crate::world::World;
use crate::world::policy::PolicyFolder;

/// The policy that is shipped, and a copy of it to be edited.
struct Change {
    folder: TempDir,
}

impl Change {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for side in ["old", "new"] {
            copy(&shipped(), &folder.path().join(side));
            in_one_file(&folder.path().join(side));
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Edits the data of the new policy.
    fn edit(&self, edit: impl FnOnce(&mut Value)) -> &Self {
        let file = self.folder.path().join("new/data.json");
        let mut data = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        edit(&mut data);
        std::fs::write(file, data.to_string()).unwrap();
        self
    }

    /// The configuration of a service of `acme`, `orders` of `prod`.
    fn configuration(&self) -> String {
        let config = json!({
            "tenant": "acme",
            "identity": {
                "workload_api": "unix:///run/agent.sock",
                "spiffe_id": "spiffe://example.org/prod/orders",
            },
            "inbound": [{
                "name": "https", "listen": "127.0.0.1:1", "forward_to": "127.0.0.1:2",
                "routes": [
                    {"path": "/orders/{id}", "methods": ["GET"], "scopes": ["orders:read"]},
                    {"path": "/orders", "methods": ["POST"], "scopes": ["orders:create"]},
                    {"grpc": "acme.Refunds/*", "scopes": ["refunds:create"]},
                ],
            }],
            "policy": self.path("old"),
        });
        let path = self.folder.path().join("orders.yaml");
        std::fs::write(&path, config.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn diff(&self, more: &[&str]) -> crate::cli::Said {
        let (old, new) = (self.path("old"), self.path("new"));
        let mut arguments = vec!["policy", "diff", &old, &new, "--at", "2026-11-20T10:00:00Z"];
        arguments.extend(more);
        says(&arguments)
    }

    fn json(&self, more: &[&str]) -> Value {
        let said = self.diff(&[more, &["--format", "json"]].concat());
        assert_eq!(said.code, Some(0), "{said:?}");
        serde_json::from_str(&said.out).unwrap()
    }
}

/// Puts all data into `data.json`, where a test can edit it.
fn in_one_file(policy: &Path) {
    let mut all = serde_json::Map::new();
    for entry in std::fs::read_dir(policy).unwrap() {
        let (folder, name) = entry.map(|it| (it.path(), it.file_name())).unwrap();
        let file = folder.join("data.json");
        if let Ok(text) = std::fs::read_to_string(&file) {
            let data = serde_json::from_str(&text).unwrap();
            all.insert(name.to_str().unwrap().to_owned(), data);
            std::fs::remove_file(file).unwrap();
        }
    }
    std::fs::write(policy.join("data.json"), Value::Object(all).to_string()).unwrap();
}

fn shipped() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("policies")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Lets `reports` create orders, by a role that it has not had.
fn promoted(data: &mut Value) {
    data["services"]["reports"]["roles"] = json!(["order-keeper"]);
}

#[test]
fn a_policy_that_is_the_same_changes_nothing_for_anybody() {
    let change = Change::new();
    let said = change.diff(&["--fail-on", "any", "--config", &change.configuration()]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("none gains or loses anything"), "{}", said.out);
}

#[test]
fn who_gains_what_is_told_with_its_routes_and_its_cause() {
    let change = Change::new();
    change.edit(promoted);
    let diff = change.json(&["--config", &change.configuration()]);
    let [group] = diff["groups"].as_array().unwrap().as_slice() else { panic!("{diff}") };
    let ids: Vec<&str> = group["identities"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["spiffe://example.org/prod/reports"]);
    let routes: Vec<&str> = group["routes_gained"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["route"].as_str().unwrap())
        .collect();
    assert_eq!(routes, ["POST /orders"]);
    let gained = &group["changes"][0]["gained"];
    assert!(gained.to_string().contains("orders:*"), "{gained}");
    let why = group["changes"][0]["why"].to_string();
    assert!(why.contains("role `order-keeper` is new to them"), "{why}");
}

#[test]
fn only_what_was_asked_to_fail_fails() {
    let change = Change::new();
    change.edit(promoted);
    for (fail_on, code) in [("gained", 1), ("lost", 0), ("any", 1)] {
        assert_eq!(change.diff(&["--fail-on", fail_on]).code, Some(code), "{fail_on}");
    }
    assert_eq!(change.diff(&[]).code, Some(0));
    let (old, new) = (change.path("new"), change.path("old"));
    for (fail_on, code) in [("gained", 0), ("lost", 1)] {
        let said = says(&["policy", "diff", &old, &new, "--fail-on", fail_on]);
        assert_eq!(said.code, Some(code), "{fail_on}: {said:?}");
    }
}

#[test]
fn a_policy_that_cannot_be_used_is_no_comparison() {
    let change = Change::new();
    std::fs::write(change.path("new/sidegate/broken.rego"), "package a\n\nx := {\n").unwrap();
    let said = change.diff(&["--fail-on", "gained"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("broken.rego:"), "{}", said.err);
    let said = says(&["policy", "diff", &change.path("old"), &change.path("nowhere")]);
    assert_eq!(said.code, Some(2), "{said:?}");
}

#[test]
fn nobody_to_ask_about_is_no_all_clear() {
    let folder = tempfile::tempdir().unwrap();
    let global = "package sidegate.global\n\nimport rego.v1\n\ngrant := {\"roles\": [], \
                  \"scopes\": [\"*:*\"], \"tenant\": \"acme\"}\n";
    let file = folder.path().join("global.rego");
    std::fs::write(&file, global).unwrap();
    let file = file.to_str().unwrap();
    assert_eq!(says(&["policy", "diff", file, file]).code, Some(0));
    assert_eq!(says(&["policy", "diff", file, file, "--fail-on", "gained"]).code, Some(2));
    let list = folder.path().join("list");
    std::fs::write(&list, "# ours\nspiffe://example.org/prod/a\n").unwrap();
    let list = list.to_str().unwrap();
    let said = says(&["policy", "diff", file, file, "--fail-on", "gained", "--identities", list]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("of 1 identity"), "{}", said.out);
}

#[test]
fn a_comment_for_a_pull_request_folds_long_lists_and_keeps_its_bound() {
    let folder = tempfile::tempdir().unwrap();
    let policy = |name: &str, scope: &dyn Fn(usize) -> String| {
        let mut identities = serde_json::Map::new();
        for number in 0..400 {
            let id = format!("spiffe://example.org/prod/service-{number:04}");
            let grant = json!({"tenant": "acme", "roles": [], "scopes": [scope(number)]});
            identities.insert(id, grant);
        }
        PolicyFolder::new(folder.path().join(name), Value::Object(identities));
        folder.path().join(name).to_str().unwrap().to_owned()
    };
    let old = policy("old", &|_| "orders:read".to_owned());
    let same = policy("same", &|_| "orders:*".to_owned());
    let said = says(&["policy", "diff", &old, &same, "--format", "markdown"]);
    assert!(said.out.contains("#### 400 identities: gain `orders:*`"), "{}", said.out);
    assert!(said.out.contains("<details><summary>"), "{}", said.out);
    assert!(said.out.contains("- and 200 more"), "{}", said.out);

    let each = policy("each", &|number| format!("a{number}:{}", "x".repeat(60)));
    let said = says(&["policy", "diff", &old, &each, "--format", "markdown"]);
    assert!(said.out.len() < 65_000, "{}", said.out.len());
    assert!(said.out.contains("more groups: `--format json` has everything"), "{}", said.out);
}

#[tokio::test]
async fn decisions_of_a_running_sidecar_are_replayed_under_another_policy() {
    let mut world = World::new()
        .service("orders", |it| {
            it.route("GET", "/orders/{id}", "orders:read").route("POST", "/orders", "orders:write")
        })
        .service("shop", |it| it.scopes(["orders:read"]).calls("orders").open())
        .start()
        .await;
    for _ in 0..3 {
        assert_eq!(world.from("shop").get("orders", "/orders/7").await.status(), 200);
    }
    assert_eq!(world.from("shop").get("orders", "/nothing").await.status(), 403);
    world.audit("orders").nth("no_route", 1).await;
    world.audit("orders").nth("allowed", 3).await;
    let log = world.audit("orders").0;
    let log = log.to_str().unwrap();
    let policy = world.policy("orders").path.clone();

    let old = tempfile::tempdir().unwrap();
    copy(&policy, old.path());
    let old = old.path().to_str().unwrap().to_owned();
    let none = json!({"tenant": "acme", "roles": [], "scopes": []});
    world.policy("orders").grant("spiffe://example.org/prod/shop", none);
    let new = policy.to_str().unwrap();

    let same = says(&["policy", "replay", log, "--policy", &old, "--fail-on", "any"]);
    assert_eq!(same.code, Some(0), "{same:?}");
    assert!(same.out.contains("0 of 4 decisions would go otherwise"), "{}", same.out);

    let arguments = ["policy", "replay", log, "--policy", new, "--format", "json"];
    let said = says(&arguments);
    assert_eq!(said.code, Some(0), "{said:?}");
    let replayed: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&replayed["replayed"], &replayed["lost"]), (&json!(4), &json!(3)), "{replayed}");
    let group = &replayed["groups"][0];
    assert_eq!(group["caller"], "spiffe://example.org/prod/shop");
    assert_eq!(group["after"]["reason"], "insufficient_scope");
    let failed = says(&[&arguments[..], &["--fail-on", "lost"]].concat());
    assert_eq!(failed.code, Some(1), "{failed:?}");
    let passed = says(&[&arguments[..], &["--fail-on", "gained", "--baseline", &old]].concat());
    assert_eq!(passed.code, Some(0), "{passed:?}");
    let early = says(&[&arguments[..], &["--until", "2020-01-01T00:00:00Z"]].concat());
    let early: Value = serde_json::from_str(&early.out).unwrap();
    assert_eq!(early["replayed"], 0);

    // Whom the log names is asked about by a comparison as well.
    let said = says(&["policy", "diff", &old, new, "--audit", log, "--format", "json"]);
    let diff: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(diff["groups"].as_array().unwrap().len(), 1, "{diff}");
}

#[test]
fn a_log_that_tells_nothing_is_no_all_clear() {
    let change = Change::new();
    let log = change.path("audit.log");
    std::fs::write(&log, "not a line\n{}\n").unwrap();
    let policy = change.path("old");
    let said = says(&["policy", "replay", &log, "--policy", &policy]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("malformed: 1 of 2 lines (the first: 1)"), "{}", said.out);
    let said = says(&["policy", "replay", &log, "--policy", &policy, "--fail-on", "gained"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    let said = says(&["policy", "replay", "/nowhere", "--policy", &policy]);
    assert_eq!(said.code, Some(2), "{said:?}");
}
