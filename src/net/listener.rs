//! Listening: one socket for each worker on one address, bound before anything is served.

use std::fs;
use std::io;
use std::net::{self, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net as unix;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Listen, Stream};

const BACKLOG: i32 = 4096;
const BACK_OFF_FIRST: Duration = Duration::from_millis(5);
const BACK_OFF_MOST: Duration = Duration::from_secs(1);

/// One address, bound for every worker.
#[derive(Debug)]
pub struct Bound {
    /// What was bound: with port 0 asked for, the port that was given.
    pub address: Listen,
    pub sockets: Vec<Socket>,
}

/// A bound socket on its way to the worker that will accept from it.
#[derive(Debug)]
pub enum Socket {
    Tcp(net::TcpListener),
    Unix(unix::UnixListener),
}

/// A worker's end of a listener.
#[derive(Debug)]
pub struct Listener {
    inner: Inner,
    slots: Arc<Semaphore>,
}

#[derive(Debug)]
enum Inner {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Binds `workers` sockets to one address. TCP workers share the port by `SO_REUSEPORT`; a port
/// that somebody else holds is an error, although that option alone would let us share it.
pub fn bind(address: &Listen, workers: usize) -> io::Result<Bound> {
    match address {
        Listen::Tcp(address) => bind_tcp(*address, workers),
        Listen::Unix(path) => bind_unix(path, workers),
    }
}

fn bind_tcp(asked: SocketAddr, workers: usize) -> io::Result<Bound> {
    let mut address = asked;
    if asked.port() != 0 {
        tcp_socket(asked, false)?;
    }
    let mut sockets = Vec::with_capacity(workers);
    for _ in 0..workers {
        let listener: net::TcpListener = tcp_socket(address, true)?.into();
        address = listener.local_addr()?;
        sockets.push(Socket::Tcp(listener));
    }
    Ok(Bound { address: Listen::Tcp(address), sockets })
}

fn tcp_socket(address: SocketAddr, shared: bool) -> io::Result<RawSocket> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    // A socket that is only bound conflicts with nobody: the probe has to listen as well.
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn bind_unix(path: &Path, workers: usize) -> io::Result<Bound> {
    remove_stale_socket(path)?;
    let listener = unix::UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    listener.set_nonblocking(true)?;
    let sockets = (0..workers)
        .map(|_| listener.try_clone().map(Socket::Unix))
        .collect::<io::Result<Vec<_>>>()?;
    Ok(Bound { address: Listen::Unix(path.to_owned()), sockets })
}

/// A Unix socket that only we and root may connect to. It is made in a folder that nobody else can
/// enter and moved to its place when it is private: there is no moment in which it is open to more.
pub fn bind_private(path: &Path) -> io::Result<unix::UnixListener> {
    remove_stale_socket(path)?;
    let aside = path.with_file_name(format!(".sg{}", std::process::id()));
    // Left over from a crash of an older process with our number.
    fs::remove_dir_all(&aside).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    fs::DirBuilder::new().mode(0o700).create(&aside)?;
    let bound = bind_aside(&aside.join("s"), path);
    let removed = fs::remove_dir_all(&aside);
    let listener = bound?;
    removed?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn bind_aside(aside: &Path, path: &Path) -> io::Result<unix::UnixListener> {
    let listener = unix::UnixListener::bind(aside)?;
    fs::set_permissions(aside, fs::Permissions::from_mode(0o600))?;
    fs::rename(aside, path)?;
    Ok(listener)
}

/// A socket file that nobody listens on is left over from a crash. Anything else is not ours to
/// remove.
fn remove_stale_socket(path: &Path) -> io::Result<()> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the path exists and is no socket",
        ));
    }
    if unix::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"));
    }
    fs::remove_file(path)
}

impl Socket {
    /// Registers with the runtime of the calling worker. `slots` bounds the connections of all
    /// workers together.
    pub fn into_listener(self, slots: Arc<Semaphore>) -> io::Result<Listener> {
        let inner = match self {
            Self::Tcp(listener) => Inner::Tcp(TcpListener::from_std(listener)?),
            Self::Unix(listener) => Inner::Unix(UnixListener::from_std(listener)?),
        };
        Ok(Listener { inner, slots })
    }
}

impl Listener {
    /// What the limit leaves: for streams that count like connections.
    pub fn slots(&self) -> Arc<Semaphore> {
        Arc::clone(&self.slots)
    }

    /// The next connection, with the slot it holds until it ends. The slot is taken first: beyond
    /// the limit callers wait in the kernel's queue and cost us nothing.
    pub async fn accept(&self) -> (Stream, Option<SocketAddr>, OwnedSemaphorePermit) {
        let mut back_off = BACK_OFF_FIRST;
        loop {
            let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else {
                // Nobody closes the semaphore; if it were closed, nothing more may be accepted.
                return std::future::pending().await;
            };
            match self.accept_one().await {
                Ok((stream, address)) => return (stream, address, slot),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    // Out of file descriptors, most likely: what ends frees some.
                    tracing::warn!(%error, "cannot accept a connection, waiting {back_off:?}");
                    tokio::time::sleep(back_off).await;
                    back_off = (back_off * 2).min(BACK_OFF_MOST);
                }
            }
        }
    }

    async fn accept_one(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match &self.inner {
            Inner::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Stream::Tcp(stream), Some(address)))
            }
            Inner::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), None))
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::InvalidInput
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_gets_a_socket_on_the_same_port() {
        let bound = bind(&Listen::Tcp("127.0.0.1:0".parse().unwrap()), 3).unwrap();
        assert_eq!(bound.sockets.len(), 3);
        for socket in &bound.sockets {
            let Socket::Tcp(listener) = socket else { panic!("a TCP socket was asked for") };
            assert_eq!(Listen::Tcp(listener.local_addr().unwrap()), bound.address);
        }
    }

    #[test]
    fn a_port_that_is_taken_is_an_error_and_never_shared() {
        let first = bind(&Listen::Tcp("127.0.0.1:0".parse().unwrap()), 1).unwrap();
        let second = bind(&first.address, 1).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_private_socket_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let listener = bind_private(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
        unix::UnixStream::connect(&path).unwrap();
        assert_eq!(bind_private(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        bind_private(&path).unwrap();
        assert!(bind_private(&folder.path().join("absent/admin.sock")).is_err());
    }

    #[test]
    fn a_left_over_socket_is_replaced_and_a_living_one_or_a_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let first = bind(&Listen::Unix(path.clone()), 1).unwrap();
        assert_eq!(bind(&first.address, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        bind(&Listen::Unix(path), 1).unwrap();

        let file = folder.path().join("precious.txt");
        fs::write(&file, "data").unwrap();
        let refused = bind(&Listen::Unix(file.clone()), 1).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(file).unwrap(), b"data");
    }
}
