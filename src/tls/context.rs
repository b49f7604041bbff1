//! What handshakes need of one generation of identity material, prepared once.
//!
//! What a connection adds (its verifier, its protocols) is cheap; loading the key and reading
//! the bundles is not, and happens here, off the data path.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use rustls::server::ResolvesServerCert;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ServerConfig};
use spiffe::{SpiffeId, TrustDomain};
use thiserror::Error;
use tracing::{error, warn};

use super::Settings;
use super::error::HandshakeError;
use super::leaf;
use super::rules::Rules;
use super::trust::{LeftOut, Trust};
use super::verifier::{Expect, Terms, Verifier};
use crate::identity::{Identity, Material, Svid};
use crate::live::{Live, live};

/// Identity material in the form in which handshakes use it.
pub struct Context {
    generation: u64,
    own: Option<Own>,
    trust: Arc<Trust>,
    rules: Arc<Rules>,
}

/// Our own SVID, ready to be presented.
pub struct Own {
    pub id: SpiffeId,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    key: Arc<SingleCertAndKey>,
    client: ClientConfig,
}

/// The SVID of ours by which one connection was made.
#[derive(Debug, Clone)]
pub struct OwnTerms {
    /// Of the [`Context`]: a later one may have taken its place.
    pub generation: u64,
    pub id: SpiffeId,
    pub not_before: SystemTime,
    /// No connection outlives it.
    pub not_after: SystemTime,
}

/// Why new material was not taken into use. What was in use before stays.
#[derive(Debug, Error)]
pub(super) enum ContextError {
    #[error("the TLS provider cannot do what is asked")]
    Provider(#[source] rustls::Error),
    #[error("the key of `{id}` cannot be used with its certificate")]
    Key { id: SpiffeId, source: rustls::Error },
    #[error("the certificate given for `{id}` names `{found}`")]
    OtherId { id: SpiffeId, found: SpiffeId },
}

/// Follows the identity material on the current runtime. The first context is there at once.
pub fn contexts(identity: &Identity, settings: Settings) -> Live<Context> {
    let material = identity.material.clone();
    // Before the first look, so that nothing falls between the two.
    let mut changes = material.changes();
    let rules = Arc::new(Rules::new(settings));
    let mut news = News::default();
    let first = Context::build(&material.snapshot(), &rules, SystemTime::now());
    let first = news.report(first).unwrap_or_else(|| Context::nothing(0, Arc::clone(&rules)));
    let (publisher, contexts) = live(first);
    tokio::spawn(async move {
        loop {
            changes.changed().await;
            let next = Context::build(&material.snapshot(), &rules, SystemTime::now());
            if let Some(next) = news.report(next) {
                publisher.publish(next);
            }
        }
    });
    contexts
}

impl Context {
    /// Grows with each change of the identity material.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn own(&self) -> Option<&Own> {
        self.own.as_ref()
    }

    /// Is there an authority that could vouch for members of this trust domain?
    pub fn trusts(&self, trust_domain: &TrustDomain) -> bool {
        self.trust.has(trust_domain)
    }

    /// Our SVID if it is valid at `now`.
    pub(super) fn own_at(&self, now: SystemTime) -> Result<&Own, HandshakeError> {
        self.own.as_ref().filter(|own| now < own.not_after).ok_or(HandshakeError::NoIdentity)
    }

    pub(super) fn terms(&self, own: &Own) -> OwnTerms {
        OwnTerms {
            generation: self.generation,
            id: own.id.clone(),
            not_before: own.not_before,
            not_after: own.not_after,
        }
    }

    pub(super) fn verifier(&self, expect: Expect, now: SystemTime) -> Arc<Verifier> {
        verifier(&self.rules, Arc::clone(&self.trust), expect, now)
    }

    /// For one connection: the TLS library ties a verifier to a configuration.
    pub(super) fn server(
        &self,
        verifier: Arc<dyn ClientCertVerifier>,
        shown: Arc<dyn ResolvesServerCert>,
        alpn: &[Vec<u8>],
    ) -> Result<Arc<ServerConfig>, HandshakeError> {
        self.rules.server(verifier, shown, alpn).map_err(HandshakeError::Protocol)
    }

    /// For one connection, as above.
    pub(super) fn client(
        own: &Own,
        verifier: &Arc<Verifier>,
        alpn: &[Vec<u8>],
    ) -> Arc<ClientConfig> {
        let verifier: Arc<Verifier> = Arc::clone(verifier);
        let mut config = own.client.clone();
        config.dangerous().set_certificate_verifier(verifier);
        config.alpn_protocols = alpn.to_vec();
        Arc::new(config)
    }

