//! The keys of somebody who signs what is no token: had and kept as those of an issuer are.

use std::time::Duration;

use super::keeper::{Keeper, Kept, KeysStatus};
use super::key_set::KeySet;
use super::key_source::KeySource;
use super::refetch::Refetch;
use super::settings::KeysFrom;
use crate::live::{Changes, Live};
use crate::tls::{self, RootsError, RootsFrom};
use crate::web::Client;

/// A JWK set that is followed. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Signers {
    /// `None` until they were had once, and again when they have grown too old.
    pub keys: Live<Option<KeySet>>,
    pub status: Live<KeysStatus>,
    refetch: Refetch,
}

impl Signers {
    /// Has the keys fetched anew, unless that was done just now; resolves when the attempt is over.
    pub async fn ask(&self) {
        self.refetch.now().await;
    }

    /// From now on.
    pub fn changes(&self) -> Changes {
        self.keys.changes()
    }
}

/// Begins to follow the keys on the current tokio runtime, and returns at once. `name` is for people.
pub fn signers(
    name: String,
    from: &KeysFrom,
    roots: &RootsFrom,
    max_age: Duration,
) -> Result<Signers, RootsError> {
    let source = KeySource::new(from, &name, || tls::roots(roots).map(Client::new))?;
    let (keeper, kept) = Keeper::new(name, max_age, source, fastrand::f64);
    drop(tokio::spawn(keeper.run()));
    let Kept { keys, status, refetch } = kept;
    Ok(Signers { keys, status, refetch })
}
