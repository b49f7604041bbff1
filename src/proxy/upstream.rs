//! Connections to where requests go: our own application, or the sidecar in front of another
//! service. Each worker keeps its own, for each listener: a connection is never used for another
//! destination, expected identity or generation of our SVID than the one it was made for.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, Version};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::arrived::Arrived;
use super::dial::{Dial, Dialler, Link, Purpose};
use super::dialled::Refusal;
use super::ending::until_cut;
use super::fault::Fault;
use super::lease::{Idle, IdlePool, Lease, Terms};
use super::lifetime::Lifetime;
use super::replay::{replayable, was_closed};
use super::request_body::{BodyError, RequestBody};
use super::worker::Worker;
use super::{HYPERS_HEADERS, Limits};
use crate::http2::{self, Requester};

/// Requests on one HTTP/2 connection before another is made, even if the server takes more.
const MOST_STREAMS: usize = 100;
/// Connections that a request is offered to. One that takes no more is left out the next time.
const MOST_ATTEMPTS: usize = 8;
const REAP_EVERY: Duration = Duration::from_secs(1);
const H2_STREAM_WINDOW: u32 = 1 << 18;
/// Room for every stream's window: a caller who does not read stalls nobody else.
const H2_CONNECTION_WINDOW: u32 = H2_STREAM_WINDOW * MOST_STREAMS as u32;

/// One destination, as one worker sees it.
#[derive(Debug)]
pub(super) struct Upstream {
    dialler: Dialler,
    http1: IdlePool,
    http2: Rc<RefCell<Vec<Shared>>>,
    /// One HTTP/2 connection is made at a time; who comes meanwhile shares it.
    connecting: Semaphore,
    /// When and how the last attempt at one failed.
    failure: RefCell<Option<(Instant, Fault)>>,
    reaping: Rc<Cell<bool>>,
}

#[derive(Debug)]
struct Shared {
    requester: Rc<Requester>,
    terms: Terms,
    used: Cell<Instant>,
    refusal: Refusal,
}

/// A use of a shared connection.
struct Http2 {
    requester: Rc<Requester>,
    lease: Lease,
    refusal: Refusal,
    by_token: bool,
}

impl Shared {
    fn lend(&self, now: Instant) -> Http2 {
        self.used.set(now);
        let lease = Lease::Http2(self.requester.begin());
        let (requester, refusal) = (Rc::clone(&self.requester), self.refusal.clone());
        Http2 { requester, lease, refusal, by_token: self.terms.by_token() }
    }
}

impl Upstream {
    pub(super) fn new(dial: Dial, listener: Arc<str>, limits: Limits, worker: Rc<Worker>) -> Self {
        Self {
            dialler: Dialler { dial, listener, limits, worker },
            http1: Rc::default(),
            http2: Rc::default(),
            connecting: Semaphore::new(1),
            failure: RefCell::default(),
            reaping: Rc::default(),
        }
    }

    /// Sends one request and waits for the head of its answer. The time limit on the answer is the
    /// caller's; those on connecting are kept here.
    ///
    /// What is to be sent is taken out of its place once it is.
    pub(super) async fn send(
        &self,
        version: Version,
        unsent: &mut Option<Request<RequestBody>>,
    ) -> Result<(Response<Arrived>, Lease), Fault> {
        if version == Version::HTTP_2 {
            self.send_http2(unsent).await
        } else {
            self.send_http1(unsent).await
        }
    }

    async fn send_http1(
        &self,
        unsent: &mut Option<Request<RequestBody>>,
    ) -> Result<(Response<Arrived>, Lease), Fault> {
        while let Some(mut idle) = self.take_idle() {
            let mut request = unsent.take().ok_or_else(sent_before)?;
            let replay = idle.may_have_been_closed().then(|| replayable(&request)).flatten();
            let replay = replay.map(Box::new);
            self.dialler.prepare(&mut request, idle.terms.by_token())?;
            let mut error = match idle.sender.try_send_request(request).await {
                Ok(response) => {
                    return Ok((response.map(Arrived::from), self.lease(idle.sender, idle.terms)));
                }
                Err(error) => error,
            };
            if let Some(back) = error.take_message() {
                // Not a byte was sent: the next connection, then.
                *unsent = Some(back);
                continue;
            }
            let error = error.into_error();
            match replay {
                // Sent a second time at most, and where it cannot meet another closed connection.
                Some(copy) if was_closed(&error) => {
                    *unsent = Some(*copy);
                    break;
                }
                _ => return Err(broken_off(error, &Refusal::default())),
            }
        }
        // Apart, as are other steps that few requests take: what they need is no part of each one.
        Box::pin(self.send_on_new_http1(unsent)).await
    }

