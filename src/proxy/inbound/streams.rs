//! A connection on which another Sidegate opens many raw streams. Each is judged, audited, counted
//! and cut as if it had come on a connection of its own.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};

use super::Inbound;
use crate::http2::InUse;
use crate::net::Stream;
use crate::proxy::Phase;
use crate::proxy::ending::ended;
use crate::proxy::gate::Caller;
use crate::proxy::lifetime::Lifetime;
use crate::proxy::mux::{Asked, Carried};
use crate::proxy::wire::Wire;
use crate::tls::Accepted;

/// What the streams of one connection have in common.
struct Company {
    caller: Caller,
    slots: Arc<Semaphore>,
    /// The connection's own slot, as used by one of its streams: alone, a stream counts as much as
    /// a connection of its own.
    first: Arc<Semaphore>,
    open: Rc<Cell<usize>>,
    /// When the last of them ended.
    unused_since: Cell<Instant>,
    phase: Phase,
}

impl Inbound {
    pub(super) async fn streams(
        self: Rc<Self>,
        accepted: Accepted<Stream>,
        address: Option<SocketAddr>,
        slots: Arc<Semaphore>,
        phase: Phase,
    ) {
        let Accepted { stream, peer, own, .. } = accepted;
        let caller = self.gate.caller(peer, own, address);
        let lifetime = self.gate.lifetime(&caller);
        let limits = &self.gate.settings.limits;
        let wire = Wire::Accepted(Box::new(stream));
        let Ok(Ok(carried)) =
            timeout(limits.handshake, Carried::accept(wire, limits.streams)).await
        else {
            return tracing::debug!(?address, "no streams on a connection meant for them");
        };
        let first = Arc::new(Semaphore::new(1));
        let (open, cut) = (Rc::default(), phase.clone());
        let unused_since = Cell::new(Instant::now());
        let company = Rc::new(Company { caller, slots, first, open, unused_since, phase });
        tokio::select! {
            () = Rc::clone(&self).each_stream(carried, company, lifetime.clone()) => {}
            // With the connection, every stream on it is torn.
            () = ended(lifetime) => {}
            () = cut.cut() => {}
        }
    }

    /// Serves what is asked for until the connection is over, or nobody uses it.
    async fn each_stream(
        self: Rc<Self>,
        mut carried: Carried<Wire>,
        company: Rc<Company>,
        mut lifetime: Lifetime,
    ) {
        let idle = self.gate.settings.limits.idle;
        let mut look_again = Instant::now() + idle;
        let mut retired = false;
        loop {
            tokio::select! {
                asked = carried.next() => match asked {
                    Ok(Some(asked)) => self.serve(asked, &company),
                    Ok(None) => return,
                    Err(error) => return tracing::debug!(%error, "streams broken off"),
                },
                () = retiring(&mut lifetime, &company.phase), if !retired => {
                    retired = true;
                    carried.retire();
                }
                // Once retired, the connection ends by itself when all that was written is out.
                () = sleep_until(look_again), if !retired => {
                    look_again = company.unused_since() + idle;
                    if look_again <= Instant::now() {
                        retired = true;
                        carried.retire();
                    }
                }
            }
        }
    }

    fn serve(self: &Rc<Self>, asked: Asked, company: &Rc<Company>) {
        let (this, company) = (Rc::clone(self), Rc::clone(company));
        let in_use = InUse::new(&company.open);
        self.gate.worker.spawn(async move {
            tokio::select! {
                () = this.stream(asked, &company) => {}
                () = company.phase.cut() => {}
            }
            drop(in_use);
            company.unused_since.set(Instant::now());
        });
    }

    async fn stream(&self, mut asked: Asked, company: &Company) {
        let admitting = async {
            let place = self.gate.worker.place(company.slot().await?);
            Some((place, self.admit(&company.caller).await?))
        };
        // A stream that is reset counts no longer towards what its connection may have open: did its
        // task go on, there would be no bound to them.
        let admitted = tokio::select! {
            biased;
            () = asked.gone() => None,
            admitted = admitting => admitted,
        };
        let Some((place, admitted)) = admitted else { return };
        let Ok(near) = asked.open() else { return };
        self.carry(Wire::Shared(Box::new(near)), admitted, &company.caller).await;
        drop(place);
    }
}

impl Company {
    fn unused_since(&self) -> Instant {
        if self.open.get() > 0 { Instant::now() } else { self.unused_since.get() }
    }

    /// Beyond the listener's limit a stream waits, as a connection does.
    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            biased;
            slot = Arc::clone(&self.first).acquire_owned() => slot.ok(),
            slot = Arc::clone(&self.slots).acquire_owned() => slot.ok(),
        }
    }
}

/// Resolves when no more streams shall be opened here.
async fn retiring(lifetime: &mut Lifetime, phase: &Phase) {
    tokio::select! {
        _ = lifetime.retired() => {}
        () = phase.draining() => {}
    }
}
