//! A TLS session without buffers of its own, whichever side of a connection it is.

use std::io::{self, ErrorKind};
use std::ops::Deref;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError,
    UnbufferedConnectionCommon, UnbufferedStatus, WriteTraffic,
};

/// The library's two kinds of session as one.
pub trait Session: Deref<Target = UnbufferedConnectionCommon<Self::Data>> {
    type Data;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Session for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

impl Session for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

/// What became of the records that came.
#[derive(Debug)]
pub(super) struct Taken {
    /// Bytes from the front that are not needed any more.
    pub(super) used: usize,
    pub(super) end: Option<End>,
}

/// Why nothing more will be read.
#[derive(Debug, Clone)]
pub(super) enum End {
    /// The peer said so.
    Closed,
    Failed(rustls::Error),
}

impl End {
    pub(super) fn as_error(&self) -> Option<io::Error> {
        match self {
            Self::Closed => None,
            Self::Failed(error) => Some(broken(error.clone())),
        }
    }
}

/// Takes in all whole records. What they say goes to `plain`, what has to be said to that, an
/// alert among it, to `unsent`.
///
/// Called again, it gets the bytes that are left over and what has come since, and never less: the
/// library remembers places in a message of which a part has come.
pub(super) fn take_in<S: Session>(
    session: &mut S,
    incoming: &mut [u8],
    unsent: &mut Vec<u8>,
    mut plain: impl FnMut(&[u8]),
) -> Taken {
    let mut used = 0;
    let end = loop {
        let rest = incoming.get_mut(used..).unwrap_or_default();
        let UnbufferedStatus { mut discard, state } = session.process(rest);
        let end = match state {
            Ok(ConnectionState::ReadTraffic(mut records)) => {
                let mut bad = None;
                while let Some(record) = records.next_record() {
                    match record {
                        Ok(record) => {
                            discard += record.discard;
                            plain(record.payload);
                        }
                        Err(error) => bad = Some(End::Failed(error)),
                    }
                }
                bad
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                append(&mut data, unsent).err().map(End::Failed)
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                // It is on its way with all that is unsent.
                data.done();
                None
            }
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Some(End::Closed),
            Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => {
                used += discard;
                break None;
            }
            Ok(_) => Some(End::Failed(rustls::Error::HandshakeNotComplete)),
            Err(error) => Some(End::Failed(error)),
        };
        used += discard;
        if end.is_some() {
            break end;
        }
    };
    if matches!(end, Some(End::Failed(_))) {
        last_words(session, unsent, plain);
    }
    Taken { used, end }
}

/// The alert by which the peer learns what was wrong. Nothing else is asked of the session any more.
fn last_words<S: Session>(session: &mut S, unsent: &mut Vec<u8>, mut plain: impl FnMut(&[u8])) {
    while session.wants_write() {
        match session.process(&mut []).state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                if append(&mut data, unsent).is_err() {
                    return;
                }
            }
            Ok(ConnectionState::ReadTraffic(mut records)) => {
                while let Some(Ok(record)) = records.next_record() {
                    plain(record.payload);
                }
            }
            _ => return,
        }
    }
}

/// Puts what `write` makes of the session into `buffer`, from `at` on, and says where that ends.
/// `held` is what [`take_in`] left over.
pub(super) fn seal<S: Session>(
    session: &mut S,
    held: &mut [u8],
    buffer: &mut Vec<u8>,
    mut at: usize,
    mut write: impl FnMut(&mut WriteTraffic<'_, S::Data>, &mut [u8]) -> Result<usize, EncryptError>,
) -> io::Result<usize> {
    loop {
        // No whole record is left in `held`, so nothing of it is used up here.
        match session.process(held).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => loop {
                let room = buffer.get_mut(at..).unwrap_or_default();
                match write(&mut traffic, room) {
                    Ok(written) => return Ok(at + written),
                    Err(EncryptError::InsufficientSize(InsufficientSizeError {
                        required_size,
                    })) if required_size > room.len() => buffer.resize(at + required_size, 0),
                    Err(error) => return Err(io::Error::other(error)),
                }
            },
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                at = encode(&mut data, buffer, at).map_err(broken)?;
            }
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(ConnectionState::PeerClosed) => {}
            Ok(_) => return Err(ErrorKind::BrokenPipe.into()),
            Err(error) => return Err(broken(error)),
        }
    }
}

fn append<D>(data: &mut EncodeTlsData<'_, D>, unsent: &mut Vec<u8>) -> Result<(), rustls::Error> {
    let end = encode(data, unsent, unsent.len())?;
    unsent.truncate(end);
    Ok(())
}

fn encode<D>(
    data: &mut EncodeTlsData<'_, D>,
    buffer: &mut Vec<u8>,
    at: usize,
) -> Result<usize, rustls::Error> {
    loop {
        let room = buffer.get_mut(at..).unwrap_or_default();
        match data.encode(room) {
            Ok(written) => return Ok(at + written),
            Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size }))
                if required_size > room.len() =>
            {
                buffer.resize(at + required_size, 0);
            }
            Err(_) => return Err(rustls::Error::EncryptError),
        }
    }
}

/// As the TLS library's errors travel: [`super::peer_alert`] finds them there.
pub(super) fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}
