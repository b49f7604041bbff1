//! How far bytes get: bodies that are made as they are taken, and readers that check them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};
use sidegate::app::{self, Running};
use sidegate::config;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::app::{Body, channel};
use super::wait::{until, within};
use super::{World, side};

const PIECE: usize = 64 * 1024;
/// Has no divisor in common with any buffer: a piece that is lost or moved shows.
const PERIOD: usize = 251;

/// `length` bytes from `offset` of a pattern that repeats only after [`PERIOD`].
pub fn pattern(offset: usize, length: usize) -> Bytes {
    (offset..offset + length).map(|at| (at % PERIOD) as u8).collect()
}

/// A request whose body is made only as fast as it is taken, and how much was taken so far.
pub fn upload(path: &str, length: usize) -> (Request<Body>, Arc<AtomicUsize>) {
    let (sender, body) = channel();
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    tokio::spawn(async move {
        // A whole number of periods: each piece is a slice of the same bytes.
        let source = pattern(0, PIECE + PERIOD);
        let mut at = 0;
        while at < length {
            let start = at % PERIOD;
            let piece = source.slice(start..start + PIECE.min(length - at));
            at += piece.len();
            if sender.send(Ok(Frame::data(piece))).await.is_err() {
                return;
            }
            counter.store(at, Ordering::SeqCst);
        }
    });
    let request = Request::builder().method(Method::POST).uri(path).body(body).unwrap();
    (request, taken)
}

/// Reads a body to its end and asserts that it is `length` bytes of the pattern.
pub async fn assert_pattern(mut body: Incoming, length: usize) {
    let source = pattern(0, 1 << 20);
    let mut at = 0;
    while let Some(frame) = within("more of a body", body.frame()).await {
        let Ok(bytes) = frame.unwrap().into_data() else { continue };
        let start = at % PERIOD;
        assert!(bytes == source[start..start + bytes.len()], "wrong bytes after {at}");
        at += bytes.len();
    }
    assert_eq!(at, length);
}

/// How many bytes a body has to its end.
pub async fn length(mut body: Incoming) -> usize {
    let mut length = 0;
    while let Some(frame) = within("more of a body", body.frame()).await {
        length += frame.unwrap().into_data().map_or(0, |bytes| bytes.len());
    }
    length
}

/// Carries one connection from `listener` to an address until it is told to cut it: an end of TCP
/// to both sides, with nothing said on top.
pub fn wire(listener: TcpListener, to: SocketAddr) -> (oneshot::Sender<()>, JoinHandle<()>) {
    let (cut, told) = oneshot::channel();
    let carrying = tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = TcpStream::connect(to).await.unwrap();
        tokio::select! {
            carried = copy_bidirectional(&mut near, &mut far) => panic!("over early: {carried:?}"),
            told = told => told.unwrap(),
        }
        for stream in [&mut near, &mut far] {
            stream.shutdown().await.unwrap();
        }
        // Until they are gone: a socket with something unread would end in a reset.
        for stream in [&mut near, &mut far] {
            stream.read_to_end(&mut Vec::new()).await.ok();
        }
    });
    (cut, carrying)
}

/// The listeners of a sidecar that a test starts itself.
pub enum Beside {
    Inbound(Value),
    Outbound(Value),
}

impl World {
    /// Starts one more sidecar with the identity and the policy of `name`, and waits until it is
    /// ready.
    pub async fn beside(&self, name: &str, listeners: Beside) -> Running {
        let running = self.try_beside(name, listeners).unwrap_or_else(|error| panic!("{error:#}"));
        let health = running.health().unwrap();
        until("one more sidecar to be ready", async || {
            side::reasons(health, "/ready").await.is_empty().then_some(())
        })
        .await;
        running
    }

    /// The same, where the start may fail.
    pub fn try_beside(&self, name: &str, listeners: Beside) -> anyhow::Result<Running> {
        let mut configuration = json!({
            "tenant": self.service(name).spec.tenant,
            "workers": 2,
            "identity": {
                "workload_api": self.agent(name).endpoint(),
                "danger_accept_dev_agent": true,
            },
            "policy": self.path(name).join("policy"),
            "audit": {"to": self.path(name).join("beside.jsonl")},
            "health": {"listen": "127.0.0.1:0"},
        });
        match listeners {
            Beside::Inbound(listeners) => configuration["inbound"] = listeners,
            Beside::Outbound(listeners) => configuration["outbound"] = listeners,
        }
        let text = configuration.to_string();
        let config = config::parse(&text, "beside.yaml", std::iter::empty())
            .unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        app::start(config)
    }

    /// Takes the place of the HTTP application of `name`: what connects there is the test's.
    pub async fn stand_in(&self, name: &str) -> TcpListener {
        self.app(name).stop().await;
        TcpListener::bind(self.app(name).address()).await.unwrap()
    }

    /// Asserts that the application of `name` was not reached, and that its sidecar says `reason`
    /// exactly once.
    pub async fn assert_refused(&self, name: &str, reason: &str) {
        let line = self.audit(name).only(reason).await;
        assert_eq!(line.decision, "deny");
        assert_eq!(self.app(name).requests(), 0, "the application was reached");
        assert_eq!(self.tcp_app(name).connections(), 0, "the application was reached");
    }
}
