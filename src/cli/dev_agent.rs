//! `sidegate dev-agent`: the embedded Workload API, for laptops and tests.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use spiffe::{SpiffeId, TrustDomain};

use super::tell;
use crate::dev::{self, AgentSettings};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The trust domain of its throw-away authority.
    #[arg(long, value_name = "NAME", default_value = "example.org")]
    trust_domain: String,
    /// A workload and the socket on which it finds its identity; repeatable.
    #[arg(long = "workload", value_name = "SPIFFE_ID=SOCKET", required = true,
          value_parser = workload)]
    workloads: Vec<(SpiffeId, PathBuf)>,
    /// A further trust domain with an authority of its own, federated with all others.
    #[arg(long = "federate", value_name = "NAME")]
    federate: Vec<String>,
    /// How long each SVID lives; a new one is given at half of that. JWT-SVIDs, given on request,
    /// live for five minutes at most.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = crate::config::parse_duration)]
    ttl: Duration,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let trust_domain =
        |name: &str| TrustDomain::new(name).with_context(|| format!("`{name}` is no trust domain"));
    let settings = AgentSettings {
        trust_domain: trust_domain(&arguments.trust_domain)?,
        federate: arguments
            .federate
            .iter()
            .map(|name| trust_domain(name))
            .collect::<anyhow::Result<_>>()?,
        workloads: arguments.workloads.clone(),
        ttl: arguments.ttl,
    };
    tell("development agent: throw-away keys, for this machine only, never for production");
    for (id, socket) in &settings.workloads {
        tell(&format!("  {id} at unix://{}", socket.display()));
    }
    tell("each gets X.509-SVIDs, JWT-SVIDs for any audience, and the trust bundles of both");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            outcome = dev::serve(settings) => outcome.context("the development agent ended"),
            outcome = tokio::signal::ctrl_c() => outcome.context("no signals here"),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn workload(text: &str) -> Result<(SpiffeId, PathBuf), String> {
    let (id, socket) = text.split_once('=').ok_or("write it as `SPIFFE_ID=SOCKET`")?;
    let id = SpiffeId::new(id).map_err(|error| format!("`{id}`: {error}"))?;
    if socket.is_empty() {
        return Err("the socket's path is missing".to_owned());
    }
    Ok((id, PathBuf::from(socket)))
}
