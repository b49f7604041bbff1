//! A sidecar's policy folder: who is granted what, and how it is edited while the sidecar runs.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

pub const GLOBAL: &str = r#"package sidegate.global

import rego.v1

default grant := {"roles": [], "scopes": [], "tenant": null}

grant := data.identities[input.peer.spiffe_id]

deny contains "blocked" if data.blocked[input.peer.spiffe_id]
"#;

/// A folder with a `global.rego` that looks identities up in `data.json`.
pub struct PolicyFolder {
    pub path: PathBuf,
    data: Value,
}

impl PolicyFolder {
    pub fn new(path: PathBuf, identities: Value) -> Self {
        std::fs::create_dir_all(&path).unwrap();
        let data = json!({"identities": identities, "blocked": {}, "roles": {
            "reader": {"scopes": ["orders:read", "stock:read"]},
        }});
        let folder = Self { path, data };
        folder.write("global.rego", GLOBAL);
        folder.save();
        folder
    }

    /// Replaces what an identity is granted.
    pub fn grant(&mut self, id: &str, grant: Value) {
        self.data["identities"][id] = grant;
        self.save();
    }

    pub fn block(&mut self, id: &str) {
        self.data["blocked"][id] = json!(true);
        self.save();
    }

    /// In one step, as deployment tools do it: a reader never sees half a file.
    pub fn write(&self, name: &str, text: &str) {
        let aside = self.path.with_extension("new");
        std::fs::write(&aside, text).unwrap();
        std::fs::rename(aside, self.file(name)).unwrap();
    }

    pub fn file(&self, name: &str) -> PathBuf {
        Path::new(&self.path).join(name)
    }

    fn save(&self) {
        self.write("data.json", &self.data.to_string());
    }
}
