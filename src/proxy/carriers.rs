//! Connections that raw streams to another service's sidecar share, if that sidecar agrees; one
//! connection for each stream if it does not.
//!
//! As for requests, each worker has its own, and none is used for a new stream beyond the SVID that
//! it was made with. Which of the two it is to be, the server says in each handshake.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use super::dial::{Ends, Link, Purpose};
use super::ending::until_cut;
use super::fault::{Fault, Waited};
use super::lease::Terms;
use super::lifetime::Lifetime;
use super::mux::{self, Carrier, MuxStream};
use super::upstream::Upstream;
use super::wire::Wire;
use crate::http2::InUse;
use crate::live::Live;
use crate::tls::Context;

/// Streams on each connection before there is one more of them, so that both ends may spread them
/// over their cores.
const BEFORE_ANOTHER: usize = 32;
/// Connections made for that reason; beyond it, only what no other has room for.
const SPREAD_OVER: usize = 4;
/// How long a server that turned the offer down by refusing the handshake is spared it.
const SPARED: Duration = Duration::from_secs(60);
/// The name of the alert by which it does so.
const NO_SUCH_PROTOCOL: &str = "NoApplicationProtocol";
const REAP_EVERY: Duration = Duration::from_secs(1);

type Pool = Rc<RefCell<Vec<Rc<Shared>>>>;

/// The shared connections to one destination, as one worker has them.
#[derive(Debug)]
pub(super) struct Carriers {
    pool: Pool,
    contexts: Live<Context>,
    /// One is made at a time; who comes meanwhile uses what there is, or waits.
    connecting: Semaphore,
    /// When and how the last attempt failed.
    failure: RefCell<Option<(Instant, Fault)>>,
    /// The server did not agree when it was asked last: then nobody waits for anybody.
    one_for_each: Cell<bool>,
    /// Until then the server is not even asked.
    spared_until: Cell<Option<Instant>>,
    reaping: Rc<Cell<bool>>,
}

/// What a raw stream goes by.
#[derive(Debug)]
pub(super) struct RawLink {
    pub(super) wire: Wire,
    /// Of a connection of its own. A shared one is ended by whoever drives it.
    pub(super) lifetime: Option<Lifetime>,
    pub(super) _in_use: Option<InUse>,
}

#[derive(Debug)]
struct Shared {
    carrier: Carrier,
    terms: Terms,
    ends: Ends,
    streams: Rc<Cell<usize>>,
    used: Cell<Instant>,
    /// Its connection has ended, or takes no more streams.
    over: Rc<Cell<bool>>,
}

impl RawLink {
    pub(super) fn own(link: Link) -> Self {
        Self { wire: link.wire, lifetime: link.lifetime, _in_use: None }
    }

    fn shared(stream: MuxStream, in_use: InUse) -> Self {
        Self { wire: Wire::Shared(Box::new(stream)), lifetime: None, _in_use: Some(in_use) }
    }
}

impl Carriers {
    pub(super) fn new(contexts: Live<Context>) -> Self {
        Self {
            pool: Rc::default(),
            contexts,
            connecting: Semaphore::new(1),
            failure: RefCell::default(),
            one_for_each: Cell::default(),
            spared_until: Cell::default(),
            reaping: Rc::default(),
        }
    }

    /// The way for one more stream, with its audit line written.
    pub(super) async fn link(&self, upstream: &Upstream) -> Result<RawLink, Fault> {
        for _ in 0..3 {
            let shared = match self.find(true) {
                Some(shared) => shared,
                None => match self.another(upstream).await? {
                    Made::Shared(shared) => shared,
                    Made::Own(link) => return Ok(RawLink::own(*link)),
                },
            };
            let in_use = InUse::new(&shared.streams);
            let Ok(stream) = shared.carrier.open() else {
                // Retired by the other end, or torn: not a byte of this stream was sent.
                shared.over.set(true);
                continue;
            };
            shared.used.set(Instant::now());
            // Without its line the stream is dropped, and so reset, before anything is sent on it.
            upstream.dialler().record_stream(&shared.ends).await?;
            return Ok(RawLink::shared(stream, in_use));
        }
        Err(Fault::Unreachable(std::io::ErrorKind::ConnectionAborted.into()))
    }

    /// The connection with the fewest streams. `None` if there is none, or if it is time for
    /// one more to `spread` them over.
    fn find(&self, spread: bool) -> Option<Rc<Shared>> {
        let generation = self.contexts.load().generation();
        let mut pool = self.pool.borrow_mut();
        pool.retain(|shared| shared.fits(generation));
        let has_room = |it: &&Rc<Shared>| it.streams.get() < it.carrier.capacity();
        let found = pool.iter().filter(has_room).min_by_key(|it| it.streams.get())?;
        let crowded = found.streams.get() >= BEFORE_ANOTHER && pool.len() < SPREAD_OVER;
        (!(spread && crowded)).then(|| Rc::clone(found))
    }

