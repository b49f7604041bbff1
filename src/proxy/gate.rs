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
use super::lifetime::{Lifetime, Side};
use super::upstream::Upstream;
use super::worker::{Decision, Worker};
use super::{Limits, Protocol, Speaks};
use crate::authz::{Claims, Grants, Guard, Route, RouteTable, Tenant};
use crate::live::{Changes, Live};
use crate::net::Target;
use crate::policy::{Direction, Local, Policy, Workload};
use crate::telemetry::audit;
use crate::tls::{Context, OwnTerms, Peer};

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
    contexts: Live<Context>,
}

/// The verified peer of one connection, and the SVID of ours that it was shown.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) peer: Peer,
    pub(super) own: OwnTerms,
    pub(super) address: Option<SocketAddr>,
    /// Our own identity, as policies see it.
    pub(super) local: Local,
    // As the audit lines of all its requests say it.
    own_id: String,
    address_text: Option<String>,
}

impl Caller {
    pub(super) fn new(
        peer: Peer,
        own: OwnTerms,
        address: Option<SocketAddr>,
        tenant: &Tenant,
    ) -> Self {
        let own_id = own.id.to_string();
        let address_text = address.map(|address| address.to_string());
        let local = Local {
            workload: Some(Workload::new(&own.id)),
            tenant: Arc::from(tenant.as_str()),
            direction: Direction::Inbound,
        };
        Self { peer, own, address, local, own_id, address_text }
    }

    /// In Envoy's form: who vouches, the hash of the leaf, who was verified.
    pub(super) fn client_cert(&self) -> String {
        let mut text = format!("By={};Hash=", self.own_id);
        for byte in self.peer.leaf_sha256() {
            // Writing to a string does not fail.
            write!(text, "{byte:02x}").ok();
        }
        text.push_str(";URI=");
        text.push_str(self.peer.uri());
        text
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
        let Judges { guard, policy, grants } = judges;
        Self { settings, guard, policy, upstream, worker, grants, contexts }
    }

    pub(super) fn claims(&self, caller: &Caller, policy: &Policy) -> Arc<Claims> {
        let address = caller.address.map(|address| address.ip());
        let before = self.grants.evaluations();
        let now = SystemTime::now();
        let claims = self.grants.claims(policy, &caller.peer, &caller.local, address, now);
        self.worker.granted(self.grants.evaluations() != before);
        claims
    }

    pub(super) fn decision<'a>(
        &'a self,
        caller: &'a Caller,
        protocol: audit::Protocol,
    ) -> Decision<'a> {
        Decision {
            listener: &self.settings.name,
            address: caller.address_text.as_deref(),
            peer_id: Some(caller.peer.uri()),
            serial: Some(caller.peer.serial()),
            local_id: Some(&caller.own_id),
            ..Decision::inbound(protocol)
        }
    }

    /// Tells the operator that our own application is in trouble.
    pub(super) fn complain(&self, request_id: &str, fault: &Fault) {
        let InboundSettings { name, forward_to, .. } = &*self.settings;
        self.worker.complain(name, forward_to, request_id, fault);
    }

    pub(super) fn lifetime(&self, peer: &Peer, own: &OwnTerms) -> Lifetime {
        let age = self.settings.limits.connection_age;
        Lifetime::new(Side::Accepted, peer, own, age, &self.contexts, SystemTime::now())
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
