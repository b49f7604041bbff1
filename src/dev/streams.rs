//! What one workload is answered: the gRPC service behind one socket.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use spiffe::{SpiffeId, TrustDomain};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::authority::{Authority, Bell, lock, ring};
use super::error::DevError;
use super::jwt_svids::{as_struct, judge};
use crate::workload_api::pb::spiffe_workload_api_server::SpiffeWorkloadApi;
use crate::workload_api::pb::{
    JwtBundlesRequest, JwtBundlesResponse, Jwtsvid, JwtsvidRequest, JwtsvidResponse,
    ValidateJwtsvidRequest, ValidateJwtsvidResponse, X509BundlesRequest, X509BundlesResponse,
    X509svid, X509svidRequest, X509svidResponse,
};

/// The wording of SPIRE, which clients know.
const NO_IDENTITY: &str = "no identity issued";

/// Messages that may wait for a slow reader before the feeder waits too.
const QUEUE: usize = 4;

/// The agent behind all sockets: one authority, and the foreign ones that it tells of.
pub(super) struct Home {
    pub(super) authority: Authority,
    pub(super) federated: Mutex<BTreeMap<TrustDomain, Authority>>,
    /// Rings when any trust bundle or the federation changes.
    pub(super) bell: Arc<Bell>,
}

/// One workload at this agent. Clones are the same workload.
#[derive(Clone)]
pub(super) struct Desk(Arc<Shared>);

struct Shared {
    home: Arc<Home>,
    ids: Vec<(SpiffeId, Option<String>)>,
    state: Mutex<State>,
    /// Rings when [`State`] changes.
    bell: Bell,
    streams: watch::Sender<usize>,
}

struct State {
    mode: Mode,
    ttl: Duration,
    batch: Option<Batch>,
    issued: u64,
}

/// What is in force: all streams of the workload get the same.
struct Batch {
    svids: Vec<X509svid>,
    renew_at: Instant,
    /// The authority's certificate that signed these.
    signer: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Serve,
    /// Say that the workload has no identity.
    Deny,
    /// The same to streams that are open; new ones wait.
    DenyOpen,
    /// Accept everything and answer nothing.
    Hang,
}

/// A stream that is being fed; counts for as long as it lives.
struct Fed<'a>(&'a watch::Sender<usize>);

impl Desk {
    pub(super) fn new(
        home: Arc<Home>,
        ids: Vec<(SpiffeId, Option<String>)>,
        ttl: Duration,
    ) -> Self {
        let state = Mutex::new(State { mode: Mode::Serve, ttl, batch: None, issued: 0 });
        let (bell, streams) = (watch::Sender::new(0), watch::Sender::new(0));
        Self(Arc::new(Shared { home, ids, state, bell, streams }))
    }

    pub(super) fn set_mode(&self, mode: Mode) {
        lock(&self.0.state).mode = mode;
        ring(&self.0.bell);
    }

    /// New SVIDs now, of this lifetime if one is given.
    pub(super) fn renew(&self, ttl: Option<Duration>) {
        {
            let mut state = lock(&self.0.state);
            state.batch = None;
            state.ttl = ttl.unwrap_or(state.ttl);
        }
        ring(&self.0.bell);
    }

    pub(super) fn issued(&self) -> u64 {
        lock(&self.0.state).issued
    }

    pub(super) fn streams(&self) -> watch::Receiver<usize> {
        self.0.streams.subscribe()
    }

    fn mode(&self) -> Mode {
        lock(&self.0.state).mode
    }

    /// The current SVIDs and when they are to be renewed: at half of their life.
    fn svids(&self) -> Result<(Vec<X509svid>, Instant), DevError> {
        let mut state = lock(&self.0.state);
        let authority = &self.0.home.authority;
        let signer = authority.bundle().first().map(|first| first.to_vec()).unwrap_or_default();
        if let Some(batch) = &state.batch
            && batch.signer == signer
            && Instant::now() < batch.renew_at
        {
            return Ok((batch.svids.clone(), batch.renew_at));
        }
        let mut svids = Vec::with_capacity(self.0.ids.len());
        for (id, hint) in &self.0.ids {
            let issued = authority.issue(id, SystemTime::now(), state.ttl)?;
            state.issued += 1;
            svids.push(X509svid {
                spiffe_id: id.to_string(),
                x509_svid: issued.chain.iter().flat_map(|der| der.iter().copied()).collect(),
                x509_svid_key: issued.key.secret_der().to_vec(),
                bundle: Vec::new(), // filled in as a message is made: it changes more often
                hint: hint.clone().unwrap_or_default(),
            });
        }
        let renew_at = Instant::now() + state.ttl / 2;
        state.batch = Some(Batch { svids: svids.clone(), renew_at, signer });
        Ok((svids, renew_at))
    }

