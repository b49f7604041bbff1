//! New connections to where requests go: plaintext to our application, mTLS to another sidecar.

use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::timeout;

use super::dialled::Dialled;
use super::fault::{Fault, Waited};
use super::lifetime::{Lifetime, Side};
use super::wire::Wire;
use super::worker::{Decision, Worker};
use super::{Limits, Protocol};
use crate::live::Live;
use crate::net::{Stream, Target};
use crate::telemetry::metrics::UpstreamResult;
use crate::tls::{Alpn, Connector, Context, HandshakeError};

/// How a destination is reached.
#[derive(Debug)]
pub(super) enum Dial {
    /// Our own application: plaintext on this machine.
    Application(Target),
    /// Another service's sidecar: mTLS, and only with an identity that is expected there. HTTP/1.1
    /// and HTTP/2 have a connector each, because ALPN settles the protocol.
    Sidecar(Box<Sidecar>),
}

#[derive(Debug)]
pub(super) struct Sidecar {
    pub(super) target: Target,
    pub(super) http1: Connector,
    pub(super) http2: Connector,
    pub(super) raw: Connector,
    pub(super) contexts: Live<Context>,
    pub(super) protocol: Protocol,
}

/// Makes connections for one listener, on one worker.
#[derive(Debug)]
pub(super) struct Dialler {
    pub(super) dial: Dial,
    /// The name of the listener that it dials for.
    pub(super) listener: Arc<str>,
    pub(super) limits: Limits,
    pub(super) worker: Rc<Worker>,
}

/// A stream of our own to the destination, with its lifetime when it is a sidecar.
pub(super) struct Raw {
    pub(super) wire: Wire,
    pub(super) lifetime: Option<Lifetime>,
}

impl Dialler {
    /// A stream that no pool ever sees: for raw TCP, and for requests that switch protocols.
    pub(super) async fn raw(&self, upgrade: bool) -> Result<Raw, Fault> {
        match &self.dial {
            Dial::Application(target) => {
                let wire = self.dial_application(target).await?;
                Ok(Raw { wire, lifetime: None })
            }
            Dial::Sidecar(sidecar) => {
                let connector = if upgrade { &sidecar.http1 } else { &sidecar.raw };
                let (wire, lifetime) = self.dial_sidecar(sidecar, connector).await?;
                Ok(Raw { wire, lifetime: Some(lifetime) })
            }
        }
    }

    pub(super) async fn connect(&self, alpn: Alpn) -> Result<(Wire, Option<Lifetime>), Fault> {
        match &self.dial {
            Dial::Application(target) => Ok((self.dial_application(target).await?, None)),
            Dial::Sidecar(sidecar) => {
                let connector = if alpn == Alpn::Http2 { &sidecar.http2 } else { &sidecar.http1 };
                let (wire, lifetime) = self.dial_sidecar(sidecar, connector).await?;
                Ok((wire, Some(lifetime)))
            }
        }
    }

    async fn dial_application(&self, target: &Target) -> Result<Wire, Fault> {
        let stream = self.dial_target(target).await?;
        self.worker.upstream(UpstreamResult::Connected);
        Ok(Wire::Plain(stream))
    }

    async fn dial_target(&self, target: &Target) -> Result<Stream, Fault> {
        match target.dial(self.limits.connect).await {
            Ok(stream) => Ok(stream),
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                self.worker.upstream(UpstreamResult::TimedOut);
                Err(Fault::Timeout(Waited::Connection))
            }
            Err(error) => {
                self.worker.upstream(UpstreamResult::Unreachable);
                Err(Fault::Unreachable(error))
            }
        }
    }

    async fn dial_sidecar(
        &self,
        sidecar: &Sidecar,
        connector: &Connector,
    ) -> Result<(Wire, Lifetime), Fault> {
        // Without an identity there is nothing to say to anybody: not even a connection is made.
        if sidecar.contexts.load().own().is_none() {
            return Err(Fault::IdentityUnavailable);
        }
        let stream = self.dial_target(&sidecar.target).await?;
        let now = SystemTime::now();
        let handshake = timeout(self.limits.handshake, connector.connect(stream, now)).await;
        let connected = match handshake {
            Ok(Ok(connected)) => connected,
            Ok(Err(error)) => {
                self.worker.upstream(match error {
                    HandshakeError::Expectation { .. } => UpstreamResult::Identity,
                    _ => UpstreamResult::Handshake,
                });
                return Err(Fault::handshake(&error));
            }
            Err(_) => {
                self.worker.upstream(UpstreamResult::TimedOut);
                return Err(Fault::Timeout(Waited::Handshake));
            }
        };
        let own_id = connected.own.id.to_string();
        // Whom we talk to is the outbound side's decision, and has its audit line.
        self.worker
            .record(&Decision {
                listener: &self.listener,
                peer_id: Some(connected.peer.uri()),
                serial: Some(connected.peer.serial()),
                local_id: Some(&own_id),
                ..Decision::outbound(sidecar.protocol.spoken())
            })
            .await?;
        self.worker.upstream(UpstreamResult::Connected);
        let lifetime = Lifetime::new(
            Side::Dialled,
            &connected.peer,
            &connected.own,
            self.limits.connection_age.mul_f64(0.9),
            &sidecar.contexts,
            now,
        );
        Ok((Wire::Dialled(Box::new(Dialled::new(connected.stream))), lifetime))
    }

    /// Of our own SVID: connections made with an older one are not used again.
    pub(super) fn generation(&self) -> u64 {
        match &self.dial {
            Dial::Application(_) => 0,
            Dial::Sidecar(sidecar) => sidecar.contexts.load().generation(),
        }
    }
}
