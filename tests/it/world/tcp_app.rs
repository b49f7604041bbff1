//! An application that speaks no HTTP: it sends everything back in capitals.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Lines that the application obeys instead of answering.
pub const RESET: &[u8] = b"reset!";
pub const GOODBYE: &[u8] = b"goodbye!";

/// A running application.
pub struct TcpApp {
    pub address: SocketAddr,
    counts: Arc<Counts>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    bytes: AtomicUsize,
    resets: AtomicUsize,
    finished: AtomicUsize,
}

impl TcpApp {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::new(Counts::default());
        let server = tokio::spawn(accept(listener, Arc::clone(&counts)));
        Self { address, counts, server }
    }

    pub fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    /// Bytes received on all connections.
    pub fn bytes(&self) -> usize {
        self.counts.bytes.load(Ordering::SeqCst)
    }

    /// Connections that were torn by the other side.
    pub fn resets(&self) -> usize {
        self.counts.resets.load(Ordering::SeqCst)
    }

    /// Connections that came to their end in order.
    pub fn finished(&self) -> usize {
        self.counts.finished.load(Ordering::SeqCst)
    }
}

impl Drop for TcpApp {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, counts: Arc<Counts>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        counts.connections.fetch_add(1, Ordering::SeqCst);
        let counts = Arc::clone(&counts);
        connections.spawn(async move {
            match serve(stream, &counts).await {
                Ok(()) => counts.finished.fetch_add(1, Ordering::SeqCst),
                Err(_) => counts.resets.fetch_add(1, Ordering::SeqCst),
            }
        });
    }
}

async fn serve(mut stream: TcpStream, counts: &Counts) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = stream.read(&mut buffer).await?;
        counts.bytes.fetch_add(read, Ordering::SeqCst);
        match &buffer[..read] {
            // The other side is done; there is still something to be said.
            b"" => {
                stream.write_all(b"the end").await?;
                return stream.shutdown().await;
            }
            RESET => {
                SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO))?;
                return Ok(());
            }
            // This side is done; it goes on listening.
            GOODBYE => stream.shutdown().await?,
            bytes => stream.write_all(&bytes.to_ascii_uppercase()).await.or_else(ended)?,
        }
    }
}

/// After its goodbye the application cannot write, and goes on reading.
fn ended(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}

/// Everything that comes goes back in capitals, until the other side is done.
pub async fn shout(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer[..read].to_ascii_uppercase()).await?;
        stream.flush().await?;
    }
}