    /// One more connection, or what there is while somebody else is making one.
    async fn another(&self, upstream: &Upstream) -> Result<Made, Fault> {
        if self.one_for_each.get() {
            return self.connect(upstream).await;
        }
        let asked = Instant::now();
        let _turn = match self.connecting.try_acquire() {
            Ok(turn) => Some(turn),
            Err(_) => {
                if let Some(shared) = self.find(false) {
                    return Ok(Made::Shared(shared));
                }
                let turn = self.connecting.acquire().await;
                if let Some(shared) = self.find(false) {
                    return Ok(Made::Shared(shared));
                }
                if self.one_for_each.get() {
                    drop(turn);
                    return self.connect(upstream).await;
                }
                // Whoever waited for an attempt that failed shares its outcome.
                if let Some((failed, fault)) = &*self.failure.borrow()
                    && *failed > asked
                {
                    return Err(fault.shared());
                }
                turn.ok()
            }
        };
        match self.connect(upstream).await {
            Ok(made) => Ok(made),
            // A crowded connection is better than none.
            Err(fault) => self.find(false).map(Made::Shared).ok_or_else(|| {
                *self.failure.borrow_mut() = Some((Instant::now(), fault.shared()));
                fault
            }),
        }
    }

    async fn connect(&self, upstream: &Upstream) -> Result<Made, Fault> {
        if self.spared_until.get().is_some_and(|until| Instant::now() < until) {
            return upstream.own_link(Purpose::Raw).await.map(Made::own);
        }
        let mut link = match upstream.own_link(Purpose::Streams).await {
            Err(Fault::UpstreamRefused(alert)) if alert == NO_SUCH_PROTOCOL => {
                self.one_for_each.set(true);
                self.spared_until.set(Some(Instant::now() + SPARED));
                return upstream.own_link(Purpose::Raw).await.map(Made::own);
            }
            link => link?,
        };
        let agreed = link.carries_streams.take();
        self.one_for_each.set(agreed.is_none());
        match agreed {
            Some(ends) => self.share(upstream, link, ends).await.map(Made::Shared),
            None => Ok(Made::own(link)),
        }
    }

    async fn share(
        &self,
        upstream: &Upstream,
        link: Link,
        ends: Ends,
    ) -> Result<Rc<Shared>, Fault> {
        let terms = upstream.terms(&link);
        let Link { wire, lifetime, .. } = link;
        let refusal = wire.refusal();
        let Ok((carrier, driven, let_in)) = mux::connect(wire).await else {
            return Err(refusal.fault());
        };
        let over = Rc::new(Cell::new(false));
        let raised_when_dropped = Over(Rc::clone(&over));
        let worker = &upstream.dialler().worker;
        let open = worker.upstream_open();
        // A shutdown waits for it: the last bytes of a stream leave after the stream is done.
        worker.spawn(async move {
            let _while_it_lasts = (raised_when_dropped, open);
            until_cut(driven, lifetime).await;
        });
        match timeout(upstream.dialler().limits.handshake, let_in).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(refusal.fault()),
            Err(_) => return Err(Fault::Timeout(Waited::Handshake)),
        }
        let shared = Rc::new(Shared {
            carrier,
            terms,
            ends,
            streams: Rc::default(),
            used: Cell::new(Instant::now()),
            over,
        });
        self.pool.borrow_mut().push(Rc::clone(&shared));
        self.reap(upstream.dialler().limits.upstream_idle);
        Ok(shared)
    }

    /// Lets go of what has lain idle too long or may not be used again: a connection ends with its
    /// last stream. Runs only while there is something to look after.
    fn reap(&self, idle: Duration) {
        if self.reaping.replace(true) {
            return;
        }
        let (pool, reaping) = (Rc::downgrade(&self.pool), Rc::clone(&self.reaping));
        let contexts = self.contexts.clone();
        tokio::task::spawn_local(async move {
            loop {
                sleep(REAP_EVERY).await;
                let generation = contexts.load().generation();
                let Some(pool) = pool.upgrade() else { break };
                let mut pool = pool.borrow_mut();
                pool.retain(|it| {
                    if it.streams.get() > 0 {
                        it.used.set(Instant::now());
                    }
                    it.fits(generation) && it.used.get().elapsed() < idle
                });
                if pool.is_empty() {
                    break;
                }
            }
            reaping.set(false);
        });
    }
}

impl Shared {
    fn fits(&self, generation: u64) -> bool {
        self.terms.hold(generation) && !self.over.get()
    }
}

/// Tells of the end of a connection, however it came.
struct Over(Rc<Cell<bool>>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

enum Made {
    Shared(Rc<Shared>),
    Own(Box<Link>),
}

impl Made {
    fn own(link: Link) -> Self {
        Self::Own(Box::new(link))
    }
}