    async fn send_on_new_http1(
        &self,
        unsent: &mut Option<Request<RequestBody>>,
    ) -> Result<(Response<Arrived>, Lease), Fault> {
        let (mut sender, terms, refusal) = self.connect_http1().await?;
        let mut request = unsent.take().ok_or_else(sent_before)?;
        self.dialler.prepare(&mut request, terms.by_token())?;
        let response =
            sender.send_request(request).await.map_err(|error| broken_off(error, &refusal))?;
        Ok((response.map(Arrived::from), self.lease(sender, terms)))
    }

    async fn send_http2(
        &self,
        unsent: &mut Option<Request<RequestBody>>,
    ) -> Result<(Response<Arrived>, Lease), Fault> {
        for _ in 0..MOST_ATTEMPTS {
            let Http2 { requester, lease, refusal, by_token } = self.shared_http2().await?;
            if let Some(request) = unsent {
                self.dialler.prepare(request, by_token)?;
            }
            match requester.send(unsent).await {
                Ok(response) => return Ok((response.map(Arrived::from), lease)),
                Err(_) if unsent.is_some() && !refusal.has_come() => {}
                Err(error) => return Err(refusal.explain(error)),
            }
        }
        Err(Fault::Unreachable(ErrorKind::ConnectionAborted.into()))
    }

    pub(super) fn dialler(&self) -> &Dialler {
        &self.dialler
    }

    /// A connection that no pool ever sees: for raw TCP, and for requests that switch protocols.
    pub(super) async fn own_link(&self, purpose: Purpose) -> Result<Link, Fault> {
        self.dialler.connect(purpose).await
    }

    /// See [`Dialler::prepare`].
    pub(super) fn prepare<B>(&self, request: &mut Request<B>, by_token: bool) -> Result<(), Fault> {
        self.dialler.prepare(request, by_token)
    }

    fn lease(&self, sender: http1::SendRequest<RequestBody>, terms: Terms) -> Lease {
        self.reap_idle_connections();
        Lease::Http1 { sender, terms, pool: Rc::clone(&self.http1) }
    }

    /// The connection used last, because it is the least likely to have been closed.
    fn take_idle(&self) -> Option<Idle> {
        let mut pool = self.http1.borrow_mut();
        let generation = self.dialler.generation();
        // One that is not ready yet has only just been given back: it stays for the next request.
        let usable = |idle: &Idle| {
            idle.terms.hold(generation)
                && idle.sender.is_ready()
                && self.dialler.may_use(idle.terms.vouched_by.as_ref())
        };
        let place = pool.iter().rposition(usable)?;
        Some(pool.remove(place))
    }

    async fn connect_http1(
        &self,
    ) -> Result<(http1::SendRequest<RequestBody>, Terms, Refusal), Fault> {
        let link = self.dialler.connect(Purpose::Http1).await?;
        let terms = self.terms(&link);
        let Link { wire, lifetime, .. } = link;
        let refusal = wire.refusal();
        let (sender, connection) = self
            .http1_builder()
            .handshake(TokioIo::new(wire))
            .await
            .map_err(|error| refusal.explain(error))?;
        self.drive(connection, lifetime);
        Ok((sender, terms, refusal))
    }

    /// A builder with the limits that hold for answers, too.
    pub(super) fn http1_builder(&self) -> http1::Builder {
        let mut builder = http1::Builder::new();
        let limits = &self.dialler.limits;
        builder.max_header_size(limits.header_bytes);
        if limits.header_count != HYPERS_HEADERS {
            builder.max_headers(limits.header_count);
        }
        builder
    }

    /// Runs a connection in a task of its own until it ends, or its lifetime does.
    pub(super) fn drive(&self, connection: impl Future + 'static, lifetime: Option<Lifetime>) {
        let open = self.dialler.worker.upstream_open();
        tokio::task::spawn_local(async move {
            // An error here is an error of the request that is on its way, and is told there.
            until_cut(connection, lifetime).await;
            drop(open);
        });
    }

