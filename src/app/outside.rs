//! What listeners need beside SPIFFE: certificates from files, authorities of named servers, keys
//! of issuers, and tokens of our own.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use tokio::time::timeout;

use crate::config::{self, Accept, Config, Fallback};
use crate::identity::{AgentState, AgentStatus, Identity};
use crate::live::{Live, live};
use crate::proxy::{self, WayOut};
use crate::tls::{self, Callers, Certificate, CertificateStatus, Context, Roots, RootsFrom};
use crate::token::{
    self, Credential, KeysState, KeysStatus, Present, Tokens, TokensStatus, Trusted,
};

/// How long after the start the agent's first word is waited for before tokens stand in for it.
pub(super) const AGENT_GRACE: Duration = Duration::from_secs(2);

/// All of it, as configured, at work.
#[derive(Debug, Clone)]
pub(super) struct Outside {
    pub(super) trusted: Trusted,
    /// JWT-SVIDs are accepted.
    svids: bool,
    /// One for each issuer.
    pub(super) keys: Vec<Live<KeysStatus>>,
    /// One for each inbound listener, in order.
    pub(super) inbound: Vec<WayIn>,
    /// One for each outbound listener, in order.
    pub(super) outbound: Vec<Ways>,
}

/// How callers come in at one listener.
#[derive(Debug, Clone)]
pub(super) struct WayIn {
    pub(super) name: String,
    pub(super) accept: Accept,
    pub(super) certificate: Option<(Live<Certificate>, Live<CertificateStatus>)>,
}

/// How one listener's calls go out.
#[derive(Debug, Clone)]
pub(super) struct Ways {
    pub(super) name: String,
    pub(super) by_svid: bool,
    pub(super) by_token: Option<ByToken>,
}

#[derive(Debug, Clone)]
pub(super) struct ByToken {
    roots: Live<Roots>,
    /// Beside SPIFFE, held back until it is known whether there is an agent.
    credential: Live<Option<Credential>>,
    pub(super) status: Live<TokensStatus>,
}

impl Outside {
    /// On the current runtime. What cannot be read now and has to be there from the start is an
    /// error; keys and tokens may come later.
    pub(super) fn start(
        config: &Config,
        identity: &Identity,
        contexts: &Live<Context>,
    ) -> anyhow::Result<Self> {
        let jwt = config.jwt.clone();
        let svids = jwt.svid.is_some();
        let (trusted, keys) =
            token::trust(jwt.issuers, jwt.svid, identity).context("the issuers of tokens")?;
        let inbound = config.inbound.iter().map(WayIn::of).collect::<anyhow::Result<_>>()?;
        let mut shared =
            SharedTokens { contexts, identity, roots: HashMap::new(), tokens: Vec::new() };
        let outbound = config.outbound.iter().map(|listener| {
            let name = listener.name.clone();
            let by_svid = !listener.expect.is_empty();
            let by_token = listener.fallback.as_ref().map(|it| shared.way(it, by_svid)).transpose();
            let by_token = by_token.with_context(|| format!("the token for `{name}`"))?;
            Ok(Ways { name, by_svid, by_token })
        });
        let outbound = outbound.collect::<anyhow::Result<_>>()?;
        Ok(Self { trusted, svids, keys, inbound, outbound })
    }
}

impl Outside {
    /// Whether any token could be judged at all.
    pub(super) fn has_keys(&self) -> bool {
        let usable = |keys: &Live<KeysStatus>| {
            matches!(keys.load().state, KeysState::Fresh | KeysState::Stale)
        };
        self.keys.iter().any(usable) || self.trusted.knows_trust_domains()
    }

    /// Whether JWT-SVIDs are accepted and cannot be judged, for want of any trust domain's keys.
    pub(super) fn lacks_bundles(&self) -> bool {
        self.svids && !self.trusted.knows_trust_domains()
    }
}

