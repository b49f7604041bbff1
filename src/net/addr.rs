//! Where to listen and where to dial.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};

use super::Stream;

/// A place to accept connections at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Listen {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A place to connect to. Names are resolved at each connect, so that a moved service is followed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    Tcp(SocketAddr),
    Name { host: String, port: u16 },
    Unix(PathBuf),
}

impl Target {
    /// Connects, trying each resolved address in turn; the last failure is the one reported. All of
    /// it takes `limit` at most, and no address uses up the time of those behind it.
    pub async fn dial(&self, limit: Duration) -> io::Result<Stream> {
        let deadline = Instant::now() + limit;
        match self {
            Self::Tcp(address) => timeout_at(deadline, dial_tcp(*address)).await?,
            Self::Unix(path) => {
                timeout_at(deadline, UnixStream::connect(path)).await?.map(Stream::Unix)
            }
            Self::Name { host, port } => {
                let addresses = timeout_at(deadline, lookup_host((host.as_str(), *port))).await??;
                dial_first(addresses.collect(), deadline).await
            }
        }
    }
}

async fn dial_first(addresses: Vec<SocketAddr>, deadline: Instant) -> io::Result<Stream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (tried, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        match timeout(share, dial_tcp(*address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(elapsed) => last = elapsed.into(),
        }
    }
    Err(last)
}

async fn dial_tcp(address: SocketAddr) -> io::Result<Stream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(Stream::Tcp(stream))
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
