//! How a decision went by the log, and why some cannot be made anew.

use std::collections::HashMap;
use std::sync::Arc;

use super::facts::{Fact, Id, Texts};
use super::sites::Sites;
use crate::authz::{Reason, Tenant};

pub(super) const ALLOWED: &str = "allowed";

/// Why a decision cannot be made anew.
pub(super) mod because {
    pub(in super::super) const NOT_POLICY: &str =
        "decided without a policy (no proven identity, a malformed request, or another fault)";
    pub(in super::super) const NOBODY: &str = "the line names no caller as proven";
    pub(in super::super) const NO_TENANT: &str =
        "the tenant of the service is not known (`--config` or `--service-tenant` tells)";
    pub(in super::super) const NO_ROUTE: &str =
        "the route is not in the line (`--config` finds it)";
    pub(in super::super) const ALL_OR_ANY: &str =
        "the line does not say whether all of several scopes are needed (`--config` does)";
    pub(in super::super) const TOKEN: &str =
        "what the token brought is not in the line, and the decision hangs on it";
    pub(in super::super) const UNLOGGED: &str =
        "`request.deny` reads headers, query or host, which no line holds";
    pub(in super::super) const NO_PATH: &str =
        "`request.deny` is asked, and the line does not hold the path";
    pub(in super::super) const MALFORMED: &str = "a value in the line is not what it should be";
}

pub(super) type Cause = &'static str;

/// How something is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decided {
    /// Stable code: `allowed`, or why not.
    pub(super) reason: &'static str,
    /// Tenant and scopes; `None` where they came by a token, and are known in part only.
    pub(super) rights: Option<(Option<Arc<str>>, Arc<str>)>,
}

/// All that does not change from one decision to the next.
#[derive(Debug)]
pub(super) struct Log<'a> {
    pub(super) texts: &'a Texts,
    pub(super) sites: &'a Sites<'a>,
    /// The tenants of services, as far as they are known: by place, or listener and own name.
    pub(super) tenants: &'a Tenants,
}

/// Tells whom a service belongs to.
pub(super) type Tenants = HashMap<(u32, Id, Id), Option<Tenant>>;

/// As the line says it.
pub(super) fn recorded(log: &Log<'_>, fact: &Fact) -> Result<Decided, Cause> {
    let text = log.texts.get(fact.reason).map_or("", |it| &**it);
    let judged = Reason::ALL.into_iter().filter(|it| *it != Reason::TokenExpired);
    let reason = judged.map(Reason::code).chain([ALLOWED]).find(|code| *code == text);
    let reason = reason.ok_or(because::NOT_POLICY)?;
    if fact.allowed != (reason == ALLOWED) {
        return Err(because::MALFORMED);
    }
    let by_token = log.texts.get(fact.by).is_some_and(|by| &**by == "jwt");
    let held = log.texts.get(fact.held).filter(|_| !by_token);
    let rights = held.map(|held| (log.texts.get(fact.tenant).cloned(), Arc::clone(held)));
    Ok(Decided { reason, rights })
}
