//! The file's keys for what is told to OPA's collectors. As in `file`, comments are for the operator.

use schemars::JsonSchema;
use serde::Deserialize;

use super::file_values::{Period, Size};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct DecisionLogFile {
    /// `https` address that takes OPA's decision logs: gzip-compressed JSON arrays, by POST.
    #[schemars(required, example = &"https://logs.example.com/logs")]
    pub url: Option<String>,
    /// PEM file of the authorities that vouch for the server. Default: the system's.
    #[schemars(example = &"/etc/sidegate/collector-ca.pem")]
    pub ca: Option<String>,
    /// File that holds a bearer token for the server, read anew for each use.
    #[schemars(example = &"/var/run/secrets/sidegate/collector-token")]
    pub token_file: Option<String>,
    /// Take `token_file` although others than its owner may read or write it.
    #[schemars(extend("default" = false))]
    pub danger_token_readable_by_others: Option<bool>,
    /// `name=value`, in every event beside `id` and `version`.
    #[schemars(with = "Option<Vec<String>>", example = ["app=orders"])]
    pub labels: Option<Vec<Option<String>>>,
    /// How long a decision waits at most before it is uploaded.
    #[schemars(with = "Option<Period>", extend("default" = "10s"))]
    pub every: Option<String>,
    /// Size of one upload, compressed.
    #[schemars(with = "Option<Size>", extend("default" = "32KiB"))]
    pub upload: Option<String>,
    /// Memory for what waits. When it is full the oldest decisions are given up, and counted.
    #[schemars(with = "Option<Size>", extend("default" = "8MiB"))]
    pub buffer: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct StatusFile {
    /// `https` address that takes OPA's status reports, by POST.
    #[schemars(required, example = &"https://control.example.com/status")]
    pub url: Option<String>,
    /// PEM file of the authorities that vouch for the server. Default: the system's.
    #[schemars(example = &"/etc/sidegate/collector-ca.pem")]
    pub ca: Option<String>,
    /// File that holds a bearer token for the server, read anew for each use.
    #[schemars(example = &"/var/run/secrets/sidegate/collector-token")]
    pub token_file: Option<String>,
    /// Take `token_file` although others than its owner may read or write it.
    #[schemars(extend("default" = false))]
    pub danger_token_readable_by_others: Option<bool>,
    /// `name=value`, in every report beside `id` and `version`.
    #[schemars(with = "Option<Vec<String>>", example = ["app=orders"])]
    pub labels: Option<Vec<Option<String>>>,
    /// How often a report is sent while nothing changes. Whatever changes is told at once.
    #[schemars(with = "Option<Period>", extend("default" = "60s"))]
    pub every: Option<String>,
}
