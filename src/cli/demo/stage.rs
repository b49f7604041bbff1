//! All that runs: two trust domains, three services, and a sidecar process for each workload.

use std::fs;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use spiffe::{SpiffeId, TrustDomain};

use super::cache::Cache;
use super::folder::{Folder, Names};
use super::issuer::Issuer;
use super::ledger::Ledger;
use super::orders::Orders;
use super::sidecar::{self, Sidecar};
use crate::dev::{Authority, Issued, Workload, WorkloadApi, WorkloadSocket};

/// Lifetime of an SVID. It is renewed at half of it.
pub(super) const SVID_LIFE: Duration = Duration::from_secs(20);

pub(super) const POLICY: &str = include_str!("files/global.rego");
pub(super) const DATA: &str = include_str!("files/data.json");

/// Each workload: its name, its trust domain, and its sidecar's configuration.
pub(super) const WORKLOADS: [(&str, &str, &str); 8] = [
    ("orders", OURS, include_str!("files/orders.yaml")),
    ("ledger", OURS, include_str!("files/ledger.yaml")),
    ("cache", OURS, include_str!("files/cache.yaml")),
    ("shop", OURS, include_str!("files/shop.yaml")),
    ("reports", OURS, include_str!("files/reports.yaml")),
    ("courier", OURS, include_str!("files/courier.yaml")),
    ("intruder", OURS, include_str!("files/intruder.yaml")),
    ("rogue", ROGUE, include_str!("files/rogue.yaml")),
];
const OURS: &str = "example.org";
const ROGUE: &str = "rogue.example";

#[derive(Debug)]
pub(super) struct Stage {
    pub(super) sidecars: Sidecars,
    pub(super) orders: Orders,
    pub(super) ledger: Ledger,
    pub(super) cache: Cache,
    pub(super) issuer: Issuer,
    names: Names,
    agent: WorkloadApi,
    sockets: Vec<(&'static str, WorkloadSocket)>,
}

#[derive(Debug)]
pub(super) struct Sidecars {
    pub(super) orders: Sidecar,
    pub(super) ledger: Sidecar,
    pub(super) cache: Sidecar,
    pub(super) shop: Sidecar,
    pub(super) reports: Sidecar,
    pub(super) courier: Sidecar,
    pub(super) intruder: Sidecar,
    pub(super) rogue: Sidecar,
}

impl Stage {
    /// Resolves once every sidecar is ready.
    pub(super) async fn set(folder: &Folder) -> anyhow::Result<Self> {
        let (agent, sockets) = agents(folder)?;
        let orders = Orders::start().await?;
        let ledger = Ledger::start().await?;
        let cache = Cache::start().await?;

        let mut names = Names::default();
        names.set("FOLDER", folder.path().display());
        names.set("ORDERS_APP", orders.address.port());
        names.set("LEDGER_APP", ledger.address.port());
        names.set("CACHE_APP", cache.address.port());
        names.find_ports(WORKLOADS.map(|(_, _, text)| text))?;
        write_files(folder, &names)?;
        let issuer = Issuer::start(folder.path())?;

        let start = |name| {
            let port = |door| names.port(&format!("{}_{door}", str::to_uppercase(name)));
            Sidecar::start(folder.path(), name, port("HEALTH")?, port("METRICS")?)
        };
        let mut sidecars = Sidecars {
            orders: start("orders")?,
            ledger: start("ledger")?,
            cache: start("cache")?,
            shop: start("shop")?,
            reports: start("reports")?,
            courier: start("courier")?,
            intruder: start("intruder")?,
            rogue: start("rogue")?,
        };
        for sidecar in sidecars.each() {
            sidecar.ready().await?;
        }
        Ok(Self { sidecars, orders, ledger, cache, issuer, names, agent, sockets })
    }

    /// A port by its name in the configuration files.
    pub(super) fn port(&self, name: &str) -> anyhow::Result<u16> {
        self.names.port(name)
    }

    /// SVIDs that a workload was given since start.
    pub(super) fn issued(&self, workload: &str) -> u64 {
        self.agent_of(workload).map_or(0, WorkloadSocket::issued)
    }

    /// The agent as one workload knows it.
    pub(super) fn agent_of(&self, workload: &str) -> Option<&WorkloadSocket> {
        let mut sockets = self.sockets.iter();
        sockets.find(|(name, _)| *name == workload).map(|(_, socket)| socket)
    }

    /// A genuine SVID of shop, as somebody would hold it who broke into shop.
    pub(super) fn stolen(&self) -> anyhow::Result<Issued> {
        let id = id(OURS, "shop")?;
        Ok(self.agent.authority().issue(&id, SystemTime::now(), SVID_LIFE)?)
    }

    /// Resolves once every process is gone.
    pub(super) async fn strike(self) {
        let Sidecars { orders, ledger, cache, shop, reports, courier, intruder, rogue } =
            self.sidecars;
        for sidecar in [orders, ledger, cache, shop, reports, courier, intruder, rogue] {
            sidecar.stop().await;
        }
    }
}

impl Sidecars {
    fn each(&mut self) -> [&mut Sidecar; 8] {
        let Self { orders, ledger, cache, shop, reports, courier, intruder, rogue } = self;
        [orders, ledger, cache, shop, reports, courier, intruder, rogue]
    }
}

/// Our trust domain's agent, and a socket for each workload of either trust domain.
fn agents(folder: &Folder) -> anyhow::Result<(WorkloadApi, Vec<(&'static str, WorkloadSocket)>)> {
    let agent = |trust_domain| {
        anyhow::Ok(WorkloadApi::new(Authority::new(TrustDomain::new(trust_domain)?)?))
    };
    let (ours, rogue) = (agent(OURS)?, agent(ROGUE)?);
    // One-sided: the rogue verifies our servers, and our servers do not verify it.
    rogue.federate(ours.authority());
    let mut sockets = Vec::new();
    for (name, trust_domain, _) in WORKLOADS {
        let agent = if trust_domain == ROGUE { &rogue } else { &ours };
        let path = folder.path().join(format!("{name}.sock"));
        let workload = Workload::new(id(trust_domain, name)?, SVID_LIFE);
        sockets.push((name, agent.serve(path, workload)?));
    }
    Ok((ours, sockets))
}

fn id(trust_domain: &str, name: &str) -> anyhow::Result<SpiffeId> {
    Ok(SpiffeId::new(format!("spiffe://{trust_domain}/demo/{name}"))?)
}

pub(super) fn write_files(folder: &Folder, names: &Names) -> anyhow::Result<()> {
    fs::create_dir(folder.policies())?;
    folder.write_policy("global.rego", POLICY)?;
    folder.write_policy("data.json", DATA)?;
    for (name, _, text) in WORKLOADS {
        let path = sidecar::config(folder.path(), name);
        fs::write(&path, names.fill(text))
            .with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(())
}
