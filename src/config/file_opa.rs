//! The keys on bundles word for word: where they come from, and who has to have signed them.
//!
//! Like `file`, of which these are parts: the comments on the fields are the operator's reference.

use schemars::JsonSchema;
use serde::Deserialize;

use super::file_values::Period;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Bundle")]
pub(super) struct BundleFile {
    /// `https` address of the bundle, as a bundle server of OPA's serves it. This or `file`.
    #[schemars(example = &"https://bundles.example.com/orders.tar.gz")]
    pub url: Option<String>,
    /// Archive (`.tar.gz`) on disk, followed as it changes.
    #[schemars(example = &"/etc/sidegate/orders.tar.gz")]
    pub file: Option<String>,
    /// Name in the log, metrics and status reports: lower-case letters, digits and `-`, at most
    /// 63. Default: `policy`, and `shadow` for the shadow policy.
    #[schemars(example = &"orders")]
    pub name: Option<String>,
    /// PEM file of the authorities that vouch for the bundle server. Default: the system's.
    #[schemars(example = &"/etc/sidegate/bundles-ca.pem")]
    pub ca: Option<String>,
    /// File that holds a token for the bundle server, read anew for each request. Sent only once
    /// the server has proven its name.
    #[schemars(example = &"/var/run/secrets/sidegate/bundle-token")]
    pub token_file: Option<String>,
    /// Take `token_file` although others than its owner may read or write it.
    #[schemars(extend("default" = false))]
    pub danger_token_readable_by_others: Option<bool>,
    /// Who has to have signed the bundle. This or `danger_accept_unsigned`.
    #[schemars(extend("default" = null))]
    pub signed_by: Option<SignedByFile>,
    /// Believe whatever the server or the file says, and look at no signature.
    #[schemars(extend("default" = false))]
    pub danger_accept_unsigned: Option<bool>,
    /// How often the server is asked.
    pub poll: Option<PollFile>,
    /// How long the server may be asked to wait for news, where it can: `1s` to `15m`. News are
    /// then in force at once. Default: it is not asked to.
    #[schemars(with = "Option<Period>", example = &"5m")]
    pub long_poll: Option<String>,
    /// Directory in which the last good bundle is kept, for a start without the server. Signed
    /// bundles are verified again when they are read.
    #[schemars(example = &"/var/lib/sidegate")]
    pub keep: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct SignedByFile {
    /// PEM file with the public key, read anew for each bundle. This or `jwks`.
    #[schemars(example = &"/etc/sidegate/bundle-key.pem")]
    pub key: Option<String>,
    /// JWK set with the public keys: an `https` address, or a file. Read anew as it changes.
    #[schemars(example = &"https://bundles.example.com/keys.json")]
    pub jwks: Option<String>,
    /// PEM file of the authorities that vouch for the server of `jwks`. Default: the system's.
    #[schemars(example = &"/etc/sidegate/bundles-ca.pem")]
    pub ca: Option<String>,
    /// The one algorithm that is accepted. Default: any of RS, PS and ES that the key fits.
    #[schemars(example = &"RS256")]
    pub algorithm: Option<String>,
    /// Name of the key. A signature that gives another name is refused.
    #[schemars(example = &"bundles-2026")]
    pub key_id: Option<String>,
    /// What the signature has to be for, by its claim `scope`. Default: no scope.
    #[schemars(example = &"production")]
    pub scope: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct PollFile {
    /// Time from one request to the next, less up to a tenth at random: `1s` to `24h`.
    #[schemars(with = "Option<Period>", extend("default" = "60s"))]
    pub every: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct ShadowFile {
    /// Directory of policies, a single `.rego` file, or a bundle (`.tar.gz`). This or `bundle`.
    #[schemars(example = &"/etc/sidegate/policies-next")]
    pub policy: Option<String>,
    /// A bundle, from a server or from a file.
    #[schemars(extend("default" = null))]
    pub bundle: Option<BundleFile>,
}
