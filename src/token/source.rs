//! The token that we present: read or asked for, and renewed well before it runs out.

use std::future::pending;

use super::credential::Tokens;
use super::endpoint::{TokenEndpoint, read_secret};
use super::failure::{Failure, shown};
use super::jws;
use super::renewal::{Obtain, Obtained, Plan, Renewal, World};
use super::settings::{EndpointAt, Present};
use super::verify::expiry_of;
use crate::files::{Follow, SecretFile};
use crate::identity::Identity;
use crate::secret::Secret;
use crate::tls::{self, RootsError};
use crate::web::Client;

/// Begins to follow `present` on the current tokio runtime, and returns at once.
pub fn tokens(present: Present, identity: &Identity) -> Result<Tokens, RootsError> {
    let (name, source) = Source::new(present, identity)?;
    let (renewal, tokens) = Renewal::new(name, source, World::REAL);
    drop(tokio::spawn(renewal.run()));
    Ok(tokens)
}

#[derive(Debug)]
enum Source {
    File(SecretFile, Follow),
    Given(Secret),
    /// With the files that go into a request, if there are any.
    Endpoint(Box<TokenEndpoint>, Option<Follow>),
}

impl Source {
    /// With a name for people.
    fn new(present: Present, identity: &Identity) -> Result<(String, Self), RootsError> {
        Ok(match present {
            Present::File(file) => {
                let follow = Follow::new(vec![file.path.clone()]);
                (format!("file {}", file.path.display()), Self::File(file, follow))
            }
            Present::Given { variable, token } => {
                (format!("environment variable {variable}"), Self::Given(token))
            }
            Present::Endpoint(settings) => {
                let client = Client::new(tls::roots(&settings.roots)?);
                let at = match &settings.at {
                    EndpointAt::Url(url) => format!("token endpoint {}", shown(url)),
                    EndpointAt::Discovery { issuer } => {
                        format!("token endpoint of {}", shown(issuer))
                    }
                };
                let name = match settings.client.id() {
                    Some(id) => format!("{at} as `{id}`"),
                    None => at,
                };
                let inputs = TokenEndpoint::inputs(&settings);
                let follow = (!inputs.is_empty()).then(|| Follow::new(inputs));
                let svids = identity.jwt_svids.clone();
                let endpoint = TokenEndpoint::new(client, *settings, svids);
                (name, Self::Endpoint(Box::new(endpoint), follow))
            }
        })
    }
}

impl Obtain for Source {
    async fn obtain(&mut self) -> Result<Obtained, Failure> {
        let token = match self {
            Self::Endpoint(endpoint, _) => return endpoint.ask().await,
            Self::File(file, _) => whole(read_secret(file).await?)?,
            Self::Given(token) => token.clone(),
        };
        let expires = expiry_of(token.expose());
        Ok(Obtained { token, expires })
    }

    async fn changed(&mut self) {
        match self {
            Self::File(_, follow) | Self::Endpoint(_, Some(follow)) => follow.changed().await,
            Self::Given(_) | Self::Endpoint(_, None) => pending().await,
        }
    }

    fn plan(&self) -> Plan {
        match self {
            Self::File(..) => Plan::OnChange,
            Self::Given(_) => Plan::Never,
            Self::Endpoint(..) => Plan::AheadOfEnd,
        }
    }
}

/// Whoever writes a file in place may be read half way through. Of an opaque token that cannot be
/// told; one that begins as all JWTs do must be one.
fn whole(token: Secret) -> Result<Secret, Failure> {
    if token.expose().starts_with("eyJ") && !jws::is_whole(token.expose()) {
        return Err(Failure::new("the token begins like a JWT and is none, or is half written"));
    }
    Ok(token)
}

#[cfg(test)]
mod tests;
