//! The raw TCP service: a line at a time, and a goodbye when the caller has said all.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::web::PATIENCE;

/// Longest conversation, in bytes.
const LONGEST: u64 = 64 * 1024;

#[derive(Debug)]
pub(super) struct Cache {
    pub(super) address: SocketAddr,
    connections: Arc<AtomicU64>,
}

impl Cache {
    pub(super) async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let connections = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    if let Err(error) = converse(stream).await {
                        tracing::debug!(%error, "connection ended");
                    }
                });
            }
        });
        Ok(Self { address, connections })
    }

    /// Connections that arrived, whoever made them.
    pub(super) fn reached(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn converse(mut stream: TcpStream) -> std::io::Result<()> {
    let (input, mut output) = stream.split();
    let mut lines = BufReader::new(input.take(LONGEST)).lines();
    let mut stored = BTreeMap::new();
    while let Some(line) = lines.next_line().await? {
        let answer = answer(&line, &mut stored);
        output.write_all(format!("{answer}\n").as_bytes()).await?;
    }
    // The caller has closed its half; ours is still open.
    output.write_all(b"BYE\n").await?;
    output.shutdown().await
}

pub(super) fn answer(line: &str, stored: &mut BTreeMap<String, String>) -> String {
    let mut words = line.splitn(3, ' ');
    match (words.next(), words.next(), words.next()) {
        (Some("SET"), Some(key), Some(value)) => {
            stored.insert(key.to_owned(), value.to_owned());
            "OK".to_owned()
        }
        (Some("GET"), Some(key), None) => stored.get(key).cloned().unwrap_or_else(|| "NIL".into()),
        _ => "ERR".to_owned(),
    }
}

/// A caller: says all of it, closes its half, and reads to the end.
pub(super) async fn call(port: u16, said: &str) -> anyhow::Result<String> {
    let talk = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(said.as_bytes()).await?;
        stream.shutdown().await?;
        let mut heard = String::new();
        stream.take(LONGEST).read_to_string(&mut heard).await?;
        anyhow::Ok(heard)
    };
    timeout(PATIENCE, talk).await.context("no answer in time")?
}
