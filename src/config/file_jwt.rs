//! The keys on machine tokens word for word: whose are believed, and where our own come from.
//!
//! Like `file`, of which these are parts: the comments on the fields are the operator's reference.

use schemars::JsonSchema;
use serde::Deserialize;

use super::file_values::{OneOrSeveral, OneOrSeveralSchema, Period};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct JwtFile {
    /// Issuers whose machine tokens are believed, each by its own keys and rules.
    #[schemars(with = "Option<Vec<IssuerFile>>")]
    pub issuers: Option<Vec<Option<IssuerFile>>>,
    /// Accept JWT-SVIDs, too: of our own trust domain and those of `identity.federates_with`.
    pub svid: Option<SvidFile>,
    /// The token that outbound listeners with `jwt` present, unless they say otherwise.
    #[schemars(extend("default" = null))]
    pub present: Option<PresentFile>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct IssuerFile {
    /// The `iss` claim of its tokens, letter for letter.
    #[schemars(required, example = &"https://auth.example.com")]
    pub issuer: Option<String>,
    /// A token must name one of these in `aud`: what the issuer calls this service.
    #[schemars(required, with = "OneOrSeveralSchema", example = &"orders")]
    pub audience: Option<OneOrSeveral>,
    /// Where its keys are: `discovery` (OpenID Connect Discovery), the address of a JWK set, or a
    /// file with one.
    #[schemars(default, with = "KeysSchema", extend("default" = "discovery"))]
    pub keys: Option<KeysFile>,
    /// PEM file of the authorities that vouch for the issuer's server. Default: the system's.
    #[schemars(example = &"/etc/sidegate/issuer-ca.pem")]
    pub ca: Option<String>,
    /// Signature algorithms that are accepted from this issuer.
    #[schemars(
        with = "Option<Vec<AlgorithmName>>",
        extend("default" = [
            "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
        ])
    )]
    pub algorithms: Option<Vec<Option<String>>>,
    /// Longest time from `iat` to `exp`: `1s` to `1h`.
    #[schemars(with = "Option<Period>", extend("default" = "1h"))]
    pub max_lifetime: Option<String>,
    /// How long the last good keys serve while the issuer cannot be reached: `1m` to `168h`.
    #[schemars(with = "Option<Period>", extend("default" = "24h"))]
    pub keys_max_age: Option<String>,
    /// Tenants that it may speak for. Default: any.
    #[schemars(with = "Option<Vec<String>>", example = ["acme"])]
    pub tenants: Option<Vec<Option<String>>>,
    /// Whether its tokens may act in other tenants, by the claim `cross_tenant: true`.
    #[schemars(extend("default" = false))]
    pub cross_tenant: Option<bool>,
    /// Longest time from `iat` to `exp` of a token that does: `1s` to `1h`. Only with
    /// `cross_tenant: true`. Default: `15m`.
    #[schemars(with = "Option<Period>")]
    pub cross_tenant_max_lifetime: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum KeysFile {
    Word(KeysWord),
    Source(KeysSourceFile),
}

