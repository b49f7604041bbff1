//! Asking a token endpoint: client credentials (RFC 6749 section 4.4, RFC 7523) and token exchange
//! (RFC 8693).

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use zeroize::Zeroizing;

use super::bearer;
use super::discovery::Discovery;
use super::failure::Failure;
use super::renewal::Obtained;
use super::settings::{ClientAuth, Endpoint, EndpointAt, Grant, Proof};
use super::verify::expiry_of;
use crate::files::SecretFile;
use crate::identity::JwtSvids;
use crate::secret::Secret;
use crate::web::{Answer, Basic, Client, HttpsUrl};

const ANSWER_MOST: usize = 64 * 1024;
const SECRET_MOST: usize = 16 * 1024;
/// A token that lives longer is renewed as if it did not.
const LIFE_MOST: Duration = Duration::from_secs(24 * 3600);
/// Of a token that does not say how long it lives, nor the answer that brings it.
const LIFE_UNTOLD: Duration = Duration::from_secs(300);
/// The longest code that is shown; those of the standards are shorter.
const CODE_MOST: usize = 40;

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// One endpoint, asked in one way.
#[derive(Debug)]
pub(super) struct TokenEndpoint {
    client: Client,
    at: At,
    settings: Endpoint,
    svids: JwtSvids,
}

#[derive(Debug)]
enum At {
    Url(HttpsUrl),
    Discovery(Box<Discovery>),
}

/// What is posted. Everything in it is kept as secret as its most secret part.
struct Form {
    fields: Vec<(&'static str, Secret)>,
    basic: Option<Basic>,
}

/// RFC 6749 section 5.1.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    token_type: String,
    expires_in: Option<Seconds>,
}

/// A number, which some servers write as a string.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(u64),
    Text(String),
}

/// RFC 6749 section 5.2. The description is left alone: it may quote what was sent.
#[derive(Deserialize)]
struct Refused {
    error: String,
}

impl TokenEndpoint {
    pub(super) fn new(client: Client, settings: Endpoint, svids: JwtSvids) -> Self {
        let at = match &settings.at {
            EndpointAt::Url(url) => At::Url(url.clone()),
            EndpointAt::Discovery { issuer } => {
                At::Discovery(Box::new(Discovery::at(client.clone(), issuer)))
            }
        };
        Self { client, at, settings, svids }
    }

    /// Files that go into a request.
    pub(super) fn inputs(settings: &Endpoint) -> Vec<PathBuf> {
        let proof = |proof: &Proof| match proof {
            Proof::File(file) => Some(file.path.clone()),
            Proof::JwtSvid { .. } => None,
        };
        let by_client = match &settings.client {
            ClientAuth::None { .. } => None,
            ClientAuth::SecretBasic { secret, .. } | ClientAuth::SecretPost { secret, .. } => {
                Some(secret.path.clone())
            }
            ClientAuth::Assertion { assertion, .. } => proof(assertion),
        };
        let by_grant = match &settings.grant {
            Grant::ClientCredentials => None,
            Grant::Exchange { subject, .. } => proof(subject),
        };
        by_client.into_iter().chain(by_grant).collect()
    }

    /// One request, or two where the endpoint must be found first.
    pub(super) async fn ask(&mut self) -> Result<Obtained, Failure> {
        // First, so that nobody is bothered while a file of ours is missing.
        let form = self.form().await?;
        let url = match &mut self.at {
            At::Url(url) => url.clone(),
            At::Discovery(discovery) => discovery.token_endpoint().await?,
        };
        let fields: Vec<_> = form.fields.iter().map(|(name, it)| (*name, it.expose())).collect();
        let answer = self.client.post_form(&url, &fields, form.basic.as_ref(), ANSWER_MOST).await;
        let obtained = match answer {
            Ok(answer) => read(&url, answer, SystemTime::now()),
            Err(error) => Err(error.into()),
        };
        if obtained.is_err()
            && let At::Discovery(discovery) = &mut self.at
        {
            discovery.forget();
        }
        obtained
    }

