//! Sockets, threads and limits, the same for every program.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::thread;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::LocalSet;

/// As many as the kernel allows by default; it cuts what is above `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// How many loopback addresses connections are spread over. Each has ports of its own (28,000 by
/// default), and a port of a closed connection rests for a minute.
const SOURCES: u32 = 64;

/// A listening socket for each thread, all on one address: the kernel spreads connections.
pub(crate) fn listen(addr: SocketAddr, threads: usize) -> Result<Vec<TcpListener>> {
    // Sockets that share an address share its connections, those of a program that somebody forgot
    // as well. So it has to be free first.
    let mut addr = addr;
    drop(bind(addr, false).with_context(|| format!("cannot listen on {addr}"))?);
    let mut listeners = Vec::with_capacity(threads);
    for _ in 0..threads {
        let listener = bind(addr, true).with_context(|| format!("cannot listen on {addr}"))?;
        // Port 0 is a free port, and the next thread needs the same one.
        addr = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(listeners)
}

fn bind(addr: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Serves on this thread, which gets a runtime of its own.
pub(crate) fn serve<F, S>(listener: TcpListener, serve: F) -> Result<()>
where
    F: FnOnce(tokio::net::TcpListener) -> S,
    S: Future<Output = Result<()>>,
{
    let local = LocalSet::new();
    runtime()?.block_on(
        local.run_until(async { serve(tokio::net::TcpListener::from_std(listener)?).await }),
    )
}

/// Returns when the first thread does.
pub(crate) fn on_threads<F>(threads: impl IntoIterator<Item = F>) -> Result<()>
where
    F: FnOnce() -> Result<()> + Send + 'static,
{
    let (sender, results) = std::sync::mpsc::channel();
    for run in threads {
        let sender = sender.clone();
        thread::spawn(move || {
            // Nobody listens any more when another thread was first.
            sender.send(run()).ok();
        });
    }
    drop(sender);
    results.recv().context("a thread panicked")?
}

pub(crate) fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Lets hyper start its tasks on the thread that they belong to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future<Output: 'static> + 'static,
{
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

/// Connects from one of many loopback addresses, so that there are ports enough.
pub(crate) async fn connect(to: SocketAddr, turn: u32) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_nodelay(true)?;
    if let Some(source) = source(to, turn) {
        socket.bind(source)?;
    }
    socket.connect(to).await
}

/// As [`connect`], for a thread that waits.
pub(crate) fn connect_blocking(to: SocketAddr, turn: u32) -> io::Result<std::net::TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(source) = source(to, turn) {
        socket.bind(&source.into())?;
    }
    socket.connect(&to.into())?;
    Ok(socket.into())
}

fn source(to: SocketAddr, turn: u32) -> Option<SocketAddr> {
    let loopback = to.is_ipv4() && to.ip().is_loopback();
    let first = u32::from(Ipv4Addr::LOCALHOST) + 1;
    loopback.then(|| SocketAddr::new(IpAddr::V4((first + turn % SOURCES).into()), 0))
}

pub(crate) async fn accept(listener: &tokio::net::TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                stream.set_nodelay(true).ok();
                return stream;
            }
            // Out of descriptors, mostly. Closing connections give some back.
            Err(error) => {
                eprintln!("accept: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
    }
}

/// Closes with a reset, so that no port rests: for connections that are given up.
pub(crate) fn reset(stream: &TcpStream) {
    SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO)).ok();
}

/// Asks for as many open files as this process may have.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        eprintln!("open files stay at {:?}: {error}", limit.current);
    }
}
