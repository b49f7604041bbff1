//! The workers: one thread each, with a runtime, pools and caches of its own.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::Context as _;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::Semaphore;

use super::shutdown::Shutdown;
use crate::authz::{Grants, Guard};
use crate::live::Live;
use crate::net::{Bound, Socket};
use crate::policy::{Aside, Rules};
use crate::proxy::{
    Inbound, InboundSettings, Judges, Outbound, OutboundSettings, Shadowing, Worker,
};
use crate::telemetry::audit::{Handle, Sink};
use crate::telemetry::metrics::Metrics;
use crate::tls;
use crate::token::{Trusted, Verifier};

/// What every worker reads.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) inbound: Vec<Arc<InboundSettings>>,
    pub(super) outbound: Vec<Arc<OutboundSettings>>,
    pub(super) guard: Arc<Guard>,
    pub(super) rules: Live<Rules>,
    pub(super) aside: Aside,
    pub(super) contexts: Live<tls::Context>,
    pub(super) trusted: Trusted,
    pub(super) shadowing: Option<Shadowing>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) shutdown: Shutdown,
}

/// The running threads.
#[derive(Debug, Default)]
pub(super) struct Workers(Vec<JoinHandle<()>>);

impl Workers {
    /// `sockets` holds the inbound listeners' and then the outbound listeners' sockets, in the
    /// order of `shared`, each with one socket a worker.
    pub(super) fn start(
        shared: &Shared,
        sockets: Vec<Bound>,
        audit: &Sink,
        count: usize,
    ) -> anyhow::Result<Self> {
        let slots: Vec<_> = shared
            .inbound
            .iter()
            .map(|it| it.limits.connections)
            .chain(shared.outbound.iter().map(|it| it.limits.connections))
            // A worker holds a slot while it waits for a connection.
            .map(|connections| Arc::new(Semaphore::new(connections + count.saturating_sub(1))))
            .collect();
        let mut sockets: Vec<_> =
            sockets.into_iter().map(|bound| bound.sockets.into_iter()).collect();
        let mut workers = Self::default();
        for number in 0..count {
            let mine = sockets
                .iter_mut()
                .map(|sockets| sockets.next().context("a worker lacks a socket"))
                .collect::<anyhow::Result<Vec<_>>>()?;
            let (shared, slots, audit) = (shared.clone(), slots.clone(), audit.handle());
            let thread = thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || {
                    if let Err(error) = serve(&shared, mine, &slots, audit) {
                        tracing::error!(%error, "a worker could not start");
                        shared.shutdown.cut();
                    }
                })
                .context("cannot start a worker")?;
            workers.0.push(thread);
        }
        Ok(workers)
    }

    pub(super) fn join(&mut self) {
        for thread in self.0.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker has panicked");
            }
        }
    }
}

/// One worker, until the end.
fn serve(
    shared: &Shared,
    sockets: Vec<Socket>,
    slots: &[Arc<Semaphore>],
    audit: Handle,
) -> io::Result<()> {
    // Its tasks never leave the thread, so there is one queue for all, without a set of its own.
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let shutdown = &shared.shutdown;
        let metrics = shared.metrics.worker();
        let audit = Rc::new(audit);
        let judges = Judges {
            guard: Arc::clone(&shared.guard),
            rules: shared.rules.clone(),
            grants: Grants::new(),
            aside: shared.aside.clone(),
            verifier: Verifier::new(shared.trusted.clone()),
            shadow: shared.shadowing.clone().map(|all| (all.clone(), all.worker())),
        };
        let listeners = sockets
            .into_iter()
            .zip(slots)
            .map(|(socket, slots)| socket.into_listener(Arc::clone(slots)))
            .collect::<io::Result<Vec<_>>>()?;

        let mut listeners = listeners.into_iter();
        for (index, (settings, listener)) in
            shared.inbound.iter().zip(listeners.by_ref()).enumerate()
        {
            let worker = Worker::new(
                Rc::clone(&audit),
                Arc::clone(&metrics),
                shutdown.inbound_tasks.clone(),
                index,
            );
            let inbound =
                Inbound::new(Arc::clone(settings), judges.clone(), shared.contexts.clone(), worker);
            tokio::task::spawn_local(Rc::new(inbound).run(listener, shutdown.inbound.clone()));
        }
        for (index, (settings, listener)) in shared.outbound.iter().zip(listeners).enumerate() {
            let worker = Worker::new(
                Rc::clone(&audit),
                Arc::clone(&metrics),
                shutdown.outbound_tasks.clone(),
                shared.inbound.len() + index,
            );
            let outbound = Outbound::new(Arc::clone(settings), shared.contexts.clone(), worker);
            tokio::task::spawn_local(Rc::new(outbound).run(listener, shutdown.outbound.clone()));
        }
        shutdown.ended().await;
        Ok(())
    })
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