/// [`KeysFile`]: schema only.
#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
#[expect(dead_code, reason = "only its schema is of use")]
enum KeysSchema {
    Word(KeysWord),
    Source(KeysSourceFile),
    Nothing,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum KeysWord {
    Discovery,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct KeysSourceFile {
    /// `https` address of the issuer's JWK set.
    #[schemars(example = &"https://auth.example.com/jwks.json")]
    pub url: Option<String>,
    /// File with the issuer's JWK set, read anew when it changes.
    #[schemars(example = &"/etc/sidegate/jwks.json")]
    pub file: Option<String>,
}

/// Names of algorithms: schema only.
#[derive(JsonSchema)]
#[schemars(inline)]
#[expect(dead_code, reason = "only its schema is of use")]
enum AlgorithmName {
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "RS384")]
    Rs384,
    #[serde(rename = "RS512")]
    Rs512,
    #[serde(rename = "PS256")]
    Ps256,
    #[serde(rename = "PS384")]
    Ps384,
    #[serde(rename = "PS512")]
    Ps512,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "ES384")]
    Es384,
    #[serde(rename = "ES512")]
    Es512,
    #[serde(rename = "EdDSA")]
    EdDsa,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct SvidFile {
    /// A JWT-SVID must name one of these in `aud`: what callers call this service.
    #[schemars(required, with = "OneOrSeveralSchema", example = &"orders")]
    pub audience: Option<OneOrSeveral>,
    /// Longest time that a JWT-SVID may live: `1s` to `1h`.
    #[schemars(with = "Option<Period>", extend("default" = "1h"))]
    pub max_lifetime: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Present")]
pub(super) struct PresentFile {
    /// File that holds the token, read anew when it changes.
    #[schemars(example = &"/var/run/secrets/sidegate/token")]
    pub file: Option<String>,
    /// Take `file` although others than its owner may read or write it.
    #[schemars(extend("default" = false))]
    pub danger_readable_by_others: Option<bool>,
    /// Name of the environment variable that holds the token. Read once, at start.
    #[schemars(example = &"ORDERS_TOKEN")]
    pub env: Option<String>,
    /// Ask a token endpoint in our own name (RFC 6749 section 4.4).
    #[schemars(extend("default" = null))]
    pub client_credentials: Option<ClientCredentialsFile>,
    /// Exchange one token for another at a token endpoint (RFC 8693).
    pub token_exchange: Option<TokenExchangeFile>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct ClientCredentialsFile {
    /// Issuer whose discovery document names the token endpoint. This or `token_endpoint`.
    #[schemars(example = &"https://auth.example.com")]
    pub issuer: Option<String>,
    /// `https` address of the token endpoint.
    #[schemars(example = &"https://auth.example.com/oauth2/token")]
    pub token_endpoint: Option<String>,
    /// PEM file of the authorities that vouch for the server. Default: the system's.
    #[schemars(example = &"/etc/sidegate/issuer-ca.pem")]
    pub ca: Option<String>,
    /// Our name at the issuer. May be left out beside an `assertion`.
    #[schemars(example = &"orders")]
    pub client_id: Option<String>,
    /// File that holds our secret at the issuer, read anew for each use. This or `assertion`.
    #[schemars(example = &"/var/run/secrets/sidegate/client-secret")]
    pub client_secret_file: Option<String>,
    /// Take `client_secret_file` although others than its owner may read or write it.
    #[schemars(extend("default" = false))]
    pub danger_client_secret_readable_by_others: Option<bool>,
    /// How the secret is sent: `basic`, in a header, or `post`, in the body. Default: `basic`.
    pub client_secret_in: Option<SecretInFile>,
    /// A token that proves who we are, in place of a secret (RFC 7523).
    #[schemars(extend("default" = null))]
    pub assertion: Option<ProofFile>,
    /// Kind of the assertion. Default: `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`.
    pub assertion_type: Option<String>,
    /// Scopes to ask for, as the issuer calls them.
    #[schemars(with = "Option<Vec<String>>", example = ["billing:write"])]
    pub scope: Option<Vec<Option<String>>>,
    /// Audience to ask for, as the issuer calls it.
    #[schemars(example = &"billing")]
    pub audience: Option<String>,
    /// URI of the service that the token is for (RFC 8707).
    #[schemars(example = &"https://billing.example.com")]
    pub resource: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct TokenExchangeFile {
    /// Issuer whose discovery document names the token endpoint. This or `token_endpoint`.
    #[schemars(example = &"https://auth.example.com")]
    pub issuer: Option<String>,
    /// `https` address of the token endpoint.
    #[schemars(example = &"https://auth.example.com/oauth2/token")]
    pub token_endpoint: Option<String>,
    /// PEM file of the authorities that vouch for the server. Default: the system's.
    #[schemars(example = &"/etc/sidegate/issuer-ca.pem")]
    pub ca: Option<String>,
    /// The token that is exchanged.
    #[schemars(required, example = &"{ file: /var/run/secrets/tokens/sidegate }")]
    pub subject_token: Option<ProofFile>,
    /// Kind of the token that is exchanged.
    #[schemars(extend("default" = "urn:ietf:params:oauth:token-type:jwt"))]
    pub subject_token_type: Option<String>,
    /// Our name at the issuer, if it asks for one.
    #[schemars(example = &"orders")]
    pub client_id: Option<String>,
    /// File that holds our secret at the issuer, if it asks for one. Read anew for each use.
    #[schemars(example = &"/var/run/secrets/sidegate/client-secret")]
    pub client_secret_file: Option<String>,
    /// Take `client_secret_file` although others than its owner may read or write it.
    #[schemars(extend("default" = false))]
    pub danger_client_secret_readable_by_others: Option<bool>,
    /// How the secret is sent: `basic`, in a header, or `post`, in the body. Default: `basic`.
    pub client_secret_in: Option<SecretInFile>,
    /// A token that proves who we are, in place of a secret (RFC 7523).
    #[schemars(extend("default" = null))]
    pub assertion: Option<ProofFile>,
    /// Kind of the assertion. Default: `urn:ietf:params:oauth:client-assertion-type:jwt-bearer`.
    pub assertion_type: Option<String>,
    /// Scopes to ask for, as the issuer calls them.
    #[schemars(with = "Option<Vec<String>>", example = ["billing:write"])]
    pub scope: Option<Vec<Option<String>>>,
    /// Audience to ask for, as the issuer calls it.
    #[schemars(example = &"billing")]
    pub audience: Option<String>,
    /// URI of the service that the token is for (RFC 8707).
    #[schemars(example = &"https://billing.example.com")]
    pub resource: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(super) enum SecretInFile {
    Basic,
    Post,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct ProofFile {
    /// File that holds it, such as a projected service-account token. Read anew for each use.
    #[schemars(example = &"/var/run/secrets/tokens/sidegate")]
    pub file: Option<String>,
    /// Take `file` although others than its owner may read or write it.
    #[schemars(extend("default" = false))]
    pub danger_readable_by_others: Option<bool>,
    /// A JWT-SVID of our own, by the Workload API.
    pub jwt_svid: Option<JwtSvidFile>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct JwtSvidFile {
    /// Whom it is for, as the issuer calls itself.
    #[schemars(required, example = &"https://auth.example.com")]
    pub audience: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct CertificateFile {
    /// PEM file of the certificate and what is between it and its authority, leaf first.
    #[schemars(required, example = &"/etc/sidegate/tls/tls.crt")]
    pub chain: Option<String>,
    /// PEM file of its private key.
    #[schemars(required, example = &"/etc/sidegate/tls/tls.key")]
    pub key: Option<String>,
    /// Take `key` although others than its owner may read or write it.
    #[schemars(extend("default" = false))]
    pub danger_key_readable_by_others: Option<bool>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct ServerFile {
    /// DNS name or IP address that the server's certificate must be good for. Default: the host
    /// of `connect_to`.
    #[schemars(example = &"billing.example.com")]
    pub name: Option<String>,
    /// PEM file of the authorities that vouch for the server. Default: the system's.
    #[schemars(example = &"/etc/sidegate/server-ca.pem")]
    pub ca: Option<String>,
    /// Also take the server's name and certificate for proof when it shows no SVID while we have
    /// one. Calls then go on while only the server has lost its SVID; whoever can get a certificate
    /// for that name can then stand in for it at any time, not only while we have no SVID.
    #[schemars(extend("default" = false))]
    pub also_without_svid: Option<bool>,
}