/// Refuses files that `start` would refuse, and tells of each. Nobody is asked for keys or tokens.
pub(super) fn check(config: &Config) -> anyhow::Result<()> {
    let certificates = config.inbound.iter().map(|listener| WayIn::of(listener).map(drop));
    let issuers = config.jwt.issuers.iter().map(|issuer| &issuer.roots);
    let fallbacks = || config.outbound.iter().filter_map(|listener| listener.fallback.as_ref());
    let servers = fallbacks().map(|fallback| &fallback.roots);
    let endpoints = fallbacks().filter_map(|fallback| match &fallback.present {
        Present::Endpoint(endpoint) => Some(&endpoint.roots),
        Present::File(_) | Present::Given { .. } => None,
    });
    let of = |roots| tls::roots(roots).map(drop);
    let authorities = (issuers.map(of).map(|it| it.context("the authorities of an issuer")))
        .chain(servers.map(of).map(|it| it.context("the authorities of a server")))
        .chain(endpoints.map(of).map(|it| it.context("the authorities of a token endpoint")));
    let mut wrong: Vec<String> = Vec::new();
    for error in certificates.chain(authorities).filter_map(Result::err) {
        let told = format!("{error:#}");
        // Several listeners may share a file.
        if !wrong.contains(&told) {
            wrong.push(told);
        }
    }
    anyhow::ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

impl WayIn {
    fn of(listener: &config::Inbound) -> anyhow::Result<Self> {
        let name = listener.name.clone();
        let certificate = listener.certificate.clone().map(tls::certificate).transpose();
        let certificate = certificate.with_context(|| format!("the certificate of `{name}`"))?;
        Ok(Self { name, accept: listener.accept, certificate })
    }

    pub(super) fn has_certificate(&self, now: SystemTime) -> bool {
        let certificate = self.certificate.as_ref();
        certificate.is_some_and(|(certificate, _)| now < certificate.load().not_after)
    }

    pub(super) fn callers(&self) -> Callers {
        let certificate = self.certificate.as_ref().map(|(certificate, _)| certificate.clone());
        match self.accept {
            Accept::Spiffe => Callers::Verified,
            Accept::SpiffeOrJwt => Callers::Any(certificate),
            Accept::Jwt => Callers::Unverified(certificate),
        }
    }
}

impl Ways {
    /// The way that a call made now would take.
    pub(super) fn now(&self, context: &Context, now: SystemTime) -> Option<WayOut> {
        let own = context.own().filter(|_| self.by_svid);
        let token = self.by_token.as_ref().is_some_and(|it| it.is_at_hand(now));
        WayOut::choose(own.map(|own| (own.not_before, own.not_after)), token, now)
    }
}

impl ByToken {
    pub(super) fn is_at_hand(&self, now: SystemTime) -> bool {
        let credential = self.credential.load();
        credential.as_ref().as_ref().is_some_and(|it| it.at(now).is_some())
    }

    pub(super) fn fallback(&self, file: &Fallback, tls: tls::Settings) -> proxy::Fallback {
        proxy::Fallback {
            server: file.server.clone(),
            roots: self.roots.clone(),
            tls,
            credential: self.credential.clone(),
            also_without_svid: file.also_without_svid,
        }
    }
}

/// What several listeners have in common is read, and asked for, once.
struct SharedTokens<'a> {
    contexts: &'a Live<Context>,
    identity: &'a Identity,
    roots: HashMap<RootsFrom, Live<Roots>>,
    tokens: Vec<(Present, Tokens)>,
}

impl SharedTokens<'_> {
    fn way(&mut self, file: &Fallback, by_svid: bool) -> anyhow::Result<ByToken> {
        let roots = match self.roots.get(&file.roots) {
            Some(roots) => roots.clone(),
            None => {
                let roots = tls::roots(&file.roots).context("the authorities of its server")?;
                self.roots.insert(file.roots.clone(), roots.clone());
                roots
            }
        };
        let known = self.tokens.iter().find(|(present, _)| *present == file.present);
        let tokens = match known {
            Some((_, tokens)) => tokens.clone(),
            None => {
                let tokens = token::tokens(file.present.clone(), self.identity)?;
                self.tokens.push((file.present.clone(), tokens.clone()));
                tokens
            }
        };
        let credential = match by_svid {
            true => held_back(tokens.current, self.identity.status.clone(), self.contexts.clone()),
            // There is nothing that would be preferred to it.
            false => tokens.current,
        };
        Ok(ByToken { roots, credential, status: tokens.status })
    }
}

/// The same credential, but only once the agent has said something, or has had the time to: a
/// token that is at hand before the first SVID is no reason to begin with it.
fn held_back(
    credential: Live<Option<Credential>>,
    status: Live<AgentStatus>,
    contexts: Live<Context>,
) -> Live<Option<Credential>> {
    let (publisher, held) = live(None);
    tokio::spawn(async move {
        let (mut said, mut in_use) = (status.changes(), contexts.changes());
        let spoken = async {
            while status.load().state == AgentState::Starting {
                said.changed().await;
            }
            // An SVID that has come has to be taken into use, too.
            while status.load().state == AgentState::Fresh && contexts.load().own().is_none() {
                in_use.changed().await;
            }
        };
        timeout(AGENT_GRACE, spoken).await.ok();
        let mut changes = credential.changes();
        loop {
            publisher.publish(Option::clone(&credential.load()));
            changes.changed().await;
        }
    });
    held
}
