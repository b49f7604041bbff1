//! The one assembler: takes the configuration apart, builds every room, starts the threads.
//!
//! Knows all rooms and decides nothing. Everything is bound before anything is served, so that a
//! port conflict or a broken policy stops the start instead of half of it.

mod outside;
mod settings;
mod sockets;
mod shutdown;
mod switches;
mod policies;
mod notices;
mod figures;
mod reports;
mod shadow;
mod checks;
mod upkeep;
mod admin;
mod workers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use tokio::runtime::{Builder, Handle, Runtime};

pub use settings::{Served, ServedRoutes, routes};

use crate::admin as side_door;
use crate::authz::{Guard, Tenant};
use crate::config::Config;
use crate::identity;
use crate::identity::AgentState;
use crate::net::Listen;
use crate::policy::{Aside, Examiner, Revoker};
use crate::proxy::{HANDSHAKE_CODES, OUTCOMES};
use crate::telemetry::Direction;
use crate::telemetry::audit::Sink;
use crate::telemetry::metrics::{Labels, ListenerLabel, Metrics};
use crate::tls;
use checks::Sources;
use figures::RulesInUse;
use outside::Outside;
use policies::Policies;
use reports::Reports;
use shutdown::Shutdown;
use sockets::Addresses;
use switches::Switches;
use workers::{Shared, Workers};

/// How long the last audit lines may take to be written.
const AUDIT_CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// A sidecar at work. Dropping it cuts every connection.
#[derive(Debug)]
pub struct Running {
    addresses: Addresses,
    shutdown: Shutdown,
    workers: Workers,
    audit: Option<Sink>,
    reports: Reports,
    control: Control,
}

/// The runtime of everything but the data path. Its end does not wait: whoever drops it may be in
/// a runtime of their own, where blocking is not allowed.
#[derive(Debug)]
struct Control(Option<Runtime>);

/// Builds and starts everything. Returns once all listeners accept; whether there is an identity
/// yet is the business of readiness.
///
/// Policies are examined in this process, where a hostile one may do harm: see [`start_with`].
pub fn start(config: Config) -> anyhow::Result<Running> {
    start_with(config, &Examiner::default())
}

/// The same, with policies examined by `examiner`.
pub fn start_with(config: Config, examiner: &Examiner) -> anyhow::Result<Running> {
    let control = Control::new()?;
    let handle = control.handle()?;
    let entered = handle.enter();

    // First of all: its answer comes while the policy is examined.
    let identity = match config.identity.clone() {
        Some(settings) => identity::start(settings).context("identity")?,
        None => identity::Identity::absent(),
    };
    let policies = Policies::start(&config, examiner)?;
    let keep = config.admin.as_ref().and_then(|admin| admin.keep.clone());
    let revoker = Revoker::open(policies.desk.clone(), keep).context("revocations of earlier")?;
    let tenant = Tenant::parse(&config.tenant).context("the tenant is not usable")?;
    let (addresses, sockets) = sockets::bind(&config)?;
    let audit = Sink::open(settings::audit(&config.audit)).context("cannot open the audit log")?;

    let contexts = tls::contexts(&identity, settings::tls(&config));
    let outside = Outside::start(&config, &identity, &contexts)?;
    let (inbound, outbound) = settings::listeners(&config, &outside)?;
    let metrics = Arc::new(Metrics::new(labels(&config), SystemTime::now()));
    let shutdown = Shutdown::new(config.drain_timeout);
    let reports = Reports::start(&config, &policies, &audit)?;
    let shadowing = shadow::start(&config, &inbound)?;
    let aside = Aside::new(handle.clone());
    let sources = Sources {
        identity: identity.status,
        contexts: contexts.clone(),
        policies: policies.clone(),
        rules: RulesInUse { revoker: revoker.clone(), aside: aside.clone() },
        outside: outside.clone(),
        switches: Switches::default(),
        reports: reports.seen(),
        shadowing: shadowing.clone(),
        shutdown: shutdown.clone(),
    };
    sources.follow(&metrics, &audit);
    tokio::spawn(revoker.clone().lapse());
    tokio::spawn(upkeep::give_back_memory());
    if let Some(listener) = sockets.admin {
        let pages = admin::pages(&sources, &addresses, &revoker);
        tokio::spawn(side_door::serve_interface(listener, pages, revoker, shutdown.ended()));
    }
    if let Some(listener) = sockets.health {
        tokio::spawn(side_door::serve_health(listener, sources.checks(), shutdown.ended()));
    }
    if let Some(listener) = sockets.metrics {
        tokio::spawn(side_door::serve_metrics(listener, Arc::clone(&metrics), shutdown.ended()));
    }

    let shared = Shared {
        inbound,
        outbound,
        guard: Arc::new(Guard::new(tenant)),
        rules: policies.rules,
        aside,
        contexts,
        trusted: outside.trusted,
        shadowing,
        metrics,
        shutdown: shutdown.clone(),
    };
    let workers = Workers::start(&shared, sockets.listeners, &audit, config.workers)
        .inspect_err(|_| shutdown.cut())?;
    drop(entered);
    Ok(Running { addresses, shutdown, workers, audit: Some(audit), reports, control })
}

