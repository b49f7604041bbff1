//! Bytes through an event loop: the "bare event loop" of the figures.
//!
//! A thread has one epoll, one pair of buffers that it lends to the connection at hand, and
//! nothing else: no runtime, no timers, no task for a connection. An idle connection holds only
//! what rustls holds.

mod pair;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use slab::Slab;

use super::tls::Identity;
use pair::{Buffers, Pair, Socket, Turn};

const LISTENER: Token = Token(usize::MAX);

pub(super) fn serve(
    listener: std::net::TcpListener,
    connect: SocketAddr,
    identity: &Identity,
) -> Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::from_std(listener);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut thread = Thread {
        registry: poll.registry().try_clone()?,
        connect,
        identity,
        pairs: Slab::new(),
        buffers: Buffers::new(),
        again: Vec::new(),
    };
    loop {
        // Who had more than its turn goes on after all the others.
        let wait = (!thread.again.is_empty()).then_some(Duration::ZERO);
        match poll.poll(&mut events, wait) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        let again = std::mem::take(&mut thread.again);
        for event in &events {
            match event.token() {
                LISTENER => thread.accept(&listener),
                Token(token) => thread.ready(token, event),
            }
        }
        for key in again {
            thread.drive(key);
        }
    }
}

struct Thread<'a> {
    registry: Registry,
    connect: SocketAddr,
    identity: &'a Identity,
    pairs: Slab<Pair>,
    buffers: Buffers,
    /// Pairs that can go on without news from the kernel.
    again: Vec<usize>,
}

impl Thread<'_> {
    fn accept(&mut self, listener: &TcpListener) {
        loop {
            let added = match listener.accept() {
                Ok((stream, _)) => self.add(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => Err(error.into()),
            };
            if let Err(error) = added {
                eprintln!("accept: {error}");
                return;
            }
        }
    }

    fn add(&mut self, accepted: TcpStream) -> Result<()> {
        let entry = self.pairs.vacant_entry();
        let (plain, secure) = (Token(2 * entry.key()), Token(2 * entry.key() + 1));
        let tls = self.identity.connection()?;
        let pair = match self.identity {
            Identity::Client(_) => {
                let accepted = Socket::accepted(accepted, &self.registry, plain)?;
                let dialled = Socket::dial(self.connect, &self.registry, secure)?;
                Pair::new(Some(accepted), dialled, tls)
            }
            // Nothing is dialled before the caller is known.
            Identity::Server(_) => {
                Pair::new(None, Socket::accepted(accepted, &self.registry, secure)?, tls)
            }
        };
        entry.insert(pair);
        Ok(())
    }

    fn ready(&mut self, token: usize, event: &Event) {
        let key = token / 2;
        // One that ended within this batch of events.
        let Some(pair) = self.pairs.get_mut(key) else { return };
        match token % 2 {
            0 => pair.plain_is_ready(event),
            _ => pair.secure_is_ready(event),
        }
        self.drive(key);
    }

    fn drive(&mut self, key: usize) {
        let Some(pair) = self.pairs.get_mut(key) else { return };
        let (connect, registry) = (self.connect, &self.registry);
        let turn =
            pair.drive(&mut self.buffers, || Socket::dial(connect, registry, Token(2 * key)));
        match turn {
            Ok(Turn::Waits) => {}
            Ok(Turn::Used) => self.again.push(key),
            // How a connection ends is told by the load on the other side of the pair.
            Ok(Turn::Over) | Err(_) => drop(self.pairs.try_remove(key)),
        }
    }
}
