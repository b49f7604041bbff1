//! `present`: where the token comes from that we show to others.

use super::file_jwt::{
    ClientCredentialsFile, PresentFile, ProofFile, SecretInFile, TokenExchangeFile,
};
use super::problems::Problems;
use super::reading::{Surroundings, at_most_one, each, exactly_one, optional};
use super::token_values;
use super::tree::Place;
use crate::token::{ClientAuth, Endpoint, EndpointAt, Grant, Present, Proof};

/// RFC 7523 section 2.2.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

pub(super) fn present(
    file: &PresentFile,
    at: &Place<'_>,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Present> {
    let danger = file.danger_readable_by_others;
    beside("file", "danger_readable_by_others", danger == Some(true), at, problems);
    let ways = ["file", "env", "client_credentials", "token_exchange"];
    let hint = "name one, such as `file: /var/run/secrets/sidegate/token`";
    match exactly_one(&ways, at, hint, problems)? {
        "file" => {
            let place = at.key("file");
            around.secret_file(file.file.as_deref(), danger, &place, problems).map(Present::File)
        }
        "env" => {
            let place = at.key("env");
            let variable = token_values::variable(file.env.as_deref()?);
            let variable = place.accept(problems, variable)?;
            let token = place.accept(problems, around.environment.token(&variable))?;
            Some(Present::Given { variable, token })
        }
        "client_credentials" => {
            let place = at.key("client_credentials");
            let asked = Asked::from(file.client_credentials.as_ref()?);
            let client = client(&asked, true, &place, around, problems);
            let grant = Some(Grant::ClientCredentials);
            endpoint(&asked, client, grant, &place, around, problems)
        }
        _ => {
            let place = at.key("token_exchange");
            let file = file.token_exchange.as_ref()?;
            let asked = Asked::from(file);
            let client = client(&asked, false, &place, around, problems);
            let grant = exchange(file, &place, around, problems);
            endpoint(&asked, client, grant, &place, around, problems)
        }
    }
}

/// Reports a key that says more about another, which is not there.
fn beside(needed: &str, key: &str, given: bool, at: &Place<'_>, problems: &mut Problems) {
    if given && !at.key(needed).is_written() {
        let message = format!("means nothing without `{needed}`");
        at.key(key).report(problems, message, format!("add `{needed}`, or remove it"));
    }
}

/// What both kinds of request to a token endpoint say.
struct Asked<'a> {
    issuer: Option<&'a str>,
    token_endpoint: Option<&'a str>,
    ca: Option<&'a str>,
    client_id: Option<&'a str>,
    client_secret_file: Option<&'a str>,
    danger_client_secret_readable_by_others: Option<bool>,
    client_secret_in: Option<SecretInFile>,
    assertion: Option<&'a ProofFile>,
    assertion_type: Option<&'a str>,
    scope: &'a [Option<String>],
    audience: Option<&'a str>,
    resource: Option<&'a str>,
}

impl<'a> From<&'a ClientCredentialsFile> for Asked<'a> {
    fn from(file: &'a ClientCredentialsFile) -> Self {
        Self {
            issuer: file.issuer.as_deref(),
            token_endpoint: file.token_endpoint.as_deref(),
            ca: file.ca.as_deref(),
            client_id: file.client_id.as_deref(),
            client_secret_file: file.client_secret_file.as_deref(),
            danger_client_secret_readable_by_others: file.danger_client_secret_readable_by_others,
            client_secret_in: file.client_secret_in,
            assertion: file.assertion.as_ref(),
            assertion_type: file.assertion_type.as_deref(),
            scope: file.scope.as_deref().unwrap_or_default(),
            audience: file.audience.as_deref(),
            resource: file.resource.as_deref(),
        }
    }
}

impl<'a> From<&'a TokenExchangeFile> for Asked<'a> {
    fn from(file: &'a TokenExchangeFile) -> Self {
        Self {
            issuer: file.issuer.as_deref(),
            token_endpoint: file.token_endpoint.as_deref(),
            ca: file.ca.as_deref(),
            client_id: file.client_id.as_deref(),
            client_secret_file: file.client_secret_file.as_deref(),
            danger_client_secret_readable_by_others: file.danger_client_secret_readable_by_others,
            client_secret_in: file.client_secret_in,
            assertion: file.assertion.as_ref(),
            assertion_type: file.assertion_type.as_deref(),
            scope: file.scope.as_deref().unwrap_or_default(),
            audience: file.audience.as_deref(),
            resource: file.resource.as_deref(),
        }
    }
}

