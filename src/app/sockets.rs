//! Every socket, bound before anything is served: a port conflict stops the start, not half of it.

use std::io;
use std::net::{self as std_net, SocketAddr};
use std::path::Path;

use anyhow::Context as _;
use tokio::net::{TcpListener, UnixListener};

use crate::config::Config;
use crate::net::{self, Bound, Listen};

/// What was bound: with port 0 configured, the port that was given.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    pub(super) inbound: Vec<(String, Listen)>,
    pub(super) outbound: Vec<(String, Listen)>,
    pub(super) health: Option<SocketAddr>,
    pub(super) metrics: Option<SocketAddr>,
}

/// The sockets themselves, inbound listeners first.
#[derive(Debug)]
pub(super) struct Sockets {
    pub(super) listeners: Vec<Bound>,
    pub(super) health: Option<TcpListener>,
    pub(super) metrics: Option<TcpListener>,
    pub(super) admin: Option<UnixListener>,
}

/// Binds them all. Call it within a runtime.
pub(super) fn bind(config: &Config) -> anyhow::Result<(Addresses, Sockets)> {
    let mut addresses = Addresses::default();
    let mut listeners = Vec::new();
    for it in &config.inbound {
        let bound = listener(&it.listen, config.workers, &it.name)?;
        addresses.inbound.push((it.name.clone(), bound.address.clone()));
        listeners.push(bound);
    }
    for it in &config.outbound {
        let bound = listener(&it.listen, config.workers, &it.name)?;
        addresses.outbound.push((it.name.clone(), bound.address.clone()));
        listeners.push(bound);
    }
    let health = side_door(config.health, "health", &mut addresses.health)?;
    let metrics = side_door(config.metrics, "metrics", &mut addresses.metrics)?;
    let admin = config.admin.as_ref().map(|admin| private(&admin.listen)).transpose()?;
    Ok((addresses, Sockets { listeners, health, metrics, admin }))
}

fn private(path: &Path) -> anyhow::Result<UnixListener> {
    net::bind_private(path)
        .and_then(UnixListener::from_std)
        .with_context(|| format!("`admin` cannot listen on `{}`", path.display()))
}

fn listener(listen: &Listen, workers: usize, name: &str) -> anyhow::Result<Bound> {
    net::bind(listen, workers).with_context(|| format!("`{name}` cannot listen on `{listen}`"))
}

fn side_door(
    address: Option<SocketAddr>,
    name: &str,
    bound: &mut Option<SocketAddr>,
) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = address else {
        return Ok(None);
    };
    let mut listen = || -> io::Result<TcpListener> {
        let listener = std_net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        *bound = Some(listener.local_addr()?);
        TcpListener::from_std(listener)
    };
    listen().map(Some).with_context(|| format!("`{name}` cannot listen on `{address}`"))
}
