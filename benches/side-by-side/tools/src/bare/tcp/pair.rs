//! Two sockets and the TLS between them, moved on as far as they go.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::Connection;

/// One read, and with it one write: where more stops to be faster.
const BUFFER: usize = 128 * 1024;
/// What rustls may hold of a record from before.
const HELD: usize = 32 * 1024;
/// Reads in each direction before others get their turn.
const TURN: usize = 8;

/// What the thread lends to one pair at a time.
pub(super) struct Buffers {
    input: Box<[u8]>,
    output: Box<[u8]>,
}

impl Buffers {
    pub(super) fn new() -> Self {
        Self { input: vec![0; BUFFER].into(), output: vec![0; BUFFER + HELD].into() }
    }
}

/// A socket, and what the kernel said of it last. The kernel tells changes only.
pub(super) struct Socket {
    stream: TcpStream,
    readable: bool,
    writable: bool,
    /// The peer sends no more: whatever is read, there is an end behind it.
    ending: bool,
}

impl Socket {
    pub(super) fn accepted(
        stream: TcpStream,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Self::register(stream, registry, token, true)
    }

    /// Not connected yet: that it is writable says so.
    pub(super) fn dial(to: SocketAddr, registry: &Registry, token: Token) -> io::Result<Self> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        Self::register(stream, registry, token, false)
    }

    fn register(
        mut stream: TcpStream,
        registry: &Registry,
        token: Token,
        writable: bool,
    ) -> io::Result<Self> {
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { stream, readable: false, writable, ending: false })
    }

    fn is_ready(&mut self, event: &Event) {
        self.ending |= event.is_read_closed() || event.is_error();
        self.readable |= event.is_readable() || self.ending;
        self.writable |= event.is_writable() || event.is_error();
    }

    /// `None` if there is nothing to read now; nothing read is the end.
    fn read<'a>(&mut self, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
        if !self.readable {
            return Ok(None);
        }
        match self.stream.read(buffer) {
            Ok(count) => {
                // A short read has emptied the socket: asking again would be a call for nothing.
                self.readable = count == buffer.len() || self.ending;
                Ok(buffer.get(..count))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// How much was taken.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut done = 0;
        while self.writable
            && let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty())
        {
            match self.stream.write(rest) {
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Waits,
    Used,
    Over,
}

pub(super) struct Pair {
    /// `None` on the server side until the caller is known.
    plain: Option<Socket>,
    secure: Socket,
    tls: Connection,
    /// What the plain side did not take. Until it has, nothing more is read for it.
    unsent: Vec<u8>,
    plain_ended: bool,
    secure_ended: bool,
}

impl Pair {
    pub(super) fn new(plain: Option<Socket>, secure: Socket, mut tls: Connection) -> Self {
        // It is bounded by what is read: one buffer at a time.
        tls.set_buffer_limit(None);
        let unsent = Vec::new();
        Self { plain, secure, tls, unsent, plain_ended: false, secure_ended: false }
    }

    pub(super) fn plain_is_ready(&mut self, event: &Event) {
        if let Some(plain) = &mut self.plain {
            plain.is_ready(event);
        }
    }

    pub(super) fn secure_is_ready(&mut self, event: &Event) {
        self.secure.is_ready(event);
    }

    /// Moves what can be moved. `dial` gives the application's socket, once.
    pub(super) fn drive(
        &mut self,
        buffers: &mut Buffers,
        dial: impl Fn() -> io::Result<Socket>,
    ) -> io::Result<Turn> {
        for _ in 0..TURN {
            // First, and so behind every move as well: what stays is left to a socket that the
            // kernel will tell us of.
            self.flush_plain()?;
            self.flush_secure()?;
            if self.plain_ended && self.secure_ended && self.is_flushed() {
                return Ok(Turn::Over);
            }
            let received = self.receive(buffers)?;
            if self.plain.is_none() && !self.tls.is_handshaking() {
                self.plain = Some(dial()?);
            }
            let sent = self.send(buffers)?;
            if !received && !sent {
                return Ok(Turn::Waits);
            }
        }
        Ok(Turn::Used)
    }

    fn is_flushed(&self) -> bool {
        self.unsent.is_empty() && !self.tls.wants_write()
    }

    /// From the secure side to the plain one.
    fn receive(&mut self, buffers: &mut Buffers) -> io::Result<bool> {
        if self.secure_ended || !self.unsent.is_empty() {
            return Ok(false);
        }
        let Some(records) = self.secure.read(&mut buffers.input)? else { return Ok(false) };
        if records.is_empty() {
            // An end that TLS does not vouch for.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let decrypted = self.decrypt(records, &mut buffers.output)?;
        let plaintext = buffers.output.get(..decrypted).unwrap_or_default();
        let taken = match &mut self.plain {
            Some(plain) => plain.write(plaintext)?,
            None => 0,
        };
        self.unsent.extend_from_slice(plaintext.get(taken..).unwrap_or_default());
        self.end_plain()?;
        Ok(true)
    }

    /// How much of `output` is plaintext now.
    fn decrypt(&mut self, mut records: &[u8], output: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while !records.is_empty() && !self.secure_ended {
            self.tls.read_tls(&mut records)?;
            let state = match self.tls.process_new_packets() {
                Ok(state) => state,
                Err(error) => {
                    // The peer is told why, if there is room.
                    self.tls.write_tls(&mut self.secure.stream).ok();
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            };
            self.secure_ended = state.peer_has_closed();
            let mut left = state.plaintext_bytes_to_read();
            while left > 0 {
                let room = output.get_mut(filled..).unwrap_or_default();
                let count = self.tls.reader().read(room)?;
                if count == 0 {
                    return Err(io::ErrorKind::OutOfMemory.into());
                }
                filled += count;
                left = left.saturating_sub(count);
            }
        }
        Ok(filled)
    }

    fn flush_plain(&mut self) -> io::Result<()> {
        let Some(plain) = &mut self.plain else { return Ok(()) };
        if self.unsent.is_empty() {
            return Ok(());
        }
        let taken = plain.write(&self.unsent)?;
        self.unsent.drain(..taken);
        if self.unsent.is_empty() {
            self.unsent = Vec::new();
        }
        self.end_plain()
    }

    /// Passes the end of the secure side on, behind all that came before it.
    fn end_plain(&self) -> io::Result<()> {
        match &self.plain {
            Some(plain) if self.secure_ended && self.unsent.is_empty() => {
                plain.stream.shutdown(Shutdown::Write)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// From the plain side to the secure one, once the peer is known and took what came before.
    fn send(&mut self, buffers: &mut Buffers) -> io::Result<bool> {
        if self.plain_ended || self.tls.is_handshaking() || self.tls.wants_write() {
            return Ok(false);
        }
        let Some(plain) = &mut self.plain else { return Ok(false) };
        let Some(plaintext) = plain.read(&mut buffers.input)? else { return Ok(false) };
        if plaintext.is_empty() {
            self.plain_ended = true;
            self.tls.send_close_notify();
        } else {
            self.tls.writer().write_all(plaintext)?;
        }
        Ok(true)
    }

    /// All records in one call, as far as the socket takes them.
    fn flush_secure(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            if !self.secure.writable {
                return Ok(());
            }
            match self.tls.write_tls(&mut self.secure.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.secure.writable = false;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
            if self.plain_ended && !self.tls.wants_write() {
                self.secure.stream.shutdown(Shutdown::Write)?;
            }
        }
        Ok(())
    }
}
