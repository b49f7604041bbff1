//! The embedded Workload API: real gRPC, one Unix socket for each workload.
//!
//! A real agent finds out who is calling from the kernel; this one is told by the socket that is
//! called. Whoever can open a workload's socket is that workload, hence mode 0600.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use spiffe::{SpiffeId, TrustDomain};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::authority::{Authority, lock, ring};
use super::error::DevError;
use super::socket::{self, SocketFile};
use super::streams::{Desk, Home, Mode};
use crate::workload_api::pb::spiffe_workload_api_server::SpiffeWorkloadApiServer;

/// Below this the whole seconds of certificates leave no room to rotate in.
const SHORTEST_LIFE: Duration = Duration::from_secs(2);

/// One agent: an authority and the workloads it serves. Clones are the same agent.
#[derive(Clone)]
pub struct WorkloadApi(Arc<Home>);

/// Who is behind one socket.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Its identities with their hints; the first is the default one.
    pub ids: Vec<(SpiffeId, Option<String>)>,
    /// Lifetime of its SVIDs. They are renewed at half of it.
    pub ttl: Duration,
}

/// One workload's socket, and the switches for what goes wrong in life. Dropping it cuts every
/// connection and removes the socket.
pub struct WorkloadSocket {
    desk: Desk,
    path: PathBuf,
    running: Mutex<Option<Running>>,
}

struct Running {
    /// Stops the server when sent or dropped.
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
    file: SocketFile,
}

impl WorkloadApi {
    pub fn new(authority: Authority) -> Self {
        let bell = Arc::new(watch::Sender::new(0));
        authority.tell(&bell);
        Self(Arc::new(Home { authority, federated: Mutex::default(), bell }))
    }

    /// Its keys are the agent's: rotating them renews all SVIDs at once.
    pub fn authority(&self) -> &Authority {
        &self.0.authority
    }

    /// Delivers the trust bundle of `foreign` from now on, and its changes.
    pub fn federate(&self, foreign: &Authority) {
        foreign.tell(&self.0.bell);
        lock(&self.0.federated).insert(foreign.trust_domain().clone(), foreign.clone());
        ring(&self.0.bell);
    }

    /// Withdraws the trust bundle of a foreign trust domain.
    pub fn defederate(&self, foreign: &TrustDomain) {
        lock(&self.0.federated).remove(foreign);
        ring(&self.0.bell);
    }

    /// Serves one workload at `path`, on the current tokio runtime.
    pub fn serve(
        &self,
        path: impl Into<PathBuf>,
        workload: Workload,
    ) -> Result<WorkloadSocket, DevError> {
        if workload.ids.is_empty() {
            return Err(DevError::NoIds);
        }
        if workload.ttl < SHORTEST_LIFE {
            return Err(DevError::ShortLife(workload.ttl));
        }
        for (id, _) in &workload.ids {
            self.0.authority.vouches_for(id)?;
        }
        let desk = Desk::new(Arc::clone(&self.0), workload.ids, workload.ttl);
        let socket = WorkloadSocket { desk, path: path.into(), running: Mutex::default() };
        socket.start()?;
        Ok(socket)
    }
}

impl Workload {
    /// A workload with one identity and no hint.
    pub fn new(id: SpiffeId, ttl: Duration) -> Self {
        Self { ids: vec![(id, None)], ttl }
    }
}

impl WorkloadSocket {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// As `SPIFFE_ENDPOINT_SOCKET` has it.
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    /// Issues new SVIDs now instead of at half of their life.
    pub fn rotate(&self) {
        self.desk.renew(None);
    }

    /// Issues new SVIDs of this lifetime now and from now on.
    pub fn set_ttl(&self, ttl: Duration) {
        self.desk.renew(Some(ttl.max(SHORTEST_LIFE)));
    }

    /// Ends every stream with `PermissionDenied`, and refuses new ones, until [`Self::allow`].
    pub fn deny(&self) {
        self.desk.set_mode(Mode::Deny);
    }

    /// Ends every stream with `PermissionDenied`, and lets new ones wait, until [`Self::allow`]: as
    /// SPIRE's agent while it renews SVIDs of an authority that was tainted.
    pub fn deny_open(&self) {
        self.desk.set_mode(Mode::DenyOpen);
    }

    /// Accepts connections and calls but answers nothing, until [`Self::allow`].
    pub fn hang(&self) {
        self.desk.set_mode(Mode::Hang);
    }

    /// Back to normal.
    pub fn allow(&self) {
        self.desk.set_mode(Mode::Serve);
    }

    /// Cuts every connection and removes the socket, as when an agent is killed.
    pub async fn stop(&self) {
        let running = lock(&self.running).take();
        if let Some(Running { stop, server, file }) = running {
            drop(stop);
            if let Err(error) = server.await {
                tracing::warn!(%error, "the development agent's server ended badly");
            }
            drop(file);
        }
    }

    /// Listens again at the same path after [`Self::stop`]: a new socket of the same name.
    pub fn start(&self) -> Result<(), DevError> {
        let mut running = lock(&self.running);
        if running.is_none() {
            let (listener, file) = socket::bind(&self.path)?;
            let (stop, stopped) = oneshot::channel();
            let service = SpiffeWorkloadApiServer::new(self.desk.clone());
            let server = tokio::spawn(socket::serve(listener, service, stopped));
            *running = Some(Running { stop, server, file });
        }
        Ok(())
    }

    /// Streams that are open now.
    pub fn streams(&self) -> usize {
        *self.desk.streams().borrow()
    }

    /// Resolves as soon as the number of open streams is as wanted.
    pub async fn until_streams(&self, wanted: impl Fn(usize) -> bool) {
        // The sender lives as long as `self`, so that this cannot fail.
        drop(self.desk.streams().wait_for(|count| wanted(*count)).await);
    }

    /// SVIDs issued since start.
    pub fn issued(&self) -> u64 {
        self.desk.issued()
    }
}

impl fmt::Debug for WorkloadApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let federated: BTreeMap<_, _> = lock(&self.0.federated).clone();
        f.debug_struct("WorkloadApi")
            .field("authority", &self.0.authority)
            .field("federated", &federated.into_values().collect::<Vec<_>>())
            .finish()
    }
}

impl fmt::Debug for WorkloadSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkloadSocket").field("path", &self.path).finish_non_exhaustive()
    }
}