    async fn shared_http2(&self) -> Result<Http2, Fault> {
        if let Some(found) = self.find_http2() {
            return Ok(found);
        }
        let asked = Instant::now();
        let _slot = self.connecting.acquire().await;
        if let Some(found) = self.find_http2() {
            return Ok(found);
        }
        // Whoever waited for an attempt that failed shares its outcome, and does not try in turn.
        if let Some((failed, fault)) = &*self.failure.borrow()
            && *failed > asked
        {
            return Err(fault.shared());
        }
        Box::pin(self.connect_http2()).await.inspect_err(|fault| {
            *self.failure.borrow_mut() = Some((Instant::now(), fault.shared()));
        })
    }

    async fn connect_http2(&self) -> Result<Http2, Fault> {
        let link = self.dialler.connect(Purpose::Http2).await?;
        let terms = self.terms(&link);
        let Link { wire, lifetime, .. } = link;
        let refusal = wire.refusal();
        let limits = http2::Limits {
            // Here it is us who greet.
            greeting: Duration::MAX,
            // It is for servers to open none towards us.
            streams: 0,
            header_bytes: u32::try_from(self.dialler.limits.header_bytes).unwrap_or(u32::MAX),
            stream_window: H2_STREAM_WINDOW,
            connection_window: H2_CONNECTION_WINDOW,
        };
        let (requester, connection) =
            http2::dial(wire, limits).await.map_err(|error| refusal.explain(error))?;
        self.drive(connection, lifetime);
        let requester = Rc::new(requester);
        // Ours at once: by now a newer SVID may have made it unfit for anybody else.
        let used = Cell::new(Instant::now());
        let shared = Shared { requester, terms, used, refusal };
        let first = shared.lend(Instant::now());
        self.http2.borrow_mut().push(shared);
        self.reap_idle_connections();
        Ok(first)
    }

    fn find_http2(&self) -> Option<Http2> {
        let generation = self.dialler.generation();
        let mut pool = self.http2.borrow_mut();
        let now = Instant::now();
        pool.retain(|shared| {
            shared.terms.hold_at(now, generation) && !shared.requester.is_closed()
        });
        let usable = |shared: &&Shared| {
            shared.requester.open() < shared.requester.capacity().min(MOST_STREAMS)
                && self.dialler.may_use(shared.terms.vouched_by.as_ref())
        };
        pool.iter().find(usable).map(|shared| shared.lend(now))
    }

    pub(super) fn terms(&self, link: &Link) -> Terms {
        let vouched_by = link.vouched_by.clone();
        match &link.lifetime {
            Some(lifetime) => Terms {
                retire_at: lifetime.retire_at(),
                generation: lifetime.generation(),
                vouched_by,
            },
            None => Terms {
                retire_at: Instant::now() + self.dialler.limits.connection_age,
                generation: 0,
                vouched_by,
            },
        }
    }

    /// Closes what has lain idle too long or may not be used again. Runs only while there is
    /// something to look after.
    fn reap_idle_connections(&self) {
        if self.reaping.replace(true) {
            return;
        }
        let (http1, http2) = (Rc::clone(&self.http1), Rc::clone(&self.http2));
        let reaping = Rc::clone(&self.reaping);
        let idle_limit = self.dialler.limits.upstream_idle;
        let contexts = match &self.dialler.dial {
            Dial::Application(_) => None,
            Dial::Sidecar(sidecar) => Some(sidecar.contexts.clone()),
        };
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(REAP_EVERY).await;
                let generation =
                    contexts.as_ref().map_or(0, |contexts| contexts.load().generation());
                let mut http1 = http1.borrow_mut();
                http1.retain(|idle| {
                    idle.terms.hold(generation)
                        && !idle.sender.is_closed()
                        && idle.since.elapsed() < idle_limit
                });
                let mut http2 = http2.borrow_mut();
                http2.retain(|shared| {
                    shared.terms.hold(generation)
                        && !shared.requester.is_closed()
                        && (shared.requester.open() > 0 || shared.used.get().elapsed() < idle_limit)
                });
                if http1.is_empty() && http2.is_empty() {
                    break;
                }
            }
            reaping.set(false);
        });
    }
}

/// Nobody sends a request twice; if somebody did, it would have to be refused.
fn sent_before() -> Fault {
    Fault::Unreachable(ErrorKind::InvalidInput.into())
}

/// Whose fault it is: a body that ends before its end is the caller's, whoever is told of it.
fn broken_off(error: hyper::Error, refusal: &Refusal) -> Fault {
    if BodyError::ended(&error) && !refusal.has_come() {
        return Fault::BadRequest("malformed_body");
    }
    refusal.explain(error)
}
