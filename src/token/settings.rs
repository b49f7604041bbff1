//! Whose tokens are believed, and where our own come from: as configured.

use std::path::PathBuf;
use std::time::Duration;

use crate::files::SecretFile;
use crate::secret::Secret;
use crate::tls::RootsFrom;
use crate::web::HttpsUrl;

/// One issuer of machine tokens.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// The `iss` claim, compared as it is written.
    pub issuer: String,
    /// A token must name one of these in `aud`. Not empty.
    pub audience: Vec<String>,
    pub keys: KeysFrom,
    /// By whom the issuer's server is vouched for.
    pub roots: RootsFrom,
    /// Of the asymmetric algorithms that we know. Not empty.
    pub algorithms: Vec<Algorithm>,
    /// From `iat` to `exp`, an hour at most.
    pub max_lifetime: Duration,
    /// How long the last good keys serve while the issuer cannot be reached.
    pub keys_max_age: Duration,
    /// Tenants that it may speak for; `None` is any.
    pub tenants: Option<Vec<String>>,
    /// How long a token with `cross_tenant: true` may live; `None`: this issuer may not give that.
    pub cross_tenant_max_lifetime: Option<Duration>,
}

/// Where an issuer's keys are.
#[derive(Debug, Clone)]
pub enum KeysFrom {
    /// `jwks_uri` of `<issuer>/.well-known/openid-configuration` (OpenID Connect Discovery 1.0).
    Discovery,
    Url(HttpsUrl),
    File(PathBuf),
}

/// How JWT-SVIDs are judged.
#[derive(Debug, Clone)]
pub struct Svids {
    /// A token must name one of these in `aud`. Not empty.
    pub audience: Vec<String>,
    pub max_lifetime: Duration,
}

/// Signature algorithms of RFC 7518 and RFC 8037. There is no `none` and nothing symmetric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    EdDsa,
}

/// Where the token that we present comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Present {
    File(SecretFile),
    /// From an environment variable, as it was at start.
    Given {
        variable: String,
        token: Secret,
    },
    Endpoint(Box<Endpoint>),
}

/// A token endpoint (RFC 6749 section 3.2), and how we ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub at: EndpointAt,
    pub roots: RootsFrom,
    pub client: ClientAuth,
    pub grant: Grant,
    pub scope: Vec<String>,
    pub audience: Option<String>,
    /// RFC 8707.
    pub resource: Option<String>,
}

/// How the endpoint is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointAt {
    Url(HttpsUrl),
    /// `token_endpoint` of the issuer's discovery document.
    Discovery {
        issuer: HttpsUrl,
    },
}

/// How we prove to be the client that we say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientAuth {
    /// Only for a token exchange: the subject token is the proof.
    None {
        client_id: Option<String>,
    },
    SecretBasic {
        client_id: String,
        secret: SecretFile,
    },
    SecretPost {
        client_id: String,
        secret: SecretFile,
    },
    /// RFC 7523 section 2.2.
    Assertion {
        client_id: Option<String>,
        assertion: Proof,
        assertion_type: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    ClientCredentials,
    /// RFC 8693.
    Exchange {
        subject: Proof,
        subject_type: String,
    },
}

/// A token by which we get another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// Such as a projected service-account token. Read anew for each use.
    File(SecretFile),
    JwtSvid {
        audience: String,
    },
}

impl ClientAuth {
    /// Whom the endpoint knows us as, where we say so.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::SecretBasic { client_id, .. } | Self::SecretPost { client_id, .. } => {
                Some(client_id)
            }
            Self::None { client_id } | Self::Assertion { client_id, .. } => client_id.as_deref(),
        }
    }
}

impl Algorithm {
    pub const ALL: [Self; 10] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::EdDsa,
    ];

    /// As in `alg`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::EdDsa => "EdDSA",
        }
    }

    /// Exactly as written in `alg`; anything else is not known here.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == text)
    }
}