    /// Presents nothing and believes nobody.
    fn nothing(generation: u64, rules: Arc<Rules>) -> Self {
        Self { generation, own: None, trust: Arc::default(), rules }
    }

    fn build(
        material: &Material,
        rules: &Arc<Rules>,
        now: SystemTime,
    ) -> Result<(Self, Vec<Notice>), ContextError> {
        let Some(svid) = material.svid.as_deref() else {
            return Ok((Self::nothing(material.generation, Arc::clone(rules)), Vec::new()));
        };
        let (own, blemish) = Own::build(svid, rules)?;
        let (trust, left_out) = Trust::of(&material.bundles, now);
        let notices = left_out.into_iter().map(Notice::LeftOut).chain(blemish).collect();
        let (trust, rules) = (Arc::new(trust), Arc::clone(rules));
        Ok((Self { generation: material.generation, own: Some(own), trust, rules }, notices))
    }
}

impl Own {
    /// Presents the SVID whatever name is asked for.
    pub(super) fn shown(&self) -> Arc<dyn ResolvesServerCert> {
        let key: Arc<SingleCertAndKey> = Arc::clone(&self.key);
        key
    }

    fn build(svid: &Svid, rules: &Rules) -> Result<(Self, Option<Notice>), ContextError> {
        let unusable = |source| ContextError::Key { id: svid.id.clone(), source };
        let key = rules.certified(svid.chain.clone(), svid.key.clone_key()).map_err(unusable)?;
        let blemish = blemish(svid, key.end_entity_cert().map_err(unusable)?)?;

        let key = Arc::new(SingleCertAndKey::from(key));
        // The part that connections share. Until they bring their own verifier, nobody is accepted.
        let nobody =
            verifier(rules, Arc::default(), Expect::OneOf(Arc::default()), SystemTime::UNIX_EPOCH);
        let client =
            rules.client(nobody, Some(Arc::clone(&key))).map_err(ContextError::Provider)?;
        Ok((
            Self {
                id: svid.id.clone(),
                not_before: svid.not_before,
                not_after: svid.not_after,
                key,
                client,
            },
            blemish,
        ))
    }
}

fn verifier(rules: &Rules, trust: Arc<Trust>, expect: Expect, now: SystemTime) -> Arc<Verifier> {
    let (algorithms, allow_tls12) = (rules.algorithms(), rules.allow_tls12);
    Verifier::new(Terms { trust, expect, now, algorithms, allow_tls12 })
}

/// What the operator should hear of once, not with every rotation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Notice {
    LeftOut(LeftOut),
    /// Our own SVID breaks a rule: strict peers will refuse us.
    Blemish {
        id: SpiffeId,
        code: &'static str,
    },
}

/// Whether an SVID is another's, or is one that we would not accept from a peer.
fn blemish(svid: &Svid, leaf: &CertificateDer<'_>) -> Result<Option<Notice>, ContextError> {
    let id = svid.id.clone();
    let (claimed, blemish) = match leaf::read(leaf) {
        Ok(leaf) => (Some(leaf.id), None),
        Err(rejected) => {
            let code = rejected.reason.as_code();
            (rejected.claimed, Some(Notice::Blemish { id: id.clone(), code }))
        }
    };
    match claimed {
        Some(found) if found != id => Err(ContextError::OtherId { id, found }),
        _ => Ok(blemish),
    }
}

/// Remembers what has been said.
#[derive(Default)]
struct News(HashSet<Notice>);

impl News {
    fn report(&mut self, built: Result<(Context, Vec<Notice>), ContextError>) -> Option<Context> {
        let (context, notices) = match built {
            Ok(built) => built,
            Err(problem) => {
                let cause = std::error::Error::source(&problem).map(ToString::to_string);
                error!(cause, "identity material is not taken into use: {problem}");
                return None;
            }
        };
        let notices: HashSet<Notice> = notices.into_iter().collect();
        for notice in notices.difference(&self.0) {
            notice.log();
        }
        // Only what still holds: the set stays as small as the bundles.
        self.0 = notices;
        Some(context)
    }
}

impl Notice {
    fn log(&self) {
        match self {
            Self::LeftOut(LeftOut { trust_domain, sha256, why }) => {
                let sha256: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
                let reason = why.as_code();
                warn!(%trust_domain, sha256, reason, "a certificate in the trust bundle is left out");
            }
            Self::Blemish { id, code } => {
                warn!(spiffe_id = %id, reason = code, "strict peers will refuse our own SVID");
            }
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("generation", &self.generation)
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own")
            .field("id", &self.id.to_string())
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}