fn labels(config: &Config) -> Labels {
    let label = |name: &String, direction| ListenerLabel { name: name.clone(), direction };
    let inbound = config.inbound.iter().map(|it| label(&it.name, Direction::Inbound));
    let outbound = config.outbound.iter().map(|it| label(&it.name, Direction::Outbound));
    Labels {
        listeners: inbound.chain(outbound).collect(),
        outcomes: OUTCOMES,
        handshake_codes: &HANDSHAKE_CODES,
        agent_states: AgentState::WORDS,
        version: env!("CARGO_PKG_VERSION"),
    }
}

/// Everything that `start` would refuse, without starting anything.
pub fn check(config: &Config) -> anyhow::Result<()> {
    check_with(config, &Examiner::default())
}

/// The same, with policies examined by `examiner`.
pub fn check_with(config: &Config, examiner: &Examiner) -> anyhow::Result<()> {
    routes(config)?;
    let control = Control::new()?;
    let handle = control.handle()?;
    let entered = handle.enter();
    outside::check(config)?;
    // Authorities of a bundle server are followed, as those of issuers are.
    let checked = policies::check(config, examiner);
    drop(entered);
    if let Some(keep) = config.admin.as_ref().and_then(|admin| admin.keep.as_ref()) {
        Revoker::check(keep).context("revocations of earlier")?;
    }
    checked
}

impl Running {
    /// The address of an inbound listener, by its name.
    pub fn inbound(&self, name: &str) -> Option<&Listen> {
        find(&self.addresses.inbound, name)
    }

    /// The address of an outbound listener, by its name.
    pub fn outbound(&self, name: &str) -> Option<&Listen> {
        find(&self.addresses.outbound, name)
    }

    pub fn health(&self) -> Option<SocketAddr> {
        self.addresses.health
    }

    pub fn metrics(&self) -> Option<SocketAddr> {
        self.addresses.metrics
    }

    /// Opens the audit file anew, for log rotation.
    pub fn reopen_audit(&self) {
        if let Some(audit) = &self.audit {
            audit.reopen();
        }
    }

    /// Begins to drain, as on SIGTERM, and returns at once.
    pub fn drain(&self) {
        if let Ok(control) = self.control.handle() {
            self.shutdown.begin(&control);
        }
    }

    /// Resolves when it has come to its end, asked for or not.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        self.shutdown.ended()
    }

    /// Blocks until a drain has come to its end and every audit line is written.
    pub fn wait(mut self) {
        self.workers.join();
        self.close();
    }

    fn close(&mut self) {
        if let Some(audit) = self.audit.take()
            && let Err(error) = audit.close(AUDIT_CLOSE_LIMIT)
        {
            tracing::error!(%error, "audit log not closed in order");
        }
        self.reports.close();
    }
}

impl Control {
    fn new() -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("control")
            .enable_all()
            .build()
            .context("cannot start the control runtime")?;
        Ok(Self(Some(runtime)))
    }

    fn handle(&self) -> anyhow::Result<Handle> {
        let runtime = self.0.as_ref().context("the control runtime has ended")?;
        Ok(runtime.handle().clone())
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cut();
        self.workers.join();
        self.close();
    }
}

fn find<'a>(addresses: &'a [(String, Listen)], name: &str) -> Option<&'a Listen> {
    addresses.iter().find(|(known, _)| known == name).map(|(_, address)| address)
}