    fn federated(&self) -> BTreeMap<String, Vec<u8>> {
        lock(&self.0.home.federated)
            .iter()
            .map(|(trust_domain, authority)| (trust_domain.id_string(), authority.bundle_der()))
            .collect()
    }

    fn identities(&self) -> Result<(X509svidResponse, Option<Instant>), DevError> {
        let (mut svids, renew_at) = self.svids()?;
        let bundle = self.0.home.authority.bundle_der();
        svids.iter_mut().for_each(|svid| svid.bundle.clone_from(&bundle));
        let federated_bundles = self.federated();
        Ok((X509svidResponse { svids, crl: Vec::new(), federated_bundles }, Some(renew_at)))
    }

    fn bundles(&self) -> (X509BundlesResponse, Option<Instant>) {
        let mut bundles = self.federated();
        let authority = &self.0.home.authority;
        bundles.insert(authority.trust_domain().id_string(), authority.bundle_der());
        (X509BundlesResponse { crl: Vec::new(), bundles }, None)
    }

    /// Our own authority, then the federated ones.
    fn authorities(&self) -> Vec<Authority> {
        let home = &self.0.home;
        std::iter::once(&home.authority).chain(lock(&home.federated).values()).cloned().collect()
    }

    fn jwt_bundles(&self) -> (JwtBundlesResponse, Option<Instant>) {
        let authorities = self.authorities().into_iter();
        let bundles = authorities
            .map(|it| (it.trust_domain().id_string(), it.jwt_bundle().into_bytes()))
            .collect();
        (JwtBundlesResponse { bundles }, None)
    }

    /// Of every identity of the workload, or of the one that is asked for.
    fn jwt_svids(&self, request: &JwtsvidRequest) -> Result<JwtsvidResponse, Status> {
        let ttl = lock(&self.0.state).ttl;
        let (wanted, now) = (&request.spiffe_id, SystemTime::now());
        let mut svids = Vec::new();
        for (id, hint) in &self.0.ids {
            let spiffe_id = id.to_string();
            if !wanted.is_empty() && *wanted != spiffe_id {
                continue;
            }
            let token = match self.0.home.authority.issue_jwt(id, &request.audience, now, ttl) {
                Ok(token) => token,
                Err(error @ DevError::NoAudience) => {
                    return Err(Status::invalid_argument(error.to_string()));
                }
                Err(error) => return Err(Status::internal(error.to_string())),
            };
            let hint = hint.clone().unwrap_or_default();
            svids.push(Jwtsvid { spiffe_id, svid: token.expose().to_owned(), hint });
        }
        match svids.is_empty() {
            true => Err(Status::permission_denied(NO_IDENTITY)),
            false => Ok(JwtsvidResponse { svids }),
        }
    }

