//! The keys by which tokens are believed: fetched, followed, kept through an issuer's outage.

use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use spiffe::TrustDomain;

use super::bundles;
use super::keeper::{Keeper, Kept, KeysStatus};
use super::key_set::KeySet;
use super::key_source::KeySource;
use super::refetch::Refetch;
use super::settings::{Issuer, Svids};
use crate::identity::Identity;
use crate::live::{Changes, Live};
use crate::tls::{self, Roots, RootsError, RootsFrom};
use crate::web::Client;

/// Whose tokens are believed, with their keys of the moment. Cheap to clone; shared by all workers.
#[derive(Debug, Clone)]
pub struct Trusted {
    pub(super) issuers: Arc<[TrustedIssuer]>,
    pub(super) svids: Option<Arc<TrustedSvids>>,
}

impl Trusted {
    /// Whether there are keys for JWT-SVIDs of any trust domain.
    pub fn knows_trust_domains(&self) -> bool {
        self.svids.as_ref().is_some_and(|svids| !svids.keys.load().is_empty())
    }

    /// From now on.
    pub(super) fn changes(&self) -> KeyChanges {
        let issuers = self.issuers.iter().map(|issuer| issuer.keys.changes());
        let svids = self.svids.iter().map(|svids| svids.keys.changes());
        KeyChanges(issuers.chain(svids).collect())
    }
}

/// Wakes when anybody's keys were published anew. Subscribe, then look: nothing falls between.
#[derive(Debug, Clone)]
pub struct KeyChanges(Vec<Changes>);

impl KeyChanges {
    /// Resolves once there are other keys than before, or none any more, of any issuer or trust
    /// domain. Where there is nobody whose keys could change it never resolves. Cancel safe.
    pub async fn changed(&mut self) {
        let mut all: Vec<_> = self.0.iter_mut().map(|it| Box::pin(it.changed())).collect();
        // The first that is ready ends it: whoever is behind it is found ready the next time.
        poll_fn(|context| {
            let any = all.iter_mut().any(|it| it.as_mut().poll(context).is_ready());
            if any { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// One issuer with its keys.
#[derive(Debug)]
pub(super) struct TrustedIssuer {
    pub(super) settings: Issuer,
    /// `None` until they were had once, and again when they have grown too old.
    pub(super) keys: Live<Option<KeySet>>,
    pub(super) refetch: Refetch,
}

/// Trust domains with their keys, by the Workload API.
#[derive(Debug)]
pub(super) struct TrustedSvids {
    pub(super) settings: Svids,
    pub(super) keys: Live<BTreeMap<TrustDomain, KeySet>>,
}

/// Begins to follow everybody's keys on the current tokio runtime, and returns at once. The second
/// part holds one status for each issuer, in order.
pub fn trust(
    issuers: Vec<Issuer>,
    svids: Option<Svids>,
    identity: &Identity,
) -> Result<(Trusted, Vec<Live<KeysStatus>>), RootsError> {
    // Files of authorities are read and followed once, however many issuers they are for.
    let mut roots: HashMap<RootsFrom, Live<Roots>> = HashMap::new();
    let mut sources = Vec::with_capacity(issuers.len());
    for settings in issuers {
        let source = KeySource::new(&settings.keys, &settings.issuer, || {
            match roots.get(&settings.roots) {
                Some(known) => Ok(Client::new(known.clone())),
                None => {
                    let found = tls::roots(&settings.roots)?;
                    roots.insert(settings.roots.clone(), found.clone());
                    Ok::<_, RootsError>(Client::new(found))
                }
            }
        })?;
        sources.push((settings, source));
    }
    let mut trusted = Vec::with_capacity(sources.len());
    let mut statuses = Vec::with_capacity(sources.len());
    for (settings, source) in sources {
        let issuer = settings.issuer.clone();
        let (keeper, kept) = Keeper::new(issuer, settings.keys_max_age, source, fastrand::f64);
        drop(tokio::spawn(keeper.run()));
        let Kept { keys, status, refetch } = kept;
        trusted.push(TrustedIssuer { settings, keys, refetch });
        statuses.push(status);
    }
    let svids = svids.map(|settings| {
        Arc::new(TrustedSvids { settings, keys: bundles::follow(identity.jwt_bundles.clone()) })
    });
    Ok((Trusted { issuers: trusted.into(), svids }, statuses))
}

#[cfg(test)]
mod tests;