    async fn form(&self) -> Result<Form, Failure> {
        let Endpoint { client, grant, scope, audience, resource, .. } = &self.settings;
        let mut fields = Vec::new();
        let mut add = |name: &'static str, value: Secret| fields.push((name, value));
        let open = |text: &str| Secret::new(text.to_owned());
        match grant {
            Grant::ClientCredentials => add("grant_type", open("client_credentials")),
            Grant::Exchange { subject, subject_type } => {
                add("grant_type", open(EXCHANGE));
                add("subject_token", self.proof("subject token", subject).await?);
                add("subject_token_type", open(subject_type));
                add("requested_token_type", open(ACCESS_TOKEN));
            }
        }
        if !scope.is_empty() {
            add("scope", open(&scope.join(" ")));
        }
        if let Some(audience) = audience {
            add("audience", open(audience));
        }
        if let Some(resource) = resource {
            add("resource", open(resource));
        }
        let mut basic = None;
        match client {
            ClientAuth::None { client_id } => {
                if let Some(client_id) = client_id {
                    add("client_id", open(client_id));
                }
            }
            ClientAuth::SecretBasic { client_id, secret } => {
                let password = read_secret(secret).await?;
                basic = Some(Basic { user: client_id.clone(), password });
            }
            ClientAuth::SecretPost { client_id, secret } => {
                add("client_id", open(client_id));
                add("client_secret", read_secret(secret).await?);
            }
            ClientAuth::Assertion { client_id, assertion, assertion_type } => {
                if let Some(client_id) = client_id {
                    add("client_id", open(client_id));
                }
                add("client_assertion_type", open(assertion_type));
                add("client_assertion", self.proof("client assertion", assertion).await?);
            }
        }
        Ok(Form { fields, basic })
    }

    /// Made or read anew for each use: some endpoints take a proof only once.
    async fn proof(&self, what: &str, proof: &Proof) -> Result<Secret, Failure> {
        let token = match proof {
            Proof::File(file) => read_secret(file).await?,
            Proof::JwtSvid { audience } => {
                let svid = self.svids.fetch(audience).await;
                svid.map_err(|error| Failure::new(error.to_string()))?.token
            }
        };
        bearer::check(&token).map_err(|wrong| Failure::new(format!("the {what}: {wrong}")))?;
        Ok(token)
    }
}

/// Reads off the runtime's thread.
pub(super) async fn read_secret(file: &SecretFile) -> Result<Secret, Failure> {
    let file = file.clone();
    let read = tokio::task::spawn_blocking(move || file.read(SECRET_MOST)).await;
    Ok(read.map_err(|_panic| Failure::new("the file was not read"))??)
}

fn read(url: &HttpsUrl, answer: Answer, now: SystemTime) -> Result<Obtained, Failure> {
    let Answer { status, body, retry_after, .. } = answer;
    let body = Zeroizing::new(body);
    if status != 200 {
        let failure = Failure::status(url, status, retry_after);
        return Err(match code(&body) {
            Some(code) => Failure { cause: format!("{}: `{code}`", failure.cause), ..failure },
            None => failure,
        });
    }
    // Errors of the parser quote what they read, which is a token.
    let granted: Granted = serde_json::from_slice(&body)
        .map_err(|_quotes| Failure::new("the token endpoint's answer holds no access token"))?;
    let token = Secret::new(granted.access_token);
    if !granted.token_type.eq_ignore_ascii_case("bearer") {
        return Err(Failure::new("the token endpoint gave a token that is no bearer token"));
    }
    bearer::check(&token)?;
    let told = match granted.expires_in {
        None => None,
        Some(Seconds::Number(seconds)) => Some(seconds),
        Some(Seconds::Text(text)) => Some(text.parse().map_err(|_not_a_number| {
            Failure::new("`expires_in` of the token endpoint's answer is no number")
        })?),
    };
    let told = told.map(|seconds| now + Duration::from_secs(seconds).min(LIFE_MOST));
    let own = expiry_of(token.expose()).map(|it| it.min(now + LIFE_MOST));
    let expires = told.into_iter().chain(own).min().unwrap_or(now + LIFE_UNTOLD);
    Ok(Obtained { token, expires: Some(expires) })
}

/// Only what looks like a code of a standard is shown.
fn code(body: &[u8]) -> Option<String> {
    let Refused { error } = serde_json::from_slice(body).ok()?;
    let known = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    ((1..=CODE_MOST).contains(&error.len()) && error.bytes().all(known)).then_some(error)
}

#[cfg(test)]
mod tests;