fn endpoint(
    asked: &Asked<'_>,
    client: Option<ClientAuth>,
    grant: Option<Grant>,
    at: &Place<'_>,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Present> {
    let found = endpoint_at(asked, at, problems);
    let roots = around.roots(asked.ca, at, problems);
    let scope = each(asked.scope, &at.key("scope"), problems, token_values::asked_scope);
    let audience = optional(asked.audience, &at.key("audience"), problems, token_values::name);
    let resource = optional(asked.resource, &at.key("resource"), problems, token_values::uri);
    Some(Present::Endpoint(Box::new(Endpoint {
        at: found?,
        roots: roots?,
        client: client?,
        grant: grant?,
        scope: scope?,
        audience: audience?,
        resource: resource?,
    })))
}

fn endpoint_at(asked: &Asked<'_>, at: &Place<'_>, problems: &mut Problems) -> Option<EndpointAt> {
    let hint = "add `issuer: https://auth.example.com`, or the address as `token_endpoint`";
    match exactly_one(&["issuer", "token_endpoint"], at, hint, problems)? {
        "issuer" => {
            let issuer = token_values::discoverable(asked.issuer?);
            let issuer = at.key("issuer").accept(problems, issuer)?;
            Some(EndpointAt::Discovery { issuer })
        }
        _ => {
            let url = token_values::https_url(asked.token_endpoint?);
            at.key("token_endpoint").accept(problems, url).map(EndpointAt::Url)
        }
    }
}

/// How we prove to be the client; `needed` where nothing else proves who asks.
fn client(
    asked: &Asked<'_>,
    needed: bool,
    at: &Place<'_>,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<ClientAuth> {
    const SECRET: &str = "client_secret_file";
    let danger = asked.danger_client_secret_readable_by_others;
    let danger_key = "danger_client_secret_readable_by_others";
    beside(SECRET, danger_key, danger == Some(true), at, problems);
    beside(SECRET, "client_secret_in", asked.client_secret_in.is_some(), at, problems);
    beside("assertion", "assertion_type", asked.assertion_type.is_some(), at, problems);
    let client_id =
        optional(asked.client_id, &at.key("client_id"), problems, token_values::client_id);
    let ways = [SECRET, "assertion"];
    let way = if needed {
        let hint = "add `client_secret_file: /path`, or `assertion: { file: /path }`";
        Some(exactly_one(&ways, at, hint, problems)?)
    } else {
        at_most_one(&ways, at, problems)?
    };
    let Some(way) = way else { return Some(ClientAuth::None { client_id: client_id? }) };
    if way == SECRET {
        let place = at.key(SECRET);
        let secret = around.secret_file(asked.client_secret_file, danger, &place, problems);
        let Some(client_id) = client_id? else {
            let hint = "add `client_id`: the name that the secret belongs to";
            at.key("client_id").report(problems, "is missing beside `client_secret_file`", hint);
            return None;
        };
        let secret = secret?;
        return Some(match asked.client_secret_in {
            None | Some(SecretInFile::Basic) => ClientAuth::SecretBasic { client_id, secret },
            Some(SecretInFile::Post) => ClientAuth::SecretPost { client_id, secret },
        });
    }
    let assertion = proof(asked.assertion, &at.key("assertion"), around, problems);
    let place = at.key("assertion_type");
    let assertion_type = optional(asked.assertion_type, &place, problems, token_values::uri)?;
    Some(ClientAuth::Assertion {
        client_id: client_id?,
        assertion: assertion?,
        assertion_type: assertion_type.unwrap_or_else(|| JWT_BEARER.to_owned()),
    })
}

fn exchange(
    file: &TokenExchangeFile,
    at: &Place<'_>,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Grant> {
    let subject = proof(file.subject_token.as_ref(), &at.key("subject_token"), around, problems);
    let subject_type = token_values::uri(file.subject_token_type.as_deref()?);
    let subject_type = at.key("subject_token_type").accept(problems, subject_type);
    Some(Grant::Exchange { subject: subject?, subject_type: subject_type? })
}

fn proof(
    file: Option<&ProofFile>,
    at: &Place<'_>,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Proof> {
    let file = file?;
    let danger = file.danger_readable_by_others;
    beside("file", "danger_readable_by_others", danger == Some(true), at, problems);
    let hint = "add `file: /path`, or `jwt_svid: { audience: https://auth.example.com }`";
    match exactly_one(&["file", "jwt_svid"], at, hint, problems)? {
        "file" => {
            let place = at.key("file");
            around.secret_file(file.file.as_deref(), danger, &place, problems).map(Proof::File)
        }
        _ => {
            let place = at.key("jwt_svid");
            around.needs_agent(&place, problems);
            let audience = token_values::name(file.jwt_svid.as_ref()?.audience.as_deref()?);
            let audience = place.key("audience").accept(problems, audience)?;
            Some(Proof::JwtSvid { audience })
        }
    }
}
