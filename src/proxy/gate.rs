//! Where an inbound request is judged: what all connections of a listener ask, and who is asking.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use spiffe::SpiffeId;
use tokio::time::sleep;

use super::dial::Dial;
use super::fault::Fault;
use super::lifetime::{Bounds, Lifetime, Side};
use super::proof::Proof;
use super::upstream::Upstream;
use super::worker::{Decision, Worker};
use super::{Limits, Protocol, Speaks};
use crate::authz::{Claims, Grants, Guard, Route, RouteTable};
use crate::live::{Changes, Live};
use crate::net::Target;
use crate::policy::{Direction, Local, Policy, Workload};
use crate::telemetry::audit;
use crate::tls::{Callers, Context, Peer, Presented};
use crate::token::{Verified, Verifier};

/// One inbound listener, as configured.
#[derive(Debug)]
pub struct InboundSettings {
    pub name: Arc<str>,
    pub forward_to: Target,
    pub protocol: Protocol,
    pub speaks: Speaks,
    /// Of an HTTP listener.
    pub routes: RouteTable,
    /// What a stream needs, on a TCP listener; `None` on an HTTP listener.
    pub stream: Option<Arc<Route>>,
    /// Who may connect, and what they are shown.
    pub callers: Callers,
    /// Who may say `x-forwarded-*` on behalf of others.
    pub trust_forwarded_from: Vec<SpiffeId>,
    pub limits: Limits,
}

/// Who decides: the rules, the policy, and one worker's memory of its answers.
#[derive(Debug, Clone)]
pub struct Judges {
    pub guard: Arc<Guard>,
    pub policy: Live<Policy>,
    pub grants: Grants,
    /// Of tokens, where callers may prove themselves by them.
    pub verifier: Verifier,
}

/// One inbound listener's decisions and its way to the application, as one worker has them.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) settings: Arc<InboundSettings>,
    pub(super) guard: Arc<Guard>,
    pub(super) policy: Live<Policy>,
    pub(super) upstream: Upstream,
    pub(super) worker: Rc<Worker>,
    grants: Grants,
    verifier: Verifier,
    contexts: Live<Context>,
}

/// Who is on the other end of one connection, and what of ours they were shown.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) proof: Proof,
    own: Presented,
    pub(super) address: Option<SocketAddr>,
    /// Our own identity, as policies see it.
    pub(super) local: Local,
    // As the audit lines of all its requests say it.
    address_text: Option<String>,
}

impl Caller {
    pub(super) fn serial(&self) -> Option<&str> {
        self.proof.peer().map(Peer::serial)
    }

    fn own_id(&self) -> Option<&str> {
        self.local.workload.as_ref().map(|own| &**own.uri())
    }

    /// In Envoy's form: who vouches, the hash of the leaf, who was verified. `None` for a caller
    /// without a certificate.
    pub(super) fn client_cert(&self) -> Option<String> {
        let peer = self.proof.peer()?;
        let mut text = format!("By={};Hash=", self.own_id().unwrap_or_default());
        for byte in peer.leaf_sha256() {
            // Writing to a string does not fail.
            write!(text, "{byte:02x}").ok();
        }
        text.push_str(";URI=");
        text.push_str(peer.uri());
        Some(text)
    }
}

impl Gate {
    pub(super) fn new(
        settings: Arc<InboundSettings>,
        judges: Judges,
        contexts: Live<Context>,
        worker: Rc<Worker>,
    ) -> Self {
        let upstream = Upstream::new(
            Dial::Application(settings.forward_to.clone()),
            Arc::clone(&settings.name),
            settings.limits.clone(),
            Rc::clone(&worker),
        );
        let Judges { guard, policy, grants, verifier } = judges;
        Self { settings, guard, policy, upstream, worker, grants, verifier, contexts }
    }

    /// Without a certificate, each request has to prove who sends it.
    pub(super) fn caller(
        &self,
        peer: Option<Peer>,
        own: Presented,
        address: Option<SocketAddr>,
    ) -> Caller {
        let workload = match &own {
            Presented::Svid(own) => Some(Workload::new(&own.id)),
            Presented::Files { .. } => self.contexts.load().own().map(|own| Workload::new(&own.id)),
        };
        let local = Local {
            workload,
            tenant: Arc::from(self.guard.service_tenant().as_str()),
            direction: Direction::Inbound,
        };
        let proof = peer.map_or_else(|| Proof::Tokens(self.verifier.clone()), Proof::Certificate);
        let address_text = address.map(|address| address.to_string());
        Caller { proof, own, address, local, address_text }
    }

    /// The rights of a caller by its certificate, or by the token of this request. `None` without
    /// either: then there is nothing to judge.
    pub(super) fn claims(
        &self,
        caller: &Caller,
        token: Option<&Arc<Verified>>,
        policy: &Policy,
    ) -> Option<Arc<Claims>> {
        let address = caller.address.map(|address| address.ip());
        let before = self.grants.evaluations();
        let now = SystemTime::now();
        let local = &caller.local;
        let claims = match (&caller.proof, token) {
            (Proof::Certificate(peer), _) => self.grants.claims(policy, peer, local, address, now),
            (Proof::Tokens(_), Some(token)) => {
                self.grants.claims_of_token(policy, token, local, address, now)
            }
            (Proof::Tokens(_), None) => return None,
        };
        self.worker.granted(self.grants.evaluations() != before);
        Some(claims)
    }

    pub(super) fn decision<'a>(
        &'a self,
        caller: &'a Caller,
        protocol: audit::Protocol,
    ) -> Decision<'a> {
        Decision {
            listener: &self.settings.name,
            address: caller.address_text.as_deref(),
            peer_id: caller.proof.peer().map(Peer::uri),
            serial: caller.serial(),
            local_id: caller.own_id(),
            ..Decision::inbound(protocol)
        }
    }

    /// Tells the operator that our own application is in trouble.
    pub(super) fn complain(&self, request_id: &str, fault: &Fault) {
        let InboundSettings { name, forward_to, .. } = &*self.settings;
        self.worker.complain(name, forward_to, request_id, fault);
    }

    pub(super) fn lifetime(&self, caller: &Caller) -> Lifetime {
        let age = self.settings.limits.connection_age;
        let bounds = Bounds::accepted(caller.proof.peer(), &caller.own);
        Lifetime::new(Side::Accepted, bounds, age, &self.contexts, SystemTime::now())
    }
}

/// Resolves when an open stream has to be judged again: the policy has changed, or the rights under
/// which it was let in run out.
pub(super) async fn to_be_judged_again(claims: &Claims, changes: &mut Changes) {
    let Some(expires) = claims.expires() else {
        return changes.changed().await;
    };
    let left = expires.duration_since(SystemTime::now()).unwrap_or_default();
    tokio::select! {
        () = changes.changed() => {}
        () = sleep(left) => {}
    }
}
