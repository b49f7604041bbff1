//! One Unix socket: made private, served, and removed.

use std::convert::Infallible;
use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tonic::codegen::Service;

use super::error::DevError;
use super::streams::Desk;
use crate::workload_api::pb::spiffe_workload_api_server::SpiffeWorkloadApiServer;

const BACKLOG: i32 = 128;
const MAX_CONNECTIONS: usize = 256;
/// After an accept that went wrong (out of descriptors, as a rule).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Removes the socket when dropped, unless something else stands at its path by then.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Listens at `path`, for this user alone. A socket that nobody serves any more is replaced.
pub(super) fn bind(path: &Path) -> Result<(UnixListener, SocketFile), DevError> {
    clear(path)?;
    listen(path).map_err(|source| DevError::Listen { path: path.to_owned(), source })
}

/// What stands at `path` may go only if it is a socket and nobody answers on it.
fn clear(path: &Path) -> Result<(), DevError> {
    let Ok(found) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !found.file_type().is_socket() {
        return Err(DevError::NotASocket(path.to_owned()));
    }
    if StdUnixStream::connect(path).is_ok() {
        return Err(DevError::InUse(path.to_owned()));
    }
    fs::remove_file(path).map_err(|source| DevError::Listen { path: path.to_owned(), source })
}

fn listen(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::at(path)?;
    // Between bind and listen nobody can connect: the permissions are never wider than this.
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok((UnixListener::from_std(socket.into())?, file))
}

/// Serves until `stop` is sent or dropped; every connection is cut then, as when an agent dies.
pub(super) async fn serve(
    listener: UnixListener,
    service: SpiffeWorkloadApiServer<Desk>,
    mut stop: oneshot::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stop => break,
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, service.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "development agent cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn connection(stream: UnixStream, service: SpiffeWorkloadApiServer<Desk>) {
    let answer = service_fn(move |request: http::Request<Incoming>| {
        let mut service = service.clone();
        async move { Ok::<_, Infallible>(service.call(request).await.unwrap_or_else(|e| match e {})) }
    });
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), answer)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "development agent lost a connection");
    }
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: found.dev(), inode: found.ino() })
    }

    fn is(&self, found: &Metadata) -> bool {
        (found.dev(), found.ino()) == (self.device, self.inode)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| self.is(&found)) {
            let path = self.path.display();
            if let Err(error) = fs::remove_file(&self.path) {
                tracing::warn!(%error, %path, "development agent cannot remove its socket");
            }
        }
    }
}