    /// The checks before any answer (Workload Endpoint section 3); a hung agent stops here.
    async fn admit<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let header = request.metadata().get("workload.spiffe.io");
        if header.is_none_or(|value| value != "true") {
            return Err(Status::invalid_argument(
                "the metadata `workload.spiffe.io: true` is missing",
            ));
        }
        let mut changes = self.0.bell.subscribe();
        loop {
            match self.mode() {
                Mode::Serve => return Ok(()),
                Mode::Deny => return Err(Status::permission_denied(NO_IDENTITY)),
                // The sender lives as long as `self`, so that this cannot fail.
                Mode::DenyOpen | Mode::Hang => changes.changed().await.unwrap_or_default(),
            }
        }
    }

    /// Sends what `message` makes, now and whenever it comes out differently.
    fn stream<M, F>(&self, message: F) -> ReceiverStream<Result<M, Status>>
    where
        M: Clone + PartialEq + Send + Sync + 'static,
        F: Fn(&Self) -> Result<(M, Option<Instant>), DevError> + Send + Sync + 'static,
    {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let desk = self.clone();
        tokio::spawn(async move { desk.feed(&sender, message).await });
        ReceiverStream::new(receiver)
    }

    async fn feed<M, F>(&self, sender: &mpsc::Sender<Result<M, Status>>, message: F)
    where
        M: Clone + PartialEq,
        F: Fn(&Self) -> Result<(M, Option<Instant>), DevError>,
    {
        let mut bells = (self.0.bell.subscribe(), self.0.home.bell.subscribe());
        let _fed = Fed::new(&self.0.streams);
        let mut last = None;
        loop {
            let mut again_at = None;
            let answer = match self.mode() {
                Mode::Hang => None,
                Mode::Deny | Mode::DenyOpen => Some(Err(Status::permission_denied(NO_IDENTITY))),
                Mode::Serve => Some(message(self).map_err(|e| Status::internal(e.to_string()))),
            };
            match answer {
                Some(Ok((new, at))) => {
                    again_at = at;
                    if last.as_ref() != Some(&new) {
                        last = Some(new.clone());
                        if sender.send(Ok(new)).await.is_err() {
                            return;
                        }
                    }
                }
                Some(Err(status)) => {
                    sender.send(Err(status)).await.unwrap_or_default();
                    return;
                }
                None => {}
            }
            tokio::select! {
                () = sender.closed() => return,
                _ = bells.0.changed() => {}
                _ = bells.1.changed() => {}
                () = at(again_at) => {}
            }
        }
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

impl<'a> Fed<'a> {
    fn new(streams: &'a watch::Sender<usize>) -> Self {
        streams.send_modify(|count| *count += 1);
        Self(streams)
    }
}

impl Drop for Fed<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[tonic::async_trait]
impl SpiffeWorkloadApi for Desk {
    type FetchX509SVIDStream = ReceiverStream<Result<X509svidResponse, Status>>;
    type FetchX509BundlesStream = ReceiverStream<Result<X509BundlesResponse, Status>>;
    type FetchJWTBundlesStream = ReceiverStream<Result<JwtBundlesResponse, Status>>;

    async fn fetch_x509svid(
        &self,
        request: Request<X509svidRequest>,
    ) -> Result<Response<Self::FetchX509SVIDStream>, Status> {
        self.admit(&request).await?;
        Ok(Response::new(self.stream(Self::identities)))
    }

    async fn fetch_x509_bundles(
        &self,
        request: Request<X509BundlesRequest>,
    ) -> Result<Response<Self::FetchX509BundlesStream>, Status> {
        self.admit(&request).await?;
        Ok(Response::new(self.stream(|desk| Ok(desk.bundles()))))
    }

    async fn fetch_jwtsvid(
        &self,
        request: Request<JwtsvidRequest>,
    ) -> Result<Response<JwtsvidResponse>, Status> {
        self.admit(&request).await?;
        self.jwt_svids(request.get_ref()).map(Response::new)
    }

    async fn fetch_jwt_bundles(
        &self,
        request: Request<JwtBundlesRequest>,
    ) -> Result<Response<Self::FetchJWTBundlesStream>, Status> {
        self.admit(&request).await?;
        Ok(Response::new(self.stream(|desk| Ok(desk.jwt_bundles()))))
    }

    async fn validate_jwtsvid(
        &self,
        request: Request<ValidateJwtsvidRequest>,
    ) -> Result<Response<ValidateJwtsvidResponse>, Status> {
        self.admit(&request).await?;
        let ValidateJwtsvidRequest { audience, svid } = request.get_ref();
        let (id, claims) = judge(svid, audience, &self.authorities(), SystemTime::now())
            .ok_or_else(|| Status::invalid_argument("the JWT-SVID does not hold"))?;
        let claims = Some(as_struct(claims));
        Ok(Response::new(ValidateJwtsvidResponse { spiffe_id: id.to_string(), claims }))
    }
}
