//! The tools take a bundle wherever they take a folder, and say the same of it.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli::{Said, says};
use crate::world::bundle::Bundle;
use crate::world::policy::GLOBAL;

const SHOP: &str = "spiffe://example.org/prod/shop";
const TESTS: &str = "package sidegate.global_test

import data.sidegate.global

test_shop_may_read if {
	global.grant.scopes == [\"orders:read\"] with input.peer.spiffe_id as \"spiffe://example.org/prod/shop\"
}
";

/// One policy as a folder and as a bundle, and the configuration of a service.
struct Both {
    folder: TempDir,
}

impl Both {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let both = Self { folder };
        let bundle = Bundle::granting(SHOP, &["orders:read"])
            .file("/sidegate/global_test.rego", TESTS)
            .revision("v1");
        bundle.write(&both.folder.path().join("orders.tar.gz"));
        let less = Bundle::granting(SHOP, &[]).file("/sidegate/global_test.rego", TESTS);
        less.write(&both.folder.path().join("less.tgz"));
        fs::create_dir_all(both.folder.path().join("folder/sidegate")).unwrap();
        let data = json!({
            "identities": {SHOP: {"tenant": "acme", "roles": [], "scopes": ["orders:read"]}},
            "blocked": {},
        });
        for (name, text) in [
            ("folder/sidegate/global.rego", GLOBAL),
            ("folder/sidegate/global_test.rego", TESTS),
            ("folder/data.json", &data.to_string()),
        ] {
            fs::write(both.folder.path().join(name), text).unwrap();
        }
        let config = json!({
            "tenant": "acme",
            "identity": {"workload_api": "unix:///run/agent.sock"},
            "inbound": [{
                "listen": "127.0.0.1:1", "forward_to": "127.0.0.1:2",
                "routes": [{"path": "/orders/{id}", "methods": ["GET"], "scopes": ["orders:read"]}],
            }],
            "policy": both.path("folder"),
        });
        fs::write(both.folder.path().join("orders.yaml"), config.to_string()).unwrap();
        both
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// What a tool says of either, which has to be the same.
    fn says(&self, tool: &str, more: &[&str]) -> Said {
        let [folder, bundle] = ["folder", "orders.tar.gz"]
            .map(|it| says(&[&["policy", tool, &self.path(it)], more].concat()));
        assert_eq!((&bundle.out, &bundle.err), (&folder.out, &folder.err));
        assert_eq!(bundle.code, folder.code);
        bundle
    }
}

#[test]
fn check_eval_and_explain_say_the_same_of_it() {
    let both = Both::new();
    let config = both.path("orders.yaml");
    let asked = ["--id", SHOP, "--config", &config, "--request", "GET /orders/7"];
    let asked = [&asked[..], &["--at", "2026-11-21T10:00:00Z"]].concat();
    let said = both.says("check", &["--config", &config]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let said = both.says("eval", &asked);
    assert!(said.out.contains("allowed on `GET /orders/{id}`"), "{said:?}");
    let said = both.says("explain", &asked);
    assert!(said.out.contains("sidegate/global.rego:"), "{said:?}");
}

#[test]
fn its_tests_are_run() {
    let both = Both::new();
    let bundle = both.path("orders.tar.gz");
    let said = says(&["policy", "test", &bundle, "--verbose"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("data.sidegate.global_test.test_shop_may_read: PASS"), "{said:?}");
    let less = says(&["policy", "test", &both.path("less.tgz")]);
    assert_eq!(less.code, Some(2), "{less:?}");

    let two = says(&["policy", "test", &bundle, &both.path("folder")]);
    assert_eq!(two.code, Some(2), "{two:?}");
    assert!(two.err.contains("a bundle is tested by itself"), "{two:?}");
}

#[test]
fn diff_and_replay_compare_it_with_a_folder() {
    let both = Both::new();
    let (folder, config) = (both.path("folder"), both.path("orders.yaml"));
    let (same, less) = (both.path("orders.tar.gz"), both.path("less.tgz"));
    let lost = |new: &str| {
        says(&["policy", "diff", &folder, new, "--config", &config, "--fail-on", "lost"])
    };
    assert_eq!(lost(&same).code, Some(0));
    let said = lost(&less);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains(SHOP), "{said:?}");

    let line = json!({
        "time": "2026-11-21T10:00:00.000Z", "request_id": "r", "direction": "inbound",
        "listener": "inbound", "protocol": "http", "decision": "allow", "reason": "allowed",
        "detail": null, "source": {"spiffe_id": SHOP, "trust_domain": "example.org",
            "method": "spiffe", "subject": null, "issuer": null, "token": null,
            "address": "10.0.0.1:1", "serial": "0a"},
        "destination": null, "local": "spiffe://example.org/prod/orders", "tenant": "acme",
        "cross_tenant": false, "route": "GET /orders/{id}", "required_scopes": "orders:read",
        "held_scopes": "orders:read", "roles": [], "method": "GET", "path": "/orders/7",
        "policy_revision": "abc",
    });
    let log = both.path("audit.jsonl");
    fs::write(&log, format!("{line}\n")).unwrap();
    let replayed = |policy: &str| -> Value {
        let tenant = ["--service-tenant", "acme", "--format", "json"];
        let said = says(&[&["policy", "replay", &log, "--policy", policy], &tenant[..]].concat());
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"))
    };
    let (same, less) = (replayed(&same), replayed(&less));
    assert_eq!((&same["replayed"], &same["lost"]), (&json!(1), &json!(0)), "{same:#}");
    assert_eq!((&less["replayed"], &less["lost"]), (&json!(1), &json!(1)), "{less:#}");
}

#[test]
fn what_is_no_bundle_is_told_with_its_name() {
    let both = Both::new();
    let broken = both.path("broken.tar.gz");
    fs::write(&broken, "no archive").unwrap();
    let (config, log) = (both.path("orders.yaml"), both.path("log"));
    fs::write(&log, "").unwrap();
    let request = ["--config", &config, "--id", SHOP, "--request", "GET /orders/7"];
    for (before, after) in [
        (&["test"][..], &[][..]),
        (&["check"], &[]),
        (&["eval"], &["--id", SHOP]),
        (&["explain"], &request),
        (&["diff", &both.path("folder")], &[]),
        (&["replay", &log, "--policy"], &[]),
    ] {
        let said = says(&[&["policy"], before, &[broken.as_str()], after].concat());
        assert_eq!(said.code, Some(2), "{before:?}: {said:?}");
        assert!(
            said.err.contains("broken.tar.gz` is not usable: the archive is broken"),
            "{said:?}"
        );
    }
}
