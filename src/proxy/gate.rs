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
use super::shadow::{ShadowWorker, Shadowing};
use super::upstream::Upstream;
use super::worker::{Decision, Worker};
use super::{Limits, Protocol, Speaks};
use crate::authz::{Claims, Grants, Guard, Route, RouteTable, Standpoint};
use crate::live::{Changes, Live};
use crate::net::Target;
use crate::policy::{Aside, Direction, Local, Policy, Rules, Workload, minute_end};
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
    /// Raw streams may share connections.
    pub multiplex: bool,
    /// Who may say `x-forwarded-*` on behalf of others.
    pub trust_forwarded_from: Vec<SpiffeId>,
    pub limits: Limits,
}

/// Who decides: the rules, the policy, and one worker's memory of its answers.
#[derive(Debug, Clone)]
pub struct Judges {
    pub guard: Arc<Guard>,
    pub rules: Live<Rules>,
    pub grants: Grants,
    /// Where a policy is asked that is too slow for a worker.
    pub aside: Aside,
    /// Of tokens, where callers may prove themselves by them.
    pub verifier: Verifier,
    /// Where a shadow policy is configured.
    pub shadow: Option<(Shadowing, ShadowWorker)>,
}

/// One inbound listener's decisions and its way to the application, as one worker has them.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) settings: Arc<InboundSettings>,
    pub(super) guard: Arc<Guard>,
    pub(super) rules: Live<Rules>,
    pub(super) upstream: Upstream,
    pub(super) worker: Rc<Worker>,
    pub(super) shadow: Option<ShadowWorker>,
    /// Our place in the shadow policy's counts.
    pub(super) shadowed: usize,
    grants: Grants,
    /// Where a slow policy is asked for somebody who waits to be let in, and for those who are in.
    pub(super) aside: Aside,
    pub(super) aside_patiently: Aside,
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

/// By what a caller has proven who it is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Proven<'a> {
    Certificate(&'a Peer),
    Token(&'a Arc<Verified>),
}

impl<'a> Proven<'a> {
    pub(super) fn token(self) -> Option<&'a Arc<Verified>> {
        match self {
            Self::Certificate(_) => None,
            Self::Token(token) => Some(token),
        }
    }
}

impl Caller {
    /// By its certificate, or by the token of this request. `None` without either: then there is
    /// nothing to judge.
    pub(super) fn proven<'a>(&'a self, token: Option<&'a Arc<Verified>>) -> Option<Proven<'a>> {
        match &self.proof {
            Proof::Certificate(peer) => Some(Proven::Certificate(peer)),
            Proof::Tokens(_) => token.map(Proven::Token),
        }
    }

    pub(super) fn standpoint(&self, now: SystemTime) -> Standpoint<'_> {
        let address = self.address.map(|address| address.ip());
        Standpoint { address, local: &self.local, serial: self.serial(), now }
    }

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
        let Judges { guard, rules, grants, aside, verifier, shadow } = judges;
        let shadowed = shadow.as_ref().map_or(0, |(all, _)| all.listener(&settings.name));
        let shadow = shadow.map(|(_, worker)| worker);
        let aside_patiently = aside.patiently();
        Self {
            settings,
            guard,
            rules,
            upstream,
            worker,
            shadow,
            shadowed,
            grants,
            aside,
            aside_patiently,
            verifier,
            contexts,
        }
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

    /// The rights of a caller. `None`: the policy is too slow to be asked at once.
    pub(super) fn claims_at_once(
        &self,
        caller: &Caller,
        proven: Proven<'_>,
        policy: &Policy,
    ) -> Option<Arc<Claims>> {
        let address = caller.address.map(|address| address.ip());
        let before = self.grants.evaluations();
        let (now, local) = (SystemTime::now(), &caller.local);
        let claims = match proven {
            Proven::Certificate(peer) => self.grants.claims(policy, peer, local, address, now),
            Proven::Token(token) => self.grants.claims_of_token(policy, token, local, address, now),
        }?;
        self.worker.granted(self.grants.evaluations() != before);
        Some(claims)
    }

    /// The same, waiting for as long as it takes while others go on.
    pub(super) async fn claims(
        &self,
        caller: &Caller,
        proven: Proven<'_>,
        policy: &Arc<Policy>,
        aside: &Aside,
    ) -> Arc<Claims> {
        if let Some(claims) = self.claims_at_once(caller, proven, policy) {
            return claims;
        }
        let address = caller.address.map(|address| address.ip());
        let grants = &self.grants;
        let (now, local) = (SystemTime::now(), &caller.local);
        self.worker.granted(true);
        match proven {
            Proven::Certificate(peer) => {
                grants.claims_aside(aside, policy, peer, local, address, now).await
            }
            Proven::Token(token) => {
                grants.claims_of_token_aside(aside, policy, token, local, address, now).await
            }
        }
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

/// Until when a judgement by these claims holds, if the rules stay as they are.
pub(super) fn holds_until(policy: &Policy, claims: &Claims, now: SystemTime) -> Option<SystemTime> {
    let minute = policy.reads_time_of_requests().then(|| minute_end(now));
    [claims.expires(), minute].into_iter().flatten().min()
}

/// Resolves when an open stream has to be judged again: the policy has changed, or what it was let in
/// for has run out.
pub(super) async fn to_be_judged_again(until: Option<SystemTime>, changes: &mut Changes) {
    let Some(until) = until else {
        return changes.changed().await;
    };
    let left = until.duration_since(SystemTime::now()).unwrap_or_default();
    tokio::select! {
        () = changes.changed() => {}
        () = sleep(left) => {}
    }
}
